//! Reading in parallel with the writer: a few shared read-only connections. Calls block, so asynchronous callers run them
//! on a blocking thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use p2p_sync_core::text::shortened;
use p2p_sync_core::{Key, Record, Timestamp};
use rusqlite::Connection;

use super::authors::Authors;
use super::changes::KnownEpochs;
use super::error::StoreError;
use super::opening;
use super::repair;
use super::rows::{self, Which};

/// How long a caller waits for a free connection.
const READER_PATIENCE: Duration = Duration::from_secs(10);

/// A pool of read-only connections to the store. Cheap to clone. No call reads more than a page, so that no reader holds on
/// to an old state of the file for long and makes the WAL grow. A call sees everything that was committed before it began.
///
/// Open them after the [store](super::SqliteStore), and drop them before closing it, so that no WAL is left behind.
#[derive(Debug, Clone)]
pub struct Readers {
    pool: Arc<Pool>,
}

/// How many keys a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Keys with a value.
    pub live: u64,
    /// Keys whose last version is a deletion.
    pub deleted: u64,
}

#[derive(Debug)]
struct Pool {
    file: PathBuf,
    /// How many connections there are, open or not.
    places: usize,
    idle: Mutex<Idle>,
    returned: Condvar,
}

#[derive(Debug)]
struct Idle {
    readers: Vec<Reader>,
    /// Connections that were closed after a failure, and are reopened when needed.
    closed: usize,
}

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) authors: Authors,
    pub(super) epochs: KnownEpochs,
}

impl Readers {
    /// Opens `count` connections, at least one.
    ///
    /// # Errors
    /// If the file is not a store of the supported version, or cannot be read.
    pub fn open(file: &Path, count: usize) -> Result<Self, StoreError> {
        let places = count.max(1);
        let readers = (0..places).map(|_| Reader::open(file)).collect::<Result<_, _>>()?;
        let idle = Mutex::new(Idle { readers, closed: 0 });
        Ok(Self {
            pool: Arc::new(Pool {
                file: file.to_owned(),
                places,
                idle,
                returned: Condvar::new(),
            }),
        })
    }

    /// The held version of a key, which may be a deletion.
    ///
    /// # Errors
    /// If the store cannot be read, or the row is damaged, or was damaged and has been set aside.
    pub fn get(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.read(|reader, file| get(&reader.connection, &mut reader.authors, file, key))
    }

    /// Up to `limit` records that have a value, in key order: those whose key starts with `prefix` and comes after `after`.
    /// The time also depends on the number of deletions between them.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of the page is damaged.
    pub fn list(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.page(Which::Live, (prefix, after), limit)
    }

    /// The same of deletions.
    ///
    /// # Errors
    /// As for [`list`](Self::list).
    pub fn list_deleted(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.page(Which::Deleted, (prefix, after), limit)
    }

    fn page(&self, which: Which, keys: (&str, Option<&Key>), limit: usize) -> Result<Vec<Record>, StoreError> {
        self.read(|reader, file| rows::page(&reader.connection, &mut reader.authors, file, which, keys, limit))
    }

    /// How many keys that start with `prefix` have a value. Looks at each of their rows, but at no value.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn count(&self, prefix: &str) -> Result<u64, StoreError> {
        self.read(|reader, file| rows::count(&reader.connection, file, prefix))
    }

    /// How many keys there are. Counts them by the narrowest index: some milliseconds for a million.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let (all, deleted) = self.read(|reader, file| rows::counts(&reader.connection, file))?;
        Ok(Counts {
            live: all.saturating_sub(deleted),
            deleted,
        })
    }

    /// How many records are dated later than `after`, and up to `limit` of their keys, the earliest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn ahead(&self, after: Timestamp, limit: usize) -> Result<(u64, Vec<(Key, Timestamp)>), StoreError> {
        self.ask(|connection| rows::ahead(connection, after, limit))
    }

    /// Waits for all readers, closes their connections, and blocks new reads as long as the returned value is held. After
    /// that they reopen the file.
    ///
    /// # Errors
    /// If a reader was not returned in time.
    pub(super) fn pause(&self) -> Result<Paused<'_>, StoreError> {
        let mut leases = Vec::with_capacity(self.pool.places);
        while leases.len() < self.pool.places {
            let mut lease = self.pool.take(READER_PATIENCE)?;
            lease.reader = None;
            leases.push(lease);
        }
        Ok(Paused { _leases: leases })
    }

    /// The file of the store.
    pub(super) fn file(&self) -> &Path {
        &self.pool.file
    }

    pub(super) fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        self.read(|reader, file| ask(&reader.connection).map_err(|cause| StoreError::sqlite(file, cause)))
    }

    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&mut Reader, &Path) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
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

