//! The hybrid logical clock that stamps local writes: wall time as long as it moves forward, otherwise one nanosecond more
//! than the highest timestamp seen. Checking received timestamps is up to [`admission`](crate::admission).

use crate::limits::CLOCK_LEAD_MAX;
use crate::time::Timestamp;

/// The clock of one node.
///
/// A write is stamped `max(now, last + 1, replaced + 1)`: later than anything its author could see, so that it wins over
/// what it replaces everywhere. `last` counts for at most `now` + the lead, so that a clock that was far ahead, here or at
/// a peer, does not drag this node's timestamps along forever: after the correction, its writes are accepted at once.
#[derive(Debug, Clone)]
pub struct Clock {
    last: Option<Timestamp>,
}

/// The year 2262 is over, or the clock was set there: no later timestamp can be expressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no timestamp is left above {at}: correct this machine's clock")]
pub struct ClockExhausted {
    /// The last timestamp that the write would have to follow.
    pub at: Timestamp,
}

impl Clock {
    /// A clock that continues after `last`, the highest timestamp in the store.
    pub fn new(last: Option<Timestamp>) -> Self {
        Self { last }
    }

    /// The highest timestamp written or seen.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Records a stored timestamp.
    pub fn observe(&mut self, seen: Timestamp) {
        self.last = self.last.max(Some(seen));
    }

    /// The timestamp of a write at `now` that replaces the version of `replaced`.
    ///
    /// # Errors
    /// If no later timestamp exists. The clock is unchanged then.
    pub fn tick(&mut self, now: Timestamp, replaced: Option<Timestamp>) -> Result<Timestamp, ClockExhausted> {
        let bound = now.saturating_add(CLOCK_LEAD_MAX);
        let own = match self.last.map(|last| last.min(bound)) {
            Some(last) => now.max(successor(last)?),
            None => now,
        };
        let stamp = match replaced {
            Some(replaced) => own.max(successor(replaced)?),
            None => own,
        };
        // Only timestamps that this clock reached by itself, or that are within the bound, move it: overwriting one version
        // dated far ahead must not push every later write ahead as well.
        self.observe(if stamp <= bound { stamp } else { own });
        Ok(stamp)
    }
}

fn successor(timestamp: Timestamp) -> Result<Timestamp, ClockExhausted> {
    timestamp.next().ok_or(ClockExhausted { at: timestamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000).unwrap()
    }

    #[test]
    fn stamps_rise_while_the_wall_clock_stands_or_steps_back() {
        let mut clock = Clock::new(None);
        let first = clock.tick(at(1000), None).unwrap();
        let second = clock.tick(at(1000), None).unwrap();
        let third = clock.tick(at(950), None).unwrap();
        assert!(first < second && second < third);
    }

    #[test]
    fn a_seen_timestamp_leads_by_a_minute_at_most() {
        let mut clock = Clock::new(Some(at(5000)));
        let stamp = clock.tick(at(1000), None).unwrap();
        assert_eq!(stamp, at(1060).next().unwrap());
    }

    #[test]
    fn overwriting_a_version_far_ahead_moves_only_that_key() {
        let mut clock = Clock::new(None);
        assert_eq!(clock.tick(at(1000), Some(at(9000))).unwrap(), at(9000).next().unwrap());
        assert_eq!(clock.tick(at(1001), None).unwrap(), at(1001));
    }

    #[test]
    fn the_end_of_time_is_an_error_and_changes_nothing() {
        let mut clock = Clock::new(None);
        assert_eq!(
            clock.tick(at(1), Some(Timestamp::MAX)),
            Err(ClockExhausted { at: Timestamp::MAX })
        );
        assert_eq!(clock.last(), None);
    }
}
