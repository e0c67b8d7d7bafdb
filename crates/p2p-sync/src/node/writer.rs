//! The thread that owns the replica and its store. Everything that waits is written in one transaction and then answered
//! (group commit), so that the price of making a transaction durable is shared. Local requests go first; after each transaction
//! the sync sessions, which live on this thread too, get a step. Which version wins is the core's decision; nothing here waits
//! for the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_sync_core::sync::Origin;
use p2p_sync_core::{NodeId, Record, Uptime};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::NodeError;
use super::checking::{Checking, ScanResult};
use super::completing::Completing;
use super::holdings::{Holdings, Merged};
use super::remembering::Remembering;
use super::sessions::Sessions;
use super::work::{From, Outcome, Request, Work};
use crate::net::{Audience, FromPeers, Link, StreamEvent, Streams, ToPeers};
use crate::store::Readers;
use crate::system::{self, Stopwatch};

#[cfg(test)]
mod tests;
mod upkeep;

use upkeep::REOPEN_PAUSE;

/// Requests that share a transaction. Enough to make its price small beside the work; few enough that whoever
/// waits for an answer waits some milliseconds.
const BATCH_MAX: usize = 256;
/// Received records after which a transaction takes no further message: some tens of milliseconds of work.
const RECEIVED_MAX: usize = 1_024;
/// How long the thread stays awake for those it has just answered: they tend to ask again at once, and waking a thread costs as
/// much as a good part of a transaction. Also how long a transaction waits for as many requests as the last one had, or every
/// other one would be theirs who happened to be first.
const LINGER: Duration = Duration::from_micros(100);
/// The thread's state.
pub(super) struct Writer {
    holdings: Holdings,
    sessions: Sessions,
    checking: Checking,
    completing: Completing,
    requests: mpsc::Receiver<Request>,
    inbound: mpsc::Receiver<FromPeers>,
    streams: Streams,
    scans: mpsc::Receiver<ScanResult>,
    to_peers: mpsc::Sender<ToPeers>,
    audience: Arc<Audience>,
    remembering: Remembering,
    readers: Readers,
    watch: Stopwatch,
    /// When a damaged store was last tried to be rescued.
    rescued: Option<Uptime>,
    /// When a broken store was last tried to be opened again.
    reopened: Option<Uptime>,
    /// For waiting: this thread runs no tasks.
    runtime: Handle,
    /// How many requests the last transaction had.
    expected: usize,
    /// It could not be noted who listens; it is tried again then.
    note_again_at: Option<Uptime>,
    stopping: bool,
    /// When the files of the store are looked at next, if no transaction does it before.
    look_at_files: Uptime,
    /// Why nothing can be stored any more, for whoever ends the node.
    failure: watch::Sender<Option<NodeError>>,
}

enum Next {
    Request(Request),
    Message(FromPeers),
    Stream(StreamEvent),
    Links,
    Scanned(ScanResult),
    /// Something has become due, or a session may go on.
    Turn,
}

impl Writer {
    pub(super) fn new(
        me: NodeId,
        holdings: Holdings,
        readers: Readers,
        requests: mpsc::Receiver<Request>,
        link: Link,
        runtime: Handle,
        failure: watch::Sender<Option<NodeError>>,
    ) -> Self {
        let (checking, scans) = Checking::new();
        Self {
            holdings,
            sessions: Sessions::new(me, link.outbound.clone()),
            checking,
            completing: Completing::default(),
            requests,
            inbound: link.inbound,
            streams: link.streams,
            scans,
            to_peers: link.outbound,
            audience: link.audience,
            remembering: Remembering::default(),
            readers,
            watch: Stopwatch::start(),
            rescued: None,
            reopened: None,
            runtime,
            expected: 0,
            note_again_at: None,
            stopping: false,
            look_at_files: Uptime::default(),
            failure,
        }
    }

