//! Transfers the difference: the records of known keys, all records in bulk, or what the ranges find bit by bit.

use super::{After, Asking, RangeWork, Stage, Transfer, verdict};
use crate::sketch::Difference;
use crate::sync::outbox::Order;
use crate::sync::outcome::{Outcome, SessionError, Violation};
use crate::sync::ranges::{NO_RANGES, Ranges};
use crate::sync::shared::{Shared, Turn};
use crate::sync::slots::Slot;
use crate::sync::store::SyncStore;
use crate::sync::wire::Frame;

impl Asking {
    /// The difference is known: both get what they lack. A peer that `knows` it too sends without being asked.
    pub(super) fn exchange<S: SyncStore>(
        &mut self,
        difference: &Difference,
        knows: bool,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), Violation> {
        turn.shared.forget_plan();
        let plan = turn.plan(difference);
        let shared = &mut *turn.shared;
        let after = if plan.moves_nothing() && plan.waiting > 0 {
            After::OnlyWaiting(plan.waiting)
        } else {
            After::Exchange
        };
        let asks = !knows && !plan.want.is_empty();
        // Requested first, so that both sides' records are in flight at the same time.
        if asks {
            shared.report.round_trips += 1;
            shared.outbox.push(Order::Want(plan.want))?;
        }
        shared.send_records(plan.send)?;
        let transfer = Transfer {
            after,
            awaits_done: knows || asks,
            awaits_bulk_wanted: false,
            ranges: None,
        };
        self.continue_transfer(transfer, shared)
    }

    /// Most records differ: all of them are sent, in the directions that need it.
    pub(super) fn move_in_bulk<S: SyncStore>(
        &mut self,
        offers: bool,
        wants: bool,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        turn.shared.report.round_trips += 1;
        // Offered first: each side then knows of both bulks before it begins its own.
        if offers {
            turn.shared.outbox.push_frame(Frame::BulkOffered)?;
        }
        if wants && !turn.receive_bulk(self.tried.bulks > 0)? {
            return Ok(turn.shared.break_off(Frame::End { waiting: 0 }, Outcome::Busy)?);
        }
        self.tried.bulks += 1;
        let transfer = Transfer {
            after: After::Bulk,
            awaits_done: wants,
            awaits_bulk_wanted: offers,
            ranges: None,
        };
        Ok(self.continue_transfer(transfer, turn.shared)?)
    }

    /// Continues when nothing is awaited any longer: with the ranges if they are not finished, otherwise with a Check.
    pub(super) fn continue_transfer(&mut self, mut transfer: Transfer, shared: &mut Shared) -> Result<(), Violation> {
        if transfer.awaits_done || transfer.awaits_bulk_wanted {
            self.stage = Stage::Transferring(transfer);
            return Ok(());
        }
        if let Some(mut work) = transfer.ranges.take() {
            if let Some(message) = work.next.take() {
                shared.report.round_trips += 1;
                self.stage = Stage::Ranging(work);
                return shared.outbox.push_frame(Frame::Range(message));
            }
            if work.moved == 0 && work.waiting > 0 {
                transfer.after = After::OnlyWaiting(work.waiting);
            }
        }
        self.stage = Stage::Comparing(transfer.after);
        shared.outbox.push(Order::Check)
    }

    /// Compares the records themselves, once.
    pub(super) fn compare_ranges<S: SyncStore>(&mut self, turn: &mut Turn<'_, S>) -> Result<(), Violation> {
        let shared = &mut *turn.shared;
        if std::mem::replace(&mut self.ranges_done, true) {
            return verdict::say_delivered(shared);
        }
        let Some(slot) = shared.slots.take_ranges(turn.now) else {
            return shared.break_off(Frame::End { waiting: 0 }, Outcome::Busy);
        };
        // An empty message: whether the peer is busy shows before our own records are read.
        shared.report.round_trips += 1;
        self.stage = Stage::RangesOffered(slot);
        shared.outbox.push_frame(Frame::Range(NO_RANGES.to_vec()))
    }

    /// The peer is ready for the ranges.
    pub(super) fn begin_ranges<S: SyncStore>(
        &mut self,
        slot: Slot,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        const OWN: Violation = Violation("cannot be compared with");
        let items = turn.store.items().map_err(SessionError::Store)?;
        let mut ranges = Ranges::new(items).map_err(|_| OWN)?;
        let message = ranges.first_message().map_err(|_| OWN)?;
        let shared = &mut *turn.shared;
        shared.report.ranges = true;
        shared.forget_plan();
        shared.report.round_trips += 1;
        shared.outbox.push_frame(Frame::Range(message))?;
        self.stage = Stage::Ranging(RangeWork {
            ranges,
            next: None,
            moved: 0,
            waiting: 0,
            _slot: slot,
        });
        Ok(())
    }

    /// Transfers what an answer of the range-based fallback revealed, before the next message is sent.
    pub(super) fn work_off<S: SyncStore>(
        &mut self,
        mut work: RangeWork,
        answer: &[u8],
        turn: &mut Turn<'_, S>,
    ) -> Result<(), Violation> {
        if !turn.shared.allows_range_message() {
            return turn.shared.break_off(Frame::End { waiting: 0 }, Outcome::Busy);
        }
        let compared = work.ranges.compare(answer);
        let (difference, next) = compared.map_err(|_| Violation("sends an invalid range message"))?;
        let plan = turn.plan(&difference);
        let shared = &mut *turn.shared;
        work.next = next;
        work.moved += (plan.send.len() + plan.want.len()) as u64;
        work.waiting += plan.waiting;
        let asks = !plan.want.is_empty();
        if asks {
            shared.report.round_trips += 1;
            shared.outbox.push(Order::Want(plan.want))?;
        }
        shared.send_records(plan.send)?;
        let transfer = Transfer {
            after: After::Exchange,
            awaits_done: asks,
            awaits_bulk_wanted: false,
            ranges: Some(work),
        };
        self.continue_transfer(transfer, shared)
    }
}
