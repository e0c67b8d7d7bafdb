//! Copies of a store in one file: made beside the writer, which does not wait for them, checked before they count, and put into a new
//! data directory as a store of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::authors::Authors;
use super::directory::{DataDir, create_private, size_of};
use super::error::StoreError;
use super::files;
use super::migrations::{self, Found};
use super::opening;
use super::reader::Readers;
use super::rows::{self, damaged, proved};
use super::table::{RowId, Table, for_either_table};

/// Everything that is held at one moment, without free pages, as a file that needs no log beside it.
const COPY: &str = "VACUUM INTO ?1";
const CHECK: &str = "PRAGMA integrity_check(1)";
const FORGET_NAME: &str = "DELETE FROM meta WHERE name = 'store_id'";
for_either_table!(fn records_sql = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence FROM "
    TABLE " NOT INDEXED WHERE digest IS NOT NULL ORDER BY sequence");

/// How often what was copied is brought to the disk meanwhile: a flood of it all at the end would make every other write wait.
const SYNC_EVERY: Duration = Duration::from_millis(20);

/// A copy that was made and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackedUp {
    /// Records in it, deletions and conflicts included.
    pub records: u64,
    /// Its size.
    pub bytes: u64,
}

impl Readers {
    /// Copies the store, as it is at this moment, into a new file that only its owner can read. It has its name once it is complete
    /// and has been checked: its structure, and every record against its digest. The store is written to meanwhile as ever, but its
    /// log cannot be emptied.
    ///
    /// # Errors
    /// If the file is there already, something cannot be read or written, or the copy is not sound. No file is left then.
    pub fn back_up(&self, file: &Path) -> Result<BackedUp, StoreError> {
        if size_of(file)?.is_some() {
            return Err(StoreError::io("make", file)(std::io::ErrorKind::AlreadyExists.into()));
        }
        let part = opening::beside(file, ".part");
        // One that a crash left behind is worthless.
        files::remove(&part)?;
        create_private(&part)?;
        let copied = copy(self.file(), &part).and_then(|()| check(&part, migrations::supported()));
        let finished = copied.and_then(|records| {
            files::sync_file(&part)?;
            // It must not take the place of what has come there meanwhile.
            fs::hard_link(&part, file).map_err(StoreError::io("make", file))?;
            files::sync_directory(file)?;
            Ok(BackedUp {
                records,
                bytes: size_of(file)?.unwrap_or_default(),
            })
        });
        let removed = files::remove(&part);
        finished.and_then(|finished| removed.map(|()| finished))
    }
}

fn copy(store: &Path, part: &Path) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(store, cause);
    let connection = opening::reader(store)?;
    // What it writes is another file.
    connection.pragma_update(None, "query_only", false).map_err(failed)?;
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| sync_until(part, &is_done));
        let copied = connection.execute(COPY, [part.to_string_lossy()]);
        is_done.store(true, Ordering::Relaxed);
        copied.map(drop).map_err(|cause| StoreError::sqlite(part, cause))
    })
}

/// Brings the file to the disk again and again, little by little.
fn sync_until(file: &Path, is_done: &AtomicBool) {
    let Ok(file) = File::options().write(true).open(file) else {
        return;
    };
    while !is_done.load(Ordering::Relaxed) {
        std::thread::sleep(SYNC_EVERY);
        // What fails here fails again at the end, where it is told.
        let _ = file.sync_data();
    }
}

/// Checks a copy, which nobody writes to, and counts its records.
fn check(file: &Path, version_max: i64) -> Result<u64, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags).map_err(failed)?;
    let why = match migrations::inspect(&connection, file)? {
        Found::Store { version } if version <= version_max => None,
        _ => Some("it holds no store".to_owned()),
    };
    let structure: String = connection.query_row(CHECK, [], |row| row.get(0)).map_err(failed)?;
    let why = why.or((structure != "ok").then_some(structure));
    if let Some(why) = why {
        let file = file.to_owned();
        return Err(StoreError::Damaged { file, why });
    }
    let mut records = 0;
    let mut authors = Authors::default();
    for table in [Table::Values, Table::Conflicts] {
        let mut statement = connection.prepare(records_sql(table)).map_err(failed)?;
        let mut found = statement.query([]).map_err(failed)?;
        while let Some(row) = found.next().map_err(failed)? {
            let (key, record) = rows::whole(row, &mut authors).map_err(failed)?;
            let digest = row.get_ref(6).map_err(failed)?;
            if let Err(why) = proved(record, digest) {
                let number = row.get(7).map_err(failed)?;
                let row = RowId { table, number };
                return Err(damaged(file, key, (row, digest), why));
            }
            records += 1;
        }
    }
    Ok(records)
}

