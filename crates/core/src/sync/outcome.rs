//! How a session begins, how it ends, and what it reports afterwards: plain values, for the callers of sessions and for the
//! session's own parts.

use super::wire::State;
#[cfg(doc)]
use crate::limits::FUTURE_MAX;
use crate::set_digest::SetDigestValue;
use crate::time::Timestamp;

/// How the asking side begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// By comparing digests, when the two are probably equal: less than 100 bytes each way if they are.
    Check,
    /// With cells at once, when they probably differ: saves a round trip if they do.
    Hello,
    /// By comparing digests, knowing that with these two only waiting records differ: as cheap as a Check of equal sides,
    /// as long as nothing changes on either side and no waiting record has fallen due.
    Recheck(Settled),
}

/// Two sets of records that differ only by waiting ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Our digest.
    pub mine: SetDigestValue,
    /// The peer's digest.
    pub theirs: SetDigestValue,
    /// How many records wait.
    pub records: u64,
}

/// How a session ended. An interrupted one has no outcome, and another session is due, as after [`Outcome::Delivered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The digests of all records are equal.
    Equal,
    /// Only records that are too far ahead for their receiver's clock, or for which it has no space, differ. Another
    /// session is due when the earliest of them falls due, or when there is space.
    Waiting,
    /// The difference was transferred as far as possible, but the digests are not equal: something changed meanwhile, was
    /// refused, or is not as the peer says. Another session is due soon; with growing pauses while such sessions change
    /// nothing.
    Delivered,
    /// One side could not serve the other now. Another session is due.
    Busy,
}

/// A peer violated the sync protocol: end the stream, and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer {0}")]
pub struct Violation(pub(super) &'static str);

/// Why a session cannot continue. Records that were stored stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError<E> {
    /// The peer violated the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Our own store failed.
    #[error("the store failed")]
    Store(E),
}

/// What happened in a session so far, for `status` and for deciding what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The peer's last known state.
    pub peer: Option<State>,
    /// The common digest, if the session ended as [`Outcome::Equal`].
    pub equal_digest: Option<SetDigestValue>,
    /// How far the peer's wall clock is ahead of ours, in nanoseconds, including the latency of its frame.
    pub peer_ahead_nanos: i64,
    /// Records that the peer lacked when the difference was last known.
    pub ahead: u64,
    /// Records that we lacked when the difference was last known.
    pub behind: u64,
    /// Records sent.
    pub sent: u64,
    /// Records received.
    pub received: u64,
    /// Records received that were new.
    pub changed: u64,
    /// Records received that the store had no space for.
    pub refused: u64,
    /// Records received of authors that may not write in the private network, and were left out.
    pub not_permitted: u64,
    /// Records received that are too far ahead for our clock, and were left out.
    pub ahead_of_clock: u64,
    /// Records on both sides that are not due yet.
    pub waiting: u64,
    /// After [`Outcome::Waiting`]: what a [`Opening::Recheck`] needs.
    pub settled: Option<Settled>,
    /// The earliest timestamp among those that wait, if this side saw the difference: due when the receiver's clock is
    /// [`FUTURE_MAX`] before it.
    pub earliest_waiting: Option<Timestamp>,
    /// When the first of those that wait falls due, by our wall clock, if this side saw the difference.
    pub falls_due: Option<Timestamp>,
    /// How often the asking side had to wait for an answer to continue. The final comparison is not counted.
    pub round_trips: u64,
    /// Hellos in this session.
    pub rounds: u64,
    /// The peer said that it has no space.
    pub peer_full: bool,
    /// We said so.
    pub told_full: bool,
    /// Records that the peer lacks and was not sent because it has no space. They count as waiting, too.
    pub held_back: u64,
    /// Whether records were sent in bulk.
    pub bulk: bool,
    /// Whether the range-based fallback was needed.
    pub ranges: bool,
}

impl Report {
    /// Whether something received was not stored, and would not be next time either: what differs then is not worth another round.
    pub(super) fn left_some_out(&self) -> bool {
        self.refused > 0 || self.not_permitted > 0
    }
}
