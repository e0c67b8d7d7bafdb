//! One node, and a peer as which the test itself speaks, frame by frame.

use super::*;

/// Node 1, which knows node 2, and streams on which the test speaks as that one.
struct Lone {
    pair: Pair,
    peer: NodeId,
    streams: u64,
}

impl Lone {
    fn new() -> Self {
        let mut pair = Pair::new();
        pair.nodes[0].put(0..10);
        pair.link(1);
        let peer = pair.nodes[1].id;
        Self {
            pair,
            peer,
            streams: 1_000,
        }
    }

    fn tell(&mut self, event: StreamEvent) {
        let node = &mut self.pair.nodes[0];
        node.sessions.on_event(event, &mut node.ledger, node.watch.now());
    }

    fn opened(&mut self, asked: Option<StreamOrder>) -> (StreamId, mpsc::Receiver<Frame>) {
        let (outgoing, sending) = mpsc::channel(STREAM_OUTGOING_MAX);
        self.streams += 1;
        let stream = StreamId(self.streams);
        let peer = self.peer;
        self.tell(StreamEvent::Opened {
            stream,
            peer,
            asked,
            outgoing,
        });
        (stream, sending)
    }

    /// What it says to these, one after the other.
    fn say(&mut self, (stream, sending): &mut (StreamId, mpsc::Receiver<Frame>), frames: Vec<Frame>) -> Vec<Frame> {
        let mut answers = Vec::new();
        for frame in frames {
            let permit = self.pair.permits.clone().try_acquire_owned().unwrap();
            self.tell(StreamEvent::Received {
                stream: *stream,
                bytes: frame.encode().len(),
                frame,
                permit,
            });
            let node = &mut self.pair.nodes[0];
            while node.sessions.is_ready() {
                node.sessions.send_one(&mut node.ledger, node.watch.now());
            }
            answers.extend(std::iter::from_fn(|| sending.try_recv().ok()));
        }
        answers
    }

    /// The order for a stream that was given last.
    fn order(&mut self) -> StreamOrder {
        let node = &mut self.pair.nodes[0];
        node.sessions.open_due(&mut node.ledger, node.watch.now());
        let orders = std::iter::from_fn(|| node.orders.try_recv().ok());
        let orders = orders.filter_map(|order| match order {
            ToPeers::OpenStream { order, .. } => Some(order),
            _ => None,
        });
        orders.last().unwrap()
    }

    fn hello() -> Frame {
        let state = State {
            version: VERSION,
            now: system::now(),
            store: StoreId(9),
            count: 20,
            digest: [9; 32],
            changed: 0,
        };
        Frame::Hello {
            state,
            decoded: false,
            cells: vec![Cell::default(); 64],
            hints: Vec::new(),
            more: 0,
        }
    }
}

#[test]
fn a_peer_that_breaks_the_rules_loses_its_session_only() {
    let mut lone = Lone::new();
    let mut stream = lone.opened(None);
    lone.say(&mut stream, vec![Frame::Feed]);
    assert!(stream.1.is_closed(), "our end is given up");
    assert_eq!(
        lone.pair.nodes[0].sessions.standings.refused().collect::<Vec<_>>(),
        [("broke the rules of the sync", 1)]
    );
    let mut next = lone.opened(None);
    let hello = Lone::hello();
    let answers = lone.say(&mut next, vec![hello, Frame::BulkOffered]);
    assert!(matches!(answers[0], Frame::Hello { .. }), "{answers:?}");
    assert_eq!(answers.last(), Some(&Frame::Busy), "but no slots for a while");
}

#[test]
fn the_answer_to_an_older_order_neither_takes_nor_ends_a_newer_opening() {
    let mut lone = Lone::new();
    let first = lone.order();
    // The peer was lost and has come back, and another stream is ordered.
    lone.pair.link(2);
    let second = lone.order();
    assert_ne!(first, second);
    let peer = lone.peer;
    lone.tell(StreamEvent::NotOpened { peer, order: first });
    let (_, late) = lone.opened(Some(first));
    assert!(late.is_closed(), "nobody wants it any longer");
    assert!(lone.pair.nodes[0].sessions.open.is_empty());
    let (stream, sending) = lone.opened(Some(second));
    assert!(!sending.is_closed());
    assert!(lone.pair.nodes[0].sessions.open.contains_key(&stream));
}

#[test]
fn a_session_in_which_next_to_nothing_moves_is_ended_and_its_peer_gets_no_slots_for_a_while() {
    let mut lone = Lone::new();
    let mut stream = lone.opened(None);
    let hello = Lone::hello();
    lone.say(&mut stream, vec![hello.clone(), Frame::BulkOffered]);
    let begun = lone.pair.nodes[0].watch.uptime();
    let sessions = &mut lone.pair.nodes[0].sessions;
    let is_open = |sessions: &Sessions| sessions.open.values().any(|open| open.running.is_some());
    let mut at = begun;
    while is_open(sessions) {
        at = at.after(LOOK_INTERVAL);
        assert!(at < begun.after(Duration::from_secs(60)), "it holds the bulk for ever");
        let time = system::now();
        sessions.end_overdue(Now { time, uptime: at });
    }
    assert!(at > begun.after(Duration::from_secs(20)), "it was given some time");
    assert!(stream.1.is_closed());
    let mut next = lone.opened(None);
    let answers = lone.say(&mut next, vec![hello, Frame::BulkOffered]);
    assert_eq!(answers.last(), Some(&Frame::Busy), "{answers:?}");
}

#[test]
fn whoever_gives_up_the_ranges_by_opening_another_session_does_not_get_them_again_at_once() {
    let mut lone = Lone::new();
    for first in [true, false] {
        // As if the pause of the whole node were over.
        lone.pair.nodes[0].sessions.slots = Slots::default();
        let mut stream = lone.opened(None);
        let hello = Lone::hello();
        let answers = lone.say(&mut stream, vec![hello, Frame::Range(vec![0x61])]);
        let expected = if first { Frame::Range(vec![0x61]) } else { Frame::Busy };
        assert_eq!(answers.last(), Some(&expected));
    }
}
