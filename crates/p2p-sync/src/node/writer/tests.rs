//! The thread with a store of its own, and queues in place of the network.

use std::path::{Path, PathBuf};

use p2p_sync_core::replica::Replica;
use p2p_sync_core::sync::Frame;
use p2p_sync_core::{Clock, Content, Key, NetworkName, NodeId, Record, Seen, Value, Via};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, oneshot, watch};

use super::*;
use crate::net::{PeerLink, PeerLinks, StreamId};
use crate::node::SyncStatus;
use crate::store::testing::Lock;
use crate::store::{Capacity, SqliteStore, StoreErrorKind};
use crate::system;

/// Far above what a lock may cost, and far below what it costs if each waits for it.
const PATIENCE: Duration = Duration::from_secs(15);

/// A writer that runs, and the other ends of its queues.
struct Running {
    requests: mpsc::Sender<Request>,
    inbound: mpsc::Sender<FromPeers>,
    orders: mpsc::Receiver<ToPeers>,
    events: mpsc::Sender<StreamEvent>,
    peers: watch::Sender<PeerLinks>,
    streams: u64,
    permits: Arc<Semaphore>,
    runtime: Runtime,
    thread: std::thread::JoinHandle<()>,
    file: PathBuf,
    _directory: TempDir,
}

fn me() -> NodeId {
    NodeId::from_bytes(&[2]).unwrap()
}

/// The only peer, which leaves the first session to us.
fn peer() -> NodeId {
    NodeId::from_bytes(&[7]).unwrap()
}

