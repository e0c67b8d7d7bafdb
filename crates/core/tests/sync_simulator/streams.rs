//! Streams between nodes: in order and without loss, like the real ones, until they break. Each carries one session.

use p2p_sync_core::sync::{FrameBuffer, Next, Opening, Outcome, Report, Session};

use crate::liar::twist;
use crate::world::{Event, World};

/// Frames under way in one direction before the sender has to wait.
const UNDER_WAY_MAX: usize = 3;
/// Above what the cells of a whole sketch and the keys of a difference take.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The two ends of a stream: the one that asks is 0, the one that answers 1.
pub(crate) struct Stream {
    pub(crate) nodes: [usize; 2],
    started: u64,
    sessions: [Option<Session>; 2],
    buffers: [FrameBuffer; 2],
    /// Under way to each end.
    under_way: [usize; 2],
    /// When the last frame to each end arrives: the next one does not overtake it.
    last_arrival: [u64; 2],
}

impl World {
    pub(crate) fn open_stream(&mut self, asks: usize, answers: usize, opening: Opening) {
        let pair = |stream: &Stream| stream.nodes.contains(&asks) && stream.nodes.contains(&answers);
        if !self.can_reach(asks, answers) || !self.can_reach(answers, asks) || self.streams.values().any(pair) {
            return;
        }
        let slots = |node: usize| self.nodes[node].slots.clone();
        let asking = Session::ask(opening, slots(asks), &self.nodes[asks].store, self.now(asks));
        let stream = Stream {
            nodes: [asks, answers],
            started: self.time,
            sessions: [Some(asking), Some(Session::answer(slots(answers)))],
            buffers: [FrameBuffer::new(), FrameBuffer::new()],
            under_way: [0, 0],
            last_arrival: [self.time, self.time],
        };
        let id = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(id, stream);
        self.pump(id);
    }

    /// Both ends send what they can.
    fn pump(&mut self, id: u64) {
        let mut moved = false;
        for end in [0, 1] {
            moved |= self.pump_end(id, end);
        }
        let Some(stream) = self.streams.get(&id) else { return };
        let silent = !moved && stream.under_way == [0, 0] && stream.sessions.iter().all(Option::is_some);
        let liars = stream.nodes.iter().any(|node| self.nodes[*node].lie.is_some());
        assert!(!silent || liars, "both ends wait for each other");
    }

