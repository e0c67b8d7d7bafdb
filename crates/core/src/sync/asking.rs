//! The side that asks: it leads the session from one step to the next.

use super::method::{CELLS_TRIES_MAX, Method, Tried, choose};
use super::outbox::Order;
use super::plan::Plan;
use super::ranges::Ranges;
use super::session::{Opening, Outcome, SessionError, Settled, Shared, Violation};
use super::slots::Slot;
use super::store::SyncStore;
use super::wire::{Frame, State};
use crate::limits::{SYNC_HELLO_CELLS, SYNC_RANGE_MESSAGES_MAX, SYNC_ROUNDS_MAX};
use crate::set_digest::SetDigestValue;
use crate::sketch::{Cell, Difference, Reconciler, SKETCH_CELLS, Sketch};
use crate::time::Timestamp;

/// Rounds that changed nothing, although nothing else interfered, before the records themselves are compared.
const FRUITLESS_MAX: usize = 2;

/// Where the session stands, and what it tried.
pub(super) struct Asking {
    stage: Stage,
    /// Both digests at the last Hello, and how many records had been news by then.
    before: Option<Progress>,
    tried: Tried,
    fruitless: usize,
    ranges_done: bool,
    range_messages: usize,
    /// With these digests nothing differs but what waits.
    settled: Option<Settled>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Progress {
    digests: (SetDigestValue, SetDigestValue),
    changed: u64,
}

/// What is awaited.
enum Stage {
    /// The answer to a Check.
    Comparing(After),
    /// The answer to a Hello, which held these cells.
    Greeting(Vec<Cell>),
    /// This many cells, of which some have come.
    Fetching { wanted: usize, cells: Vec<Cell> },
    /// The end of what the peer sends.
    Transferring(Transfer),
    /// The answer to a range message.
    Ranging(RangeWork),
}

/// What came before a Check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Opening,
    /// A transfer of what was known to differ.
    Exchange,
    /// No transfer: so many records wait, and nothing else was found to differ.
    OnlyWaiting(u64),
    Bulk,
}

/// What is still to come before this transfer is over.
struct Transfer {
    after: After,
    /// The peer has not said yet that it sent everything.
    awaits_done: bool,
    /// The peer has not said yet from where it wants our bulk.
    awaits_bulk_wanted: bool,
    /// Behind it, the range-based fallback goes on.
    ranges: Option<RangeWork>,
}

/// The range-based fallback at work.
struct RangeWork {
    ranges: Ranges,
    /// What goes out when everything found so far is across; none: that was all.
    next: Option<Vec<u8>>,
    /// Found so far: keys to move, and records that wait.
    moved: u64,
    waiting: u64,
    _slot: Slot,
}

impl Asking {
    pub(super) fn open<S: SyncStore>(opening: Opening, shared: &mut Shared, store: &S, now: Timestamp) -> Self {
        let mut asking = Self {
            stage: Stage::Comparing(After::Opening),
            before: None,
            tried: Tried::default(),
            fruitless: 0,
            ranges_done: false,
            range_messages: 0,
            settled: match opening {
                Opening::Recheck(settled) => Some(settled),
                Opening::Check | Opening::Hello => None,
            },
        };
        // The outbox of a new session has room.
        let _ = match opening {
            Opening::Check | Opening::Recheck(_) => shared.outbox.push(Order::Check),
            Opening::Hello => asking.greet(shared, store, now),
        };
        asking
    }

    /// About how much memory is held, the range-based fallback aside.
    pub(super) fn held_bytes(&self) -> usize {
        match &self.stage {
            Stage::Greeting(cells) | Stage::Fetching { cells, .. } => size_of_val(cells.as_slice()),
            _ => 0,
        }
    }

