//! What the node reports about sync: the state of each peer, what waits, what was lost, what a check found. Plain values;
//! callers decide how to show them.

use p2p_sync_core::{Key, NodeId, Record, Timestamp};

mod state;

pub use state::SyncState;

/// The state of sync.
#[derive(Debug, Clone, Default)]
pub struct SyncStatus {
    /// False while the summary of all records is rebuilt after an unclean stop: sessions wait for it, everything else
    /// works.
    pub ready: bool,
    /// The store cannot be used now. It is reopened, or rescued, as soon as possible.
    pub is_out_of_order: bool,
    /// There is no space for all data from other nodes.
    pub is_full: bool,
    /// The connected peers that take part in the sync, sorted.
    pub peers: Vec<PeerSync>,
    /// Records received by sync that were refused: cause and count.
    pub refused: Vec<(String, u64)>,
    /// Records of this node that are dated further ahead than other nodes accept.
    pub ahead: Ahead,
    /// Lost versions that are kept; see [`Conflict`](super::Conflict).
    pub conflicts: u64,
    /// What has been repaired in the store since the start: damaged records, and wrong summaries.
    pub repaired: u64,
    /// Rows that another program added, while they are turned into records; none if there are no such rows.
    pub completing: Option<crate::store::Completed>,
}

/// The state of sync with one peer.
#[derive(Debug, Clone)]
pub struct PeerSync {
    /// Who.
    pub peer: NodeId,
    /// What was last known.
    pub standing: Standing,
    /// The last completed session.
    pub last: Option<LastSync>,
    /// How far its clock is ahead of ours, in nanoseconds, as far as one message shows; negative: behind.
    pub clock_ahead_nanos: Option<i64>,
}

/// What is known about the difference to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not compared yet.
    Unknown,
    /// A session is under way.
    Syncing,
    /// Both had the same records at the last comparison.
    InSync,
    /// Both had the same, except for records that wait until they are no longer too far ahead for a clock.
    Waiting {
        /// How many.
        records: u64,
    },
    /// Both had the same, except for records for which one of them has no space.
    NoRoom {
        /// How many, as far as that is known.
        records: u64,
        /// Whether it is this node.
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

/// A finished session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastSync {
    /// When it ended, by our clock.
    pub at: Timestamp,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// How often the asking side waited for an answer.
    pub round_trips: u64,
    /// Records sent.
    pub records_sent: u64,
    /// Records received that were new.
    pub records_changed: u64,
}

/// Records in this store that other nodes do not accept yet: dated too far ahead, by a clock that was or is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// How many.
    pub records: u64,
    /// The ones that fall due first, with the time at which other nodes accept them; only some of them.
    pub first: Vec<(Key, Timestamp)>,
}

/// The result of restoring a lost version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The new version, with the content of the lost one.
    pub record: Record,
    /// The version that it replaced.
    pub replaced: Option<Record>,
}

/// The result of a requested session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// With whom.
    pub peer: NodeId,
    /// The current state.
    pub standing: Standing,
    /// The session; none if it could not be completed.
    pub last: Option<LastSync>,
}

/// The result of a check of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Records checked, deletions included.
    pub records: u64,
    /// Records whose content has changed since it was stored: removed, so that they come back from other nodes.
    pub damaged: u64,
    /// Whether digest and sketch matched the records; if not, they do now.
    pub summary_was_right: bool,
}
