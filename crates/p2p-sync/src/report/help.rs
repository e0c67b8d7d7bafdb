//! What the commands are.

use serde::{Deserialize, Serialize};

/// The commands, or the one that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Help {
    /// In the order in which they are shown.
    pub commands: Vec<CommandHelp>,
}

/// The description of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandHelp {
    /// Its word.
    pub name: String,
    /// How it is written.
    pub usage: String,
    /// What it does, in a few words.
    pub about: String,
    /// What else there is to know, paragraph by paragraph.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// Its arguments and options.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<Argument>,
}

/// An argument or option of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Argument {
    /// How it is written.
    pub name: String,
    /// What it means.
    pub about: String,
}
