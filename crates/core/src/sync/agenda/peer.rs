//! What the agenda knows about one peer: what is under way, when the next session is due, and what the last one revealed.

use std::time::Duration;

use super::{OWED_PAUSE, SessionEnd, between};
use crate::random::SplitMix64;
use crate::set_digest::SetDigestValue;
use crate::sync::outcome::{Opening, Outcome, Settled};
use crate::time::{Timestamp, Uptime};

/// The pause after a session that changed something, but did not end equal.
const SOON: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(500)];
/// After one that changed nothing: the pause grows from the first to the last of these.
const FRUITLESS_PAUSE_MIN: Duration = Duration::from_millis(500);
const FRUITLESS_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long a new reason waits at most after a session that changed nothing.
const REASON_PAUSE_MAX: Duration = Duration::from_secs(2);
/// For how long the side that answered a session leaves the next one to the other side.
const ANSWERED_PAUSE: Duration = Duration::from_millis(500);
/// For how long the peer's statement about its clock is trusted: after that, a waiting difference is checked again.
const SETTLED_MAX: Duration = Duration::from_secs(600);
/// When a side that was told about a waiting difference, but did not see it, checks again.
const UNSEEN_PAUSE: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(30)];

/// Who opened a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// We did, then.
    Ours(Uptime),
    Theirs,
}

/// Records wait on either side, and nothing else differs.
#[derive(Debug, Clone, Copy)]
struct Waits {
    settled: Settled,
    /// When the earliest falls due, by our wall clock.
    falls_due: Timestamp,
    until: Uptime,
}

#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) connected: bool,
    pub(super) under_way: Option<Side>,
    /// Something arrived by a session or feed that this peer may not have.
    pub(super) untold: bool,
    /// A session has completed since the peer connected.
    greeted: bool,
    /// The last session was interrupted, or could not be opened.
    pub(super) failed: bool,
    /// When the next session is due; while one is under way: after it.
    due: Option<Uptime>,
    /// Nothing is due before.
    not_before: Uptime,
    /// The last pause after a session that changed nothing.
    pause: Duration,
    /// The digest it was last known to have.
    digest: Option<SetDigestValue>,
    waits: Option<Waits>,
    /// There is space here again: records that were waiting may not have to wait any longer.
    anew: bool,
}

impl Peer {
    /// A session is wanted by then.
    pub(super) fn want(&mut self, when: Uptime) {
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }

    /// A session is wanted by then, whatever is known to wait.
    pub(super) fn look_anew(&mut self, when: Uptime) {
        self.anew = true;
        self.want(when);
    }

    /// When a session can be opened, if one is wanted.
    pub(super) fn free_at(&self) -> Option<Uptime> {
        let due = self.due.filter(|_| self.connected && self.under_way.is_none());
        due.map(|due| due.max(self.not_before))
    }

    pub(super) fn waits_for_the_clock(&self) -> bool {
        self.waits.is_some()
    }

    /// Whether it is known to lack nothing that it could store.
    pub(super) fn holds_the_same(&self, mine: &SetDigestValue) -> bool {
        self.digest.as_ref() == Some(mine) || self.waits.is_some_and(|waits| waits.settled.mine == *mine)
    }

    /// What was wanted so far is what this session is for.
    pub(super) fn begin(&mut self, side: Side) {
        self.under_way = Some(side);
        // One that the peer opens may end with what was known to wait.
        if !self.anew {
            self.due = None;
        }
    }

    /// We open a session.
    pub(super) fn open(&mut self, at: Uptime) -> Opening {
        if std::mem::take(&mut self.anew) {
            self.waits = None;
        }
        self.begin(Side::Ours(at));
        match self.waits {
            _ if !self.greeted => Opening::Hello,
            Some(waits) => Opening::Recheck(waits.settled),
            None => Opening::Check,
        }
    }

    /// The session under way is over.
    pub(super) fn end(&mut self, end: SessionEnd, at: Uptime, random: &mut SplitMix64) {
        let Some(side) = self.under_way.take() else { return };
        self.digest = end.peer_digest.or(self.digest);
        self.failed = end.outcome.is_none();
        self.not_before = at.after(OWED_PAUSE);
        self.greeted |= matches!(
            end.outcome,
            Some(Outcome::Equal | Outcome::Waiting | Outcome::Delivered)
        );
        match end.outcome {
            Some(Outcome::Equal) => {
                // What it may not have heard remains: the two compared a moment that may be older.
                (self.pause, self.waits) = (Duration::ZERO, None);
            }
            Some(Outcome::Waiting) => {
                self.pause = Duration::ZERO;
                self.wait_for_the_clock(&end, at, random);
            }
            Some(Outcome::Delivered | Outcome::Busy) | None => {
                self.follow_up(end.changed, side, at, random);
            }
        }
    }

    fn follow_up(&mut self, changed: u64, side: Side, at: Uptime, random: &mut SplitMix64) {
        let pause = if changed > 0 {
            self.pause = Duration::ZERO;
            between(random, SOON)
        } else {
            self.pause = (self.pause * 2).clamp(FRUITLESS_PAUSE_MIN, FRUITLESS_PAUSE_MAX);
            let pause = between(random, [self.pause * 3 / 4, self.pause]);
            self.not_before = at.after(pause.min(REASON_PAUSE_MAX));
            pause
        };
        let turn = match side {
            Side::Ours(_) => Duration::ZERO,
            Side::Theirs => ANSWERED_PAUSE,
        };
        self.want(at.after(pause + turn));
    }

    fn wait_for_the_clock(&mut self, end: &SessionEnd, at: Uptime, random: &mut SplitMix64) {
        let before = self.waits.take().filter(|waits| Some(waits.settled) == end.settled);
        self.waits = match (end.settled, end.falls_due) {
            (Some(settled), Some(falls_due)) => Some(Waits {
                settled,
                falls_due,
                until: at.after(SETTLED_MAX),
            }),
            _ => before,
        };
        if self.waits.is_none() {
            self.want(at.after(between(random, UNSEEN_PAUSE)));
        }
    }

    /// Waiting records may have fallen due: the clock moves on, and may step.
    pub(super) fn look_at_the_clock(&mut self, now: Timestamp, at: Uptime) {
        let over = |waits: &mut Waits| waits.falls_due <= now || waits.until <= at;
        if self.waits.take_if(over).is_some() {
            self.want(at);
        }
    }
}