/// A slot in the pool, returned when this is dropped.
struct Lease<'a> {
    pool: &'a Pool,
    /// None if a connection must be opened first.
    reader: Option<Reader>,
}

/// Nobody reads, and no connection is open, while this is held.
pub(super) struct Paused<'a> {
    _leases: Vec<Lease<'a>>,
}

impl Pool {
    fn take(&self, patience: Duration) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + patience;
        let mut idle = self.lock();
        loop {
            if let Some(reader) = idle.readers.pop() {
                return Ok(Lease {
                    pool: self,
                    reader: Some(reader),
                });
            }
            if idle.closed > 0 {
                idle.closed -= 1;
                return Ok(Lease {
                    pool: self,
                    reader: None,
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StoreError::ReadersBusy {
                    file: self.file.clone(),
                });
            }
            idle = self
                .returned
                .wait_timeout(idle, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
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

/// The value of a key, or its deletion. One that was damaged and set aside is not taken for one that never was.
pub(super) fn get(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    key: &Key,
) -> Result<Option<Record>, StoreError> {
    let held = rows::get(connection, authors, file, key)?;
    if held.is_none() && repair::is_set_aside(connection, key).map_err(|cause| StoreError::sqlite(file, cause))? {
        return Err(StoreError::SetAside {
            file: file.to_owned(),
            key: shortened(key.as_str().as_bytes()),
        });
    }
    Ok(held)
}

impl Reader {
    pub(super) fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            connection: opening::reader(file)?,
            authors: Authors::default(),
            epochs: KnownEpochs::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, deleted, key, put, store};
    use p2p_sync_core::store::Store;

    #[test]
    fn the_values_can_go_where_they_are_needed() {
        fn shared<T: Send + Sync + 'static>() {}
        fn sent<T: Send + 'static>() {}
        shared::<Readers>();
        shared::<StoreError>();
        sent::<crate::store::SqliteStore>();
    }

    #[test]
    fn readers_see_what_was_committed_and_do_not_wait_for_the_writer() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5), deleted("b", 6), put("c", b"1", 7)]);
        let readers = Readers::open(&place.file, 2).unwrap();
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"2", 8)).unwrap();
        transaction.put(&deleted("c", 9)).unwrap();
        assert_eq!(readers.get(&key("a")).unwrap(), Some(put("a", b"1", 5)));
        assert_eq!(readers.get(&key("b")).unwrap(), Some(deleted("b", 6)));
        assert_eq!(
            readers.list("", None, 10).unwrap(),
            [put("a", b"1", 5), put("c", b"1", 7)]
        );
        assert_eq!(readers.counts().unwrap(), Counts { live: 2, deleted: 1 });
        transaction.commit().unwrap();
        assert_eq!(readers.get(&key("a")).unwrap(), Some(put("a", b"2", 8)));
        assert_eq!(readers.list("", None, 10).unwrap(), [put("a", b"2", 8)]);
        assert_eq!(readers.counts().unwrap(), Counts { live: 1, deleted: 2 });
    }

    #[test]
    fn pages_of_live_records_follow_each_other() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (0..100)
            .map(|n| format!("k/{n:02}"))
            .map(|text| {
                if text.ends_with('3') {
                    deleted(&text, 5)
                } else {
                    put(&text, b"", 5)
                }
            })
            .collect();
        store(&mut sqlite, &records);
        store(&mut sqlite, &[put("j", b"", 5), put("k0", b"", 5)]);
        let readers = Readers::open(&place.file, 1).unwrap();
        let mut listed: Vec<Record> = Vec::new();
        loop {
            let after = listed.last().map(|record| record.key.clone());
            let page = readers.list("k/", after.as_ref(), 7).unwrap();
            assert!(page.len() <= 7);
            if page.is_empty() {
                break;
            }
            listed.extend(page);
        }
        let live: Vec<_> = records
            .into_iter()
            .filter(|record| record.content.value().is_some())
            .collect();
        assert_eq!(listed, live);
    }

    #[test]
    fn a_reader_cannot_write() {
        let place = Place::new();
        let _sqlite = place.open();
        let reader = Reader::open(&place.file).unwrap();
        assert!(reader.connection.execute("DELETE FROM kv_store", []).is_err());
    }

    #[test]
    fn there_is_nothing_to_read_without_a_store() {
        let place = Place::new();
        assert_eq!(Readers::open(&place.file, 1).unwrap_err().kind(), StoreErrorKind::Io);
        assert!(!place.file.exists());
        place.shell("PRAGMA user_version = 0");
        std::fs::write(&place.file, b"").unwrap();
        assert_eq!(
            Readers::open(&place.file, 1).unwrap_err().kind(),
            StoreErrorKind::Internal
        );
    }

    #[test]
    fn many_threads_share_a_few_connections() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let readers = Readers::open(&place.file, 2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                let readers = readers.clone();
                scope.spawn(move || (0..50).for_each(|_| assert!(readers.get(&key("a")).unwrap().is_some())));
            }
        });
        let idle = readers.pool.lock();
        assert_eq!((idle.readers.len(), idle.closed), (2, 0));
    }

    #[test]
    fn a_pool_that_is_all_taken_is_told_and_comes_back() {
        let place = Place::new();
        let _sqlite = place.open();
        let readers = Readers::open(&place.file, 1).unwrap();
        let lease = readers.pool.take(Duration::ZERO).unwrap();
        let error = readers.pool.take(Duration::ZERO).err().unwrap();
        assert_eq!(error.kind(), StoreErrorKind::Busy);
        drop(lease);
        assert_eq!(readers.get(&key("a")).unwrap(), None);
    }

    #[test]
    fn a_pause_waits_for_readers_and_they_for_it() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let readers = Readers::open(&place.file, 2).unwrap();
        let lease = readers.pool.take(Duration::ZERO).unwrap();
        let paused = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| {
                let pause = readers.pause().unwrap();
                paused.store(true, Ordering::SeqCst);
                let idle = readers.pool.lock();
                assert_eq!((idle.readers.len(), idle.closed), (0, 0));
                drop(idle);
                drop(pause);
            });
            assert!(!paused.load(Ordering::SeqCst), "one reader is still out");
            drop(lease);
            pausing.join().unwrap();
        });
        assert!(paused.load(Ordering::SeqCst));
        let idle = readers.pool.lock();
        assert_eq!((idle.readers.len(), idle.closed), (0, 2), "all connections are closed");
        drop(idle);
        assert!(readers.get(&key("a")).unwrap().is_some());
    }

    #[test]
    fn a_panic_and_a_failure_cost_no_place() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let readers = Readers::open(&place.file, 1).unwrap();
        let panicked = catch_unwind(AssertUnwindSafe(|| readers.read::<()>(|_, _| panic!("on purpose"))));
        assert!(panicked.is_err());
        assert_eq!(readers.pool.lock().closed, 1);
        assert!(readers.get(&key("a")).unwrap().is_some());
        let broken = |file: &Path| StoreError::Damaged {
            file: file.to_owned(),
            why: "on purpose".to_owned(),
        };
        assert!(readers.read::<()>(|_, file| Err(broken(file))).is_err());
        assert_eq!(readers.pool.lock().closed, 1);
        assert!(readers.get(&key("a")).unwrap().is_some());
        assert_eq!(readers.pool.lock().readers.len(), 1);
    }
}
