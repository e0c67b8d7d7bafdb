//! Nothing is ever missed: nodes that can reach each other end equal by themselves. What these tests share: looking into
//! stores, filling them, and waiting until they are equal.
//!
//! Some numbers are made for a debug build on two cores; `P2P_SYNC_FULL=1` takes those that are promised.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_sync::store::SqliteStore;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::Store as _;
use p2p_sync_core::{Clock, Content, Key, Timestamp, Value as StoredValue};
use p2p_sync_testbed::{Node, Value, poll, wait_until};
use rusqlite::OpenFlags;
use rusqlite::types::ValueRef;

mod breaking_off;
mod bulk;
mod clocks;
mod crowd;
mod damage;
mod networks;
mod other_programs;
mod partition;
mod returning;
mod room;
mod slow_holder;
mod slow_link;

/// How soon two stores are to be equal when nothing is in the way.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// Records that are written into a stopped store at once.
const FILL_AT_ONCE: u64 = 5_000;

/// Whether the promised numbers are asked for, however long it takes.
fn full() -> bool {
    std::env::var_os("P2P_SYNC_FULL").is_some()
}

/// Prints what was measured.
#[allow(clippy::print_stdout)]
pub(crate) fn measured(text: &str) {
    println!("measured: {text}");
}

/// One row of a store, deletions included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Row {
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) timestamp: i64,
    pub(crate) author: String,
    pub(crate) seen: Option<Vec<u8>>,
}

pub(crate) type Rows = BTreeMap<String, Row>;

/// A store in few words: equal if and only if all records and conflicts are, as far as a test can be in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Gist {
    records: u64,
    deleted: u64,
    conflicts: u64,
    sum: u64,
}

fn open(node: &Node) -> rusqlite::Connection {
    let file = node.data_dir().join("store.db");
    // A database that is being made may be there without its tables for a moment.
    rusqlite::Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .unwrap()
}

/// The versions in a table: `kv_store`, or `kv_conflict`, where a key may be more than once.
fn each_row(node: &Node, table: &str, mut look: impl FnMut(String, Row)) -> rusqlite::Result<()> {
    let store = open(node);
    let sql = format!("SELECT key, value, timestamp, author, seen, deleted_at FROM {table}");
    let mut statement = store.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let value = match row.get_ref(1)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes.to_vec()),
            _ => None,
        };
        let deleted: Option<i64> = row.get(5)?;
        assert_eq!(
            deleted.is_some(),
            value.is_none(),
            "a row is deleted and has a value, or neither"
        );
        let version = Row {
            value,
            timestamp: row.get(2)?,
            author: row.get(3)?,
            seen: row.get(4)?,
        };
        look(row.get(0)?, version);
    }
    Ok(())
}

/// The value or deletion of every key that a node holds, by its file.
#[track_caller]
pub(crate) fn rows(node: &Node) -> Rows {
    try_rows(node).unwrap()
}

fn try_rows(node: &Node) -> rusqlite::Result<Rows> {
    let mut all = Rows::new();
    each_row(node, "kv_store", |key, row| drop(all.insert(key, row)))?;
    Ok(all)
}

/// Every conflict that a node holds, by its file, shown or not.
pub(crate) fn conflict_rows(node: &Node) -> rusqlite::Result<Vec<(String, Row)>> {
    let mut all = Vec::new();
    each_row(node, "kv_conflict", |key, row| all.push((key, row)))?;
    all.sort();
    Ok(all)
}

fn try_gist(node: &Node) -> rusqlite::Result<Gist> {
    let mut gist = Gist::default();
    let hash = |what: (&str, &str, &Row)| {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        hasher.finish()
    };
    each_row(node, "kv_store", |key, row| {
        gist.sum = gist.sum.wrapping_add(hash(("held", &key, &row)));
        gist.records += 1;
        gist.deleted += u64::from(row.value.is_none());
    })?;
    each_row(node, "kv_conflict", |key, row| {
        gist.sum = gist.sum.wrapping_add(hash(("conflict", &key, &row)));
        gist.conflicts += 1;
    })?;
    Ok(gist)
}

#[track_caller]
fn gist(node: &Node) -> Gist {
    try_gist(node).unwrap()
}

/// How many records a node holds, deletions included.
fn count(node: &Node) -> u64 {
    let count: i64 = open(node)
        .query_row("SELECT COUNT(*) FROM kv_store", [], |row| row.get(0))
        .unwrap();
    u64::try_from(count).unwrap()
}

/// Waits until all hold the same records and conflicts and returns how long that took.
#[track_caller]
pub(crate) fn wait_equal(what: &str, nodes: &[&Node], deadline: Duration) -> Duration {
    let start = Instant::now();
    let equal = poll(deadline, || {
        let (first, rest) = nodes.split_first().unwrap();
        // A file that is damaged is not equal to another, and may become so.
        let first = try_gist(first).ok()?;
        rest.iter().all(|node| try_gist(node) == Ok(first)).then_some(())
    });
    assert!(
        equal.is_some(),
        "{what}: not equal after {deadline:?}: {}",
        differences(nodes)
    );
    start.elapsed()
}

/// The same when the time has been running since `start`; returns the time since then.
#[track_caller]
fn wait_equal_since(start: Instant, what: &str, nodes: &[&Node], deadline: Duration) -> Duration {
    wait_equal(what, nodes, deadline.saturating_sub(start.elapsed()));
    start.elapsed()
}

