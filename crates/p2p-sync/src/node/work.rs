//! Requests to the writer thread: pieces of work that share a transaction, each with its reply channel, and questions that
//! need no transaction.

use p2p_sync_core::{Content, Key, Record, Timestamp, Via};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::ledger::{Dating, Entry, Terms, Write};
use super::{NodeError, SyncStatus, Synced, Verified};
use crate::store::RowId;

/// The reply channel of a piece of work.
pub(super) type Reply<T> = oneshot::Sender<Result<T, NodeError>>;

/// Requests to the thread.
#[derive(Debug)]
pub(super) enum Request {
    /// A piece of work.
    Work(Work),
    /// Hold a session with every peer.
    Sync { reply: oneshot::Sender<Vec<Synced>> },
    /// Check the store.
    Verify { reply: Reply<Verified> },
    /// Report the status of sync.
    SyncStatus { reply: oneshot::Sender<SyncStatus> },
    /// A reader found damage in the file.
    Damaged,
    /// Finish queued work, and end.
    Stop,
}

/// One piece of work inside a transaction.
#[derive(Debug)]
pub(super) enum Work {
    /// Store a new version of a key. The reply is that version; none if a key to delete did not exist.
    Write {
        key: Key,
        content: Content,
        terms: Terms,
        reply: Reply<Option<Record>>,
    },
    /// Make all of these writes or none; see [`Node::write_all`](super::Node::write_all).
    WriteAll {
        writes: Vec<Write>,
        reply: Reply<Vec<Option<Record>>>,
    },
    /// Make those of these writes whose condition holds; see [`Node::write_due`](super::Node::write_due).
    WriteDue { writes: Vec<Write>, reply: Reply<u64> },
    /// Choose between the versions of a key; see [`Node::resolve`](super::Node::resolve).
    Resolve {
        key: Key,
        timestamp: Option<Timestamp>,
        dating: Dating,
        reply: Reply<Option<Record>>,
    },
    /// Date the value of a key now, if it is dated ahead; see [`Node::redate`](super::Node::redate).
    Redate { key: Key, reply: Reply<Option<Record>> },
    /// Remove these damaged rows, unless they are sound by now. The reply is whether anything was done.
    SetAside { rows: Vec<RowId>, reply: Reply<bool> },
    /// The patrol has come to this row.
    Patrolled(i64),
    /// Merge remote records.
    Receive {
        via: Via,
        records: Vec<Record>,
        /// Held until the records are stored.
        _permit: OwnedSemaphorePermit,
    },
}

impl Work {
    /// How many remote records it contains.
    pub(super) fn records(&self) -> usize {
        match self {
            Self::Receive { records, .. } => records.len(),
            _ => 0,
        }
    }

    /// As an entry for the ledger.
    pub(super) fn entry(&self) -> Entry<'_> {
        match self {
            Self::Write {
                key, content, terms, ..
            } => Entry::Write {
                key,
                content,
                terms: *terms,
            },
            Self::WriteAll { writes, .. } => Entry::WriteAll(writes),
            Self::WriteDue { writes, .. } => Entry::WriteDue(writes),
            Self::Redate { key, .. } => Entry::Redate { key },
            Self::Resolve {
                key, timestamp, dating, ..
            } => Entry::Resolve {
                key,
                timestamp: *timestamp,
                dating: *dating,
            },
            Self::SetAside { rows, .. } => Entry::SetAside(rows),
            Self::Patrolled(rowid) => Entry::Patrolled(*rowid),
            Self::Receive { via, records, .. } => Entry::Receive {
                via: *via,
                records,
                reached: None,
            },
        }
    }
}
