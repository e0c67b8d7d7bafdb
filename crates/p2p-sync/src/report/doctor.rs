//! What is wrong with a node, or around it.

use serde::{Deserialize, Serialize};

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// What it is; a fixed word.
    pub finding: String,
    /// What it is, in a sentence: what happens, and why.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

/// The last line of what was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Examined {
    /// How many things are wrong.
    pub findings: u64,
    /// The version of the program.
    pub version: String,
    /// The version of its SQLite library.
    pub sqlite: String,
    /// How many files and connections the process may have open; null if the system sets no limit, or does not tell.
    pub descriptors: Option<u64>,
}

/// Everything that is wrong, and what was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Diagnosis {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The summary.
    pub examined: Examined,
}
