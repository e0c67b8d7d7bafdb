//! The writer's write-ahead log: checkpointed when the file is opened or closed, and emptied before it grows too large.
//! `sqlite` decides when a transaction is committed.

use std::path::Path;
use std::time::Duration;

use p2p_sync_core::Record;
use rusqlite::Connection;

use super::directory::size_of;
use super::error::StoreError;
use super::sqlite::SqliteStore;

/// WAL size at which the writer stops to empty it, in bytes. SQLite does that by itself at 4 MiB, but only in moments
/// without any reader, and such a moment may never come.
pub(super) const WAL_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The same on a small volume: this part of it, but no less than [`WAL_BYTES_MIN`].
const WAL_PART_OF_VOLUME: u64 = 48;
const WAL_BYTES_MIN: u64 = 512 * 1024;
/// How much the WAL grows before the next attempt, after one that a reader of another program did not let through.
const WAL_RETRY_BYTES: u64 = 8 * 1024 * 1024;
/// How long that attempt waits for readers. Ours are done sooner.
const WAL_PATIENCE: Duration = Duration::from_millis(250);

/// By how much it may have grown before it is measured again: asking the system each time has its price, see `presence`.
const MEASURE_BYTES: u64 = 1024 * 1024;
/// A guess at what the WAL takes for a record beyond its key and value: a page of the table and of each index.
const PAGES_BYTES: u64 = 5 * 4_096;

/// About how large the WAL is.
#[derive(Debug)]
pub(super) struct WalSize {
    measured: u64,
    /// About how much was written since.
    since: u64,
    /// The size at which it is to be emptied.
    most: u64,
    /// At which size it is emptied next.
    due: u64,
}

impl WalSize {
    /// On a small volume less of a log is a good part of all the room.
    pub(super) fn on_volume_of(file: &Path) -> Self {
        let total = fs4::statvfs(file).map_or(0, |volume| volume.total_space());
        let most = match total {
            // Some file systems do not tell.
            0 => WAL_BYTES_MAX,
            total => (total / WAL_PART_OF_VOLUME).clamp(WAL_BYTES_MIN, WAL_BYTES_MAX),
        };
        Self {
            measured: 0,
            since: MEASURE_BYTES,
            most,
            due: most,
        }
    }

    /// By how much it may have grown before it is measured again.
    fn measured_every(&self) -> u64 {
        MEASURE_BYTES.min(self.most / 2)
    }

    /// A record was written.
    pub(super) fn note_put(&mut self, record: &Record) {
        let value = record.content.value().map_or(0, |value| value.as_bytes().len());
        let bytes = (record.key.as_str().len() + value) as u64;
        self.since = self.since.saturating_add(bytes + PAGES_BYTES);
    }

    /// A guess, rather too high than too low, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.measured.saturating_add(self.since)
    }
}

/// What an attempt to move the whole WAL into the file came to.
pub(super) enum Checkpoint {
    /// All of it is in the file.
    Complete,
    /// A reader still needs some of it.
    Hindered,
}

impl SqliteStore {
    /// Moves the whole WAL into the file, syncs that, and empties the WAL.
    pub(super) fn settle(&mut self) -> Result<Checkpoint, StoreError> {
        self.release()?;
        self.overwriting.note_settled();
        let result = self
            .connection()
            .and_then(|connection| checkpoint(connection).map_err(|cause| StoreError::sqlite(&self.file, cause)));
        self.noted(result)
    }

    /// Empties the WAL if it has grown too large. It holds the transaction that was just committed, so a failure to do so
    /// leaves that as it is.
    pub(super) fn bound_wal(&mut self) {
        // What is written beside the records.
        self.wal_size.since = self.wal_size.since.saturating_add(PAGES_BYTES);
        if self.wal_size.since < self.wal_size.measured_every() {
            return;
        }
        let Ok(bytes) = self.measure_wal() else { return };
        if bytes < self.wal_size.due {
            return;
        }
        let scanning = self.is_scanning();
        self.wal_size.due = match self.settle_soon() {
            Ok(Checkpoint::Complete) => self.wal_size.most,
            Ok(Checkpoint::Hindered) if scanning => bytes.saturating_add(WAL_RETRY_BYTES),
            Ok(Checkpoint::Hindered) => {
                tracing::warn!(file = %self.wal.display(), bytes, "The write-ahead log cannot be emptied while another program reads the store");
                bytes.saturating_add(WAL_RETRY_BYTES)
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot empty the write-ahead log");
                bytes.saturating_add(WAL_RETRY_BYTES)
            }
        };
    }

