//! The replica with its store. Every change goes through [`Ledger::commit`], however it arrived, and comes out as
//! [`Committed`], which the log, the network and the sessions are told about. The writer decides when to commit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_sync_core::membership::Roster;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::Store;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::{Uptime, Via};

use super::NodeError;
use crate::store::{
    Capacity, Depth, Readers, Recounted, Room, Scan, ScanFound, Scanned, SqliteStore, StoreError, Transaction,
};
use crate::system::Now;
use crate::throttle::Throttle;

mod bulk;
mod entry;
mod merging;
mod room;
#[cfg(test)]
mod tests;
mod view;
mod writing;

pub use entry::{Change, Committed, Condition, Dating, Done, Entry, Merged, Refused, Settled, Terms, Write};
use room::RoomWatch;
pub use view::PeerView;

/// How often the log says that the disk is full, at most.
const FULL_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The records of a node, and the rules for changing them. A running node has one, on its own thread; benchmarks and tests
/// of whole sessions create theirs without a network.
#[derive(Debug)]
pub struct Ledger {
    replica: Replica,
    store: SqliteStore,
    /// Damaged pages were found in the file.
    damaged: bool,
    aside: Aside,
    room: RoomWatch,
    /// Since the start.
    refused: Refused,
    /// What sessions committed since that was last asked.
    committed: Committed,
    /// What pages of a bulk changed that are not committed yet.
    held: Committed,
    /// Why pages of a bulk are gone, if some are.
    lost: Option<NodeError>,
    /// When it is tried again to make the index that was left for the end of a bulk, after that failed.
    index_pause: Option<Instant>,
    /// How often it is logged that the disk is full.
    full_log: Throttle<Instant>,
}

/// Damaged records that were set aside.
#[derive(Debug, Default)]
struct Aside {
    /// In the open transaction.
    pending: u64,
    /// In those that were committed, since that was last asked.
    done: u64,
}

/// The ledger in an open transaction.
struct Open<'a> {
    store: Transaction<'a>,
    replica: &'a mut Replica,
    aside: &'a mut Aside,
    /// What local writes of the transaction may still take on the volume; none: not asked yet.
    local_bytes: Option<u64>,
    room: &'a mut RoomWatch,
}

impl Ledger {
    /// The rules and the records.
    pub fn new(replica: Replica, store: SqliteStore) -> Self {
        Self {
            replica,
            store,
            damaged: false,
            aside: Aside::default(),
            room: RoomWatch::default(),
            refused: Refused::default(),
            committed: Committed::default(),
            held: Committed::default(),
            lost: None,
            index_pause: None,
            full_log: Throttle::once(FULL_LOG_INTERVAL),
        }
    }

    /// Sets how far remote data may fill the disk.
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

    /// Checks that the files of the store are the ones that it has open; see [`SqliteStore::check_files`].
    pub(super) fn check_files(&mut self) -> Result<(), NodeError> {
        Ok(self.store.check_files()?)
    }

    /// Checks that the log of the store is as it was written; see [`SqliteStore::check_log_content`].
    pub(super) fn check_log_content(&mut self) -> Result<(), NodeError> {
        self.release();
        let checked = self.store.check_log_content().map_err(NodeError::from);
        self.noted(checked)
    }

    /// Whether the files of the store were taken away, which is final.
    pub(super) fn is_displaced(&self) -> bool {
        self.store.is_displaced()
    }

