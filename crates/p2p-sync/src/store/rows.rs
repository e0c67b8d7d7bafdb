//! How `kv_store` stores records: the statements, conversion between rows and records, and the key range of a prefix. The
//! writer and the readers share this; they manage connections and transactions. No statement here compares versions.

use std::path::Path;

use p2p_sync_core::item::Item;
use p2p_sync_core::text::shortened;
use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Signature, Timestamp, Value};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, StatementStatus, params};

use super::authors::Authors;
use super::columns::{columns, columns_of, item_of, vouch};
use super::error::StoreError;
use super::seen;
use super::table::RowId;

const GET: &str = "SELECT value, timestamp, author, deleted_at, seen, key_hash, digest, sequence, signature \
    FROM kv_store WHERE key = ?1";
/// A version that replaces another is a new row at the end, and never one in the place of a row of another key.
const PUT: &str = "INSERT INTO kv_store (sequence, key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
    ON CONFLICT (key) DO UPDATE SET sequence = excluded.sequence, value = excluded.value, timestamp = excluded.timestamp, author = excluded.author, \
    deleted_at = excluded.deleted_at, seen = excluded.seen, key_hash = excluded.key_hash, digest = excluded.digest, \
    signature = excluded.signature";
/// The same, where there is no version of the key.
const INSERT: &str = "INSERT INTO kv_store (sequence, key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (key) DO NOTHING";
const ITEM: &str = "SELECT key_hash, timestamp, digest FROM kv_store WHERE key = ?1";
const COUNT: &str = "SELECT (SELECT COUNT(*) FROM kv_store), \
    (SELECT COUNT(*) FROM kv_store WHERE deleted_at IS NOT NULL)";

macro_rules! page {
    ($condition:literal) => {
        concat!(
            "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, signature FROM kv_store WHERE ",
            $condition,
            " ORDER BY key LIMIT ?2"
        )
    };
}
// One statement for each case, so that both ends of the range are found in the index whatever the planner thinks.
const ALL_TO_END: &str = page!("key >= ?1");
const ALL_BELOW: &str = page!("key >= ?1 AND key < ?3");
const LIVE_TO_END: &str = page!("key >= ?1 AND deleted_at IS NULL");
const LIVE_BELOW: &str = page!("key >= ?1 AND key < ?3 AND deleted_at IS NULL");
const DELETED_TO_END: &str = page!("key >= ?1 AND deleted_at IS NOT NULL");
const DELETED_BELOW: &str = page!("key >= ?1 AND key < ?3 AND deleted_at IS NOT NULL");

const COUNT_TO_END: &str = "SELECT COUNT(*) FROM kv_store WHERE key >= ?1 AND deleted_at IS NULL";
const COUNT_BELOW: &str = "SELECT COUNT(*) FROM kv_store WHERE key >= ?1 AND key < ?2 AND deleted_at IS NULL";

/// Records made room for before the first one was read.
const PAGE_CAPACITY: usize = 256;

/// The records of a page to be read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    All,
    Live,
    Deleted,
}

/// The version held of a key, deletions included.
pub(super) fn get(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    key: &Key,
) -> Result<Option<Record>, StoreError> {
    Ok(get_with_item(connection, authors, file, key)?.map(|(record, _)| record))
}

/// The version held of a key, deletions included, and its item as it stands beside it: none where another program wrote
/// the row.
pub(super) fn get_with_item(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    key: &Key,
) -> Result<Option<(Record, Option<Item>)>, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let mut statement = connection.prepare_cached(GET).map_err(failed)?;
    let mut rows = statement.query([key.as_str()]).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else {
        return Ok(None);
    };
    let digest = row.get_ref(6).map_err(failed)?;
    let record = match proved(record(row, authors, key.clone()), digest) {
        Ok(record) => record,
        Err(why) => {
            let row = RowId::value(row.get(7).map_err(failed)?);
            return Err(damaged(file, key.as_str().as_bytes(), (row, digest), why));
        }
    };
    let item = item_of(row, 5, 1, 6).map_err(failed)?;
    Ok(Some((record, item)))
}

