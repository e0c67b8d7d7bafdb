//! A store of an earlier version is upgraded when the program starts. Killed at any moment meanwhile, it leaves the file as it was, or
//! upgraded, but nothing between; and the next start finishes what was begun.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Instant;

use p2p_sync_testbed::{Launch, Node, tempfile};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const RECORDS: u64 = 100_000;
/// How often it is killed.
const ROUNDS: u32 = 8;

/// What the fourth version of the file looks like. Never changed: files of this shape exist.
const FOURTH_VERSION: &str = "
    PRAGMA journal_mode = WAL;
    CREATE TABLE kv_store (
        key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, base INTEGER,
        key_hash INTEGER, digest BLOB
    );
    CREATE INDEX kv_store_deleted_at ON kv_store (deleted_at) WHERE deleted_at IS NOT NULL;
    CREATE INDEX kv_store_time_key ON kv_store (timestamp, key);
    CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest);
    CREATE TABLE meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE peer_address (
        peer TEXT NOT NULL, address TEXT NOT NULL, last_reached INTEGER NOT NULL, PRIMARY KEY (peer, address)
    ) WITHOUT ROWID;
    CREATE TABLE sync_position (
        source INTEGER NOT NULL PRIMARY KEY, timestamp INTEGER NOT NULL, key TEXT NOT NULL, updated INTEGER NOT NULL
    );
    CREATE TABLE conflict (
        number INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, loser_digest BLOB NOT NULL, noticed INTEGER NOT NULL,
        bytes INTEGER NOT NULL, loser_timestamp INTEGER NOT NULL, loser_author TEXT NOT NULL, loser_base INTEGER,
        winner_timestamp INTEGER NOT NULL, winner_author TEXT NOT NULL, winner_base INTEGER, loser_value TEXT,
        winner_value TEXT, UNIQUE (key, loser_digest)
    );
    CREATE INDEX conflict_key ON conflict (key);
    CREATE TABLE summary (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), bytes BLOB NOT NULL);
    CREATE TABLE damaged_row (number INTEGER NOT NULL PRIMARY KEY, key, value, timestamp, author, deleted_at, base, digest);
    CREATE TABLE change_of_others (id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL);
    INSERT INTO change_of_others (id, number) VALUES (1, 0);
    CREATE TRIGGER kv_store_others_insert AFTER INSERT ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER kv_store_others_update AFTER UPDATE ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER kv_store_others_delete AFTER DELETE ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    INSERT INTO meta VALUES ('store_id', '42'), ('network', '');
    PRAGMA application_id = 1882353779;
    PRAGMA user_version = 4;
";

/// Puts a store of the fourth version in the place of whatever is there.
fn downgrade(node: &Node, author: &str) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(node.data_dir().join(format!("store.db{suffix}")));
    }
    let old = rusqlite::Connection::open(node.data_dir().join("store.db")).unwrap();
    old.execute_batch(FOURTH_VERSION).unwrap();
    old.execute_batch(&format!(
        "BEGIN;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {RECORDS})
        INSERT INTO kv_store (key, value, timestamp, author)
        SELECT 'key ' || (i * 7919 % 1000003), 'value ' || i, 1700000000000000000 + i, '{author}' FROM n;
        COMMIT;"
    ))
    .unwrap();
}

/// The version of a copy of the files, which holds every record.
fn version(node: &Node) -> i64 {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(node.data_dir()).unwrap() {
        let file = file.unwrap();
        let name = file.file_name();
        // Not the shared memory: after a crash of the machine it would be gone too.
        if name.to_string_lossy().starts_with("store.db") && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), copy.path().join(name)).unwrap();
        }
    }
    whole(&copy.path().join("store.db"))
}

fn whole(file: &Path) -> i64 {
    let store = rusqlite::Connection::open(file).unwrap();
    let verdict: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let number = |sql: &str| store.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT COUNT(*) FROM kv_store").unsigned_abs(), RECORDS);
    let tables = "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = ";
    let version = number("PRAGMA user_version");
    let has_sequence = version >= 5;
    assert_eq!(number(&format!("{tables} 'change_sequence'")), i64::from(has_sequence));
    assert_eq!(number(&format!("{tables} 'kv_store_before'")), 0);
    // What was lost becomes versions like any other.
    let has_conflicts = version >= 7;
    assert_eq!(number(&format!("{tables} 'kv_conflict'")), i64::from(has_conflicts));
    assert_eq!(number(&format!("{tables} 'conflict'")), i64::from(!has_conflicts));
    let column = |name: &str| {
        number(&format!(
            "SELECT COUNT(*) FROM pragma_table_info('kv_store') WHERE name = '{name}'"
        ))
    };
    assert_eq!(
        (column("base"), column("seen")),
        if has_conflicts { (0, 1) } else { (1, 0) }
    );
    version
}

#[test]
fn a_store_that_is_upgraded_survives_kill_9_and_says_what_happens() {
    let node = Launch::new(PROGRAM).label("victim").no_lan().start();
    let author = node.peer_id();
    node.stop();
    downgrade(&node, &author);
    let begun = Instant::now();
    node.restart();
    let whole_start = begun.elapsed();
    assert_eq!(node.stderr().count(0, "The store has been upgraded"), 1);
    node.stop();
    assert!(version(&node) >= 5);

    let mut found = [0, 0];
    for round in 1..=ROUNDS {
        downgrade(&node, &author);
        node.spawn_again();
        thread::sleep(whole_start * round / ROUNDS);
        node.kill9();
        found[usize::from(version(&node) >= 5)] += 1;
    }
    println!(
        "killed while it was upgraded {} times, and behind that {} times",
        found[0], found[1]
    );
    assert!(found[0] > 0, "or nothing was tested");
    node.restart();
    assert_eq!(node.lines("get \"key 7919\""), ["✓ key 7919 = value 1"]);
    node.stop();
    assert!(version(&node) >= 5);
}
