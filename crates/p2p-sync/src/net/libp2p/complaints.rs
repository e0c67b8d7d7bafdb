//! What was refused, dropped or not delivered: counted by cause for the status. The log budget decides what is logged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;

use super::log_budget::{About, LogBudget};

/// Counts by cause.
#[derive(Debug)]
pub(super) struct Complaints {
    counts: BTreeMap<String, u64>,
    log: Arc<LogBudget>,
}

impl Complaints {
    pub(super) fn new(log: Arc<LogBudget>) -> Self {
        Self {
            counts: BTreeMap::new(),
            log,
        }
    }

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

    /// Counts one of a peer, and says whether it is to be logged.
    pub(super) fn count_of(&mut self, peer: PeerId, cause: &str, now: Instant) -> bool {
        self.count_about(About::Peer(peer), cause, now)
    }

    /// Counts one, and says whether it is to be logged.
    pub(super) fn count_about(&mut self, about: About, cause: &str, now: Instant) -> bool {
        self.count(cause, 1);
        self.log.allows(about, cause, now)
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
        let log = Arc::new(LogBudget::new());
        let (mut complaints, peer, now) = (Complaints::new(log), PeerId::random(), Instant::now());
        let logged = (0..100)
            .filter(|_| complaints.count_of(peer, "rate limited", now))
            .count();
        assert_eq!(logged, 1);
        assert!(complaints.count_of(peer, "invalid message", now), "another cause");
        assert_eq!(
            complaints.all(),
            [("invalid message".to_owned(), 1), ("rate limited".to_owned(), 100)]
        );
    }
}
