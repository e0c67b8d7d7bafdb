//! One session between two nodes: frames in, frames out. Here is what both sides do alike: tell their state, take in
//! records, keep to the credit, finish. What the two sides do differently is in `asking` and `answering`.

use std::time::Duration;

use super::answering::Answering;
use super::asking::Asking;
use super::credit::Allowance;
use super::outbox::{Order, Outbox, Outgoing};
use super::plan::{Horizons, Plan};
use super::slots::{Slot, Slots};
use super::store::SyncStore;
use super::wire::{Frame, Position, State, VERSION};
use crate::item::KeyHash;
use crate::limits::FUTURE_MAX;
use crate::record::Record;
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

/// One session, on either side.
///
/// The caller hands in every frame that arrives ([`receive`](Self::receive)), and sends what
/// [`next_frame`](Self::next_frame) gives whenever the stream can take a frame, before it reads the next one. Each call
/// does the work of one page at most, but for the last fallback, which reads all items once. When
/// [`outcome`](Self::outcome) says something, the session is over. A session that is waited for too long may be dropped
/// at any time: nothing that was taken in is lost.
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
    pub fn ask<S: SyncStore>(opening: Opening, slots: Slots, store: &S, now: Timestamp) -> Self {
        let mut shared = Shared::new(slots);
        let asking = Asking::open(opening, &mut shared, store, now);
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
        match frame {
            Frame::Records { bulk, records } => self.shared.take_in(bulk, records, store, now),
            Frame::Credit { bytes, records } => {
                self.shared.outbox.credit.add(bytes, records);
                Ok(())
            }
            Frame::Busy => {
                self.shared.hear_the_end(Outcome::Busy);
                Ok(())
            }
            frame => match &mut self.side {
                Side::Asks(asking) => asking.receive(frame, &mut self.shared, store, now),
                Side::Answers(answering) => answering.receive(frame, &mut self.shared, store, now),
            },
        }
    }

    /// The next frame for the peer; none until it says something.
    ///
    /// # Errors
    /// When the store failed. The session is of no use any longer.
    pub fn next_frame<S: SyncStore>(
        &mut self,
        store: &mut S,
        now: Timestamp,
    ) -> Result<Option<Frame>, SessionError<S::Error>> {
        // Credit goes before everything else: nobody may wait for it behind a page that waits for credit itself.
        if self.shared.outcome.is_none()
            && let Some(credit) = self.shared.allowance.next_frame()
        {
            return Ok(Some(credit));
        }
        let horizon = self.shared.horizons(now).theirs;
        let next = self.shared.outbox.next(store, horizon).map_err(SessionError::Store)?;
        self.shared.report.sent = self.shared.outbox.records;
        Ok(next.map(|outgoing| match outgoing {
            Outgoing::Frame(frame) => frame,
            Outgoing::Check => {
                let state = self.shared.state(store, now);
                self.shared.told = state.digest;
                Frame::Check(state)
            }
        }))
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

/// What both sides need.
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) slots: Slots,
    pub(super) report: Report,
    /// The digest that the peer was last told.
    pub(super) told: SetDigestValue,
    /// While a bulk comes in: the right to it.
    pub(super) bulk: Option<Slot>,
    outcome: Option<Outcome>,
    allowance: Allowance,
}

impl Shared {
    fn new(slots: Slots) -> Self {
        Self {
            outbox: Outbox::new(),
            slots,
            report: Report::default(),
            told: [0; 32],
            bulk: None,
            outcome: None,
            allowance: Allowance::new(),
        }
    }

    /// Our state at this moment.
    pub(super) fn state<S: SyncStore>(&self, store: &S, now: Timestamp) -> State {
        State {
            version: VERSION,
            now,
            store: store.id(),
            count: store.summary().count(),
            digest: store.summary().digest(),
            changed: self.report.changed,
        }
    }

    /// Takes note of the peer's state.
    pub(super) fn note_peer(&mut self, state: State, now: Timestamp) {
        // Both are positive, so the distance fits.
        self.report.peer_ahead_nanos = state.now.as_nanos() - now.as_nanos();
        self.report.peer = Some(state);
    }

    /// Up to when records may be dated for either side. The peer's clock is taken to have gone on as ours did.
    pub(super) fn horizons(&self, now: Timestamp) -> Horizons {
        let theirs = now.as_nanos().saturating_add(self.report.peer_ahead_nanos).max(1);
        Horizons {
            mine: now.saturating_add(FUTURE_MAX),
            theirs: Timestamp::from_epoch(Duration::from_nanos(theirs.unsigned_abs())).saturating_add(FUTURE_MAX),
        }
    }

