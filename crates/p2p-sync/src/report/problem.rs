//! Failures of the local API, as RFC 9457 has them.

use serde::{Deserialize, Serialize};

use super::Class;

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened, what became of the data, and what to do next.
    pub detail: String,
    /// The class of the failure, as the number that is the exit code of the program.
    pub code: Class,
    /// The class of the failure in a word, such as `not_found`.
    pub name: String,
}
