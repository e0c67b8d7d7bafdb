//! What every network promises to the node, whatever carries its messages.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_sync_core::sync::Frame;
use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Timestamp, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{FromPeers, Link, NetStatus, StreamEvent, StreamId, StreamOrder, ToPeers};

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node's end of a network.
pub(super) struct End {
    pub(super) link: Link,
    pub(super) id: NodeId,
}

impl End {
    pub(super) async fn tell(&self, order: ToPeers) {
        self.link.outbound.send(order).await.unwrap();
    }

    pub(super) async fn status(&self) -> NetStatus {
        let (reply, answer) = oneshot::channel();
        self.tell(ToPeers::Status(reply)).await;
        answer.await.unwrap()
    }

    pub(super) async fn has_peer(&mut self, peer: NodeId) {
        let peers = self.link.streams.peers.wait_for(|peers| peers.contains_key(&peer));
        drop(timeout(PATIENCE, peers).await.expect("not in the table").unwrap());
    }

    pub(super) async fn has_nobody(&mut self) {
        let peers = self.link.streams.peers.wait_for(BTreeMap::is_empty);
        drop(timeout(PATIENCE, peers).await.expect("still in the table").unwrap());
    }

    pub(super) async fn event(&mut self) -> StreamEvent {
        let event = self.link.streams.events.recv();
        timeout(PATIENCE, event).await.expect("nothing happens").unwrap()
    }

    /// The next stream that is opened: its name, who is at the other end, and our end.
    pub(super) async fn opened(&mut self) -> (StreamId, NodeId, mpsc::Sender<Frame>) {
        match self.event().await {
            StreamEvent::Opened {
                stream, peer, outgoing, ..
            } => (stream, peer, outgoing),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn heard(&mut self) -> Frame {
        loop {
            match self.event().await {
                StreamEvent::Received { frame, .. } => return frame,
                StreamEvent::Sent { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// What else is told up to the end of the stream, and whether that was in good order.
    pub(super) async fn ended(&mut self, stream: StreamId) -> Option<String> {
        loop {
            match self.event().await {
                StreamEvent::Ended { stream: ended, cause } => {
                    assert_eq!(ended, stream);
                    return cause;
                }
                StreamEvent::Opened { .. } | StreamEvent::NotOpened { .. } => panic!("another stream"),
                StreamEvent::Received { .. } | StreamEvent::Sent { .. } => {}
            }
        }
    }

    /// The next records of another node, and from whom they came.
    async fn records(&mut self) -> (Option<NodeId>, Vec<Record>) {
        loop {
            let message = timeout(PATIENCE, self.link.inbound.recv());
            if let FromPeers::Records { via, records, .. } = message.await.expect("nothing arrives").unwrap() {
                return (via.neighbour(), records);
            }
        }
    }

    pub(super) async fn stop(self) {
        let (done, is_done) = oneshot::channel();
        self.tell(ToPeers::Stop(done)).await;
        assert!(timeout(PATIENCE, is_done).await.expect("it hangs").is_err());
    }
}

pub(super) fn record(author: NodeId, number: i64, bytes: usize) -> Record {
    Record {
        key: Key::new(format!("{number}")).unwrap(),
        content: Content::Put(Value::new(vec![0; bytes]).unwrap()),
        timestamp: Timestamp::from_nanos(number + 1).unwrap(),
        author,
        seen: Seen::NOTHING,
        signature: None,
    }
}

/// Runs the suite with two nodes that are connected to each other, or will be by themselves. `again` gives a third one that takes
/// the first one's place.
pub(super) async fn run([mut a, mut b]: [End; 2], again: impl AsyncFnOnce() -> End) {
    a.has_peer(b.id).await;
    b.has_peer(a.id).await;
    assert!(
        a.status()
            .await
            .peers
            .iter()
            .any(|peer| peer.peer_id == b.id.to_string())
    );
    writes_reach_the_others(&a, &mut b).await;
    a_stream_carries_frames_both_ways_and_ends_for_both(&mut a, &mut b).await;
    there_is_no_stream_to_nobody(&mut a).await;
    b.tell(ToPeers::OpenStream {
        peer: a.id,
        order: StreamOrder(9),
    })
    .await;
    let (broken, _, _held) = b.opened().await;
    let (id, before) = (a.id, b.link.streams.peers.borrow()[&a.id].connected);
    a.stop().await;
    assert!(b.ended(broken).await.is_some(), "it did not end in good order");
    b.has_nobody().await;
    assert!(b.status().await.peers.is_empty());
    let a = again().await;
    b.has_peer(a.id).await;
    let after = b.link.streams.peers.borrow()[&a.id].connected;
    assert!(id != a.id || after != before, "one that comes back is another");
    a.stop().await;
    b.stop().await;
}

/// What one writes reaches the other.
pub(super) async fn writes_reach_the_others(a: &End, b: &mut End) {
    for number in 0..200 {
        a.tell(ToPeers::Live(record(a.id, number, 100))).await;
    }
    let mut arrived = Vec::new();
    while arrived.len() < 200 {
        let (neighbour, records) = b.records().await;
        assert_eq!(neighbour, Some(a.id));
        arrived.extend(records);
    }
    arrived.sort_by_key(|record| record.timestamp);
    let sent: Vec<Record> = (0..200).map(|number| record(a.id, number, 100)).collect();
    assert_eq!(arrived, sent);
}

/// Streams work.
pub(super) async fn a_stream_carries_frames_both_ways_and_ends_for_both(a: &mut End, b: &mut End) {
    let (peer, order) = (b.id, StreamOrder(1));
    a.tell(ToPeers::OpenStream { peer, order }).await;
    let StreamEvent::Opened {
        stream,
        peer,
        asked,
        outgoing,
    } = a.event().await
    else {
        panic!("something else")
    };
    assert_eq!((peer, asked), (b.id, Some(order)));
    outgoing.send(Frame::Done).await.unwrap();
    let (theirs, peer, answers) = b.opened().await;
    assert_eq!(peer, a.id);
    assert_eq!(b.heard().await, Frame::Done);
    answers.send(Frame::BulkOffered).await.unwrap();
    assert_eq!(a.heard().await, Frame::BulkOffered);
    drop((outgoing, answers));
    assert_eq!((a.ended(stream).await, b.ended(theirs).await), (None, None));
}

async fn there_is_no_stream_to_nobody(a: &mut End) {
    let (nobody, order) = (NodeId::from_bytes(&[9; 38]).unwrap(), StreamOrder(3));
    a.tell(ToPeers::OpenStream { peer: nobody, order }).await;
    let event = a.event().await;
    assert!(matches!(event, StreamEvent::NotOpened { peer, order: answered } if peer == nobody && answered == order));
}

mod memory {
    use super::super::memory::Hub;
    use super::*;

    fn end(hub: &Hub, id: u8) -> End {
        let id = NodeId::from_bytes(&[id]).unwrap();
        End { link: hub.join(id), id }
    }

    #[tokio::test]
    async fn the_network_in_memory_keeps_the_promises_of_a_network() {
        let hub = Hub::default();
        run([end(&hub, 1), end(&hub, 2)], async || end(&hub, 1)).await;
    }
}
