//! What only the local API sends and takes: pages, results of writes, batches, and the state of a check.

use serde::{Deserialize, Serialize};

use super::{Conflict, Content, Peer, Record, Synced, Verified};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum ListPage {
    /// With values.
    Records(RecordPage),
    /// Without values.
    Keys(KeyPage),
}

/// Some of the records asked for, in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RecordPage {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins: the `after` of the next request. Null if there is nothing more.
    pub next: Option<String>,
}

/// Some of the keys asked for, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyPage {
    /// The keys.
    pub records: Vec<KeyEntry>,
    /// Where the next page begins: the `after` of the next request. Null if there is nothing more.
    pub next: Option<String>,
}

/// A key without its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct KeyEntry {
    /// The key.
    pub key: String,
    /// When its value was written, by its author's clock (RFC 3339).
    pub timestamp: String,
    /// The peer id of the node on which it was written.
    pub author: String,
}

impl From<&p2p_sync_core::Record> for KeyEntry {
    fn from(record: &p2p_sync_core::Record) -> Self {
        Self {
            key: record.key.as_str().to_owned(),
            timestamp: record.timestamp.to_string(),
            author: record.author.to_string(),
        }
    }
}

/// The result of a write: it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Written {
    /// The key.
    pub key: String,
    /// Whether anything was written; false for a key to delete that did not exist.
    pub written: bool,
    /// When it was written, by this node's clock (RFC 3339); null if nothing was.
    pub timestamp: Option<String>,
    /// The peer id of this node; null if nothing was written.
    pub author: Option<String>,
    /// From when on other nodes accept it, because it is dated ahead of this machine's clock (RFC 3339); left out if they do now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from: Option<String>,
}

/// Writes that are made together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The writes, in their order; 1 to 1,000.
    #[schemars(length(min = 1, max = 1_000))]
    pub operations: Vec<Operation>,
}

/// One write of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Stores a value.
    Put(PutOperation),
    /// Deletes a key. One that does not exist is left alone.
    Delete(DeleteOperation),
}

/// Stores a value; exactly one of `value` and `value_b64` is needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutOperation {
    /// The key: 1 to 256 bytes of UTF-8 without control characters.
    pub key: String,
    /// The value, if it is text: at most 65,536 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The value in base64 (RFC 4648, standard alphabet, padded).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_b64: Option<String>,
    /// Only if the key has no value on this node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub if_absent: bool,
    /// Only if the value that the key has on this node was written at this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_timestamp: Option<String>,
}

/// Deletes a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteOperation {
    /// The key.
    pub key: String,
    /// Only if the value that the key has on this node was written at this time (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_timestamp: Option<String>,
}

impl PutOperation {
    /// The bytes to store; none unless there is exactly one value, which is text or base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.value, &self.value_b64) {
            (Some(text), None) => Some(text.as_bytes().to_vec()),
            (None, Some(encoded)) => Content::Bytes {
                value_b64: encoded.clone(),
            }
            .bytes(),
            _ => None,
        }
    }
}

/// The results of a batch, all of it on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BatchWritten {
    /// One for each operation, in their order.
    pub results: Vec<Written>,
}

/// The connected peers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PeerList {
    /// All of them.
    pub peers: Vec<Peer>,
}

/// The state of sync with each connected peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SyncedList {
    /// One for each peer.
    pub peers: Vec<Synced>,
}

/// Some of the keys in conflict, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ConflictPage {
    /// The keys with all their versions.
    pub conflicts: Vec<Conflict>,
    /// Where the next page begins: the `after` of the next request. Null if there is nothing more.
    pub next: Option<String>,
}

/// Which version of a key in conflict to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The key.
    pub key: String,
    /// The timestamp of the version to choose; without it, the key keeps the value that it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
}

/// A check of every record, under way or finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Check {
    /// Its number, for asking again.
    pub id: u64,
    /// How far it is.
    pub state: CheckState,
    /// For how long it has run, or ran, in seconds.
    pub seconds: u64,
    /// How many records it has read.
    pub checked: u64,
    /// How many records there are, deletions included; a check also reads versions in conflict.
    pub records: u64,
    /// What it found; only when it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Verified>,
    /// Why it failed; only when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// It runs, or waits for its turn.
    Running,
    /// It is complete.
    Done,
    /// It could not be completed.
    Failed,
}

/// Whether the node lives and does its work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Health {
    /// Always true: whoever does not live says nothing, and whoever is not ready says why in a problem.
    pub ok: bool,
}
