//! Each kind of frame as bytes, and back.

use super::{Frame, InvalidFrame, State, StoreId};
use crate::item::{KeyHash, SHORT_ITEM_BYTES, ShortItem};
use crate::limits::{SYNC_CELLS_PAGE, SYNC_HELLO_CELLS, SYNC_HELLO_HINTS, SYNC_RANGE_BYTES_MAX, SYNC_WANTED_PAGE};
use crate::sequence::{Cursor, Epoch};
use crate::sketch::{Cell, SKETCH_CELLS};
use crate::sync::codec::{Reader, Writer};
use crate::sync::page;

const CHECK: u8 = 1;
const HELLO: u8 = 2;
const CELLS_WANTED: u8 = 3;
const CELLS: u8 = 4;
const RECORDS_WANTED: u8 = 5;
const RECORDS: u8 = 6;
const DONE: u8 = 7;
const BULK_WANTED: u8 = 8;
const BULK_OFFERED: u8 = 9;
const RANGE: u8 = 10;
const CREDIT: u8 = 11;
const BUSY: u8 = 12;
const END: u8 = 13;
const FEED: u8 = 14;
const FULL: u8 = 15;

/// What a cell takes at least: item, check, one byte of count.
const CELL_BYTES_MIN: usize = SHORT_ITEM_BYTES + 4 + 1;

impl Frame {
    /// The frame with its length in front.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Writer::new();
        self.write(&mut body);
        let mut frame = Writer::new();
        frame.bytes(&body.into_bytes());
        frame.into_bytes()
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Check(state) => {
                w.byte(CHECK);
                write_state(w, state);
            }
            Self::Hello {
                state,
                decoded,
                cells,
                hints,
                more,
            } => {
                w.byte(HELLO);
                write_state(w, state);
                w.byte(u8::from(*decoded));
                write_cells(w, state.count, 0, cells);
                w.bytes(hints);
                w.number((*more).into());
            }
            Self::CellsWanted { have, count } => {
                w.byte(CELLS_WANTED);
                w.number((*have).into());
                w.number((*count).into());
            }
            Self::Cells { first, count, cells } => {
                w.byte(CELLS);
                w.number((*first).into());
                w.number(*count);
                write_cells(w, *count, *first, cells);
            }
            Self::RecordsWanted { keys, last } => {
                w.byte(RECORDS_WANTED);
                w.byte(u8::from(*last));
                w.length(keys.len());
                for key in keys {
                    w.fixed(&key.bits().to_le_bytes());
                }
            }
            Self::Records { bulk, records } => {
                w.byte(RECORDS);
                write_cursor(w, *bulk);
                page::write(w, records);
            }
            Self::Done => w.byte(DONE),
            Self::BulkWanted { after } => {
                w.byte(BULK_WANTED);
                write_cursor(w, *after);
            }
            Self::BulkOffered => w.byte(BULK_OFFERED),
            Self::Range(message) => {
                w.byte(RANGE);
                w.bytes(message);
            }
            Self::Credit { bytes, records } => {
                w.byte(CREDIT);
                w.number((*bytes).into());
                w.number((*records).into());
            }
            Self::Busy => w.byte(BUSY),
            Self::End { waiting } => {
                w.byte(END);
                w.number(*waiting);
            }
            Self::Feed => w.byte(FEED),
            Self::Full => w.byte(FULL),
        }
    }

    /// Reads what stands behind a frame's length; in a private network, records are `signed`. None: it is of a kind that this
    /// version does not know.
    ///
    /// # Errors
    /// When it is too short or cannot be.
    pub(super) fn read(bytes: &[u8], signed: bool) -> Result<Option<Self>, InvalidFrame> {
        let r = &mut Reader::new(bytes);
        Ok(Some(match r.byte()? {
            CHECK => Self::Check(read_state(r)?),
            HELLO => read_hello(r)?,
            CELLS_WANTED => Self::CellsWanted {
                have: read_below(r, SKETCH_CELLS)?,
                count: read_below(r, SKETCH_CELLS)?,
            },
            CELLS => {
                let first = read_below(r, SKETCH_CELLS)?;
                let count = r.number()?;
                let cells = read_cells(r, count, first, SYNC_CELLS_PAGE)?;
                Self::Cells { first, count, cells }
            }
            RECORDS_WANTED => {
                let last = read_flag(r)?;
                let count = r.count(8, SYNC_WANTED_PAGE)?;
                let keys = (0..count).map(|_| Ok(KeyHash::from_bits(u64::from_le_bytes(r.array()?))));
                Self::RecordsWanted {
                    keys: keys.collect::<Result<_, InvalidFrame>>()?,
                    last,
                }
            }
            RECORDS => Self::Records {
                bulk: read_cursor(r)?,
                records: page::read(r, signed)?,
            },
            DONE => Self::Done,
            BULK_WANTED => Self::BulkWanted { after: read_cursor(r)? },
            BULK_OFFERED => Self::BulkOffered,
            RANGE => {
                let message = r.bytes()?;
                if message.len() > SYNC_RANGE_BYTES_MAX {
                    return Err(InvalidFrame::Malformed("a range message above its limit"));
                }
                Self::Range(message.to_vec())
            }
            CREDIT => Self::Credit {
                bytes: read_below(r, u32::MAX as usize)?,
                records: read_below(r, u32::MAX as usize)?,
            },
            BUSY => Self::Busy,
            END => Self::End { waiting: r.number()? },
            FEED => Self::Feed,
            FULL => Self::Full,
            _ => return Ok(None),
        }))
    }
}

