//! When one peer, or one address without a peer, is dialled next: at once, then after pauses that double up to a cap.

use std::time::{Duration, Instant};

/// The first pause after a failed dial; it doubles with each further failure.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause within [`RECENT`] of losing a peer, or of hearing of it.
pub(super) const PAUSE_MAX_RECENT: Duration = Duration::from_secs(5);
/// The longest pause after that.
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a peer counts as recently lost.
pub(super) const RECENT: Duration = Duration::from_secs(600);

/// How long a peer is left alone that had no room for us.
const TURNED_AWAY: Duration = Duration::from_secs(60);

/// Where a peer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not to be dialled before then.
    Waiting(Instant),
    /// A dial is under way.
    Dialling,
    /// There is a connection.
    Connected,
}

/// When to try next.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) state: State,
    failures: u32,
    failed_at: Option<Instant>,
    lost: Instant,
}

impl Schedule {
    /// To be tried at `next` for the first time.
    pub(super) fn new(next: Instant) -> Self {
        Self {
            state: State::Waiting(next),
            failures: 0,
            failed_at: None,
            lost: next,
        }
    }

    /// When it may be tried; none while it is being dialled or connected.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(next) => Some(next),
            State::Dialling | State::Connected => None,
        }
    }

    /// Whether it has never been tried since it was lost or heard of.
    pub(super) fn is_fresh(&self) -> bool {
        self.failures == 0
    }

    /// When a dial came to nothing last, since it was lost or heard of.
    pub(super) fn failed_at(&self) -> Option<Instant> {
        self.failed_at
    }

    /// It closed the connection soon after we had dialled it, as one does that has more peers than it wants.
    pub(super) fn turned_away(&mut self, now: Instant, jitter: f64) {
        *self = Self::new(now + TURNED_AWAY.mul_f64(jitter));
        (self.failures, self.failed_at) = (1, Some(now));
    }

    /// Forgets the failures of one that waits, and lets it be tried at `next` if that is sooner.
    pub(super) fn wake(&mut self, next: Instant) {
        if let State::Waiting(planned) = self.state {
            *self = Self::new(next.min(planned));
        }
    }

    /// A dial came to nothing; no matter if a connection came about in another way meanwhile. While there are addresses that
    /// have not had their turn (`more`), the pause does not grow.
    pub(super) fn failed(&mut self, now: Instant, jitter: f64, more: bool) {
        if self.state != State::Dialling {
            return;
        }
        let cap = if now.saturating_duration_since(self.lost) < RECENT {
            PAUSE_MAX_RECENT
        } else {
            PAUSE_MAX
        };
        let doublings = if more { 0 } else { self.failures.min(10) };
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(cap);
        self.failures = self.failures.saturating_add(u32::from(!more)).max(1);
        self.failed_at = Some(now);
        self.state = State::Waiting(now + pause.mul_f64(jitter));
    }
}
