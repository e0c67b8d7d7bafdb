//! Failures: text for people, a class for programs.

use serde::{Deserialize, Serialize};

/// The class of a failure. Its number is the exit code of the program, and the `code` of an error in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "u8", try_from = "u8")]
#[schemars(with = "u8")]
#[repr(u8)]
pub enum Class {
    /// Anything that has no class of its own.
    Failed = 1,
    /// Not a valid command line.
    Usage = 2,
    /// The key does not exist.
    NotFound = 3,
    /// No node could be reached.
    NotReachable = 4,
    /// It took too long.
    TimedOut = 5,
    /// The current state of the store rules it out.
    Conflict = 6,
    /// The operating system denies it.
    NotPermitted = 7,
    /// The key or the value is invalid or too large.
    Invalid = 8,
    /// The store is full, damaged, or from a newer release.
    Storage = 9,
    /// Another process has the port or the data directory.
    InUse = 10,
}

impl Class {
    const ALL: [Self; 10] = [
        Self::Failed,
        Self::Usage,
        Self::NotFound,
        Self::NotReachable,
        Self::TimedOut,
        Self::Conflict,
        Self::NotPermitted,
        Self::Invalid,
        Self::Storage,
        Self::InUse,
    ];

    /// The exit code.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The class in a word, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not_found",
            Self::NotReachable => "not_reachable",
            Self::TimedOut => "timed_out",
            Self::Conflict => "conflict",
            Self::NotPermitted => "not_permitted",
            Self::Invalid => "invalid",
            Self::Storage => "storage",
            Self::InUse => "in_use",
        }
    }
}

impl From<Class> for u8 {
    fn from(class: Class) -> Self {
        class.code()
    }
}

impl TryFrom<u8> for Class {
    type Error = String;

    fn try_from(code: u8) -> Result<Self, String> {
        let class = Self::ALL.into_iter().find(|class| class.code() == code);
        class.ok_or_else(|| format!("{code} is not the number of a failure class"))
    }
}

/// A command that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// What happened, what became of the data, and what to do next.
    pub error: String,
    /// The class of the failure.
    pub code: Class,
}
