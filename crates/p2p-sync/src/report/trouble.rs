//! Peers that a node does not get in touch with, and why.

use serde::{Deserialize, Serialize};

/// A peer, or an address without a known peer, and what came back from there last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Trouble {
    /// Whom; none where only an address is known.
    pub peer_id: Option<String>,
    /// Whether the user named it.
    pub configured: bool,
    /// The most telling cause, in a word that stays.
    pub cause: String,
    /// When this began (RFC 3339).
    pub since: String,
    /// When it was tried last.
    pub last: String,
    /// How often it was tried since then.
    pub times: u64,
    /// What came back, by address, the most telling first.
    pub attempts: Vec<Attempt>,
}

/// What came back from one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Attempt {
    /// The address as a multiaddress.
    pub address: String,
    /// What came back, in a word that stays.
    pub cause: String,
    /// The same in a few words for people.
    pub text: String,
    /// When (RFC 3339).
    pub at: String,
}
