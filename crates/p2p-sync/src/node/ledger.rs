//! The replica with its store. Every change goes through [`Ledger::commit`], however it arrived, and comes out as
//! [`Committed`], which the log, the network and the sessions are told about. The writer decides when to commit.

use std::sync::Arc;

use p2p_sync_core::limits::CLOCK_LEAD_MAX;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::Store;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::{Timestamp, Uptime, Via};

use super::{NodeError, Restored};
use crate::store::{Capacity, Depth, Readers, Room, Scan, Scanned, SqliteStore, StoreError, Verified as ScanFound};
use crate::system::Now;

mod entry;
mod merging;
mod room;
#[cfg(test)]
mod tests;
mod view;
mod writing;

pub use entry::{Change, Committed, Done, Entry, Merged, Refused};
use room::RoomWatch;
pub use view::PeerView;

/// The records of a node, with the rules by which they change. A running node has one, on its own thread; benchmarks and tests
/// of whole sessions make theirs without a network.
#[derive(Debug)]
pub struct Ledger {
    replica: Replica,
    store: SqliteStore,
    /// Whether somebody may receive what is written now.
    shared: bool,
    /// Pages of the file proved damaged.
    damaged: bool,
    aside: Aside,
    /// What local writes of the open transaction may still take on the volume; none: not asked yet.
    local_bytes: Option<u64>,
    room: RoomWatch,
    /// Since the start.
    refused: Refused,
    /// What sessions committed since that was last asked.
    committed: Committed,
}

/// Damaged records that were set aside.
#[derive(Debug, Default)]
struct Aside {
    /// In the open transaction.
    pending: u64,
    /// In those that were committed, since that was last asked.
    done: u64,
}

