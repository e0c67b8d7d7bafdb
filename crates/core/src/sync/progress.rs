//! Whether a session transfers enough to continue: a peer that only keeps it open would block others.

use std::time::Duration;

use crate::limits::{
    SYNC_ANSWER_MAX, SYNC_PROGRESS_BYTES, SYNC_PROGRESS_MAX, SYNC_RANGES_PROGRESS_MAX, SYNC_SESSION_MAX,
};
use crate::time::Uptime;

/// The longest time between two checks that counts: anything longer was a pause on our side, in which nothing could be
/// received.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// What a session has transferred so far, in bytes on its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moved {
    /// To the peer.
    pub sent: u64,
    /// From the peer.
    pub received: u64,
}

impl Moved {
    fn total(self) -> u64 {
        self.sent.saturating_add(self.received)
    }
}

/// The progress of one session.
#[derive(Debug, Clone)]
pub struct Progress {
    looked: Uptime,
    /// The age of the session, and the time since it last transferred enough.
    age: Duration,
    since: Duration,
    /// What it had transferred by then.
    moved: u64,
}

impl Progress {
    /// The progress of a session that begins now.
    pub fn begun(at: Uptime) -> Self {
        Self {
            looked: at,
            age: Duration::ZERO,
            since: Duration::ZERO,
            moved: 0,
        }
    }

    /// Whether the session may continue, given what it has transferred so far and whether it reconciles by ranges. Call
    /// this every few seconds.
    pub fn goes_on(&mut self, moved: Moved, ranges: bool, at: Uptime) -> bool {
        let passed = at.saturating_since(self.looked).min(LOOK_MAX);
        self.looked = at;
        self.age += passed;
        self.since += passed;
        if moved.total().saturating_sub(self.moved) >= SYNC_PROGRESS_BYTES {
            (self.moved, self.since) = (moved.total(), Duration::ZERO);
        }
        let patience = if ranges {
            SYNC_RANGES_PROGRESS_MAX
        } else {
            SYNC_PROGRESS_MAX
        };
        let answered = moved.received > 0 || self.age <= SYNC_ANSWER_MAX;
        answered && self.since <= patience && self.age <= SYNC_SESSION_MAX
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_secs(5);

    /// Looks every five seconds at a session that moves so much from one look to the next; how long it may go on, in seconds.
    fn lasts(first: u64, each: u64, ranges: bool) -> u64 {
        let mut at = Uptime::default();
        let mut progress = Progress::begun(at);
        let mut received = first;
        while progress.goes_on(Moved { sent: 100, received }, ranges, at) {
            at = at.after(LOOK);
            received += each;
            assert!(at.0 < SYNC_SESSION_MAX * 2);
        }
        at.0.as_secs()
    }

    #[test]
    fn whoever_does_not_answer_or_moves_next_to_nothing_is_not_waited_for() {
        assert_eq!(lasts(0, 0, false), 15, "no answer");
        assert_eq!(lasts(1, 0, false), 35, "nothing behind the answer");
        assert_eq!(lasts(1, 100, false), 35, "it drips");
        assert_eq!(lasts(1, 100, true), 125, "reading all records takes time");
    }

    #[test]
    fn a_slow_link_passes_but_nobody_goes_on_for_ever() {
        let a_fifth_of_100_kbit_s = 100_000 / 8 * LOOK.as_secs() / 5;
        assert_eq!(lasts(0, a_fifth_of_100_kbit_s, false), SYNC_SESSION_MAX.as_secs() + 5);
    }

    #[test]
    fn a_pause_of_our_own_is_not_held_against_the_peer() {
        let mut progress = Progress::begun(Uptime::default());
        let moved = Moved { sent: 100, received: 0 };
        let much_later = Uptime(Duration::from_secs(300));
        assert!(
            progress.goes_on(moved, false, much_later),
            "its answer waits to be read"
        );
        assert!(!progress.goes_on(moved, false, much_later.after(LOOK)));
    }
}
