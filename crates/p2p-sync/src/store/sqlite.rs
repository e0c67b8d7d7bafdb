//! The one connection that writes: the core's promises kept by an SQLite file. What a version is worth is left to the
//! core, when to begin and to commit to the node's writer thread.

use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_sync_core::store::Store;
use p2p_sync_core::{Key, NetworkName, Record, Timestamp};
use rusqlite::Connection;

use super::directory::size_of;
use super::error::StoreError;
use super::opening::{self, LOCK_PATIENCE, beside};
use super::rows::{self, Authors, Which};

/// WAL size at which the writer stops to empty it, in bytes. SQLite does that by itself at 4 MiB, but only in moments
/// without any reader, and such a moment may never come.
const WAL_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How much the WAL grows before the next attempt, after one that a reader of another program did not let through.
const WAL_RETRY_BYTES: u64 = 8 * 1024 * 1024;
/// How long that attempt waits for readers. Ours are done sooner.
const WAL_PATIENCE: Duration = Duration::from_millis(250);

/// The records of a node in an SQLite file, for the thread that writes them.
///
/// # The writer's loop
/// 1. [`begin`](Store::begin), then [`get`](Store::get) and [`put`](Store::put) for everything that waits, then
///    [`commit`](Store::commit). When that returns `Ok`, all of it is on the disk: acknowledge.
/// 2. If `get` fails with an error that [is one record's](StoreError::is_one_record), only the operation that asked fails;
///    the transaction is as good as before.
/// 3. After any other error, [`rollback`](Store::rollback) and acknowledge nothing of the transaction.
/// 4. If the store [is broken](SqliteStore::is_broken) then, its connection is closed for good: [`reopen`](SqliteStore::reopen) it, now
///    and again until that succeeds. Whether the writes of a `commit` that failed are there shows only after that.
#[derive(Debug)]
pub struct SqliteStore {
    file: PathBuf,
    wal: PathBuf,
    network: NetworkName,
    /// None once it was broken.
    connection: Option<Connection>,
    authors: Authors,
    /// WAL size at which it is emptied next, in bytes.
    wal_due_bytes: u64,
}

/// What an attempt to move the whole WAL into the file came to.
enum Checkpoint {
    /// All of it is in the file.
    Complete,
    /// A reader still needs some of it.
    Hindered,
}

impl SqliteStore {
    /// Opens the store of a network, and makes it if there is none. The caller holds the [data directory](super::DataDir).
    ///
    /// # Errors
    /// When the file is not a store of that network and of a version that this program knows, when it is damaged, or when
    /// it cannot be kept safely where it is. A file that is refused was not changed.
    pub fn open(file: &Path, network: &NetworkName) -> Result<Self, StoreError> {
        let mut store = Self {
            file: file.to_owned(),
            wal: beside(file, "-wal"),
            network: network.clone(),
            connection: Some(opening::writer(file, network)?),
            authors: Authors::default(),
            wal_due_bytes: WAL_BYTES_MAX,
        };
        // What a crash left in the WAL may be in the memory of the system only. Another program that reads just now does
        // not keep us from starting.
        store.settle()?;
        Ok(store)
    }

    /// The path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the connection was closed after a failure, so that every call fails until [`reopen`](Self::reopen).
    pub fn is_broken(&self) -> bool {
        self.connection.is_none()
    }

