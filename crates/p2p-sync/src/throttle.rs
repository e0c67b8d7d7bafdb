//! Rate limits for log lines, and for anything else that outsiders can trigger.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use p2p_sync_core::Uptime;

/// A point on a clock that never steps.
pub trait Moment: Copy {
    /// The time since an earlier point; zero if it is a later one.
    fn since(self, earlier: Self) -> Duration;
}

impl Moment for Instant {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_duration_since(earlier)
    }
}

impl Moment for Uptime {
    fn since(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

/// Lets a number of events pass per interval and counts those that it suppresses. An interval begins with the first event
/// that passes after the previous one is over.
#[derive(Debug, Clone)]
pub struct Throttle<T> {
    interval: Duration,
    most: u32,
    /// When the current interval began, and how many passed since.
    began: Option<T>,
    passed: u32,
    held_back: u64,
}

impl<T: Moment> Throttle<T> {
    /// Lets one event pass in each interval.
    pub const fn once(interval: Duration) -> Self {
        Self::new(1, interval)
    }

    /// Lets `most` events pass in each interval.
    pub const fn new(most: u32, interval: Duration) -> Self {
        Self {
            interval,
            most,
            began: None,
            passed: 0,
            held_back: 0,
        }
    }

    /// Whether an event may pass now. Otherwise it is suppressed and counted.
    pub fn allows(&mut self, now: T) -> bool {
        self.allows_all(1, now)
    }

    /// The same; if it may pass, returns how many were suppressed since the last report.
    pub fn pass(&mut self, now: T) -> Option<u64> {
        self.allows(now).then(|| self.take_held_back())
    }

    /// Counts events that are reported together. If one may pass now, returns how many there were since the last report,
    /// including these.
    pub fn count(&mut self, events: u64, now: T) -> Option<u64> {
        let allowed = self.allows_all(events, now);
        allowed.then(|| self.take_held_back().saturating_add(events))
    }

    fn allows_all(&mut self, events: u64, now: T) -> bool {
        if self.is_over(now) {
            (self.began, self.passed) = (Some(now), 0);
        }
        let allowed = self.passed < self.most;
        if allowed {
            self.passed += 1;
        } else {
            self.held_back = self.held_back.saturating_add(events);
        }
        allowed
    }

    /// Suppresses events, and counts them.
    pub fn hold_back(&mut self, events: u64) {
        self.held_back = self.held_back.saturating_add(events);
    }

    /// How many were suppressed, once the interval in which that began is over.
    pub fn take_overdue(&mut self, now: T) -> u64 {
        if self.is_over(now) { self.take_held_back() } else { 0 }
    }

    /// How many were suppressed since the last report.
    pub fn take_held_back(&mut self) -> u64 {
        std::mem::take(&mut self.held_back)
    }

    fn is_over(&self, now: T) -> bool {
        self.began.is_none_or(|began| now.since(began) >= self.interval)
    }
}

/// A [`Throttle`] for each of a bounded number of keys. The state of a key outlives whatever the key stands for, so that
/// reconnecting does not reset it.
#[derive(Debug)]
pub struct KeyedThrottle<K, T> {
    interval: Duration,
    keys_max: usize,
    keys: HashMap<K, Throttle<T>>,
}

impl<K: Eq + Hash, T: Moment> KeyedThrottle<K, T> {
    /// Lets one event of each key pass per interval. While `keys_max` keys have used theirs, no other key gets one.
    pub fn once(interval: Duration, keys_max: usize) -> Self {
        Self {
            interval,
            keys_max,
            keys: HashMap::new(),
        }
    }

    /// Whether an event of this key may pass now; see [`Throttle::pass`].
    pub fn pass(&mut self, key: K, now: T) -> Option<u64> {
        if let Some(throttle) = self.keys.get_mut(&key) {
            return throttle.pass(now);
        }
        if self.keys.len() >= self.keys_max {
            self.keys.retain(|_, throttle| !throttle.is_over(now));
        }
        if self.keys.len() >= self.keys_max {
            return None;
        }
        self.keys
            .entry(key)
            .or_insert_with(|| Throttle::once(self.interval))
            .pass(now)
    }

    /// Whether an event of this key would be suppressed now because of the key's own rate.
    pub fn holds(&self, key: &K, now: T) -> bool {
        self.keys.get(key).is_some_and(|throttle| !throttle.is_over(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Uptime {
        Uptime(Duration::from_millis(millis))
    }

    #[test]
    fn so_many_pass_in_each_interval_and_the_rest_is_counted() {
        let mut throttle = Throttle::new(2, SECOND);
        assert_eq!((throttle.pass(at(0)), throttle.pass(at(1))), (Some(0), Some(0)));
        for millis in 2..=50 {
            assert_eq!(throttle.pass(at(millis)), None);
        }
        assert_eq!(throttle.take_overdue(at(999)), 0, "its interval is not over");
        assert_eq!(throttle.pass(at(1_000)), Some(49));
        assert_eq!(throttle.pass(at(1_999)), Some(0));
        assert_eq!(throttle.pass(at(1_999)), None);
        assert_eq!(
            (throttle.take_overdue(at(2_000)), throttle.take_overdue(at(2_000))),
            (1, 0)
        );
    }

    #[test]
    fn counts_are_told_now_and_then_and_none_is_left_out() {
        let mut throttle = Throttle::once(SECOND);
        assert_eq!(throttle.count(3, at(0)), Some(3));
        assert_eq!((throttle.count(4, at(1)), throttle.count(5, at(2))), (None, None));
        assert_eq!(throttle.count(1, at(1_000)), Some(10));
        assert_eq!(throttle.count(0, at(2_000)), Some(0));
    }

    #[test]
    fn each_key_has_its_own_and_many_keys_take_no_more_memory() {
        let mut throttle = KeyedThrottle::once(SECOND, 1_024);
        assert_eq!((throttle.pass(0, at(0)), throttle.pass(0, at(1))), (Some(0), None));
        assert!(throttle.holds(&0, at(999)) && !throttle.holds(&0, at(1_000)) && !throttle.holds(&1, at(0)));
        let passed = (1..5_000).filter(|key| throttle.pass(*key, at(1)).is_some());
        assert_eq!(passed.count(), 1_023);
        assert_eq!(throttle.pass(9_999, at(1_001)), Some(0));
        assert_eq!(throttle.keys.len(), 1);
    }
}
