//! Changes that happen all together or not at all. A [`Transaction`] is a guard: it is open as long as it lives, commits when it is told
//! to, and rolls back when it is dropped. What a change does to which table is written in the files of those tables.

use std::ops::{Deref, DerefMut};

use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::store as core_store;
use p2p_sync_core::sync::StoreId;
use p2p_sync_core::{Key, Record, Timestamp, Versions};
use rusqlite::Connection;

use super::conflicts;
use super::error::StoreError;
use super::peer_names::{self, NamesHeard};
use super::peers::{self, RememberedPeer};
use super::room::Load;
use super::rows;
use super::sqlite::SqliteStore;
use super::summary::UNMARK;
use super::sync;

/// An open transaction of a [`SqliteStore`]. What the store can do outside of one, such as reading, it can do here too.
#[derive(Debug)]
pub struct Transaction<'a> {
    store: &'a mut SqliteStore,
    is_over: bool,
}

impl Deref for Transaction<'_> {
    type Target = SqliteStore;

    fn deref(&self) -> &SqliteStore {
        self.store
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut SqliteStore {
        self.store
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            roll_back(self.store);
        }
    }
}

impl<'a> Transaction<'a> {
    /// Opens a transaction that other programs cannot come between. One that is [held](Self::hold) is committed first.
    ///
    /// # Errors
    /// When another program has the lock, or the file cannot be read.
    pub(super) fn begin(store: &'a mut SqliteStore) -> Result<Self, StoreError> {
        store.release()?;
        begin(store)?;
        Ok(Self { store, is_over: false })
    }

    /// Goes on with the transaction that is held, or opens one.
    pub(super) fn resume(store: &'a mut SqliteStore) -> Result<Self, StoreError> {
        if !store.holds() {
            begin(store)?;
        }
        Ok(Self { store, is_over: false })
    }
}

