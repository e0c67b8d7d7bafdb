//! Streams between nodes: in order and without loss, like the real ones, until they break. Each carries one session.

use p2p_sync_core::Via;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::sync::{
    Answer, Asker, Frame, FrameBuffer, Next, Opening, Outcome, Report, Session, SessionEnd, SessionError,
};

use crate::connections::peer_id;
use crate::liar::twist;
use crate::node::NoRoom;
use crate::world::{Event, World};

/// Frames under way in one direction before the sender has to wait.
pub(crate) const UNDER_WAY_MAX: usize = 3;
/// Above what the cells of a whole sketch and the keys of a difference take.
const HELD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A stream on which nothing moves for so long is given up, as a node does.
const STALLED_MS: u64 = 30_000;

/// One end of a stream.
enum End {
    /// Its node has not heard of the stream yet.
    Unheard,
    Open(Box<Session>),
    Closed,
}

/// The two ends of a stream: the one that asks is 0, the one that answers 1.
pub(crate) struct Stream {
    pub(crate) nodes: [usize; 2],
    started: u64,
    ends: [End; 2],
    buffers: [FrameBuffer; 2],
    /// Under way to each end.
    under_way: [usize; 2],
    /// When the last frame to each end arrives: the next one does not overtake it.
    last_arrival: [u64; 2],
}

impl Stream {
    fn take(&mut self, end: usize) -> Option<Box<Session>> {
        match std::mem::replace(&mut self.ends[end], End::Closed) {
            End::Open(session) => Some(session),
            other => {
                self.ends[end] = other;
                None
            }
        }
    }

    fn is_open(&self, end: usize) -> bool {
        matches!(self.ends[end], End::Open(_))
    }
}

impl World {
    /// Whether a frame under way takes its stream along.
    pub(crate) fn breaks(&mut self) -> bool {
        self.random.below(1_000) < self.scenario.break_permille && !self.calm
    }

    pub(crate) fn open_stream(&mut self, asks: usize, answers: usize, opening: Opening) {
        // Where pairs meet from one side only, the other can but wait.
        let way = !self.scenario.one_sided || asks < answers;
        if !way || !self.is_connected(asks, answers) || self.breaks() {
            let at = self.uptime();
            self.agenda(asks).ended(peer_id(answers), SessionEnd::unopened(), at);
            return;
        }
        self.tally.sessions_opened += 1;
        let (uptime, now) = (self.uptime(), self.now(asks));
        let node = &mut self.nodes[asks];
        let asker = Asker {
            peer: peer_id(answers),
            dialled: true,
        };
        let slots = node.rights.slots(asker, &node.slots, uptime);
        let session = Session::ask(opening, slots, &mut node.store, now);
        let stream = Stream {
            nodes: [asks, answers],
            started: self.time,
            ends: [End::Open(Box::new(session)), End::Unheard],
            buffers: self.buffers(),
            under_way: [0, 0],
            last_arrival: [self.time, self.time],
        };
        let id = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(id, stream);
        let arrival = self.arrival(id, 1);
        self.schedule(arrival, Event::Opened(id));
        self.pump(id);
    }