    /// Takes note of what differs.
    pub(super) fn note_plan(&mut self, plan: &Plan, now: Timestamp) {
        self.report.ahead = plan.send.len() as u64;
        self.report.behind = plan.want.len() as u64;
        self.report.waiting = plan.waiting;
        let earliest = plan.earliest_waiting.and_then(|nanos| i64::try_from(nanos).ok());
        self.report.earliest_waiting = earliest.and_then(|nanos| Timestamp::from_nanos(nanos).ok());
        self.report.falls_due = plan.due_in.map(|nanos| now.saturating_add(Duration::from_nanos(nanos)));
    }

    /// Orders the records of these keys to be sent.
    pub(super) fn send_records(&mut self, keys: Vec<KeyHash>) -> Result<(), Violation> {
        if keys.is_empty() {
            Ok(())
        } else {
            self.outbox.push(Order::Records(keys.into()))
        }
    }

    /// Starts to receive a bulk: `afresh` from the first record, else from where an earlier one broke off. False when
    /// this node has no hand free for it.
    pub(super) fn receive_bulk<S: SyncStore>(
        &mut self,
        afresh: bool,
        store: &mut S,
    ) -> Result<bool, SessionError<S::Error>> {
        let (Some(slot), Some(peer)) = (self.slots.take_bulk(), &self.report.peer) else {
            return Ok(false);
        };
        let after = if afresh {
            None
        } else {
            store.position(peer.store).map_err(SessionError::Store)?
        };
        self.outbox.push_frame(Frame::BulkWanted { after })?;
        self.bulk = Some(slot);
        self.report.bulk = true;
        Ok(true)
    }

    /// Orders a bulk to be sent, and its end.
    pub(super) fn send_bulk(&mut self, after: Option<Position>) -> Result<(), Violation> {
        self.report.bulk = true;
        self.outbox.push(Order::Bulk(after))?;
        self.outbox.push_frame(Frame::Done)
    }

    /// The session is over, but for what is still to be sent.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        if outcome == Outcome::Equal {
            self.report.equal_digest = Some(self.told);
            (self.report.ahead, self.report.behind) = (0, 0);
            (self.report.waiting, self.report.earliest_waiting) = (0, None);
            self.report.falls_due = None;
        }
        self.bulk = None;
        self.outcome = Some(outcome);
    }

    /// The session is over because this many records wait, and nothing else differs.
    pub(super) fn finish_waiting(&mut self, records: u64) {
        self.finish(Outcome::Waiting);
        self.report.waiting = records;
        self.report.settled = self.report.peer.as_ref().map(|peer| Settled {
            mine: self.told,
            theirs: peer.digest,
            records,
        });
    }

    /// The peer ends the session: what was to be sent to it does not matter any longer.
    pub(super) fn hear_the_end(&mut self, outcome: Outcome) {
        self.outbox.clear();
        self.finish(outcome);
    }

    /// The session is over for a reason that the peer cannot know: nothing that was ordered before matters any longer.
    pub(super) fn break_off(&mut self, last_word: Frame, outcome: Outcome) -> Result<(), Violation> {
        self.outbox.clear();
        self.finish(outcome);
        self.outbox.push_frame(last_word)
    }

    /// Received records go the way of all records, except those that our clock forbids.
    fn take_in<S: SyncStore>(
        &mut self,
        bulk: bool,
        mut records: Vec<Record>,
        store: &mut S,
        now: Timestamp,
    ) -> Result<(), SessionError<S::Error>> {
        if bulk && self.bulk.is_none() {
            return Err(Violation("sends a bulk that nobody asked for").into());
        }
        self.allowance.charge(&records)?;
        self.report.received += records.len() as u64;
        let position = records.last().filter(|_| bulk).map(|last| Position {
            timestamp: last.timestamp,
            key: last.key.clone(),
        });
        let source = self.report.peer.as_ref().map(|peer| peer.store);
        let (before, horizon) = (records.len(), self.horizons(now).mine);
        records.retain(|record| record.timestamp <= horizon);
        self.report.ahead_of_clock += (before - records.len()) as u64;
        let applied = store
            .apply(&records, source.zip(position.as_ref()))
            .map_err(SessionError::Store)?;
        self.report.changed += applied.changed;
        self.report.refused += applied.refused;
        Ok(())
    }
}
