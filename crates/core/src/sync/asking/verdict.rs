//! What a comparison of the digests means for the session: whether it is over, or how it continues.

use super::{After, Asking, FRUITLESS_MAX, Progress};
use crate::limits::SYNC_ROUNDS_MAX;
use crate::sync::outcome::{Outcome, Violation};
use crate::sync::shared::{Shared, Turn};
use crate::sync::store::SyncStore;
use crate::sync::wire::{Frame, State};

impl Asking {
    /// Both states after a transfer are there.
    pub(super) fn compare<S: SyncStore>(
        &mut self,
        after: After,
        theirs: State,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), Violation> {
        let (current, theirs_now) = (turn.store.summary().digest(), theirs.digest);
        turn.note_peer(theirs);
        if current != turn.shared.told && current == theirs_now {
            // What the peer sent back made us equal after we had told our state. It hears that, and need not answer.
            let state = turn.told_state();
            turn.shared.finish(Outcome::Equal);
            return turn.shared.outbox.push_frame(Frame::Check(state));
        }
        let shared = &mut *turn.shared;
        let after_all = progress(shared);
        if after_all.digests.0 == after_all.digests.1 {
            shared.finish(Outcome::Equal);
            return Ok(());
        }
        let settled = self
            .settled
            .filter(|settled| (settled.mine, settled.theirs) == after_all.digests);
        if let Some(settled) = settled {
            return say_waiting(settled.records, shared);
        }
        // If nothing moved since the Hello, space is missing. The side that gets some opens another session.
        if shared.lacks_room() && after != After::Opening && self.before == Some(after_all) {
            let records = shared.report.waiting.max(shared.report.refused).max(1);
            return say_waiting(records, shared);
        }
        // What could not be stored now could not be stored next time either.
        if shared.report.left_some_out() || shared.report.rounds >= SYNC_ROUNDS_MAX as u64 {
            return say_delivered(shared);
        }
        match after {
            After::Opening | After::Bulk => return self.greet(turn),
            // If neither side changed since the Hello, that is all that differs.
            After::OnlyWaiting(records) if self.before == Some(after_all) => return say_waiting(records, shared),
            After::OnlyWaiting(_) => return self.greet(turn),
            After::Exchange => {}
        }
        // What is still different then was waiting, has changed meanwhile, or does not move.
        if self.before != Some(after_all) {
            let goes_on = shared.report.waiting > 0 && !self.ranges_done;
            return if goes_on {
                self.greet(turn)
            } else {
                say_delivered(shared)
            };
        }
        self.fruitless += 1;
        if self.fruitless < FRUITLESS_MAX {
            return self.greet(turn);
        }
        // What travelled was known to lose, and the rest is not due.
        if turn.shared.report.waiting > 0 {
            let records = turn.shared.report.waiting;
            return say_waiting(records, turn.shared);
        }
        self.compare_ranges(turn)
    }
}

/// The state of both sides, as last sent and received.
pub(super) fn progress(shared: &Shared) -> Progress {
    let theirs = shared.report.peer.as_ref();
    Progress {
        digests: (shared.told, theirs.map_or([0; 32], |peer| peer.digest)),
        changed: theirs
            .map_or(0, |peer| peer.changed)
            .saturating_add(shared.report.changed),
    }
}

fn say_waiting(waiting: u64, shared: &mut Shared) -> Result<(), Violation> {
    shared.finish_waiting(waiting);
    shared.outbox.push_frame(Frame::End { waiting })
}

pub(super) fn say_delivered(shared: &mut Shared) -> Result<(), Violation> {
    shared.finish(Outcome::Delivered);
    shared.outbox.push_frame(Frame::End { waiting: 0 })
}
