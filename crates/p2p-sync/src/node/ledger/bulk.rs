//! Pages of a bulk: many of them share a transaction, which is [held](crate::store::Transaction::hold) open while they arrive. Whatever
//! else is to be stored releases it first. A page that was merged may be gone again if that fails; then the bulk ends, and another one
//! goes on from the place that was kept with what is stored.

use std::time::{Duration, Instant};

use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::{Applied, StoreId};
use p2p_sync_core::{Record, Via};

use super::entry::{Committed, Done, Entry};
use super::room::load;
use super::{Ledger, NodeError, Open};
use crate::store::StoreError;
use crate::system::Now;

/// Changes that are listed of a transaction; of the rest only the number is known. There is no more than this to be logged of them.
const LISTED_MAX: usize = 256;
/// How long nobody tries again to make an index after that failed.
const INDEX_PAUSE: Duration = Duration::from_secs(5);

impl Ledger {
    /// Whether pages of a bulk may share a transaction: not where room is short.
    pub(super) fn may_hold(&mut self) -> bool {
        !self.store.is_broken() && self.store.may_hold().unwrap_or(false)
    }

    /// A bulk begins, from the place that was kept.
    pub(super) fn begin_bulk(&mut self) {
        self.note_lost();
        self.lost = None;
    }

    /// Fails once if pages of the bulk that came before are gone: to keep a later place would pass over them.
    pub(super) fn check_bulk(&mut self) -> Result<(), NodeError> {
        self.note_lost();
        self.lost.take().map_or(Ok(()), Err)
    }

    /// What was held may have gone with the connection to the file.
    fn note_lost(&mut self) {
        if self.store.take_lost() {
            self.held = Committed::default();
            self.aside.pending = 0;
            let file = self.store.file().to_owned();
            self.lost = Some(StoreError::Broken { file }.into());
        }
    }

    /// Merges a page of a bulk in the transaction that is held for it.
    pub(super) fn hold_page(
        &mut self,
        via: Via,
        records: &[Record],
        (source, reached): (StoreId, Cursor),
        now: Now,
    ) -> Result<Applied, NodeError> {
        let entry = Entry::Receive {
            via,
            records,
            reached: Some((source, reached)),
        };
        let mut committed = Committed::default();
        let coming = reached.seen.saturating_sub(reached.number);
        let work = |open: &mut Open<'_>| {
            open.store.defer_index(coming)?;
            open.apply(&entry, now, &mut committed)
        };
        let merged = self.transact_held(work, records);
        let merged = match merged {
            Ok(Ok(Done::Received(merged))) => merged,
            Ok(Err(error)) | Err(error) => return Err(error),
            Ok(Ok(_)) => return Ok(Applied::default()),
        };
        self.refused.add(merged.refused);
        self.note_held(committed);
        let defers_enough = self.store.defers_enough().map_err(NodeError::from);
        if self.noted(defers_enough).unwrap_or(false) {
            self.make_index();
        }
        if self.store.holds_enough().unwrap_or(true) {
            self.release();
        }
        self.check_bulk()?;
        self.room.note_page(source, reached, merged)?;
        Ok(Applied {
            changed: merged.changed,
            refused: merged.refused.total(),
            survived: Vec::new(),
        })
    }

    /// Does some work in the transaction that is held. If it fails, nothing is left of that.
    fn transact_held<T>(
        &mut self,
        work: impl FnOnce(&mut Open<'_>) -> Result<T, NodeError>,
        records: &[Record],
    ) -> Result<T, NodeError> {
        let done = self.transact_in_held(work, records);
        if done.is_err() {
            // Whoever sends the bulk hears it by this error.
            self.begin_bulk();
        }
        self.noted(done)
    }

    fn transact_in_held<T>(
        &mut self,
        work: impl FnOnce(&mut Open<'_>) -> Result<T, NodeError>,
        records: &[Record],
    ) -> Result<T, NodeError> {
        let mut open = Open {
            store: self.store.resume()?,
            replica: &mut self.replica,
            aside: &mut self.aside,
            local_bytes: None,
            room: &mut self.room,
        };
        let done = work(&mut open)?;
        open.store.hold(load(records));
        Ok(done)
    }

    fn note_held(&mut self, mut page: Committed) {
        page.survived.clear();
        let listed = LISTED_MAX.saturating_sub(self.held.changes.len());
        page.unlisted += page.changes.len().saturating_sub(listed) as u64;
        page.changes.truncate(listed);
        self.held.extend(page);
    }

    /// Commits what is held. If that fails, the bulk hears of it with its next page.
    pub(in crate::node) fn release(&mut self) {
        if !self.store.holds() {
            return;
        }
        let released = self.store.release().map_err(NodeError::from);
        match self.noted(released) {
            Ok(()) => {
                self.aside.done += std::mem::take(&mut self.aside.pending);
                let held = std::mem::take(&mut self.held);
                self.committed.extend(held);
            }
            Err(error) => {
                tracing::warn!("Some of what another node sent could not be stored; sync fetches it again: {error}");
                self.note_lost();
                self.lost = Some(error);
            }
        }
    }

    /// Commits what is held, and gives back the memory that it took.
    pub(in crate::node) fn settle(&mut self) {
        self.release();
        self.store.rest();
    }

    /// No bulk is under way: does what was left for the end of one.
    pub(in crate::node) fn end_bulk(&mut self) {
        // What is found out by asking, such as damage, must not be lost.
        let lacks_index = self.store.lacks_index().map_err(NodeError::from);
        if self.noted(lacks_index).unwrap_or(false) && self.index_pause.is_none_or(|until| until <= Instant::now()) {
            self.make_index();
        }
        self.settle();
    }

    /// Makes the index that was left for the end. Until that succeeds, whatever needs it tries to make it.
    pub(super) fn make_index(&mut self) {
        let made = self.store.make_index().map_err(NodeError::from);
        self.index_pause = None;
        if let Err(error) = self.noted(made) {
            tracing::warn!("The index of the records, left for the end of a copy, cannot be made yet: {error}");
            self.index_pause = Some(Instant::now() + INDEX_PAUSE);
        }
    }

    /// When [`settle`](Self::settle) is to be called at the latest.
    pub(in crate::node) fn held_until(&self) -> Option<Instant> {
        self.store.held_until()
    }
}

#[cfg(test)]
mod tests;
