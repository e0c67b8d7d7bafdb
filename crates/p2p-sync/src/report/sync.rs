//! The state of sync, and the results of `sync` and `verify`.

use serde::{Deserialize, Serialize};

use super::Count;

/// The state of sync on a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Sync {
    /// False while the summary of all records is rebuilt after an unclean stop. Sessions wait for it; everything else works.
    pub ready: bool,
    /// The connected peers that sync, sorted by peer id.
    pub peers: Vec<SyncPeer>,
    /// How many records received by sync were refused, by cause.
    pub refused: Vec<Count>,
    /// Records here that other nodes do not accept yet.
    pub ahead: Ahead,
    /// How many keys are in conflict.
    pub conflicts: u64,
    /// How many faults in the store were repaired since the node started.
    pub repaired: u64,
    /// The state in a word.
    pub state: SyncState,
    /// Whether there is too little space for what other nodes send.
    pub full: bool,
    /// Progress in turning rows that another program added into records; only while that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completing: Option<Completing>,
}

/// The state of sync: the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SyncState {
    /// The store cannot be used; sync waits for it.
    OutOfOrder,
    /// The summary of all records is being rebuilt; sync waits for it.
    Rebuilding,
    /// No connected peer syncs.
    NoPeers,
    /// Too little space: records from other nodes are refused.
    NoRoom,
    /// Comparing or transferring.
    UnderWay,
    /// Equal to all peers, except for records dated too far ahead or without space, which follow later.
    Waiting,
    /// All peers had the same records when last compared.
    InSync,
}

/// Records here that other nodes do not accept yet, because a wrong clock dated them too far ahead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Ahead {
    /// How many.
    pub records: u64,
    /// Those due first, up to a limit.
    pub first: Vec<Due>,
}

/// A record that others accept later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Due {
    /// Its key.
    pub key: String,
    /// When others accept it (RFC 3339).
    pub due: String,
}

/// Progress in turning rows that another program added into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Completing {
    /// How many are records now.
    pub done: u64,
    /// How many were found.
    pub found: u64,
}

/// The state of sync with one peer, and its clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct SyncPeer {
    /// The state of sync with it.
    #[serde(flatten)]
    pub synced: Synced,
    /// How far its clock is ahead of ours, estimated from one message; negative if it is behind.
    pub clock_ahead_seconds: Option<f64>,
    /// For how long the two are known not to be equal, in seconds; only while they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unequal_seconds: Option<u64>,
    /// What kept the last session from its end, if anything did; a fixed word: `busy`, `broken_off`, `refused` or `slow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
}

/// The state of sync with a peer, and the last session with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Synced {
    /// Its peer id.
    pub peer_id: String,
    /// The name that it told, as in the list of peers.
    pub name: Option<String>,
    /// How people see it, as in the list of peers.
    pub display_name: String,
    /// How it compared when last looked at.
    #[serde(flatten)]
    pub standing: Standing,
    /// The last session that completed.
    pub last: Option<Last>,
}

/// How this node compares to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Standing {
    /// The state in a word.
    pub state: StandingState,
    /// Records that the peer lacked.
    pub ahead: u64,
    /// Records that this node lacked.
    pub behind: u64,
    /// Records that follow later: dated too far ahead, or without space.
    pub waiting: u64,
}

/// How this node compares to a peer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StandingState {
    /// Not compared yet.
    Unknown,
    /// A session is running.
    Syncing,
    /// Both had the same records when last compared.
    InSync,
    /// Equal, except for records dated too far ahead.
    Waiting,
    /// Equal, except for records this node has no space for.
    NoRoomHere,
    /// Equal, except for records the peer has no space for.
    NoRoomThere,
    /// They differed; another session follows.
    Differs,
}

/// A completed session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Last {
    /// When it ended, by the clock of this node (RFC 3339).
    pub at: String,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// How many times the initiator waited for an answer.
    pub round_trips: u64,
    /// Records sent.
    pub records_sent: u64,
    /// Records received that changed the store.
    pub records_changed: u64,
}

/// The result of a check of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Verified {
    /// Records checked, deletions included.
    pub records: u64,
    /// Records whose content is not what was stored. They were removed, so that other nodes send them again.
    pub damaged: u64,
    /// Whether the stored summary matched the records. If it did not, it was rebuilt.
    pub summary_was_right: bool,
}
