//! The asking side: it leads the session from step to step.

mod transfer;
mod verdict;

use super::method::{CELLS_TRIES_MAX, Estimate, Method, Tried, choose};
use super::outbox::Order;
use super::outcome::{Opening, Outcome, SessionError, Settled, Violation};
use super::ranges::Ranges;
use super::shared::{Shared, Turn};
use super::slots::Slot;
use super::store::SyncStore;
use super::wire::Frame;
use crate::limits::{SYNC_HELLO_CELLS, SYNC_HELLO_HINTS};
use crate::set_digest::SetDigestValue;
use crate::sketch::{Cell, Difference, Reconciler, SKETCH_CELLS, Sketch};

/// Rounds that changed nothing, although nothing else interfered, before the records themselves are compared.
const FRUITLESS_MAX: usize = 2;

/// The current step of the session, and what it has tried.
pub(super) struct Asking {
    stage: Stage,
    /// Both digests at the last Hello, and how many records had been new by then.
    before: Option<Progress>,
    tried: Tried,
    fruitless: usize,
    ranges_done: bool,
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
    /// The answer to a Hello, which carried these cells.
    Greeting(Vec<Cell>),
    /// This many cells, some of which have arrived.
    Fetching {
        wanted: usize,
        cells: Vec<Cell>,
        /// The next ones may be those of a later moment, from the first on.
        may_begin_anew: bool,
    },
    /// The end of what the peer sends.
    Transferring(Transfer),
    /// Whether the peer has a free slot for the range-based fallback.
    RangesOffered(Slot),
    /// The answer to a range message.
    Ranging(RangeWork),
}

/// What preceded a Check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Opening,
    /// A transfer of what was known to differ.
    Exchange,
    /// No transfer: so many records wait, and nothing else was found to differ.
    OnlyWaiting(u64),
    Bulk,
}

/// What is still missing before this transfer is over.
struct Transfer {
    after: After,
    /// The peer has not yet said that it has sent everything.
    awaits_done: bool,
    /// The peer has not yet said from where it wants our bulk.
    awaits_bulk_wanted: bool,
    /// After it, the range-based fallback continues.
    ranges: Option<RangeWork>,
}

/// The range-based fallback at work.
struct RangeWork {
    ranges: Ranges,
    /// What to send when everything found so far has been transferred; none: that was all.
    next: Option<Vec<u8>>,
    /// Found so far: keys to move, and records that wait.
    moved: u64,
    waiting: u64,
    _slot: Slot,
}

