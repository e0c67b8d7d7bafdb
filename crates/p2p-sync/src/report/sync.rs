//! How the sync is doing, and what came of what was asked of it.

use serde::{Deserialize, Serialize};

use super::Count;

/// How the sync of a node is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sync {
    /// False while the summary of all records is rebuilt after a stop that was not clean: sessions wait for it, everything else
    /// works.
    pub ready: bool,
    /// The connected peers that take part, sorted.
    pub peers: Vec<SyncPeer>,
    /// Records received by sync that were not taken, by cause.
    pub refused: Vec<Count>,
    /// Records of this store that other nodes do not take yet.
    pub ahead: Ahead,
    /// Lost versions that are kept.
    pub conflicts: u64,
    /// What was found wrong in the store and repaired since the start.
    pub repaired: u64,
    /// What the sync as a whole is doing.
    pub state: SyncState,
    /// There is no room for all that other nodes send.
    pub full: bool,
    /// Rows that another program added, while they are made records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completing: Option<Completing>,
}

/// What the sync is doing. The first that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Nothing, until the store can be used again.
    OutOfOrder,
    /// Nothing, until the summary of all records is rebuilt.
    Rebuilding,
    /// Nothing: no connected peer takes part in it.
    NoPeers,
    /// It compares, and leaves out what other nodes send: there is no room for that.
    NoRoom,
    /// Something is still to be compared or moved.
    UnderWay,
    /// All peers had the same, but for records that wait until they are no longer too far ahead for a clock, or until there is
    /// room for them.
    Waiting,
    /// All peers had the same records when that was last looked at.
    InSync,
}

/// Records in a store that others do not take yet: dated too far ahead, by a clock that was or is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ahead {
    /// How many.
    pub records: u64,
    /// The ones that fall due first; some of them only.
    pub first: Vec<Due>,
}

/// A record that falls due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Due {
    /// Its key.
    pub key: String,
    /// When others take it (RFC 3339).
    pub due: String,
}

/// Rows that another program added, on their way to being records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Completing {
    /// How many have become records.
    pub done: u64,
    /// How many there were.
    pub found: u64,
}

/// How the sync stands with one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SyncPeer {
    /// Who, and what was last known.
    #[serde(flatten)]
    pub synced: Synced,
    /// How far its clock is ahead of this one, as far as one message can tell; negative: behind.
    pub clock_ahead_seconds: Option<f64>,
}

/// How the sync stands with a peer, and the last session with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Synced {
    /// Who.
    pub peer_id: String,
    /// What was last known of the difference.
    #[serde(flatten)]
    pub standing: Standing,
    /// The last session that ended in good order.
    pub last: Option<Last>,
}

/// What is known of the difference to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Standing {
    /// In a word.
    pub state: StandingState,
    /// Records that the peer lacked.
    pub ahead: u64,
    /// Records that this node lacked.
    pub behind: u64,
    /// Records that wait for their time, or for room.
    pub waiting: u64,
}

/// What is known of the difference to a peer, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StandingState {
    /// Not compared yet.
    Unknown,
    /// A session is under way.
    Syncing,
    /// Both had the same records when that was last looked at.
    InSync,
    /// Both had the same, but for records that wait until they are no longer too far ahead for a clock.
    Waiting,
    /// Both had the same, but for records for which this node has no room.
    NoRoomHere,
    /// Both had the same, but for records for which the peer has no room.
    NoRoomThere,
    /// They differed, and another session is due.
    Differs,
}

/// A session that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Last {
    /// When it ended, by the clock of this node (RFC 3339).
    pub at: String,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// How often the side that asked waited for an answer.
    pub round_trips: u64,
    /// Records sent.
    pub records_sent: u64,
    /// Records received that were news.
    pub records_changed: u64,
}

/// What a check of the store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Verified {
    /// Records looked at, deletions included.
    pub records: u64,
    /// Records whose content is not what was stored: taken out, so that they come back from other nodes.
    pub damaged: u64,
    /// Whether digest and sketch were those of the records; if not, they are now.
    pub summary_was_right: bool,
}