impl Transaction<'_> {
    /// The version held of a key, deletions and own writes included.
    ///
    /// # Errors
    /// When the store cannot be read, or the row is damaged; the transaction is as good as before then.
    pub fn get(&mut self, key: &Key) -> Result<Option<Record>, StoreError> {
        let found = self.store.get_with_item(key)?;
        let item = found.as_ref().and_then(|(_, item)| *item);
        self.store.tracker.note_found(key, item);
        Ok(found.map(|(record, _)| record))
    }

    /// All versions of a key that are held, deletions and own writes included. Where another program took away the value of a key
    /// that has conflicts, the highest of them becomes its value.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of the key is damaged; the transaction is as good as before then.
    pub fn versions(&mut self, key: &Key) -> Result<Versions, StoreError> {
        let mut winner = self.get(key)?;
        if self.store.roster.is_some() && winner.as_ref().is_some_and(|winner| winner.signature.is_none()) {
            self.settle_foreign(key)?;
            winner = self.get(key)?;
        }
        let conflicts = self.conflicts_of(key)?;
        let is_orphaned = winner.is_none() && !conflicts.is_empty();
        if is_orphaned {
            let held = Versions::of(conflicts.iter().cloned());
            self.replace_rows(None, &conflicts, &held)?;
            return Ok(held);
        }
        Ok(conflicts::stored(winner, conflicts))
    }

    /// Holds the versions `after`, at least one, in place of `before`, which [`versions`](Self::versions) gave. What is new takes
    /// the next numbers of the change sequence; so does a value that is a conflict now.
    ///
    /// # Errors
    /// When it cannot be written, or in a private network is not [verified](p2p_sync_core::Signature::holds_for); the transaction must
    /// not be committed then.
    pub fn replace(&mut self, before: &Versions, after: &Versions) -> Result<(), StoreError> {
        self.replace_rows(before.winner(), before.conflicts(), after)
    }

    fn replace_rows(
        &mut self,
        winner: Option<&Record>,
        conflicts: &[Record],
        after: &Versions,
    ) -> Result<(), StoreError> {
        if let Some(new) = after.winner().filter(|new| winner != Some(*new)) {
            self.put(new)?;
        }
        self.replace_conflicts(conflicts, after.conflicts())
    }

    fn conflicts_of(&mut self, key: &Key) -> Result<Vec<Record>, StoreError> {
        if !self.store.may_have_conflicts()? {
            return Ok(Vec::new());
        }
        let store = &mut *self.store;
        let Some(connection) = &store.connection else {
            return store.connection().map(|_| Vec::new());
        };
        let found = conflicts::of_key(connection, &mut store.authors, &store.file, key);
        store.noted(found)
    }

    pub(super) fn add_conflict(&mut self, record: &Record) -> Result<(), StoreError> {
        let store = &mut *self.store;
        store.check_signed(record)?;
        open(store)?;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let number = store.numbers.take(record.timestamp);
        let added = number.and_then(|number| conflicts::add(connection, &mut store.authors, number, record));
        let added = added.map_err(|cause| StoreError::sqlite(&store.file, cause));
        let item = store.noted(added)?;
        store.has_conflicts = Some(true);
        store.tracker.note_added(item);
        store.wal_size.note_put(record);
        Ok(())
    }

    /// Another program may have changed what is held of a key: only versions that no other covers stay, and the highest is the value.
    pub(super) fn settle(&mut self, key: &Key) -> Result<(), StoreError> {
        let held = self.versions(key)?;
        let settled = Versions::of(held.all().iter().cloned());
        if settled == held {
            return Ok(());
        }
        self.replace(&held, &settled)
    }

    /// Holds this version as the value of its key in place of the one before, under the next number of the change sequence. Conflicts
    /// stay as they are.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must not be committed then.
    pub fn put(&mut self, record: &Record) -> Result<(), StoreError> {
        let store = &mut *self.store;
        store.check_signed(record)?;
        open(store)?;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let old = match store.tracker.found(&record.key) {
            Some(old) => Ok(old),
            None => rows::item(connection, &store.file, &record.key),
        };
        let number = store.numbers.take(record.timestamp);
        let number = number.map_err(|cause| StoreError::sqlite(&store.file, cause))?;
        let result = old.and_then(|old| {
            let new = rows::put(connection, &mut store.authors, &store.file, number, record)?;
            Ok((old, new))
        });
        let (old, new) = store.noted(result)?;
        store.tracker.note_put(record, old, new);
        store.wal_size.note_put(record);
        Ok(())
    }

    /// Holds this version as the value of its key if none of that is held, and tells whether it does so now.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn insert(&mut self, record: &Record) -> Result<bool, StoreError> {
        // Another program may have taken away the value of a key, and left its conflicts.
        if self.store.may_have_conflicts()? && !self.conflicts_of(&record.key)?.is_empty() {
            return Ok(false);
        }
        let store = &mut *self.store;
        store.check_signed(record)?;
        open(store)?;
        let Some(connection) = &store.connection else {
            return store.connection().map(|_| false);
        };
        let number = store.numbers.draw_number();
        let inserted = number.and_then(|number| rows::insert(connection, &mut store.authors, number, record));
        let inserted = inserted.map_err(|cause| StoreError::sqlite(&store.file, cause));
        let Some(item) = store.noted(inserted)? else {
            return Ok(false);
        };
        store.numbers.note(record.timestamp);
        store.tracker.note_added(item);
        store.wal_size.note_put(record);
        Ok(true)
    }

    /// Makes the writes durable.
    ///
    /// # Errors
    /// When that fails; whether they are there shows when the store was [reopened](SqliteStore::reopen).
    pub fn commit(mut self) -> Result<(), StoreError> {
        let done = commit(self.store);
        self.is_over = done.is_ok();
        done
    }

    /// Leaves the transaction open, to be [resumed](SqliteStore::resume) and in the end [released](SqliteStore::release). Its writes
    /// are neither durable nor to be seen by readers until then, and if anything fails before, all of them are gone.
    pub fn hold(mut self, load: Load) {
        self.store.tracker.hold();
        self.store.note_held(load);
        self.is_over = true;
    }

    /// Makes the writes durable, and goes on with another transaction.
    ///
    /// # Errors
    /// As for [`commit`](Self::commit), and when the next one cannot be begun; it must be dropped then.
    pub(super) fn save(&mut self) -> Result<(), StoreError> {
        commit(self.store)?;
        begin(self.store)
    }

    /// Keeps how far a bulk from that store came, and forgets the oldest beyond [`POSITIONS_MAX`](super::POSITIONS_MAX). To be
    /// called in the transaction that writes its records.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn keep_position(&mut self, source: StoreId, position: Cursor) -> Result<(), StoreError> {
        self.write(|connection| sync::keep_position(connection, source, position))
    }

    /// Takes note of addresses, and forgets the oldest beyond [`REMEMBERED_PEERS_MAX`](super::REMEMBERED_PEERS_MAX) and
    /// [`PEER_ADDRESSES_MAX`](super::PEER_ADDRESSES_MAX).
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn remember_peers(&mut self, peers: &[RememberedPeer]) -> Result<(), StoreError> {
        self.write(|connection| peers::remember(connection, peers))
    }

    /// Takes note of what known nodes are called, and forgets the names heard longest ago beyond
    /// [`KNOWN_NAMES_MAX`](crate::names::KNOWN_NAMES_MAX).
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn remember_names(&mut self, heard: &NamesHeard, at: Timestamp) -> Result<(), StoreError> {
        self.write(|connection| peer_names::remember(connection, heard, at))
    }

    /// Writes, and takes note of a failure.
    pub(super) fn write<T>(&mut self, write: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        open(self.store)?;
        self.store.asked(write)
    }
}

