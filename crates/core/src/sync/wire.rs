//! The frames of sync, and their bytes. The session decides which frame follows which.
//!
//! A frame is: its length (a number, see below, of what follows), one byte for its kind, its body. A number is written
//! in groups of seven bits, lowest first (LEB128); one that may be negative is folded first (0, −1, 1, −2, ...).
//!
//! The format can be extended in three ways without a new version: unknown kinds are skipped; bytes after the known end of
//! a body are ignored; and so are bytes after the known end of a record. In a private network that is behind its signature. A change that older nodes would misread needs a
//! new [`VERSION`]: both sides speak the lower of the two that they announced.

mod buffer;
mod bytes;

use crate::item::KeyHash;
use crate::limits::SYNC_FRAME_BYTES_MAX;
#[cfg(doc)]
use crate::limits::{SYNC_CELLS_PAGE, SYNC_HELLO_CELLS, SYNC_HELLO_HINTS, SYNC_RANGE_BYTES_MAX, SYNC_WANTED_PAGE};
use crate::record::Record;
use crate::sequence::Cursor;
use crate::set_digest::SetDigestValue;
use crate::sketch::Cell;
#[cfg(doc)]
use crate::sketch::SKETCH_CELLS;
use crate::time::Timestamp;

pub use buffer::FrameBuffer;

/// The version of this protocol.
pub const VERSION: u8 = 1;

/// Identifies one store: chosen at random when the store is created, and saved in it. A cursor is valid only for the store
/// it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoreId(pub u64);

/// A node's state at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The highest version that it speaks.
    pub version: u8,
    /// Its wall clock, which limits how far ahead a record may be for it.
    pub now: Timestamp,
    /// Its store.
    pub store: StoreId,
    /// How many records it holds, deletions included.
    pub count: u64,
    /// The digest of all of them.
    pub digest: SetDigestValue,
    /// How many of the records that it received in this session were new to it.
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
        /// Hints for the cells behind these, up to [`SYNC_HELLO_HINTS`], so that the other side can estimate the difference:
        /// in a question, and in an answer that leaves it to the peer what comes next.
        hints: Vec<u8>,
        /// In an answer: so many more cells of the same moment follow at once. With those here at most [`SKETCH_CELLS`].
        more: u32,
    },
    /// "Send me this many cells of your sketch, from one moment."
    CellsWanted {
        /// So many I have: leave them out if your records are still those of the last answer.
        have: u32,
        /// How many, with those: up to [`SKETCH_CELLS`].
        count: u32,
    },
    /// Some of the cells that were asked for or announced, in order; at most [`SYNC_CELLS_PAGE`].
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
        /// They are the next ones of a bulk, in the order of the sender's change sequence: the place that it reaches with them.
        bulk: Option<Cursor>,
        /// The records.
        records: Vec<Record>,
    },
    /// "That was all that you asked for."
    Done,
    /// "Send me all your records in the order of your change sequence, from here on."
    BulkWanted {
        /// Behind which place; none, or one that the sender does not know: from the first.
        after: Option<Cursor>,
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
    /// "I have no room: of what you hold I take what takes no more room than the version that I hold of the same key." Said by
    /// either side at any place in a session, once.
    Full,
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
    #[error("a truncated sync frame")]
    Short,
    /// A part of it cannot be.
    #[error("a malformed sync frame: {0}")]
    Malformed(&'static str),
}
