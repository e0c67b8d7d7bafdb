//! What two nodes say to each other in a sync, and its bytes. Which frame follows which is the session's business.
//!
//! A frame is: its length (a number, see below, of what follows), one byte for its kind, its body. A number is written
//! in groups of seven bits, lowest first (LEB128); one that may be negative is folded first (0, −1, 1, −2, ...).
//!
//! The format grows in three ways without a new version: kinds that a node does not know are skipped; bytes behind the
//! known end of a body are ignored; and so are bytes behind the known end of a record. A change that older nodes would
//! misread takes a new [`VERSION`]: both speak the lower of the two that they told each other.

use super::codec::{Reader, Writer};
use super::page;
use crate::item::{ITEM_BYTES, Item, KeyHash};
use crate::limits::{SYNC_CELLS_PAGE, SYNC_FRAME_BYTES_MAX, SYNC_HELLO_CELLS, SYNC_RANGE_BYTES_MAX, SYNC_WANTED_PAGE};
use crate::record::{Key, Record};
use crate::set_digest::SetDigestValue;
use crate::sketch::{Cell, SKETCH_CELLS};
use crate::time::Timestamp;

/// The version of the protocol that is described here.
pub const VERSION: u8 = 1;

/// Names one store: drawn when it is made, and kept in it. Positions in a bulk are good for the store they came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// A place in the order of a bulk: behind the record with this timestamp and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The record's timestamp.
    pub timestamp: Timestamp,
    /// The record's key.
    pub key: Key,
}

/// What a node says of itself at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The highest version that it speaks.
    pub version: u8,
    /// Its wall clock: how far ahead a record may be for it.
    pub now: Timestamp,
    /// Its store.
    pub store: StoreId,
    /// How many records it holds, deletions included.
    pub count: u64,
    /// The digest of all of them.
    pub digest: SetDigestValue,
    /// How many records that it received in this session were news to it.
    pub changed: u64,
}

/// One message of a sync. Lists are at most as long as the limits named with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// "This is my state: is it yours?" Asked, and answered in kind.
    Check(State),
    /// "Here is also the start of my sketch." Asked, and answered in kind.
    Hello {
        /// The sender's state.
        state: State,
        /// In an answer: these cells and those of the question told the whole difference, and the sender's side of it
        /// follows.
        decoded: bool,
        /// The first cells of the sketch: up to [`SYNC_HELLO_CELLS`], or none when the digests are equal.
        cells: Vec<Cell>,
    },
    /// "Send me this many cells of your sketch, from one moment."
    CellsWanted {
        /// How many: 1 to [`SKETCH_CELLS`].
        count: u32,
    },
    /// Some of the cells that were asked for, in order; at most [`SYNC_CELLS_PAGE`].
    Cells {
        /// The place of the first one.
        first: u32,
        /// How many records the sketch covers: the cells' counts are written as deviations from what that predicts.
        count: u64,
        /// The cells.
        cells: Vec<Cell>,
    },
    /// "Send me what you hold under these key hashes"; at most [`SYNC_WANTED_PAGE`].
    RecordsWanted {
        /// The hashes.
        keys: Vec<KeyHash>,
        /// No more will follow: answer with [`Frame::Done`] behind the records.
        last: bool,
    },
    /// A page of records. Its cost counts against the credit.
    Records {
        /// They are the next ones of a bulk, in its order.
        bulk: bool,
        /// The records.
        records: Vec<Record>,
    },
    /// "That was all that you asked for."
    Done,
    /// "Send me all your records in the order of (timestamp, key), from here on."
    BulkWanted {
        /// Behind which record; none: from the first.
        after: Option<Position>,
    },
    /// "You lack most of what I have: ask me for it in bulk."
    BulkOffered,
    /// A message of range-based reconciliation, up to [`SYNC_RANGE_BYTES_MAX`]; asked, and answered in kind.
    Range(Vec<u8>),
    /// "I have worked off records of this cost: you may send as much again."
    Credit {
        /// Their cost in bytes.
        bytes: u32,
        /// Their number.
        records: u32,
    },
    /// "I cannot serve this now. Try later."
    Busy,
    /// "I am done with this session."
    End {
        /// Nothing differs but this many records that wait for their time; zero when that cannot be said.
        waiting: u64,
    },
    /// "This stream is a feed: what I write follows, and it is no session."
    Feed,
}