    /// Does all of this in one transaction; when this returns, it is on disk. If it fails for a reason that may lie in one
    /// entry, each entry gets its own transaction, so that only those that cannot be written are refused.
    pub fn commit(&mut self, batch: &[Entry<'_>], now: Now) -> Committed {
        self.release();
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
                    refused: Refused {
                        no_room,
                        ..Refused::default()
                    },
                    ..Committed::default()
                }
            }
        };
        self.refused.add(committed.refused);
        committed
    }

    fn commit_together(&mut self, batch: &[Entry<'_>], now: Now) -> Result<Committed, NodeError> {
        let mut work = |open: &mut Open<'_>| {
            let mut committed = Committed::default();
            for entry in batch {
                let done = open.apply(entry, now, &mut committed)?;
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

    /// Whether an entry does nothing, on a full disk, but what leaves about as much room as before.
    fn leaves_as_much_room(&mut self, entry: &Entry<'_>) -> bool {
        match entry {
            Entry::Write { key, content, .. } => writing::leaves_room(&mut self.store, key, content).unwrap_or(false),
            // It is asked record by record.
            Entry::Receive { .. } => true,
            Entry::WriteAll(_)
            | Entry::WriteDue(_)
            | Entry::Resolve { .. }
            | Entry::Redate { .. }
            | Entry::SetAside(_)
            | Entry::Remember(_)
            | Entry::RememberNames(_)
            | Entry::Patrolled(_) => false,
        }
    }

    /// Does some work in one transaction. If it or the commit fails, nothing of it was done.
    fn transact<T>(&mut self, work: impl FnOnce(&mut Open<'_>) -> Result<T, NodeError>) -> Result<T, NodeError> {
        let done = self.transact_once(work);
        let aside = std::mem::take(&mut self.aside.pending);
        if done.is_ok() {
            self.aside.done += aside;
        }
        self.noted(done)
    }

    fn transact_once<T>(&mut self, work: impl FnOnce(&mut Open<'_>) -> Result<T, NodeError>) -> Result<T, NodeError> {
        if self.store.is_broken() {
            self.store.reopen()?;
        }
        let mut open = Open {
            store: self.store.begin()?,
            replica: &mut self.replica,
            aside: &mut self.aside,
            local_bytes: None,
            room: &mut self.room,
        };
        let done = work(&mut open)?;
        open.store.commit()?;
        Ok(done)
    }

    /// Keeps who is in the private network of these records, and moves the records accordingly; see
    /// [`Transaction::keep_members`]. No command leads here yet.
    ///
    /// # Errors
    /// As for [`Transaction::keep_members`]; everything is as before then.
    pub fn keep_members(&mut self, roster: Arc<Roster>) -> Result<Recounted, NodeError> {
        self.release();
        self.transact(|open| Ok(open.store.keep_members(Arc::clone(&roster))?))
    }

    /// Starts to read the whole store; see [`SqliteStore::start_scan`].
    pub(super) fn start_scan(&mut self, depth: Depth) -> Result<Scan, NodeError> {
        self.make_index();
        self.release();
        let scan = self.store.start_scan(depth).map_err(NodeError::from);
        self.noted(scan)
    }

    /// Applies the result of a scan; see [`SqliteStore::finish_scan`].
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

    /// Whether the file has damaged pages and must be rescued.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Notes damage that was found elsewhere.
    pub(super) fn note_damage(&mut self) {
        self.damaged = true;
    }

    /// Nobody can go on behind a place of before; see [`SqliteStore::lose_cursors`].
    pub(super) fn lose_cursors(&mut self) {
        self.store.lose_cursors();
    }

    /// Whether the file was changed past SQLite; see [`SqliteStore::was_overwritten`].
    pub(super) fn was_overwritten(&mut self) -> bool {
        self.store.was_overwritten()
    }

    /// Discards everything remembered about the file, and rereads it.
    pub(super) fn reopen(&mut self) -> Result<(), NodeError> {
        let reopened = self.store.reopen().map_err(NodeError::from);
        self.noted(reopened)
    }

    /// Reopens a broken store. If its file is damaged, it is replaced by a new one with everything that can still be read;
    /// lost records come back from other nodes. Returns about how many records were lost.
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

    /// Writes the file of known peers, once they are committed.
    pub(super) fn write_known_peers(&mut self) {
        self.store.allow_replacing();
        if let Err(error) = self.store.write_known_peers() {
            tracing::debug!("cannot write the file of known peers: {error}");
        }
    }

    /// The latest time for the next call of [`find_room`](Self::find_room).
    pub(super) fn next_look_for_room(&self) -> Option<Uptime> {
        self.room.next_look(&self.store)
    }

    /// Checks for space, if there was none and it is time. Returns whether there is some again, so that refused records can
    /// be fetched.
    pub(super) fn find_room(&mut self, now: Now) -> bool {
        self.room.look(&mut self.store, now.uptime);
        self.room.take_returned()
    }

    /// Whether there is currently not enough space for everything that others may send.
    pub(super) fn is_full(&mut self, now: Now) -> bool {
        !self.store.is_broken() && self.room.ask(&self.store, &[], now.uptime) != Room::Enough
    }

    /// How many received records were refused since the start: cause and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.causes()
    }

    /// Closes the store cleanly.
    pub(super) fn close(mut self) {
        self.end_bulk();
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

impl Open<'_> {
    /// Does one piece of work in the open transaction.
    fn apply(
        &mut self,
        entry: &Entry<'_>,
        now: Now,
        committed: &mut Committed,
    ) -> Result<Result<Done, NodeError>, NodeError> {
        let done = match entry {
            Entry::Write { key, content, terms } => {
                self.write(key, content, (*terms, now), committed).map(Done::Written)
            }
            Entry::WriteAll(writes) => return self.write_all(writes, now, committed),
            Entry::WriteDue(writes) => return self.write_due(writes, now, committed),
            Entry::Resolve { key, timestamp, dating } => self
                .resolve(key, *timestamp, (*dating, now), committed)
                .map(Done::Resolved),
            Entry::Redate { key } => self.redate(key, now, committed).map(Done::Redated),
            Entry::Receive { via, records, reached } => {
                let merged = self.merge(*via, (records, reached.is_some()), now, committed)?;
                if let Some((source, position)) = reached
                    && self.room.keeps_position(*source, merged)
                {
                    self.store.keep_position(*source, *position)?;
                }
                Ok(Done::Received(merged))
            }
            Entry::SetAside(rows) => {
                let mut any = false;
                for row in *rows {
                    any |= self.set_aside(*row)?;
                }
                Ok(Done::SetAside(any))
            }
            Entry::Remember(peers) => {
                self.store.remember_peers(peers)?;
                Ok(Done::Noted)
            }
            Entry::RememberNames(heard) => {
                self.store.remember_names(heard, now.time)?;
                Ok(Done::Noted)
            }
            Entry::Patrolled(rowid) => {
                self.store.keep_patrolled(*rowid)?;
                Ok(Done::Noted)
            }
        };
        match done {
            // That concerns this one only, and nothing was written for it.
            Err(error @ (NodeError::Clock(_) | NodeError::Changed { .. } | NodeError::NotPermitted)) => {
                return Ok(Err(error));
            }
            Ok(Done::Written(Some(ref record)))
            | Ok(Done::Resolved(Some(ref record)) | Done::Redated(Some(ref record))) => {
                let (via, record) = (Via::Local, record.clone());
                committed.changes.push(Change { via, record });
            }
            _ => {}
        }
        done.map(Ok)
    }
}
