//! The shape of the file and how it came to be: one step a version, in order. A released step is never changed or
//! removed, only followed by another, because files that went through it exist. What the rows mean is left to `rows`
//! and those who read them.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::error::{OpenError, StoreError};
use super::others;
use super::sequence;

pub(super) mod based;
mod causality;

/// Marks the file as ours, so that no other SQLite file is taken for a store: the letters `p2ps`.
const APPLICATION_ID: i32 = 0x7032_7073;

/// What leads from one version to the next.
#[derive(Clone, Copy)]
enum Step {
    Sql(&'static str),
    Code(fn(&Connection) -> rusqlite::Result<()>),
    /// Writes every record once more, and tells how far it is.
    Rewrite(fn(&Connection, Observer<'_>) -> rusqlite::Result<()>),
}

/// How far a file has come on its way to the shape that this program uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Records that were brought over so far.
    pub done: u64,
    /// Records that there are.
    pub all: u64,
}

/// Somebody who is told how a migration goes on: at its beginning, some times a second, and at its end. A file that has the right
/// shape, or no records, is not worth a word.
pub type Observer<'a> = &'a mut dyn FnMut(Migration);

/// The step at index N leads from version N to N + 1.
const STEPS: &[Step] = &[
    Step::Sql(FIRST),
    Step::Code(second),
    Step::Sql(THIRD),
    Step::Code(fourth),
    Step::Rewrite(fifth),
    Step::Sql(SIXTH),
    Step::Rewrite(causality::seventh),
    Step::Sql(EIGHTH),
];

/// `kv_store` is an ordinary rowid table: rows are appended, and only small indexes are written at random places, which is
/// three times as fast in large transactions as a table ordered by key. The index on `deleted_at` holds deletions only.
const FIRST: &str = "
    CREATE TABLE kv_store (
        key TEXT NOT NULL UNIQUE,
        value TEXT,
        timestamp INTEGER NOT NULL,
        author TEXT NOT NULL,
        deleted_at INTEGER,
        base INTEGER
    );
    CREATE INDEX kv_store_timestamp ON kv_store (timestamp);
    CREATE INDEX kv_store_deleted_at ON kv_store (deleted_at) WHERE deleted_at IS NOT NULL;
    CREATE TABLE meta (
        name TEXT NOT NULL PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE peer_address (
        peer TEXT NOT NULL,
        address TEXT NOT NULL,
        last_reached INTEGER NOT NULL,
        PRIMARY KEY (peer, address)
    ) WITHOUT ROWID;
";

/// What a sync needs. `key_hash` and `digest` are what, with the timestamp, makes the item of a record; they are NULL in
/// rows that another program wrote. A conflict has no value where the version is a deletion; its size stands before the
/// values, so that it is read without them.
const SYNC_COLUMNS: &str = "
    ALTER TABLE kv_store ADD COLUMN key_hash INTEGER;
    ALTER TABLE kv_store ADD COLUMN digest BLOB;
";
const SYNC_TABLES: &str = "
    DROP INDEX kv_store_timestamp;
    CREATE INDEX kv_store_time_key ON kv_store (timestamp, key);
    CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest);
    CREATE TABLE sync_position (
        source INTEGER NOT NULL PRIMARY KEY,
        timestamp INTEGER NOT NULL,
        key TEXT NOT NULL,
        updated INTEGER NOT NULL
    );
    CREATE TABLE conflict (
        number INTEGER NOT NULL PRIMARY KEY,
        key TEXT NOT NULL,
        loser_digest BLOB NOT NULL,
        noticed INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        loser_timestamp INTEGER NOT NULL,
        loser_author TEXT NOT NULL,
        loser_base INTEGER,
        winner_timestamp INTEGER NOT NULL,
        winner_author TEXT NOT NULL,
        winner_base INTEGER,
        loser_value TEXT,
        winner_value TEXT,
        UNIQUE (key, loser_digest)
    );
    CREATE INDEX conflict_key ON conflict (key);
    CREATE TABLE summary (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        bytes BLOB NOT NULL
    );
";
/// Rows as they were when they were taken out: damaged, so that every column but ours may hold anything.
const THIRD: &str = "
    CREATE TABLE damaged_row (
        number INTEGER NOT NULL PRIMARY KEY,
        key,
        value,
        timestamp,
        author,
        deleted_at,
        base,
        digest
    );
";
/// The number of a row is the place of its version in the change sequence: see `sequence`. What finds the rows of a bulk is that
/// number, so the index on (timestamp, key) goes.
const SEQUENCE_BEFORE: &str = "
    DROP TRIGGER IF EXISTS kv_store_others_insert;
    DROP TRIGGER IF EXISTS kv_store_others_update;
    DROP TRIGGER IF EXISTS kv_store_others_delete;
    DROP INDEX IF EXISTS kv_store_time_key;
    DROP INDEX IF EXISTS kv_store_item;
    DROP INDEX IF EXISTS kv_store_deleted_at;
    ALTER TABLE kv_store RENAME TO kv_store_before;
    CREATE TABLE kv_store (
        sequence INTEGER NOT NULL PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        value TEXT,
        timestamp INTEGER NOT NULL,
        author TEXT NOT NULL,
        deleted_at INTEGER,
        base INTEGER,
        key_hash INTEGER,
        digest BLOB
    );
";
const COPY_END: &str = "SELECT MAX(number), COUNT(*) FROM \
    (SELECT rowid AS number FROM kv_store_before WHERE rowid > ?1 ORDER BY rowid LIMIT ?2)";
const COPY: &str = "INSERT INTO kv_store (key, value, timestamp, author, deleted_at, base, key_hash, digest) \
    SELECT key, value, timestamp, author, deleted_at, base, key_hash, digest FROM kv_store_before \
    WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid";
/// The indexes come last, so that each is written once, in its order.
const SEQUENCE_AFTER: &str = "
    DROP TABLE kv_store_before;
    CREATE INDEX kv_store_deleted_at ON kv_store (deleted_at) WHERE deleted_at IS NOT NULL;
    CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest);
    DROP TABLE sync_position;
    CREATE TABLE sync_position (
        source INTEGER NOT NULL PRIMARY KEY,
        epoch INTEGER NOT NULL,
        number INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        updated INTEGER NOT NULL
    );
";
/// What known nodes are called.
const SIXTH: &str = "
    CREATE TABLE peer_name (
        peer TEXT NOT NULL PRIMARY KEY,
        name TEXT NOT NULL,
        last_heard INTEGER NOT NULL
    ) WITHOUT ROWID;
";
/// What a private network needs; an open one leaves all of it empty. `set_aside` has the columns of the versions, for records that do
/// not count. Its signature is NULL where another program wrote the row.
const EIGHTH: &str = "
    ALTER TABLE kv_store ADD COLUMN signature BLOB;
    ALTER TABLE kv_conflict ADD COLUMN signature BLOB;
    CREATE TABLE member_entry (
        id BLOB NOT NULL PRIMARY KEY,
        entry BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE member_list (
        number INTEGER NOT NULL PRIMARY KEY,
        keep BLOB NOT NULL UNIQUE,
        items BLOB NOT NULL
    );
    CREATE TABLE set_aside (
        number INTEGER NOT NULL PRIMARY KEY,
        key TEXT NOT NULL,
        value TEXT,
        timestamp INTEGER NOT NULL,
        author TEXT NOT NULL,
        deleted_at INTEGER,
        seen BLOB,
        key_hash INTEGER NOT NULL,
        digest BLOB NOT NULL,
        signature BLOB,
        UNIQUE (key_hash, timestamp, digest)
    );
";
/// Records copied between two words to the observer: some hundredths of a second.
const COPIED_AT_A_TIME: i64 = 5_000;
/// The page cache while a large table is copied, in KiB: the index of its keys, which are met in no order, for a million records.
const COPY_CACHE_KIB: i64 = 64 * 1024;

const NAME_STORE: &str = "INSERT INTO meta (name, value) VALUES ('store_id', ?1)";
/// The indexes come last, so that each is written once, in its order.
fn second(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SYNC_COLUMNS)?;
    based::fill_columns(connection)?;
    connection.execute_batch(SYNC_TABLES)?;
    connection
        .execute(NAME_STORE, [rand::random::<u64>().to_string()])
        .map(drop)
}

/// What tells that another program changed records. A summary that was kept is still good.
fn fourth(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(others::WATCH)?;
    connection
        .execute(
            "UPDATE meta SET value = 'valid 0' WHERE name = 'summary' AND value = 'valid'",
            [],
        )
        .map(drop)
}

/// Gives the rows their numbers, in the order in which they lie. All of it is one transaction, so the file is the old one or the new
/// one whenever the process ends, and what takes the time is to write every record once more.
fn fifth(connection: &Connection, observe: Observer<'_>) -> rusqlite::Result<()> {
    let all: i64 = connection.query_row("SELECT COUNT(*) FROM kv_store", [], |row| row.get(0))?;
    connection.execute_batch(SEQUENCE_BEFORE)?;
    let cache: i64 = connection.pragma_query_value(None, "cache_size", |row| row.get(0))?;
    connection.pragma_update(None, "cache_size", -COPY_CACHE_KIB)?;
    let copied = copy_rows(connection, all.unsigned_abs(), observe);
    connection.pragma_update(None, "cache_size", cache)?;
    copied?;
    connection.execute_batch(SEQUENCE_AFTER)?;
    connection.execute_batch(others::WATCH)?;
    connection.execute_batch(sequence::TABLES)?;
    sequence::found(connection, all)
}

fn copy_rows(connection: &Connection, all: u64, observe: Observer<'_>) -> rusqlite::Result<()> {
    let mut find_end = connection.prepare(COPY_END)?;
    let mut copy = connection.prepare(COPY)?;
    let (mut after, mut done) = (i64::MIN, 0);
    loop {
        let (end, rows): (Option<i64>, i64) =
            find_end.query_row([after, COPIED_AT_A_TIME], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let Some(end) = end else { return Ok(()) };
        observe(Migration { done, all });
        copy.execute([after, end])?;
        (after, done) = (end, done + rows.unsigned_abs());
    }
}

/// The version that this program reads and writes.
pub(super) fn supported() -> i64 {
    i64::try_from(STEPS.len()).unwrap_or(i64::MAX)
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A database without anything in it.
    Nothing,
    /// A store of this version, which is not newer than [`supported`].
    Store {
        /// Its version.
        version: i64,
    },
}

/// Tells what a file is, without changing it.
///
/// # Errors
/// When it is no database, damaged, of another program, or newer.
pub(super) fn inspect(connection: &Connection, file: &Path) -> Result<Found, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let number = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .map_err(failed)
    };
    let application = number("application_id")?;
    let version = number("user_version")?;
    // Reading the schema also shows whether it can be read.
    let tables: i64 = connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    if application != i64::from(APPLICATION_ID) {
        let empty = application == 0 && version == 0 && tables == 0;
        return if empty {
            Ok(Found::Nothing)
        } else {
            Err(OpenError::Foreign { file: file.to_owned() }.into())
        };
    }
    if version > supported() {
        return Err(OpenError::Newer {
            file: file.to_owned(),
            found: version,
            supported: supported(),
        }
        .into());
    }
    if version < 1 {
        return Err(StoreError::Damaged {
            file: file.to_owned(),
            why: format!("its version is {version}"),
        });
    }
    Ok(Found::Store { version })
}

