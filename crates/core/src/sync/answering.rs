//! The answering side: it does what it is asked, one thing after another, and only decides what it can serve.

use super::method::{Estimate, Method, Tried, choose};
use super::outbox::Order;
use super::outcome::{Outcome, SessionError, Violation};
use super::ranges::Ranges;
use super::shared::{Shared, Turn};
use super::slots::Slot;
use super::store::SyncStore;
use super::wire::{Frame, State};
use crate::limits::{SYNC_HELLO_CELLS, SYNC_HELLO_HINTS, SYNC_ORDERED_KEYS_MAX};
use crate::set_digest::SetDigestValue;
use crate::sketch::{Cell, Reconciler, Sketch};

/// What the answering side remembers from one question to the next.
#[derive(Default)]
pub(super) struct Answering {
    /// The range-based fallback, once it has been requested.
    ranges: Option<(Ranges, Slot)>,
    /// The peer has said Hello: only then can it know that it needs the ranges.
    greeted: bool,
    /// A bulk was offered before: the place that it reached was not enough.
    bulk_before: bool,
    /// The digest of the records from which the cells come that were last sent or announced.
    moment: Option<SetDigestValue>,
    /// How often more cells than those of a Hello were sent.
    tried: Tried,
    /// What was last heard and answered is a Check that found a difference.
    differed: bool,
}

impl Answering {
    pub(super) fn receive<S: SyncStore>(
        &mut self,
        frame: Frame,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        let after_difference = std::mem::take(&mut self.differed);
        let shared = &mut *turn.shared;
        match frame {
            Frame::Check(state) if after_difference => hear_that_it_became_equal(state, turn),
            Frame::Check(state) => {
                answer_check(state, turn)?;
                self.differed = turn.shared.outcome.is_none();
            }
            Frame::Hello { .. } | Frame::CellsWanted { .. } if shared.outbox.holds_cells() => {
                return Err(Violation("asks for more cells before the previous ones have arrived").into());
            }
            Frame::Hello {
                state, cells, hints, ..
            } => {
                self.greeted = true;
                self.answer_hello(state, (&cells, &hints), turn)?;
            }
            Frame::CellsWanted { have, count } => self.send_cells(have, count, turn)?,
            Frame::RecordsWanted { keys, last } => {
                if shared.outbox.keys() + keys.len() > SYNC_ORDERED_KEYS_MAX {
                    return Err(Violation("requests more than it reads").into());
                }
                shared.send_records(keys)?;
                if last {
                    shared.outbox.push_frame(Frame::Done)?;
                }
            }
            Frame::BulkWanted { after } => turn.send_bulk(after)?,
            Frame::BulkOffered => {
                if !turn.receive_bulk(self.bulk_before)? {
                    turn.shared.break_off(Frame::Busy, Outcome::Busy)?;
                }
                self.bulk_before = true;
            }
            Frame::Done => shared.bulk = None,
            Frame::Range(_) if !self.greeted => {
                return Err(Violation("compares all records before saying Hello").into());
            }
            Frame::Range(message) => self.answer_range(&message, turn)?,
            Frame::End { waiting: 0 } => shared.hear_the_end(Outcome::Delivered),
            Frame::End { waiting } => {
                shared.outbox.clear();
                shared.finish_waiting(waiting);
            }
            _ => return Err(Violation("answers a question that was not asked").into()),
        }
        Ok(())
    }

    /// Answers with our own cells, and with what the cells of both are good for: if they are enough to decode the difference, with
    /// the records that the peer lacks; otherwise with as many further cells as are probably enough.
    fn answer_hello<S: SyncStore>(
        &mut self,
        theirs: State,
        (their_cells, hints): (&[Cell], &[u8]),
        turn: &mut Turn<'_, S>,
    ) -> Result<(), Violation> {
        let mine = turn.told_state();
        let equal = mine.digest == theirs.digest;
        let held = (mine.count, theirs.count);
        turn.note_peer(theirs);
        turn.shared.report.rounds += 1;
        self.moment = Some(mine.digest);
        let sketch = turn.store.summary().sketch();
        let cells = sketch.pieces(if equal { 0 } else { SYNC_HELLO_CELLS });
        let difference = Sketch::difference(cells, their_cells).ok().filter(|_| !equal);
        let further = if equal || difference.is_some() {
            None
        } else {
            let known = sketch.pieces(their_cells.len() + hints.len());
            self.further_cells(Estimate::of(known, their_cells, hints), held, turn)
        };
        // What is left for the peer to decide, it decides knowing as much.
        let undecided = !equal && difference.is_none() && further.is_none();
        let hinted = if undecided { SYNC_HELLO_HINTS } else { 0 };
        turn.shared.outbox.push_frame(Frame::Hello {
            state: mine,
            decoded: difference.is_some(),
            cells: cells.to_vec(),
            hints: sketch.hints(SYNC_HELLO_CELLS, hinted),
            // At most 65,536.
            more: further.as_ref().map_or(0, |(cells, _)| cells.len() as u32),
        })?;
        if equal {
            turn.shared.finish(Outcome::Equal);
        }
        if let Some(difference) = difference {
            turn.shared.forget_plan();
            let plan = turn.plan(&difference);
            turn.shared.send_records(plan.send)?;
            turn.shared.outbox.push_frame(Frame::Done)?;
        }
        match further {
            Some((cells, slot)) => push_cells(held.0, SYNC_HELLO_CELLS, cells, slot, turn.shared),
            None => Ok(()),
        }
    }

