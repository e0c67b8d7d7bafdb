//! What was refused, dropped or not delivered: counted by cause for the status, and logged at most once a second for each
//! peer and cause, so that no peer can fill the log.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// How often the same complaint of the same peer is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// Peers and causes whose last log line is remembered.
const REMEMBERED_MAX: usize = 1_024;

/// Counts by cause.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    counts: BTreeMap<String, u64>,
    logged: HashMap<(PeerId, String), Instant>,
}

impl Complaints {
    /// Counts `n` of them. The causes are a fixed set of words.
    pub(super) fn count(&mut self, cause: &str, n: u64) {
        if n == 0 {
            return;
        }
        match self.counts.get_mut(cause) {
            Some(count) => *count += n,
            None => {
                self.counts.insert(cause.to_owned(), n);
            }
        }
    }

    /// Counts one, and says whether it is to be logged.
    pub(super) fn count_of(&mut self, peer: PeerId, cause: &str, now: Instant) -> bool {
        self.count(cause, 1);
        if self.logged.len() >= REMEMBERED_MAX {
            self.logged
                .retain(|_, last| now.saturating_duration_since(*last) < LOG_INTERVAL);
        }
        let known = (peer, cause.to_owned());
        let recently = |last: &Instant| now.saturating_duration_since(*last) < LOG_INTERVAL;
        let is_room = self.logged.len() < REMEMBERED_MAX || self.logged.contains_key(&known);
        if self.logged.get(&known).is_some_and(recently) || !is_room {
            return false;
        }
        self.logged.insert(known, now);
        true
    }

    /// All counts, by cause, with those that were kept elsewhere.
    pub(super) fn all_with(&self, others: &[(String, u64)]) -> Vec<(String, u64)> {
        let mut counts = self.counts.clone();
        for (cause, count) in others {
            *counts.entry(cause.clone()).or_default() += count;
        }
        counts.into_iter().collect()
    }

    /// All counts, by cause.
    pub(super) fn all(&self) -> Vec<(String, u64)> {
        self.counts
            .iter()
            .map(|(cause, count)| (cause.clone(), *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_few_are_logged() {
        let (mut complaints, peer, now) = (Complaints::default(), PeerId::random(), Instant::now());
        let logged = (0..100)
            .filter(|_| complaints.count_of(peer, "rate limited", now))
            .count();
        assert_eq!(logged, 1);
        assert!(complaints.count_of(peer, "invalid message", now), "another cause");
        assert!(
            complaints.count_of(peer, "rate limited", now + LOG_INTERVAL),
            "a second later"
        );
        assert_eq!(
            complaints.all(),
            [("invalid message".to_owned(), 1), ("rate limited".to_owned(), 101)]
        );
    }

    #[test]
    fn many_peers_fill_neither_the_memory_nor_the_log() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let logged = (0..5 * REMEMBERED_MAX)
            .filter(|_| complaints.count_of(PeerId::random(), "rate limited", now))
            .count();
        assert_eq!(logged, REMEMBERED_MAX);
    }
}
