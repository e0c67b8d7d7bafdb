//! The feed: a node's writes go to its direct peers at once, page by page, on a separate stream. It is a shortcut without
//! guarantees: a peer that is too slow is dropped from it, and gets a session instead.
//!
//! The node that writes opens the stream and says [`Frame::Feed`] first; which tells the other side that this is a feed and
//! not a session. Then pages of records flow one way, and credit the other.

use std::collections::VecDeque;

use super::credit::{Allowance, Credit};
use super::outcome::Violation;
use super::page::cost;
use super::store::PageLimit;
use super::wire::Frame;
use crate::admission::{Admission, TooFarAhead};
use crate::limits::{SYNC_FEED_BYTES_MAX, SYNC_FEED_RECORDS_MAX};
use crate::membership::SignedRecords;
use crate::record::Record;
use crate::time::Timestamp;

/// The receiver is too slow: end the feed, and owe the peer a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer is too slow for the feed")]
pub struct TooSlow;

/// The side that writes.
pub struct FeedSender {
    waiting: VecDeque<Record>,
    waiting_bytes: usize,
    room: PageLimit,
    credit: Credit,
    opened: bool,
}

impl Default for FeedSender {
    fn default() -> Self {
        Self::new()
    }
}

impl FeedSender {
    /// A feed on which nothing has been sent yet.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            room: PageLimit {
                records: SYNC_FEED_RECORDS_MAX,
                bytes: SYNC_FEED_BYTES_MAX,
            },
            credit: Credit::new(),
            opened: false,
        }
    }

    /// The same feed with space for fewer than [`SYNC_FEED_RECORDS_MAX`] records and [`SYNC_FEED_BYTES_MAX`] bytes.
    #[must_use]
    pub fn with_room(self, records: usize, bytes: usize) -> Self {
        let room = PageLimit { records, bytes };
        Self { room, ..self }
    }

    /// Queues a committed record, in commit order.
    ///
    /// # Errors
    /// If the queue has no space for it, in records or bytes.
    pub fn push(&mut self, record: Record) -> Result<(), TooSlow> {
        let bytes = self.waiting_bytes + cost(&record);
        if bytes > self.room.bytes || self.waiting.len() >= self.room.records {
            return Err(TooSlow);
        }
        self.waiting_bytes = bytes;
        self.waiting.push_back(record);
        Ok(())
    }

    /// The next frame for the peer: as many queued records as its credit allows; none: nothing is queued, or the credit is
    /// used up.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(Frame::Feed);
        }
        let limit = self.credit.page_limit()?;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.waiting.front() {
            bytes += cost(record);
            if bytes > limit.bytes || records.len() >= limit.records {
                break;
            }
            self.waiting_bytes -= cost(record);
            records.extend(self.waiting.pop_front());
        }
        if records.is_empty() {
            return None;
        }
        self.credit.charge(&records);
        Some(Frame::Records { bulk: None, records })
    }

    /// Handles a frame from the receiver.
    ///
    /// # Errors
    /// If it is not credit.
    pub fn receive(&mut self, frame: &Frame) -> Result<(), Violation> {
        match frame {
            Frame::Credit { bytes, records } => {
                self.credit.add(*bytes, *records);
                Ok(())
            }
            _ => Err(Violation("answers a feed with something other than credit")),
        }
    }
}

/// The side that reads.
pub struct FeedReceiver {
    allowance: Allowance,
    signed: Option<SignedRecords>,
}

impl Default for FeedReceiver {
    fn default() -> Self {
        Self::new()
    }
}

impl FeedReceiver {
    /// A feed that was opened by [`Frame::Feed`].
    pub fn new() -> Self {
        Self {
            allowance: Allowance::new(),
            signed: None,
        }
    }

    /// A feed of a private network, whose records are signed by their authors. Whether these may write is for the
    /// [`Roster`](crate::membership::Roster) to say, when the records are merged.
    pub fn of_network(signed: SignedRecords) -> Self {
        Self {
            signed: Some(signed),
            ..Self::new()
        }
    }