fn theirs(key: &str, content: Content) -> Record {
    Record {
        key: Key::new(key).unwrap(),
        content,
        timestamp: system::now(),
        author: peer(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

fn value(text: &str) -> Content {
    Content::Put(Value::new(text.as_bytes()).unwrap())
}

/// Starts a writer for which all of this waits already.
fn start(capacity: Capacity, waiting: impl FnOnce(&Path, &mpsc::Sender<Request>)) -> Running {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("store.db");
    let store = SqliteStore::open(&file, &NetworkName::default()).unwrap();
    let readers = Readers::open(&file, 1).unwrap();
    let ledger = Ledger::new(Replica::new(me(), Clock::new(None)), store);
    let (requests, asked) = mpsc::channel(1_024);
    let (inbound, received) = mpsc::channel(1_024);
    let (outbound, orders) = mpsc::channel(1_024);
    let (events, happened) = mpsc::channel(256);
    let (peers, links) = watch::channel(PeerLinks::new());
    let link = Link {
        audience: Arc::default(),
        outbound,
        inbound: received,
        streams: Streams {
            peers: links,
            events: happened,
        },
    };
    let runtime = Runtime::new().unwrap();
    let ledger = ledger.with_capacity(capacity);
    let writer = Writer::new(
        ledger,
        readers,
        asked,
        link,
        runtime.handle().clone(),
        watch::channel(None).0,
        Names::default(),
    );
    waiting(&file, &requests);
    let thread = std::thread::spawn(|| writer.run());
    Running {
        requests,
        inbound,
        orders,
        events,
        peers,
        streams: 0,
        permits: Arc::new(Semaphore::new(1 << 20)),
        runtime,
        thread,
        file,
        _directory: directory,
    }
}

impl Running {
    fn status(&self) -> SyncStatus {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request::SyncStatus { reply }).unwrap();
        answer.blocking_recv().unwrap()
    }

    /// A peer connects, and proves equal.
    fn connect(&mut self) {
        self.peers.send_replace([(peer(), PeerLink::default())].into());
        self.wait_session();
    }

    /// What is done within the time that nothing here may take.
    fn soon<T>(&self, what: &str, done: impl Future<Output = T>) -> T {
        let done = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, done).await });
        done.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
    }

    /// Waits for a session with the peer, and lets it end equal: nothing more is due with it then for half a minute.
    fn wait_session(&mut self) {
        let mut orders = std::mem::replace(&mut self.orders, mpsc::channel(1).1);
        let asked = self.soon("a session is wanted", async {
            loop {
                if let Some(ToPeers::OpenStream { order, .. }) = orders.recv().await {
                    break order;
                }
            }
        });
        self.orders = orders;
        let (outgoing, mut sent) = mpsc::channel(4);
        self.streams += 1;
        let stream = StreamId(self.streams);
        let opened = StreamEvent::Opened {
            stream,
            peer: peer(),
            asked: Some(asked),
            outgoing,
        };
        self.events.blocking_send(opened).unwrap();
        let answer = match self.soon("it begins", sent.recv()) {
            Some(Frame::Check(state)) => Frame::Check(state),
            Some(Frame::Hello { state, .. }) => Frame::Hello {
                state,
                decoded: false,
                cells: Vec::new(),
                hints: Vec::new(),
                more: 0,
            },
            other => panic!("{other:?}"),
        };
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(1).unwrap();
        let received = StreamEvent::Received {
            stream,
            frame: answer,
            bytes: 1,
            permit,
        };
        self.events.blocking_send(received).unwrap();
        self.soon("it ends", async { while sent.recv().await.is_some() {} });
        let ended = StreamEvent::Ended { stream, cause: None };
        self.events.blocking_send(ended).unwrap();
    }

    fn feed(&self, record: Record) {
        let permit = Arc::clone(&self.permits).try_acquire_many_owned(1).unwrap();
        let (via, records) = (Via::Feed { neighbour: peer() }, vec![record]);
        let fed = FromPeers::Records { via, records, permit };
        self.inbound.blocking_send(fed).unwrap();
    }

    fn gossip(&self, record: Record) {
        let (author, neighbour) = (record.author, peer());
        let received = FromPeers::Records {
            via: Via::Gossip { author, neighbour },
            records: vec![record],
            permit: Arc::clone(&self.permits).try_acquire_many_owned(1).unwrap(),
        };
        self.inbound.blocking_send(received).unwrap();
    }

    fn wait_refused(&self, least: u64) {
        let since = Instant::now();
        while self.status().refused.iter().map(|(_, count)| count).sum::<u64>() < least {
            assert!(since.elapsed() < PATIENCE, "nothing was refused");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(self) {
        self.requests.blocking_send(Request::Stop).unwrap();
        self.thread.join().unwrap();
    }
}

fn write(requests: &mpsc::Sender<Request>, key: &str) -> oneshot::Receiver<Result<Option<Record>, NodeError>> {
    let (reply, answer) = oneshot::channel();
    let (key, content) = (Key::new(key).unwrap(), value("mine"));
    let terms = crate::node::Terms::default();
    let work = Work::Write {
        key,
        content,
        terms,
        reply,
    };
    requests.try_send(Request::Work(work)).unwrap();
    answer
}

#[test]
fn a_lock_of_another_program_is_waited_for_once_and_not_by_each_request() {
    let (mut lock, mut answers) = (None, Vec::new());
    let running = start(Capacity::Volume, |file, requests| {
        lock = Some(Lock::of(file));
        answers.extend((0..200).map(|n| write(requests, &format!("key {n}"))));
    });
    let since = Instant::now();
    running.soon("all are answered", async {
        for answer in answers {
            let error = answer.await.unwrap().unwrap_err();
            assert!(matches!(&error, NodeError::Store(error) if error.kind() == StoreErrorKind::Busy));
        }
    });
    assert!(since.elapsed() < PATIENCE / 2, "{:?}", since.elapsed());
    // Each of these is a transaction, or tries to be one.
    for n in 0..20 {
        running.gossip(theirs(&format!("key {n}"), value("theirs")));
        assert!(running.status().ready);
    }
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
    drop(lock);
    let written = running.soon("an answer", write(&running.requests, "key"));
    assert!(written.unwrap().unwrap().is_some());
    running.stop();
}

#[test]
fn what_was_brought_and_could_not_be_stored_is_owed_a_session_with_who_brought_it() {
    let mut running = start(Capacity::Volume, |_, _| {});
    running.connect();
    for brought in [Running::gossip, Running::feed] {
        let lock = Lock::of(&running.file);
        brought(&running, theirs("key", value("theirs")));
        running.wait_session();
        drop(lock);
    }
    running.stop();
}

#[test]
fn what_found_no_room_is_owed_when_there_is_some() {
    let mut running = start(Capacity::Bytes(600_000), |_, _| {});
    running.connect();
    let keys: Vec<String> = (0..10).map(|n| format!("key {n}")).collect();
    for key in &keys {
        running.feed(theirs(key, value(&"v".repeat(60_000))));
    }
    running.wait_refused(1);
    for key in &keys {
        running.feed(theirs(key, Content::Deleted));
    }
    running.wait_session();
    running.stop();
}

#[test]
fn a_message_below_a_floor_is_counted_and_yet_brings_no_news() {
    let mut running = start(Capacity::Volume, |_, _| {});
    let old = Record {
        author: NodeId::from_bytes(&[8]).unwrap(),
        ..theirs("key", value("old"))
    };
    let newer = Record {
        seen: Seen::new(Some(old.timestamp), vec![]).unwrap(),
        ..theirs("key", value("newer"))
    };
    running.gossip(newer);
    running.gossip(old.clone());
    let mut orders = std::mem::replace(&mut running.orders, mpsc::channel(1).1);
    let charged = running.soon("its author is charged", async {
        loop {
            if let Some(ToPeers::ChangedNothing { author, .. }) = orders.recv().await {
                break author;
            }
        }
    });
    assert_eq!(charged, old.author);
    running.wait_refused(1);
    running.stop();
}
