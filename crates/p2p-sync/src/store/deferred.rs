//! The index of items while a bulk fills a store that held next to nothing. Its entries come in no order, so that each record of the
//! bulk would touch another page of it; made at the end, it is sorted and written once. So it is dropped with the first pages, and made
//! again when the bulk is over, when something asks by it, or when there are so many records that to make it would hold up others.
//!
//! A file that was left without it, by a crash, gets it when it is [opened](super::shape).

use rusqlite::Connection;

use super::error::StoreError;
use super::room::Load;
use super::shape;
use super::sqlite::SqliteStore;
use super::sync::ITEM_INDEX;
use super::transaction::Transaction;

/// Records that are to come at least: for fewer it is not worth it.
const COMING_MIN: u64 = 4_096;
/// Records that are held at most, one for each so many that come: what was indexed is indexed once more.
const COMING_PER_HELD: u64 = 16;
/// Records without the index at most. To make it takes the writer about a microsecond for each.
const RECORDS_MAX: u64 = 1_250_000;

/// Free bytes that the volume has at least, or the index stays: what it will take when it is made, in the file, in the log and to sort,
/// is not counted when others are asked for no more than there is room for.
const FREE_BYTES_MIN: u64 = 1024 * 1024 * 1024;

/// Says that it was us who dropped it.
const MARK: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES ('index', 'deferred')";
pub(super) const UNMARK: &str = "DELETE FROM meta WHERE name = 'index'";
pub(super) const IS_MARKED: &str = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'index')";
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'index' AND name = ?1)";

/// Whether the index of items is there, for this connection at this moment.
pub(super) fn is_there(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(IS_THERE)?
        .query_row([ITEM_INDEX], |row| row.get(0))
}

impl SqliteStore {
    /// Whether the index of items is to be [made](Self::make_index).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn lacks_index(&mut self) -> Result<bool, StoreError> {
        if let Some(is_there) = self.has_item_index {
            return Ok(!is_there);
        }
        let is_there = self.asked(is_there)?;
        self.has_item_index = Some(is_there);
        Ok(!is_there)
    }

    /// Whether there are so many records without the index that it is to be made before more come.
    ///
    /// # Errors
    /// As for [`lacks_index`](Self::lacks_index).
    pub fn defers_enough(&mut self) -> Result<bool, StoreError> {
        let records = self.summary().map_or(0, |summary| summary.count());
        Ok(records.saturating_add(self.held_records()) >= RECORDS_MAX && self.lacks_index()?)
    }

    /// Makes the index of items if it is not there, in the transaction that is [held](Transaction::hold) if one is. It takes about a
    /// second for a million records.
    ///
    /// # Errors
    /// When it cannot be written. What was held is gone then.
    pub fn make_index(&mut self) -> Result<(), StoreError> {
        if !self.lacks_index()? {
            return Ok(());
        }
        let sql = shape::index(&self.file, ITEM_INDEX)?;
        // SQLite sorts in as much memory as the cache may take.
        self.set_cache_to_sort();
        let is_held = self.holds();
        let mut transaction = Transaction::resume(self)?;
        transaction.write(|connection| connection.execute_batch(&format!("{sql}; {UNMARK}")))?;
        transaction.has_item_index = Some(true);
        if is_held {
            transaction.hold(Load::default());
            Ok(())
        } else {
            transaction.commit()
        }
    }
}

impl Transaction<'_> {
    /// Drops the index of items if so many records are to come that it is better made after them. The transaction must be one that is
    /// held.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub fn defer_index(&mut self, coming: u64) -> Result<(), StoreError> {
        let held = self.summary().map_or(u64::MAX, |summary| summary.count());
        if coming < COMING_MIN || held.saturating_mul(COMING_PER_HELD) > coming || self.lacks_index()? {
            return Ok(());
        }
        // A volume that cannot be asked reports 0 bytes in all.
        let (total, available) = self.space()?;
        if total == 0 || available < FREE_BYTES_MIN {
            return Ok(());
        }
        self.write(|connection| connection.execute_batch(&format!("DROP INDEX {ITEM_INDEX}; {MARK}")))?;
        self.has_item_index = Some(false);
        Ok(())
    }
}