    /// Works until it is asked to stop, or nobody can ask any more.
    pub(super) fn run(mut self) {
        self.holdings.keep_reserve();
        while !self.stopping {
            self.look_at_files();
            self.mend();
            self.find_room();
            self.checking.begin(&mut self.holdings, self.watch.uptime());
            match self.next() {
                None => break,
                Some(Next::Request(request)) => {
                    let mut batch = Vec::new();
                    self.take_request(request, &mut batch);
                    self.write_all(batch);
                }
                Some(Next::Message(message)) => {
                    let mut batch = Vec::new();
                    self.take_message(message, &mut batch);
                    self.write_all(batch);
                }
                Some(Next::Stream(event)) => self.sessions.on_event(event, &mut self.holdings),
                Some(Next::Links) => self.on_links(),
                Some(Next::Scanned(scanned)) => self.on_scanned(scanned),
                Some(Next::Turn) => {}
            }
            self.step();
        }
        self.holdings.close();
    }

    /// One step of the sessions, after each transaction, so that nobody who writes much can keep them from going on.
    fn step(&mut self) {
        if let Ok(event) = self.streams.events.try_recv() {
            self.sessions.on_event(event, &mut self.holdings);
        }
        if self.streams.peers.has_changed().unwrap_or(false) {
            self.on_links();
        }
        if let Ok(scanned) = self.scans.try_recv() {
            self.on_scanned(scanned);
        }
        self.heal();
        self.complete();
        self.sessions.send_one(&mut self.holdings);
        self.sessions.open_due(&mut self.holdings);
        if self.sessions.take_doubt() {
            self.checking.doubt(self.watch.uptime());
        }
        self.note_who_listens();
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
        let is_out_of_order = self.holdings.is_broken() || self.holdings.is_damaged();
        let mending = is_out_of_order.then(|| Instant::now() + REOPEN_PAUSE);
        let checking = self.checking.next_due().filter(|_| !is_out_of_order);
        let checking = checking.map(|due| self.watch.instant_at(due));
        let completing = self
            .completing
            .next_due(&mut self.holdings)
            .filter(|_| !is_out_of_order);
        let completing = completing.map(|due| self.watch.instant_at(due));
        let files = Some(self.watch.instant_at(self.look_at_files)).filter(|_| !self.holdings.is_displaced());
        let room = self.holdings.next_look_for_room().filter(|_| !is_out_of_order);
        let due = self
            .sessions
            .next_due()
            .into_iter()
            .chain(mending)
            .chain(checking)
            .chain(room)
            .chain(files)
            .chain(completing)
            .min();
        let alarm = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let ready = self.sessions.is_ready();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                request = self.requests.recv() => request.map(Next::Request),
                Some(message) = self.inbound.recv() => Some(Next::Message(message)),
                Some(event) = self.streams.events.recv() => Some(Next::Stream(event)),
                Ok(()) = self.streams.peers.changed() => Some(Next::Links),
                Some(scanned) = self.scans.recv() => Some(Next::Scanned(scanned)),
                () = std::future::ready(()), if ready => Some(Next::Turn),
                () = alarm => Some(Next::Turn),
            }
        })
    }

    /// Writes this and everything else that waits.
    fn write_all(&mut self, mut batch: Vec<Work>) {
        self.gather(&mut batch);
        self.write(batch);
    }

    /// Everything that waits, up to a bound, local requests first.
    fn gather(&mut self, batch: &mut Vec<Work>) {
        self.take_requests(batch);
        let since = Instant::now();
        while batch.len() < self.expected.min(BATCH_MAX) && !self.stopping && since.elapsed() < LINGER {
            std::thread::yield_now();
            self.take_requests(batch);
        }
        self.expected = batch.iter().filter(|work| matches!(work, Work::Write { .. })).count();
        // Beyond the local requests, so that those cannot keep the others out for ever; but a node that stops has no time.
        let mut received = batch.iter().map(Work::records).sum::<usize>();
        while received < RECEIVED_MAX
            && !self.stopping
            && let Ok(message) = self.inbound.try_recv()
        {
            let before = batch.len();
            self.take_message(message, batch);
            received += batch.iter().skip(before).map(Work::records).sum::<usize>();
        }
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
            Request::Restore { key, timestamp, reply } => batch.push(Work::Restore { key, timestamp, reply }),
            Request::Sync { reply } => self.sessions.ask(reply),
            Request::Verify { reply } => self.checking.ask(reply),
            // Whoever asked may have gone away meanwhile.
            Request::SyncStatus { reply } => drop(reply.send(self.status())),
            Request::Damaged => self.note_damage(),
            Request::SetAside { rowids, reply } => drop(reply.send(self.set_aside(&rowids))),
            Request::Patrolled(rowid) => self.keep_patrolled(rowid),
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
                from: From::Gossip { author, neighbour },
                records,
                _room: room,
            }),
            FromPeers::Fed { peer, records, room } => batch.push(Work::Receive {
                from: From::Feed { peer },
                records,
                _room: room,
            }),
            FromPeers::Reached { peer, address } => {
                self.remembering
                    .reached(peer, address, system::now(), self.watch.uptime());
            }
        }
    }

    /// Writes a batch in one transaction. If that fails for a reason that may lie in one piece of work, each gets a transaction
    /// of its own, so that only what cannot be written is refused.
    fn write(&mut self, batch: Vec<Work>) {
        match self.transact(&batch) {
            Ok(outcomes) => self.tell_all(batch, outcomes),
            Err(error) if batch.len() > 1 && error.may_be_of_one_piece() && !self.holdings.is_broken() => {
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
        let mut work = |holdings: &mut Holdings| {
            let outcomes = batch
                .iter()
                .map(|work| work.apply(holdings))
                .collect::<Result<_, _>>()?;
            holdings.remember(&peers)?;
            Ok(outcomes)
        };
        let mut written = self.holdings.transact(work);
        // Of several pieces of work, each is written by itself first.
        if let [piece] = batch
            && written.as_ref().is_err_and(NodeError::is_full)
            && piece.leaves_room(&mut self.holdings)
        {
            written = self.holdings.transact_in_room(&mut work);
        }
        if written.is_ok() && !peers.is_empty() {
            self.holdings.write_known_peers();
        }
        // If it was the disk, or may have been another piece of work, it was not their fault.
        if let Err(error) = &written
            && (!error.may_be_of_one_piece() || self.holdings.is_broken() || batch.len() > 1)
        {
            self.remembering.put_back(peers);
        }
        written
    }

    /// Answers whoever asked, and tells the network and the log, now that it is on the disk.
    fn tell_all(&mut self, batch: Vec<Work>, outcomes: Vec<Outcome>) {
        for (work, outcome) in batch.into_iter().zip(outcomes) {
            match (work, outcome) {
                (Work::Write { reply, .. }, Outcome::Written(record)) => {
                    self.announce(record.as_ref());
                    // Whoever asked may have gone away meanwhile.
                    let _ = reply.send(Ok(record));
                }
                (Work::Write { reply, .. }, Outcome::Refused(error)) => drop(reply.send(Err(error))),
                (Work::Restore { reply, .. }, Outcome::Restored(restored)) => {
                    self.announce(restored.as_ref().map(|restored| &restored.record));
                    let _ = reply.send(Ok(restored));
                }
                (Work::Restore { reply, .. }, Outcome::Refused(error)) => drop(reply.send(Err(error))),
                (Work::Receive { from, .. }, Outcome::Received(merged)) => self.note_received(from, &merged),
                (Work::Receive { from, records, .. }, Outcome::Refused(error)) => {
                    self.holdings.note_failure(&records, &error);
                    self.sessions.owe(from.deliverer());
                }
                // Each kind of work has its own outcome.
                _ => {}
            }
        }
    }

    /// Tells the network of a local write.
    fn announce(&mut self, record: Option<&Record>) {
        let Some(record) = record else { return };
        self.sessions.changed(Origin::Local);
        // A full queue drops the announcement; the record itself is safe.
        if self.audience.listens() && self.to_peers.try_send(ToPeers::Live(record.clone())).is_err() {
            self.audience.crowd_out();
        }
    }

    fn note_received(&mut self, from: From, merged: &Merged) {
        self.holdings.note(merged);
        match from {
            // What found no room is owed by all once there is some, what met damage once that is taken out.
            _ if merged.stored.is_empty() && merged.refused.total() > 0 => {}
            From::Gossip { author, neighbour } if merged.stored.is_empty() => {
                let _ = self.to_peers.try_send(ToPeers::ChangedNothing { author, neighbour });
            }
            From::Gossip { .. } => self.sessions.changed(Origin::Gossip),
            From::Feed { .. } if merged.stored.is_empty() => {}
            From::Feed { peer } => self.sessions.changed(Origin::Sync { from: peer }),
        }
    }
}
