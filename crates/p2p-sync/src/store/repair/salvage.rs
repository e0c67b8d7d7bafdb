//! Reading a table around damage. Every row is checked on its own, so that nothing that was damaged is carried over.
//!
//! Only damage is passed over: an error that may be gone at the next attempt ends the rescue, and nothing is lost by it.
//!
//! A damaged page hides a range of row numbers. Where reading stops, rows further on are tried, at growing distances
//! until one can be read, and then at halved ones back to the first behind the damage.

use std::path::{Path, PathBuf};

use p2p_sync_core::store::Store;
use p2p_sync_core::{NetworkName, Record};
use rusqlite::{Connection, ErrorCode, Row};

use crate::store::authors::Authors;
use crate::store::directory::size_of;
use crate::store::error::StoreError;
use crate::store::migrations::{self, Found, based};
use crate::store::opening;
use crate::store::rows;
use crate::store::sqlite::SqliteStore;
use crate::store::table::{Table, for_either_table};
use crate::store::transaction::Transaction;

mod rest;

for_either_table!(fn records_sql = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, signature FROM " TABLE
    " NOT INDEXED WHERE sequence >= ?1 ORDER BY sequence");
for_either_table!(
    /// As the seventh version wrote them.
    fn unsigned_sql = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence FROM " TABLE
    " NOT INDEXED WHERE sequence >= ?1 ORDER BY sequence"
);
/// As the second version wrote them, up to the sixth.
const RECORDS_BASED: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest, rowid FROM kv_store NOT INDEXED \
    WHERE rowid >= ?1 ORDER BY rowid";
/// As the first version wrote them.
const RECORDS_FIRST: &str = "SELECT value, timestamp, author, deleted_at, base, key, NULL, rowid FROM kv_store NOT INDEXED \
    WHERE rowid >= ?1 ORDER BY rowid";
/// Versions that lost, as the second version kept them, up to the sixth.
const LOSERS: &str = "SELECT key, loser_timestamp, loser_author, loser_base, loser_value, loser_digest, number FROM conflict \
    WHERE number >= ?1 ORDER BY number";
/// The first version of the file whose records say what their authors had seen.
const SEEN_SINCE: i64 = 7;
/// The first version of the file with signatures beside the records, and with members.
const SIGNED_SINCE: i64 = 8;
/// Records written in one transaction.
const RECORDS_PER_TRANSACTION: u64 = 1_000;

/// What was copied, and what was not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Records copied.
    pub(super) records: u64,
    /// Rows that were read and proved damaged.
    pub(super) damaged: u64,
    /// Places at which rows were lost.
    pub(super) gaps: u64,
}

/// A damaged file of which at least the structure and the network could be read.
#[derive(Debug)]
pub(super) struct Damaged {
    file: PathBuf,
    connection: Connection,
    version: i64,
}

/// Opens a damaged file to be copied, and makes sure of its network, if one is given.
///
/// # Errors
/// When it cannot be told what it is, or when it is no store of this network.
pub(super) fn open(file: &Path, network: Option<&NetworkName>) -> Result<Damaged, StoreError> {
    // Of a file without a page SQLite would throw away the log.
    if size_of(file)?.unwrap_or_default() < opening::PAGE_BYTES_MIN {
        return Err(StoreError::Damaged {
            file: file.to_owned(),
            why: "it is empty".to_owned(),
        });
    }
    examined(file, opening::looking(file)?, network)
}

/// Opens what is left of a file whose end is missing. The error is the network's if it is another one.
///
/// # Errors
/// As for [`open`].
pub(super) fn open_torn(file: &Path, network: &NetworkName) -> Result<Damaged, StoreError> {
    let connection = opening::looking(file)?;
    // Otherwise SQLite reads nothing of a file that is shorter than its header says.
    let lenient = connection.pragma_update(None, "writable_schema", true);
    lenient.map_err(|cause| StoreError::sqlite(file, cause))?;
    examined(file, connection, Some(network))
}

fn examined(file: &Path, connection: Connection, network: Option<&NetworkName>) -> Result<Damaged, StoreError> {
    let Found::Store { version } = migrations::inspect(&connection, file)? else {
        return Err(StoreError::Damaged {
            file: file.to_owned(),
            why: "it is empty".to_owned(),
        });
    };
    if let Some(network) = network {
        opening::recorded_as(&connection, file, network)?;
    }
    let damaged = Damaged {
        file: file.to_owned(),
        connection,
        version,
    };
    let prepared = damaged.connection.prepare(damaged.records()).map(drop);
    prepared.map_err(|cause| StoreError::sqlite(file, cause))?;
    Ok(damaged)
}

