//! The asking side: it leads the session from step to step.

mod transfer;
mod verdict;

use super::method::{CELLS_TRIES_MAX, Method, Tried, choose};
use super::outbox::Order;
use super::outcome::{Opening, Outcome, SessionError, Settled, Violation};
use super::ranges::Ranges;
use super::shared::{Shared, Turn};
use super::slots::Slot;
use super::store::SyncStore;
use super::wire::Frame;
use crate::limits::SYNC_HELLO_CELLS;
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
    Fetching { wanted: usize, cells: Vec<Cell> },
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
            (Stage::Greeting(mine), Frame::Hello { state, decoded, cells }) => {
                turn.note_peer(state);
                self.begin_round(&mine, &cells, decoded, turn)
            }
            (Stage::Fetching { wanted, mut cells }, Frame::Cells { first, cells: more, .. }) => {
                cells.extend(more.iter().take(wanted - cells.len()));
                if more.is_empty() || first as usize + more.len() != cells.len() {
                    return Err(Violation("sends cells that were not requested").into());
                }
                if cells.len() < wanted {
                    self.stage = Stage::Fetching { wanted, cells };
                    return Ok(());
                }
                Ok(self.decode(&cells, turn)?)
            }
            (Stage::Transferring(mut transfer), Frame::Done) if transfer.awaits_done => {
                transfer.awaits_done = false;
                turn.shared.bulk = None;
                Ok(self.continue_transfer(transfer, turn.shared)?)
            }
            (Stage::Transferring(mut transfer), Frame::BulkWanted { after }) if transfer.awaits_bulk_wanted => {
                transfer.awaits_bulk_wanted = false;
                turn.shared.send_bulk(after)?;
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
        let cells = turn.store.summary().sketch().pieces(SYNC_HELLO_CELLS).to_vec();
        turn.shared.report.rounds += 1;
        turn.shared.report.round_trips += 1;
        self.stage = Stage::Greeting(cells.clone());
        turn.shared.outbox.push_frame(Frame::Hello {
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
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        let before = verdict::progress(turn.shared);
        self.before = Some(before);
        if before.digests.0 == before.digests.1 {
            turn.shared.finish(Outcome::Equal);
            return Ok(());
        }
        match Sketch::difference(mine, theirs) {
            Ok(difference) => Ok(self.exchange(&difference, decoded, turn)?),
            // The peer says that it knows the difference, so it will send what it thinks we lack.
            Err(_) if decoded => Ok(self.exchange(&Difference::default(), true, turn)?),
            Err(_) => self.find_out_more(Sketch::estimate(mine, theirs), mine, theirs, turn),
        }
    }

    /// The first cells are not enough to decode the difference, which is about this large.
    fn find_out_more<S: SyncStore>(
        &mut self,
        differing: u64,
        mine: &[Cell],
        theirs: &[Cell],
        turn: &mut Turn<'_, S>,
    ) -> Result<(), SessionError<S::Error>> {
        let count = |cells: &[Cell]| cells.first().map_or(0, |cell| u64::try_from(cell.count).unwrap_or(0));
        match choose(differing, count(mine), count(theirs), self.tried) {
            Method::Cells(wanted) => Ok(self.fetch_cells(wanted, turn.shared)?),
            Method::Bulk { offers, wants } => self.move_in_bulk(offers, wants, turn),
            Method::Ranges => Ok(self.compare_ranges(turn)?),
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

    /// All cells have arrived, from one moment of the peer; ours are those of this moment.
    fn decode<S: SyncStore>(&mut self, theirs: &[Cell], turn: &mut Turn<'_, S>) -> Result<(), Violation> {
        let mine = turn.store.summary().sketch().pieces(theirs.len());
        match Sketch::difference(mine, theirs) {
            Ok(difference) => self.exchange(&difference, false, turn),
            Err(_) if self.tried.cells < CELLS_TRIES_MAX && theirs.len() < SKETCH_CELLS => {
                let wanted = theirs.len().saturating_mul(2).min(SKETCH_CELLS);
                self.fetch_cells(wanted, turn.shared)
            }
            Err(_) => self.compare_ranges(turn),
        }
    }
}
