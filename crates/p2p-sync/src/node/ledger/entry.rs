//! What goes into a commit, and what comes out of it.

use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::StoreId;
use p2p_sync_core::{Content, Key, Record, Timestamp, Via};

use crate::node::{NodeError, Restored};
use crate::store::{NamesHeard, RememberedPeer};

/// One piece of work in a transaction.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Write a value or a deletion. A key that does not exist is not deleted.
    Write {
        /// The key.
        key: &'a Key,
        /// Its new content.
        content: &'a Content,
    },
    /// Write the content of a lost version again; see [`Node::restore`](crate::node::Node::restore).
    Restore {
        /// Its key.
        key: &'a Key,
        /// When it was written; none: the most recently noticed one.
        timestamp: Option<Timestamp>,
    },
    /// Merge records that passed the [`Admission`](p2p_sync_core::Admission).
    Receive {
        /// How they came.
        via: Via,
        /// The records.
        records: &'a [Record],
        /// For a bulk from this store: the place that it reaches with them.
        reached: Option<(StoreId, Cursor)>,
    },
    /// Remove damaged rows, unless they are sound by now.
    SetAside(&'a [i64]),
    /// Save where peers were reached.
    Remember(&'a [RememberedPeer]),
    /// Save what known nodes are called.
    RememberNames(&'a NamesHeard),
    /// Save the patrol's progress.
    Patrolled(i64),
}

/// The result of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The version that was written; none: the key to delete did not exist.
    Written(Option<Record>),
    /// What was restored; none: there is no such version.
    Restored(Option<Restored>),
    /// The result for the received records.
    Received(Merged),
    /// Whether a row was removed.
    SetAside(bool),
    /// It is saved.
    Noted,
}

/// The result for received records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those that won, and are now held.
    pub changed: u64,
    /// Those that were refused.
    pub refused: Refused,
}

/// A version that became the current one of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it arrived.
    pub via: Via,
    /// The version.
    pub record: Record,
}

/// The result of a commit: the only source for everything that listens to changes.
#[derive(Debug, Default)]
pub struct Committed {
    /// The result of each entry, in order. Nothing was written for one that failed.
    pub done: Vec<Result<Done, NodeError>>,
    /// The changes, in the order in which they were stored.
    pub changes: Vec<Change>,
    /// How many versions lost to one whose author had not seen them.
    pub lost: u64,
    /// The received records that were refused.
    pub refused: Refused,
}

/// How many received records were refused, by cause. A session fetches them again once the cause is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// They met a damaged row that has not been removed yet.
    pub damaged: u64,
    /// There is no space for them.
    pub no_room: u64,
}

impl Entry<'_> {
    /// How many of these records there was no space for, if that is why the entry failed.
    pub(super) fn found_no_room(&self, error: &NodeError) -> u64 {
        match self {
            Self::Receive { records, .. } if error.is_full() => records.len() as u64,
            _ => 0,
        }
    }
}

impl Committed {
    /// Adds the result of a later commit.
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
