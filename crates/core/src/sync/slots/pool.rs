//! Slots of one kind: who holds them, which holders are slow, and who waits. No clock here: time is passed in with each
//! look.

use std::time::Duration;

use super::{Asker, Looked};
use crate::id::NodeId;
use crate::limits::{SYNC_CALLED_MAX, SYNC_SLOW_BYTES, SYNC_WAITING_MAX, SYNC_WAITING_PEERS_MAX};
use crate::time::Uptime;

/// The longest time between two looks that counts: anything longer was a pause on our side, in which nothing could be
/// received.
const LOOK_MAX: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Pool {
    places: usize,
    /// Extra slots for peers that we dialled, while those that we did not dial are slow.
    kept: usize,
    /// How long it may take to move [`SYNC_SLOW_BYTES`] while others wait.
    patience: Duration,
    holders: Vec<Holder>,
    /// In the order in which they came.
    waiting: Vec<Waiting>,
    next: u64,
    looked: Uptime,
}

#[derive(Debug)]
struct Holder {
    number: u64,
    asker: Option<Asker>,
    /// What its session had transferred when it was last fast enough, and how long ago that was; none before the first
    /// look.
    moved: Option<u64>,
    since: Duration,
    /// What it had transferred at the last look, and whether it is slower than the stated rate.
    seen: u64,
    lags: bool,
}

#[derive(Debug)]
struct Waiting {
    asker: Asker,
    asked: Uptime,
    called: Option<Uptime>,
}

impl Pool {
    pub(super) fn new(places: usize, kept: usize, patience: Duration) -> Self {
        Self {
            places,
            kept,
            patience,
            holders: Vec::new(),
            waiting: Vec::new(),
            next: 0,
            looked: Uptime::default(),
        }
    }

    /// Grants a slot, or queues the peer for one.
    pub(super) fn take(&mut self, asker: Option<Asker>) -> Option<u64> {
        if !self.has_place_for(asker) {
            self.wait(asker?);
            return None;
        }
        if let Some(asker) = asker {
            self.forget(asker.peer);
        }
        self.next += 1;
        self.holders.push(Holder {
            number: self.next,
            asker,
            moved: None,
            since: Duration::ZERO,
            seen: 0,
            lags: false,
        });
        Some(self.next)
    }

    pub(super) fn give_back(&mut self, number: u64) {
        self.holders.retain(|holder| holder.number != number);
    }

    pub(super) fn is_in_use(&self) -> bool {
        !self.holders.is_empty()
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.waiting.retain(|waiting| waiting.asker.peer != peer);
    }

    fn has_place_for(&self, asker: Option<Asker>) -> bool {
        if self.holders.len() < self.places {
            // A free slot belongs to the peer that was called to it.
            let called = self.waiting.iter().filter(|waiting| waiting.called.is_some());
            let mine = |waiting: &Waiting| asker.is_some_and(|asker| asker.peer == waiting.asker.peer);
            let ahead = called.filter(|waiting| !mine(waiting)).count();
            return self.holders.len() + ahead < self.places
                || self.waiting.iter().any(|one| one.called.is_some() && mine(one));
        }
        self.has_kept_place_for(asker)
    }

    fn has_kept_place_for(&self, asker: Option<Asker>) -> bool {
        let stranger = |holder: &Holder| holder.asker.is_some_and(|asker| !asker.dialled);
        self.holders.len() < self.places + self.kept
            && asker.is_some_and(|asker| asker.dialled)
            && self.holders.iter().any(|holder| stranger(holder) && holder.lags)
    }

    fn wait(&mut self, asker: Asker) {
        let asked = self.looked;
        if let Some(known) = self.waiting.iter_mut().find(|one| one.asker.peer == asker.peer) {
            (known.asker, known.asked) = (asker, asked);
        } else if self.waiting.len() < SYNC_WAITING_PEERS_MAX {
            self.waiting.push(Waiting {
                asker,
                asked,
                called: None,
            });
        }
    }

    pub(super) fn look(&mut self, at: Uptime, moved: &impl Fn(NodeId) -> u64, looked: &mut Looked) {
        let passed = at.saturating_since(self.looked).min(LOOK_MAX);
        self.looked = at;
        self.waiting.retain(|one| {
            let missed = one
                .called
                .is_some_and(|called| at.saturating_since(called) >= SYNC_CALLED_MAX);
            !missed && at.saturating_since(one.asked) < SYNC_WAITING_MAX
        });
        for holder in &mut self.holders {
            holder.look(passed, self.patience, moved);
        }
        let waits = |holder: &Holder| {
            let others = self.waiting.iter().filter(|one| Some(one.asker.peer) != holder.peer());
            others.count() > 0
        };
        if self.holders.len() >= self.places {
            let slow = self
                .holders
                .iter()
                .filter(|holder| holder.since > self.patience && waits(holder));
            looked.slow.extend(slow.filter_map(Holder::peer));
        }
        self.call(at, looked);
    }

    /// Calls as many waiting peers as there are free slots, first come, first served.
    fn call(&mut self, at: Uptime, looked: &mut Looked) {
        let kept: Vec<bool> = self
            .waiting
            .iter()
            .map(|one| self.has_kept_place_for(Some(one.asker)))
            .collect();
        let called = self.waiting.iter().filter(|one| one.called.is_some()).count();
        let mut free = self.places.saturating_sub(self.holders.len() + called);
        for (one, kept) in self.waiting.iter_mut().zip(kept) {
            if one.called.is_none() && (free > 0 || kept) {
                free = free.saturating_sub(1);
                one.called = Some(at);
                looked.called.insert(one.asker.peer);
            }
        }
    }
}