    /// The other side hears of the stream, and lets the session go on or not.
    pub(crate) fn opened(&mut self, id: u64) {
        let Some([asks, answers]) = self.streams.get(&id).map(|stream| stream.nodes) else {
            return;
        };
        let answer = self.agenda(answers).asks(peer_id(asks));
        if answer == Answer::Refuse {
            self.tally.sessions_refused += 1;
            self.close(id, 1);
            return;
        }
        if answer == Answer::AcceptInsteadOfOurs {
            self.drop_session(answers, asks);
        }
        let (node, at) = (&self.nodes[answers], self.uptime());
        let asker = Asker {
            peer: peer_id(asks),
            dialled: false,
        };
        let session = Session::answer(node.rights.slots(asker, &node.slots, at));
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.ends[1] = End::Open(Box::new(session));
        }
        self.pump(id);
    }

    /// A node gives up the session that it holds with a peer in favour of another one.
    fn drop_session(&mut self, node: usize, peer: usize) {
        let held = self.streams.iter().find_map(|(id, stream)| {
            let end = stream.nodes.iter().position(|other| *other == node)?;
            (stream.nodes[1 - end] == peer && stream.is_open(end)).then_some((*id, end))
        });
        if let Some((id, end)) = held {
            self.tally.sessions_dropped += 1;
            self.close(id, end);
        }
    }

    /// One end is closed; the other hears of it behind everything that was sent.
    fn close(&mut self, id: u64, end: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.ends[end] = End::Closed;
        if matches!(stream.ends[1 - end], End::Closed) {
            self.streams.remove(&id);
        } else {
            let arrival = self.arrival(id, 1 - end);
            self.schedule(
                arrival,
                Event::Close {
                    stream: id,
                    end: 1 - end,
                },
            );
        }
    }

    /// Both ends send what they can.
    fn pump(&mut self, id: u64) {
        let mut moved = false;
        for end in [0, 1] {
            moved |= self.pump_end(id, end);
        }
        let Some(stream) = self.streams.get(&id) else { return };
        let silent = !moved && stream.under_way == [0, 0] && stream.is_open(0) && stream.is_open(1);
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
            let Some(mut session) = stream.take(end) else {
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
            let held = session.held_bytes();
            assert!(held <= HELD_BYTES_MAX, "a session holds {held} bytes");
            if let Some(outcome) = session.outcome() {
                self.finished(id, end, outcome, session.report());
                if let Some(frame) = frame {
                    self.send(id, end, frame);
                }
                self.close(id, end);
                return true;
            }
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.ends[end] = End::Open(session);
            }
            let Some(frame) = frame else { return moved };
            moved = true;
            self.send(id, end, frame);
        }
    }

    fn send(&mut self, id: u64, end: usize, frame: Frame) {
        let Some(stream) = self.streams.get(&id) else { return };
        let frame = match self.nodes[stream.nodes[end]].lie {
            Some(lie) => twist(lie, frame, &mut self.random, &mut self.written),
            None => Some(frame),
        };
        let Some(frame) = frame else { return };
        if self.breaks() {
            self.break_stream(id);
            return;
        }
        let arrival = self.arrival(id, 1 - end);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.under_way[1 - end] += 1;
        }
        let bytes = frame.encode();
        self.tally.bytes += bytes.len() as u64;
        self.schedule(
            arrival,
            Event::Frame {
                stream: id,
                end: 1 - end,
                bytes,
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
        let (node, peer) = (stream.nodes[end], stream.nodes[1 - end]);
        while let Some(stream) = self.streams.get_mut(&id) {
            let Some(mut session) = stream.take(end) else { break };
            let frame = stream.buffers[end].next_frame().unwrap();
            let Some(frame) = frame else {
                stream.ends[end] = End::Open(session);
                break;
            };
            let (now, before) = (self.now(node), session.report().changed);
            let store = &mut self.nodes[node].store;
            store.horizon = now.saturating_add(FUTURE_MAX);
            let result = session.receive(frame, store, now);
            self.nodes[node].note_digest(self.time);
            if session.report().changed > before {
                self.changed_by_sync(node, peer);
            }
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.ends[end] = End::Open(session);
            }
            if result == Err(SessionError::Store(NoRoom)) {
                self.tally.bulks_without_room += 1;
                self.break_stream(id);
                return;
            }
            if let Err(error) = result {
                let liars = self.nodes[peer].lie.is_some() || self.nodes[node].lie.is_some();
                assert!(liars, "an honest peer: {error:?}");
                self.tally.violations += 1;
                self.tally.wrong_signatures += u64::from(error.to_string().contains("did not sign"));
                let at = self.uptime();
                self.nodes[node].rights.cut_off(peer_id(peer), at);
                self.break_stream(id);
                return;
            }
        }
        self.pump(id);
    }

    pub(crate) fn changed_by_sync(&mut self, node: usize, from: usize) {
        let at = self.uptime();
        let neighbour = peer_id(from);
        self.agenda(node).changed(Via::Session { neighbour }, at);
    }

    /// The session at this end is over, but for its last frame.
    fn finished(&mut self, id: u64, end: usize, outcome: Outcome, report: &Report) {
        let Some(stream) = self.streams.get(&id) else { return };
        let (node, peer, started) = (stream.nodes[end], stream.nodes[1 - end], stream.started);
        self.check_equal(node, peer, started, outcome, report);
        self.tally.count(outcome, report);
        let at = self.uptime();
        self.nodes[node].rights.ended(peer_id(peer), Some(outcome), report, at);
        let ended = SessionEnd::of(Some(outcome), report);
        self.agenda(node).ended(peer_id(peer), ended, at);
    }

    fn check_equal(&self, node: usize, peer: usize, started: u64, outcome: Outcome, report: &Report) {
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
    }

    /// The other end is through. Whoever is not is left alone with it.
    pub(crate) fn close_arrives(&mut self, id: u64, end: usize) {
        self.break_end(id, end);
        self.streams.remove(&id);
    }

    /// The session at this end, if there is one, is over without an outcome.
    fn break_end(&mut self, id: u64, end: usize) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let (node, peer) = (stream.nodes[end], stream.nodes[1 - end]);
        if let Some(session) = stream.take(end) {
            self.tally.streams_broken += 1;
            let at = self.uptime();
            self.nodes[node].rights.ended(peer_id(peer), None, session.report(), at);
            let ended = SessionEnd::of(None, session.report());
            self.agenda(node).ended(peer_id(peer), ended, at);
        }
    }

    pub(crate) fn break_stream(&mut self, id: u64) {
        for end in [0, 1] {
            self.break_end(id, end);
        }
        self.streams.remove(&id);
    }

    pub(crate) fn break_streams_of(&mut self, node: usize) {
        self.break_streams_where(|stream| stream.nodes.contains(&node));
    }

    pub(crate) fn break_streams_where(&mut self, broken: impl Fn(&Stream) -> bool) {
        let broken = self.streams.iter().filter(|(_, stream)| broken(stream));
        let ids: Vec<u64> = broken.map(|(id, _)| *id).collect();
        for id in ids {
            self.break_stream(id);
        }
    }

    pub(crate) fn drop_stalled(&mut self) {
        let limit = self.time.saturating_sub(STALLED_MS);
        self.break_streams_where(|stream| {
            stream.last_arrival.iter().all(|last| *last < limit) && stream.under_way == [0, 0]
        });
    }
}
