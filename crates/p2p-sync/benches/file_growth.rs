//! How the size of the file and the cost of a write depend on where the number of a change stands: in the row number, so that a new version
//! is a new row at the end, or in a column with an index; beside the index on (timestamp, key) that such a number replaces. Keys are written
//! once, and then all of them five times over in random order. The store itself comes last.
//!
//! `cargo bench --bench file_growth [-- [store] [KEYS]]`; with the word `store`, nothing but the store is measured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::time::Instant;

use p2p_sync::store::SqliteStore;
use p2p_sync_core::item::Item;
use p2p_sync_core::store::Store;
use p2p_sync_core::{Content, NetworkName, Record, Timestamp};
use rusqlite::{Connection, Statement, params};

mod support;

use support::{AUTHOR, median, record};

const ROUNDS: u64 = 5;
const ROWS_A_TRANSACTION: usize = 1_000;
const SINGLE_WRITES: u64 = 1_500;

const COLUMNS: &str = "key TEXT NOT NULL UNIQUE, value TEXT, timestamp INTEGER NOT NULL, author TEXT NOT NULL, deleted_at INTEGER, \
    seen BLOB, key_hash INTEGER, digest BLOB";
const INDEXES: &str = "CREATE INDEX kv_store_deleted_at ON kv_store (deleted_at) WHERE deleted_at IS NOT NULL;
    CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest);";

/// One way to lay out the table.
struct Shape {
    name: &'static str,
    /// What stands before the columns, and behind the table.
    first: &'static str,
    more: &'static str,
    /// What keeps the highest number, in each transaction.
    counter: bool,
}

const SHAPES: [Shape; 4] = [
    Shape {
        name: "index on (timestamp, key)",
        first: "",
        more: "CREATE INDEX kv_store_time_key ON kv_store (timestamp, key)",
        counter: false,
    },
    Shape {
        name: "row number, own counter",
        first: "sequence INTEGER NOT NULL PRIMARY KEY, ",
        more: "",
        counter: true,
    },
    Shape {
        name: "row number, AUTOINCREMENT",
        first: "sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, ",
        more: "",
        counter: false,
    },
    Shape {
        name: "column with an index, own counter",
        first: "sequence INTEGER NOT NULL, ",
        more: "CREATE UNIQUE INDEX kv_store_sequence ON kv_store (sequence)",
        counter: true,
    },
];

fn main() {
    let keys: u64 = std::env::args()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(1_000_000);
    println!("{keys} keys, written once and then {ROUNDS} times over in random order");
    println!("                                  |  fresh MB |  after MB | ratio | in use MB | write µs | update µs");
    let only_the_store = std::env::args().any(|word| word == "store");
    let shapes: &[Shape] = if only_the_store { &[] } else { &SHAPES };
    for shape in shapes {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("raw.db");
        let connection = raw(&file, shape);
        let mut number = 0;
        grow(shape.name, keys, &file, |records| {
            write_raw(&connection, shape, &mut number, records)
        });
    }
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("store.db");
    let mut store = SqliteStore::open(&file, &NetworkName::default()).unwrap();
    grow("the store", keys, &file, |records| {
        let mut transaction = store.begin().unwrap();
        records.iter().for_each(|record| transaction.put(record).unwrap());
        transaction.commit().unwrap();
    });
    if !only_the_store {
        single_writes();
    }
}

/// Spreads numbers over a range, each once: another order for each round.
fn shuffled(keys: u64, round: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..keys).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(round + 1);
    for at in (1..order.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        order.swap(at, (state % (at as u64 + 1)) as usize);
    }
    order
}

fn grow(name: &str, keys: u64, file: &Path, mut write: impl FnMut(&[Record])) {
    let mut run = |round: u64| {
        let mut elapsed = 0.0;
        for batch in shuffled(keys, round).chunks(ROWS_A_TRANSACTION) {
            let records: Vec<Record> = batch.iter().map(|n| version(*n, round)).collect();
            let start = Instant::now();
            write(&records);
            elapsed += start.elapsed().as_secs_f64();
        }
        elapsed / keys as f64 * 1e6
    };
    let written = run(0);
    let (fresh, _) = megabytes(file);
    let updated: f64 = (1..=ROUNDS).map(&mut run).sum::<f64>() / ROUNDS as f64;
    let (after, used) = megabytes(file);
    println!(
        "{name:33} | {fresh:9.1} | {after:9.1} | {:5.2} | {used:9.1} | {written:8.2} | {updated:9.2}",
        after / fresh
    );
}

/// The n-th key as it is written in a round.
fn version(n: u64, round: u64) -> Record {
    let mut record = record(n);
    record.timestamp =
        Timestamp::from_nanos(record.timestamp.as_nanos() + round as i64 * 1_000_000_000_000_000).unwrap();
    record
}

