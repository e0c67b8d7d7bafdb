//! Streams over a pipe in memory, with a peer that the test plays itself.

use futures::AsyncWriteExt;
use p2p_sync_core::sync::FrameBuffer;
use p2p_sync_core::{Content, Key, Record, Seen, Timestamp, Value};
use tokio::sync::watch;

use super::*;
use crate::net::libp2p::testing::{Pipe, pipe};
use crate::net::{FROM_PEERS_MAX, PeerLinks, STREAM_EVENTS_MAX};

mod feeds;
mod sessions;

/// The node's ends.
struct Ends {
    common: Arc<Common>,
    events: mpsc::Receiver<StreamEvent>,
    inbound: mpsc::Receiver<FromPeers>,
    links: watch::Receiver<PeerLinks>,
    peer: PeerId,
    node: NodeId,
}

fn ends(patience: Patience) -> Ends {
    let (happened, events) = mpsc::channel(STREAM_EVENTS_MAX);
    let (to_node, inbound) = mpsc::channel(FROM_PEERS_MAX);
    let (told, links) = watch::channel(PeerLinks::new());
    let peer = PeerId::random();
    let node = node_id(&peer).unwrap();
    let log = Arc::new(LogBudget::new());
    let common = Common::new(happened, to_node, Links::new(told), patience, log, Names::default());
    common.links.set(&[node].into());
    Ends {
        common: Arc::new(common),
        events,
        inbound,
        links,
        peer,
        node,
    }
}

fn short() -> Patience {
    let moment = Duration::from_millis(50);
    Patience {
        opening: moment,
        silence: moment,
        stall: moment,
        linger: moment,
        feed_stall: moment,
        feed_idle: moment,
        feed_pause: moment,
    }
}

impl Ends {
    /// A stream that the peer opens; its end is returned.
    fn incoming(&self, bytes: usize) -> Pipe {
        let (ours, theirs) = pipe(bytes);
        let slot = self.common.admit(self.peer, true).unwrap();
        tokio::spawn(answer(self.peer, ours, slot));
        theirs
    }

    fn complaints(&self, cause: &str) -> u64 {
        let all = self.common.complaints();
        all.iter().find(|(it, _)| it == cause).map_or(0, |(_, count)| *count)
    }

    fn missed(&self) -> u64 {
        self.links.borrow().get(&self.node).unwrap().missed
    }

    async fn ended(&mut self) -> Option<String> {
        loop {
            if let StreamEvent::Ended { cause, .. } = self.events.recv().await.unwrap() {
                return cause;
            }
        }
    }
}

async fn say(pipe: &mut Pipe, frame: &Frame) {
    pipe.write_all(&frame.encode()).await.unwrap();
}

async fn hear(pipe: &mut Pipe, buffer: &mut FrameBuffer) -> Option<Frame> {
    loop {
        if let Some(frame) = buffer.next_frame().unwrap() {
            return Some(frame);
        }
        let mut chunk = [0; 1_024];
        match pipe.read(&mut chunk).await.unwrap() {
            0 => return None,
            count => buffer.push(&chunk[..count]),
        }
    }
}

fn record(number: i64, bytes: usize) -> Record {
    Record {
        key: Key::new(format!("{number}")).unwrap(),
        content: Content::Put(Value::new(vec![0; bytes]).unwrap()),
        timestamp: Timestamp::from_nanos(number + 1).unwrap(),
        author: NodeId::from_bytes(&[1; 38]).unwrap(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

fn page(records: Vec<Record>) -> Frame {
    Frame::Records { bulk: None, records }
}
