//! Records and versions, and the results of commands on them.

use data_encoding::BASE64;
use p2p_sync_core as core;
use serde::{Deserialize, Serialize};

/// The content of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Content {
    /// A value that is text.
    Text {
        /// The value.
        value: String,
    },
    /// A value that is not UTF-8.
    Bytes {
        /// The value in base64 (RFC 4648, standard alphabet, padded).
        value_b64: String,
    },
    /// The key was deleted.
    Deleted {
        /// Always true.
        deleted: bool,
    },
}

impl Content {
    /// The bytes of the value; `None` for a deletion or invalid base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Text { value } => Some(value.as_bytes().to_vec()),
            Self::Bytes { value_b64 } => BASE64.decode(value_b64.as_bytes()).ok(),
            Self::Deleted { .. } => None,
        }
    }
}

impl From<&core::Content> for Content {
    fn from(content: &core::Content) -> Self {
        match content.value() {
            None => Self::Deleted { deleted: true },
            Some(value) => match value.as_text() {
                Some(text) => Self::Text { value: text.to_owned() },
                None => Self::Bytes {
                    value_b64: BASE64.encode(value.as_bytes()),
                },
            },
        }
    }
}

/// One version of a key; the key itself is named beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Version {
    /// Its value, or that the key was deleted.
    #[serde(flatten)]
    pub content: Content,
    /// When it was written, by its author's clock (RFC 3339).
    pub timestamp: String,
    /// The peer id of the node on which it was written.
    pub author: String,
    /// The name of that node, if it is known; in lists of conflicts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_name: Option<String>,
    /// How people see that node, in printable characters: its name, followed by the end of its peer id if another node has the
    /// same name; without a name, the end of its peer id. In lists of conflicts only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_display_name: Option<String>,
}

impl From<&core::Record> for Version {
    fn from(record: &core::Record) -> Self {
        Self {
            content: (&record.content).into(),
            timestamp: record.timestamp.to_string(),
            author: record.author.to_string(),
            author_name: None,
            author_display_name: None,
        }
    }
}

/// A key and its current version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Record {
    /// The key.
    pub key: String,
    /// Its current version.
    #[serde(flatten)]
    pub version: Version,
}

impl From<&core::Record> for Record {
    fn from(record: &core::Record) -> Self {
        Self {
            key: record.key.as_str().to_owned(),
            version: record.into(),
        }
    }
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Found {
    /// The key and its value.
    #[serde(flatten)]
    pub record: Record,
    /// How many other writes of the key are in conflict with this one.
    pub conflicts: u64,
}

/// A key of a list without values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyOnly {
    /// The key.
    pub key: String,
}

/// The last line of a list of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Items {
    /// How many items were listed.
    pub items: u64,
}

/// A value was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Added {
    /// Always true.
    pub added: bool,
    /// What was stored.
    #[serde(flatten)]
    pub record: Record,
    /// From when on other nodes accept it, because it is dated ahead of this machine's clock (RFC 3339); left out if they do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from: Option<String>,
}

impl From<&core::Record> for Added {
    fn from(record: &core::Record) -> Self {
        Self {
            added: true,
            record: record.into(),
            accepted_from: None,
        }
    }
}

/// A key was deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Deleted {
    /// Always true.
    pub deleted: bool,
    /// The key.
    pub key: String,
    /// When it was deleted (RFC 3339).
    pub timestamp: String,
    /// The peer id of the node on which it was deleted.
    pub author: String,
    /// From when on other nodes accept it, because it is dated ahead of this machine's clock (RFC 3339); left out if they do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from: Option<String>,
}

impl From<&core::Record> for Deleted {
    fn from(record: &core::Record) -> Self {
        let Version { timestamp, author, .. } = record.into();
        Self {
            deleted: true,
            key: record.key.as_str().to_owned(),
            timestamp,
            author,
            accepted_from: None,
        }
    }
}

/// All keys with a prefix were deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DeletedKeys {
    /// How many there were.
    pub deleted_keys: u64,
}

/// The conflict of a key has ended, on every node that hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Resolved {
    /// Always true.
    pub resolved: bool,
    /// What was written.
    #[serde(flatten)]
    pub record: Record,
    /// From when on other nodes accept it, because it is dated ahead of this machine's clock (RFC 3339); left out if they do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from: Option<String>,
}

impl From<&core::Record> for Resolved {
    fn from(record: &core::Record) -> Self {
        Self {
            resolved: true,
            record: record.into(),
            accepted_from: None,
        }
    }
}

/// The conflicts of all keys have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ResolvedKeys {
    /// How many keys were in conflict.
    pub resolved_keys: u64,
}

/// Keys that were dated ahead of this machine's clock have been dated now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RepairedKeys {
    /// How many there were.
    pub repaired_keys: u64,
}

/// A key with writes that did not see each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflict {
    /// The key.
    pub key: String,
    /// What was written: the value that the key has, or its deletion, first, then the others, the latest first.
    pub versions: Vec<Version>,
}

/// The last line of a list of keys in conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflicts {
    /// How many there are; at least those listed.
    pub conflicts: u64,
    /// True if there are more than were listed; left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}
