//! The thread that owns the replica and its store. Everything that waits is written in one transaction and then answered
//! (group commit), so that the price of making a transaction durable is shared. Local requests go first. Which version wins
//! is the core's decision; nothing here waits for the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use p2p_sync_core::replica::{Replica, WriteError};
use p2p_sync_core::store::Store;
use p2p_sync_core::{Content, Key, NodeId, Record, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::NodeError;
use super::change_log::ChangeLog;
use super::remembering::Remembering;
use super::{Restored, SyncStatus, Synced, Verified};
use crate::net::{Audience, FromPeers, Link, ToPeers};
use crate::store::SqliteStore;
use crate::system::{self, Stopwatch};

/// Requests that share a transaction. Enough to make its price small beside the work; few enough that whoever
/// waits for an answer waits some milliseconds.
const BATCH_MAX: usize = 256;
/// Received records after which a transaction takes no further message: some tens of milliseconds of work.
const RECEIVED_MAX: usize = 1_024;
/// How long the thread stays awake for those it has just answered: they tend to ask again at once, and waking a thread costs as
/// much as a good part of a transaction. Also how long a transaction waits for as many requests as the last one had, or every
/// other one would be theirs who happened to be first.
const LINGER: Duration = Duration::from_micros(100);

type Reply = oneshot::Sender<Result<Option<Record>, NodeError>>;

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
    /// Finish what waits, and end.
    Stop,
}

/// One piece of work inside a transaction.
enum Work {
    Write {
        key: Key,
        content: Content,
        reply: Reply,
    },
    Receive {
        author: NodeId,
        neighbour: NodeId,
        records: Vec<Record>,
        /// Held until the records are stored.
        _room: OwnedSemaphorePermit,
    },
}

impl Work {
    /// How many records of others it holds.
    fn records(&self) -> usize {
        match self {
            Self::Write { .. } => 0,
            Self::Receive { records, .. } => records.len(),
        }
    }
}

/// What is to be told once the transaction is durable.
enum Outcome {
    Written(Option<Record>),
    /// The records that were stored, of those received.
    Received(Vec<Record>),
    Refused(NodeError),
}

/// The thread's state.
pub(super) struct Writer {
    replica: Replica,
    store: SqliteStore,
    requests: mpsc::Receiver<Request>,
    inbound: mpsc::Receiver<FromPeers>,
    to_peers: mpsc::Sender<ToPeers>,
    audience: Arc<Audience>,
    remembering: Remembering,
    log: ChangeLog,
    watch: Stopwatch,
    /// How many requests the last transaction had.
    expected: usize,
    stopping: bool,
}

enum Next {
    Request(Request),
    Message(FromPeers),
}

impl Writer {
    pub(super) fn new(replica: Replica, store: SqliteStore, requests: mpsc::Receiver<Request>, link: Link) -> Self {
        Self {
            replica,
            store,
            requests,
            inbound: link.inbound,
            to_peers: link.outbound,
            audience: link.audience,
            remembering: Remembering::default(),
            log: ChangeLog::default(),
            watch: Stopwatch::start(),
            expected: 0,
            stopping: false,
        }
    }

    /// Works until it is asked to stop, or nobody can ask any more.
    pub(super) fn run(mut self) {
        while !self.stopping {
            let Some(first) = self.next() else { break };
            let batch = self.gather(first);
            self.write(batch);
        }
        self.log.summarise();
        if let Err(error) = self.store.close() {
            tracing::warn!("the store was not closed in good order, which the next start makes good: {error}");
        }
    }

    /// The next thing to do; none when the handle is gone.
    fn next(&mut self) -> Option<Next> {
        let since = Instant::now();
        while self.expected > 0 && since.elapsed() < LINGER {
            if let Ok(request) = self.requests.try_recv() {
                return Some(Next::Request(request));
            }
            if let Ok(message) = self.inbound.try_recv() {
                return Some(Next::Message(message));
            }
            std::thread::yield_now();
        }
        self.expected = 0;
        block_on(async {
            tokio::select! {
                biased;
                request = self.requests.recv() => request.map(Next::Request),
                Some(message) = self.inbound.recv() => Some(Next::Message(message)),
            }
        })
    }

    /// Everything that waits, up to a bound, local requests first.
    fn gather(&mut self, first: Next) -> Vec<Work> {
        let mut batch = Vec::new();
        match first {
            Next::Request(request) => self.take_request(request, &mut batch),
            Next::Message(message) => self.take_message(message, &mut batch),
        }
        self.take_requests(&mut batch);
        let since = Instant::now();
        while batch.len() < self.expected.min(BATCH_MAX) && !self.stopping && since.elapsed() < LINGER {
            std::thread::yield_now();
            self.take_requests(&mut batch);
        }
        self.expected = batch.iter().filter(|work| matches!(work, Work::Write { .. })).count();
        // Beyond the local requests, so that those cannot keep the others out for ever; but a node that stops has no time.
        let mut received = batch.iter().map(Work::records).sum::<usize>();
        while received < RECEIVED_MAX
            && !self.stopping
            && let Ok(message) = self.inbound.try_recv()
        {
            let before = batch.len();
            self.take_message(message, &mut batch);
            received += batch.iter().skip(before).map(Work::records).sum::<usize>();
        }
        batch
    }

    fn take_requests(&mut self, batch: &mut Vec<Work>) {
        while batch.len() < BATCH_MAX
            && !self.stopping
            && let Ok(request) = self.requests.try_recv()
        {
            self.take_request(request, batch);
        }
    }

