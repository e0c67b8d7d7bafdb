//! The one check of remote records, whichever way they arrived. Size limits need no check here: a [`Key`](crate::Key) or a
//! [`Value`](crate::Value) that breaks them cannot be built. That leaves the clock: a record dated too far ahead would beat
//! every write of the next few minutes, so it is left out until it is due.

use std::time::Duration;

use crate::limits::FUTURE_MAX;
use crate::record::Record;
use crate::time::Timestamp;

/// What a node admits at one moment of its wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    now: Timestamp,
}

/// Records that were left out because they are dated too far ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TooFarAhead {
    /// How many.
    pub records: u64,
    /// How far ahead of the clock the furthest is.
    pub furthest: Duration,
}

impl Admission {
    /// The admission when the clock says `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now }
    }

    /// The latest timestamp that is admitted: [`FUTURE_MAX`] from now.
    pub fn horizon(self) -> Timestamp {
        self.now.saturating_add(FUTURE_MAX)
    }

    /// Whether a record with this timestamp is admitted.
    pub fn admits(self, timestamp: Timestamp) -> bool {
        timestamp <= self.horizon()
    }

    /// How far ahead of the clock the furthest of these is, if one is too far ahead to be admitted.
    pub fn too_far_ahead<'a>(self, timestamps: impl IntoIterator<Item = &'a Timestamp>) -> Option<Duration> {
        let latest = timestamps.into_iter().max().filter(|latest| !self.admits(**latest))?;
        Some(latest.saturating_since(self.now))
    }

    /// Removes the records that are not admitted.
    pub fn retain(self, records: &mut Vec<Record>) -> TooFarAhead {
        let mut left_out = TooFarAhead::default();
        records.retain(|record| {
            let admitted = self.admits(record.timestamp);
            if !admitted {
                left_out.records += 1;
                left_out.furthest = left_out.furthest.max(record.timestamp.saturating_since(self.now));
            }
            admitted
        });
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Key, NodeId, Seen};

    fn record(timestamp: Timestamp) -> Record {
        Record {
            key: Key::new("k").unwrap(),
            content: Content::Deleted,
            timestamp,
            author: NodeId::from_bytes(&[1]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    #[test]
    fn what_is_dated_too_far_ahead_is_left_out_and_counted() {
        let now = Timestamp::from_nanos(1).unwrap();
        let after = |ahead| now.saturating_add(ahead);
        let nano = Duration::from_nanos(1);
        let dates = [
            now,
            after(FUTURE_MAX),
            after(FUTURE_MAX + nano),
            after(FUTURE_MAX + 2 * nano),
        ];
        let mut records: Vec<Record> = dates.map(record).into();
        let admission = Admission::at(now);
        assert_eq!(admission.too_far_ahead(&dates), Some(FUTURE_MAX + 2 * nano));
        assert_eq!(admission.too_far_ahead(&dates[..2]), None);
        let left_out = admission.retain(&mut records);
        assert_eq!(records, [record(now), record(after(FUTURE_MAX))]);
        let furthest = FUTURE_MAX + 2 * nano;
        assert_eq!(left_out, TooFarAhead { records: 2, furthest });
        assert_eq!(admission.retain(&mut records), TooFarAhead::default());
    }
}