impl core_store::Transaction for Transaction<'_> {
    type Error = StoreError;

    fn versions(&mut self, key: &Key) -> Result<Versions, StoreError> {
        Self::versions(self, key)
    }

    fn replace(&mut self, before: &Versions, after: &Versions) -> Result<(), StoreError> {
        Self::replace(self, before, after)
    }

    fn insert(&mut self, record: &Record) -> Result<bool, StoreError> {
        Self::insert(self, record)
    }

    fn commit(self) -> Result<(), StoreError> {
        Self::commit(self)
    }
}

/// After some failures SQLite has rolled back by itself. What would be written then would be committed at once.
fn open(store: &SqliteStore) -> Result<&Connection, StoreError> {
    let connection = store.connection()?;
    if connection.is_autocommit() {
        Err(StoreError::Misuse("no transaction is open"))
    } else {
        Ok(connection)
    }
}

fn begin(store: &mut SqliteStore) -> Result<(), StoreError> {
    if !store.connection()?.is_autocommit() {
        // It was begun through a transaction that is open, whose work must not be committed as half of this one.
        roll_back(store);
        return Err(StoreError::Misuse("a transaction was open already"));
    }
    store.check_log()?;
    let begun = store
        .connection()
        .and_then(|connection| store.run(connection, "BEGIN IMMEDIATE"));
    let locked = matches!(begun, Err(StoreError::Locked { .. }));
    if std::mem::replace(&mut store.locked, locked) != locked {
        store.set_patience(store.patience());
    }
    store.noted(begun)?;
    let looked = store.look_for_others();
    if looked.is_err() {
        roll_back(store);
    }
    looked
}

fn commit(store: &mut SqliteStore) -> Result<(), StoreError> {
    let result = open(store).and_then(|connection| {
        if store.tracker.must_unmark() {
            store.run(connection, UNMARK)?;
        }
        let saved = store.numbers.save(connection);
        saved.map_err(|cause| StoreError::sqlite(&store.file, cause))?;
        store.run(connection, "COMMIT")
    });
    store.noted(result)?;
    store.held.over();
    store.overwriting.note_committed();
    // The transaction is in the file that is open. If that is not the one under the name of the store, nobody will find it.
    store.check_files()?;
    store.check_log_head()?;
    store.tracker.committed();
    store.numbers.committed();
    if let Some(roster) = store.next_roster.take() {
        store.roster = Some(roster);
    }
    store.bound_wal();
    Ok(())
}

fn roll_back(store: &mut SqliteStore) {
    store.held.lose();
    store.next_roster = None;
    store.tracker.forget_pending();
    store.numbers.rolled_back();
    store.has_conflicts = None;
    store.has_item_index = None;
    // After some failures SQLite has rolled back by itself.
    let Some(connection) = store
        .connection
        .as_ref()
        .filter(|connection| !connection.is_autocommit())
    else {
        return;
    };
    if store.run(connection, "ROLLBACK").is_err() {
        store.abandon();
    }
}