/// For a failure: what each has that the first has not, and the other way round.
fn differences(nodes: &[&Node]) -> String {
    let (first, rest) = nodes.split_first().unwrap();
    let reference = try_rows(first).unwrap_or_default();
    let conflicts = conflict_rows(first).unwrap_or_default();
    let mut text = format!(
        "{} holds {} records and {} conflicts",
        first.label(),
        reference.len(),
        conflicts.len()
    );
    for node in rest {
        let other = match try_rows(node) {
            Ok(other) => other,
            Err(error) => {
                write!(text, "; {} cannot be read: {error}", node.label()).unwrap();
                continue;
            }
        };
        let lacks = reference.keys().filter(|key| !other.contains_key(*key));
        let others = reference
            .iter()
            .filter(|(key, row)| other.get(*key).is_some_and(|held| held != *row));
        let more = other.keys().filter(|key| !reference.contains_key(*key));
        let (lacks, others, more): (Vec<_>, Vec<_>, Vec<_>) = (lacks.collect(), others.collect(), more.collect());
        let first_few: Vec<_> = lacks.iter().chain(&more).take(3).collect();
        write!(
            text,
            "; {} lacks {}, has {} in another version and {} more: {first_few:?} {:?}",
            node.label(),
            lacks.len(),
            others.len(),
            more.len(),
            others.first()
        )
        .unwrap();
        let held = conflict_rows(node).unwrap_or_default();
        let unlike = held.iter().filter(|one| !conflicts.contains(one));
        let unlike = unlike.chain(conflicts.iter().filter(|one| !held.contains(one)));
        write!(
            text,
            "; {} conflicts, of which differs {:?}",
            held.len(),
            unlike.take(1).next()
        )
        .unwrap();
    }
    text
}

/// How `node` stands with `peer`, as its status says.
#[track_caller]
fn standing(node: &Node, peer: &Node) -> Option<Value> {
    let id = peer.peer_id();
    let status = node.status();
    let peers = status.pointer("/sync/peers").and_then(Value::as_array).unwrap().clone();
    peers.into_iter().find(|one| one["peer_id"] == id.as_str())
}

/// Waits until both say that they are in sync with each other.
#[track_caller]
fn wait_in_sync(a: &Node, b: &Node, deadline: Duration) {
    for (node, peer) in [(a, b), (b, a)] {
        wait_until(
            &format!("{} says it is in sync with {}", node.label(), peer.label()),
            deadline,
            || standing(node, peer).is_some_and(|one| one["state"] == "in_sync"),
        );
    }
}

/// Waits until the status of `node` has something at `pointer` that is accepted, and returns it.
#[track_caller]
fn wait_status(node: &Node, pointer: &str, deadline: Duration, accepted: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let found = poll(deadline, || {
        last = node.status();
        last.pointer(pointer).filter(|value| accepted(value)).cloned()
    });
    found.unwrap_or_else(|| panic!("{}: after {deadline:?} no such {pointer} in {last}", node.label()))
}

/// Writes on `node`, one after the other, and waits until all have been acknowledged.
#[track_caller]
pub(crate) fn add_all(node: &Node, pairs: impl IntoIterator<Item = (String, String)>) {
    let lines: Vec<_> = pairs
        .into_iter()
        .map(|(key, value)| format!("add \"{key}\" {value}"))
        .collect();
    command_all(node, &lines, "✓ Added: ");
}

#[track_caller]
fn delete_all(node: &Node, keys: impl IntoIterator<Item = String>) {
    let lines: Vec<_> = keys.into_iter().map(|key| format!("delete \"{key}\"")).collect();
    command_all(node, &lines, "✓ Deleted: ");
}

#[track_caller]
pub(crate) fn command_all(node: &Node, lines: &[String], expected: &str) {
    let answers = node.lines(&lines.join("\n"));
    let acknowledged = answers.iter().filter(|line| line.starts_with(expected)).count();
    assert_eq!(acknowledged, lines.len(), "{}: {:?}", node.label(), answers.last());
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}

/// Writes `records` into the store of a node that has been started and stopped, as if they had been typed there.
fn fill(node: &Node, prefix: &str, records: u64, value_bytes: usize) {
    let mut store = SqliteStore::open(&node.data_dir().join("store.db"), &"".parse().unwrap()).unwrap();
    let clock = Clock::new(store.last_timestamp().unwrap());
    let mut replica = Replica::new(node.peer_id().parse().unwrap(), clock);
    let mut next = 0;
    while next < records {
        let mut transaction = store.begin().unwrap();
        for number in next..records.min(next + FILL_AT_ONCE) {
            let key = Key::new(format!("{prefix}{number:08}")).unwrap();
            let value = StoredValue::new(format!("{number:0value_bytes$}").into_bytes()).unwrap();
            replica
                .write(&mut transaction, key, Content::Put(value), now())
                .unwrap();
        }
        transaction.commit().unwrap();
        next += FILL_AT_ONCE;
    }
    store.close().unwrap();
}

/// Waits until the summary of all records is there, so that sessions can be held.
#[track_caller]
fn wait_sync_ready(node: &Node) {
    wait_status(node, "/sync/ready", Duration::from_secs(120), |ready| ready == true);
}

/// Chance from a seed that is printed, and that `P2P_SYNC_LAN_SEED` gives again.
struct Chance(u64);

impl Chance {
    fn drawn() -> Self {
        let given = std::env::var("P2P_SYNC_LAN_SEED").ok();
        let seed = given.map_or_else(
            || u64::from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos()),
            |text| text.parse().unwrap(),
        );
        measured(&format!("P2P_SYNC_LAN_SEED={seed}"));
        Self(seed.max(1))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).unwrap()
    }
}
