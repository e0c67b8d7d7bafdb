//! The thread that owns the replica and its store. Everything that is queued is written in one transaction and then
//! answered (group commit), which shares the cost of making a transaction durable. Local requests go first; after each
//! transaction the sync sessions, which live on this thread too, get a step. Which version wins is the core's decision;
//! nothing here waits for the network.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use p2p_sync_core::Uptime;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::NodeError;
use super::checking::{Checking, ScanResult};
use super::completing::Completing;
use super::ledger::{Entry, Ledger};
use super::received_log::ReceivedLog;
use super::remembering::Remembering;
use super::sessions::Sessions;
use super::work::{Request, Work};
use crate::names::Names;
use crate::net::{Audience, FromPeers, Link, StreamEvent, Streams, ToPeers};
use crate::store::Readers;
use crate::system::{Now, Stopwatch};

mod telling;
#[cfg(test)]
mod tests;
mod upkeep;

use upkeep::REOPEN_PAUSE;

/// Requests that share a transaction. Enough to make its cost small compared with the work; few enough that callers wait
/// only some milliseconds.
const BATCH_MAX: usize = 256;
/// Received records after which a transaction accepts no further message: some tens of milliseconds of work.
const RECEIVED_MAX: usize = 1_024;
/// How long the thread stays awake for those it has just answered: they tend to ask again at once, and waking a thread
/// costs as much as a good part of a transaction. Also how long a transaction waits for as many requests as the last one
/// had, or else only the first requesters would share every other one.
const LINGER: Duration = Duration::from_micros(100);
/// The thread's state.
pub(super) struct Writer {
    ledger: Ledger,
    sessions: Sessions,
    log: ReceivedLog,
    checking: Checking,
    completing: Completing,
    requests: mpsc::Receiver<Request>,
    inbound: mpsc::Receiver<FromPeers>,
    streams: Streams,
    scans: mpsc::Receiver<ScanResult>,
    to_peers: mpsc::Sender<ToPeers>,
    audience: Arc<Audience>,
    /// Whoever reads for watchers waits for this.
    changed: Arc<Notify>,
    remembering: Remembering,
    names: Names,
    readers: Readers,
    watch: Stopwatch,
    /// When a rescue of a damaged store was last attempted.
    rescued: Option<Uptime>,
    /// When reopening a broken store was last attempted.
    reopened: Option<Uptime>,
    /// For waiting: this thread runs no tasks.
    runtime: Handle,
    /// How many requests the last transaction had.
    expected: usize,
    stopping: bool,
    /// When the files of the store are looked at next, if no transaction does it before.
    look_at_files: Uptime,
    /// Why nothing can be stored any more, for whoever ends the node.
    failure: watch::Sender<Option<NodeError>>,
}

