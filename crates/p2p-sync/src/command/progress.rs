//! How far a command has come that changes many keys: for whoever waits for it, or has interrupted it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many keys were changed so far. Its copies are one.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// So many keys, and perhaps some more whose writes are on their way.
    pub fn keys(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// It has come so far, as the node says that carries the command out.
    pub fn set(&self, keys: u64) {
        self.0.store(keys, Ordering::Relaxed);
    }

    pub(super) fn add(&self, keys: u64) {
        self.0.fetch_add(keys, Ordering::Relaxed);
    }
}
