//! The limit of a log that does not go to a terminal: 10 MB a day, whatever happens. Half of that is available at the start
//! and the other half is added over a day, so that no day has more. Warnings and errors have a reserved share.

use std::time::Duration;

use tracing::Level;

/// Bytes that can be written at once, and bytes that come back within [`DAY`].
const HALF_BYTES: u64 = 5_000_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// What only warnings and errors may use, and what only errors may use.
const KEPT_FOR_WARNINGS_BYTES: u64 = 1_000_000;
const KEPT_FOR_ERRORS_BYTES: u64 = 250_000;
/// So much has come back before the log goes on, and lines are told that were left out: otherwise every other line would tell that.
const RESUME_BYTES: u64 = 64_000;

/// What is left, and what was left out.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: u64,
    /// Up to when what comes back has been counted, as time since the start.
    counted: Duration,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is written.
    Write,
    /// It is written, behind a line that tells how many were left out before it.
    WriteBehind(u64),
    /// It is left out, and a line tells that this begins.
    LeaveOutFirst,
    /// It is left out.
    LeaveOut,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: HALF_BYTES,
            counted: Duration::ZERO,
            left_out: 0,
        }
    }
}

impl Budget {
    /// What becomes of a line of so many bytes, so long after the start.
    pub(super) fn take(&mut self, bytes: usize, level: Level, now: Duration) -> Verdict {
        self.come_back(now);
        let kept = match level {
            Level::ERROR => 0,
            Level::WARN => KEPT_FOR_ERRORS_BYTES,
            _ => KEPT_FOR_WARNINGS_BYTES,
        };
        // Lines of a higher level do not wait for those of a lower one.
        let margin = if self.left_out > 0 && kept == KEPT_FOR_WARNINGS_BYTES {
            RESUME_BYTES
        } else {
            0
        };
        let bytes = bytes as u64;
        if self.bytes >= kept + margin + bytes {
            self.bytes -= bytes;
            let resumes = self.left_out > 0 && self.bytes >= KEPT_FOR_WARNINGS_BYTES;
            return match resumes.then(|| std::mem::take(&mut self.left_out)) {
                Some(count) => Verdict::WriteBehind(count),
                None => Verdict::Write,
            };
        }
        self.left_out += 1;
        if self.left_out == 1 {
            Verdict::LeaveOutFirst
        } else {
            Verdict::LeaveOut
        }
    }

    /// The number of lines that were left out and not told of; none are from now on.
    pub(super) fn take_left_out(&mut self) -> u64 {
        std::mem::take(&mut self.left_out)
    }

    fn come_back(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted);
        let back = u128::from(HALF_BYTES) * passed.as_millis() / DAY.as_millis();
        // What is less than a byte is counted the next time.
        if back > 0 {
            self.counted = now;
            self.bytes = self
                .bytes
                .saturating_add(u64::try_from(back).unwrap_or(u64::MAX))
                .min(HALF_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 100;

    #[test]
    fn no_day_has_more_than_ten_megabytes_whatever_comes() {
        let mut budget = Budget::default();
        let (mut written, mut told) = (0, 0);
        for second in 0..DAY.as_secs() {
            for level in [Level::INFO, Level::WARN, Level::ERROR, Level::DEBUG] {
                match budget.take(LINE, level, Duration::from_secs(second)) {
                    Verdict::Write => written += LINE,
                    Verdict::WriteBehind(_) => (written, told) = (written + LINE, told + 1),
                    Verdict::LeaveOutFirst => told += 1,
                    Verdict::LeaveOut => {}
                }
            }
        }
        assert!((9_900_000..=10_000_000).contains(&written), "{written}");
        assert!(told < 100, "{told} lines tell what was left out");
    }

    #[test]
    fn noise_leaves_room_for_warnings_and_these_for_errors() {
        let mut budget = Budget::default();
        let now = Duration::ZERO;
        while budget.take(LINE, Level::DEBUG, now) == Verdict::Write {}
        assert_eq!(budget.take(LINE, Level::INFO, now), Verdict::LeaveOut);
        assert_eq!(budget.take(LINE, Level::WARN, now), Verdict::Write);
        while budget.take(LINE, Level::WARN, now) == Verdict::Write {}
        assert_eq!(budget.take(LINE, Level::ERROR, now), Verdict::Write);
        while budget.take(LINE, Level::ERROR, now) == Verdict::Write {}
        assert!(budget.take_left_out() >= 4);
    }

    #[test]
    fn it_goes_on_when_there_is_room_again_and_tells_what_was_left_out() {
        let mut budget = Budget::default();
        while budget.take(LINE, Level::INFO, Duration::ZERO) == Verdict::Write {}
        for _ in 0..6 {
            assert_eq!(
                budget.take(LINE, Level::INFO, Duration::from_secs(60)),
                Verdict::LeaveOut
            );
        }
        assert_eq!(
            budget.take(LINE, Level::INFO, Duration::from_secs(3_600)),
            Verdict::WriteBehind(7)
        );
        assert_eq!(
            budget.take(LINE, Level::INFO, Duration::from_secs(3_600)),
            Verdict::Write
        );
        assert_eq!(budget.take_left_out(), 0);
    }
}
