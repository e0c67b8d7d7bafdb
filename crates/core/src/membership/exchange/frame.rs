//! The frames of the exchange, and their bytes: as the frames of sync, each is its length, one byte for its kind, and its body.
//! Unknown kinds are passed over, and so is what stands behind the known end of a body.

use crate::limits::{
    ENTRY_BYTES_MAX, MEMBERS_FRAME_BYTES_MAX, MEMBERS_IDS_PAGE, MEMBERS_LISTS_MAX, MEMBERS_PAGE_BYTES_MAX,
};
use crate::membership::entry::ShortId;
use crate::membership::list::LIST_ITEM_BYTES;
use crate::membership::roster::Roster;
use crate::sync::InvalidFrame;
use crate::sync::codec::{Reader, Writer};

const ROOT: u8 = 1;
const IDS: u8 = 2;
const ENTRIES: u8 = 3;
const LIST_WANTED: u8 = 4;
const LIST_PART: u8 = 5;
const SECRET: u8 = 6;

/// The fewest bytes that an entry can take in a frame.
const ENTRY_BYTES_MIN: usize = 64;

/// What a node says about all that it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// Of its entries; see [`Entries::root`](crate::membership::Entries::root).
    pub root: [u8; 32],
    /// Whether it has the secret that the network uses by these entries.
    pub has_secret: bool,
    /// The Keeps that rule for it, in ascending order; at most [`MEMBERS_LISTS_MAX`].
    pub lists: Vec<ShortId>,
}

impl Root {
    pub(super) fn of(roster: &Roster) -> Self {
        let mut lists = roster.ruling();
        lists.truncate(MEMBERS_LISTS_MAX);
        Self {
            root: roster.root(),
            has_secret: roster.secret().is_some(),
            lists,
        }
    }
}

/// What members say to each other about the membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// "I hold what makes this root." Said first, and whenever it changed.
    Root(Root),
    /// "These are my entries, in ascending order; what is between them I lack."
    Ids {
        /// At most [`MEMBERS_IDS_PAGE`].
        ids: Vec<ShortId>,
        /// Whether there are no more.
        last: bool,
    },
    /// "You lack these." Each is an entry's bytes; together at most [`MEMBERS_PAGE_BYTES_MAX`].
    Entries(Vec<Vec<u8>>),
    /// "Send me this list."
    ListWanted {
        /// The Keep that stands for it.
        keep: ShortId,
        /// From this item on.
        from: u64,
    },
    /// "This is the part that you asked for"; without items: "I do not have it".
    ListPart {
        /// The Keep that stands for the list.
        keep: ShortId,
        /// Whole items; at most [`MEMBERS_PAGE_BYTES_MAX`].
        items: Vec<u8>,
    },
    /// "This is the network's secret."
    Secret {
        /// The entry that names it.
        by: ShortId,
        /// The secret.
        secret: [u8; 32],
    },
}

