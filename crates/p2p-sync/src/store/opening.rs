//! From a path to a connection: checks a file before it is written to, and sets up a connection. A refused file is not
//! changed. `sqlite` and `reader` use the connection.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use p2p_sync_core::NetworkName;
use p2p_sync_core::text::shortened;
use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::conflicts;
use super::directory::{create_private, size_of};
use super::error::{OpenError, StoreError};
use super::files;
use super::migrations::{self, Found, Observer};
use super::others;
use super::pairing;
use super::rows;
use super::shape;

/// SQLite before 3.51.3 may damage a file in WAL mode that has two or more connections.
const SQLITE_MIN: i32 = 3_051_003;

/// The smallest page, and so the smallest file, that SQLite knows.
pub(super) const PAGE_BYTES_MIN: u64 = 512;

/// How long a statement waits for a lock while the file is opened, and a reader at any time. Within p2p-sync nobody waits: only
/// other programs lock the file.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// What is left of the WAL file after it was emptied, in bytes: above the 4 MiB at which SQLite empties it by itself.
const WAL_KEPT_BYTES: i64 = 8 * 1024 * 1024;
/// A reader's page cache in KiB; behind it stands that of the operating system.
const READER_CACHE_KIB: i64 = 1024;
/// The writer's page cache in KiB: the upper pages of the indexes, which are written at random places.
pub const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// More than the statements of this room.
const STATEMENTS_MAX: usize = 64;

const NETWORK: &str = "SELECT value FROM meta WHERE name = 'network'";

/// A connection that may write, to a file that is made if need be and brought to the supported version, of which somebody is told.
///
/// # Errors
/// When the file, or the library, is nothing that can be worked with.
pub(super) fn writer(file: &Path, network: &NetworkName, observe: Observer<'_>) -> Result<Connection, StoreError> {
    check_sqlite(rusqlite::version_number())?;
    look(file, network)?;
    if size_of(file)?.is_none() {
        create(file, network)?;
    }
    writer_in_place(file, network, observe)
}

/// Makes a new store in one step: whenever the process ends, there is a whole one or none. So an empty file was emptied by
/// somebody.
fn create(file: &Path, network: &NetworkName) -> Result<(), StoreError> {
    let fresh = beside(file, ".new");
    // One that a crash left behind is worthless.
    files::remove_all(&fresh)?;
    create_private(&fresh)?;
    let closed = writer_in_place(&fresh, network, &mut |_| {})?.close();
    closed.map_err(|(_, cause)| StoreError::sqlite(&fresh, cause))?;
    if size_of(&beside(&fresh, "-wal"))?.is_some() {
        return Err(StoreError::Locked { file: fresh });
    }
    files::sync_file(&fresh)?;
    files::rename(&fresh, file)?;
    files::sync_directory(file)
}

fn writer_in_place(file: &Path, network: &NetworkName, observe: Observer<'_>) -> Result<Connection, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    // Closing moves the WAL into the file. Until all is known to be well, closing must leave both alone.
    checkpoint_on_close(&connection, false).map_err(failed)?;
    // SQLite opens what may not be written to be read.
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::ReadOnly { file: file.to_owned() });
    }
    migrations::inspect(&connection, file)?;
    set_up(&connection, file)?;
    migrations::migrate(&mut connection, file, observe)?;
    shape::restore(&connection, file)?;
    join_network(&connection, file, network)?;
    others::watch(&connection).map_err(|error| unreadable(file, error))?;
    pairing::prepare(&connection).map_err(|error| unreadable(file, error))?;
    rows::prepare(&connection).map_err(|error| unreadable(file, error))?;
    conflicts::prepare(&connection).map_err(|error| unreadable(file, error))?;
    checkpoint_on_close(&connection, true).map_err(failed)?;
    Ok(connection)
}