/// Brings a file to the supported version, in one transaction that nobody else can be in.
///
/// # Errors
/// As for [`inspect`], or when it cannot be written. The file is as before then.
pub(super) fn migrate(connection: &mut Connection, file: &Path, observe: Observer<'_>) -> Result<(), StoreError> {
    migrate_by(STEPS, connection, file, observe)
}

fn migrate_by(
    steps: &[Step],
    connection: &mut Connection,
    file: &Path,
    observe: Observer<'_>,
) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Exclusive)
        .map_err(failed)?;
    let done = match inspect(&transaction, file)? {
        Found::Nothing => 0,
        Found::Store { version } => usize::try_from(version).unwrap_or(usize::MAX),
    };
    if done >= steps.len() {
        return Ok(());
    }
    let missing = steps.iter().skip(done);
    let rewrites = missing.clone().filter(|step| matches!(step, Step::Rewrite(_))).count() as u64;
    let (mut rewritten, mut records) = (0, 0);
    for step in missing {
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql),
            Step::Code(code) => code(&transaction),
            Step::Rewrite(rewrite) => {
                let before = rewritten;
                rewritten += 1;
                // To whom is told it is one way, however many steps it takes.
                rewrite(&transaction, &mut |Migration { done, all }| {
                    records = all;
                    let done = (before * all + done) / rewrites;
                    // The end is told when it has been committed.
                    if done < all {
                        observe(Migration { done, all });
                    }
                })
            }
        }
        .map_err(|cause| rows_against_the_rules(file, cause))?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    transaction
        .pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))
        .map_err(failed)?;
    transaction.commit().map_err(failed)?;
    if records > 0 {
        let (done, all) = (records, records);
        observe(Migration { done, all });
    }
    Ok(())
}