impl Frame {
    /// The frame as bytes, its length included.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write(&mut w);
        let body = w.into_bytes();
        let mut framed = Writer::new();
        framed.bytes(&body);
        framed.into_bytes()
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Root(root) => {
                w.byte(ROOT);
                w.fixed(&root.root);
                w.byte(u8::from(root.has_secret));
                write_ids(w, &root.lists);
            }
            Self::Ids { ids, last } => {
                w.byte(IDS);
                w.byte(u8::from(*last));
                write_ids(w, ids);
            }
            Self::Entries(entries) => {
                w.byte(ENTRIES);
                w.length(entries.len());
                entries.iter().for_each(|entry| w.bytes(entry));
            }
            Self::ListWanted { keep, from } => {
                w.byte(LIST_WANTED);
                w.fixed(&keep.0);
                w.number(*from);
            }
            Self::ListPart { keep, items } => {
                w.byte(LIST_PART);
                w.fixed(&keep.0);
                w.bytes(items);
            }
            Self::Secret { by, secret } => {
                w.byte(SECRET);
                w.fixed(&by.0);
                w.fixed(secret);
            }
        }
    }

    /// Reads what stands behind a frame's length. None: it is of a kind that this version does not know.
    fn read(bytes: &[u8]) -> Result<Option<Self>, InvalidFrame> {
        let r = &mut Reader::new(bytes);
        Ok(Some(match r.byte()? {
            ROOT => Self::Root(Root {
                root: r.array()?,
                has_secret: r.byte()? & 1 == 1,
                lists: read_ids(r, MEMBERS_LISTS_MAX)?,
            }),
            IDS => Self::Ids {
                last: r.byte()? & 1 == 1,
                ids: read_ids(r, MEMBERS_IDS_PAGE)?,
            },
            ENTRIES => {
                let count = r.count(ENTRY_BYTES_MIN, MEMBERS_PAGE_BYTES_MAX / ENTRY_BYTES_MIN)?;
                let entries = (0..count).map(|_| Ok(r.bytes()?.to_vec()));
                Self::Entries(entries.collect::<Result<_, InvalidFrame>>()?)
            }
            LIST_WANTED => Self::ListWanted {
                keep: ShortId(r.array()?),
                from: r.number()?,
            },
            LIST_PART => {
                let (keep, items) = (ShortId(r.array()?), r.bytes()?);
                if items.len() > MEMBERS_PAGE_BYTES_MAX || items.len() % LIST_ITEM_BYTES != 0 {
                    return Err(InvalidFrame::Malformed("a part of a list that cannot be one"));
                }
                let items = items.to_vec();
                Self::ListPart { keep, items }
            }
            SECRET => Self::Secret {
                by: ShortId(r.array()?),
                secret: r.array()?,
            },
            _ => return Ok(None),
        }))
    }
}

fn write_ids(w: &mut Writer, ids: &[ShortId]) {
    w.length(ids.len());
    ids.iter().for_each(|id| w.fixed(&id.0));
}

/// Ids, which ascend.
fn read_ids(r: &mut Reader<'_>, max: usize) -> Result<Vec<ShortId>, InvalidFrame> {
    let count = r.count(16, max)?;
    let ids = (0..count).map(|_| Ok(ShortId(r.array()?)));
    let ids = ids.collect::<Result<Vec<_>, InvalidFrame>>()?;
    if !ids.is_sorted_by(|one, next| one < next) {
        return Err(InvalidFrame::Malformed("ids out of order"));
    }
    Ok(ids)
}

/// Frames out of a stream of bytes, however it was cut up. Holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    bytes: Vec<u8>,
    read: usize,
}

impl FrameBuffer {
    /// Takes bytes from the stream. Call [`next_frame`](Self::next_frame) until it has nothing more before pushing again.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next frame; none until more bytes come.
    ///
    /// # Errors
    /// When there can be no frame: the stream is of no use any longer.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, InvalidFrame> {
        loop {
            let mut r = Reader::new(self.bytes.get(self.read..).unwrap_or_default());
            let available = r.rest().len();
            let length = match r.number() {
                Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Err(InvalidFrame::Short) => return Ok(None),
                Err(error) => return Err(error),
            };
            if length > MEMBERS_FRAME_BYTES_MAX {
                return Err(InvalidFrame::Malformed("longer than a frame of this stream may be"));
            }
            let Some(body) = r.rest().get(..length) else {
                return Ok(None);
            };
            self.read += available - r.rest().len() + length;
            if let Some(frame) = Frame::read(body)? {
                return Ok(Some(frame));
            }
        }
    }
}

const _: () = assert!(
    MEMBERS_PAGE_BYTES_MAX >= ENTRY_BYTES_MAX
        && MEMBERS_PAGE_BYTES_MAX + MEMBERS_PAGE_BYTES_MAX / ENTRY_BYTES_MIN * 3 + 64 <= MEMBERS_FRAME_BYTES_MAX
        && MEMBERS_IDS_PAGE * 16 + 64 <= MEMBERS_FRAME_BYTES_MAX
        && MEMBERS_LISTS_MAX * 16 + 64 <= MEMBERS_FRAME_BYTES_MAX,
    "whatever is sent fits a frame"
);
