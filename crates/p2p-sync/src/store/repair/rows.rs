//! Checks one row against its digest and indexes, and handles a mismatch: completes the row if another program wrote it,
//! sets it aside if it is damaged. `scan` decides which rows to check.

use std::time::Instant;

use p2p_sync_core::item::Item;
use p2p_sync_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use p2p_sync_core::membership::SignedRecords;
use p2p_sync_core::text::shortened;
use p2p_sync_core::{Key, Record};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::scan::ScanFound;
use crate::store::authors::Authors;
use crate::store::columns::{self, Columns};
use crate::store::error::StoreError;
use crate::store::members;
use crate::store::rows;
use crate::store::sequence::Numbers;
use crate::store::sqlite::SqliteStore;
use crate::store::table::{RowId, for_either_table};
use crate::store::transaction::Transaction;

for_either_table!(fn record_sql = "SELECT value, timestamp, author, deleted_at, seen, key, key_hash, digest, sequence, signature FROM "
    TABLE " WHERE sequence = ?1");
for_either_table!(
    /// It becomes a version of the store only now, so it takes the next number.
    fn index_sql = "UPDATE " TABLE " SET key_hash = ?2, digest = ?3, sequence = ?4, signature = ?5 WHERE sequence = ?1"
);
for_either_table!(
    /// What is left of a damaged row may be the only copy there is. One that is larger than any record is not worth its room.
    fn set_aside_sql = "INSERT INTO damaged_row (key, value, timestamp, author, deleted_at, seen, digest) \
    SELECT key, value, timestamp, author, deleted_at, seen, digest FROM " TABLE " WHERE sequence = ?1 \
    AND octet_length(key) + ifnull(octet_length(value), 0) <= ?2"
);
for_either_table!(fn remove_sql = "DELETE FROM " TABLE " WHERE sequence = ?1");
const DROP_OLDEST: &str = "DELETE FROM damaged_row WHERE number <= (SELECT MAX(number) FROM damaged_row) - ?1";
const IS_ASIDE: &str = "SELECT EXISTS (SELECT 1 FROM damaged_row WHERE key = ?1)";
/// Rows of each kind that a scan names in the log. The others are only counted.
const NAMED_MAX: usize = 20;
/// Damaged rows that are kept aside: the newest.
const ASIDE_MAX: i64 = 1_000;

/// A row compared with what stands beside it.
pub(super) struct Examined {
    /// The item that its columns give.
    pub(super) stored: Option<Item>,
    pub(super) state: RowState,
}

pub(super) enum RowState {
    Sound,
    /// Its content does not give its digest.
    Damaged(rows::Why),
    /// Its content is good, or nothing says that it is not; the columns for its item are not.
    Unindexed {
        columns: Columns,
        record: Record,
    },
    /// In a private network: all is good but its signature, which is not its author's.
    Unsigned {
        columns: Columns,
        record: Record,
    },
    /// It is no record, and another program wrote it.
    Unreadable(rows::Why),
}

/// A row, and its key made printable.
struct Found {
    examined: Examined,
    key: String,
}

/// Examines a row of [`records_sql`](super::scan::records_sql); in a private network, by the rule of its signatures too, which takes
/// some 50 µs.
pub(super) fn examine(row: &Row<'_>, authors: &mut Authors, rule: Option<SignedRecords>) -> rusqlite::Result<Examined> {
    let stored = columns::item_of(row, 6, 1, 7)?;
    let (_, record) = rows::whole(row, authors)?;
    let state = match (record, row.get_ref(7)?) {
        (Err(why), ValueRef::Null) => RowState::Unreadable(why),
        (Err(why), _) => RowState::Damaged(why),
        (Ok(mut record), digest) => {
            let columns = columns::columns(&record);
            let item = columns.item(record.timestamp);
            match digest {
                digest if !columns::vouch(digest, &columns) => {
                    RowState::Damaged("its digest does not match".to_owned())
                }
                _ if stored == Some(item) && rule.is_none_or(|rule| rule.verify(&mut record).is_ok()) => {
                    RowState::Sound
                }
                _ if stored == Some(item) => RowState::Unsigned { columns, record },
                _ => RowState::Unindexed { columns, record },
            }
        }
    };
    Ok(Examined { stored, state })
}

impl Transaction<'_> {
    /// Takes a row that was met out if it is damaged, and completes it if it lacks what makes its item. What is left of it is kept
    /// in the table `damaged_row`. False when there was nothing to do.
    ///
    /// # Errors
    /// When it cannot be read or written; the transaction must not be committed then.
    pub fn set_aside(&mut self, row: RowId) -> Result<bool, StoreError> {
        let named = self.damage_log.count(1, Instant::now()).map_or(0, |_| 1);
        let mut verified = ScanFound::default();
        self.mend_row(row, &mut verified, named)?;
        Ok(!verified.removed.is_empty() || verified.indexed > 0)
    }

    /// Looks at rows again, since they may have changed, and takes out or completes those that need it.
    pub(super) fn mend_all(&mut self, rows: &[RowId], verified: &mut ScanFound) -> Result<(), StoreError> {
        rows.iter().try_for_each(|row| self.mend_row(*row, verified, NAMED_MAX))
    }

    fn mend_row(&mut self, row: RowId, verified: &mut ScanFound, named: usize) -> Result<(), StoreError> {
        // Nothing is written where SQLite has rolled back by itself.
        self.write(|_| Ok(()))?;
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let found = look_at(connection, &mut store.authors, row);
        let found = found.map_err(|cause| StoreError::sqlite(&store.file, cause));
        let Some(mut found) = store.noted(found)? else {
            return Ok(());
        };
        found.examined.state = match found.examined.state {
            RowState::Unindexed { columns, mut record } => {
                if !store.sign_foreign(&mut record) {
                    verified.indexed += 1;
                    return self.remove_uncounted((row, &found.key), found.examined.stored, &record);
                }
                RowState::Unindexed { columns, record }
            }
            // What this device wrote it can sign again.
            RowState::Unsigned { columns, mut record } => {
                if store.sign_foreign(&mut record) {
                    RowState::Unindexed { columns, record }
                } else {
                    RowState::Damaged("its signature is not its author's".to_owned())
                }
            }
            state => state,
        };
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let mended = mend(connection, &mut store.numbers, (row, found), (verified, named));
        match mended.map_err(|cause| StoreError::sqlite(&store.file, cause)) {
            Ok(Some(Mended::Removed(Some(old)))) => store.tracker.note_removed(old),
            Ok(Some(Mended::Indexed { key, old, new })) => {
                store.tracker.note_indexed(old, new);
                match self.settle(&key) {
                    // Another row of the key is damaged. It is set aside in its turn, and the rest stays as it is until the key is written.
                    Err(error) if error.is_one_record() => {}
                    settled => settled?,
                }
            }
            Ok(_) => {}
            Err(error) => return store.noted(Err(error)),
        }
        Ok(())
    }
}

