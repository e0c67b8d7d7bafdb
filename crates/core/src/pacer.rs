//! How a node keeps its own gossip below what others accept: a write goes out at once while the budget lasts, and queued
//! writes are sent together. Publishing is up to the caller; what does not fit is left to sync.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{
    MESSAGE_BYTES_MAX, PACED_BACKLOG_BYTES_MAX, PACED_BACKLOG_RECORDS_MAX, PACED_MESSAGES_MAX, PACING_WINDOW,
};
use crate::message::{BATCH_BYTES, encoded_bytes};
use crate::record::Record;
use crate::time::Uptime;

/// The queue of a node's own writes that are to be gossiped.
///
/// No interval of [`PACING_WINDOW`], wherever it starts, holds more than [`PACED_MESSAGES_MAX`] messages. While less than
/// half of them are used, queued writes are sent at once. Beyond that, messages are spaced: by the shortest interval that
/// can be sustained forever without exhausting the budget, from 1.4 s after a burst down to [`PACING_WINDOW`] /
/// [`PACED_MESSAGES_MAX`] (0.7 s) under a steady load. So no write ever waits for a full window.
#[derive(Debug, Clone, Default)]
pub struct Pacer {
    /// Queued records in commit order, with their size as a message.
    waiting: VecDeque<(Record, usize)>,
    waiting_bytes: usize,
    /// When messages were sent, within the last window, oldest first. At most [`PACED_MESSAGES_MAX`].
    sent: VecDeque<Uptime>,
    refundable: bool,
}

/// The queue is full. The record was not queued; it is in the store, and sync will deliver it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many changes are queued for gossip")]
pub struct BacklogFull;

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pace {
    /// Send these in one message: at least one, and no more than fit. They are counted as sent.
    Publish(Vec<Record>),
    /// Ask again at this time, or earlier.
    Wait(Uptime),
    /// Nothing is queued.
    Idle,
}

impl Pacer {
    /// A pacer that has sent nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a committed record behind the others.
    ///
    /// # Errors
    /// If [`PACED_BACKLOG_RECORDS_MAX`] or [`PACED_BACKLOG_BYTES_MAX`] would be exceeded. The queue is unchanged then.
    pub fn push(&mut self, record: Record) -> Result<(), BacklogFull> {
        let bytes = self.waiting_bytes + content_bytes(&record);
        if self.waiting.len() >= PACED_BACKLOG_RECORDS_MAX || bytes > PACED_BACKLOG_BYTES_MAX {
            return Err(BacklogFull);
        }
        let size = encoded_bytes(&record);
        self.waiting_bytes = bytes;
        self.waiting.push_back((record, size));
        Ok(())
    }

    /// Returns what to do at `uptime`; call it again after every [`Pace::Publish`].
    pub fn next(&mut self, uptime: Uptime) -> Pace {
        self.forget_expired(uptime);
        if self.waiting.is_empty() {
            return Pace::Idle;
        }
        let due = self.due();
        if uptime < due {
            return Pace::Wait(due);
        }
        self.sent.push_back(uptime);
        self.refundable = true;
        Pace::Publish(self.take_message())
    }

    /// The message of the last [`Pace::Publish`] reached nobody, so it does not count. Its records are not sent again.
    pub fn refund(&mut self) {
        if std::mem::take(&mut self.refundable) {
            self.sent.pop_back();
        }
    }

    /// Whether a record that is pushed now would go at once, and alone.
    pub fn is_ready(&mut self, uptime: Uptime) -> bool {
        self.forget_expired(uptime);
        self.waiting.is_empty() && uptime >= self.due()
    }

    fn forget_expired(&mut self, uptime: Uptime) {
        while self.sent.front().is_some_and(|sent| uptime >= expiry(*sent)) {
            self.sent.pop_front();
        }
    }

