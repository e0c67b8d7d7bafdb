//! Descriptions of the commands.

use serde::{Deserialize, Serialize};

/// All commands, or the one asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Help {
    /// In the order in which they are shown.
    pub commands: Vec<CommandHelp>,
}

/// The description of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandHelp {
    /// The word that starts it.
    pub name: String,
    /// How to write it.
    pub usage: String,
    /// A one-line summary.
    pub about: String,
    /// Further paragraphs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Its arguments and options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
}

/// An argument or option of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Argument {
    /// How to write it.
    pub name: String,
    /// What it means.
    pub about: String,
}