/// The size of the file, and what of it is in use.
fn megabytes(file: &Path) -> (f64, f64) {
    let connection = Connection::open(file).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let number = |pragma| {
        connection
            .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let (pages, free) = (number("page_count"), number("freelist_count"));
    let megabytes = |pages: i64| pages as f64 * 4096.0 / 1e6;
    (megabytes(pages), megabytes(pages - free))
}

fn raw(file: &Path, shape: &Shape) -> Connection {
    let connection = Connection::open(file).unwrap();
    for (pragma, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection.pragma_update(None, pragma, value).unwrap();
    }
    connection
        .pragma_update(None, "cache_size", -p2p_sync::store::WRITER_CACHE_KIB)
        .unwrap();
    let Shape { first, more, .. } = shape;
    connection
        .execute_batch(&format!(
            "CREATE TABLE kv_store ({first}{COLUMNS}); {INDEXES} {more};
            CREATE TABLE counter (id INTEGER PRIMARY KEY, number INTEGER, latest INTEGER); INSERT INTO counter VALUES (1, 0, 0)"
        ))
        .unwrap();
    connection
}

fn put(shape: &Shape) -> String {
    let (column, value, update) = match (shape.first.is_empty(), shape.counter) {
        (true, _) => ("", "", ""),
        // SQLite finds the number itself, so the old row has to go first.
        (false, false) => ("", "", ""),
        (false, true) => ("sequence, ", "?7, ", "sequence = excluded.sequence, "),
    };
    let verb = if shape.first.contains("AUTOINCREMENT") {
        "INSERT OR REPLACE"
    } else {
        "INSERT"
    };
    let conflict = if verb == "INSERT" {
        format!(
            "ON CONFLICT (key) DO UPDATE SET {update}value = excluded.value, timestamp = excluded.timestamp, author = excluded.author, \
            deleted_at = excluded.deleted_at, seen = excluded.seen, key_hash = excluded.key_hash, digest = excluded.digest"
        )
    } else {
        String::new()
    };
    format!(
        "{verb} INTO kv_store ({column}key, value, timestamp, author, deleted_at, seen, key_hash, digest) \
        VALUES ({value}?1, ?2, ?3, ?4, NULL, x'', ?5, ?6) {conflict}"
    )
}

fn write_raw(connection: &Connection, shape: &Shape, number: &mut i64, records: &[Record]) {
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut statement = connection.prepare_cached(&put(shape)).unwrap();
    for record in records {
        *number += 1;
        write_row(&mut statement, shape, *number, record);
    }
    if shape.counter {
        let latest = records.last().unwrap().timestamp.as_nanos();
        let mut count = connection
            .prepare_cached("UPDATE counter SET number = ?1, latest = ?2")
            .unwrap();
        count.execute([*number, latest]).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

fn write_row(statement: &mut Statement<'_>, shape: &Shape, number: i64, record: &Record) {
    let Content::Put(value) = &record.content else { return };
    let item = Item::of(record).to_bytes();
    let key_hash = i64::from_le_bytes(item[..8].try_into().unwrap());
    let (key, value, nanos) = (
        record.key.as_str(),
        value.as_text().unwrap(),
        record.timestamp.as_nanos(),
    );
    if shape.counter {
        statement.execute(params![key, value, nanos, AUTHOR, key_hash, &item[16..], number])
    } else {
        statement.execute(params![key, value, nanos, AUTHOR, key_hash, &item[16..]])
    }
    .unwrap();
}

/// One row a transaction, on the disk each time: all shapes in turn, because a shared machine is never twice as fast as itself.
fn single_writes() {
    println!("one new row a transaction, synced, seven rounds of {SINGLE_WRITES}: median µs, and by the first shape");
    let places: Vec<_> = SHAPES.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let connections: Vec<Connection> = (SHAPES.iter().zip(&places))
        .map(|(shape, place)| raw(&place.path().join("raw.db"), shape))
        .collect();
    let mut taken = vec![Vec::new(); SHAPES.len()];
    let mut numbers = vec![0; SHAPES.len()];
    for round in 0..7 {
        for (at, shape) in SHAPES.iter().enumerate() {
            let start = Instant::now();
            for n in 0..SINGLE_WRITES {
                let record = record(round * SINGLE_WRITES + n);
                write_raw(&connections[at], shape, &mut numbers[at], std::slice::from_ref(&record));
            }
            taken[at].push(start.elapsed().as_secs_f64() / SINGLE_WRITES as f64 * 1e6);
        }
    }
    let first = median(&mut taken[0].clone());
    for (shape, mut taken) in SHAPES.iter().zip(taken) {
        let median = median(&mut taken);
        println!("{:33} | {median:7.1} | {:5.3}", shape.name, median / first);
    }
}