impl Ledger {
    /// What was there at the start counts as known to others, unless the last run noted that it is not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(mut replica: Replica, mut store: SqliteStore) -> Result<Self, StoreError> {
        let unshared_after = match store.unshared_after()? {
            Some(noted) => noted,
            None => {
                let last = store.last_timestamp()?.unwrap_or(Timestamp::MIN);
                store.begin()?;
                store.keep_unshared_after(Some(last))?;
                store.commit()?;
                last
            }
        };
        replica.set_unshared_after(Some(unshared_after));
        Ok(Self {
            replica,
            store,
            shared: false,
            damaged: false,
            aside: Aside::default(),
            local_bytes: None,
            room: RoomWatch::default(),
            refused: Refused::default(),
            committed: Committed::default(),
        })
    }

    /// Sets how far what others send may fill the disk.
    #[must_use]
    pub fn with_capacity(mut self, capacity: Capacity) -> Self {
        self.room.capacity = capacity;
        self
    }

    /// The summary of everything that is committed; none while it is being rebuilt.
    pub(super) fn summary(&self) -> Option<&Summary> {
        self.store.summary()
    }

    /// The store.
    pub fn store(&mut self) -> &mut SqliteStore {
        &mut self.store
    }

    pub(super) fn is_broken(&self) -> bool {
        self.store.is_broken()
    }

    /// Makes sure that the files of the store are those that it has open; see [`SqliteStore::check_files`].
    pub(super) fn check_files(&mut self) -> Result<(), NodeError> {
        Ok(self.store.check_files()?)
    }

    /// Whether the files of the store were taken away under it: for good.
    pub(super) fn is_displaced(&self) -> bool {
        self.store.is_displaced()
    }

    /// Whether nothing is known that would keep a write from the disk.
    pub(super) fn takes_writes(&self) -> bool {
        !self.store.is_broken() && !self.store.is_locked()
    }

    /// Does all of this in one transaction; when this returns, it is on the disk. If that fails for a reason that may lie in one
    /// entry, each gets a transaction of its own, so that only what cannot be written is refused.
    pub fn commit(&mut self, batch: &[Entry<'_>], now: Now) -> Committed {
        let committed = match self.commit_together(batch, now) {
            Ok(committed) => committed,
            Err(error) if batch.len() > 1 && error.may_be_of_one_piece() && !self.is_broken() => {
                tracing::debug!("writing a batch of {} one entry at a time: {error}", batch.len());
                let mut committed = Committed::default();
                batch.chunks(1).for_each(|one| committed.extend(self.commit(one, now)));
                return committed;
            }
            Err(error) => {
                let no_room = batch.iter().map(|entry| entry.found_no_room(&error)).sum();
                Committed {
                    done: batch.iter().map(|_| Err(error.clone())).collect(),
                    refused: Refused { damaged: 0, no_room },
                    ..Committed::default()
                }
            }
        };
        self.refused.add(committed.refused);
        committed
    }

    fn commit_together(&mut self, batch: &[Entry<'_>], now: Now) -> Result<Committed, NodeError> {
        let mut work = |ledger: &mut Self| {
            let mut committed = Committed::default();
            for entry in batch {
                let done = ledger.apply(entry, now, &mut committed)?;
                committed.done.push(done);
            }
            Ok(committed)
        };
        let committed = self.transact(work);
        // Of several entries, each is written by itself first.
        match (&committed, batch) {
            (Err(error), [entry]) if error.is_full() && self.leaves_as_much_room(entry) => {
                self.transact_in_room(&mut work, now)
            }
            _ => committed,
        }
    }

    /// Does one piece of work in the open transaction.
    fn apply(
        &mut self,
        entry: &Entry<'_>,
        now: Now,
        committed: &mut Committed,
    ) -> Result<Result<Done, NodeError>, NodeError> {
        let done = match entry {
            Entry::Write { key, content } => self.write(key, content, now).map(Done::Written),
            Entry::Restore { key, timestamp } => self.restore(key, *timestamp, now).map(Done::Restored),
            Entry::Receive { via, records, reached } => {
                let merged = self.merge(*via, records, now, committed)?;
                if let Some((source, position)) = reached
                    && self.room.keeps_position(*source, merged)
                {
                    self.store.keep_position(*source, *position)?;
                }
                Ok(Done::Received(merged))
            }
            Entry::SetAside(rowids) => {
                let mut any = false;
                for rowid in *rowids {
                    any |= self.set_aside(Some(*rowid))?;
                }
                Ok(Done::SetAside(any))
            }
            Entry::Remember(peers) => {
                self.store.remember_peers(peers)?;
                Ok(Done::Noted)
            }
            Entry::Patrolled(rowid) => {
                self.store.keep_patrolled(*rowid)?;
                Ok(Done::Noted)
            }
        };
        match done {
            // That concerns this one only, and nothing was written for it.
            Err(error @ NodeError::Clock(_)) => return Ok(Err(error)),
            Ok(Done::Written(Some(ref record))) | Ok(Done::Restored(Some(Restored { ref record, .. }))) => {
                let (via, record) = (Via::Local, record.clone());
                committed.changes.push(Change { via, record });
            }
            _ => {}
        }
        done.map(Ok)
    }

    /// Whether an entry does nothing, on a full disk, but what leaves about as much room as before.
    fn leaves_as_much_room(&mut self, entry: &Entry<'_>) -> bool {
        match entry {
            Entry::Write { key, content } => self.leaves_room(key, content).unwrap_or(false),
            // It is asked record by record.
            Entry::Receive { .. } => true,
            Entry::Restore { .. } | Entry::SetAside(_) | Entry::Remember(_) | Entry::Patrolled(_) => false,
        }
    }

    /// Does some work in one transaction. If it or the commit fails, nothing of it was done.
    fn transact<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, NodeError>) -> Result<T, NodeError> {
        self.local_bytes = None;
        let begun = self.begin().map_err(NodeError::from);
        self.noted(begun)?;
        let done = work(self).and_then(|done| {
            self.store.commit()?;
            Ok(done)
        });
        let aside = std::mem::take(&mut self.aside.pending);
        if done.is_err() {
            self.store.rollback();
        } else {
            self.aside.done += aside;
        }
        self.noted(done)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.store.is_broken() {
            self.store.reopen()?;
        }
        self.store.begin()
    }

    /// Begins to read the whole store; see [`SqliteStore::start_scan`].
    pub(super) fn start_scan(&mut self, depth: Depth) -> Result<Scan, NodeError> {
        let scan = self.store.start_scan(depth).map_err(NodeError::from);
        self.noted(scan)
    }

    /// Takes over what a scan found; see [`SqliteStore::finish_scan`].
    pub(super) fn finish_scan(&mut self, scanned: Result<Scanned, StoreError>) -> Result<ScanFound, NodeError> {
        let finished = scanned.and_then(|scanned| self.store.finish_scan(scanned));
        if let Ok(found) = &finished
            && let Some(structure) = &found.structure
        {
            tracing::error!("The store file is damaged: {structure}");
            self.damaged = true;
        }
        self.noted(finished.map_err(NodeError::from))
    }

    /// Takes note of damage.
    fn noted<T>(&mut self, result: Result<T, NodeError>) -> Result<T, NodeError> {
        self.damaged |= result.as_ref().is_err_and(NodeError::is_damage);
        result
    }

    /// Whether pages of the file proved damaged, so that it must be rescued.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Somebody else met damage.
    pub(super) fn note_damage(&mut self) {
        self.damaged = true;
    }

    /// Whether the file was changed past SQLite; see [`SqliteStore::was_overwritten`].
    pub(super) fn was_overwritten(&mut self) -> bool {
        self.store.was_overwritten()
    }

    /// Forgets what is remembered of the file, and reads it anew.
    pub(super) fn reopen(&mut self) -> Result<(), NodeError> {
        let reopened = self.store.reopen().map_err(NodeError::from);
        self.noted(reopened)
    }

    /// Opens a broken store again. If its file is damaged, a new one with everything that can still be read is put in its place;
    /// what is lost comes back from other nodes. Gives about how many records that are.
    pub(super) fn mend(&mut self, readers: &Readers) -> Result<u64, NodeError> {
        if !self.damaged {
            let reopened = self.store.reopen();
            self.damaged |= reopened.as_ref().is_err_and(StoreError::is_damaged_file);
            return reopened.map(|()| 0).map_err(out_of_order);
        }
        let rescued = self.store.rescue(readers).map_err(out_of_order)?;
        self.damaged = false;
        tracing::warn!(
            "The store has been repaired: {} records saved, {} damaged, and {} places unreadable. Missing records \
             come back from other nodes that have them. The damaged file is {}",
            rescued.records,
            rescued.damaged,
            rescued.gaps,
            rescued.aside.display()
        );
        Ok(rescued.damaged.saturating_add(rescued.gaps).max(1))
    }

    /// Writes beside the store which peers were reached, once that is committed.
    pub(super) fn write_known_peers(&mut self) {
        self.store.allow_replacing();
        if let Err(error) = self.store.write_known_peers() {
            tracing::debug!("cannot write the file of known peers: {error}");
        }
    }

    /// When [`find_room`](Self::find_room) is to be called at the latest.
    pub(super) fn next_look_for_room(&self) -> Option<Uptime> {
        self.room.next_look(&self.store)
    }

    /// Looks for room, if there was none and it is time for that. Tells whether there is some again: what was refused may
    /// come then.
    pub(super) fn find_room(&mut self, now: Now) -> bool {
        self.room.look(&mut self.store, now.uptime);
        self.room.take_returned()
    }

    /// Whether there is no room now for all that others may send.
    pub(super) fn is_full(&mut self, now: Now) -> bool {
        !self.store.is_broken() && self.room.ask(&self.store, &[], now.uptime) != Room::Enough
    }

    /// How many received records were not taken since the start: cause and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Refused { damaged, no_room } = self.refused;
        let causes = [("damaged here", damaged), ("no room", no_room)];
        causes.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Whether there is somebody who may receive what is written here from now on. What is written while there is nobody
    /// cannot have been seen by whoever overwrites it elsewhere.
    pub(super) fn set_shared(&mut self, shared: bool, now: Now) -> Result<(), NodeError> {
        if self.shared == shared {
            return Ok(());
        }
        let unshared_after = if shared { None } else { Some(self.last_timestamp(now)?) };
        self.transact(|holdings| Ok(holdings.store.keep_unshared_after(unshared_after)?))?;
        self.replica.set_unshared_after(unshared_after);
        self.shared = shared;
        Ok(())
    }

    /// The latest of all timestamps that own writes were given so far. What a wrong clock once dated far ahead does not count: the
    /// next write will be earlier.
    fn last_timestamp(&mut self, now: Now) -> Result<Timestamp, NodeError> {
        let last = self.store.last_timestamp().map_err(NodeError::from);
        let last = self.noted(last)?.unwrap_or(Timestamp::MIN);
        Ok(last.min(now.time.saturating_add(CLOCK_LEAD_MAX)))
    }

    /// Closes the store in good order.
    pub(super) fn close(self) {
        if self.store.is_broken() {
            if !self.store.is_displaced() {
                tracing::warn!("The store is still closed after its failure; the next start recovers it");
            }
        } else if let Err(error) = self.store.close() {
            tracing::warn!("The store was not closed cleanly; the next start recovers it: {error}");
        }
    }
}

/// The file is in need of more than another attempt.
fn out_of_order(error: StoreError) -> NodeError {
    NodeError::OutOfOrder(Arc::new(error))
}
