//! How many log lines peers can cause: one per second, peer and reason, and a limited number per second in all. Ordinary
//! use stays far below.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libp2p::PeerId;

use crate::throttle::{KeyedThrottle, Throttle};

/// How often the same is logged of the same peer, and how often the budget is renewed.
const INTERVAL: Duration = Duration::from_secs(1);
/// Lines in that time about all peers together. Names and addresses of peers are free. A connection takes two: that it stands,
/// and what the peer calls itself.
const LINES_MAX: u32 = 100;

/// Whom a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum About {
    /// A peer.
    Peer(PeerId),
    /// Somebody at an address who did not say who it is.
    Address(IpAddr),
}

/// The budget of all who log what peers do.
#[derive(Debug)]
pub(super) struct LogBudget(Mutex<State>);

#[derive(Debug)]
struct State {
    each: KeyedThrottle<(About, String), Instant>,
    all: Throttle<Instant>,
}

impl LogBudget {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            each: KeyedThrottle::once(INTERVAL, 2 * LINES_MAX as usize),
            all: Throttle::new(LINES_MAX, INTERVAL),
        }))
    }

    /// Whether a line is to be logged now; if so, it is taken from the budget.
    pub(super) fn allows(&self, about: About, reason: &str, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = (about, reason.to_owned());
        // The same again is no news, so it does not count as left out.
        if state.each.holds(&line, now) {
            return false;
        }
        state.all.allows(now) && state.each.pass(line, now).is_some()
    }

    /// How many lines found the budget used up since this was asked last. None while it is, so that telling of them does not
    /// go beyond it either.
    pub(super) fn take_left_out(&self, now: Instant) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.all.take_overdue(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anybody() -> About {
        About::Peer(PeerId::random())
    }

    #[test]
    fn the_same_of_the_same_is_logged_once_a_second() {
        let (budget, one, now) = (LogBudget::new(), anybody(), Instant::now());
        assert!(budget.allows(one, "closed", now));
        assert!(!budget.allows(one, "closed", now + INTERVAL / 2));
        assert!(budget.allows(one, "established", now), "another reason");
        assert!(budget.allows(anybody(), "closed", now), "another peer");
        assert!(budget.allows(one, "closed", now + INTERVAL));
        assert_eq!(budget.take_left_out(now + 2 * INTERVAL), 0, "these are no news");
    }

    #[test]
    fn many_peers_fill_neither_the_memory_nor_the_log() {
        let (budget, now) = (LogBudget::new(), Instant::now());
        let mut logged = 0;
        for second in 0..3 {
            let now = now + second * INTERVAL;
            logged += (0..10_000).filter(|_| budget.allows(anybody(), "closed", now)).count();
            assert_eq!(budget.take_left_out(now), 0, "later");
        }
        assert_eq!(logged, 3 * LINES_MAX as usize);
        assert_eq!(budget.take_left_out(now + 3 * INTERVAL), 30_000 - logged as u64);
        assert_eq!(budget.take_left_out(now + 3 * INTERVAL), 0);
    }
}
