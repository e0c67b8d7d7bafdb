//! What the tests of this room share, and the other program that those of the node need.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use p2p_sync_core::store::Store;
use p2p_sync_core::{Content, Key, NetworkName, NodeId, Record, Seen, Timestamp, Value};

use super::SqliteStore;

/// A directory that is removed with this value, and the path of a store in it.
pub(super) struct Place {
    pub(super) dir: tempfile::TempDir,
    pub(super) file: PathBuf,
}

impl Place {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("store.db");
        Self { dir, file }
    }

    /// The store of the default network.
    pub(super) fn open(&self) -> SqliteStore {
        SqliteStore::open(&self.file, &NetworkName::default()).unwrap()
    }

    /// Every file with its content.
    pub(super) fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        content(self.dir.path())
    }

    /// The files as a crash at this moment would leave them, in another place.
    pub(super) fn crashed(&self) -> Self {
        Self::crashed_in(self.dir.path())
    }

    /// The same of the files in a directory.
    pub(super) fn crashed_in(directory: &Path) -> Self {
        let copy = Self::new();
        for (path, content) in content(directory) {
            let name = path.file_name().unwrap().to_owned();
            // The index of the WAL is shared memory, which does not survive.
            if name != "store.db-shm" {
                fs::write(copy.dir.path().join(name), content).unwrap();
            }
        }
        copy
    }

    /// The path of a file that SQLite keeps beside the store.
    pub(super) fn sibling(&self, suffix: &str) -> PathBuf {
        super::opening::beside(&self.file, suffix)
    }

    /// Runs SQL like somebody with an SQLite shell.
    pub(super) fn shell(&self, sql: &str) {
        shell(&self.file, sql);
    }

    /// The texts that a query gives to somebody with an SQLite shell.
    pub(super) fn rows(&self, sql: &str) -> Vec<String> {
        let connection = rusqlite::Connection::open(&self.file).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }
}

fn content(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Another program that has begun to write and does not come to an end, as long as this is held.
pub(crate) struct Lock {
    _begun: rusqlite::Connection,
}

impl Lock {
    pub(crate) fn of(file: &Path) -> Self {
        let begun = rusqlite::Connection::open(file).unwrap();
        begun.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self { _begun: begun }
    }
}

/// Another program that empties the table of values.
pub(crate) fn delete_all(file: &Path) {
    shell(file, "DELETE FROM kv_store");
}

pub(super) fn shell(file: &Path, sql: &str) {
    rusqlite::Connection::open(file).unwrap().execute_batch(sql).unwrap();
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(super) fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

pub(super) fn id(seed: u16) -> NodeId {
    let mut bytes = [7; 38];
    bytes[..2].copy_from_slice(&seed.to_be_bytes());
    NodeId::from_bytes(&bytes).unwrap()
}

pub(super) fn put(text: &str, value: &[u8], nanos: i64) -> Record {
    let content = Content::Put(Value::new(value).unwrap());
    Record {
        content,
        ..deleted(text, nanos)
    }
}

pub(super) fn deleted(text: &str, nanos: i64) -> Record {
    Record {
        key: key(text),
        content: Content::Deleted,
        timestamp: at(nanos),
        author: id(1),
        seen: Seen::everything_before(at(nanos)),
        signature: None,
    }
}

/// Stores all of these in one transaction.
pub(super) fn store(store: &mut SqliteStore, records: &[Record]) {
    let mut transaction = store.begin().unwrap();
    for record in records {
        transaction.put(record).unwrap();
    }
    transaction.commit().unwrap();
}