impl Asking {
    pub(super) fn open<S: SyncStore>(opening: Opening, turn: &mut Turn<'_, S>) -> Self {
        let mut asking = Self {
            stage: Stage::Comparing(After::Opening),
            before: None,
            tried: Tried::default(),
            fruitless: 0,
            ranges_done: false,
            settled: match opening {
                Opening::Recheck(settled) => Some(settled),
                Opening::Check | Opening::Hello => None,
            },
        };
        // The outbox of a new session has room.
        let _ = match opening {
            Opening::Check | Opening::Recheck(_) => turn.shared.outbox.push(Order::Check),
            Opening::Hello => asking.greet(turn),
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
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        let stage = std::mem::replace(&mut self.stage, Stage::Comparing(After::Opening));
        match (stage, frame) {
            (Stage::Comparing(after), Frame::Check(theirs)) => Ok(self.compare(after, theirs, turn)?),
            (
                Stage::Greeting(mine),
                Frame::Hello {
                    state,
                    decoded,
                    cells,
                    hints,
                    more,
                },
            ) => {
                turn.note_peer(state);
                match more as usize {
                    0 => self.begin_round(&mine, &cells, &hints, decoded, turn),
                    _ if decoded => Err(Violation("sends cells that are not needed").into()),
                    more => {
                        self.await_cells(cells, more, turn);
                        Ok(())
                    }
                }
            }
            (
                Stage::Fetching {
                    wanted,
                    mut cells,
                    may_begin_anew,
                },
                Frame::Cells { first, cells: more, .. },
            ) => {
                if may_begin_anew && first == 0 {
                    cells.clear();
                }
                Ok(self.take_cells(wanted, cells, (first as usize, more), turn)?)
            }
            (Stage::Transferring(mut transfer), Frame::Done) if transfer.awaits_done => {
                transfer.awaits_done = false;
                turn.shared.bulk = None;
                Ok(self.continue_transfer(transfer, turn.shared)?)
            }
            (Stage::Transferring(mut transfer), Frame::BulkWanted { after }) if transfer.awaits_bulk_wanted => {
                transfer.awaits_bulk_wanted = false;
                turn.send_bulk(after)?;
                Ok(self.continue_transfer(transfer, turn.shared)?)
            }
            (Stage::RangesOffered(slot), Frame::Range(_)) => self.begin_ranges(slot, turn),
            (Stage::Ranging(work), Frame::Range(answer)) => Ok(self.work_off(work, &answer, turn)?),
            _ => Err(Violation("answers a question that was not asked").into()),
        }
    }

    /// Says Hello, with the cells of this moment: only these can be compared with the answer.
    fn greet<S: SyncStore>(&mut self, turn: &mut Turn<'_, S>) -> Result<(), Violation> {
        let state = turn.told_state();
        let sketch = turn.store.summary().sketch();
        let cells = sketch.pieces(SYNC_HELLO_CELLS).to_vec();
        turn.shared.report.rounds += 1;
        turn.shared.report.round_trips += 1;
        self.stage = Stage::Greeting(cells.clone());
        turn.shared.outbox.push_frame(Frame::Hello {
            state,
            decoded: false,
            cells,
            hints: sketch.hints(SYNC_HELLO_CELLS, SYNC_HELLO_HINTS),
            more: 0,
        })
    }

    /// Both Hellos are there. False if their digests are equal: then that is all.
    fn differs(&mut self, shared: &mut Shared) -> bool {
        let before = verdict::progress(shared);
        self.before = Some(before);
        let differs = before.digests.0 != before.digests.1;
        if !differs {
            shared.finish(Outcome::Equal);
        }
        differs
    }

    /// Both Hellos are there. The peer has seen that their cells are not enough, and sends so many `more`.
    fn await_cells<S: SyncStore>(&mut self, cells: Vec<Cell>, more: usize, turn: &mut Turn<'_, S>) {
        if self.differs(turn.shared) {
            self.tried.cells += 1;
            self.stage = Stage::Fetching {
                wanted: cells.len() + more,
                cells,
                may_begin_anew: false,
            };
        }
    }

    /// Both Hellos are there, and what the peer sends next depends on us, or is records.
    fn begin_round<S: SyncStore>(
        &mut self,
        mine: &[Cell],
        theirs: &[Cell],
        hints: &[u8],
        decoded: bool,
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        if !self.differs(turn.shared) {
            return Ok(());
        }
        match Sketch::difference(mine, theirs) {
            Ok(difference) => Ok(self.exchange(&difference, decoded, turn)?),
            // The peer says that it knows the difference, so it will send what it thinks we lack.
            Err(_) if decoded => Ok(self.exchange(&Difference::default(), true, turn)?),
            Err(_) => self.find_out_more(theirs, hints, turn),
        }
    }

    /// The first cells are not enough to decode the difference, and the peer sends no more unasked.
    fn find_out_more<S: SyncStore>(
        &mut self,
        theirs: &[Cell],
        hints: &[u8],
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        let mine = turn.store.summary().sketch().pieces(theirs.len() + hints.len());
        let count = |cells: &[Cell]| cells.first().map_or(0, |cell| u64::try_from(cell.count).unwrap_or(0));
        match choose(
            Estimate::of(mine, theirs, hints),
            count(mine),
            count(theirs),
            self.tried,
        ) {
            Method::Cells(wanted) => Ok(self.fetch_cells(wanted, theirs.to_vec(), turn.shared)?),
            Method::Bulk { offers, wants } => self.move_in_bulk(offers, wants, turn),
            Method::Ranges => Ok(self.compare_ranges(turn)?),
        }
    }

    /// Asks for so many cells, beyond those that have arrived.
    fn fetch_cells(&mut self, wanted: usize, cells: Vec<Cell>, shared: &mut Shared) -> Result<(), Violation> {
        self.tried.cells += 1;
        shared.report.round_trips += 1;
        // Both are at most 65,536.
        let [have, count] = [cells.len(), wanted].map(|cells| u32::try_from(cells).unwrap_or(u32::MAX));
        self.stage = Stage::Fetching {
            wanted,
            cells,
            may_begin_anew: true,
        };
        shared.outbox.push_frame(Frame::CellsWanted { have, count })
    }

    /// Some of the cells that are awaited.
    fn take_cells<S: SyncStore>(
        &mut self,
        wanted: usize,
        mut cells: Vec<Cell>,
        (first, more): (usize, Vec<Cell>),
        turn: &mut Turn<'_, S>,
    ) -> Result<(), Violation> {
        if first != cells.len() || more.is_empty() || more.len() > wanted - cells.len() {
            return Err(Violation("sends cells that were not requested"));
        }
        cells.extend(more);
        if cells.len() < wanted {
            self.stage = Stage::Fetching {
                wanted,
                cells,
                may_begin_anew: false,
            };
            return Ok(());
        }
        self.decode(cells, turn)
    }

    /// All cells have arrived, from one moment of the peer; ours are those of this moment.
    fn decode<S: SyncStore>(&mut self, theirs: Vec<Cell>, turn: &mut Turn<'_, S>) -> Result<(), Violation> {
        let mine = turn.store.summary().sketch().pieces(theirs.len());
        match Sketch::difference(mine, &theirs) {
            Ok(difference) => self.exchange(&difference, false, turn),
            Err(_) if self.tried.cells < CELLS_TRIES_MAX && theirs.len() < SKETCH_CELLS => {
                let wanted = theirs.len().saturating_mul(2).min(SKETCH_CELLS);
                self.fetch_cells(wanted, theirs, turn.shared)
            }
            Err(_) => self.compare_ranges(turn),
        }
    }
}