enum Wake {
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
        ledger: Ledger,
        readers: Readers,
        requests: mpsc::Receiver<Request>,
        link: Link,
        runtime: Handle,
        failure: watch::Sender<Option<NodeError>>,
        names: Names,
    ) -> Self {
        let (checking, scans) = Checking::new();
        Self {
            log: ReceivedLog::default(),
            sessions: Sessions::new(ledger.id(), link.outbound.clone(), names.clone()),
            checking,
            completing: Completing::default(),
            requests,
            inbound: link.inbound,
            streams: link.streams,
            scans,
            to_peers: link.outbound,
            audience: link.audience,
            changed: Arc::default(),
            remembering: Remembering::default(),
            ledger,
            names,
            readers,
            watch: Stopwatch::start(),
            rescued: None,
            reopened: None,
            runtime,
            expected: 0,
            stopping: false,
            look_at_files: Uptime::default(),
            failure,
        }
    }

    /// The same, with watchers who are notified of every commit that stored a version.
    pub(super) fn with_watchers(mut self, changed: Arc<Notify>) -> Self {
        self.changed = changed;
        self
    }

    /// The same, which counts here how many records a check has read.
    pub(super) fn with_progress(mut self, progress: Arc<AtomicU64>) -> Self {
        self.checking.progress = progress;
        self
    }

    /// The same, with or without the values of others in the log.
    pub(super) fn with_logged_values(mut self, values: bool) -> Self {
        self.log.values = values;
        self
    }

    /// Runs until it is asked to stop, or nobody can ask any more.
    pub(super) fn run(mut self) {
        self.ledger.keep_reserve();
        while !self.stopping {
            let now = self.watch.now();
            self.look_at_files(now);
            self.mend(now);
            self.find_room(now);
            self.checking.begin(&mut self.ledger, now.uptime);
            let wake = self.next();
            // The turn begins when there is something to do.
            let now = self.watch.now();
            match wake {
                None => break,
                Some(Wake::Request(request)) => {
                    let mut batch = Vec::new();
                    self.take_request(request, &mut batch, now);
                    self.write_all(batch, now);
                }
                Some(Wake::Message(message)) => {
                    let mut batch = Vec::new();
                    self.take_message(message, &mut batch, now);
                    self.write_all(batch, now);
                }
                Some(Wake::Stream(event)) => self.on_stream(event, now),
                Some(Wake::Links) => self.on_links(now),
                Some(Wake::Scanned(scanned)) => self.on_scanned(scanned, now),
                Some(Wake::Turn) => {}
            }
            self.step(now);
        }
        self.log.summarise();
        self.ledger.close();
    }

    /// One step of the sessions, after each transaction, so that heavy writers cannot block them.
    fn step(&mut self, now: Now) {
        if self.ledger.held_until().is_some_and(|until| until <= Instant::now()) {
            self.ledger.settle();
        }
        if let Ok(event) = self.streams.events.try_recv() {
            self.on_stream(event, now);
        }
        if self.streams.peers.has_changed().unwrap_or(false) {
            self.on_links(now);
        }
        if let Ok(scanned) = self.scans.try_recv() {
            self.on_scanned(scanned, now);
        }
        self.heal(now);
        self.log.catch_up(now.uptime);
        self.complete(now);
        self.sessions.send_one(&mut self.ledger, now);
        self.sessions.open_due(&mut self.ledger, now);
        if self.sessions.take_doubt() {
            self.checking.doubt(now.uptime);
        }
        self.tell_of_sessions(now);
    }

    /// The next thing to do; none if the handle is gone.
    fn next(&mut self) -> Option<Wake> {
        let since = Instant::now();
        while self.expected > 0 && since.elapsed() < LINGER {
            if let Ok(request) = self.requests.try_recv() {
                return Some(Wake::Request(request));
            }
            if let Ok(message) = self.inbound.try_recv() {
                return Some(Wake::Message(message));
            }
            std::thread::yield_now();
        }
        self.expected = 0;
        let is_out_of_order = self.ledger.is_broken() || self.ledger.is_damaged();
        let mending = is_out_of_order.then(|| Instant::now() + REOPEN_PAUSE);
        let in_order = |due: Option<Uptime>| due.filter(|_| !is_out_of_order);
        let due = [
            self.sessions.next_due(),
            in_order(self.checking.next_due()),
            in_order(self.completing.next_due(&mut self.ledger)),
            in_order(self.ledger.next_look_for_room()),
            (!self.ledger.is_displaced()).then_some(self.look_at_files),
        ];
        let due = due.into_iter().flatten().min();
        let due = due
            .map(|due| self.watch.instant_at(due))
            .into_iter()
            .chain(mending)
            .chain(self.ledger.held_until())
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
                request = self.requests.recv() => request.map(Wake::Request),
                Some(message) = self.inbound.recv() => Some(Wake::Message(message)),
                Some(event) = self.streams.events.recv() => Some(Wake::Stream(event)),
                Ok(()) = self.streams.peers.changed() => Some(Wake::Links),
                Some(scanned) = self.scans.recv() => Some(Wake::Scanned(scanned)),
                () = std::future::ready(()), if ready => Some(Wake::Turn),
                () = alarm => Some(Wake::Turn),
            }
        })
    }

    /// Something happened on a stream of a session, which may have committed changes.
    fn on_stream(&mut self, event: StreamEvent, now: Now) {
        self.sessions.on_event(event, &mut self.ledger, now);
        self.tell_of_sessions(now);
        if self.names.has_unsaved() {
            self.write_all(Vec::new(), now);
        }
    }

    /// Writes this and everything else that is queued.
    fn write_all(&mut self, mut batch: Vec<Work>, now: Now) {
        self.gather(&mut batch, now);
        self.write(batch, now);
    }

    /// Everything that is queued, up to a limit, local requests first.
    fn gather(&mut self, batch: &mut Vec<Work>, now: Now) {
        self.take_requests(batch, now);
        let since = Instant::now();
        while batch.len() < self.expected.min(BATCH_MAX) && !self.stopping && since.elapsed() < LINGER {
            std::thread::yield_now();
            self.take_requests(batch, now);
        }
        self.expected = batch.iter().filter(|work| matches!(work, Work::Write { .. })).count();
        // Beyond the local requests, so that those cannot keep the others out for ever; but a node that stops has no time.
        let mut received = batch.iter().map(Work::records).sum::<usize>();
        while received < RECEIVED_MAX
            && !self.stopping
            && let Ok(message) = self.inbound.try_recv()
        {
            let before = batch.len();
            self.take_message(message, batch, now);
            received += batch.iter().skip(before).map(Work::records).sum::<usize>();
        }
    }

    fn take_requests(&mut self, batch: &mut Vec<Work>, now: Now) {
        while batch.len() < BATCH_MAX
            && !self.stopping
            && let Ok(request) = self.requests.try_recv()
        {
            self.take_request(request, batch, now);
        }
    }

    fn take_request(&mut self, request: Request, batch: &mut Vec<Work>, now: Now) {
        match request {
            Request::Work(work) => batch.push(work),
            Request::Sync { reply } => self.sessions.ask(reply, now),
            Request::Verify { reply } => self.checking.ask(reply),
            // Whoever asked may have gone away meanwhile.
            Request::SyncStatus { reply } => drop(reply.send(self.status(now))),
            Request::Damaged => self.note_damage(now),
            Request::Stop => self.stopping = true,
        }
    }

    fn take_message(&mut self, message: FromPeers, batch: &mut Vec<Work>, now: Now) {
        match message {
            FromPeers::Records { via, records, permit } => batch.push(Work::Receive {
                via,
                records,
                _permit: permit,
            }),
            FromPeers::Reached { peer, address } => {
                self.remembering.reached(peer, address, now.time, now.uptime);
            }
        }
    }

    /// Writes a batch, notifies listeners, and answers the requesters.
    fn write(&mut self, batch: Vec<Work>, now: Now) {
        let (reached, heard) = (self.remembering.take(), self.names.take_unsaved());
        let mut entries: Vec<Entry<'_>> = batch.iter().map(Work::entry).collect();
        if !reached.is_empty() {
            entries.push(Entry::Remember(&reached));
        }
        if !heard.is_empty() {
            entries.push(Entry::RememberNames(&heard));
        }
        if entries.is_empty() {
            return;
        }
        let mut committed = self.ledger.commit(&entries, now);
        if !heard.is_empty() {
            match committed.done.pop() {
                Some(Err(error)) if self.may_be_repeated(&error) => self.names.put_back(heard),
                Some(Err(error)) => tracing::debug!("cannot remember the names of peers: {error}"),
                _ => {}
            }
        }
        if !reached.is_empty() {
            match committed.done.pop() {
                Some(Err(error)) if self.may_be_repeated(&error) => self.remembering.put_back(reached),
                Some(Err(error)) => tracing::debug!("cannot remember which peers were reached: {error}"),
                _ => self.ledger.write_known_peers(),
            }
        }
        let done = std::mem::take(&mut committed.done);
        self.tell(&committed, now);
        for (work, done) in batch.into_iter().zip(done) {
            self.answer(work, done, now);
        }
    }

    /// Whether what failed with this error may go through another time.
    fn may_be_repeated(&self, error: &NodeError) -> bool {
        !error.may_be_of_one_piece() || self.ledger.is_broken()
    }
}
