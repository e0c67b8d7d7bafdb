//! What all sessions of a node share: how many of them may do at a time what takes memory or the disk for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::limits::{SYNC_BULKS_MAX, SYNC_RANGES_MAX, SYNC_RANGES_PAUSE, SYNC_SNAPSHOTS_MAX};
use crate::time::Timestamp;

/// The slots of one node. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    snapshots: Pool,
    bulks: Pool,
    ranges: Pool,
    /// When ranges were last reconciled, by our wall clock, in nanoseconds; 0: never.
    ranges_began: Arc<AtomicI64>,
}

impl Default for Slots {
    fn default() -> Self {
        Self::new(SYNC_SNAPSHOTS_MAX, SYNC_BULKS_MAX, SYNC_RANGES_MAX)
    }
}

impl Slots {
    /// So many sessions at a time may hold a copy of the sketch, receive a bulk, reconcile by ranges.
    pub fn new(snapshots: usize, bulks: usize, ranges: usize) -> Self {
        Self {
            snapshots: Pool::new(snapshots),
            bulks: Pool::new(bulks),
            ranges: Pool::new(ranges),
            ranges_began: Arc::default(),
        }
    }

    /// The same slots for a session that may not reconcile by ranges.
    pub(super) fn without_ranges(&self) -> Self {
        Self {
            ranges: Pool::new(0),
            ..self.clone()
        }
    }

    /// The right to hold a copy of the sketch.
    pub(super) fn take_snapshot(&self) -> Option<Slot> {
        self.snapshots.take()
    }

    /// The right to receive a bulk.
    pub(super) fn take_bulk(&self) -> Option<Slot> {
        self.bulks.take()
    }

    /// The right to hold all items. There is none for a while after the last one was taken; but a clock that was set
    /// back is not waited for.
    pub(super) fn take_ranges(&self, now: Timestamp) -> Option<Slot> {
        let began = self.ranges_began.load(Ordering::Relaxed);
        let since = now.as_nanos() - began;
        if began > 0 && since >= 0 && Duration::from_nanos(since.unsigned_abs()) < SYNC_RANGES_PAUSE {
            return None;
        }
        let slot = self.ranges.take()?;
        self.ranges_began.store(now.as_nanos(), Ordering::Relaxed);
        Some(slot)
    }
}

#[derive(Debug, Clone)]
struct Pool {
    free: Arc<AtomicUsize>,
}

impl Pool {
    fn new(max: usize) -> Self {
        Self {
            free: Arc::new(AtomicUsize::new(max)),
        }
    }

    fn take(&self) -> Option<Slot> {
        let taken = self
            .free
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| free.checked_sub(1));
        taken.ok().map(|_| Slot {
            free: Arc::clone(&self.free),
        })
    }
}

/// One right taken. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Slot {
    free: Arc<AtomicUsize>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.free.fetch_add(1, Ordering::Relaxed);
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
