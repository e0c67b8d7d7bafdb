//! Peers that a node cannot reach, and why.

use serde::{Deserialize, Serialize};

/// A peer that cannot be reached, or an address whose peer is unknown, and what the last attempts met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Trouble {
    /// Its peer id; null if only an address is known.
    pub peer_id: Option<String>,
    /// The name that it told when it was connected, as in the list of peers; null if it is not known.
    pub name: Option<String>,
    /// How people see it, as in the list of peers; null if only an address is known.
    pub display_name: Option<String>,
    /// Whether the user configured it.
    pub configured: bool,
    /// The most telling cause; a fixed word.
    pub cause: String,
    /// Since when it fails (RFC 3339).
    pub since: String,
    /// The last attempt (RFC 3339).
    pub last: String,
    /// How many attempts failed since then.
    pub times: u64,
    /// The last attempt at each address, the most telling first.
    pub attempts: Vec<Attempt>,
}

/// The last attempt at one address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Attempt {
    /// The address as a multiaddress.
    pub address: String,
    /// The cause; a fixed word.
    pub cause: String,
    /// The cause in a few words for people.
    pub text: String,
    /// When (RFC 3339).
    pub at: String,
}