    fn measure_wal(&mut self) -> Result<u64, StoreError> {
        let bytes = size_of(&self.wal)?.unwrap_or_default();
        (self.wal_size.measured, self.wal_size.since) = (bytes, 0);
        Ok(bytes)
    }

    /// Gives the room of the WAL back to the volume, unless a reader needs it. On a small volume that is a good part of it.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is lost then.
    pub fn empty_wal(&mut self) -> Result<(), StoreError> {
        if self.measure_wal()? == 0 {
            return Ok(());
        }
        self.settle_soon().map(drop)
    }

    /// Like [`settle`](Self::settle), but does not wait long for readers.
    fn settle_soon(&mut self) -> Result<Checkpoint, StoreError> {
        // A scan of ours takes longer than anybody should wait.
        self.set_patience(if self.is_scanning() {
            Duration::ZERO
        } else {
            WAL_PATIENCE
        });
        let outcome = self.settle();
        self.set_patience(self.patience());
        // If it cannot be told now, it is asked again later.
        let _ = self.measure_wal();
        outcome
    }

    pub(super) fn set_patience(&self, patience: Duration) {
        // It only sets a field of the connection.
        let _ = self.connection().map(|connection| connection.busy_timeout(patience));
    }
}

/// The sizes of what stands at the head of the log, and of what stands before each page in it, in bytes.
pub(super) const HEADER_BYTES: u64 = 32;
pub(super) const FRAME_HEADER_BYTES: u64 = 24;

/// How many pages the log holds, and how many of them are in the file as well. Moves nothing; fails within a transaction.
pub(super) fn frames(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?;
    let (frames, moved): (i64, i64) = statement.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok((frames.max(0).unsigned_abs(), moved.max(0).unsigned_abs()))
}

fn checkpoint(connection: &Connection) -> rusqlite::Result<Checkpoint> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")?;
    let (busy, frames, moved): (bool, i64, i64) =
        statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // If only the last step was hindered, cutting the WAL to nothing, the file has everything all the same.
    Ok(if !busy || (frames >= 0 && frames == moved) {
        Checkpoint::Complete
    } else {
        Checkpoint::Hindered
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::Readers;
    use crate::store::testing::{Place, put, store};

    /// Writes until `written` bytes went through, and gives the largest size that the WAL had.
    fn largest_wal(sqlite: &mut SqliteStore, written: u64) -> u64 {
        let mut largest = 0;
        for n in 0..i64::try_from(written.div_ceil(8 * 65_536)).unwrap() {
            // SQLite writes no page that stays as it was.
            let value = n.to_le_bytes().repeat(65_536 / 8);
            let records = [0, 1, 2, 3, 4, 5, 6, 7].map(|key| put(&format!("key {key}"), &value, n + 1));
            store(sqlite, &records);
            largest = largest.max(size_of(&sqlite.wal).unwrap().unwrap());
        }
        largest
    }

    #[test]
    fn readers_that_never_pause_do_not_make_the_wal_grow() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 4).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        assert!(readers.list("key", None, 8).unwrap().len() <= 8);
                    }
                });
            }
            let largest = largest_wal(&mut sqlite, 4 * WAL_BYTES_MAX);
            done.store(true, Ordering::Relaxed);
            // On a busy machine an attempt may wait in vain for a reader that the system does not let run.
            let missed = 2 * WAL_RETRY_BYTES;
            assert!(largest <= WAL_BYTES_MAX + missed + 2 * 1024 * 1024, "{largest}");
        });
    }

    #[test]
    fn a_program_that_reads_for_hours_slows_nothing_down_and_the_wal_shrinks_after_it() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let other = rusqlite::Connection::open(&place.file).unwrap();
        other.execute_batch("BEGIN; SELECT * FROM kv_store").unwrap();
        let grown = largest_wal(&mut sqlite, WAL_BYTES_MAX + 2 * WAL_RETRY_BYTES);
        assert!(grown > WAL_BYTES_MAX + WAL_RETRY_BYTES, "{grown}");
        other.execute_batch("COMMIT").unwrap();
        largest_wal(&mut sqlite, WAL_RETRY_BYTES);
        let kept = size_of(&sqlite.wal).unwrap().unwrap();
        assert!(kept < WAL_RETRY_BYTES + 2 * 1024 * 1024, "{kept}");
    }
}