impl Damaged {
    fn records(&self) -> &'static str {
        match self.version {
            SEEN_SINCE.. => self.versions(Table::Values),
            2.. => RECORDS_BASED,
            _ => RECORDS_FIRST,
        }
    }

    fn versions(&self, table: Table) -> &'static str {
        if self.version >= SIGNED_SINCE {
            records_sql(table)
        } else {
            unsigned_sql(table)
        }
    }

    /// The record in a row, if its content gives the digest beside it, or if there is none.
    fn record(&self, row: &Row<'_>, authors: &mut Authors) -> Option<Record> {
        let digest = row.get_ref(6).ok()?;
        if self.version >= SEEN_SINCE {
            let (_, record) = rows::whole(row, authors).ok()?;
            return rows::proved(record, digest).ok();
        }
        let based = based::whole(row, authors).ok()?.ok()?;
        based.is_vouched_for(digest).then_some(based.record)
    }

    /// What was read; none of it if that is damaged.
    fn undamaged<T>(&self, read: rusqlite::Result<T>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(cause) if is_damage(&cause) => Ok(None),
            Err(cause) => Err(StoreError::sqlite(&self.file, cause)),
        }
    }
}

/// Whether an error says what the file is like, so that it would be the same at the next attempt.
fn is_damage(cause: &rusqlite::Error) -> bool {
    match cause.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::SystemIoFailure
                // A length in a row that no row has.
                | ErrorCode::TooBig
                // A table that is not there.
                | ErrorCode::Unknown
        ),
        // A value is not of the type that it ought to be.
        None => true,
    }
}

/// Copies what is sound into a new file, and closes both.
///
/// # Errors
/// When nothing could be read, when reading failed for another reason than damage, or when the new file cannot be written.
pub(super) fn copy(old: Damaged, file: &Path, fresh: &Path, network: &NetworkName) -> Result<Tally, StoreError> {
    let mut store = SqliteStore::open(fresh, network)?;
    // The caller syncs the whole file before it counts for anything.
    store.asked(|connection| connection.pragma_update(None, "synchronous", "OFF"))?;
    let tally = copy_records(&old, &mut store)?;
    if tally.records == 0 && tally.gaps + tally.damaged > 0 {
        return Err(StoreError::Damaged {
            file: file.to_owned(),
            why: "none of its records can be read".to_owned(),
        });
    }
    let mut transaction = store.begin()?;
    let copied = rest::copy(&old, &mut transaction);
    match copied.and_then(|()| transaction.commit()) {
        // Those that the new file will not take are not worth a failure.
        Err(StoreError::Sqlite { cause, .. })
            if cause.0.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
        {
            tracing::warn!(%cause, "Cannot copy known addresses");
        }
        other => other?,
    }
    drop(old);
    store.close()?;
    Ok(tally)
}

fn copy_records(old: &Damaged, store: &mut SqliteStore) -> Result<Tally, StoreError> {
    let mut copy = Copy {
        authors: Authors::default(),
        tally: Tally::default(),
        written: 0,
        transaction: store.begin()?,
    };
    let gaps = each_row(old, old.records(), 7, |row| {
        let record = old.record(row, &mut copy.authors);
        copy.take(record)
    })?;
    copy.tally.gaps = gaps;
    // What of the conflicts is lost is held by other nodes too, and is told apart from lost records.
    let conflicts = match old.version {
        SEEN_SINCE.. => each_row(old, old.versions(Table::Conflicts), 7, |row| {
            let record = old.record(row, &mut copy.authors);
            copy.take_conflict(record)
        })?,
        2.. => each_row(old, LOSERS, 6, |row| {
            let loser = based::loser(row, &mut copy.authors).unwrap_or_default();
            copy.take_conflict(loser)
        })?,
        _ => 0,
    };
    if conflicts > 0 {
        tracing::warn!(gaps = conflicts, "Cannot copy some conflicts");
    }
    copy.transaction.commit()?;
    Ok(copy.tally)
}

/// Records on their way into a new file.
struct Copy<'a> {
    authors: Authors,
    tally: Tally,
    /// In the open transaction.
    written: u64,
    transaction: Transaction<'a>,
}

impl Copy<'_> {
    /// Takes the record of a row; none: it is damaged.
    fn take(&mut self, record: Option<Record>) -> Result<(), StoreError> {
        let Some(record) = record else {
            self.tally.damaged += 1;
            return Ok(());
        };
        // A damaged index lets a key into the table twice.
        let held = self.transaction.get(&record.key)?;
        if held.is_none() {
            self.tally.records += 1;
        }
        if held.is_none_or(|held| record.precedence(&held).is_gt()) {
            self.transaction.put(&record)?;
        }
        self.note_written()
    }

    /// Takes a version that lost. Where the one that won is lost, it is the value until that comes back from another node.
    fn take_conflict(&mut self, record: Option<Record>) -> Result<(), StoreError> {
        let Some(record) = record else { return Ok(()) };
        let before = self.transaction.versions(&record.key)?;
        let mut after = before.clone();
        if after.merge(&record).merge.stores_incoming() {
            self.transaction.replace(&before, &after)?;
        }
        self.note_written()
    }

    fn note_written(&mut self) -> Result<(), StoreError> {
        self.written += 1;
        if self.written >= RECORDS_PER_TRANSACTION {
            self.written = 0;
            self.transaction.save()?;
        }
        Ok(())
    }
}

/// How reading came to an end.
enum End {
    /// There are no more rows.
    All,
    /// No row can be read from this number on.
    Damage { from: i64 },
}