impl Holder {
    fn peer(&self) -> Option<NodeId> {
        self.asker.map(|asker| asker.peer)
    }

    fn look(&mut self, passed: Duration, patience: Duration, moved: &impl Fn(NodeId) -> u64) {
        let Some(peer) = self.peer() else { return };
        let now = moved(peer);
        let Some(before) = self.moved else {
            (self.moved, self.seen) = (Some(now), now);
            return;
        };
        let due = u128::from(SYNC_SLOW_BYTES) * passed.as_millis() / patience.as_millis().max(1);
        self.lags = u128::from(now.saturating_sub(self.seen)) < due;
        self.seen = now;
        self.since += passed;
        if now.saturating_sub(before) >= SYNC_SLOW_BYTES {
            (self.moved, self.since) = (Some(now), Duration::ZERO);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::limits::SYNC_SLOW_MAX;

    fn asker(number: u8, dialled: bool) -> Option<Asker> {
        Some(Asker {
            peer: id(number),
            dialled,
        })
    }

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes(&[number]).unwrap()
    }

    fn pool() -> Pool {
        Pool::new(1, 1, SYNC_SLOW_MAX)
    }

    /// Looks once a second until then at sessions that move so many bytes a second; what the last look told.
    fn looks(pool: &mut Pool, seconds: std::ops::RangeInclusive<u64>, rate: u64) -> Looked {
        let mut last = Looked::default();
        for second in seconds {
            last = Looked::default();
            pool.look(Uptime(Duration::from_secs(second)), &|_| second * rate, &mut last);
        }
        last
    }

    const SLOW: u64 = 4_000;
    const FAST: u64 = 1_000_000;

    #[test]
    fn a_slow_holder_is_cut_when_somebody_waits_and_not_before() {
        let mut pool = pool();
        let slow = pool.take(asker(1, false)).unwrap();
        assert_eq!(looks(&mut pool, 1..=60, SLOW), Looked::default(), "nobody waits");
        assert_eq!(pool.take(asker(2, false)), None);
        let looked = looks(&mut pool, 61..=61, SLOW);
        assert!(looked.slow.contains(&id(1)) && looked.called.is_empty());
        pool.give_back(slow);
        assert!(looks(&mut pool, 62..=62, SLOW).called.contains(&id(2)));
        assert_eq!(pool.take(asker(3, false)), None, "it was called for another");
        assert!(pool.take(asker(2, false)).is_some());
    }

    #[test]
    fn a_holder_has_his_time_before_he_counts_as_slow() {
        let mut pool = pool();
        pool.take(asker(1, false)).unwrap();
        assert_eq!(pool.take(asker(2, false)), None);
        let patience = SYNC_SLOW_MAX.as_secs();
        assert!(looks(&mut pool, 1..=patience + 1, SLOW).slow.is_empty());
        assert!(!looks(&mut pool, patience + 2..=patience + 2, SLOW).slow.is_empty());
    }

    #[test]
    fn a_fast_holder_keeps_his_slot_whoever_waits() {
        let mut pool = pool();
        pool.take(asker(1, false)).unwrap();
        for second in 1..=120 {
            assert_eq!(pool.take(asker(2, true)), None);
            assert_eq!(looks(&mut pool, second..=second, FAST), Looked::default());
        }
    }

    #[test]
    fn one_that_we_dialled_does_not_wait_for_a_slow_one_that_we_did_not() {
        let mut pool = pool();
        pool.take(asker(1, false)).unwrap();
        looks(&mut pool, 1..=1, SLOW);
        assert_eq!(pool.take(asker(2, true)), None, "it may be fast");
        assert!(looks(&mut pool, 2..=2, SLOW).called.contains(&id(2)));
        assert_eq!(pool.take(asker(3, false)), None, "the place is kept");
        assert!(pool.take(asker(2, true)).is_some());
        assert_eq!(pool.take(asker(4, true)), None, "there is one");
    }

    #[test]
    fn whoever_does_not_come_when_called_is_passed_over() {
        let mut pool = pool();
        let held = pool.take(asker(1, false)).unwrap();
        assert_eq!((pool.take(asker(2, false)), pool.take(asker(3, false))), (None, None));
        pool.give_back(held);
        assert_eq!(looks(&mut pool, 1..=1, 0).called, [id(2)].into());
        let called = SYNC_CALLED_MAX.as_secs();
        assert_eq!(looks(&mut pool, 2..=1 + called, 0).called, [id(3)].into());
        assert!(pool.take(asker(3, false)).is_some());
    }

    #[test]
    fn those_who_wait_are_bounded_and_forgotten() {
        let mut pool = pool();
        pool.take(asker(1, false)).unwrap();
        for number in 2..=250 {
            assert_eq!(pool.take(asker(number, false)), None);
        }
        assert_eq!(pool.waiting.len(), SYNC_WAITING_PEERS_MAX);
        pool.forget(id(2));
        assert_eq!(pool.waiting.len(), SYNC_WAITING_PEERS_MAX - 1);
        looks(&mut pool, 1..=SYNC_WAITING_MAX.as_secs(), FAST);
        assert!(pool.waiting.is_empty());
    }
}
