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
}

impl From<&core::Record> for Added {
    fn from(record: &core::Record) -> Self {
        Self {
            added: true,
            record: record.into(),
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
}

impl From<&core::Record> for Deleted {
    fn from(record: &core::Record) -> Self {
        let Version { timestamp, author, .. } = record.into();
        Self {
            deleted: true,
            key: record.key.as_str().to_owned(),
            timestamp,
            author,
        }
    }
}

/// A lost version was written again as a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Restored {
    /// Always true.
    pub restored: bool,
    /// What was written.
    #[serde(flatten)]
    pub record: Record,
}

impl From<&core::Record> for Restored {
    fn from(record: &core::Record) -> Self {
        Self {
            restored: true,
            record: record.into(),
        }
    }
}

/// A version that lost to one whose author had not seen it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflict {
    /// The key.
    pub key: String,
    /// The version that lost.
    pub lost: Version,
    /// The version that replaced it.
    pub won: Version,
    /// When this node noticed the conflict (RFC 3339).
    pub noticed: String,
}

/// The last line of a list of conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Conflicts {
    /// How many there are; at least those listed.
    pub conflicts: u64,
    /// True if there are more than were listed; left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}