/// Puts a copy into a data directory that has no store, as a new store: other nodes take it for one that they have never seen.
///
/// # Errors
/// If it is no sound copy, or cannot be read or written. Nothing is left in the directory then.
pub fn restore(backup: &Path, directory: &DataDir) -> Result<(), StoreError> {
    let file = directory.paths().store_file();
    let part = opening::beside(&file, ".part");
    files::remove_all(&part)?;
    create_private(&part)?;
    let restored = put(backup, &part).and_then(|()| files::rename(&part, &file));
    if restored.is_err() {
        files::remove_all(&part)?;
    }
    restored.and_then(|()| files::sync_directory(&file))
}

fn put(backup: &Path, part: &Path) -> Result<(), StoreError> {
    let log: PathBuf = opening::beside(backup, "-wal");
    if size_of(&log)?.is_some_and(|bytes| bytes > 0) {
        return Err(StoreError::Damaged {
            file: backup.to_owned(),
            why: format!(
                "there is a log beside it, {}, so it is a store in use and no backup: make one with `p2p-sync backup`",
                log.display()
            ),
        });
    }
    let mut from = File::open(backup).map_err(StoreError::io("read", backup))?;
    let mut to = File::options()
        .write(true)
        .open(part)
        .map_err(StoreError::io("write", part))?;
    std::io::copy(&mut from, &mut to).map_err(StoreError::io("copy", backup))?;
    drop(to);
    let failed = |cause| StoreError::sqlite(part, cause);
    let connection = Connection::open(part).map_err(failed)?;
    migrations::inspect(&connection, backup)?;
    connection.execute(FORGET_NAME, []).map_err(failed)?;
    connection.close().map_err(|(_, cause)| failed(cause))?;
    files::sync_file(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, deleted, key, put as record, store};
    use p2p_sync_core::store::Store;

    #[test]
    fn a_backup_is_one_moment_complete_and_private() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[record("a", b"1", 5), deleted("b", 6)]);
        let readers = Readers::open(&place.file, 1).unwrap();
        let file = place.file.with_extension("backup");
        let made = readers.back_up(&file).unwrap();
        assert_eq!(made.records, 2);
        assert_eq!(made.bytes, fs::metadata(&file).unwrap().len());
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777,
            0o600
        );
        assert!(!opening::beside(&file, ".part").exists());
        let before = fs::read(&file).unwrap();
        store(&mut sqlite, &[record("c", b"1", 7)]);
        assert!(readers.back_up(&file).is_err(), "it is there already");
        assert_eq!(fs::read(&file).unwrap(), before);
        assert_eq!(check(&file, migrations::supported()).unwrap(), 2);
    }

    #[test]
    fn what_is_damaged_is_no_backup() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[record("a", b"1", 5), record("b", b"1", 6)]);
        place.shell("UPDATE kv_store SET digest = x'00112233445566778899aabbccddeeff' WHERE key = 'b'");
        let readers = Readers::open(&place.file, 1).unwrap();
        let file = place.file.with_extension("backup");
        let error = readers.back_up(&file).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
        assert!(!file.exists() && !opening::beside(&file, ".part").exists());
    }

    #[test]
    fn a_restored_store_has_the_data_and_another_name() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[record("a", b"1", 5), deleted("b", 6)]);
        let file = place.file.with_extension("backup");
        Readers::open(&place.file, 1).unwrap().back_up(&file).unwrap();
        let parent = tempfile::tempdir().unwrap();
        let directory = DataDir::open(&parent.path().join("data")).unwrap();
        restore(&file, &directory).unwrap();
        let mut restored =
            crate::store::SqliteStore::open(&directory.paths().store_file(), &p2p_sync_core::NetworkName::default())
                .unwrap();
        assert_ne!(restored.id(), sqlite.id());
        assert_eq!(restored.get(&key("a")).unwrap(), Some(record("a", b"1", 5)));
        assert_eq!(restored.get(&key("b")).unwrap(), Some(deleted("b", 6)));
        restored.close().unwrap();
        let other = DataDir::open(&parent.path().join("other")).unwrap();
        fs::write(&file, b"no database at all, but long enough to look at".repeat(20)).unwrap();
        assert!(restore(&file, &other).is_err());
        let left: Vec<_> = fs::read_dir(parent.path().join("other"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.iter().all(|name| !name.to_string_lossy().starts_with("store.db")),
            "{left:?}"
        );
    }
}