    /// When one more message may be sent, given those in the window.
    fn due(&self) -> Uptime {
        let used = self.sent.len();
        let (Some(first), Some(last)) = (self.sent.front(), self.sent.back()) else {
            return Uptime::default();
        };
        if used < PACED_MESSAGES_MAX / 2 {
            return Uptime::default();
        }
        // Spaced messages never get here, but the limit must not depend on that argument.
        if used >= PACED_MESSAGES_MAX {
            return expiry(*first);
        }
        // Sending every `distance` from now on, the budget must last until the first message in the window expires,
        // then, with one more, until the second does, and so on. The last of these conditions, about the message just
        // sent, is the steady pace.
        let left = PACED_MESSAGES_MAX - used;
        let distance = (self.sent.iter().zip(left..))
            .map(|(sent, messages)| divide_up(expiry(*sent).saturating_since(*last), messages))
            .max()
            .unwrap_or_default();
        last.after(distance.max(divide_up(PACING_WINDOW, PACED_MESSAGES_MAX)))
    }

    /// As many queued records as fit into one message, from the front.
    fn take_message(&mut self) -> Vec<Record> {
        let mut bytes = BATCH_BYTES;
        let mut records = Vec::new();
        while let Some((_, size)) = self.waiting.front() {
            bytes += size + 1;
            if bytes > MESSAGE_BYTES_MAX && !records.is_empty() {
                break;
            }
            let Some((record, _)) = self.waiting.pop_front() else {
                break;
            };
            self.waiting_bytes -= content_bytes(&record);
            records.push(record);
        }
        records
    }
}

/// When a message stops counting: slightly more than a window later, so that an interval of exactly one window that starts
/// with it does not contain its replacement.
fn expiry(sent: Uptime) -> Uptime {
    sent.after(PACING_WINDOW).after(Duration::from_nanos(1))
}

