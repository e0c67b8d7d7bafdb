//! Turns rows that another program added into records of this store: a few at a time, between the writer thread's other
//! work, with progress in the log. The store knows which rows, and how to complete them.

use std::time::Duration;

use p2p_sync_core::Uptime;

use super::ledger::Ledger;
use crate::store::Completed;
use crate::throttle::Throttle;

/// How often the log is told how far it has come.
const TELL_INTERVAL: Duration = Duration::from_secs(5);
/// After a failure it goes on after this.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// What the log was told, and whether it goes on.
#[derive(Debug)]
pub(super) struct Completing {
    log: Throttle<Uptime>,
    not_before: Uptime,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There was nothing to do, or it could not be done now.
    Nothing,
    /// Some rows became records.
    Some,
    /// The last ones did.
    Last,
}

impl Default for Completing {
    fn default() -> Self {
        Self {
            log: Throttle::once(TELL_INTERVAL),
            not_before: Uptime::default(),
        }
    }
}

impl Completing {
    /// When the next step is due; none when there is nothing to do.
    pub(super) fn next_due(&self, ledger: &mut Ledger) -> Option<Uptime> {
        ledger.store().completing().map(|_| self.not_before)
    }

    /// Completes some rows.
    pub(super) fn step(&mut self, ledger: &mut Ledger, at: Uptime) -> Step {
        let out_of_order = ledger.is_broken() || ledger.is_damaged() || ledger.is_displaced();
        let Some(before) = ledger.store().completing() else {
            self.log = Throttle::once(TELL_INTERVAL);
            return Step::Nothing;
        };
        if out_of_order || at < self.not_before {
            return Step::Nothing;
        }
        self.tell(before, at);
        match ledger.store().complete_some() {
            Ok(completed) if completed.is_over() => {
                self.log = Throttle::once(TELL_INTERVAL);
                tracing::info!(
                    "Checked all {} rows that another program added to the store; the valid ones are now synced to \
                     other nodes",
                    completed.found
                );
                Step::Last
            }
            Ok(_) => Step::Some,
            Err(error) => {
                self.not_before = at.after(RETRY_PAUSE);
                tracing::warn!("Cannot process the rows that another program added; will retry: {error}");
                Step::Nothing
            }
        }
    }

    fn tell(&mut self, so_far: Completed, at: Uptime) {
        if !self.log.allows(at) {
            return;
        }
        tracing::info!(
            "Another program added rows to the store; {} of {} have been turned into records so far",
            so_far.done,
            so_far.found
        );
    }
}
