//! What a node would be started with, and where its files are.

use serde::{Deserialize, Serialize};

/// One value of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Setting {
    /// Its name in the configuration file; the flag has dashes in place of underscores.
    pub name: String,
    /// The value as text; none if there is none. Several values are separated by commas.
    pub value: Option<String>,
    /// Where it comes from.
    pub from: SettingSource,
}

/// Where a value of the configuration comes from; the first of these that gives one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// A flag.
    Flag,
    /// An environment variable.
    Environment,
    /// The configuration file.
    File,
    /// It is what a node takes by itself.
    Default,
}

/// Where the files of a node are, whether they exist or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Paths {
    /// The data directory.
    pub data_dir: String,
    /// The SQLite file with the records.
    pub store: String,
    /// The secret key that makes the peer id.
    pub identity: String,
    /// What a running node says of itself.
    pub running: String,
    /// The secret of the local API.
    pub token: String,
    /// The lines typed at the prompt.
    pub history: String,
    /// The configuration file; none if this user has no home directory.
    pub config: Option<String>,
}