impl Transaction<'_> {
    /// Takes out a row that another program wrote into the store of a private network, in which it does not count.
    fn remove_uncounted(
        &mut self,
        (row, key): (RowId, &str),
        stored: Option<Item>,
        record: &Record,
    ) -> Result<(), StoreError> {
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let aside = members::set_record_aside(connection, &mut store.authors, record)
            .and_then(|()| connection.prepare_cached(remove_sql(row.table))?.execute([row.number]));
        let aside = aside.map_err(|cause| StoreError::sqlite(&store.file, cause));
        store.noted(aside)?;
        if let Some(old) = stored {
            store.tracker.note_removed(old);
        }
        if store.damage_log.count(1, Instant::now()).is_some() {
            tracing::warn!(
                key,
                "Another program wrote a record that does not count in this private network; moved it to the table set_aside"
            );
        }
        Ok(())
    }
}

impl SqliteStore {
    /// Whether what was held of a key proved damaged, and is kept aside.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn is_set_aside(&mut self, key: &Key) -> Result<bool, StoreError> {
        self.asked(|connection| is_set_aside(connection, key))
    }
}

/// Whether what was held of a key proved damaged, and is kept aside. Looks through the table, which is small.
pub(in crate::store) fn is_set_aside(connection: &Connection, key: &Key) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(IS_ASIDE)?
        .query_row([key.as_str()], |row| row.get(0))
}

/// Counts in the log what was not named there.
pub(super) fn log_unnamed(removed: usize, unreadable: u64) {
    let removed = removed.saturating_sub(NAMED_MAX);
    let unreadable = unreadable.saturating_sub(NAMED_MAX as u64);
    if removed > 0 || unreadable > 0 {
        tracing::warn!(
            removed,
            unreadable,
            "Removed more damaged records, or found more invalid rows from another program"
        );
    }
}

/// What was done about a row.
enum Mended {
    /// It is taken out, with the item that it had.
    Removed(Option<Item>),
    /// It is a version of the store now, with the item `new` in place of `old`.
    Indexed { key: Key, old: Option<Item>, new: Item },
}

fn look_at(
    connection: &Connection,
    authors: &mut Authors,
    RowId { table, number }: RowId,
) -> rusqlite::Result<Option<Found>> {
    let mut statement = connection.prepare_cached(record_sql(table))?;
    let mut rows = statement.query([number])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let examined = examine(row, authors, members::rule(connection)?)?;
    let key = match row.get_ref(5)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => shortened(bytes),
        _ => String::new(),
    };
    Ok(Some(Found { examined, key }))
}

fn mend(
    connection: &Connection,
    numbers: &mut Numbers,
    (RowId { table, number }, Found { examined, key }): (RowId, Found),
    (verified, named): (&mut ScanFound, usize),
) -> rusqlite::Result<Option<Mended>> {
    match examined.state {
        RowState::Sound | RowState::Unsigned { .. } => Ok(None),
        RowState::Unreadable(why) => {
            if verified.unreadable < named as u64 {
                tracing::warn!(
                    key,
                    why,
                    "Another program wrote a row that is not a valid record; it is ignored"
                );
            }
            verified.unreadable += 1;
            Ok(None)
        }
        RowState::Unindexed { columns, record } => {
            let next = numbers.take(record.timestamp)?;
            connection.prepare_cached(index_sql(table))?.execute(params![
                number,
                columns.key_hash(),
                columns.digest,
                next,
                record
                    .signature
                    .as_ref()
                    .map(|signature| signature.as_bytes().as_slice())
            ])?;
            verified.indexed += 1;
            Ok(Some(Mended::Indexed {
                old: examined.stored,
                new: columns.item(record.timestamp),
                key: record.key,
            }))
        }
        RowState::Damaged(why) => {
            let whole = i64::try_from(KEY_BYTES_MAX + VALUE_BYTES_MAX).unwrap_or(i64::MAX);
            connection
                .prepare_cached(set_aside_sql(table))?
                .execute([number, whole])?;
            connection.prepare_cached(DROP_OLDEST)?.execute([ASIDE_MAX])?;
            connection.prepare_cached(remove_sql(table))?.execute([number])?;
            if verified.removed.len() < named {
                tracing::warn!(
                    key,
                    why,
                    "Moved a damaged record to the table damaged_row; a good copy comes back if another node has one"
                );
            }
            verified.removed.push(key);
            Ok(Some(Mended::Removed(examined.stored)))
        }
    }
}
