//! What several benchmarks need: stores filled by the program's own code, raw SQLite doing the same inserts, and medians.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

pub(crate) mod local_api;
pub(crate) mod redis;

use std::path::Path;
use std::time::{Duration, Instant};

use p2p_sync::store::{Depth, SqliteStore};
use p2p_sync_core::item::Item;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::Store;
use p2p_sync_core::{Clock, Content, Key, NetworkName, NodeId, Record, Seen, Timestamp, Value};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, params};

pub(crate) const VALUE_BYTES: usize = 100;
pub(crate) const AUTHOR: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";

/// Spreads the keys as hashes would.
pub(crate) fn key(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub(crate) fn content(n: u64) -> Content {
    let mut value = [b'v'; VALUE_BYTES];
    value[..8].copy_from_slice(&n.to_le_bytes().map(|byte| b'a' + byte % 26));
    Content::Put(Value::new(value).unwrap())
}

pub(crate) fn author() -> NodeId {
    AUTHOR.parse().unwrap()
}

/// What [`fill`] stores under the n-th key, dated in the past.
pub(crate) fn record(n: u64) -> Record {
    Record {
        key: Key::new(key(n)).unwrap(),
        content: content(n),
        timestamp: Timestamp::from_nanos(1_700_000_000_000_000_000 + n as i64 * 1_000_000).unwrap(),
        author: author(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

/// Fills a store with `rows` records, all in good order at the end.
pub(crate) fn fill(file: &Path, rows: u64) {
    let mut store = SqliteStore::open(file, &NetworkName::default()).unwrap();
    let mut replica = Replica::new(author(), Clock::new(None));
    for start in (0..rows).step_by(10_000) {
        let mut transaction = store.begin().unwrap();
        for n in start..(start + 10_000).min(rows) {
            replica.receive(&mut transaction, &record(n)).unwrap();
        }
        transaction.commit().unwrap();
    }
    store.close().unwrap();
}

/// A store of very many records, in the order of their keys: written past the store, to what it would have written itself.
pub(crate) fn generate(file: &Path, rows: u64) {
    drop(SqliteStore::open(file, &NetworkName::default()).unwrap());
    let connection = Connection::open(file).unwrap();
    // These are not the changes of another program.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    // The store makes it again when it is opened.
    connection
        .execute_batch(
            "DROP INDEX kv_store_item; INSERT OR REPLACE INTO meta (name, value) VALUES ('index', 'deferred')",
        )
        .unwrap();
    let sql = "INSERT INTO kv_store (key, value, timestamp, author, deleted_at, key_hash, digest, seen) \
               VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?6, x'')";
    let author = author();
    for first in (0..rows).step_by(100_000) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut insert = connection.prepare_cached(sql).unwrap();
        for n in first..(first + 100_000).min(rows) {
            let record = Record {
                key: Key::new(format!("{n:016x}")).unwrap(),
                content: content(n),
                timestamp: Timestamp::from_nanos(1_700_000_000_000_000_000 + n as i64).unwrap(),
                author,
                seen: Seen::NOTHING,
                signature: None,
            };
            insert_raw(&mut insert, &record, &Item::of(&record).to_bytes());
        }
        drop(insert);
        connection.execute_batch("COMMIT").unwrap();
    }
    let latest = 1_700_000_000_000_000_000 + rows as i64;
    connection
        .execute(
            "UPDATE change_sequence SET number = ?1, latest = ?2",
            params![rows as i64, latest],
        )
        .unwrap();
    connection.close().unwrap();
    let mut store = SqliteStore::open(file, &NetworkName::default()).unwrap();
    let scan = store.start_scan(Depth::Items).unwrap().run().unwrap();
    let found = store.finish_scan(scan).unwrap();
    assert_eq!((found.records, found.indexed), (rows, 0));
    store.close().unwrap();
}

/// The store's own shape and settings, filled with the same rows without anything of ours in between: what hashes cost
/// is not counted.
pub(crate) fn raw(rows: u64, rows_a_transaction: u64) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    drop(SqliteStore::open(&file, &NetworkName::default()).unwrap());
    let connection = Connection::open(&file).unwrap();
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection.pragma_update(None, pragma, value).unwrap();
    }
    connection
        .pragma_update(None, "cache_size", -p2p_sync::store::WRITER_CACHE_KIB)
        .unwrap();
    let sql = "INSERT INTO kv_store (key, value, timestamp, author, deleted_at, key_hash, digest, seen) \
               VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?6, x'')";
    let mut insert = connection.prepare(sql).unwrap();
    let mut elapsed = Duration::ZERO;
    for first in (0..rows).step_by(rows_a_transaction as usize) {
        let batch: Vec<(Record, [u8; 32])> = (first..(first + rows_a_transaction).min(rows))
            .map(|n| (record(n), Item::of(&record(n)).to_bytes()))
            .collect();
        let start = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        for (record, item) in &batch {
            insert_raw(&mut insert, record, item);
        }
        connection.execute_batch("COMMIT").unwrap();
        elapsed += start.elapsed();
    }
    elapsed
}

/// The same rows as fast as SQLite can take them: in one transaction, and with the indexes made last, so that each is written once,
/// in its order.
pub(crate) fn raw_at_best(rows: u64) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let connection = Connection::open(directory.path().join("raw.db")).unwrap();
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection.pragma_update(None, pragma, value).unwrap();
    }
    connection.pragma_update(None, "cache_size", -48 * 1024).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE kv_store (sequence INTEGER NOT NULL PRIMARY KEY, key TEXT NOT NULL, value TEXT, timestamp INTEGER NOT NULL, \
             author TEXT NOT NULL, deleted_at INTEGER, key_hash INTEGER, digest BLOB, seen BLOB)",
        )
        .unwrap();
    let sql = "INSERT INTO kv_store (key, value, timestamp, author, deleted_at, key_hash, digest, seen) \
               VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?6, x'')";
    let mut insert = connection.prepare(sql).unwrap();
    let mut elapsed = Duration::ZERO;
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    for first in (0..rows).step_by(10_000) {
        let batch: Vec<(Record, [u8; 32])> = (first..(first + 10_000).min(rows))
            .map(|n| (record(n), Item::of(&record(n)).to_bytes()))
            .collect();
        let start = Instant::now();
        for (record, item) in &batch {
            insert_raw(&mut insert, record, item);
        }
        elapsed += start.elapsed();
    }
    let start = Instant::now();
    connection
        .execute_batch(
            "CREATE UNIQUE INDEX kv_store_key ON kv_store (key); \
             CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest); COMMIT",
        )
        .unwrap();
    elapsed + start.elapsed()
}

fn insert_raw(insert: &mut rusqlite::Statement<'_>, record: &Record, item: &[u8; 32]) {
    let value = record.content.value().unwrap().as_text().unwrap();
    let key_hash = i64::from_le_bytes(item[..8].try_into().unwrap());
    let timestamp = record.timestamp.as_nanos();
    insert
        .execute(params![
            record.key.as_str(),
            value,
            timestamp,
            AUTHOR,
            key_hash,
            &item[16..]
        ])
        .unwrap();
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
