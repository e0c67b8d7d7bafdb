//! Two sessions against each other, through their bytes.

#![allow(dead_code, reason = "each test uses a part of it")]

use p2p_sync_core::sync::{Frame, FrameBuffer, Next, Opening, Outcome, Session, Slots, SyncStore};
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