/// The item of a key's row as it stands there; none where there is no row, or where another program wrote it.
pub(super) fn item(connection: &Connection, file: &Path, key: &Key) -> Result<Option<Item>, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let mut statement = connection.prepare_cached(ITEM).map_err(failed)?;
    let mut rows = statement.query([key.as_str()]).map_err(failed)?;
    let item = match rows.next().map_err(failed)? {
        Some(row) => item_of(row, 0, 1, 2),
        None => Ok(None),
    };
    item.map_err(failed)
}

/// Holds this version in place of any other of its key, under the next number. Gives its item.
pub(super) fn put(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    number: i64,
    record: &Record,
) -> Result<Item, StoreError> {
    write(connection, PUT, authors, number, record).map_err(|cause| StoreError::sqlite(file, cause))
}

/// Holds this version, under the next number, if there is no row of its key. Gives its item if so.
pub(super) fn insert(
    connection: &Connection,
    authors: &mut Authors,
    number: i64,
    record: &Record,
) -> rusqlite::Result<Option<Item>> {
    let item = write(connection, INSERT, authors, number, record)?;
    Ok((connection.changes() > 0).then_some(item))
}

/// Writes a version with a statement whose parameters are the columns sequence, key, value, timestamp, author, deleted_at, seen,
/// key_hash, digest and signature. Gives its item.
pub(super) fn write(
    connection: &Connection,
    sql: &str,
    authors: &mut Authors,
    number: i64,
    record: &Record,
) -> rusqlite::Result<Item> {
    let timestamp = record.timestamp.as_nanos();
    let deleted_at = matches!(record.content, Content::Deleted).then_some(timestamp);
    let columns = columns(record);
    connection.prepare_cached(sql)?.execute(params![
        number,
        record.key.as_str(),
        StoredContent(&record.content),
        timestamp,
        authors.text(record.author),
        deleted_at,
        seen::column(record),
        columns.key_hash(),
        columns.digest,
        record
            .signature
            .as_ref()
            .map(|signature| signature.as_bytes().as_slice()),
    ])?;
    Ok(columns.item(record.timestamp))
}

/// The record in a row whose first columns are value, timestamp, author, deleted_at, seen and key, and the last one the signature;
/// with the key for messages.
pub(super) fn whole<'row>(
    row: &'row Row<'_>,
    authors: &mut Authors,
) -> rusqlite::Result<(&'row [u8], Result<Record, Why>)> {
    let (bytes, key) = key_of(row, 5)?;
    Ok((bytes, key.and_then(|key| record(row, authors, key))))
}

/// Up to `limit` records in the order of their keys: those whose key starts with `prefix` and lies behind `after`.
pub(super) fn page(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    which: Which,
    (prefix, after): (&str, Option<&Key>),
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let (from, below) = (lower_bound(prefix, after), upper_bound(prefix));
    let rows_max = i64::try_from(limit).unwrap_or(i64::MAX);
    let sql = match (which, &below) {
        (Which::All, None) => ALL_TO_END,
        (Which::All, Some(_)) => ALL_BELOW,
        (Which::Live, None) => LIVE_TO_END,
        (Which::Live, Some(_)) => LIVE_BELOW,
        (Which::Deleted, None) => DELETED_TO_END,
        (Which::Deleted, Some(_)) => DELETED_BELOW,
    };
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let mut rows = match &below {
        None => statement.query(params![from, rows_max]),
        Some(below) => statement.query(params![from, rows_max, below]),
    }
    .map_err(failed)?;
    let mut records = Vec::with_capacity(limit.min(PAGE_CAPACITY));
    while let Some(row) = rows.next().map_err(failed)? {
        let (bytes, record) = whole(row, authors).map_err(failed)?;
        let digest = row.get_ref(6).map_err(failed)?;
        match proved(record, digest) {
            Ok(record) => records.push(record),
            Err(why) => {
                let row = RowId::value(row.get(7).map_err(failed)?);
                return Err(damaged(file, bytes, (row, digest), why));
            }
        }
    }
    Ok(records)
}

