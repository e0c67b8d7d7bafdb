//! Feeds between nodes: what is written beyond the budget of the gossip is pushed to direct peers, on streams that may
//! break, and to peers that may be too slow.

use p2p_sync_core::Record;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::membership::SignedRecords;
use p2p_sync_core::sync::{FeedReceiver, FeedSender, Frame, FrameBuffer};

use crate::connections::peer_id;
use crate::liar::twist;
use crate::private;
use crate::streams::UNDER_WAY_MAX;
use crate::world::{Event, World};

/// One feed: the side that writes is end 0, the one that reads end 1.
pub(crate) struct Feed {
    number: u64,
    sender: FeedSender,
    receiver: Option<FeedReceiver>,
    buffers: [FrameBuffer; 2],
    under_way: [usize; 2],
    last_arrival: [u64; 2],
}

impl World {
    /// Pushes records to everybody who is connected.
    pub(crate) fn feed(&mut self, from: usize, records: &[Record]) {
        for to in self.neighbours(from) {
            if !self.is_connected(from, to) {
                continue;
            }
            let (number, room, buffers) = (self.next_stream, self.scenario.feed_room, self.buffers());
            self.next_stream += 1;
            let feed = self.feeds.entry((from, to)).or_insert_with(|| Feed {
                number,
                sender: FeedSender::new().with_room(room, room * 1_000),
                receiver: None,
                buffers,
                under_way: [0, 0],
                last_arrival: [0, 0],
            });
            if records.iter().any(|record| feed.sender.push(record.clone()).is_err()) {
                self.tally.feeds_too_slow += 1;
                self.end_feed(from, to);
            } else {
                self.pump_feed(from, to);
            }
        }
    }

    fn pump_feed(&mut self, from: usize, to: usize) {
        for end in [0, 1] {
            while let Some(feed) = self.feeds.get_mut(&(from, to)) {
                if feed.under_way[1 - end] >= UNDER_WAY_MAX {
                    break;
                }
                let frame = if end == 0 {
                    feed.sender.next_frame()
                } else {
                    feed.receiver.as_mut().and_then(FeedReceiver::next_frame)
                };
                let Some(frame) = frame else { break };
                self.send_on_feed((from, to), end, frame);
            }
        }
    }

    fn send_on_feed(&mut self, (from, to): (usize, usize), end: usize, frame: Frame) {
        let frame = match self.nodes[[from, to][end]].lie {
            Some(lie) => twist(lie, frame, &mut self.random, &mut self.written),
            None => Some(frame),
        };
        let Some(frame) = frame else { return };
        if self.breaks() {
            self.end_feed(from, to);
            return;
        }
        let arrival = self.time + self.random_delay();
        let Some(feed) = self.feeds.get_mut(&(from, to)) else {
            return;
        };
        let other = 1 - end;
        feed.under_way[other] += 1;
        feed.last_arrival[other] = arrival.max(feed.last_arrival[other]);
        let (arrival, number) = (feed.last_arrival[other], feed.number);
        let bytes = frame.encode();
        self.tally.bytes += bytes.len() as u64;
        self.schedule(
            arrival,
            Event::Fed {
                pair: (from, to),
                number,
                end: other,
                bytes,
            },
        );
    }

    pub(crate) fn fed(&mut self, (from, to): (usize, usize), number: u64, end: usize, bytes: &[u8]) {
        let now = self.now(to);
        let Some(feed) = self.feeds.get_mut(&(from, to)).filter(|feed| feed.number == number) else {
            return;
        };
        feed.under_way[end] -= 1;
        feed.buffers[end].push(bytes);
        let frame = feed.buffers[end].next_frame().unwrap().unwrap();
        let result = match &mut feed.receiver {
            _ if end == 0 => feed.sender.receive(&frame).map(|()| Vec::new()),
            Some(receiver) => receiver.receive(frame, now).map(|(records, _)| records),
            none => {
                // A stream that begins with anything else is no feed, and nothing of it is taken in.
                *none = (frame == Frame::Feed).then(|| match self.scenario.signed {
                    true => FeedReceiver::of_network(SignedRecords::of(private::network())),
                    false => FeedReceiver::new(),
                });
                Ok(Vec::new())
            }
        };
        match result {
            Ok(records) => {
                self.take_fed(from, to, &records);
                self.pump_feed(from, to);
            }
            Err(error) => {
                let liars = self.nodes[from].lie.is_some() || self.nodes[to].lie.is_some();
                assert!(liars, "an honest feed: {error}");
                self.tally.wrong_signatures += u64::from(error.to_string().contains("did not sign"));
                self.end_feed(from, to);
            }
        }
    }

    fn take_fed(&mut self, from: usize, to: usize, records: &[Record]) {
        let horizon = self.now(to).saturating_add(FUTURE_MAX);
        let mut news = 0;
        let admitted = self.nodes[to]
            .store
            .admit(records.to_vec())
            .expect("verified by the feed");
        self.tally.not_permitted += (records.len() - admitted.len()) as u64;
        for record in &admitted {
            assert!(record.timestamp <= horizon, "ahead of the clock");
            match self.nodes[to].store.take(record) {
                None => self.tally.no_room += 1,
                Some(merge) if merge.stores_incoming() => {
                    self.nodes[to].clock.observe(record.timestamp);
                    news += 1;
                }
                Some(_) => {}
            }
        }
        if news > 0 {
            self.tally.fed += news;
            self.nodes[to].note_digest(self.time);
            self.changed_by_sync(to, from);
        }
    }

    /// A feed ends: what was under way is lost, and both sides owe each other a session.
    fn end_feed(&mut self, from: usize, to: usize) {
        if self.feeds.remove(&(from, to)).is_some() {
            let at = self.uptime();
            self.agenda(from).owe(peer_id(to), at);
            self.agenda(to).owe(peer_id(from), at);
        }
    }

    pub(crate) fn end_feeds_where(&mut self, ends: impl Fn(usize, usize) -> bool) {
        let pairs: Vec<(usize, usize)> = self.feeds.keys().copied().collect();
        for (from, to) in pairs {
            if ends(from, to) {
                self.end_feed(from, to);
            }
        }
    }
}
