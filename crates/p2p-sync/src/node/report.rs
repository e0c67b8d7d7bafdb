//! What the node tells of its sync: how it stands with each peer, what waits, what was lost, what a check found. Plain
//! values; how they are shown is left to the callers.

use p2p_sync_core::{Key, NodeId, Record, Timestamp};

mod state;

pub use state::SyncState;

/// How the sync is doing.
#[derive(Debug, Clone, Default)]
pub struct SyncStatus {
    /// False while the summary of all records is rebuilt after a stop that was not clean: sessions wait for it, everything else
    /// works.
    pub ready: bool,
    /// The store cannot be used now. It is opened again, or rescued, as soon as that works.
    pub is_out_of_order: bool,
    /// There is no room for all that other nodes send.
    pub is_full: bool,
    /// The connected peers that take part in the sync, sorted.
    pub peers: Vec<PeerSync>,
    /// Records received by sync that were not taken: cause and count.
    pub refused: Vec<(String, u64)>,
    /// Records held here that are dated further ahead than other nodes accept.
    pub ahead: Ahead,
    /// Lost versions that are kept; see [`Conflict`](super::Conflict).
    pub conflicts: u64,
    /// What was found wrong in the store and repaired since the start: damaged records, and summaries that were not those of
    /// the records.
    pub repaired: u64,
    /// Rows that another program added, while they are made records; none when there are no such rows.
    pub completing: Option<crate::store::Completed>,
}

/// How the sync stands with one peer.
#[derive(Debug, Clone)]
pub struct PeerSync {
    /// Who.
    pub peer: NodeId,
    /// What was last known.
    pub standing: Standing,
    /// The last session that ended in good order.
    pub last: Option<LastSync>,
    /// How far its clock is ahead of ours, in nanoseconds, as far as one message can tell; negative: behind.
    pub clock_ahead_nanos: Option<i64>,
}

/// What is known of the difference to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not compared yet.
    Unknown,
    /// A session is under way.
    Syncing,
    /// Both had the same records when that was last looked at.
    InSync,
    /// Both had the same, but for records that wait until they are no longer too far ahead for a clock.
    Waiting {
        /// How many.
        records: u64,
    },
    /// Both had the same, but for records for which one of them has no room.
    NoRoom {
        /// How many, as far as that is known.
        records: u64,
        /// It is this node.
        here: bool,
    },
    /// They differed, and another session is due.
    Differs {
        /// Records that the peer lacked.
        ahead: u64,
        /// Records that we lacked.
        behind: u64,
    },
}

/// A session that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSync {
    /// When it ended, by our clock.
    pub at: Timestamp,
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

/// Records in this store that others do not take yet: dated too far ahead, by a clock that was or is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// How many.
    pub records: u64,
    /// The ones that fall due first, with the time at which others take them; some of them only.
    pub first: Vec<(Key, Timestamp)>,
}

/// What came of bringing back a lost version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The new version, with the content of the lost one.
    pub record: Record,
    /// The version that it replaced.
    pub replaced: Option<Record>,
}

/// What came of a session that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// With whom.
    pub peer: NodeId,
    /// How it stands now.
    pub standing: Standing,
    /// The session; none when it could not be held to its end.
    pub last: Option<LastSync>,
}

/// What a check of the store found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records looked at, deletions included.
    pub records: u64,
    /// Records whose content is not what was stored: taken out, so that they come back from other nodes.
    pub damaged: u64,
    /// Whether digest and sketch were those of the records; if not, they are now.
    pub summary_was_right: bool,
}