    fn take_request(&mut self, request: Request, batch: &mut Vec<Work>) {
        match request {
            Request::Write { key, content, reply } => batch.push(Work::Write { key, content, reply }),
            Request::Restore { reply, .. } => drop(reply),
            Request::Sync { reply } => drop(reply),
            Request::Verify { reply } => drop(reply),
            Request::SyncStatus { reply } => drop(reply.send(SyncStatus::default())),
            Request::Stop => self.stopping = true,
        }
    }

    fn take_message(&mut self, message: FromPeers, batch: &mut Vec<Work>) {
        match message {
            FromPeers::Received {
                author,
                neighbour,
                records,
                room,
            } => batch.push(Work::Receive {
                author,
                neighbour,
                records,
                _room: room,
            }),
            FromPeers::Fed { .. } => {}
            FromPeers::Reached { peer, address } => {
                self.remembering
                    .reached(peer, address, system::now(), self.watch.uptime());
            }
        }
    }

    /// Writes a batch in one transaction. If that fails, each piece of work gets one of its own, so that only what cannot be
    /// written is refused; unless the disk failed, because then it is unknown what was written.
    fn write(&mut self, batch: Vec<Work>) {
        match self.transact(&batch) {
            Ok(outcomes) => self.tell_all(batch, outcomes),
            Err(error) if batch.len() > 1 && !self.store.is_broken() => {
                tracing::debug!("a batch of {} is written one by one: {error}", batch.len());
                for work in batch {
                    self.write(vec![work]);
                }
            }
            Err(error) => {
                let refusals = batch.iter().map(|_| Outcome::Refused(error.clone())).collect();
                self.tell_all(batch, refusals);
            }
        }
    }

    fn transact(&mut self, batch: &[Work]) -> Result<Vec<Outcome>, NodeError> {
        let peers = self.remembering.take();
        if batch.is_empty() && peers.is_empty() {
            return Ok(Vec::new());
        }
        if self.store.is_broken() {
            self.store.reopen()?;
        }
        self.store.begin()?;
        let written = self.apply_all(batch).and_then(|outcomes| {
            if !peers.is_empty() {
                self.store.remember_peers(&peers)?;
            }
            self.store.commit()?;
            Ok(outcomes)
        });
        if written.is_err() {
            self.store.rollback();
            // If it was the disk, it was not their fault.
            if self.store.is_broken() {
                self.remembering.put_back(peers);
            }
        }
        written
    }

    fn apply_all(&mut self, batch: &[Work]) -> Result<Vec<Outcome>, NodeError> {
        batch.iter().map(|work| self.apply(work)).collect()
    }

    fn apply(&mut self, work: &Work) -> Result<Outcome, NodeError> {
        let (store, now) = (&mut self.store, system::now());
        let written = match work {
            Work::Write {
                key,
                content: Content::Deleted,
                ..
            } => self.replica.delete(store, key.clone(), now),
            Work::Write { key, content, .. } => self.replica.write(store, key.clone(), content.clone(), now).map(Some),
            Work::Receive { records, .. } => return self.receive(records),
        };
        match written {
            Ok(written) => Ok(Outcome::Written(written.map(|written| written.record))),
            Err(WriteError::Clock(error)) => Ok(Outcome::Refused(error.into())),
            Err(WriteError::Store(error)) => Err(error.into()),
        }
    }

    /// Merges received records; those that were stored are the outcome.
    fn receive(&mut self, records: &[Record]) -> Result<Outcome, NodeError> {
        let mut stored = Vec::new();
        for record in records {
            match self.replica.receive(&mut self.store, record) {
                Ok(received) if received.merge.stores_incoming() => stored.push(record.clone()),
                Ok(_) => {}
                Err(error) if error.is_one_record() => tracing::error!("a change was not stored: {error}"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Outcome::Received(stored))
    }

    /// Answers whoever asked, and tells the network and the log, now that it is on the disk.
    fn tell_all(&mut self, batch: Vec<Work>, outcomes: Vec<Outcome>) {
        for (work, outcome) in batch.into_iter().zip(outcomes) {
            match (work, outcome) {
                (Work::Write { reply, .. }, Outcome::Written(record)) => {
                    if let Some(record) = record.as_ref().filter(|_| self.audience.listens()) {
                        // A full queue drops the announcement; the record itself is safe.
                        if self.to_peers.try_send(ToPeers::Live(record.clone())).is_err() {
                            self.audience.crowd_out();
                        }
                    }
                    // Whoever asked may have gone away meanwhile.
                    let _ = reply.send(Ok(record));
                }
                (Work::Write { reply, .. }, Outcome::Refused(error)) => drop(reply.send(Err(error))),
                (Work::Receive { author, neighbour, .. }, Outcome::Received(stored)) => {
                    for record in &stored {
                        self.log.received(record, self.watch.uptime());
                    }
                    if stored.is_empty() {
                        let _ = self.to_peers.try_send(ToPeers::ChangedNothing { author, neighbour });
                    }
                }
                (Work::Receive { author, .. }, Outcome::Refused(error)) => {
                    tracing::error!("changes of {author} were not stored: {error}");
                }
                (Work::Write { .. }, Outcome::Received(_)) | (Work::Receive { .. }, Outcome::Written(_)) => {}
            }
        }
    }
}
