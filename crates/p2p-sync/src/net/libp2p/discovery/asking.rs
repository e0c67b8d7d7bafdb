//! When to query the LAN: often at startup and when a peer is missing, rarely when all is well.

use std::time::{Duration, Instant};

/// How often it is asked when all is well: with others, who hear each other's questions, in a random order.
const INTERVAL: Duration = Duration::from_secs(30);
/// How much later that may be by chance.
const JITTER: Duration = Duration::from_secs(15);
/// A question of another node, and the answers to it, serve as well as an own one that would come within this time.
pub(super) const SERVES_FOR: Duration = Duration::from_secs(25);
/// The same in a search, where everybody is to answer.
pub(super) const SERVES_SEARCH_FOR: Duration = Duration::from_millis(500);
/// How often it is asked at most, whatever happens.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How often it is asked while a peer is missed.
const INTERVAL_MISSING: Duration = Duration::from_secs(5);
/// How long a peer that was lost, or the first one, is missed.
const MISSING: Duration = Duration::from_secs(60);
/// The first questions of a search follow each other faster: packets get lost.
const QUICK: u32 = 3;

#[derive(Debug)]
pub(super) struct Asking {
    next: Instant,
    last: Option<Instant>,
    missing_until: Instant,
    /// There is no connection to anybody.
    is_alone: bool,
    /// Questions since the search began.
    count: u32,
}

impl Asking {
    /// Nobody is known: the first question is due.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            last: None,
            missing_until: now + MISSING,
            is_alone: true,
            count: 0,
        }
    }

    /// When to ask next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// A peer was lost, maybe the last one.
    pub(super) fn lost(&mut self, is_alone: bool, now: Instant) {
        self.is_alone = is_alone;
        self.search(now);
    }

    /// Asks soon, and often for a while.
    pub(super) fn search(&mut self, now: Instant) {
        self.missing_until = now + MISSING;
        self.count = 0;
        // Whoever comes and goes all the time must not make everybody on the LAN answer all the time.
        let earliest = self.last.map_or(now, |last| last + INTERVAL_MIN);
        self.next = now.max(earliest);
    }

    /// The first peer is connected: there is no hurry any more, but others may not have heard the question yet.
    pub(super) fn relax(&mut self, now: Instant) {
        self.missing_until = now;
        self.is_alone = false;
        self.next = now + INTERVAL / 3;
    }

    /// The question is asked now, or another node has asked it. Returns whether somebody is missed. `chance`: from 0 to below 1.
    pub(super) fn asked(&mut self, now: Instant, chance: f64) -> bool {
        let is_missing = now < self.missing_until;
        self.count = self.count.saturating_add(1);
        let interval = match (is_missing, self.count) {
            (true, ..QUICK) => INTERVAL_MIN * self.count,
            (true, _) => INTERVAL_MISSING,
            // Whoever is there may have come while nothing could be heard.
            (false, _) if self.is_alone => INTERVAL_MISSING,
            (false, _) => INTERVAL + JITTER.mul_f64(chance),
        };
        self.last = Some(now);
        self.next = now + interval;
        is_missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(asking: &mut Asking, from: Instant, seconds: u64) -> Vec<u64> {
        let mut at = Vec::new();
        while asking.next() <= from + Duration::from_secs(seconds) {
            let now = asking.next();
            at.push(now.saturating_duration_since(from).as_secs());
            asking.asked(now, 0.0);
        }
        at
    }

    #[test]
    fn it_is_asked_often_while_somebody_is_missed_and_seldom_after_that() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        assert_eq!(questions(&mut asking, start, 20), [0, 1, 3, 8, 13, 18]);
        let found = start + Duration::from_secs(21);
        asking.relax(found);
        assert_eq!(questions(&mut asking, found, 75), [10, 40, 70]);
        let lost = found + Duration::from_secs(80);
        asking.lost(false, lost);
        assert_eq!(
            questions(&mut asking, lost, 130),
            [0, 1, 3, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58, 63, 93, 123]
        );
    }

    #[test]
    fn not_all_ask_at_the_same_moment_when_all_is_well() {
        let now = Instant::now();
        let mut asking = Asking::new(now);
        asking.relax(now);
        assert!(!asking.asked(now, 0.5));
        assert_eq!(asking.next(), now + INTERVAL + JITTER / 2);
    }

    #[test]
    fn who_is_alone_goes_on_asking_but_not_those_who_are_known() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        questions(&mut asking, start, 600);
        let later = start + Duration::from_secs(601);
        assert_eq!(questions(&mut asking, later, 19).len(), 4);
        assert!(!asking.asked(later, 0.0));
        asking.relax(later);
        asking.lost(true, later);
        questions(&mut asking, later, 120);
        assert!(asking.next() <= later + Duration::from_secs(125));
    }

    #[test]
    fn a_search_each_moment_asks_once_a_second() {
        let start = Instant::now();
        let mut asking = Asking::new(start);
        let mut asked = 0;
        for step in 0..100 {
            let now = start + Duration::from_millis(100) * step;
            asking.search(now);
            if asking.next() <= now {
                asking.asked(now, 0.0);
                asked += 1;
            }
        }
        assert_eq!(asked, 10);
    }
}
