//! One session between two nodes: frames in, frames out. What both sides do alike is in `shared`, what they do
//! differently in `asking` and `answering`.

use super::answering::Answering;
use super::asking::Asking;
use super::outbox::Outgoing;
use super::shared::{Shared, Turn};
use super::slots::Slots;
use super::store::SyncStore;
use super::wire::{Frame, State};
#[cfg(doc)]
use crate::limits::{FUTURE_MAX, SYNC_LOOKUPS_MAX};
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
    /// Nothing differs but records that are too far ahead for their receiver's clock. Another session is owed when the
    /// earliest of them falls due.
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
    /// Whether records travelled in bulk.
    pub bulk: bool,
    /// Whether the range-based fallback was needed.
    pub ranges: bool,
}

/// What a session has for its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This is to be sent.
    Frame(Frame),
    /// A page is still being read: ask again soon, but let others have their turn first. It asks for no room in the
    /// stream, and nothing of the peer.
    Again,
    /// Nothing until the peer says something.
    Nothing,
}

impl Next {
    /// The frame, if there is one.
    pub fn frame(self) -> Option<Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            Self::Again | Self::Nothing => None,
        }
    }
}

/// One session, on either side.
///
/// The caller hands in every frame that arrives ([`receive`](Self::receive)), and sends what
/// [`next_frame`](Self::next_frame) gives whenever the stream can take a frame, before it reads the next one. Each call
/// does the work of one page, or of [`SYNC_LOOKUPS_MAX`] look-ups, at most, but for the last fallback, which reads all
/// items once and passes over them again for each message. When [`outcome`](Self::outcome) says something, the session is
/// over. A session that is waited for too long may be dropped at any time: nothing that was taken in is lost.
pub struct Session {
    side: Side,
    shared: Shared,
}

enum Side {
    Asks(Box<Asking>),
    Answers(Answering),
}

impl Session {
    /// The side that asks: it opened the stream.
    pub fn ask<S: SyncStore>(opening: Opening, slots: Slots, store: &mut S, now: Timestamp) -> Self {
        let mut shared = Shared::new(slots);
        let turn = &mut Turn {
            shared: &mut shared,
            store,
            now,
        };
        let asking = Asking::open(opening, turn);
        Self {
            side: Side::Asks(Box::new(asking)),
            shared,
        }
    }

    /// The side that answers.
    pub fn answer(slots: Slots) -> Self {
        Self {
            side: Side::Answers(Answering::default()),
            shared: Shared::new(slots),
        }
    }

    /// Takes in a frame of the peer.
    ///
    /// # Errors
    /// When the peer broke the rules or the store failed. The session is of no use any longer.
    pub fn receive<S: SyncStore>(
        &mut self,
        frame: Frame,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        if self.shared.outcome.is_some() {
            return Ok(());
        }
        let turn = &mut Turn {
            shared: &mut self.shared,
            store,
            now,
        };
        match frame {
            Frame::Records { bulk, records } => turn.take_in(bulk, records),
            Frame::Credit { bytes, records } => {
                turn.shared.outbox.credit.add(bytes, records);
                Ok(())
            }
            Frame::Busy => {
                turn.shared.hear_the_end(Outcome::Busy);
                Ok(())
            }
            frame => match &mut self.side {
                Side::Asks(asking) => asking.receive(frame, turn),
                Side::Answers(answering) => answering.receive(frame, turn),
            },
        }
    }

    /// The next thing for the peer.
    ///
    /// # Errors
    /// When the store failed. The session is of no use any longer.
    pub fn next_frame<S: SyncStore>(&mut self, store: &mut S, now: Timestamp) -> Result<Next, SessionError<S::Error>> {
        // Credit goes before everything else: nobody may wait for it behind a page that waits for credit itself.
        if self.shared.outcome.is_none()
            && let Some(credit) = self.shared.allowance.next_frame()
        {
            return Ok(Next::Frame(credit));
        }
        let mut turn = Turn {
            shared: &mut self.shared,
            store,
            now,
        };
        let horizon = turn.horizons().theirs;
        let outbox = &mut turn.shared.outbox;
        let next = outbox.next(turn.store, horizon).map_err(SessionError::Store)?;
        turn.shared.report.sent = outbox.records;
        Ok(match next {
            Outgoing::Frame(frame) => Next::Frame(frame),
            Outgoing::Check => Next::Frame(Frame::Check(turn.told_state())),
            Outgoing::Unready => Next::Again,
            Outgoing::Nothing => Next::Nothing,
        })
    }

    /// How the session ended, once it has, and everything is sent.
    pub fn outcome(&self) -> Option<Outcome> {
        self.shared.outcome.filter(|_| self.shared.outbox.is_empty())
    }

    /// What happened so far.
    pub fn report(&self) -> &Report {
        &self.shared.report
    }

    /// About how much memory the session holds from one call to the next, in bytes. The range-based fallback, of which
    /// a node has one at a time, is not counted: it holds 40 bytes a record.
    pub fn held_bytes(&self) -> usize {
        let side = match &self.side {
            Side::Asks(asking) => asking.held_bytes(),
            Side::Answers(_) => 0,
        };
        side + self.shared.outbox.held_bytes()
    }
}
