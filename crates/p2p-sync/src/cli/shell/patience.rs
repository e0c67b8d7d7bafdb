//! How long a command waits for the data directory. One process has 2 s. While it goes from hand to hand, as between commands of many
//! shells at once, there is progress, and it is worth waiting longer.

use std::time::{Duration, Instant};

/// How long a node that is just starting or stopping is waited for.
const FOR_ONE: Duration = Duration::from_secs(2);
/// How long commands of other shells are waited for, one after the other.
const FOR_ALL: Duration = Duration::from_secs(30);

/// The wait of one command.
#[derive(Debug)]
pub(super) struct Patience {
    since: Instant,
    /// Who has the directory, and since when.
    holder: Option<u32>,
    held_since: Instant,
}

impl Patience {
    /// From now on.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            holder: None,
            held_since: now,
        }
    }

    /// Whether there is no use in waiting any longer for this process.
    pub(super) fn is_over(&mut self, holder: Option<u32>, now: Instant) -> bool {
        // Who is not known is nobody new.
        if holder.is_some() && self.holder != holder {
            if self.holder.is_some() {
                self.held_since = now;
            }
            self.holder = holder;
        }
        now.duration_since(self.held_since) >= FOR_ONE || now.duration_since(self.since) >= FOR_ALL
    }

    /// How long it has been.
    pub(super) fn waited(&self) -> Duration {
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(500);

    #[test]
    fn one_process_is_waited_for_two_seconds_whether_it_is_known_or_not() {
        for holder in [Some(1), None] {
            let start = Instant::now();
            let mut patience = Patience::new(start);
            for step in 1..4 {
                assert!(!patience.is_over(holder, start + STEP * step));
            }
            assert!(patience.is_over(holder, start + FOR_ONE));
        }
    }

    #[test]
    fn many_one_after_the_other_are_waited_for_but_not_for_ever() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        for step in 1..60 {
            assert!(!patience.is_over(Some(step), start + STEP * step), "{step}");
        }
        assert!(patience.is_over(Some(60), start + FOR_ALL));
    }
}
