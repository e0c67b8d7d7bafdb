//! What goes into a commit, and what comes out of it.

use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::StoreId;
use p2p_sync_core::{Content, Key, Record, Timestamp, Via};

use crate::node::{NodeError, Restored};
use crate::store::RememberedPeer;

/// One piece of work in a transaction.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Write a content, a deletion included. A key that is not there is not deleted.
    Write {
        /// The key.
        key: &'a Key,
        /// Its new content.
        content: &'a Content,
    },
    /// Write the content of a lost version anew; see [`Node::restore`](crate::node::Node::restore).
    Restore {
        /// Its key.
        key: &'a Key,
        /// When it was written; none: the one that was noticed last.
        timestamp: Option<Timestamp>,
    },
    /// Merge records that passed the [`Admission`](p2p_sync_core::Admission).
    Receive {
        /// How they came.
        via: Via,
        /// The records.
        records: &'a [Record],
        /// Of a bulk from this store: the place that it reaches with them.
        reached: Option<(StoreId, Cursor)>,
    },
    /// Take out rows that proved damaged, unless they are sound by now.
    SetAside(&'a [i64]),
    /// Note where peers were reached.
    Remember(&'a [RememberedPeer]),
    /// Note how far the patrol has come.
    Patrolled(i64),
}

/// What came of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The version that was written; none: there was no such key to delete.
    Written(Option<Record>),
    /// What was brought back; none: there is no such version.
    Restored(Option<Restored>),
    /// What came of the received records.
    Received(Merged),
    /// Whether a row was taken out.
    SetAside(bool),
    /// It is noted.
    Noted,
}

/// What came of received records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those that won, and are held now.
    pub changed: u64,
    /// Those that were not taken.
    pub refused: Refused,
}

/// A version that became the current one of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it came.
    pub via: Via,
    /// The version.
    pub record: Record,
}

/// What came of a commit: everybody who listens to changes is told by this and nothing else.
#[derive(Debug, Default)]
pub struct Committed {
    /// What came of each entry, in their order. Of one that failed nothing was written.
    pub done: Vec<Result<Done, NodeError>>,
    /// The changes, in the order in which the store took them in.
    pub changes: Vec<Change>,
    /// How many versions lost to one whose author had not seen them.
    pub lost: u64,
    /// The received records that were not taken.
    pub refused: Refused,
}

/// How many received records were not taken, by cause. Each comes back by a session when the cause is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// They met a damaged row, which is still to be taken out.
    pub damaged: u64,
    /// There is no room for them.
    pub no_room: u64,
}

impl Entry<'_> {
    /// How many of these records found no room, if that is why the entry failed.
    pub(super) fn found_no_room(&self, error: &NodeError) -> u64 {
        match self {
            Self::Receive { records, .. } if error.is_full() => records.len() as u64,
            _ => 0,
        }
    }
}

impl Committed {
    /// Adds what came of a later commit.
    pub(super) fn extend(&mut self, later: Self) {
        self.done.extend(later.done);
        self.changes.extend(later.changes);
        self.lost += later.lost;
        self.refused.add(later.refused);
    }

    /// The ways on which changes came, each once for all that came one after the other.
    pub fn ways(&self) -> impl Iterator<Item = Via> {
        self.changes
            .chunk_by(|one, next| one.via == next.via)
            .filter_map(|changes| Some(changes.first()?.via))
    }
}

impl Refused {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.damaged + self.no_room
    }

    pub(super) fn add(&mut self, more: Self) {
        self.damaged += more.damaged;
        self.no_room += more.no_room;
    }
}
