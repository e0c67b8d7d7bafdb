//! What a watcher is told, one event a line.

use serde::{Deserialize, Serialize};

use super::Version;

/// An event of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum WatchEvent {
    /// A key has this value now.
    Put(Change),
    /// A key was deleted.
    Delete(Change),
    /// A version that lost to another one of its key, whose author had not seen it. The value of the key is told by an event of its
    /// own.
    Conflict(Change),
    /// Everything up to the moment of asking has been told.
    Ready {
        /// From where a later watch goes on.
        cursor: String,
    },
    /// The cursor is lost: the store is another one, or was rolled back, rescued or changed by another program. All live keys
    /// follow, then `ready`: the watcher replaces what it knows by that.
    Reset,
    /// Nothing has changed for a while.
    Heartbeat {
        /// From where a later watch goes on.
        cursor: String,
    },
}

/// A version, as a watcher is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Change {
    /// The key.
    pub key: String,
    /// The version.
    #[serde(flatten)]
    pub version: Version,
    /// From where a later watch goes on; left out within a snapshot, which has no order to go on in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// Where a version was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// On this node.
    Local,
    /// On another one.
    Peer,
}

/// A change without its value, for watchers that need none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyChange {
    /// What happened.
    pub event: ChangeKind,
    /// The key.
    pub key: String,
    /// When it was written, by its author's clock (RFC 3339).
    pub timestamp: String,
    /// The peer id of the node on which it was written.
    pub author: String,
    /// From where a later watch goes on; left out within a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Where it was written.
    pub origin: Origin,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It has another value.
    Put,
    /// It was deleted.
    Delete,
    /// One of its versions lost to another one.
    Conflict,
}

impl ChangeKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Conflict => "conflict",
        }
    }
}

impl KeyChange {
    /// The change without its value.
    pub fn of(event: ChangeKind, change: &Change) -> Self {
        Self {
            event,
            key: change.key.clone(),
            timestamp: change.version.timestamp.clone(),
            author: change.version.author.clone(),
            cursor: change.cursor.clone(),
            origin: change.origin,
        }
    }
}

impl WatchEvent {
    /// The change of a key that it tells of, if it does.
    pub fn change(&self) -> Option<(ChangeKind, &Change)> {
        match self {
            Self::Put(change) => Some((ChangeKind::Put, change)),
            Self::Delete(change) => Some((ChangeKind::Delete, change)),
            Self::Conflict(change) => Some((ChangeKind::Conflict, change)),
            Self::Ready { .. } | Self::Reset | Self::Heartbeat { .. } => None,
        }
    }

    /// From where a later watch goes on, as far as this event says it.
    pub fn cursor(&self) -> Option<&str> {
        match self {
            Self::Put(change) | Self::Delete(change) | Self::Conflict(change) => change.cursor.as_deref(),
            Self::Ready { cursor } | Self::Heartbeat { cursor } => Some(cursor),
            Self::Reset => None,
        }
    }
}