fn divide_up(duration: Duration, parts: usize) -> Duration {
    let nanos = duration.as_nanos().div_ceil(parts.max(1) as u128);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

fn content_bytes(record: &Record) -> usize {
    record.key.as_str().len() + record.content.value().map_or(0, |value| value.as_bytes().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::encode;
    use crate::record::{Content, Key, Value};
    use crate::seen::Seen;
    use crate::time::Timestamp;
    use crate::{NodeId, limits::VALUE_BYTES_MAX};

    fn record(number: i64, value_bytes: usize) -> Record {
        Record {
            key: Key::new(format!("key {number}")).unwrap(),
            content: Content::Put(Value::new(vec![0; value_bytes]).unwrap()),
            timestamp: Timestamp::from_nanos(number + 1).unwrap(),
            author: NodeId::from_bytes(&[1; 38]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    fn at(millis: u64) -> Uptime {
        Uptime(Duration::from_millis(millis))
    }

    #[test]
    fn a_write_goes_at_once_while_half_the_budget_lasts() {
        let mut pacer = Pacer::new();
        assert_eq!(pacer.next(at(0)), Pace::Idle);
        for number in 0..PACED_MESSAGES_MAX as i64 / 2 {
            pacer.push(record(number, 1)).unwrap();
            assert_eq!(pacer.next(at(5)), Pace::Publish(vec![record(number, 1)]));
        }
        for number in 100..103 {
            pacer.push(record(number, 1)).unwrap();
        }
        let Pace::Wait(until) = pacer.next(at(5)) else {
            panic!("no pause")
        };
        let pause = until.saturating_since(at(5));
        assert!(
            pause > Duration::from_millis(1_370) && pause < Duration::from_millis(1_380),
            "the other half lasts a window: {pause:?}"
        );
        assert_eq!(
            pacer.next(until),
            Pace::Publish((100..103).map(|number| record(number, 1)).collect()),
            "what waited goes together"
        );
        assert_eq!(pacer.next(until), Pace::Idle);
    }

    #[test]
    fn it_says_beforehand_whether_a_record_would_wait() {
        let mut pacer = Pacer::new();
        let (mut went, mut uptime) = (0, at(0));
        for number in 0..1_000 {
            let ready = pacer.is_ready(uptime);
            if ready {
                pacer.push(record(number, 1)).unwrap();
                assert!(matches!(pacer.next(uptime), Pace::Publish(_)), "it keeps its word");
                went += 1;
            }
            assert_eq!(pacer.is_ready(uptime), went < PACED_MESSAGES_MAX / 2);
        }
        uptime = uptime.after(PACING_WINDOW).after(Duration::from_millis(1));
        assert!(pacer.is_ready(uptime), "a window later");
        pacer.push(record(0, 1)).unwrap();
        assert!(!pacer.is_ready(uptime), "it would share a message");
    }

    #[test]
    fn a_steady_load_uses_the_whole_budget_and_never_waits_long() {
        let mut pacer = Pacer::new();
        let (mut sent, mut number) = (Vec::new(), 0);
        let mut uptime = at(0);
        while uptime < at(600_000) {
            pacer.push(record(number, 1)).unwrap();
            number += 1;
            match pacer.next(uptime) {
                Pace::Publish(_) => sent.push(uptime),
                Pace::Wait(until) => {
                    uptime = until;
                    assert!(matches!(pacer.next(uptime), Pace::Publish(_)), "it keeps its word");
                    sent.push(uptime);
                }
                Pace::Idle => panic!("something waits"),
            }
            assert!(pacer.sent.len() <= PACED_MESSAGES_MAX);
        }
        let longest = sent
            .windows(2)
            .map(|pair| pair[1].saturating_since(pair[0]))
            .max()
            .unwrap();
        assert!(longest < Duration::from_millis(1_400), "{longest:?}");
        let late = sent.iter().filter(|sent| **sent >= at(600_000 - 62_000)).count();
        assert!(late >= PACED_MESSAGES_MAX - 2, "{late} of {PACED_MESSAGES_MAX}");
    }

    #[test]
    fn a_message_never_exceeds_its_limit() {
        let mut pacer = Pacer::new();
        let all: Vec<_> = (0..60).map(|number| record(number, VALUE_BYTES_MAX)).collect();
        for record in &all {
            pacer.push(record.clone()).unwrap();
        }
        let mut published = Vec::new();
        while let Pace::Publish(records) = pacer.next(at(0)) {
            let bytes = encode(&records).len();
            assert!(
                bytes <= MESSAGE_BYTES_MAX && bytes + 400_000 > MESSAGE_BYTES_MAX
                    || published.len() + records.len() == 60
            );
            published.extend(records);
        }
        assert_eq!(published, all);
        assert_eq!(pacer.waiting_bytes, 0);
    }

    #[test]
    fn a_message_is_filled_to_the_last_byte_that_is_certain_to_fit() {
        let text = |number, bytes| Record {
            content: Content::Put(Value::new(vec![b'a'; bytes]).unwrap()),
            ..record(number, 0)
        };
        let full: Vec<_> = (0..17).map(|number| text(number, 60_000)).collect();
        let used = BATCH_BYTES + full.iter().map(|record| encoded_bytes(record) + 1).sum::<usize>();
        let rest = MESSAGE_BYTES_MAX - used - encoded_bytes(&text(17, 0)) - 1;
        for (bytes, taken) in [(rest, 18), (rest + 1, 17)] {
            let mut pacer = Pacer::new();
            for record in full.iter().chain([&text(17, bytes)]) {
                pacer.push(record.clone()).unwrap();
            }
            let Pace::Publish(records) = pacer.next(at(0)) else {
                panic!("nothing to publish")
            };
            assert_eq!(records.len(), taken);
            assert!(encode(&records).len() <= MESSAGE_BYTES_MAX);
        }
    }

    #[test]
    fn the_backlog_is_bounded_by_number_and_by_bytes() {
        let mut pacer = Pacer::new();
        let taken = (0..)
            .take_while(|number| pacer.push(record(*number, 1)).is_ok())
            .count();
        assert_eq!(taken, PACED_BACKLOG_RECORDS_MAX);
        let mut pacer = Pacer::new();
        let taken = (0..)
            .take_while(|number| pacer.push(record(*number, VALUE_BYTES_MAX)).is_ok())
            .count();
        assert_eq!(taken, 63, "64 values of 64 KiB and their keys are above 4 MiB");
        assert!(matches!(pacer.next(at(0)), Pace::Publish(_)));
        assert_eq!(pacer.push(record(0, 1)), Ok(()));
    }

    #[test]
    fn what_reached_nobody_is_refunded_once() {
        let mut pacer = Pacer::new();
        for number in 0..1_000 {
            pacer.push(record(number, 1)).unwrap();
            assert!(matches!(pacer.next(at(0)), Pace::Publish(_)));
            pacer.refund();
            pacer.refund();
        }
        pacer.push(record(0, 1)).unwrap();
        assert!(matches!(pacer.next(at(0)), Pace::Publish(_)));
        assert_eq!(pacer.sent.len(), 1);
    }
}
