//! Sessions of two nodes over streams made of queues, so that each step can be seen and broken off.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use p2p_sync_core::replica::Replica;
use p2p_sync_core::sketch::Cell;
use p2p_sync_core::sync::{State, StoreId, VERSION};
use p2p_sync_core::{Clock, Content, Key, NetworkName, Value};
use tempfile::TempDir;
use tokio::sync::{Semaphore, oneshot};

use super::*;
use crate::net::{PeerLink, STREAM_OUTGOING_MAX};
use crate::node::ledger::Entry;
use crate::node::{Standing, Synced};
use crate::store::SqliteStore;
use crate::system::Stopwatch;

mod lone;

struct Node {
    id: NodeId,
    ledger: Ledger,
    sessions: Sessions,
    watch: Stopwatch,
    orders: mpsc::Receiver<ToPeers>,
    /// What its sessions send, by stream.
    sending: Vec<(StreamId, mpsc::Receiver<Frame>)>,
    _directory: TempDir,
}

/// Two nodes and the streams between them.
struct Pair {
    nodes: [Node; 2],
    streams: u64,
    events: VecDeque<(usize, StreamEvent)>,
    permits: std::sync::Arc<Semaphore>,
    /// The network carries so many frames and then nothing more.
    frames_left: usize,
}

impl Node {
    fn new(id: u8) -> Self {
        let directory = TempDir::new().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
        let id = NodeId::from_bytes(&[id]).unwrap();
        let (to_peers, orders) = mpsc::channel(16);
        Self {
            id,
            ledger: Ledger::new(Replica::new(id, Clock::new(None)), store),
            sessions: Sessions::new(id, to_peers, Names::default()),
            watch: Stopwatch::start(),
            orders,
            sending: Vec::new(),
            _directory: directory,
        }
    }

    fn put(&mut self, keys: impl Iterator<Item = u32>) {
        let content = Content::Put(Value::new(vec![b'v'; 100]).unwrap());
        let keys: Vec<Key> = keys
            .map(|key| Key::new(format!("{} {key}", self.id)).unwrap())
            .collect();
        let write = |key| Entry::Write {
            key,
            content: &content,
            terms: crate::node::Terms::default(),
        };
        let committed = self
            .ledger
            .commit(&keys.iter().map(write).collect::<Vec<_>>(), self.watch.now());
        assert_eq!(committed.changes.len(), keys.len());
        self.sessions.committed(&committed, self.watch.now());
    }

    fn digest(&self) -> Option<[u8; 32]> {
        self.ledger.summary().map(Summary::digest)
    }

    fn standing(&self) -> Standing {
        self.sessions.standings.all(p2p_sync_core::Uptime::default())[0].standing
    }
}

impl Pair {
    fn new() -> Self {
        Self {
            nodes: [Node::new(1), Node::new(2)],
            streams: 0,
            events: VecDeque::new(),
            permits: std::sync::Arc::new(Semaphore::new(1 << 30)),
            frames_left: usize::MAX,
        }
    }

    fn link(&mut self, connected: u64) {
        let ids = self.nodes.each_ref().map(|node| node.id);
        for (node, peer) in self.nodes.iter_mut().zip(ids.into_iter().rev()) {
            node.sessions.on_links(
                [(
                    peer,
                    PeerLink {
                        connected,
                        ..PeerLink::default()
                    },
                )]
                .into(),
                node.watch.now(),
            );
        }
    }

    fn unlink(&mut self) {
        for node in &mut self.nodes {
            node.sessions.on_links(PeerLinks::new(), node.watch.now());
        }
        self.cut();
    }

    /// All streams break.
    fn cut(&mut self) {
        self.events.clear();
        for side in 0..2 {
            for (stream, _) in std::mem::take(&mut self.nodes[side].sending) {
                let cause = Some("cut".to_owned());
                self.events.push_back((side, StreamEvent::Ended { stream, cause }));
            }
        }
    }

