//! What all sessions of a node share: how many of them may use memory or the disk for long at a time, and who goes first.
//! [`Slots::look`] says who must give up a slot.

mod pool;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool::Pool;

use crate::id::NodeId;
use crate::limits::{
    SYNC_BULKS_MAX, SYNC_RANGES_MAX, SYNC_RANGES_PAUSE, SYNC_RANGES_SLOW_MAX, SYNC_SLOW_MAX, SYNC_SNAPSHOTS_MAX,
};
use crate::time::{Timestamp, Uptime};

/// Who wants a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The peer with which the session is held.
    pub peer: NodeId,
    /// Whether this node dialled it. Others can connect in any number, but must not keep anything from a peer that we
    /// dialled.
    pub dialled: bool,
}

/// The result of a look at the slots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Looked {
    /// Peers that hold a slot, are slow, and keep others waiting: their sessions must be cut off.
    pub slow: BTreeSet<NodeId>,
    /// Peers that waited for a slot, and get the one that is free if they ask soon.
    pub called: BTreeSet<NodeId>,
}

/// The slots of one node, as available to a session with one peer. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    all: Arc<All>,
    asker: Option<Asker>,
    /// Nothing is available, or no ranges.
    none: bool,
    no_ranges: bool,
}

#[derive(Debug)]
struct All {
    pools: Mutex<[Pool; 3]>,
    /// When ranges were last reconciled, by our wall clock, in nanoseconds; 0: never.
    ranges_began: AtomicI64,
}

/// What a slot is for; its index among the pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Snapshot,
    Bulk,
    Ranges,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(SYNC_SNAPSHOTS_MAX, SYNC_BULKS_MAX, SYNC_RANGES_MAX)
    }
}

impl All {
    fn lock(&self) -> MutexGuard<'_, [Pool; 3]> {
        // Nothing in here panics while it holds the lock.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, kind: Kind, work: impl FnOnce(&mut Pool) -> T) -> T {
        let mut pools = self.lock();
        let [snapshots, bulks, ranges] = &mut *pools;
        work(match kind {
            Kind::Snapshot => snapshots,
            Kind::Bulk => bulks,
            Kind::Ranges => ranges,
        })
    }
}

impl Slots {
    /// So many sessions at a time may hold a copy of the sketch, receive a bulk, reconcile by ranges. One more copy and one
    /// more bulk are reserved for peers that this node dialled, while those that it did not dial are slow.
    pub fn new(snapshots: usize, bulks: usize, ranges: usize) -> Self {
        let pools = [
            Pool::new(snapshots, snapshots.min(1), SYNC_SLOW_MAX),
            Pool::new(bulks, bulks.min(1), SYNC_SLOW_MAX),
            // Each uses memory for all records.
            Pool::new(ranges, 0, SYNC_RANGES_SLOW_MAX),
        ];
        Self {
            all: Arc::new(All {
                pools: Mutex::new(pools),
                ranges_began: AtomicI64::new(0),
            }),
            asker: None,
            none: false,
            no_ranges: false,
        }
    }

    /// The same slots for a session with this peer.
    pub fn of(&self, asker: Asker) -> Self {
        Self {
            asker: Some(asker),
            ..self.clone()
        }
    }

    /// No slots, for a session that may take none.
    pub(super) fn denied(&self) -> Self {
        Self {
            none: true,
            ..self.clone()
        }
    }

    /// The same slots for a session that may not reconcile by ranges.
    pub(super) fn without_ranges(&self) -> Self {
        Self {
            no_ranges: true,
            ..self.clone()
        }
    }

    /// Checks who holds slots, and who waits for one. Call this about once a second, with the bytes that the session with a
    /// peer has transferred so far, both ways together. Peers reported as slow must be cut off before the next look.
    pub fn look(&self, at: Uptime, moved: impl Fn(NodeId) -> u64) -> Looked {
        let mut looked = Looked::default();
        for pool in self.all.lock().iter_mut() {
            pool.look(at, &moved, &mut looked);
        }
        looked
    }

    /// Whether a session receives a bulk.
    pub fn are_bulks_received(&self) -> bool {
        self.all.with(Kind::Bulk, |pool| pool.is_in_use())
    }

    /// This peer no longer waits for a slot: it is gone, or a session with it completed without one.
    pub fn forget(&self, peer: NodeId) {
        self.all.lock().iter_mut().for_each(|pool| pool.forget(peer));
    }

    /// The permit to hold a copy of the sketch.
    pub(super) fn take_snapshot(&self) -> Option<Slot> {
        self.take(Kind::Snapshot)
    }

    /// The permit to receive a bulk.
    pub(super) fn take_bulk(&self) -> Option<Slot> {
        self.take(Kind::Bulk)
    }

    /// The permit to hold all items. There is none for a while after the last one was taken; a clock that was set back does
    /// not prolong this.
    pub(super) fn take_ranges(&self, now: Timestamp) -> Option<Slot> {
        let began = self.all.ranges_began.load(Ordering::Relaxed);
        let since = now.as_nanos() - began;
        if began > 0 && since >= 0 && Duration::from_nanos(since.unsigned_abs()) < SYNC_RANGES_PAUSE {
            return None;
        }
        let slot = self.take(Kind::Ranges)?;
        self.all.ranges_began.store(now.as_nanos(), Ordering::Relaxed);
        Some(slot)
    }

    fn take(&self, kind: Kind) -> Option<Slot> {
        if self.none || (kind == Kind::Ranges && self.no_ranges) {
            return None;
        }
        let number = self.all.with(kind, |pool| pool.take(self.asker))?;
        Some(Slot {
            all: Arc::clone(&self.all),
            kind,
            number,
        })
    }
}

/// A permit. Dropping it returns it.
#[derive(Debug)]
pub(super) struct Slot {
    all: Arc<All>,
    kind: Kind,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.all.with(self.kind, |pool| pool.give_back(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(1_000 + seconds))
    }

    #[test]
    fn what_is_taken_comes_back() {
        let slots = Slots::new(1, 1, 1);
        let taken = slots.clone().take_bulk();
        assert!(taken.is_some() && slots.take_bulk().is_none() && slots.take_snapshot().is_some());
        drop(taken);
        assert!(slots.take_bulk().is_some());
        assert!(slots.denied().take_bulk().is_none());
    }

    #[test]
    fn ranges_have_a_pause_that_a_step_of_the_clock_does_not_lengthen() {
        let slots = Slots::new(1, 1, 2);
        let pause = SYNC_RANGES_PAUSE.as_secs();
        assert!(slots.take_ranges(at(0)).is_some());
        assert!(slots.take_ranges(at(0)).is_none());
        assert!(slots.take_ranges(at(pause - 1)).is_none());
        let one = slots.take_ranges(at(pause));
        let other = slots.take_ranges(at(2 * pause));
        assert!(one.is_some() && other.is_some() && slots.take_ranges(at(3 * pause)).is_none());
        drop(one);
        assert!(slots.take_ranges(at(2 * pause - 1)).is_some(), "the clock was set back");
    }
}
