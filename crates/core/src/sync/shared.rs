//! What both sides of a session have in common: sending their state, storing records, respecting the credit, finishing.
//! [`Shared`] does what needs only the session itself; [`Turn`] what also needs our records or the time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::credit::Allowance;
use super::outbox::{Order, Outbox};
use super::outcome::{Outcome, Report, SessionError, Settled, Violation};
use super::plan::{Horizons, Plan};
use super::slots::{Slot, Slots};
use super::store::{PageLimit, SyncStore};
use super::wire::{Frame, State, VERSION};
use crate::admission::Admission;
use crate::item::{Item, KeyHash};
use crate::limits::{SYNC_ORDERED_KEYS_MAX, SYNC_RANGE_MESSAGE_RECORDS, SYNC_RANGE_MESSAGES_MIN};
use crate::record::Record;
use crate::sequence::Cursor;
use crate::set_digest::SetDigestValue;
use crate::sketch::Difference;
use crate::time::Timestamp;

/// What both sides need.
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) slots: Slots,
    pub(super) report: Report,
    /// The digest that was last sent to the peer.
    pub(super) told: SetDigestValue,
    /// While a bulk arrives: the permit for it.
    pub(super) bulk: Option<Slot>,
    pub(super) outcome: Option<Outcome>,
    pub(super) allowance: Allowance,
    /// Messages of the range-based fallback so far.
    range_messages: u64,
    /// Keys whose records were ordered to be sent: what comes for one of them is what survived of it.
    sent: BTreeSet<KeyHash>,
    /// More were ordered than are remembered.
    sent_more: bool,
}

/// What a step of the session works with.
pub(super) struct Turn<'a, S> {
    pub(super) shared: &'a mut Shared,
    pub(super) store: &'a mut S,
    pub(super) now: Timestamp,
}

impl Shared {
    pub(super) fn new(slots: Slots) -> Self {
        Self {
            outbox: Outbox::new(),
            slots,
            report: Report::default(),
            told: [0; 32],
            bulk: None,
            outcome: None,
            allowance: Allowance::new(),
            range_messages: 0,
            sent: BTreeSet::new(),
            sent_more: false,
        }
    }

    /// The known difference no longer counts.
    pub(super) fn forget_plan(&mut self) {
        (self.report.ahead, self.report.behind, self.report.waiting) = (0, 0, 0);
        (self.report.earliest_waiting, self.report.falls_due) = (None, None);
        self.report.held_back = 0;
    }

    /// Orders the records of these keys to be sent.
    pub(super) fn send_records(&mut self, keys: Vec<KeyHash>) -> Result<(), Violation> {
        if keys.is_empty() {
            return Ok(());
        }
        if self.sent.len() + keys.len() > SYNC_ORDERED_KEYS_MAX {
            self.sent_more = true;
        } else {
            self.sent.extend(&keys);
        }
        self.outbox.push(Order::Records(keys.into()))
    }

    /// Orders versions to be sent back that survived what the peer sent of their keys, unless they were sent before. Where it is not
    /// known what was sent, nothing goes back, or two sides could go on for ever: the next session sees what is missing.
    fn send_back(&mut self, survived: Vec<Item>) -> Result<(), Violation> {
        if self.sent_more {
            return Ok(());
        }
        let unsent = survived
            .into_iter()
            .filter(|item| !self.sent.contains(&item.key_hash()));
        let unsent: BTreeSet<Item> = unsent.collect();
        if unsent.is_empty() {
            return Ok(());
        }
        self.outbox.send_back(unsent)
    }

    /// Counts another message of the range-based fallback. False if there were too many for what they transferred.
    pub(super) fn allows_range_message(&mut self) -> bool {
        self.range_messages += 1;
        let moved = self.report.sent.saturating_add(self.report.received);
        self.range_messages <= SYNC_RANGE_MESSAGES_MIN.saturating_add(moved / SYNC_RANGE_MESSAGE_RECORDS)
    }

    /// The session is over, except for what is still to be sent.
    pub(super) fn finish(&mut self, outcome: Outcome) {
        if outcome == Outcome::Equal {
            self.report.equal_digest = Some(self.told);
            self.forget_plan();
        }
        self.bulk = None;
        self.outcome = Some(outcome);
    }