    /// Opens the file again, with a new connection. An open transaction is forgotten. After success, everything that can be
    /// read is on the disk, whatever the sync that failed had left behind.
    ///
    /// # Errors
    /// As for [`open`](Self::open), or when the file is gone: no new one is made in its place. The store is broken then,
    /// and this may be tried again.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        self.abandon();
        if size_of(&self.file)?.is_none() {
            return Err(StoreError::Gone { file: self.file.clone() });
        }
        self.connection = Some(opening::writer(&self.file, &self.network)?);
        self.wal_due_bytes = WAL_BYTES_MAX;
        match self.settle()? {
            Checkpoint::Complete => Ok(()),
            Checkpoint::Hindered => {
                self.abandon();
                Err(StoreError::Locked { file: self.file.clone() })
            }
        }
    }

    /// Closes the file in good order: once all [readers](super::Readers) are gone too, the store is a single file again. Dropping the store does the
    /// same without a word about failures.
    ///
    /// # Errors
    /// When the WAL could not be moved into the file. Nothing is lost then: the next start does it.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.rollback();
        let settled = self.settle().map(drop);
        match self.connection.take().map(Connection::close) {
            Some(Err((_, cause))) => settled.and(Err(StoreError::sqlite(&self.file, cause))),
            _ => settled,
        }
    }

    /// The connection, outside a transaction or in one.
    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::Broken { file: self.file.clone() })
    }

    /// The connection in its transaction.
    pub(super) fn transaction(&self) -> Result<&Connection, StoreError> {
        let connection = self.connection()?;
        if connection.is_autocommit() { Err(StoreError::Misuse("no transaction is open")) } else { Ok(connection) }
    }

    /// Takes note of a failure: closes the connection if it must not be used again.
    pub(super) fn noted<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::breaks_connection) {
            self.abandon();
        }
        result
    }

    /// Closes the connection and leaves the files as they are.
    fn abandon(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Should this fail, closing moves the WAL into the file, which no reader of either can tell.
            let _ = opening::checkpoint_on_close(&connection, false);
        }
    }

    fn run(&self, connection: &Connection, sql: &str) -> Result<(), StoreError> {
        let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        done.map(drop).map_err(|cause| StoreError::sqlite(&self.file, cause))
    }

    /// Moves the whole WAL into the file, syncs that, and empties the WAL.
    fn settle(&mut self) -> Result<Checkpoint, StoreError> {
        let result = self.connection().and_then(|connection| checkpoint(connection).map_err(|cause| StoreError::sqlite(&self.file, cause)));
        self.noted(result)
    }

    /// Empties the WAL if it has grown too large. It holds the transaction that was just committed, so a failure to do so
    /// leaves that as it is. But where there is no WAL any more, the files were removed, and the transaction with them.
    fn bound_wal(&mut self) -> Result<(), StoreError> {
        let bytes = match size_of(&self.wal) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.abandon();
                return Err(StoreError::Gone { file: self.file.clone() });
            }
            Err(_) => return Ok(()),
        };
        if bytes < self.wal_due_bytes {
            return Ok(());
        }
        self.set_patience(WAL_PATIENCE);
        let outcome = self.settle();
        self.set_patience(LOCK_PATIENCE);
        self.wal_due_bytes = match outcome {
            Ok(Checkpoint::Complete) => WAL_BYTES_MAX,
            Ok(Checkpoint::Hindered) => {
                tracing::warn!(file = %self.wal.display(), bytes, "The write-ahead log cannot be emptied while another program reads the store");
                bytes.saturating_add(WAL_RETRY_BYTES)
            }
            Err(error) => {
                tracing::warn!(%error, "The write-ahead log was not emptied");
                bytes.saturating_add(WAL_RETRY_BYTES)
            }
        };
        Ok(())
    }

    fn set_patience(&self, patience: Duration) {
        // It only sets a field of the connection.
        let _ = self.connection().map(|connection| connection.busy_timeout(patience));
    }
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<Checkpoint> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let (busy, frames, moved): (bool, i64, i64) = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // If only the last step was hindered, cutting the WAL to nothing, the file has everything all the same.
    Ok(if !busy || (frames >= 0 && frames == moved) { Checkpoint::Complete } else { Checkpoint::Hindered })
}

impl Store for SqliteStore {
    type Error = StoreError;

    fn get(&mut self, key: &Key) -> Result<Option<Record>, StoreError> {
        let Some(connection) = &self.connection else { return self.connection().map(|_| None) };
        let result = rows::get(connection, &mut self.authors, &self.file, key);
        self.noted(result)
    }

    fn put(&mut self, record: &Record) -> Result<(), StoreError> {
        self.transaction()?;
        let Some(connection) = &self.connection else { return self.connection().map(drop) };
        let result = rows::put(connection, &mut self.authors, &self.file, record);
        self.noted(result)
    }

    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(connection) = &self.connection else { return self.connection().map(|_| Vec::new()) };
        let result = rows::page(connection, &mut self.authors, &self.file, Which::All, (prefix, after), limit);
        self.noted(result)
    }

    fn last_timestamp(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let result = self.connection().and_then(|connection| rows::last_timestamp(connection, &self.file));
        self.noted(result)
    }

    /// Opens a transaction that other programs cannot come between. One that is open already is rolled back, with an error.
    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.connection()?.is_autocommit() {
            self.rollback();
            return Err(StoreError::Misuse("a transaction was open already"));
        }
        let result = self.connection().and_then(|connection| self.run(connection, "BEGIN IMMEDIATE"));
        self.noted(result)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let result = self.transaction().and_then(|connection| self.run(connection, "COMMIT"));
        self.noted(result)?;
        self.bound_wal()
    }

    fn rollback(&mut self) {
        // After some failures SQLite has rolled back by itself.
        let Some(connection) = self.connection.as_ref().filter(|connection| !connection.is_autocommit()) else { return };
        if self.run(connection, "ROLLBACK").is_err() {
            self.abandon();
        }
    }
}