    /// The cells that should follow those of a Hello; none if cells are not how it goes on, or no slot is free: then the peer asks
    /// for what it needs.
    fn further_cells<S: SyncStore>(
        &mut self,
        estimate: Estimate,
        (mine, theirs): (u64, u64),
        turn: &Turn<'_, S>,
    ) -> Option<(Vec<Cell>, Slot)> {
        let Method::Cells(count) = choose(estimate, mine, theirs, self.tried) else {
            return None;
        };
        let slot = turn.shared.slots.take_snapshot()?;
        self.tried.cells += 1;
        let cells = turn.store.summary().sketch().pieces(count);
        Some((cells.iter().skip(SYNC_HELLO_CELLS).copied().collect(), slot))
    }

    /// All cells come from this one moment, or from that of those which the peer has: cells of two moments do not decode.
    fn send_cells<S: SyncStore>(&mut self, have: u32, count: u32, turn: &mut Turn<'_, S>) -> Result<(), Violation> {
        if have >= count {
            return Err(Violation("asks for cells that it has"));
        }
        let Some(slot) = turn.shared.slots.take_snapshot() else {
            return turn.shared.break_off(Frame::Busy, Outcome::Busy);
        };
        self.tried.cells += 1;
        let digest = turn.store.summary().digest();
        let goes_on = self.moment.replace(digest) == Some(digest);
        let first = if goes_on { have } else { 0 };
        let summary = turn.store.summary();
        let cells = summary.sketch().pieces(count as usize).iter().skip(first as usize);
        push_cells(
            summary.count(),
            first as usize,
            cells.copied().collect(),
            slot,
            turn.shared,
        )
    }

    fn answer_range<S: SyncStore>(
        &mut self,
        message: &[u8],
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        const NONSENSE: Violation = Violation("sends an invalid range message");
        let shared = &mut *turn.shared;
        if !shared.allows_range_message() {
            return Ok(shared.break_off(Frame::Busy, Outcome::Busy)?);
        }
        if self.ranges.is_none() {
            let Some(slot) = shared.slots.take_ranges(turn.now) else {
                return Ok(shared.break_off(Frame::Busy, Outcome::Busy)?);
            };
            let items = turn.store.items().map_err(SessionError::Store)?;
            self.ranges = Some((Ranges::new(items).map_err(|_| NONSENSE)?, slot));
            shared.report.ranges = true;
        }
        if let Some((ranges, _)) = &mut self.ranges {
            let answer = ranges.answer(message).map_err(|_| NONSENSE)?;
            shared.outbox.push_frame(Frame::Range(answer))?;
        }
        Ok(())
    }
}

fn answer_check<S: SyncStore>(theirs: State, turn: &mut Turn<'_, S>) -> Result<(), Violation> {
    let mine = turn.told_state();
    let equal = mine.digest == theirs.digest;
    turn.note_peer(theirs);
    let shared = &mut *turn.shared;
    if !equal && shared.report.left_some_out() && !shared.report.told_full {
        // What could not be stored now could not be stored next time either.
        return shared.break_off(Frame::Busy, Outcome::Busy);
    }
    shared.outbox.push_frame(Frame::Check(mine))?;
    if equal {
        shared.finish(Outcome::Equal);
    }
    Ok(())
}

/// What we sent in answer to a Check has made the peer equal to what we told of ourselves. It has closed the stream: nothing can be
/// sent any more.
fn hear_that_it_became_equal<S: SyncStore>(theirs: State, turn: &mut Turn<'_, S>) {
    let is_so = [turn.shared.told, turn.store.summary().digest()] == [theirs.digest; 2];
    turn.note_peer(theirs);
    let outcome = if is_so { Outcome::Equal } else { Outcome::Delivered };
    turn.shared.hear_the_end(outcome);
}

/// Orders cells of one moment to be sent, of a sketch that covers `count` records.
fn push_cells(count: u64, first: usize, cells: Vec<Cell>, slot: Slot, shared: &mut Shared) -> Result<(), Violation> {
    shared.outbox.push(Order::Cells {
        count,
        first,
        cells: cells.into_iter(),
        _slot: slot,
    })
}