    fn open(&mut self, asking: usize, order: StreamOrder) {
        self.streams += 1;
        let stream = StreamId(self.streams);
        let ids = self.nodes.each_ref().map(|node| node.id);
        for (side, asked) in [(asking, Some(order)), (1 - asking, None)] {
            let (outgoing, sending) = mpsc::channel(STREAM_OUTGOING_MAX);
            self.nodes[side].sending.push((stream, sending));
            let peer = ids[1 - side];
            let opened = StreamEvent::Opened {
                stream,
                peer,
                asked,
                outgoing,
            };
            self.events.push_back((side, opened));
        }
    }

    /// One turn of both nodes and of the network. False when nothing happened.
    fn turn(&mut self) -> bool {
        let mut busy = false;
        for side in 0..2 {
            let node = &mut self.nodes[side];
            node.sessions.open_due(&mut node.ledger, node.watch.now());
            busy |= node.sessions.is_ready();
            node.sessions.send_one(&mut node.ledger, node.watch.now());
            while let Ok(asked) = self.nodes[side].orders.try_recv() {
                if let ToPeers::OpenStream { order, .. } = asked {
                    self.open(side, order);
                }
            }
            self.carry(side);
        }
        while let Some((side, event)) = self.events.pop_front() {
            busy = true;
            let node = &mut self.nodes[side];
            node.sessions.on_event(event, &mut node.ledger, node.watch.now());
            node.sessions.committed(&node.ledger.take_committed(), node.watch.now());
        }
        busy
    }

    /// Carries what one side sends to the other, through bytes.
    fn carry(&mut self, side: usize) {
        let mut ended = Vec::new();
        for (stream, sending) in &mut self.nodes[side].sending {
            loop {
                match sending.try_recv() {
                    Ok(_) if self.frames_left == 0 => {}
                    Ok(frame) => {
                        self.frames_left -= 1;
                        let encoded = frame.encode();
                        let mut buffer = p2p_sync_core::sync::FrameBuffer::new();
                        buffer.push(&encoded);
                        let (stream, bytes) = (*stream, encoded.len());
                        let received = StreamEvent::Received {
                            stream,
                            frame: buffer.next_frame().unwrap().unwrap(),
                            bytes,
                            permit: self.permits.clone().try_acquire_owned().unwrap(),
                        };
                        self.events.push_back((1 - side, received));
                        self.events.push_back((side, StreamEvent::Sent { stream, bytes }));
                    }
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        ended.push(*stream);
                        break;
                    }
                }
            }
        }
        // A stream that one side closed ends for both, as soon as the other one has closed it too.
        for stream in ended {
            let other = &self.nodes[1 - side].sending;
            if other
                .iter()
                .all(|(id, sending)| *id != stream || sending.is_closed() || sending.is_empty())
            {
                for side in 0..2 {
                    self.nodes[side].sending.retain(|(id, _)| *id != stream);
                    self.events
                        .push_back((side, StreamEvent::Ended { stream, cause: None }));
                }
            }
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            if !self.turn() {
                std::thread::yield_now();
            }
        }
    }

    fn is_equal(&self) -> bool {
        self.nodes[0].digest() == self.nodes[1].digest()
    }

    fn is_in_sync(&self) -> bool {
        self.is_equal() && self.nodes.iter().all(|node| node.standing() == Standing::InSync)
    }
}

#[test]
fn what_either_side_lacks_comes_when_they_meet() {
    let mut pair = Pair::new();
    pair.nodes[0].put(0..30);
    pair.nodes[1].put(0..5_000);
    pair.link(1);
    pair.run_until("never equal", Pair::is_in_sync);
    let peers = pair.nodes[0].sessions.standings.all(p2p_sync_core::Uptime::default());
    let last = peers[0].last.unwrap();
    assert!(last.bytes_received > 500_000 && last.bytes_sent > 3_000, "{last:?}");
    assert!(last.records_sent >= 30 && last.records_changed == 5_000, "{last:?}");
}