    pub(super) fn receive<S: SyncStore>(
        &mut self,
        frame: Frame,
        shared: &mut Shared,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Comparing(After::Opening));
        match (stage, frame) {
            (Stage::Comparing(after), Frame::Check(theirs)) => self.compare(after, theirs, shared, store, now),
            (Stage::Greeting(mine), Frame::Hello { state, decoded, cells }) => {
                shared.note_peer(state, now);
                self.begin_round(&mine, &cells, decoded, shared, store, now)
            }
            (Stage::Fetching { wanted, mut cells }, Frame::Cells { first, cells: more, .. }) => {
                cells.extend(more.iter().take(wanted - cells.len()));
                if more.is_empty() || first as usize + more.len() != cells.len() {
                    return Err(Violation("sends other cells than it was asked for").into());
                }
                if cells.len() < wanted {
                    self.stage = Stage::Fetching { wanted, cells };
                    return Ok(());
                }
                self.decode(&cells, shared, store, now)
            }
            (Stage::Transferring(mut transfer), Frame::Done) if transfer.awaits_done => {
                transfer.awaits_done = false;
                shared.bulk = None;
                self.continue_transfer(transfer, shared).map_err(Into::into)
            }
            (Stage::Transferring(mut transfer), Frame::BulkWanted { after }) if transfer.awaits_bulk_wanted => {
                transfer.awaits_bulk_wanted = false;
                shared.send_bulk(after)?;
                self.continue_transfer(transfer, shared).map_err(Into::into)
            }
            (Stage::Ranging(work), Frame::Range(answer)) => {
                self.work_off(work, &answer, shared, now).map_err(Into::into)
            }
            _ => Err(Violation("answers what nobody asked").into()),
        }
    }

    /// Says Hello, with the cells of this moment: only these can be compared with the answer.
    fn greet<S: SyncStore>(&mut self, shared: &mut Shared, store: &S, now: Timestamp) -> Result<(), Violation> {
        let state = shared.state(store, now);
        let cells = store.summary().sketch().pieces(SYNC_HELLO_CELLS).to_vec();
        shared.told = state.digest;
        shared.report.rounds += 1;
        shared.report.round_trips += 1;
        self.stage = Stage::Greeting(cells.clone());
        shared.outbox.push_frame(Frame::Hello {
            state,
            decoded: false,
            cells,
        })
    }

    /// Both Hellos are there.
    fn begin_round<S: SyncStore>(
        &mut self,
        mine: &[Cell],
        theirs: &[Cell],
        decoded: bool,
        shared: &mut Shared,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        self.before = Some(progress(shared));
        if self.before.is_some_and(|before| before.digests.0 == before.digests.1) {
            shared.finish(Outcome::Equal);
            return Ok(());
        }
        match Sketch::difference(mine, theirs) {
            Ok(difference) => self.exchange(&difference, decoded, shared, now).map_err(Into::into),
            // The peer says that it knows the difference. So be it: it will send what it thinks we lack.
            Err(_) if decoded => self
                .exchange(&Difference::default(), true, shared, now)
                .map_err(Into::into),
            Err(_) => self.find_out_more(Sketch::estimate(mine, theirs), mine, theirs, shared, store),
        }
    }

    /// The first cells do not tell the difference, which is about this large.
    fn find_out_more<S: SyncStore>(
        &mut self,
        differing: u64,
        mine: &[Cell],
        theirs: &[Cell],
        shared: &mut Shared,
        store: &mut S,
    ) -> Result<(), SessionError<S::Error>> {
        let count = |cells: &[Cell]| cells.first().map_or(0, |cell| u64::try_from(cell.count).unwrap_or(0));
        match choose(differing, count(mine), count(theirs), self.tried) {
            Method::Cells(wanted) => self.fetch_cells(wanted, shared).map_err(Into::into),
            Method::Bulk { offers, wants } => self.move_in_bulk(offers, wants, shared, store),
            Method::Ranges => self.compare_ranges(shared, store),
        }
    }

    fn fetch_cells(&mut self, wanted: usize, shared: &mut Shared) -> Result<(), Violation> {
        self.tried.cells += 1;
        shared.report.round_trips += 1;
        self.stage = Stage::Fetching {
            wanted,
            cells: Vec::new(),
        };
        shared.outbox.push_frame(Frame::CellsWanted {
            // At most 65,536.
            count: u32::try_from(wanted).unwrap_or(u32::MAX),
        })
    }

    /// All cells have come, from one moment of the peer; ours are those of this moment.
    fn decode<S: SyncStore>(
        &mut self,
        theirs: &[Cell],
        shared: &mut Shared,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        match Sketch::difference(store.summary().sketch().pieces(theirs.len()), theirs) {
            Ok(difference) => self.exchange(&difference, false, shared, now).map_err(Into::into),
            Err(_) if self.tried.cells < CELLS_TRIES_MAX && theirs.len() < SKETCH_CELLS => {
                let wanted = theirs.len().saturating_mul(2).min(SKETCH_CELLS);
                self.fetch_cells(wanted, shared).map_err(Into::into)
            }
            Err(_) => self.compare_ranges(shared, store),
        }
    }

    /// The difference is known: both get what they lack. A peer that `knows` it too sends unasked.
    fn exchange(
        &mut self,
        difference: &Difference,
        knows: bool,
        shared: &mut Shared,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let plan = Plan::of(difference, shared.horizons(now));
        shared.note_plan(&plan, now);
        let after = if plan.moves_nothing() && plan.waiting > 0 {
            After::OnlyWaiting(plan.waiting)
        } else {
            After::Exchange
        };
        let asks = !knows && !plan.want.is_empty();
        // Asked for first, so that the peer's records travel while ours do.
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

    /// Most records differ: they travel all, in the directions that need it.
    fn move_in_bulk<S: SyncStore>(
        &mut self,
        offers: bool,
        wants: bool,
        shared: &mut Shared,
        store: &mut S,
    ) -> Result<(), SessionError<S::Error>> {
        shared.report.round_trips += 1;
        if wants && !shared.receive_bulk(self.tried.bulks > 0, store)? {
            return Ok(shared.break_off(Frame::End { waiting: 0 }, Outcome::Busy)?);
        }
        if offers {
            shared.outbox.push_frame(Frame::BulkOffered)?;
        }
        self.tried.bulks += 1;
        let transfer = Transfer {
            after: After::Bulk,
            awaits_done: wants,
            awaits_bulk_wanted: offers,
            ranges: None,
        };
        self.continue_transfer(transfer, shared).map_err(Into::into)
    }

    /// Goes on when nothing is awaited any longer: with the ranges if they are not through, else with a Check.
    fn continue_transfer(&mut self, mut transfer: Transfer, shared: &mut Shared) -> Result<(), Violation> {
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

    /// Both states after a transfer are there.
    fn compare<S: SyncStore>(
        &mut self,
        after: After,
        theirs: State,
        shared: &mut Shared,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        shared.note_peer(theirs, now);
        let after_all = progress(shared);
        if after_all.digests.0 == after_all.digests.1 {
            shared.finish(Outcome::Equal);
            return Ok(());
        }
        let settled = self
            .settled
            .filter(|settled| (settled.mine, settled.theirs) == after_all.digests);
        if let Some(settled) = settled {
            return Ok(say_waiting(settled.records, shared)?);
        }
        if shared.report.rounds >= SYNC_ROUNDS_MAX as u64 {
            return Ok(say_delivered(shared)?);
        }
        match after {
            After::Opening | After::Bulk => return Ok(self.greet(shared, store, now)?),
            // If neither side changed since the Hello, that is all that differs.
            After::OnlyWaiting(records) if self.before == Some(after_all) => return Ok(say_waiting(records, shared)?),
            After::OnlyWaiting(_) => return Ok(self.greet(shared, store, now)?),
            After::Exchange => {}
        }
        // What is still different then was waiting, has changed meanwhile, or does not move.
        if self.before != Some(after_all) {
            let goes_on = shared.report.waiting > 0 && !self.ranges_done;
            if goes_on {
                self.greet(shared, store, now)?;
            } else {
                say_delivered(shared)?;
            }
            return Ok(());
        }
        self.fruitless += 1;
        if self.fruitless < FRUITLESS_MAX {
            return Ok(self.greet(shared, store, now)?);
        }
        self.compare_ranges(shared, store)
    }

    /// Compares the records themselves, once.
    fn compare_ranges<S: SyncStore>(
        &mut self,
        shared: &mut Shared,
        store: &mut S,
    ) -> Result<(), SessionError<S::Error>> {
        if std::mem::replace(&mut self.ranges_done, true) {
            return Ok(say_delivered(shared)?);
        }
        let Some(slot) = shared.slots.take_ranges() else {
            return Ok(shared.break_off(Frame::End { waiting: 0 }, Outcome::Busy)?);
        };
        const OWN: Violation = Violation("cannot be compared with");
        let items = store.items().map_err(SessionError::Store)?;
        let mut ranges = Ranges::new(items).map_err(|_| OWN)?;
        let message = ranges.first_message().map_err(|_| OWN)?;
        shared.report.ranges = true;
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

    /// Moves what an answer of the range-based fallback told, before the next message goes out.
    fn work_off(
        &mut self,
        mut work: RangeWork,
        answer: &[u8],
        shared: &mut Shared,
        now: Timestamp,
    ) -> Result<(), Violation> {
        self.range_messages += 1;
        if self.range_messages > SYNC_RANGE_MESSAGES_MAX {
            return Err(Violation("does not come to an end"));
        }
        let compared = work.ranges.compare(answer);
        let (difference, next) = compared.map_err(|_| Violation("sends a range message that makes no sense"))?;
        let plan = Plan::of(&difference, shared.horizons(now));
        shared.note_plan(&plan, now);
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

/// Where both sides stand, by what was last told and heard.
fn progress(shared: &Shared) -> Progress {
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

fn say_delivered(shared: &mut Shared) -> Result<(), Violation> {
    shared.finish(Outcome::Delivered);
    shared.outbox.push_frame(Frame::End { waiting: 0 })
}