fn read_hello(r: &mut Reader<'_>) -> Result<Frame, InvalidFrame> {
    let state = read_state(r)?;
    let decoded = read_flag(r)?;
    let cells = read_cells(r, state.count, 0, SYNC_HELLO_CELLS)?;
    let hints = r.bytes()?;
    if hints.len() > SYNC_HELLO_HINTS {
        return Err(InvalidFrame::Malformed("more hints than there may be"));
    }
    Ok(Frame::Hello {
        state,
        decoded,
        hints: hints.to_vec(),
        more: read_below(r, SKETCH_CELLS - cells.len())?,
        cells,
    })
}

fn write_state(w: &mut Writer, state: &State) {
    w.byte(state.version);
    w.number(state.now.as_nanos().unsigned_abs());
    w.fixed(&state.store.0.to_le_bytes());
    w.number(state.count);
    w.fixed(&state.digest);
    w.number(state.changed);
}

fn read_state(r: &mut Reader<'_>) -> Result<State, InvalidFrame> {
    Ok(State {
        version: match r.byte()? {
            0 => return Err(InvalidFrame::Malformed("version 0 does not exist")),
            version => version,
        },
        now: page::read_timestamp(r.number()?)?,
        store: StoreId(u64::from_le_bytes(r.array()?)),
        count: r.number()?,
        digest: r.array()?,
        changed: r.number()?,
    })
}

/// The count that a cell of a sketch over `count` items is expected to have: real ones are near, so that the deviation
/// takes a byte or two.
fn expected_count(count: u64, index: u64) -> i64 {
    let expected = u128::from(count) * 2 / (u128::from(index) + 2);
    (expected as u64).cast_signed()
}

fn write_cells(w: &mut Writer, count: u64, first: u32, cells: &[Cell]) {
    w.length(cells.len());
    for (index, cell) in (u64::from(first)..).zip(cells) {
        w.fixed(&cell.items.to_bytes());
        w.fixed(&cell.checks.to_le_bytes());
        w.signed(cell.count.wrapping_sub(expected_count(count, index)));
    }
}

fn read_cells(r: &mut Reader<'_>, count: u64, first: u32, max: usize) -> Result<Vec<Cell>, InvalidFrame> {
    let cells = r.count(CELL_BYTES_MIN, max)?;
    let cells = (0..cells as u64).map(|index| {
        Ok(Cell {
            items: ShortItem::from_bytes(&r.array()?),
            checks: u32::from_le_bytes(r.array()?),
            count: r
                .signed()?
                .wrapping_add(expected_count(count, u64::from(first) + index)),
        })
    });
    cells.collect()
}

/// A number of at most `max`.
fn read_below(r: &mut Reader<'_>, max: usize) -> Result<u32, InvalidFrame> {
    match u32::try_from(r.number()?) {
        Ok(number) if number as usize <= max => Ok(number),
        _ => Err(InvalidFrame::Malformed("a number above its limit")),
    }
}

/// The lowest bit of a byte; the others are free for later.
fn read_flag(r: &mut Reader<'_>) -> Result<bool, InvalidFrame> {
    Ok(r.byte()? & 1 == 1)
}

/// A flag whether there is one, and the cursor.
fn write_cursor(w: &mut Writer, cursor: Option<Cursor>) {
    w.byte(u8::from(cursor.is_some()));
    if let Some(cursor) = cursor {
        w.fixed(&cursor.epoch.0.to_le_bytes());
        w.number(cursor.number);
        w.number(cursor.seen);
    }
}

fn read_cursor(r: &mut Reader<'_>) -> Result<Option<Cursor>, InvalidFrame> {
    if !read_flag(r)? {
        return Ok(None);
    }
    let cursor = Cursor {
        epoch: Epoch(u64::from_le_bytes(r.array()?)),
        number: r.number()?,
        seen: r.number()?,
    };
    if cursor.number > cursor.seen {
        return Err(InvalidFrame::Malformed("a cursor beyond what there was"));
    }
    Ok(Some(cursor))
}