/// How many records that have a value have a key that starts with `prefix`.
pub(super) fn count(connection: &Connection, file: &Path, prefix: &str) -> Result<u64, StoreError> {
    let count: rusqlite::Result<i64> = match upper_bound(prefix) {
        None => connection
            .prepare_cached(COUNT_TO_END)
            .and_then(|mut statement| statement.query_row([prefix], |row| row.get(0))),
        Some(below) => connection
            .prepare_cached(COUNT_BELOW)
            .and_then(|mut statement| statement.query_row([prefix, &below], |row| row.get(0))),
    };
    Ok(count.map_err(|cause| StoreError::sqlite(file, cause))?.unsigned_abs())
}

/// How many rows there are, and how many of them are deletions, at one moment.
pub(super) fn counts(connection: &Connection, file: &Path) -> Result<(u64, u64), StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let mut statement = connection.prepare_cached(COUNT).map_err(failed)?;
    let (all, deleted): (i64, i64) = statement
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed)?;
    Ok((all.unsigned_abs(), deleted.unsigned_abs()))
}

/// Prepares every statement, so that a table that was changed by hand is noticed when the file is opened.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    [
        GET,
        PUT,
        INSERT,
        ITEM,
        COUNT,
        ALL_TO_END,
        ALL_BELOW,
        LIVE_TO_END,
        LIVE_BELOW,
    ]
    .iter()
    .try_for_each(|sql| connection.prepare_cached(sql).map(drop))
}

/// Rows that these statements and those for single records passed over in scans, since the connection was opened.
pub(super) fn scan_steps(connection: &Connection, others: &[&str]) -> rusqlite::Result<i64> {
    let steps = [GET, PUT, INSERT, ITEM].iter().chain(others).map(|sql| {
        let statement = connection.prepare_cached(sql)?;
        Ok(i64::from(statement.get_status(StatementStatus::FullscanStep)))
    });
    steps.sum()
}

/// A value as text where that can be read in any SQLite shell, as bytes where it cannot, nothing for a deletion.
struct StoredContent<'a>(&'a Content);

impl ToSql for StoredContent<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0.value().map(Value::as_bytes) {
            None => ValueRef::Null,
            // Text that holds a NUL is cut off there by most of what prints it.
            Some(bytes) if std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0) => ValueRef::Text(bytes),
            Some(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// What is wrong with a row.
pub(super) type Why = String;

/// The record in the first five columns of a row, and its signature in the last one.
pub(super) fn record(row: &Row<'_>, authors: &mut Authors, key: Key) -> Result<Record, Why> {
    record_by(row, authors, key, seen::read)
}

/// The same, where something else says what its author had seen.
pub(super) fn record_by(
    row: &Row<'_>,
    authors: &mut Authors,
    key: Key,
    seen: fn(ValueRef<'_>, Timestamp, &NodeId) -> Result<Seen, Why>,
) -> Result<Record, Why> {
    let column = |index| row.get_ref(index).map_err(|error| error.to_string());
    let timestamp = timestamp(column(1)?)?;
    let author = match column(2)? {
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|text| authors.id(text)),
        _ => None,
    };
    let author = author.ok_or("the author is not a peer id")?;
    let content = match (column(3)?, column(0)?) {
        (ValueRef::Null, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
            Content::Put(Value::new(bytes).map_err(|error| error.to_string())?)
        }
        (ValueRef::Null, ValueRef::Null) => return Err("it has neither a value nor a deletion time".to_owned()),
        (ValueRef::Null, _) => return Err("the value is a number".to_owned()),
        (ValueRef::Integer(at), ValueRef::Null) if at == timestamp.as_nanos() => Content::Deleted,
        (_, ValueRef::Null) => return Err("the deletion time differs from the timestamp".to_owned()),
        (_, _) => return Err("it has both a value and a deletion time".to_owned()),
    };
    let seen = seen(column(4)?, timestamp, &author)?;
    // In the rows of an open network there is none.
    let signature = match column(row.as_ref().column_count().saturating_sub(1))? {
        ValueRef::Blob(bytes) => bytes.try_into().ok().map(Signature::claimed),
        _ => None,
    };
    Ok(Record {
        key,
        content,
        timestamp,
        author,
        seen,
        signature,
    })
}

pub(super) fn timestamp(column: ValueRef<'_>) -> Result<Timestamp, Why> {
    match column {
        ValueRef::Integer(nanos) => {
            Timestamp::from_nanos(nanos).map_err(|_| "the timestamp is zero or negative".to_owned())
        }
        _ => Err("the timestamp is not a number".to_owned()),
    }
}

/// The bytes of a row's key, for messages, and the key if it is one.
pub(super) fn key_of<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<(&'row [u8], Result<Key, Why>)> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) => (bytes, text_key(bytes)),
        ValueRef::Blob(bytes) => (bytes, Err("the key is not text".to_owned())),
        _ => (b"", Err("the key is not text".to_owned())),
    })
}