    fn pump_end(&mut self, id: u64, end: usize) -> bool {
        let mut moved = false;
        loop {
            let Some(stream) = self.streams.get_mut(&id) else {
                return moved;
            };
            if stream.under_way[1 - end] >= UNDER_WAY_MAX {
                return moved;
            }
            let Some(mut session) = stream.sessions[end].take() else {
                return moved;
            };
            let node = stream.nodes[end];
            let now = self.now(node);
            let frame = loop {
                match session.next_frame(&mut self.nodes[node].store, now).unwrap() {
                    Next::Frame(frame) => break Some(frame),
                    Next::Again => {}
                    Next::Nothing => break None,
                }
            };
            assert!(
                session.held_bytes() <= HELD_BYTES_MAX,
                "a session holds {} bytes",
                session.held_bytes()
            );
            if let Some(outcome) = session.outcome() {
                let report = session.report().clone();
                if let Some(frame) = frame {
                    self.send(id, end, &frame);
                }
                self.finished(id, end, outcome, &report);
                return true;
            }
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.sessions[end] = Some(session);
            }
            let Some(frame) = frame else { return moved };
            moved = true;
            self.send(id, end, &frame);
        }
    }

    fn send(&mut self, id: u64, end: usize, frame: &p2p_sync_core::sync::Frame) {
        let Some(stream) = self.streams.get(&id) else { return };
        let frame = match self.nodes[stream.nodes[end]].lie {
            Some(lie) => twist(lie, frame.clone(), &mut self.random, &mut self.written),
            None => Some(frame.clone()),
        };
        let Some(frame) = frame else { return };
        if self.random.below(1_000) < self.scenario.break_permille && !self.calm {
            self.break_stream(id);
            return;
        }
        let arrival = self.arrival(id, 1 - end);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.under_way[1 - end] += 1;
        }
        self.tally.bytes += frame.encode().len() as u64;
        self.schedule(
            arrival,
            Event::Frame {
                stream: id,
                end: 1 - end,
                bytes: frame.encode(),
            },
        );
    }

    fn arrival(&mut self, id: u64, end: usize) -> u64 {
        let arrival = self.time + self.random_delay();
        let Some(stream) = self.streams.get_mut(&id) else {
            return arrival;
        };
        stream.last_arrival[end] = arrival.max(stream.last_arrival[end]);
        stream.last_arrival[end]
    }

    pub(crate) fn frame_arrives(&mut self, id: u64, end: usize, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.under_way[end] -= 1;
        stream.buffers[end].push(bytes);
        let node = stream.nodes[end];
        let peer = stream.nodes[1 - end];
        while let Some(stream) = self.streams.get_mut(&id) {
            let Some(mut session) = stream.sessions[end].take() else {
                break;
            };
            let frame = stream.buffers[end].next_frame().unwrap();
            let Some(frame) = frame else {
                stream.sessions[end] = Some(session);
                break;
            };
            let now = self.now(node);
            let result = session.receive(frame, &mut self.nodes[node].store, now);
            self.nodes[node].note_digest(self.time);
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.sessions[end] = Some(session);
            }
            if let Err(error) = result {
                assert!(
                    self.nodes[peer].lie.is_some() || self.nodes[node].lie.is_some(),
                    "an honest peer: {error}"
                );
                self.tally.violations += 1;
                self.break_stream(id);
                return;
            }
        }
        self.pump(id);
    }

    /// One end is through; the other hears of it behind everything that was sent.
    fn finished(&mut self, id: u64, end: usize, outcome: Outcome, report: &Report) {
        let arrival = self.arrival(id, 1 - end);
        let Some(stream) = self.streams.get(&id) else { return };
        let (node, peer, started) = (stream.nodes[end], stream.nodes[1 - end], stream.started);
        if stream.sessions.iter().all(Option::is_none) {
            self.streams.remove(&id);
        } else {
            self.schedule(
                arrival,
                Event::Close {
                    stream: id,
                    end: 1 - end,
                },
            );
        }
        self.tally.count(outcome, report);
        let honest = self.nodes[node].lie.is_none() && self.nodes[peer].lie.is_none();
        if outcome == Outcome::Equal && honest {
            let digest = report.equal_digest.expect("equal digests are told");
            for side in [node, peer] {
                assert!(
                    self.nodes[side].had_digest_since(&digest, started),
                    "node {side} never had that digest"
                );
            }
        }
        if matches!(outcome, Outcome::Delivered | Outcome::Busy) {
            self.owe(node, peer, 500);
        }
        if report.changed > 0 {
            for neighbour in self.neighbours(node) {
                self.owe(node, neighbour, 200);
            }
        }
    }

    /// The other end is through. Whoever is not is left alone with it.
    pub(crate) fn close_arrives(&mut self, id: u64, end: usize) {
        if self
            .streams
            .get(&id)
            .is_some_and(|stream| stream.sessions[end].is_some())
        {
            self.break_stream(id);
        } else {
            self.streams.remove(&id);
        }
    }

    pub(crate) fn break_stream(&mut self, id: u64) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.tally.streams_broken += 1;
        let [asks, answers] = stream.nodes;
        self.owe(asks, answers, 300);
        self.owe(answers, asks, 300);
    }

    pub(crate) fn break_streams_of(&mut self, node: usize) {
        self.break_streams_where(|stream| stream.nodes.contains(&node));
    }

    pub(crate) fn break_streams_where(&mut self, broken: impl Fn(&Stream) -> bool) {
        let ids: Vec<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| broken(stream))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.break_stream(id);
        }
    }

    /// A stream on which nothing moves for long is given up, as a node does.
    pub(crate) fn drop_stalled(&mut self) {
        let limit = self.time.saturating_sub(30_000);
        self.break_streams_where(|stream| {
            stream.last_arrival.iter().all(|last| *last < limit) && stream.under_way == [0, 0]
        });
    }
}