/// Rows that a table of this shape cannot hold, such as two of one key, can only be there because the file is damaged: its rescue
/// sorts them out.
fn rows_against_the_rules(file: &Path, cause: rusqlite::Error) -> StoreError {
    if cause.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) {
        let why = format!("its records cannot be converted to the new format: {cause}");
        return StoreError::Damaged {
            file: file.to_owned(),
            why,
        };
    }
    StoreError::sqlite(file, cause)
}

/// A file as the first version made it.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) fn first_version(file: &Path) {
    version(file, 1);
}

/// A file as that version made it.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) fn version(file: &Path, version: usize) {
    let mut connection = Connection::open(file).unwrap();
    migrate_by(&STEPS[..version], &mut connection, file, &mut |_| {}).unwrap();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use p2p_sync_core::item::Item;
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;
    use p2p_sync_core::sync::{PageLimit, StoreId};
    use p2p_sync_core::{NetworkName, Record};

    use rusqlite::params;

    use super::*;
    use crate::store::testing::{Place, deleted, key, put};
    use crate::store::{Depth, IfUnreadable, SqliteStore, StoreErrorKind};

    /// Never changed: files of this shape exist.
    const SECOND_SHAPE: &[&str] = &[
        "conflict: CREATE TABLE conflict ( number INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, loser_digest BLOB NOT NULL, noticed INTEGER NOT NULL, bytes INTEGER NOT NULL, loser_timestamp INTEGER NOT NULL, loser_author TEXT NOT NULL, loser_base INTEGER, winner_timestamp INTEGER NOT NULL, winner_author TEXT NOT NULL, winner_base INTEGER, loser_value TEXT, winner_value TEXT, UNIQUE (key, loser_digest) )",
        "conflict_key: CREATE INDEX conflict_key ON conflict (key)",
        "kv_store: CREATE TABLE kv_store ( key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, base INTEGER , key_hash INTEGER, digest BLOB)",
        "kv_store_deleted_at: CREATE INDEX kv_store_deleted_at ON kv_store (deleted_at) WHERE deleted_at IS NOT NULL",
        "kv_store_item: CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest)",
        "kv_store_time_key: CREATE INDEX kv_store_time_key ON kv_store (timestamp, key)",
        "meta: CREATE TABLE meta ( name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL ) WITHOUT ROWID",
        "peer_address: CREATE TABLE peer_address ( peer TEXT NOT NULL, address TEXT NOT NULL, last_reached INTEGER NOT NULL, PRIMARY KEY (peer, address) ) WITHOUT ROWID",
        "sqlite_autoindex_conflict_1:",
        "sqlite_autoindex_kv_store_1:",
        "summary: CREATE TABLE summary ( id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), bytes BLOB NOT NULL )",
        "sync_position: CREATE TABLE sync_position ( source INTEGER NOT NULL PRIMARY KEY, timestamp INTEGER NOT NULL, key TEXT NOT NULL, updated INTEGER NOT NULL )",
    ];

    /// What the third step adds; never changed either.
    const THIRD_ADDS: &[&str] = &[
        "damaged_row: CREATE TABLE damaged_row ( number INTEGER NOT NULL PRIMARY KEY, key, value, timestamp, author, deleted_at, base, digest )",
    ];

    /// What the fourth step adds; never changed either.
    const FOURTH_ADDS: &[&str] = &[
        "change_of_others: CREATE TABLE change_of_others ( id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL )",
        "kv_store_others_delete: CREATE TRIGGER kv_store_others_delete AFTER DELETE ON kv_store BEGIN UPDATE change_of_others SET number = number + 1; END",
        "kv_store_others_insert: CREATE TRIGGER kv_store_others_insert AFTER INSERT ON kv_store BEGIN UPDATE change_of_others SET number = number + 1; END",
        "kv_store_others_update: CREATE TRIGGER kv_store_others_update AFTER UPDATE ON kv_store BEGIN UPDATE change_of_others SET number = number + 1; END",
    ];

    /// What the fifth step puts in the place of others, or adds; never changed either.
    const FIFTH_SHAPE: &[&str] = &[
        "change_epoch: CREATE TABLE change_epoch ( ordinal INTEGER NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, first INTEGER NOT NULL )",
        "change_sequence: CREATE TABLE change_sequence ( id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL, latest INTEGER NOT NULL, epoch INTEGER NOT NULL, others INTEGER NOT NULL )",
        "kv_store: CREATE TABLE kv_store ( sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, base INTEGER, key_hash INTEGER, digest BLOB )",
        "sync_position: CREATE TABLE sync_position ( source INTEGER NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, number INTEGER NOT NULL, seen INTEGER NOT NULL, updated INTEGER NOT NULL )",
    ];
    /// What the sixth step adds; never changed either.
    const SIXTH_ADDS: &[&str] = &[
        "peer_name: CREATE TABLE peer_name ( peer TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, last_heard INTEGER NOT NULL ) WITHOUT ROWID",
    ];
    const FIFTH_DROPS: &[&str] = &["kv_store:", "kv_store_time_key:", "sync_position:"];

    fn file() -> &'static Path {
        Path::new("store.db")
    }

    #[test]
    fn an_empty_database_becomes_a_store_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(inspect(&connection, file()).unwrap(), Found::Nothing);
        migrate(&mut connection, file(), &mut |_| {}).unwrap();
        assert_eq!(
            inspect(&connection, file()).unwrap(),
            Found::Store { version: supported() }
        );
        connection
            .execute("INSERT INTO kv_store (key, timestamp, author) VALUES ('k', 1, 'a')", [])
            .unwrap();
        migrate(&mut connection, file(), &mut |_| {}).unwrap();
        let rows: i64 = connection
            .query_row("SELECT COUNT(*) FROM kv_store", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn the_first_released_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..1], &mut connection, file(), &mut |_| {}).unwrap();
        let mut columns = connection
            .prepare("SELECT name || ' ' || type FROM pragma_table_info('kv_store')")
            .unwrap();
        let columns: Vec<String> = columns
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(
            columns,
            [
                "key TEXT",
                "value TEXT",
                "timestamp INTEGER",
                "author TEXT",
                "deleted_at INTEGER",
                "base INTEGER"
            ]
        );
        let id: i64 = connection
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .unwrap();
        assert_eq!(id, 1_882_353_779);
    }

    fn shape(connection: &Connection) -> Vec<String> {
        let mut statement = connection
            .prepare("SELECT name || ': ' || COALESCE(sql, '') FROM sqlite_schema ORDER BY name")
            .unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(|sql| sql.unwrap().split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn the_second_shape_is_pinned_and_the_same_for_old_and_new_files() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..2], &mut new, file(), &mut |_| {}).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..1], &mut old, file(), &mut |_| {}).unwrap();
        old.execute_batch("INSERT INTO kv_store VALUES ('k', 'v', 1, 'a', NULL, NULL)")
            .unwrap();
        migrate_by(&STEPS[..2], &mut old, file(), &mut |_| {}).unwrap();
        assert_eq!(shape(&new), shape(&old));
        assert_eq!(shape(&new), SECOND_SHAPE);
    }

    #[test]
    fn the_third_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..3], &mut connection, file(), &mut |_| {}).unwrap();
        let mut expected: Vec<_> = SECOND_SHAPE.iter().chain(THIRD_ADDS).collect();
        expected.sort();
        assert_eq!(shape(&connection).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_fourth_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..4], &mut connection, file(), &mut |_| {}).unwrap();
        let mut expected: Vec<_> = SECOND_SHAPE.iter().chain(THIRD_ADDS).chain(FOURTH_ADDS).collect();
        expected.sort();
        assert_eq!(shape(&connection).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_fifth_shape_is_pinned_and_the_same_for_old_and_new_files() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..5], &mut new, file(), &mut |_| {}).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..1], &mut old, file(), &mut |_| {}).unwrap();
        old.execute_batch("INSERT INTO kv_store VALUES ('k', 'v', 1, 'a', NULL, NULL)")
            .unwrap();
        migrate_by(&STEPS[..4], &mut old, file(), &mut |_| {}).unwrap();
        migrate_by(&STEPS[..5], &mut old, file(), &mut |_| {}).unwrap();
        assert_eq!(shape(&new), shape(&old));
        let dropped = |line: &&str| FIFTH_DROPS.iter().any(|name| line.starts_with(name));
        let kept = SECOND_SHAPE.iter().filter(|line| !dropped(line));
        let mut expected: Vec<_> = kept.chain(THIRD_ADDS).chain(FOURTH_ADDS).chain(FIFTH_SHAPE).collect();
        expected.sort();
        assert_eq!(shape(&new).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_sixth_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..6], &mut connection, file(), &mut |_| {}).unwrap();
        let dropped = |line: &&str| FIFTH_DROPS.iter().any(|name| line.starts_with(name));
        let kept = SECOND_SHAPE.iter().filter(|line| !dropped(line));
        let adds = [THIRD_ADDS, FOURTH_ADDS, FIFTH_SHAPE, SIXTH_ADDS].concat();
        let mut expected: Vec<_> = kept.chain(&adds).collect();
        expected.sort();
        assert_eq!(shape(&connection).iter().collect::<Vec<_>>(), expected);
    }

    /// What the seventh step changes, adds and drops; never changed either.
    const SEVENTH_SHAPE: &[&str] = &[
        "damaged_row: CREATE TABLE damaged_row ( number INTEGER NOT NULL PRIMARY KEY, key, value, timestamp, author, deleted_at, seen, digest )",
        "kv_conflict: CREATE TABLE kv_conflict ( sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, key_hash INTEGER, digest BLOB, seen BLOB )",
        "kv_conflict_item: CREATE INDEX kv_conflict_item ON kv_conflict (key_hash, timestamp, digest)",
        "kv_conflict_key: CREATE INDEX kv_conflict_key ON kv_conflict (key)",
        "kv_conflict_others_delete: CREATE TRIGGER kv_conflict_others_delete AFTER DELETE ON kv_conflict BEGIN UPDATE change_of_others SET number = number + 1; END",
        "kv_conflict_others_insert: CREATE TRIGGER kv_conflict_others_insert AFTER INSERT ON kv_conflict BEGIN UPDATE change_of_others SET number = number + 1; END",
        "kv_conflict_others_update: CREATE TRIGGER kv_conflict_others_update AFTER UPDATE ON kv_conflict BEGIN UPDATE change_of_others SET number = number + 1; END",
        "kv_store: CREATE TABLE kv_store ( sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, key_hash INTEGER, digest BLOB , seen BLOB)",
    ];
    const SEVENTH_DROPS: &[&str] = &[
        "conflict:",
        "conflict_key:",
        "damaged_row:",
        "kv_store:",
        "sqlite_autoindex_conflict_1:",
    ];

    #[test]
    fn the_seventh_shape_is_pinned_and_the_same_for_old_and_new_files() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..7], &mut new, file(), &mut |_| {}).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..6], &mut old, file(), &mut |_| {}).unwrap();
        let before = shape(&old);
        migrate_by(&STEPS[..7], &mut old, file(), &mut |_| {}).unwrap();
        assert_eq!(shape(&new), shape(&old));
        let dropped = |line: &&String| SEVENTH_DROPS.iter().any(|name| line.starts_with(name));
        let mut expected: Vec<_> = before
            .iter()
            .filter(|line| !dropped(line))
            .map(String::as_str)
            .collect();
        expected.extend(SEVENTH_SHAPE);
        expected.sort_unstable();
        assert_eq!(shape(&new), expected);
    }

    /// What the eighth step changes and adds; never changed either.
    const EIGHTH_SHAPE: &[&str] = &[
        "kv_conflict: CREATE TABLE kv_conflict ( sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, key_hash INTEGER, digest BLOB, seen BLOB , signature BLOB)",
        "kv_store: CREATE TABLE kv_store ( sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, key_hash INTEGER, digest BLOB , seen BLOB, signature BLOB)",
        "member_entry: CREATE TABLE member_entry ( id BLOB NOT NULL PRIMARY KEY, entry BLOB NOT NULL ) WITHOUT ROWID",
        "member_list: CREATE TABLE member_list ( number INTEGER NOT NULL PRIMARY KEY, keep BLOB NOT NULL UNIQUE, items BLOB NOT NULL )",
        "set_aside: CREATE TABLE set_aside ( number INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, seen BLOB, key_hash INTEGER NOT NULL, digest BLOB NOT NULL, signature BLOB, UNIQUE (key_hash, timestamp, digest) )",
        "sqlite_autoindex_member_list_1:",
        "sqlite_autoindex_set_aside_1:",
    ];

    #[test]
    fn the_eighth_shape_is_pinned_and_the_same_for_old_and_new_files() {
        let mut new = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..8], &mut new, file(), &mut |_| {}).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..7], &mut old, file(), &mut |_| {}).unwrap();
        let before = shape(&old);
        migrate_by(&STEPS[..8], &mut old, file(), &mut |_| {}).unwrap();
        assert_eq!(shape(&new), shape(&old));
        let dropped = |line: &&String| ["kv_store:", "kv_conflict:"].iter().any(|name| line.starts_with(name));
        let mut expected: Vec<_> = before
            .iter()
            .filter(|line| !dropped(line))
            .map(String::as_str)
            .collect();
        expected.extend(EIGHTH_SHAPE);
        expected.sort_unstable();
        assert_eq!(shape(&new), expected);
    }

    /// A file of the fourth version with so many records, a row of another program, and something in the other tables.
    fn fourth_version(file: &Path, records: &[Record]) {
        version(file, 4);
        let mut old = Connection::open(file).unwrap();
        let transaction = old.transaction().unwrap();
        let mut insert = transaction
            .prepare(
                "INSERT INTO kv_store (rowid, key, value, timestamp, author, deleted_at, base, key_hash, digest) \
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )
            .unwrap();
        for (at, record) in records.iter().enumerate() {
            let nanos = record.timestamp.as_nanos();
            let value = record.content.value().map(|value| value.as_text().unwrap());
            let deleted_at = value.is_none().then_some(nanos);
            let based = based::of(record, None);
            // Numbers that mean nothing any more.
            let rowid = i64::try_from(at).unwrap() * 3 - 100;
            let row = params![
                rowid,
                record.key.as_str(),
                value,
                nanos,
                record.author.to_string(),
                deleted_at,
                None::<i64>,
                based.key_hash(),
                based.digest()
            ];
            insert.execute(row).unwrap();
        }
        drop(insert);
        transaction
            .execute_batch(
                "INSERT INTO kv_store (key, value, timestamp, author) SELECT 'theirs', 'v', 5, author FROM kv_store LIMIT 1;
                INSERT INTO sync_position VALUES (1, 5, 'k', 1);
                INSERT INTO meta VALUES ('network', ''), ('unshared_after', '77');",
            )
            .unwrap();
        transaction.commit().unwrap();
    }

    fn some_records(count: i64) -> Vec<Record> {
        (1..=count)
            .map(|n| match n % 4 {
                0 => deleted(&format!("key {n}"), n),
                _ => put(&format!("key {n}"), b"value", n),
            })
            .collect()
    }

    fn opened(place: &Place, observe: Observer<'_>) -> SqliteStore {
        SqliteStore::open_or(&place.file, &NetworkName::default(), IfUnreadable::Refuse, observe).unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "how much is tried is the caller's choice")]
    fn many() -> i64 {
        std::env::var_os("P2P_SYNC_FULL").map_or(20_001, |_| 1_000_000)
    }

    #[test]
    fn records_of_the_fourth_version_get_their_numbers_and_somebody_is_told() {
        let place = Place::new();
        let records = some_records(many());
        fourth_version(&place.file, &records);
        let (mut told, begun) = (Vec::new(), std::time::Instant::now());
        let mut store = opened(&place, &mut |migration| told.push(migration));
        println!("{} records in {:?}", records.len(), begun.elapsed());
        let all = records.len() as u64 + 1;
        assert!(told.iter().all(|migration| migration.all == all), "{told:?}");
        assert!(told.is_sorted_by_key(|migration| migration.done), "{told:?}");
        assert_eq!((told[0].done, told.last().unwrap().done), (0, all));
        let ends = told.iter().filter(|migration| migration.done == all);
        assert_eq!(ends.count(), 1, "when all steps are done: {told:?}");
        assert!(told.len() as u64 > all / 10_000, "{}", told.len());
        let (mut reached, mut found) = (None, Vec::new());
        loop {
            let page = store.page(reached, PageLimit::FULL).unwrap();
            found.extend(page.records);
            if page.reached.is_none() {
                break;
            }
            reached = page.reached;
        }
        assert!(found == records, "in the order in which they lay");
        let numbers = place.rows("SELECT MIN(sequence) || ' ' || MAX(sequence) || ' ' || COUNT(*) FROM kv_store");
        assert_eq!(numbers, [format!("1 {all} {all}")]);
        assert_eq!(store.last_timestamp().unwrap(), Some(records.last().unwrap().timestamp));
        assert_eq!(
            store.position(StoreId(1)).unwrap(),
            None,
            "a place of before means nothing"
        );
        let scan = store.start_scan(Depth::Records).unwrap().run().unwrap();
        let verified = store.finish_scan(scan).unwrap();
        assert_eq!(
            (verified.indexed, verified.structure),
            (1, None),
            "the row of another program"
        );
        store.close().unwrap();
        let mut told = 0;
        drop(opened(&place, &mut |_| told += 1));
        assert_eq!(told, 0, "once");
    }

    #[test]
    fn a_summary_that_was_kept_is_made_anew() {
        let place = Place::new();
        let records = some_records(100);
        fourth_version(&place.file, &records);
        let bytes = Summary::of(records.iter().map(Item::of)).to_bytes();
        let old = Connection::open(&place.file).unwrap();
        old.execute("DELETE FROM kv_store WHERE key = 'theirs'", []).unwrap();
        old.execute("INSERT INTO summary VALUES (1, ?1)", [bytes]).unwrap();
        old.execute_batch("INSERT INTO meta SELECT 'summary', 'valid ' || number FROM change_of_others")
            .unwrap();
        drop(old);
        let mut store = place.open();
        assert_eq!(store.summary(), None, "every record has another item");
        let scan = store.start_scan(Depth::Items).unwrap().run().unwrap();
        store.finish_scan(scan).unwrap();
        let held = store.items().unwrap();
        assert_eq!(held.len(), records.len());
        assert_eq!(store.summary(), Some(&Summary::of(held)));
    }

    #[test]
    fn of_a_few_records_too_the_beginning_and_the_end_are_told() {
        // From the versions before the last step that writes every record.
        for before in 4..7 {
            let place = Place::new();
            version(&place.file, before);
            let old = Connection::open(&place.file).unwrap();
            old.execute_batch("INSERT INTO kv_store (key, timestamp, author) VALUES ('a', 5, '2')")
                .unwrap();
            drop(old);
            let mut told = Vec::new();
            drop(opened(&place, &mut |Migration { done, all }| told.push((done, all))));
            let end = told.pop();
            assert_eq!(end, Some((1, 1)), "from version {before}");
            assert!(!told.is_empty() && told.iter().all(|one| *one == (0, 1)), "{told:?}");
        }
    }

    #[test]
    fn whenever_the_process_ends_the_file_is_the_old_one_or_the_new_one() {
        let place = Place::new();
        let records = some_records(20_001);
        fourth_version(&place.file, &records);
        let mut copies = vec![place.crashed()];
        let store = opened(&place, &mut |_| copies.push(place.crashed()));
        copies.push(place.crashed());
        let mut versions = Vec::new();
        for copy in &copies {
            let connection = Connection::open(&copy.file).unwrap();
            let version: i64 = connection
                .pragma_query_value(None, "user_version", |row| row.get(0))
                .unwrap();
            versions.push(version);
            drop(connection);
            let mut sqlite = copy.open();
            assert_eq!(sqlite.items().unwrap().len(), records.len());
            assert_eq!(
                sqlite.get(&key("key 19999")).unwrap(),
                Some(put("key 19999", b"value", 19_999))
            );
        }
        // The end is told when it has been committed.
        let (during, behind) = versions.split_at(copies.len() - 2);
        assert!(during.iter().all(|version| *version == 4), "{versions:?}");
        assert_eq!(behind, [supported(); 2]);
        drop(store);
    }

    #[test]
    fn a_file_in_which_a_key_is_twice_is_rescued() {
        let place = Place::new();
        let records = some_records(50);
        fourth_version(&place.file, &records);
        // An index that lacks a row, as only SQLite's own back door can make it.
        let columns = "key TEXT NOT NULL UNIQUE";
        place.shell(&format!(
            "PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, '{columns}', 'key TEXT NOT NULL') WHERE name = 'kv_store';
            DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_kv_store_1';
            PRAGMA writable_schema = RESET;
            INSERT INTO kv_store (key, value, timestamp, author, base, key_hash, digest) \
                SELECT key, value, timestamp, author, base, key_hash, digest FROM kv_store WHERE key = 'key 7'"
        ));
        let mut sqlite = place.open();
        assert_eq!(sqlite.get(&key("key 7")).unwrap(), Some(put("key 7", b"value", 7)));
        assert_eq!(sqlite.scan("", None, 1_000).unwrap().len(), records.len() + 1);
        assert_eq!(place.content().len(), 2 + 2, "the damaged file is put aside");
    }

    #[test]
    fn rows_of_the_first_version_get_their_columns() {
        let place = Place::new();
        first_version(&place.file);
        let records: Vec<_> = (1..2_500)
            .map(|n| match n % 3 {
                0 => deleted(&format!("key {n}"), n),
                _ => put(&format!("key {n}"), b"value", n),
            })
            .collect();
        let mut old = Connection::open(&place.file).unwrap();
        let transaction = old.transaction().unwrap();
        for record in &records {
            let nanos = record.timestamp.as_nanos();
            let value = record.content.value().map(|_| "value");
            let deleted_at = value.is_none().then_some(nanos);
            let author = record.author.to_string();
            let row = params![record.key.as_str(), value, nanos, author, deleted_at];
            transaction
                .execute("INSERT INTO kv_store VALUES (?1, ?2, ?3, ?4, ?5, NULL)", row)
                .unwrap();
        }
        transaction
            .execute("INSERT INTO kv_store VALUES ('bad', 'v', 5, '0', NULL, NULL)", [])
            .unwrap();
        transaction.commit().unwrap();
        drop(old);
        let mut store = place.open();
        let expected: BTreeSet<_> = records.iter().map(Item::of).collect();
        assert_eq!(store.items().unwrap().into_iter().collect::<BTreeSet<_>>(), expected);
        let page = store.page(None, PageLimit::FULL).unwrap();
        assert_eq!(page.records, records[..page.records.len()]);
        assert!(page.records.len() >= 999);
        assert_eq!(store.get(&key("key 7")).unwrap(), Some(put("key 7", b"value", 7)));
        let name = store.id();
        store.close().unwrap();
        assert_eq!(place.open().id(), name);
    }

    #[test]
    fn only_missing_steps_are_taken_and_a_step_that_fails_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, file(), &mut |_| {}).unwrap();
        let mut steps = STEPS.to_vec();
        steps.push(Step::Sql("CREATE TABLE extra (a); CREATE TABLE kv_store (a)"));
        assert_eq!(
            migrate_by(&steps, &mut connection, file(), &mut |_| {})
                .unwrap_err()
                .kind(),
            StoreErrorKind::Internal
        );
        assert_eq!(
            inspect(&connection, file()).unwrap(),
            Found::Store { version: supported() }
        );
        assert!(
            connection.prepare("SELECT * FROM extra").is_err(),
            "the first half of the step was undone"
        );

        steps.pop();
        steps.push(Step::Sql("ALTER TABLE kv_store ADD COLUMN extra"));
        migrate_by(&steps, &mut connection, file(), &mut |_| {}).unwrap();
        connection.prepare("SELECT extra FROM kv_store").unwrap();
        assert_eq!(
            inspect(&connection, file()).unwrap_err().kind(),
            StoreErrorKind::Newer,
            "for a program without that step"
        );
    }

    #[test]
    fn a_foreign_database_is_told_from_an_empty_one() {
        for sql in [
            "CREATE TABLE theirs (a)",
            "PRAGMA application_id = 5",
            "PRAGMA user_version = 5",
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(sql).unwrap();
            assert!(
                matches!(
                    inspect(&connection, file()),
                    Err(StoreError::Open(OpenError::Foreign { .. }))
                ),
                "{sql}"
            );
            assert!(
                matches!(
                    migrate(&mut connection, file(), &mut |_| {}),
                    Err(StoreError::Open(OpenError::Foreign { .. }))
                ),
                "{sql}"
            );
        }
    }
}