pub(super) fn text_key(bytes: &[u8]) -> Result<Key, Why> {
    let text = std::str::from_utf8(bytes).map_err(|_| "the key is not UTF-8".to_owned())?;
    Key::new(text).map_err(|error| error.to_string())
}

/// The record, if its content gives the digest that stands beside it, or if none does. Of a record with that digest the signature
/// was verified before it was written.
pub(super) fn proved(record: Result<Record, Why>, digest: ValueRef<'_>) -> Result<Record, Why> {
    let mut record = record?;
    let whole = record.digest();
    if vouch(digest, &columns_of(&record, &whole)) {
        if let (ValueRef::Blob(_), Some(signature)) = (digest, &record.signature) {
            record.signature = Some(Signature::verified(*signature.as_bytes(), whole));
        }
        Ok(record)
    } else {
        Err("its digest does not match".to_owned())
    }
}

/// The error for this row, with that digest.
pub(super) fn damaged(file: &Path, key: &[u8], (row, digest): (RowId, ValueRef<'_>), why: Why) -> StoreError {
    let (file, key) = (file.to_owned(), shortened(key));
    match digest {
        ValueRef::Null => StoreError::NoRecord { file, key, why },
        _ => StoreError::DamagedRecord { file, key, row, why },
    }
}

/// The first text that a key of the page may be. SQLite and [`Key`] both order text by its bytes.
pub(super) fn lower_bound(prefix: &str, after: Option<&Key>) -> String {
    match after.map(Key::as_str) {
        // Nothing lies between a text and the same with a NUL behind it.
        Some(after) if after >= prefix => format!("{after}\0"),
        _ => prefix.to_owned(),
    }
}

/// The first text behind all that start with a prefix; none if there is no such text.
pub(super) fn upper_bound(prefix: &str) -> Option<String> {
    // UTF-8 sorts like the code points it encodes, so it is enough to count up the last character that has a next one.
    let (at, next) = prefix
        .char_indices()
        .rev()
        .find_map(|(at, last)| Some((at, successor(last)?)))?;
    let mut bound = prefix.get(..at)?.to_owned();
    bound.push(next);
    Some(bound)
}

fn successor(c: char) -> Option<char> {
    (c..=char::MAX).nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ahead::{AHEAD, AHEAD_COUNT, ahead};
    use crate::store::testing::{Place, at, deleted, id, key, put, store};
    use crate::store::{changes, sync};
    use p2p_sync_core::store::Store;

    #[test]
    fn the_bounds_hold_exactly_what_starts_with_the_prefix() {
        let characters = [
            "",
            "\u{1}",
            "a",
            "b",
            "\u{7f}",
            "\u{80}",
            "\u{d7ff}",
            "\u{e000}",
            "\u{ffff}",
            "\u{10000}",
            "\u{10ffff}",
        ];
        let mut texts = Vec::new();
        for a in characters {
            for b in characters {
                texts.extend(characters.map(|c| format!("{a}{b}{c}")));
            }
        }
        for prefix in &texts {
            let (from, below) = (lower_bound(prefix, None), upper_bound(prefix));
            for text in &texts {
                let within = *text >= from && below.as_ref().is_none_or(|below| text < below);
                assert_eq!(
                    within,
                    text.starts_with(prefix.as_str()),
                    "{text:?} and the prefix {prefix:?}"
                );
            }
        }
        assert_eq!(upper_bound(""), None);
        assert_eq!(upper_bound("\u{10ffff}\u{10ffff}"), None);
        assert_eq!(upper_bound("a\u{10ffff}").as_deref(), Some("b"));
    }

    #[test]
    fn a_page_begins_behind_the_last_key_of_the_one_before() {
        assert_eq!(lower_bound("a/", Some(&key("a/1"))), "a/1\0");
        assert_eq!(lower_bound("a/", Some(&key("a"))), "a/");
        assert_eq!(lower_bound("a/", Some(&key("b"))), "b\0");
    }

    #[test]
    fn every_statement_finds_its_rows_by_an_index() {
        let place = Place::new();
        let store = place.open();
        let plan = |sql: &str| {
            let mut statement = store
                .connection()
                .unwrap()
                .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
                .unwrap();
            let parameters = std::iter::repeat_n("x", statement.parameter_count());
            let rows = statement
                .query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3))
                .unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        let by_key = "SEARCH kv_store USING INDEX sqlite_autoindex_kv_store_1";
        assert_eq!(plan(GET), format!("{by_key} (key=?)"));
        for sql in [ALL_TO_END, LIVE_TO_END] {
            assert_eq!(plan(sql), format!("{by_key} (key>?)"));
        }
        for sql in [ALL_BELOW, LIVE_BELOW] {
            assert_eq!(plan(sql), format!("{by_key} (key>? AND key<?)"));
        }
        for sql in [AHEAD, AHEAD_COUNT] {
            let plan = plan(sql);
            assert!(
                plan.starts_with("SCAN kv_store USING INDEX kv_store_item")
                    || plan == "SCAN kv_store USING COVERING INDEX kv_store_item",
                "{plan}"
            );
        }
        assert_eq!(
            plan(changes::BY_NUMBER),
            "MERGE (UNION ALL); LEFT; SEARCH kv_store USING INTEGER PRIMARY KEY (rowid>? AND rowid<?); \
            RIGHT; SEARCH kv_conflict USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            "a range of each table, and nothing to sort"
        );
        assert_eq!(
            plan(sync::BY_KEY_HASH),
            "SEARCH kv_store USING INDEX kv_store_item (key_hash=?)"
        );
        assert_eq!(
            plan(sync::CONFLICTS_BY_KEY_HASH),
            "SEARCH kv_conflict USING INDEX kv_conflict_item (key_hash=?)"
        );
        assert_eq!(plan(sync::ITEMS), "SCAN kv_store USING COVERING INDEX kv_store_item");
        let count = plan(COUNT);
        assert!(
            count.contains("SCAN kv_store USING COVERING INDEX sqlite_autoindex_kv_store_1"),
            "{count}"
        );
        assert!(
            count.contains("kv_store USING COVERING INDEX kv_store_deleted_at"),
            "{count}"
        );
    }

    #[test]
    fn anybody_can_read_the_table_in_a_shell() {
        let place = Place::new();
        let mut sqlite = place.open();
        let values: [(&str, &[u8], &str); 5] = [
            ("text", "日本".as_bytes(), "text"),
            ("empty", b"", "text"),
            ("nul", b"a\0b", "blob"),
            ("bytes", b"\xff", "blob"),
            ("digits", b"007", "text"),
        ];
        for (name, value, _) in values {
            store(&mut sqlite, &[put(name, value, 5)]);
        }
        store(&mut sqlite, &[deleted("gone", 6)]);
        let shell = rusqlite::Connection::open(&place.file).unwrap();
        for (name, value, kind) in values {
            let sql = "SELECT CAST(value AS BLOB), typeof(value) FROM kv_store WHERE key = ?1 AND deleted_at IS NULL";
            let row: (Vec<u8>, String) = shell
                .query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            assert_eq!(row, (value.to_vec(), kind.to_owned()), "{name}");
        }
        let sql = "SELECT value IS NULL, deleted_at, timestamp, author FROM kv_store WHERE key = 'gone'";
        let row: (bool, i64, i64, String) = shell
            .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .unwrap();
        assert_eq!(row, (true, 6, 6, id(1).to_string()));
    }

    #[test]
    fn a_row_edited_into_nonsense_is_named_and_harms_no_other() {
        for (edit, why) in [
            ("author = 'me!'", "the author is not a peer id"),
            ("author = x'00'", "the author is not a peer id"),
            ("timestamp = 0", "the timestamp is zero or negative"),
            ("timestamp = -5", "the timestamp is zero or negative"),
            ("timestamp = 'soon'", "the timestamp is not a number"),
            ("timestamp = 1.5", "the timestamp is not a number"),
            ("seen = 5", "what its author had seen is invalid"),
            ("seen = x'05'", "what its author had seen is invalid"),
            ("value = NULL", "it has neither a value nor a deletion time"),
            ("deleted_at = 5", "it has both a value and a deletion time"),
            (
                "deleted_at = 6, value = NULL",
                "the deletion time differs from the timestamp",
            ),
            (
                "value = zeroblob(65537)",
                "the value has 65537 bytes, at most 65536 are allowed",
            ),
        ] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &[put("a", b"1", 5), put("b", b"1", 5)]);
            place.shell(&format!("UPDATE kv_store SET {edit} WHERE key = 'b'"));
            let error = sqlite.get(&key("b")).unwrap_err();
            assert!(error.is_one_record(), "{edit}: {error}");
            assert!(
                error
                    .to_string()
                    .contains(&format!("key b in {} is damaged: {why};", place.file.display())),
                "{edit}: {error}"
            );
            assert!(sqlite.scan("", None, 10).is_err(), "{edit}");
            assert_eq!(sqlite.get(&key("a")).unwrap(), Some(put("a", b"1", 5)), "{edit}");
            assert_eq!(sqlite.scan("", None, 1).unwrap(), [put("a", b"1", 5)], "{edit}");
            assert!(!sqlite.is_broken(), "{edit}");
            store(&mut sqlite, &[put("b", b"2", 9)]);
            assert_eq!(
                sqlite.get(&key("b")).unwrap(),
                Some(put("b", b"2", 9)),
                "a new version replaces the damaged row: {edit}"
            );
        }
    }

    #[test]
    fn a_key_that_is_none_is_named_too() {
        for (edit, named) in [
            ("'b' || char(10)", r"key b\n in"),
            ("''", "key  in"),
            ("printf('%.257c', 'x')", "… (257 bytes) in"),
            ("x'6bff'", r"key k\xFF in"),
            ("CAST(x'6bff' AS TEXT)", r"key k\xFF in"),
        ] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &[put("b", b"1", 5)]);
            place.shell(&format!("UPDATE kv_store SET key = {edit}"));
            let error = sqlite.scan("", None, 10).unwrap_err();
            assert!(
                error.is_one_record() && error.to_string().contains(named),
                "{edit}: {error}"
            );
        }
    }

    #[test]
    fn a_timestamp_that_is_none_is_not_the_last_one() {
        for timestamp in ["'soon'", "x'ff'", "1e300", "1.5", "0", "-5"] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &[put("a", b"1", 5), put("b", b"1", 6)]);
            place.shell(&format!("UPDATE kv_store SET timestamp = {timestamp} WHERE key = 'b'"));
            assert_eq!(sqlite.last_timestamp().unwrap(), Some(at(6)), "{timestamp}");
            assert_eq!(sqlite.last_timestamp_by(at(5)).unwrap(), Some(at(5)), "{timestamp}");
            place.shell("DELETE FROM kv_store WHERE key = 'a'");
            assert_eq!(sqlite.last_timestamp_by(at(4)).unwrap(), None, "{timestamp}");
        }
    }

    #[test]
    fn a_timestamp_that_is_none_is_not_ahead_of_others() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(
            &mut sqlite,
            &[
                put("a", b"1", 5),
                put("b", b"1", 6),
                put("c", b"1", 7),
                put("d", b"1", 8),
            ],
        );
        place.shell("UPDATE kv_store SET timestamp = 'soon' WHERE key = 'b'; UPDATE kv_store SET timestamp = x'ff' WHERE key = 'c'");
        let ahead = ahead(sqlite.connection().unwrap(), at(5), 9).unwrap();
        assert_eq!(ahead, (1, vec![(key("d"), at(8))]));
    }
}
