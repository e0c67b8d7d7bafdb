//! Two sessions against each other, through their bytes, and stores with something the matter with them.

#![allow(dead_code, reason = "each test uses a part of it")]

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{
    Applied, Frame, FrameBuffer, MemorySyncStore, Next, Opening, Outcome, Page, PageLimit, Session, Slots, StoreId,
    SyncStore,
};
use p2p_sync_core::{Record, Timestamp};

/// What two sessions came to.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) asking: Outcome,
    pub(crate) answering: Outcome,
    /// Bytes from the side that asks, and to it.
    pub(crate) bytes: (usize, usize),
    pub(crate) asked: p2p_sync_core::sync::Report,
    pub(crate) answered: p2p_sync_core::sync::Report,
    pub(crate) held_bytes_max: usize,
}

/// One direction of a stream.
#[derive(Default)]
pub(crate) struct Pipe {
    buffer: FrameBuffer,
    pub(crate) bytes: usize,
}

impl Pipe {
    /// Brings a frame over as bytes.
    pub(crate) fn carry(&mut self, frame: &Frame) -> Frame {
        let bytes = frame.encode();
        self.bytes += bytes.len();
        self.buffer.push(&bytes);
        let arrived = self.buffer.next_frame().unwrap().unwrap();
        assert_eq!(&arrived, frame, "a frame survives its bytes");
        assert_eq!(self.buffer.next_frame(), Ok(None));
        arrived
    }
}

/// The next frame of a session, however long its store takes for it.
pub(crate) fn next<S: SyncStore>(session: &mut Session, store: &mut S, now: Timestamp) -> Option<Frame>
where
    S::Error: std::fmt::Debug,
{
    loop {
        match session.next_frame(store, now).unwrap() {
            Next::Frame(frame) => return Some(frame),
            Next::Again => {}
            Next::Nothing => return None,
        }
    }
}

/// Runs a session between two stores to its end, with a clock for each.
pub(crate) fn run_with_clocks<A: SyncStore, B: SyncStore>(
    opening: Opening,
    (a, a_now): (&mut A, Timestamp),
    (b, b_now): (&mut B, Timestamp),
) -> Ended
where
    A::Error: std::fmt::Debug,
    B::Error: std::fmt::Debug,
{
    let mut asking = Session::ask(opening, Slots::default(), a, a_now);
    let mut answering = Session::answer(Slots::default());
    let (mut there, mut back) = (Pipe::default(), Pipe::default());
    let mut held_bytes_max = 0;
    loop {
        let mut idle = true;
        match asking.next_frame(a, a_now).unwrap() {
            Next::Frame(frame) => {
                idle = false;
                answering.receive(there.carry(&frame), b, b_now).unwrap();
            }
            Next::Again => idle = false,
            Next::Nothing => {}
        }
        match answering.next_frame(b, b_now).unwrap() {
            Next::Frame(frame) => {
                idle = false;
                // It has closed the stream by then, and what cannot be sent looks like an interruption.
                assert_eq!(asking.outcome(), None, "{frame:?} is for a side that is done");
                asking.receive(back.carry(&frame), a, a_now).unwrap();
            }
            Next::Again => idle = false,
            Next::Nothing => {}
        }
        held_bytes_max = held_bytes_max.max(asking.held_bytes()).max(answering.held_bytes());
        if let (Some(asked), Some(answered)) = (asking.outcome(), answering.outcome()) {
            return Ended {
                asking: asked,
                answering: answered,
                bytes: (there.bytes, back.bytes),
                asked: asking.report().clone(),
                answered: answering.report().clone(),
                held_bytes_max,
            };
        }
        assert!(
            !idle,
            "both wait for each other: {:?} {:?}",
            asking.report(),
            answering.report()
        );
    }
}

pub(crate) fn run<A: SyncStore, B: SyncStore>(opening: Opening, a: &mut A, b: &mut B, now: Timestamp) -> Ended
where
    A::Error: std::fmt::Debug,
    B::Error: std::fmt::Debug,
{
    run_with_clocks(opening, (a, now), (b, now))
}

pub(crate) fn fill<S: SyncStore>(store: &mut S, records: &[Record])
where
    S::Error: std::fmt::Debug,
{
    for page in records.chunks(1_000) {
        store.apply(page, None).unwrap();
    }
}

/// A store with something the matter with it.
pub(crate) struct Odd {
    pub(crate) store: MemorySyncStore,
    /// It shows the summary of other records.
    pub(crate) summary: Option<Summary>,
    /// There is no room for what others send.
    pub(crate) full: bool,
    /// It says so, and takes what replaces something.
    pub(crate) tells: bool,
    /// Records dated before cannot be handed on.
    pub(crate) sound_from: Timestamp,
    /// How often records were looked up, and how often all items were read.
    pub(crate) lookups: usize,
    pub(crate) items_read: usize,
}

impl Odd {
    pub(crate) fn new(store: MemorySyncStore) -> Self {
        Self {
            store,
            summary: None,
            full: false,
            tells: false,
            sound_from: Timestamp::MIN,
            lookups: 0,
            items_read: 0,
        }
    }
}

impl SyncStore for Odd {
    type Error = std::convert::Infallible;
    fn id(&self) -> StoreId {
        self.store.id()
    }
    fn summary(&self) -> &Summary {
        self.summary.as_ref().unwrap_or_else(|| self.store.summary())
    }
    fn is_full(&mut self) -> bool {
        self.full && self.tells
    }
    fn items(&mut self) -> Result<Vec<Item>, Self::Error> {
        self.items_read += 1;
        self.store.items()
    }
    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, Self::Error> {
        self.lookups += 1;
        self.store.by_key_hash(key_hash, limit)
    }
    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, Self::Error> {
        let mut page = self.store.page(after, limit)?;
        page.records.retain(|record| record.timestamp >= self.sound_from);
        Ok(page)
    }
    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, Self::Error> {
        self.store.position(source)
    }
    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, Self::Error> {
        if self.full && self.tells {
            let (taken, refused): (Vec<_>, Vec<_>) = records
                .iter()
                .cloned()
                .partition(|record| self.store.get(&record.key).is_some());
            let applied = self.store.apply(&taken, None)?;
            return Ok(Applied {
                refused: refused.len() as u64,
                ..applied
            });
        }
        if self.full {
            return Ok(Applied {
                refused: records.len() as u64,
                ..Applied::default()
            });
        }
        self.store.apply(records, progress)
    }
}
