//! The shape of the file and how it came to be: one step a version, in order. A released step is never changed or
//! removed, only followed by another, because files that went through it exist. What the rows mean is left to `rows`
//! and those who read them.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior, params};

use super::columns;
use super::error::StoreError;
use super::others;
use super::rows::{self, Authors};

/// Marks the file as ours, so that no other SQLite file is taken for a store: the letters `p2ps`.
const APPLICATION_ID: i32 = 0x7032_7073;

/// What leads from one version to the next.
#[derive(Clone, Copy)]
enum Step {
    Sql(&'static str),
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// The step at index N leads from version N to N + 1.
const STEPS: &[Step] = &[
    Step::Sql(FIRST),
    Step::Code(second),
    Step::Sql(THIRD),
    Step::Code(fourth),
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
const NAME_STORE: &str = "INSERT INTO meta (name, value) VALUES ('store_id', ?1)";
const UNINDEXED: &str = "SELECT value, timestamp, author, deleted_at, base, key, rowid FROM kv_store WHERE rowid > ?1 \
    ORDER BY rowid LIMIT 1000";
const INDEX: &str = "UPDATE kv_store SET key_hash = ?2, digest = ?3 WHERE rowid = ?1";

/// The indexes come last, so that each is written once, in its order.
fn second(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(SYNC_COLUMNS)?;
    fill_columns(connection)?;
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

/// A row that is no record keeps NULL in the new columns, as if another program had written it.
fn fill_columns(connection: &Connection) -> rusqlite::Result<()> {
    let mut authors = Authors::default();
    let mut select = connection.prepare(UNINDEXED)?;
    let mut update = connection.prepare(INDEX)?;
    let mut last = i64::MIN;
    loop {
        let mut rows = select.query([last])?;
        let mut page = Vec::new();
        let mut read = false;
        while let Some(row) = rows.next()? {
            (read, last) = (true, row.get(6)?);
            if let (_, Ok(record)) = rows::whole(row, &mut authors)? {
                page.push((last, columns::columns(&record)));
            }
        }
        if !read {
            return Ok(());
        }
        for (rowid, columns) in page {
            update.execute(params![rowid, columns.key_hash(), columns.digest])?;
        }
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
            Err(StoreError::Foreign { file: file.to_owned() })
        };
    }
    if version > supported() {
        return Err(StoreError::Newer {
            file: file.to_owned(),
            found: version,
            supported: supported(),
        });
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
pub(super) fn migrate(connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
    migrate_by(STEPS, connection, file)
}

fn migrate_by(steps: &[Step], connection: &mut Connection, file: &Path) -> Result<(), StoreError> {
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
    for step in steps.iter().skip(done) {
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql),
            Step::Code(code) => code(&transaction),
        }
        .map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(failed)?;
    transaction
        .pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

/// A file as the first version made it.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) fn first_version(file: &Path) {
    let mut connection = Connection::open(file).unwrap();
    migrate_by(&STEPS[..1], &mut connection, file).unwrap();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use p2p_sync_core::item::Item;
    use p2p_sync_core::store::Store;
    use p2p_sync_core::sync::PageLimit;

    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, deleted, key, put};

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

    fn file() -> &'static Path {
        Path::new("store.db")
    }

    #[test]
    fn an_empty_database_becomes_a_store_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert_eq!(inspect(&connection, file()).unwrap(), Found::Nothing);
        migrate(&mut connection, file()).unwrap();
        assert_eq!(
            inspect(&connection, file()).unwrap(),
            Found::Store { version: supported() }
        );
        connection
            .execute("INSERT INTO kv_store (key, timestamp, author) VALUES ('k', 1, 'a')", [])
            .unwrap();
        migrate(&mut connection, file()).unwrap();
        let rows: i64 = connection
            .query_row("SELECT COUNT(*) FROM kv_store", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[test]
    fn the_first_released_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..1], &mut connection, file()).unwrap();
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
        migrate_by(&STEPS[..2], &mut new, file()).unwrap();
        let mut old = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..1], &mut old, file()).unwrap();
        old.execute_batch("INSERT INTO kv_store VALUES ('k', 'v', 1, 'a', NULL, NULL)")
            .unwrap();
        migrate_by(&STEPS[..2], &mut old, file()).unwrap();
        assert_eq!(shape(&new), shape(&old));
        assert_eq!(shape(&new), SECOND_SHAPE);
    }

    #[test]
    fn the_third_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..3], &mut connection, file()).unwrap();
        let mut expected: Vec<_> = SECOND_SHAPE.iter().chain(THIRD_ADDS).collect();
        expected.sort();
        assert_eq!(shape(&connection).iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_fourth_shape_is_pinned() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate_by(&STEPS[..4], &mut connection, file()).unwrap();
        let mut expected: Vec<_> = SECOND_SHAPE.iter().chain(THIRD_ADDS).chain(FOURTH_ADDS).collect();
        expected.sort();
        assert_eq!(shape(&connection).iter().collect::<Vec<_>>(), expected);
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
        let page = store.page_by_time(None, PageLimit::FULL).unwrap();
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
        migrate(&mut connection, file()).unwrap();
        let mut steps = STEPS.to_vec();
        steps.push(Step::Sql("CREATE TABLE extra (a); CREATE TABLE kv_store (a)"));
        assert_eq!(
            migrate_by(&steps, &mut connection, file()).unwrap_err().kind(),
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
        migrate_by(&steps, &mut connection, file()).unwrap();
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
                matches!(inspect(&connection, file()), Err(StoreError::Foreign { .. })),
                "{sql}"
            );
            assert!(
                matches!(migrate(&mut connection, file()), Err(StoreError::Foreign { .. })),
                "{sql}"
            );
        }
    }
}
