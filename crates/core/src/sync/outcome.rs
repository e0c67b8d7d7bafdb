//! How a session begins, how it ends, and what is told of it afterwards: plain values, for those who hold sessions and for
//! the session's own parts. What leads to them is left to `session` and those parts.

use super::wire::State;
#[cfg(doc)]
use crate::limits::FUTURE_MAX;
use crate::set_digest::SetDigestValue;
use crate::time::Timestamp;

/// How the side that asks begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// By comparing digests, when the two are probably equal: less than 100 bytes each way if they are.
    Check,
    /// With cells at once, when they probably differ: saves a round trip if they do.
    Hello,
    /// By comparing digests, knowing that with these two nothing differs but records that wait: as cheap as a Check of
    /// equals, as long as nothing changes on either side and none of those has fallen due.
    Recheck(Settled),
}

/// Two sets of records that differ by waiting ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// Our digest.
    pub mine: SetDigestValue,
    /// The peer's digest.
    pub theirs: SetDigestValue,
    /// How many records wait.
    pub records: u64,
}

/// How a session ended. One that broke off has none, and owes another session like [`Outcome::Delivered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The digests of all records compared equal.
    Equal,
    /// Nothing differs but records that are too far ahead for their receiver's clock, or for which it has no room. Another
    /// session is owed when the earliest of them falls due, or when there is room.
    Waiting,
    /// What differed is across as far as both could bring it, but the digests are not equal: something changed
    /// meanwhile, was refused, or is not as the peer says. Another session is owed soon; while such sessions change
    /// nothing, with growing pauses.
    Delivered,
    /// One side could not serve the other now. Another session is owed.
    Busy,
}

/// A peer broke the rules of the sync: end the stream, and count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer {0}")]
pub struct Violation(pub(super) &'static str);

/// A session that cannot go on. Records that were taken in stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError<E> {
    /// The peer broke the rules.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// Our own store failed.
    #[error("the store failed")]
    Store(E),
}

/// What happened in a session so far, for `status` and for deciding what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The peer's state as it last told it.
    pub peer: Option<State>,
    /// The digest of the moment that ended the session as [`Outcome::Equal`].
    pub equal_digest: Option<SetDigestValue>,
    /// How far the peer's wall clock is ahead of ours, in nanoseconds, the way of its frame included.
    pub peer_ahead_nanos: i64,
    /// Records that the peer lacked when the difference was last known.
    pub ahead: u64,
    /// Records that we lacked when the difference was last known.
    pub behind: u64,
    /// Records sent.
    pub sent: u64,
    /// Records received.
    pub received: u64,
    /// Records received that were news.
    pub changed: u64,
    /// Records received that the store had no room for.
    pub refused: u64,
    /// Records received that are too far ahead for our clock, and were left out.
    pub ahead_of_clock: u64,
    /// Records, on both sides, that wait for their time.
    pub waiting: u64,
    /// After [`Outcome::Waiting`]: what a [`Opening::Recheck`] needs.
    pub settled: Option<Settled>,
    /// The earliest timestamp among those that wait, if this side saw the difference: due when the receiver's clock is
    /// [`FUTURE_MAX`] before it.
    pub earliest_waiting: Option<Timestamp>,
    /// When the first of those that wait falls due, by our wall clock, if this side saw the difference.
    pub falls_due: Option<Timestamp>,
    /// How often the asking side waited for an answer in order to go on. Comparing at the end is not counted.
    pub round_trips: u64,
    /// Greetings in this session.
    pub rounds: u64,
    /// The peer said that it has no room.
    pub peer_full: bool,
    /// We said so.
    pub told_full: bool,
    /// Records that the peer lacks and was not sent, because it has no room. They count as waiting, too.
    pub held_back: u64,
    /// Whether records travelled in bulk.
    pub bulk: bool,
    /// Whether the range-based fallback was needed.
    pub ranges: bool,
}
