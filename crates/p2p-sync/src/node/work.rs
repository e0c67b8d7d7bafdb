//! What the writer's thread is asked for, the pieces of work that share a transaction, and what is to be told of each once
//! that is durable. Gathering them and telling the outcomes is the writer's.

use p2p_sync_core::{Content, Key, NodeId, Record, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::holdings::{Holdings, Merged};
use super::{NodeError, Restored, SyncStatus, Synced, Verified};

/// Where the outcome of a local write goes.
pub(super) type Reply = oneshot::Sender<Result<Option<Record>, NodeError>>;

/// What the node's handle asks of the thread.
#[derive(Debug)]
pub(super) enum Request {
    /// Store a new version of a key. The reply is that version; none when a key to delete was not there.
    Write { key: Key, content: Content, reply: Reply },
    /// Bring a lost version back; see [`Node::restore`](super::Node::restore).
    Restore {
        key: Key,
        timestamp: Option<Timestamp>,
        reply: oneshot::Sender<Result<Option<Restored>, NodeError>>,
    },
    /// Hold a session with every peer.
    Sync { reply: oneshot::Sender<Vec<Synced>> },
    /// Check the store.
    Verify {
        reply: oneshot::Sender<Result<Verified, NodeError>>,
    },
    /// Say how the sync is doing.
    SyncStatus { reply: oneshot::Sender<SyncStatus> },
    /// A reader met damage in the file.
    Damaged,
    /// These rows proved damaged: they are taken out, unless they are sound by now. The reply is whether something was done.
    SetAside {
        rowids: Vec<i64>,
        reply: oneshot::Sender<bool>,
    },
    /// The patrol has come to this row.
    Patrolled(i64),
    /// Finish what waits, and end.
    Stop,
}

/// One piece of work inside a transaction.
pub(super) enum Work {
    Write {
        key: Key,
        content: Content,
        reply: Reply,
    },
    Restore {
        key: Key,
        timestamp: Option<Timestamp>,
        reply: oneshot::Sender<Result<Option<Restored>, NodeError>>,
    },
    Receive {
        from: From,
        records: Vec<Record>,
        /// Held until the records are stored.
        _room: OwnedSemaphorePermit,
    },
}

/// Which way records came.
#[derive(Clone, Copy)]
pub(super) enum From {
    Gossip { author: NodeId, neighbour: NodeId },
    Feed { peer: NodeId },
}

impl From {
    /// The direct peer that brought them.
    pub(super) fn deliverer(self) -> NodeId {
        match self {
            Self::Gossip { neighbour, .. } => neighbour,
            Self::Feed { peer } => peer,
        }
    }
}

impl Work {
    /// How many records of others it holds.
    pub(super) fn records(&self) -> usize {
        match self {
            Self::Write { .. } | Self::Restore { .. } => 0,
            Self::Receive { records, .. } => records.len(),
        }
    }

    /// Whether it does nothing, on a full disk, but what leaves about as much room as before.
    pub(super) fn leaves_room(&self, holdings: &mut Holdings) -> bool {
        match self {
            Self::Write { key, content, .. } => holdings.leaves_room(key, content).unwrap_or(false),
            Self::Restore { .. } => false,
            // It is asked record by record.
            Self::Receive { .. } => true,
        }
    }

    /// Does a piece of work in the open transaction.
    pub(super) fn apply(&self, holdings: &mut Holdings) -> Result<Outcome, NodeError> {
        let outcome = match self {
            Self::Write { key, content, .. } => holdings.write(key.clone(), content.clone()).map(Outcome::Written),
            Self::Restore { key, timestamp, .. } => holdings.restore(key, *timestamp).map(Outcome::Restored),
            Self::Receive { records, .. } => holdings.merge(records).map(Outcome::Received),
        };
        match outcome {
            // That concerns this one only, and nothing was written for it.
            Err(error @ NodeError::Clock(_)) => Ok(Outcome::Refused(error)),
            outcome => outcome,
        }
    }
}

/// What is to be told once the transaction is durable.
pub(super) enum Outcome {
    Written(Option<Record>),
    Restored(Option<Restored>),
    Received(Merged),
    Refused(NodeError),
}