    /// Handles a frame from the sender, and returns its records, to be merged like any others. Those too far ahead of our
    /// clock are left out and counted.
    ///
    /// # Errors
    /// If the sender violated the protocol. The feed is unusable then.
    pub fn receive(&mut self, frame: Frame, now: Timestamp) -> Result<(Vec<Record>, TooFarAhead), Violation> {
        let Frame::Records {
            bulk: None,
            mut records,
        } = frame
        else {
            return Err(Violation("sends something other than records on a feed"));
        };
        self.allowance.charge(&records)?;
        if let Some(signed) = self.signed {
            let verified = signed.verify_all(&mut records);
            verified.map_err(|_| Violation("sends records that their authors did not sign"))?;
        }
        let left_out = Admission::at(now).retain(&mut records);
        Ok((records, left_out))
    }

    /// The next frame for the sender: credit, from time to time.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.allowance.next_frame()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::limits::FUTURE_MAX;
    use crate::{Content, Key, NodeId, Seen, Value};

    fn record(number: i64, bytes: usize) -> Record {
        Record {
            key: Key::new(format!("{number}")).unwrap(),
            content: Content::Put(Value::new(vec![0; bytes]).unwrap()),
            timestamp: Timestamp::from_nanos(number + 1).unwrap(),
            author: NodeId::from_bytes(&[1]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    #[test]
    fn what_is_pushed_arrives_in_few_pages_and_order() {
        let (mut sender, mut receiver) = (FeedSender::new(), FeedReceiver::new());
        let mut arrived = Vec::new();
        assert_eq!(sender.next_frame(), Some(Frame::Feed));
        let (mut pages, mut credits) = (0, 0);
        for burst in 0..10 {
            for number in 0..900 {
                sender.push(record(burst * 900 + number, 10)).unwrap();
            }
            while let Some(frame) = sender.next_frame() {
                pages += 1;
                arrived.extend(receiver.receive(frame, Timestamp::MAX).unwrap().0);
                while let Some(credit) = receiver.next_frame() {
                    credits += 1;
                    sender.receive(&credit).unwrap();
                }
            }
        }
        assert_eq!(arrived.len(), 9_000);
        assert!(
            arrived.is_sorted_by_key(|record| record.timestamp),
            "in the order in which they were pushed"
        );
        assert!(pages <= 20 && credits > 0, "{pages} pages, {credits} times credit");
    }

    #[test]
    fn a_peer_that_does_not_read_is_dropped_and_costs_a_bounded_memory() {
        let mut sender = FeedSender::new();
        let pushed = (0..1_000_000).take_while(|number| {
            let pushed = sender.push(record(*number, 1_000));
            while sender.next_frame().is_some() {}
            pushed.is_ok()
        });
        let pushed = pushed.count();
        let room = SYNC_FEED_BYTES_MAX / 1_096 + 1_048_576 / 1_096;
        assert!(pushed > 100 && pushed <= room, "{pushed} records were taken");
    }

    #[test]
    fn the_rules_hold_on_both_sides() {
        let mut receiver = FeedReceiver::new();
        let now = Timestamp::from_nanos(1).unwrap();
        let ahead = Record {
            timestamp: now.saturating_add(FUTURE_MAX + Duration::from_secs(5)),
            ..record(1, 1)
        };
        let page = |records| Frame::Records { bulk: None, records };
        let taken = receiver.receive(page(vec![ahead, record(0, 1)]), now);
        let furthest = FUTURE_MAX + Duration::from_secs(5);
        assert_eq!(taken, Ok((vec![record(0, 1)], TooFarAhead { records: 1, furthest })));
        assert!(receiver.receive(Frame::Done, now).is_err());
        let flooded = (0..50).any(|_| receiver.receive(page(vec![record(3, 60_000); 4]), now).is_err());
        assert!(flooded, "a sender that ignores the credit is noticed");
        assert!(FeedSender::new().receive(&Frame::Done).is_err());
    }
}