#[test]
fn a_session_that_breaks_off_is_held_again_and_goes_on() {
    let mut pair = Pair::new();
    pair.nodes[1].put(0..6_000);
    pair.link(1);
    pair.frames_left = 8;
    pair.run_until("nothing came", |pair| pair.frames_left == 0);
    pair.cut();
    let held = |pair: &Pair| pair.nodes[0].ledger.summary().unwrap().count();
    pair.run_until("what came was not stored", |pair| held(pair) > 0);
    let held = held(&pair);
    assert!(held < 6_000, "{held}");
    pair.frames_left = usize::MAX;
    pair.run_until("never equal", Pair::is_in_sync);
    let last = pair.nodes[0].sessions.standings.all(p2p_sync_core::Uptime::default())[0]
        .last
        .unwrap();
    assert!(
        last.records_changed <= 6_000 - held,
        "it went on from where it was: {last:?}"
    );
}

#[test]
fn a_peer_that_comes_back_gets_a_new_session() {
    let mut pair = Pair::new();
    pair.link(1);
    pair.run_until("never equal", Pair::is_in_sync);
    pair.nodes[0].put(0..10);
    pair.link(2);
    pair.run_until("never equal", Pair::is_in_sync);
    pair.unlink();
    pair.run_until("events are left", |pair| pair.events.is_empty());
    assert!(pair.nodes.iter().all(|node| node.sessions.open.is_empty()));
}

#[test]
fn whoever_asks_for_a_sync_is_answered_when_it_is_done() {
    let mut pair = Pair::new();
    pair.link(1);
    pair.run_until("never equal", Pair::is_in_sync);
    pair.nodes[1].put(0..10);
    let (reply, mut answer) = oneshot::channel();
    let now = pair.nodes[0].watch.now();
    pair.nodes[0].sessions.ask(reply, now);
    pair.run_until("never equal", Pair::is_in_sync);
    let answer: Vec<Synced> = answer.try_recv().unwrap();
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].standing, Standing::InSync);
    assert_eq!(answer[0].last.unwrap().records_changed, 10);

    pair.unlink();
    let (reply, mut answer) = oneshot::channel();
    let now = pair.nodes[0].watch.now();
    pair.nodes[0].sessions.ask(reply, now);
    assert_eq!(answer.try_recv().unwrap(), [], "there is nobody");
}

#[test]
fn whoever_asked_is_told_when_sessions_keep_falling_short() {
    let mut pair = Pair::new();
    pair.nodes[0].put(0..10);
    pair.nodes[1].ledger.store().forget_summary();
    pair.link(1);
    let (reply, mut answer) = oneshot::channel();
    let now = pair.nodes[0].watch.now();
    pair.nodes[0].sessions.ask(reply, now);
    let start = Instant::now();
    let told = loop {
        pair.turn();
        if let Ok(told) = answer.try_recv() {
            break told;
        }
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it waits for what will not come"
        );
    };
    assert_eq!(told.len(), 1);
    assert_ne!(told[0].standing, Standing::InSync);
}

#[test]
fn a_node_without_a_summary_is_busy_and_comes_back_to_it() {
    let mut pair = Pair::new();
    pair.nodes[0].put(0..10);
    pair.nodes[1].ledger.store().forget_summary();
    pair.link(1);
    pair.run_until("nothing was tried", |pair| {
        let peers = pair.nodes[0].sessions.standings.all(p2p_sync_core::Uptime::default());
        peers[0].last.is_some()
    });
    assert!(!pair.is_equal());
    let store = pair.nodes[1].ledger.store();
    let scanned = store.start_scan(crate::store::Depth::Items).unwrap().run().unwrap();
    store.finish_scan(scanned).unwrap();
    pair.run_until("never equal", Pair::is_in_sync);
}

#[test]
fn a_node_that_loses_its_summary_ends_its_sessions_and_begins_none() {
    let mut pair = Pair::new();
    pair.nodes[1].put(0..6_000);
    pair.link(1);
    pair.frames_left = 8;
    pair.run_until("nothing came", |pair| pair.frames_left == 0);
    assert!(pair.nodes[0].sessions.open.values().any(|open| open.running.is_some()));
    pair.nodes[0].ledger.store().forget_summary();
    let node = &mut pair.nodes[0];
    node.sessions.open_due(&mut node.ledger, node.watch.now());
    assert!(node.sessions.open.values().all(|open| open.running.is_none()));
    assert!(
        node.sessions.next_due().is_none_or(|due| due > node.watch.uptime()),
        "it would never sleep"
    );
}
