//! Reading beside the writer: a few connections that can do nothing else, shared by everyone who asks. Calls block, so
//! asynchronous callers put them on a thread for that.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_sync_core::{Key, Record};
use rusqlite::Connection;

use super::error::StoreError;
use super::opening;
use super::rows::{self, Authors, Which};

/// How long a caller waits for a connection to come free.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// A pool of read-only connections to the store. Cheap to clone. Each call is one statement, so that no reader holds on to an
/// old state of the file and makes the WAL grow. What is committed before a call begins is seen by it.
///
/// To be opened after the [store](super::SqliteStore), and dropped before it is closed, so that no WAL is left behind.
#[derive(Debug, Clone)]
pub struct Readers {
    pool: Arc<Pool>,
}

/// How many keys a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Keys with a value.
    pub live: u64,
    /// Keys whose last version is a deletion.
    pub deleted: u64,
}

#[derive(Debug)]
struct Pool {
    file: PathBuf,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Debug)]
struct Idle {
    readers: Vec<Reader>,
    /// Connections that were closed after a failure, and are opened again when they are needed.
    closed: usize,
}

#[derive(Debug)]
struct Reader {
    connection: Connection,
    authors: Authors,
}

impl Readers {
    /// Opens `count` connections, at least one.
    ///
    /// # Errors
    /// When the file is not a store of the supported version, or cannot be read.
    pub fn open(file: &Path, count: usize) -> Result<Self, StoreError> {
        let readers = (0..count.max(1)).map(|_| Reader::open(file)).collect::<Result<_, _>>()?;
        let idle = Mutex::new(Idle { readers, closed: 0 });
        Ok(Self { pool: Arc::new(Pool { file: file.to_owned(), idle, returned: Condvar::new() }) })
    }

    /// The version held of a key, deletions included.
    ///
    /// # Errors
    /// When the store cannot be read, or the row is damaged.
    pub fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.read(|reader, file| rows::get(&reader.connection, &mut reader.authors, file, key))
    }

    /// Up to `limit` records that have a value, in the order of their keys: those whose key starts with `prefix` and lies
    /// behind `after`. Takes time by the deletions that lie between them.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of the page is damaged.
    pub fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.read(|reader, file| rows::page(&reader.connection, &mut reader.authors, file, Which::Live, (prefix, after), limit))
    }

    /// How many keys there are. Counts them, by the narrowest index: some milliseconds for a million.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let (all, deleted) = self.read(|reader, file| rows::counts(&reader.connection, file))?;
        Ok(Counts { live: all.saturating_sub(deleted), deleted })
    }

    fn read<T>(&self, ask: impl FnOnce(&mut Reader, &Path) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut lease = self.pool.take(READER_PATIENCE)?;
        // It is put back only if it proves good, so that a panic or a failure costs a connection and not a place.
        let mut reader = lease.reader.take().map_or_else(|| Reader::open(&self.pool.file), Ok)?;
        let answer = ask(&mut reader, &self.pool.file);
        if !answer.as_ref().is_err_and(StoreError::breaks_connection) {
            lease.reader = Some(reader);
        }
        answer
    }
}

/// A place in the pool, given back when this is dropped.
struct Lease<'a> {
    pool: &'a Pool,
    /// None if a connection is to be opened here first.
    reader: Option<Reader>,
}

impl Pool {
    fn take(&self, patience: Duration) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + patience;
        let mut idle = self.lock();
        loop {
            if let Some(reader) = idle.readers.pop() {
                return Ok(Lease { pool: self, reader: Some(reader) });
            }
            if idle.closed > 0 {
                idle.closed -= 1;
                return Ok(Lease { pool: self, reader: None });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::ReadersBusy { file: self.file.clone() });
            }
            idle = self.returned.wait_timeout(idle, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing in here panics while it holds the lock, and what it guards is good after every single step.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut idle = self.pool.lock();
        match self.reader.take() {
            Some(reader) => idle.readers.push(reader),
            None => idle.closed += 1,
        }
        drop(idle);
        self.pool.returned.notify_one();
    }
}

impl Reader {
    fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: opening::reader(file)?, authors: Authors::default() })
    }
}