/// Hands over every row that can be read, of a statement that gives those from a row number on, in order, with the number in
/// the column `rowid`. Tells at how many places rows were lost.
///
/// # Errors
/// Those of `take`, and what may be gone at the next attempt.
fn each_row(
    old: &Damaged,
    sql: &str,
    rowid: usize,
    mut take: impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let mut gaps = 0;
    let mut from = i64::MIN;
    loop {
        match run(old, sql, rowid, from, &mut take)? {
            End::All => return Ok(gaps),
            End::Damage { from: lost } => {
                gaps += 1;
                // SQLite itself numbers rows from 1 on.
                match behind(lost.max(1), |probe| can_read(old, sql, rowid, probe))? {
                    Some(next) => from = next,
                    None => return Ok(gaps),
                }
            }
        }
    }
}

fn run(
    old: &Damaged,
    sql: &str,
    rowid: usize,
    from: i64,
    take: &mut impl FnMut(&Row<'_>) -> Result<(), StoreError>,
) -> Result<End, StoreError> {
    let mut next = from;
    let Some(mut statement) = old.undamaged(old.connection.prepare_cached(sql))? else {
        return Ok(End::Damage { from });
    };
    let Some(mut rows) = old.undamaged(statement.query([from]))? else {
        return Ok(End::Damage { from });
    };
    loop {
        let row = match old.undamaged(rows.next())? {
            Some(Some(row)) => row,
            Some(None) => return Ok(End::All),
            None => return Ok(End::Damage { from: next }),
        };
        // A page that stands in two places would let reading go round for ever.
        let number = row.get::<_, i64>(rowid).ok().filter(|number| *number >= next);
        let Some(after) = number.and_then(|number| number.checked_add(1)) else {
            return Ok(End::Damage { from: next });
        };
        take(row)?;
        next = after;
    }
}

/// Whether the first row from this number on can be read, or there is none.
fn can_read(old: &Damaged, sql: &str, rowid: usize, from: i64) -> Result<bool, StoreError> {
    let read = || -> rusqlite::Result<bool> {
        let mut statement = old.connection.prepare_cached(sql)?;
        let mut rows = statement.query([from])?;
        match rows.next()? {
            Some(row) => Ok(row.get::<_, i64>(rowid)? >= from),
            None => Ok(true),
        }
    };
    Ok(old.undamaged(read())?.unwrap_or(false))
}

/// The first number behind `lost` that can be read, found at doubled distances and then at halved ones.
fn behind(lost: i64, can_read: impl Fn(i64) -> Result<bool, StoreError>) -> Result<Option<i64>, StoreError> {
    let mut bad = lost;
    let mut step = 1_i64;
    let mut good = loop {
        let Some(probe) = lost.checked_add(step) else {
            return Ok(None);
        };
        if can_read(probe)? {
            break probe;
        }
        bad = probe;
        let Some(doubled) = step.checked_mul(2) else {
            return Ok(None);
        };
        step = doubled;
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if can_read(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Some(good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, put, store};

    #[test]
    fn the_first_row_behind_the_damage_is_found() {
        for (from, to) in [(1, 2), (1, 3), (5, 6), (5, 100), (7, 123_456), (1, i64::MAX / 2)] {
            let asked = std::cell::Cell::new(0);
            let found = behind(from, |probe| {
                asked.set(asked.get() + 1);
                Ok(probe >= to)
            });
            assert_eq!(found.unwrap(), Some(to));
            assert!(asked.get() < 130, "{}", asked.get());
        }
        assert_eq!(behind(1, |_| Ok(false)).unwrap(), None);
        assert_eq!(behind(i64::MAX, |_| Ok(true)).unwrap(), None);
    }

    #[test]
    fn an_error_that_may_pass_costs_no_row() {
        const RECORDS: i64 = 500;
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (1..=RECORDS).map(|n| put(&format!("key {n}"), b"value", n)).collect();
        store(&mut sqlite, &records);
        sqlite.close().unwrap();
        let before = place.content();
        let fresh = Place::new();
        let copy_failing_at = |question: u64| {
            let mut old = open(&place.file, None).unwrap();
            let mut asked = 0;
            let fail = move || {
                asked += 1;
                asked == question
            };
            old.connection.progress_handler(100, Some(fail)).unwrap();
            let _ = std::fs::remove_file(&fresh.file);
            copy(old, &place.file, &fresh.file, &NetworkName::default())
        };
        let error = copy_failing_at(20).unwrap_err();
        assert!(matches!(error, StoreError::Sqlite { .. }), "{error}");
        assert_eq!(place.content(), before);
        assert_eq!(copy_failing_at(0).unwrap().records, RECORDS as u64);
    }

    #[test]
    fn tables_that_are_gone_cost_no_record() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        sqlite.close().unwrap();
        place.shell("DROP TABLE kv_conflict; DROP TABLE peer_address; DELETE FROM meta WHERE name = 'unshared_after'");
        let old = open(&place.file, None).unwrap();
        let fresh = Place::new();
        assert_eq!(
            copy(old, &place.file, &fresh.file, &NetworkName::default())
                .unwrap()
                .records,
            1
        );
    }
}
