//! A transaction that is held open while pages of a bulk arrive. Each transaction writes every page of the file that it touches, to
//! the log and then to the file, and the keys of a bulk come in no order, so that each of its pages touches most of the indexes. Many
//! of them in one transaction write what is in the file about twice, instead of thirty times.
//!
//! What others wait for is not held up: whatever else is to be written [releases](SqliteStore::release) the transaction first, so it
//! never grows beyond what this disk takes in [`RELEASE_MOST`].

use std::time::{Duration, Instant};

use super::error::StoreError;
use super::opening::WRITER_CACHE_KIB;
use super::room::{Load, reserve};
use super::sqlite::SqliteStore;
use super::transaction::Transaction;

/// How long a transaction is held at most: this much of a bulk may have to be sent again after a crash.
const HELD_FOR: Duration = Duration::from_secs(4);
/// A local write may wait this long for what is held.
const RELEASE_MOST: Duration = Duration::from_millis(400);
/// The records that are held: at first, and at least and at most whatever the disk does.
const RECORDS_FIRST: u64 = 16 * 1024;
const RECORDS_MIN: u64 = 8 * 1024;
const RECORDS_MAX: u64 = 512 * 1024;
/// What the log takes at most for them, in bytes; on a small volume this part of it.
const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
const LOG_PART_OF_VOLUME: u64 = 8;
/// The page cache meanwhile, in KiB: the indexes of some hundred thousand records.
const CACHE_KIB: i64 = 36 * 1024;
/// The same while SQLite sorts the entries of an index, which takes about twice that beside it. What it has no room for goes through
/// a temporary file.
const SORT_CACHE_KIB: i64 = 6 * 1024;

/// What is held, and how much is to be.
#[derive(Debug)]
pub(super) struct Held {
    open: Option<Open>,
    /// How many records are held before they are released.
    records_most: u64,
    /// Something that was held is gone.
    is_lost: bool,
    /// The size of the page cache, in KiB.
    cache_kib: i64,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    since: Instant,
    load: Load,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            open: None,
            records_most: RECORDS_FIRST,
            is_lost: false,
            cache_kib: WRITER_CACHE_KIB,
        }
    }
}

impl Held {
    /// It is committed.
    pub(super) fn over(&mut self) {
        self.open = None;
    }

    /// The connection is gone; another one has a cache of the usual size.
    pub(super) fn disconnected(&mut self) {
        self.lose();
        self.cache_kib = WRITER_CACHE_KIB;
    }

    /// It is rolled back.
    pub(super) fn lose(&mut self) {
        self.is_lost |= self.open.take().is_some();
    }

    /// Learns from how long a release took.
    fn adapt(&mut self, took: Duration, records: u64) {
        self.records_most = if took > RELEASE_MOST {
            (records / 2).clamp(RECORDS_MIN, RECORDS_MAX)
        } else if took < RELEASE_MOST / 2 && records >= self.records_most {
            (self.records_most * 2).min(RECORDS_MAX)
        } else {
            self.records_most
        };
    }
}

impl SqliteStore {
    /// Goes on with the transaction that is [held](Transaction::hold), or opens one.
    ///
    /// # Errors
    /// As for [`begin`](p2p_sync_core::store::Store::begin).
    pub fn resume(&mut self) -> Result<Transaction<'_>, StoreError> {
        Transaction::resume(self)
    }

    /// Whether a transaction is held.
    pub fn holds(&self) -> bool {
        self.held.open.is_some()
    }

    /// Whether the volume has room for holding one: for its log, and for moving that into the file.
    ///
    /// # Errors
    /// When the size of the volume cannot be told.
    pub fn may_hold(&self) -> Result<bool, StoreError> {
        let (total, available) = self.space()?;
        let takes = log_bytes_most(total).saturating_mul(2);
        Ok(total == 0 || available > reserve(total).saturating_add(takes))
    }

    /// Whether what is held is to be [released](Self::release) before more comes.
    ///
    /// # Errors
    /// When the size of the store or of its volume cannot be told.
    pub fn holds_enough(&self) -> Result<bool, StoreError> {
        let Some(open) = self.held.open else { return Ok(false) };
        let is_due = open.load.records >= self.held.records_most || open.since.elapsed() >= HELD_FOR;
        Ok(is_due || open.load.in_log(&self.pages()?) >= log_bytes_most(self.space()?.0))
    }

    /// How many records are held.
    pub(super) fn held_records(&self) -> u64 {
        self.held.open.map_or(0, |open| open.load.records)
    }

    /// Until when it is held at most, however little comes.
    pub fn held_until(&self) -> Option<Instant> {
        self.held.open.map(|open| open.since + HELD_FOR)
    }

    pub(super) fn note_held(&mut self, load: Load) {
        let began = Open {
            since: Instant::now(),
            load: Load::default(),
        };
        let open = self.held.open.get_or_insert(began);
        open.load.records = open.load.records.saturating_add(load.records);
        open.load.bytes = open.load.bytes.saturating_add(load.bytes);
        if load.records > 0 {
            self.set_cache(CACHE_KIB);
        }
    }

    /// Commits what is held; if nothing is, does nothing.
    ///
    /// # Errors
    /// As for [`commit`](Transaction::commit). All that was held is gone then.
    pub fn release(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.held.open else { return Ok(()) };
        let began = Instant::now();
        Transaction::resume(self)?.commit()?;
        self.held.adapt(began.elapsed(), open.load.records);
        Ok(())
    }

    /// Gives back the memory that holding took.
    pub fn rest(&mut self) {
        if !self.holds() {
            self.set_cache(WRITER_CACHE_KIB);
        }
    }

    /// Gives the page cache the size in which SQLite is to sort, until records are held or nothing is.
    pub(super) fn set_cache_to_sort(&mut self) {
        self.set_cache(SORT_CACHE_KIB);
    }

    /// Whether something that was held was rolled back since this was last asked.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.held.is_lost)
    }

    fn set_cache(&mut self, kib: i64) {
        if std::mem::replace(&mut self.held.cache_kib, kib) == kib {
            return;
        }
        // A cache of another size is slower, and no more than that.
        let _ = self.connection().map(|connection| {
            connection.pragma_update(None, "cache_size", -kib)?;
            connection.execute_batch("PRAGMA shrink_memory")
        });
    }
}

/// What the log may take on a volume of this size.
fn log_bytes_most(total: u64) -> u64 {
    match total {
        // Some file systems do not tell.
        0 => LOG_BYTES_MAX,
        total => (total / LOG_PART_OF_VOLUME).min(LOG_BYTES_MAX),
    }
}
