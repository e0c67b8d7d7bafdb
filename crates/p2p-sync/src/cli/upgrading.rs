//! Shows the progress while a file of an earlier version is upgraded: as a line that is overwritten on a terminal, as two
//! lines in a log file. The store does the upgrade.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::node::Migration;

/// What is over sooner is not worth a word.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two lines on a terminal.
const INTERVAL: Duration = Duration::from_millis(100);

/// Tells the user how far the store is.
#[derive(Debug)]
pub(super) struct Upgrading {
    begun: Option<Instant>,
    shown: Option<Instant>,
}

impl Upgrading {
    pub(super) fn new() -> Self {
        Self {
            begun: None,
            shown: None,
        }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, migration: Migration) {
        let mut stderr = io::stderr();
        let is_over = migration.done >= migration.all;
        if !stderr.is_terminal() {
            let Migration { all: records, .. } = migration;
            if self.begun.is_none() {
                self.begun = Some(Instant::now());
                tracing::info!(
                    records,
                    "Upgrading the store to a new format; if this is interrupted, the store stays as it was"
                );
            } else if is_over {
                tracing::info!(records, "The store has been upgraded");
            }
        } else if let Some(line) = self.line(migration, Instant::now()) {
            let end = if is_over { "\n" } else { "" };
            // A terminal that is gone needs nothing.
            let _ = stderr.write_all(format!("\r{line}{end}").as_bytes());
        }
    }

    /// The line to be shown now, if one is due. Each is as long as the one before, or longer.
    fn line(&mut self, Migration { done, all }: Migration, now: Instant) -> Option<String> {
        let begun = *self.begun.get_or_insert(now);
        let is_over = done >= all;
        let due = match self.shown {
            None => now.saturating_duration_since(begun) >= PATIENCE && !is_over,
            Some(shown) => is_over || now.saturating_duration_since(shown) >= INTERVAL,
        };
        if !due {
            return None;
        }
        self.shown = Some(now);
        let percent = u128::from(done) * 100 / u128::from(all.max(1));
        Some(format!(
            "Upgrading the store to a new format: {percent:>3} % of {all} records"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_shown_and_what_does_not_is_not() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let all = 40_000;
        let mut quick = Upgrading::new();
        assert_eq!(quick.line(Migration { done: 0, all }, at(0)), None);
        assert_eq!(
            quick.line(Migration { done: all, all }, at(900)),
            None,
            "it is over already"
        );
        let mut slow = Upgrading::new();
        let shown: Vec<_> = (0..=40)
            .filter_map(|n| slow.line(Migration { done: n * 1_000, all }, at(n * 25)))
            .collect();
        assert_eq!(shown[0], "Upgrading the store to a new format:  30 % of 40000 records");
        assert_eq!(
            shown.last().unwrap(),
            "Upgrading the store to a new format: 100 % of 40000 records"
        );
        assert_eq!(shown.len(), 8, "ten times a second at most");
        assert!(shown.iter().all(|line| line.len() == shown[0].len()));
    }
}
