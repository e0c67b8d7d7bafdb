//! A look at some rows of the tables, one after the other, as a check of all of them does in one go: whether each gives its digest,
//! and whether the indexes lead to it. When which rows are looked at is left to the node.

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params};

use super::rows::{RowState, examine};
use crate::store::authors::Authors;
use crate::store::deferred;
use crate::store::error::StoreError;
use crate::store::members;
use crate::store::reader::Readers;
use crate::store::sqlite::SqliteStore;
use crate::store::sync;
use crate::store::table::{RowId, Table};
use crate::store::transaction::Transaction;

/// Bytes of values after which a look ends, so that it takes some milliseconds at most.
const BYTES_MAX: usize = 1 << 20;

/// Each table is in this order, so they are merged as they are read.
const ROWS: &str = "SELECT value, timestamp, author, deleted_at, seen, key, key_hash, digest, sequence, 0, signature FROM kv_store NOT INDEXED \
    WHERE sequence > ?1 AND sequence <= ?2 \
    UNION ALL SELECT value, timestamp, author, deleted_at, seen, key, key_hash, digest, sequence, 1, signature FROM kv_conflict NOT INDEXED \
    WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3";
const HIGHEST: &str = "SELECT MAX((SELECT COALESCE(MAX(sequence), 0) FROM kv_store), \
    (SELECT COALESCE(MAX(sequence), 0) FROM kv_conflict))";
const BY_KEY: &str =
    "SELECT COUNT(*) FROM kv_store INDEXED BY sqlite_autoindex_kv_store_1 WHERE key = ?1 AND sequence = ?2";
const BY_ITEM: &str = "SELECT COUNT(*) FROM kv_store INDEXED BY kv_store_item \
    WHERE key_hash = ?1 AND timestamp = ?2 AND digest = ?3 AND sequence = ?4";
const CONFLICT_BY_KEY: &str =
    "SELECT COUNT(*) FROM kv_conflict INDEXED BY kv_conflict_key WHERE key = ?1 AND sequence = ?2";
const CONFLICT_BY_ITEM: &str = "SELECT COUNT(*) FROM kv_conflict INDEXED BY kv_conflict_item \
    WHERE key_hash = ?1 AND timestamp = ?2 AND digest = ?3 AND sequence = ?4";
/// The number of the row up to which all were looked at.
const PATROLLED: &str = "patrolled";

/// The rows of a round that are still to be looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Round {
    /// The number of the row up to which all were looked at.
    pub after: i64,
    /// The highest number when the round began; none: it begins now. New versions are new rows at the end, and a round without an
    /// end would run behind them for ever.
    pub until: Option<i64>,
}

/// What a look came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patrolled {
    /// What is left of the round: all of another one when it is over.
    pub left: Round,
    /// Those that are damaged.
    pub damaged: Vec<RowId>,
}

impl Readers {
    /// Looks at up to `rows` rows that are left of a round.
    ///
    /// # Errors
    /// When the file cannot be read, or when pages of it prove damaged: of the table, or of an index, which does not lead to a row
    /// that is there.
    pub fn patrol(&self, round: Round, rows: usize) -> Result<Patrolled, StoreError> {
        self.read(|reader, file| {
            let looked = patrol(&reader.connection, &mut reader.authors, round, rows);
            match looked.map_err(|cause| StoreError::sqlite(file, cause))? {
                Ok(patrolled) => Ok(patrolled),
                Err(index) => Err(StoreError::Damaged {
                    file: file.to_owned(),
                    why: format!("its index of {index} points to a missing row"),
                }),
            }
        })
    }
}

fn patrol(
    connection: &Connection,
    authors: &mut Authors,
    round: Round,
    rows_max: usize,
) -> rusqlite::Result<Result<Patrolled, &'static str>> {
    let mut statement = connection.prepare_cached(ROWS)?;
    let until = match round.until {
        Some(until) => until,
        None => connection.prepare_cached(HIGHEST)?.query_row([], |row| row.get(0))?,
    };
    let rows_max = i64::try_from(rows_max).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![round.after, until, rows_max])?;
    let (mut patrolled, mut bytes) = (Patrolled::default(), 0);
    let rule = members::rule(connection)?;
    while bytes < BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let id = RowId {
            table: Table::numbered(row.get(9)?),
            number: row.get(8)?,
        };
        patrolled.left = Round {
            after: id.number,
            until: Some(until),
        };
        if let ValueRef::Text(value) | ValueRef::Blob(value) = row.get_ref(0)? {
            bytes += value.len();
        }
        match examine(row, authors, rule)?.state {
            RowState::Damaged(_) | RowState::Unsigned { .. } => patrolled.damaged.push(id),
            RowState::Sound => {
                if let Some(index) = missing_from(connection, row, id)? {
                    return Ok(Err(index));
                }
            }
            RowState::Unindexed { .. } | RowState::Unreadable(_) => {}
        }
    }
    Ok(Ok(patrolled))
}