/// A connection that can only read, to a file that a writer has open.
///
/// # Errors
/// When the file is not a store of the supported version, or cannot be read.
pub(super) fn reader(file: &Path) -> Result<Connection, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    if migrations::inspect(&connection, file)?
        != (Found::Store {
            version: migrations::supported(),
        })
    {
        return Err(StoreError::Misuse("a reader was opened before the writer"));
    }
    connection.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "query_only", true).map_err(failed)?;
    connection
        .pragma_update(None, "cache_size", -READER_CACHE_KIB)
        .map_err(failed)?;
    Ok(connection)
}

/// Sets whether closing the connection moves the WAL into the file.
pub(super) fn checkpoint_on_close(connection: &Connection, on: bool) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !on)
        .map(drop)
}

/// The path of a file that SQLite keeps beside the store.
pub(super) fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The version of the library, such as `3.54.1`.
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Refuses a library with the WAL-reset bug, by its number as in `3051003`.
fn check_sqlite(number: i32) -> Result<(), StoreError> {
    if number >= SQLITE_MIN {
        return Ok(());
    }
    Err(OpenError::SqliteTooOld {
        found: format!("{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000),
    }
    .into())
}

/// Looks at the file in a way that changes nothing, and refuses it if it is not a store of this network.
fn look(file: &Path, network: &NetworkName) -> Result<(), StoreError> {
    let damaged = |why: &str| {
        Err(StoreError::Damaged {
            file: file.to_owned(),
            why: why.to_owned(),
        })
    };
    let bytes = |path: &Path| size_of(path).map(Option::unwrap_or_default);
    let has_wal = bytes(&beside(file, "-wal"))? > 0;
    match size_of(file)? {
        // SQLite would take the file for new, and delete the WAL with whatever was committed to it.
        None | Some(0) if has_wal => return damaged("it is empty or missing, but its -wal file is not"),
        None => return Ok(()),
        Some(0) => return Err(StoreError::Emptied { file: file.to_owned() }),
        // SQLite overwrites a file of a single byte.
        Some(1..PAGE_BYTES_MIN) => return damaged("it is too short for a database"),
        Some(_) => {}
    }
    if has_wal {
        pairing::check(file)?;
    }
    if bytes(&beside(file, "-journal"))? > 0 {
        // The very first start was cut off. The writer undoes it, and then looks itself.
        return Ok(());
    }
    let connection = looking(file)?;
    match migrations::inspect(&connection, file)? {
        Found::Nothing => Ok(()),
        Found::Store { .. } => recorded_as(&connection, file, network),
    }
}

/// The network that a store belongs to; none where that cannot be told, which whoever opens the store will hear about.
pub fn network_of(file: &Path) -> Option<NetworkName> {
    size_of(file).ok()??;
    let recorded = recorded_network(&looking(file).ok()?);
    recorded.ok()??.parse().ok()
}

/// A connection that changes nothing, not even files beside this one if there are none.
///
/// # Errors
/// When the file cannot be opened.
pub(super) fn looking(file: &Path) -> Result<Connection, StoreError> {
    let has_wal = size_of(&beside(file, "-wal"))?.is_some_and(|bytes| bytes > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    // Without a WAL the file says all, and "immutable" keeps SQLite from making one just for looking.
    let uri = uri(file, if has_wal { "mode=ro" } else { "immutable=1" });
    Connection::open_with_flags(uri, flags).map_err(|cause| StoreError::sqlite(file, cause))
}

/// Makes sure that a file is of this network, if it says of which one it is.
pub(super) fn recorded_as(connection: &Connection, file: &Path, network: &NetworkName) -> Result<(), StoreError> {
    match recorded_network(connection).map_err(|error| unreadable(file, error))? {
        Some(found) => same_network(file, found, network),
        None => Ok(()),
    }
}

/// Turns on what durability rests on, and makes sure that it is on.
fn set_up(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    connection.busy_timeout(LOCK_PATIENCE).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    let mode: String = set(connection, "journal_mode", "wal").map_err(failed)?;
    if mode != "wal" {
        return Err(OpenError::Unsupported {
            file: file.to_owned(),
            asked: "journal_mode=WAL",
            answer: mode,
        }
        .into());
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    let level: i64 = connection
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .map_err(failed)?;
    if level != 2 {
        return Err(OpenError::Unsupported {
            file: file.to_owned(),
            asked: "synchronous=FULL",
            answer: level.to_string(),
        }
        .into());
    }
    connection
        .pragma_update(None, "cache_size", -WRITER_CACHE_KIB)
        .map_err(failed)?;
    // On macOS a plain sync leaves the data in the drive's own memory; elsewhere these two do nothing.
    connection.pragma_update(None, "fullfsync", true).map_err(failed)?;
    connection
        .pragma_update(None, "checkpoint_fullfsync", true)
        .map_err(failed)?;
    let _: i64 = set(connection, "journal_size_limit", WAL_KEPT_BYTES).map_err(failed)?;
    Ok(())
}

/// Sets what answers with the new value.
fn set<T: FromSql>(connection: &Connection, pragma: &str, value: impl rusqlite::ToSql) -> rusqlite::Result<T> {
    connection.pragma_update_and_check(None, pragma, value, |row| row.get(0))
}

fn recorded_network(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row(NETWORK, [], |row| row.get(0)).optional()
}

fn same_network(file: &Path, found: String, asked: &NetworkName) -> Result<(), StoreError> {
    if found == asked.as_str() {
        return Ok(());
    }
    let found = shortened(found.as_bytes());
    Err(OpenError::OtherNetwork {
        file: file.to_owned(),
        found,
        asked: asked.as_str().to_owned(),
    }
    .into())
}

/// Records the name of the network in a new store, and compares it in any other.
fn join_network(connection: &Connection, file: &Path, network: &NetworkName) -> Result<(), StoreError> {
    if let Some(found) = recorded_network(connection).map_err(|error| unreadable(file, error))? {
        return same_network(file, found, network);
    }
    let insert = "INSERT INTO meta (name, value) VALUES ('network', ?1)";
    connection
        .execute(insert, [network.as_str()])
        .map(drop)
        .map_err(|cause| StoreError::sqlite(file, cause))
}

/// A table that is missing or was changed by hand is damage; anything else is what SQLite says.
fn unreadable(file: &Path, error: rusqlite::Error) -> StoreError {
    match StoreError::sqlite(file, error) {
        StoreError::Sqlite { file, cause } => StoreError::Damaged {
            file,
            why: cause.to_string(),
        },
        other => other,
    }
}

/// The path as a URI that SQLite turns back into exactly this path.
pub(super) fn uri(file: &Path, query: &str) -> String {
    #[cfg(unix)]
    let path = std::os::unix::ffi::OsStrExt::as_bytes(file.as_os_str()).to_vec();
    #[cfg(not(unix))]
    let path = file.to_string_lossy().replace('\\', "/").into_bytes();
    // A path that starts with a drive letter needs a slash before it, and a relative one must not get any.
    let mut uri = String::from(if path.get(1) == Some(&b':') && cfg!(windows) {
        "file:///"
    } else if path.starts_with(b"/") {
        "file://"
    } else {
        "file:"
    });
    for byte in path {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' | b':' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push('?');
    uri.push_str(query);
    uri
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::store::testing::{Place, put, store};
    use crate::store::{SqliteStore, StoreErrorKind};

    fn refused(place: &Place, kind: StoreErrorKind) -> StoreError {
        let before = place.content();
        let error = SqliteStore::open(&place.file, &NetworkName::default()).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let mut after = place.content();
        // Reading through a WAL takes its index, which SQLite makes anew and which holds no data.
        if before.contains_key(&beside(&place.file, "-wal")) {
            after.remove(&beside(&place.file, "-shm"));
        }
        let mut before = before;
        before.remove(&beside(&place.file, "-shm"));
        assert!(before == after, "a file was changed, made or removed");
        error
    }

    /// A store that was closed in good order: one file.
    fn closed() -> Place {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (0..100).map(|n| put(&format!("key {n}"), &[b'v'; 500], 5)).collect();
        store(&mut sqlite, &records);
        sqlite.close().unwrap();
        assert_eq!(place.content().len(), 1);
        place
    }

    #[test]
    fn a_library_with_the_bug_is_refused() {
        for number in [3_051_003, 3_054_001, 4_000_000] {
            assert!(check_sqlite(number).is_ok(), "{number}");
        }
        for (number, name) in [(3_051_002, "3.51.2"), (3_046_001, "3.46.1"), (3_007_000, "3.7.0")] {
            let error = check_sqlite(number).unwrap_err();
            assert!(
                matches!(&error, StoreError::Open(OpenError::SqliteTooOld { found }) if found == name),
                "{error}"
            );
        }
        check_sqlite(rusqlite::version_number()).unwrap();
    }

    #[test]
    fn durability_is_on() {
        let place = Place::new();
        let store = place.open();
        let pragma = |name| {
            store
                .connection()
                .unwrap()
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
        assert_eq!(pragma("synchronous"), 2.into());
        assert_eq!(pragma("wal_autocheckpoint"), 1000.into());
    }

    #[test]
    fn a_file_system_without_wal_is_refused() {
        let connection = Connection::open_in_memory().unwrap();
        let error = set_up(&connection, Path::new("store.db")).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unsupported);
        assert!(error.to_string().contains(r#"answered "memory""#), "{error}");
    }

    #[test]
    fn a_newer_file_is_refused_untouched() {
        let place = closed();
        place.shell("PRAGMA user_version = 99; CREATE TABLE news (a)");
        let error = refused(&place, StoreErrorKind::Newer);
        assert!(
            matches!(error, StoreError::Open(OpenError::Newer { found: 99, supported, .. }) if supported == migrations::supported())
        );
    }

    #[test]
    fn a_newer_version_that_stands_in_the_wal_only_is_refused_untouched() {
        let place = closed();
        let newer = Connection::open(&place.file).unwrap();
        newer.execute_batch("PRAGMA user_version = 99").unwrap();
        let crashed = place.crashed();
        assert!(crashed.content().len() == 2 && crashed.content()[&crashed.file] == fs::read(&place.file).unwrap());
        refused(&crashed, StoreErrorKind::Newer);
    }

    #[test]
    fn another_network_is_refused_untouched() {
        let lab = "lab".parse().unwrap();
        let place = closed();
        let before = place.content();
        let error = SqliteStore::open(&place.file, &lab).unwrap_err();
        assert!(
            matches!(&error, StoreError::Open(OpenError::OtherNetwork { found, asked, .. }) if found.is_empty() && asked == "lab"),
            "{error}"
        );
        assert!(before == place.content());
        drop(place.open());

        let other = Place::new();
        drop(SqliteStore::open(&other.file, &lab).unwrap());
        refused(&other, StoreErrorKind::OtherNetwork);
        drop(SqliteStore::open(&other.file, &lab).unwrap());
    }

    #[test]
    fn what_is_no_store_is_refused_untouched() {
        let theirs = Place::new();
        theirs.shell("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)");
        refused(&theirs, StoreErrorKind::Unsupported);
        for content in [&b"x"[..], b"not a database", &[0; 4096], &[b'#'; 10_000]] {
            let place = Place::new();
            fs::write(&place.file, content).unwrap();
            refused(&place, StoreErrorKind::Damaged);
        }
        let directory = Place::new();
        fs::create_dir(&directory.file).unwrap();
        let error = SqliteStore::open(&directory.file, &NetworkName::default()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Io, "{error}");
        assert!(error.to_string().contains("is a directory"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused_untouched() {
        let whole = fs::read(&closed().file).unwrap();
        let place = Place::new();
        fs::write(&place.file, &whole[..whole.len() - 4096]).unwrap();
        refused(&place, StoreErrorKind::Damaged);

        for (at, why) in [
            (0, "the magic"),
            (16, "the page size"),
            (100, "the root of the schema"),
            (103, "the number of tables"),
        ] {
            let place = Place::new();
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            bytes[at + 1] ^= 0x55;
            fs::write(&place.file, bytes).unwrap();
            let error = refused(&place, StoreErrorKind::Damaged);
            assert!(error.to_string().contains("store.db is damaged ("), "{why}: {error}");
        }
    }

    #[test]
    fn a_missing_table_is_damage() {
        for sql in [
            "DROP TABLE kv_store",
            "DROP TABLE meta",
            "ALTER TABLE kv_store RENAME COLUMN seen TO viewed",
        ] {
            let place = closed();
            place.shell(sql);
            let error = SqliteStore::open(&place.file, &NetworkName::default()).unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Damaged, "{sql}: {error}");
        }
    }

    #[test]
    fn a_wal_without_its_file_is_not_thrown_away() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let crashed = place.crashed();
        fs::remove_file(&crashed.file).unwrap();
        refused(&crashed, StoreErrorKind::Damaged);
        fs::write(&crashed.file, b"").unwrap();
        refused(&crashed, StoreErrorKind::Damaged);
    }

    #[test]
    fn an_emptied_file_is_not_taken_for_a_new_store() {
        let place = closed();
        fs::write(&place.file, b"").unwrap();
        let error = refused(&place, StoreErrorKind::Damaged);
        assert!(matches!(error, StoreError::Emptied { .. }), "{error}");
    }

    #[test]
    fn a_first_start_that_was_cut_off_is_taken_up_again() {
        // Before it was whole.
        let place = Place::new();
        fs::write(place.sibling(".new"), b"half a store").unwrap();
        fs::write(place.sibling(".new-wal"), b"half a log").unwrap();
        drop(place.open());
        assert!(
            place
                .content()
                .keys()
                .all(|name| !name.to_string_lossy().contains(".new"))
        );
        // In WAL mode, but without any table.
        let place = Place::new();
        place.shell("PRAGMA journal_mode = WAL");
        drop(place.open());
        // With a journal that undoes the first page: its size was none.
        let place = Place::new();
        let begun = Connection::open(&place.file).unwrap();
        begun
            .execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE a (b); INSERT INTO a VALUES (zeroblob(500000))")
            .unwrap();
        let crashed = place.crashed();
        assert!(fs::metadata(beside(&crashed.file, "-journal")).unwrap().len() > 0);
        drop(begun);
        drop(crashed.open());
    }

    #[cfg(unix)]
    #[test]
    fn any_path_is_opened_as_it_is() {
        use std::os::unix::ffi::OsStrExt;

        use crate::store::testing::key;
        use p2p_sync_core::store::Store;

        let dir = tempfile::tempdir().unwrap();
        for name in [&b"a b?mode=memory#x%41&c"[..], "日本".as_bytes(), b"k\xff"] {
            let sub = dir.path().join(std::ffi::OsStr::from_bytes(name));
            fs::create_dir(&sub).unwrap();
            let file = sub.join("store.db");
            let mut sqlite = SqliteStore::open(&file, &NetworkName::default()).unwrap();
            store(&mut sqlite, &[put("a", b"1", 5)]);
            sqlite.close().unwrap();
            let mut sqlite = SqliteStore::open(&file, &NetworkName::default()).unwrap();
            assert_eq!(sqlite.get(&key("a")).unwrap(), Some(put("a", b"1", 5)));
            assert!(file.exists());
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        for file in place.content().keys() {
            assert_eq!(
                fs::metadata(file).unwrap().permissions().mode() & 0o777,
                0o600,
                "{}",
                file.display()
            );
        }
    }
}
