//! What all sessions of a node share: how many of them may do at a time what takes memory or the disk for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{SYNC_BULKS_MAX, SYNC_RANGES_MAX, SYNC_SNAPSHOTS_MAX};

/// The slots of one node. Clones share them.
#[derive(Debug, Clone)]
pub struct Slots {
    snapshots: Pool,
    bulks: Pool,
    ranges: Pool,
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

    /// The right to hold all items.
    pub(super) fn take_ranges(&self) -> Option<Slot> {
        self.ranges.take()
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