/// An index that does not lead to a sound row. It is asked in the same moment of the file.
fn missing_from(connection: &Connection, row: &Row<'_>, id: RowId) -> rusqlite::Result<Option<&'static str>> {
    let column = |index| row.get_ref(index).map(ToSqlOutput::Borrowed);
    let (key, timestamp, key_hash, digest) = (column(5)?, column(1)?, column(6)?, column(7)?);
    let leads = |sql, parameters: &[&dyn ToSql]| {
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row(parameters, |found| Ok(found.get::<_, i64>(0)? == 1))
    };
    let (by_key, by_item) = match id.table {
        Table::Values => (BY_KEY, BY_ITEM),
        Table::Conflicts => (CONFLICT_BY_KEY, CONFLICT_BY_ITEM),
    };
    Ok(if !leads(by_key, params![key, id.number])? {
        Some("keys")
    } else if !(deferred::is_there(connection)? || id.table == Table::Conflicts) {
        // It is yet to be made, of what the rows say.
        None
    } else if !leads(by_item, params![key_hash, timestamp, digest, id.number])? {
        Some("items")
    } else {
        None
    })
}

impl Transaction<'_> {
    /// Keeps the number of the row up to which all were looked at.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must not be committed then.
    pub fn keep_patrolled(&mut self, rowid: i64) -> Result<(), StoreError> {
        self.write(|connection| sync::keep_meta(connection, PATROLLED, &rowid.to_string()))
    }
}

impl SqliteStore {
    /// The number of the row up to which all were looked at, as it was last kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn patrolled(&mut self) -> Result<i64, StoreError> {
        let kept = self.asked(|connection| sync::meta(connection, PATROLLED))?;
        Ok(kept.and_then(|text| text.parse().ok()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, deleted, put, store};

    fn filled(place: &Place) -> SqliteStore {
        let mut sqlite = place.open();
        let records: Vec<_> = (1..=9).map(|n| put(&format!("key {n}"), &[b'v'; 100], n)).collect();
        store(&mut sqlite, &records);
        store(&mut sqlite, &[deleted("gone", 10)]);
        sqlite
    }

    #[test]
    fn all_rows_are_looked_at_and_the_damaged_ones_found() {
        let place = Place::new();
        let mut sqlite = filled(&place);
        let readers = Readers::open(&place.file, 1).unwrap();
        assert_eq!(readers.patrol(Round::default(), 99).unwrap().damaged.len(), 0);
        place.shell("UPDATE kv_store SET value = 'rotten' WHERE key = 'key 5'; UPDATE kv_store SET author = 'x' WHERE key = 'gone'");
        let (mut round, mut damaged, mut looks) = (Round::default(), Vec::new(), 0);
        loop {
            let patrolled = readers.patrol(round, 3).unwrap();
            round = patrolled.left;
            if round == Round::default() {
                break;
            }
            looks += 1;
            damaged.extend(patrolled.damaged);
            // What is written meanwhile belongs to the next round.
            store(&mut sqlite, &[put("new", b"v", 100 + looks)]);
        }
        assert_eq!((looks, damaged.len()), (4, 2));
        let mut transaction = sqlite.begin().unwrap();
        for rowid in &damaged {
            assert!(transaction.set_aside(*rowid).unwrap());
            assert!(!transaction.set_aside(*rowid).unwrap(), "once");
        }
        transaction.commit().unwrap();
        assert_eq!(readers.patrol(Round::default(), 99).unwrap().damaged.len(), 0);
        assert_eq!(
            place.rows("SELECT key FROM damaged_row ORDER BY number"),
            ["key 5", "gone"]
        );
    }

    #[test]
    fn a_look_at_large_values_ends_early() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (1..=30).map(|n| put(&format!("key {n}"), &[7; 65_536], n)).collect();
        store(&mut sqlite, &records);
        let readers = Readers::open(&place.file, 1).unwrap();
        let until = Some(30);
        let mut left = Round::default();
        for expected in [Round { after: 16, until }, Round { after: 30, until }, Round::default()] {
            left = readers.patrol(left, 99).unwrap().left;
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn an_index_without_a_row_is_damage_of_the_file() {
        for index in ["sqlite_autoindex_kv_store_1", "kv_store_item"] {
            let place = Place::new();
            filled(&place).close().unwrap();
            let page: i64 = {
                let connection = Connection::open(&place.file).unwrap();
                let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
                connection.query_row(sql, [index], |row| row.get(0)).unwrap()
            };
            // An empty page of an index.
            let mut bytes = std::fs::read(&place.file).unwrap();
            let at = (usize::try_from(page).unwrap() - 1) * 4_096;
            bytes[at..at + 8].copy_from_slice(&[0x0a, 0, 0, 0, 0, 0x10, 0, 0]);
            std::fs::write(&place.file, bytes).unwrap();
            let _sqlite = place.open();
            let readers = Readers::open(&place.file, 1).unwrap();
            let error = readers.patrol(Round::default(), 99).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Damaged, "{index}: {error}");
            assert!(error.is_damaged_file(), "{index}: {error}");
        }
    }

    #[test]
    fn how_far_it_came_is_kept() {
        let place = Place::new();
        let mut sqlite = filled(&place);
        assert_eq!(sqlite.patrolled().unwrap(), 0);
        let mut transaction = sqlite.begin().unwrap();
        transaction.keep_patrolled(7).unwrap();
        transaction.commit().unwrap();
        assert_eq!(sqlite.patrolled().unwrap(), 7);
    }
}