    /// Whether one side has no space, and the other knows.
    pub(super) fn lacks_room(&self) -> bool {
        self.report.peer_full || self.report.told_full
    }

    /// The session is over because this many records wait, and nothing else differs.
    pub(super) fn finish_waiting(&mut self, records: u64) {
        self.finish(Outcome::Waiting);
        if self.lacks_room() {
            // The side that gets space says so by another session.
            self.report.falls_due.get_or_insert(Timestamp::MAX);
        }
        self.report.waiting = records;
        self.report.settled = self.report.peer.as_ref().map(|peer| Settled {
            mine: self.told,
            theirs: peer.digest,
            records,
        });
    }

    /// The peer ends the session: what was still to be sent no longer matters.
    pub(super) fn hear_the_end(&mut self, outcome: Outcome) {
        self.outbox.clear();
        self.finish(outcome);
    }

    /// The session is over for a reason that the peer cannot know: earlier orders no longer matter.
    pub(super) fn break_off(&mut self, last_word: Frame, outcome: Outcome) -> Result<(), Violation> {
        self.outbox.clear();
        self.finish(outcome);
        self.outbox.push_frame(last_word)
    }
}

impl<S: SyncStore> Turn<'_, S> {
    /// Our current state, which is sent to the peer.
    pub(super) fn told_state(&mut self) -> State {
        self.tell_if_full();
        self.store.settle();
        let summary = self.store.summary();
        let state = State {
            version: VERSION,
            now: self.now,
            store: self.store.id(),
            count: summary.count(),
            digest: summary.digest(),
            changed: self.shared.report.changed,
        };
        self.shared.told = state.digest;
        state
    }

    /// Tells the peer, once, if there is no space for what it may send.
    fn tell_if_full(&mut self) {
        if !self.shared.report.told_full && self.store.is_full() {
            // If that does not fit, the peer has requested so much that it will not listen.
            self.shared.report.told_full = self.shared.outbox.push_frame(Frame::Full).is_ok();
        }
    }

    /// Records the peer's state.
    pub(super) fn note_peer(&mut self, state: State) {
        // Both are positive, so the distance fits.
        self.shared.report.peer_ahead_nanos = state.now.as_nanos() - self.now.as_nanos();
        self.shared.report.peer = Some(state);
    }

    /// The latest timestamp that records may have for either side. The peer's clock is assumed to have advanced like ours.
    pub(super) fn horizons(&self) -> Horizons {
        let ahead = self.shared.report.peer_ahead_nanos;
        let theirs = self.now.as_nanos().saturating_add(ahead).max(1);
        Horizons {
            mine: Admission::at(self.now).horizon(),
            theirs: Admission::at(Timestamp::from_epoch(Duration::from_nanos(theirs.unsigned_abs()))).horizon(),
        }
    }

    /// What to do about this difference, or this further part of it, which is recorded.
    pub(super) fn plan(&mut self, difference: &Difference) -> Plan {
        let mut plan = Plan::of(difference, self.horizons());
        let report = &mut self.shared.report;
        if report.peer_full {
            let held_back = plan.hold_back_what_is_new(difference);
            plan.waiting += held_back;
            report.held_back += held_back;
        }
        report.ahead += plan.send.len() as u64;
        report.behind += plan.want.len() as u64;
        report.waiting += plan.waiting;
        let earliest = plan.earliest_waiting.and_then(|nanos| i64::try_from(nanos).ok());
        let earliest = earliest.and_then(|nanos| Timestamp::from_nanos(nanos).ok());
        let due_in = plan.due_in.map(Duration::from_nanos);
        let falls_due = due_in.map(|due_in| self.now.saturating_add(due_in));
        report.earliest_waiting = report.earliest_waiting.into_iter().chain(earliest).min();
        report.falls_due = report.falls_due.into_iter().chain(falls_due).min();
        plan
    }

    /// Orders a bulk and its end to be sent. It comes to an end when it has caught up with what changes here; but while one comes in,
    /// it ends with the newest change of now, or it would send back all that the other one brings.
    pub(super) fn send_bulk(&mut self, after: Option<Cursor>) -> Result<(), SessionError<S::Error>> {
        const SHORTEST: PageLimit = PageLimit { records: 1, bytes: 1 };
        self.shared.report.bulk = true;
        let mut until = None;
        if self.shared.bulk.is_some() {
            let first = self.store.page(after, SHORTEST).map_err(SessionError::Store)?;
            until = Some(first.reached.map_or(0, |reached| reached.seen));
        }
        let outbox = &mut self.shared.outbox;
        outbox.push(Order::Bulk { after, until })?;
        Ok(outbox.push_frame(Frame::Done)?)
    }

    /// Starts to receive a bulk: `afresh` from the first record, otherwise from where an earlier one stopped. False if this
    /// node has no free slot for it.
    pub(super) fn receive_bulk(&mut self, afresh: bool) -> Result<bool, SessionError<S::Error>> {
        let (Some(slot), Some(peer)) = (self.shared.slots.take_bulk(), &self.shared.report.peer) else {
            return Ok(false);
        };
        let after = if afresh {
            None
        } else {
            self.store.position(peer.store).map_err(SessionError::Store)?
        };
        self.shared.outbox.push_frame(Frame::BulkWanted { after })?;
        self.shared.bulk = Some(slot);
        self.shared.report.bulk = true;
        Ok(true)
    }

    /// Received records are merged like all records, except those too far ahead of our clock.
    pub(super) fn take_in(
        &mut self,
        bulk: Option<Cursor>,
        mut records: Vec<Record>,
    ) -> Result<(), SessionError<S::Error>> {
        if bulk.is_some() && self.shared.bulk.is_none() {
            return Err(Violation("sends a bulk that was not requested").into());
        }
        let shared = &mut *self.shared;
        shared.allowance.charge(&records)?;
        shared.report.received += records.len() as u64;
        if let Some(roster) = self.store.roster() {
            let admitted = roster.admit(&mut records);
            let uncounted = admitted.map_err(|_| Violation("sends records that their authors did not sign"))?;
            shared.report.not_permitted += uncounted.total();
        }
        let source = shared.report.peer.as_ref().map(|peer| peer.store);
        shared.report.ahead_of_clock += Admission::at(self.now).retain(&mut records).records;
        let applied = self
            .store
            .apply(&records, source.zip(bulk))
            .map_err(SessionError::Store)?;
        shared.report.changed += applied.changed;
        shared.report.refused += applied.refused;
        if applied.refused > 0 {
            self.tell_if_full();
        }
        if bulk.is_none() {
            self.shared.send_back(applied.survived)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::SYNC_ORDERS_MAX;
    use crate::{Content, Key, NodeId, Seen};

    fn item(number: u32) -> Item {
        Item::of(&Record {
            key: Key::new(format!("key {number}")).unwrap(),
            content: Content::Deleted,
            timestamp: Timestamp::MIN,
            author: NodeId::from_bytes(&[1]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        })
    }

    #[test]
    fn what_may_have_been_sent_is_not_sent_back() {
        let mut shared = Shared::new(Slots::default());
        shared.send_records(vec![item(0).key_hash()]).unwrap();
        let before = shared.outbox.keys();
        shared.send_back(vec![item(0)]).unwrap();
        assert_eq!(shared.outbox.keys(), before);
        shared.send_back(vec![item(1)]).unwrap();
        assert_eq!(shared.outbox.keys(), before + 1);
        // More than is remembered.
        let most = u32::try_from(SYNC_ORDERED_KEYS_MAX).unwrap();
        let many = (2..most + 2).map(|number| item(number).key_hash());
        shared.send_records(many.collect()).unwrap();
        let before = shared.outbox.keys();
        for number in [0, 1, 2, most + 9] {
            shared.send_back(vec![item(number)]).unwrap();
        }
        assert_eq!(shared.outbox.keys(), before, "two sides would go on for ever");
    }

    #[test]
    fn a_peer_that_sends_faster_than_it_reads_is_no_violation() {
        let mut shared = Shared::new(Slots::default());
        let pages = u32::try_from(3 * SYNC_ORDERS_MAX).unwrap();
        for page in 0..pages {
            shared.send_back(vec![item(2 * page), item(2 * page + 1)]).unwrap();
        }
        assert_eq!(shared.outbox.keys(), 2 * pages as usize);
        // Each page may bring other keys, of as many as are held.
        let most = u32::try_from(SYNC_ORDERED_KEYS_MAX).unwrap();
        shared.send_back((0..most).map(item).collect()).unwrap();
        assert!(shared.outbox.keys() <= SYNC_ORDERED_KEYS_MAX);
    }
}