/// Bytes that are no frame. Whoever sent them is not spoken to any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// Longer than [`SYNC_FRAME_BYTES_MAX`].
    #[error("a sync frame of {bytes} bytes, at most {SYNC_FRAME_BYTES_MAX} are allowed")]
    TooLong {
        /// How long it claims to be.
        bytes: u64,
    },
    /// It ends before its parts do.
    #[error("a sync frame ends too early")]
    Short,
    /// A part of it cannot be.
    #[error("a malformed sync frame: {0}")]
    Malformed(&'static str),
}

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

/// What a cell takes at least: item, check, one byte of count.
const CELL_BYTES_MIN: usize = ITEM_BYTES + 8 + 1;

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
            Self::Hello { state, decoded, cells } => {
                w.byte(HELLO);
                write_state(w, state);
                w.byte(u8::from(*decoded));
                write_cells(w, state.count, 0, cells);
            }
            Self::CellsWanted { count } => {
                w.byte(CELLS_WANTED);
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
                w.byte(u8::from(*bulk));
                page::write(w, records);
            }
            Self::Done => w.byte(DONE),
            Self::BulkWanted { after } => {
                w.byte(BULK_WANTED);
                w.byte(u8::from(after.is_some()));
                if let Some(after) = after {
                    w.number(after.timestamp.as_nanos().unsigned_abs());
                    w.bytes(after.key.as_str().as_bytes());
                }
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
        }
    }

    /// Reads what stands behind a frame's length. None: it is of a kind that this version does not know.
    ///
    /// # Errors
    /// When it is too short or cannot be.
    fn read(bytes: &[u8]) -> Result<Option<Self>, InvalidFrame> {
        let r = &mut Reader::new(bytes);
        Ok(Some(match r.byte()? {
            CHECK => Self::Check(read_state(r)?),
            HELLO => {
                let state = read_state(r)?;
                let decoded = read_flag(r)?;
                let cells = read_cells(r, state.count, 0, SYNC_HELLO_CELLS)?;
                Self::Hello { state, decoded, cells }
            }
            CELLS_WANTED => Self::CellsWanted {
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
                bulk: read_flag(r)?,
                records: page::read(r)?,
            },
            DONE => Self::Done,
            BULK_WANTED => Self::BulkWanted {
                after: read_position(r)?,
            },
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
            _ => return Ok(None),
        }))
    }
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
            items: Item::from_bytes(&r.array()?),
            checks: u64::from_le_bytes(r.array()?),
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

fn read_position(r: &mut Reader<'_>) -> Result<Option<Position>, InvalidFrame> {
    if !read_flag(r)? {
        return Ok(None);
    }
    Ok(Some(Position {
        timestamp: page::read_timestamp(r.number()?)?,
        key: page::read_key(r.bytes()?)?,
    }))
}

/// Frames out of a stream of bytes, however it was cut up. Holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    /// How many of them were read already.
    read: usize,
}

impl FrameBuffer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the stream. Call [`next_frame`](Self::next_frame) until it has nothing more before pushing
    /// again: that is what bounds the memory.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait to be read: a frame takes what there is less after it was read than before.
    pub fn unread(&self) -> usize {
        self.bytes.len() - self.read
    }

    /// The next frame; none until more bytes come. Frames of unknown kinds are passed over.
    ///
    /// # Errors
    /// When there can be no frame: the stream is of no use any longer.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, InvalidFrame> {
        loop {
            let mut r = Reader::new(self.bytes.get(self.read..).unwrap_or_default());
            let available = r.rest().len();
            let length = match r.number() {
                Ok(length) => length,
                Err(InvalidFrame::Short) => return Ok(None),
                Err(error) => return Err(error),
            };
            if length > SYNC_FRAME_BYTES_MAX as u64 {
                return Err(InvalidFrame::TooLong { bytes: length });
            }
            let Some(body) = usize::try_from(length).ok().and_then(|length| r.rest().get(..length)) else {
                return Ok(None);
            };
            self.read += available - r.rest().len() + body.len();
            if let Some(frame) = Frame::read(body)? {
                return Ok(Some(frame));
            }
        }
    }
}
