//! Killed at any moment, the node loses nothing that it has acknowledged.
//!
//! Each round starts the node on the store that the last round left, writes through its pipe without pause,
//! and kills it as `kill -9` does at a random moment, at times before it is ready. Then the store must hold
//! exactly the writes up to some point, and that point must not lie before the last acknowledged one; asked of
//! a copy of the files first and of the restarted program after. No number of the change sequence is ever used twice, and their
//! order is that of the writes.
//!
//! `P2P_SYNC_CRASH_ROUNDS` sets the number of rounds (15), `P2P_SYNC_CRASH_SEED` repeats the schedule of an
//! earlier run: the seed is printed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use p2p_sync_testbed::{Launch, Node, Value, tempfile};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const KEYS: u64 = 40;
/// Commands written ahead of their answers: enough to keep the node busy, few enough for the pipe.
const AHEAD: usize = 400;
const ALIVE_MAX: Duration = Duration::from_millis(600);

/// A small generator (xorshift64*), so that a seed gives the same schedule everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }
}

#[derive(Clone)]
enum Operation {
    Add { key: String, value: String },
    Delete { key: String },
}

impl Operation {
    fn line(&self) -> String {
        match self {
            Self::Add { key, value } => format!("add {key} {value}\n"),
            Self::Delete { key } => format!("delete {key}\n"),
        }
    }

    fn apply(&self, state: &mut State) {
        match self {
            Self::Add { key, value } => state.insert(key.clone(), value.clone()),
            Self::Delete { key } => state.remove(key),
        };
    }

    fn is_answered_by(&self, answer: &str) -> bool {
        match self {
            Self::Add { key, value } => answer == format!("✓ Added: {key} = {value}"),
            Self::Delete { key } => answer == format!("✓ Deleted: {key}") || answer == format!("✗ Not found: {key}"),
        }
    }
}

/// What lives in a store: value by key.
type State = BTreeMap<String, String>;

/// Every number of the change sequence that was met: the version that it stood for, by key and timestamp.
type Numbers = BTreeMap<i64, (String, i64)>;

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_acknowledged_write_survives_kill_9() {
    let rounds = number_from_environment("P2P_SYNC_CRASH_ROUNDS").unwrap_or(15);
    let seed = number_from_environment("P2P_SYNC_CRASH_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) + now.as_secs()
    });
    println!("P2P_SYNC_CRASH_SEED={seed} P2P_SYNC_CRASH_ROUNDS={rounds}");
    let mut chance = Chance(seed.max(1));
    let node = Launch::new(PROGRAM).label("victim").no_lan().start();
    let (mut state, mut numbers) = (State::new(), Numbers::new());
    let mut acknowledged_in_all = 0;
    let mut number = 0;
    for round in 0..rounds {
        if round > 0 {
            node.spawn_again();
            if chance.next(8) == 0 {
                // Killed while it starts: recovery must not depend on being finished.
                thread::sleep(Duration::from_millis(chance.next(80)));
                node.kill9();
                state = assert_store(&node, &state, &mut numbers, (&[], 0), round);
                node.spawn_again();
            }
            node.wait_ready();
            assert_eq!(ask(&node), state, "round {round}: what the restarted program shows");
        }
        let (sent, acknowledged) = write_and_kill(&node, &mut chance, &mut number);
        acknowledged_in_all += acknowledged;
        state = assert_store(&node, &state, &mut numbers, (&sent, acknowledged), round);
    }
    println!("{acknowledged_in_all} acknowledged operations in {rounds} rounds");
    // Or else nothing was tested.
    assert!(acknowledged_in_all as u64 > rounds);
    node.restart();
    assert_eq!(ask(&node), state);
    node.stop();
}

/// Keeps the node busy until its time is over; returns all that was sent and how much of it was answered.
fn write_and_kill(node: &Node, chance: &mut Chance, number: &mut u64) -> (Vec<Operation>, usize) {
    let mark = node.stdout().mark();
    let alive = ALIVE_MAX.mul_f64(chance.next(1_000) as f64 / 1_000.0);
    let mut sent: Vec<Operation> = Vec::new();
    let end = std::time::Instant::now() + alive;
    while std::time::Instant::now() < end {
        let answered = usize::try_from(node.stdout().mark() - mark).unwrap();
        if sent.len() >= answered + AHEAD {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        let mut lines = String::new();
        for _ in 0..1 + chance.next(20) {
            *number += 1;
            let key = format!("key{}", chance.next(KEYS));
            let operation = if chance.next(5) == 0 {
                Operation::Delete { key }
            } else {
                // Some fit into a page, some do not.
                let value = format!("{number}-{}", "x".repeat(chance.next(3_000) as usize));
                Operation::Add { key, value }
            };
            lines.push_str(&operation.line());
            sent.push(operation);
        }
        node.send(lines.as_bytes());
    }
    node.kill9();
    let mut answers = node.stdout().lines_from(mark);
    answers.retain(|line| !line.starts_with(b"Listening on "));
    let mut acknowledged = 0;
    for (operation, answer) in sent.iter().zip(&answers) {
        if !operation.is_answered_by(&String::from_utf8_lossy(answer)) {
            // Only the last line may be torn.
            assert_eq!(acknowledged + 1, answers.len(), "{}", String::from_utf8_lossy(answer));
            break;
        }
        acknowledged += 1;
    }
    (sent, acknowledged)
}

/// Checks a copy of the store's files, so that looking does not repair what the program has to.
#[track_caller]
fn assert_store(
    node: &Node,
    before: &State,
    numbers: &mut Numbers,
    (sent, acknowledged): (&[Operation], usize),
    round: u64,
) -> State {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(node.data_dir()).unwrap() {
        let file = file.unwrap();
        let name = file.file_name();
        // Not the shared memory: after a crash of the machine it would be gone too.
        if name.to_string_lossy().starts_with("store.db") && !name.to_string_lossy().ends_with("-shm") {
            fs::copy(file.path(), copy.path().join(name)).unwrap();
        }
    }
    let stored = read(&copy.path().join("store.db"));
    check_numbers(&copy.path().join("store.db"), numbers);
    let mut model = before.clone();
    for operation in &sent[..acknowledged] {
        operation.apply(&mut model);
    }
    let mut missing = Some(describe(&model, &stored));
    for next in acknowledged..=sent.len() {
        if model == stored {
            missing = None;
            break;
        }
        if let Some(operation) = sent.get(next) {
            operation.apply(&mut model);
        }
    }
    assert!(
        missing.is_none(),
        "round {round}: {acknowledged} of {} operations were acknowledged, but {}",
        sent.len(),
        missing.unwrap_or_default()
    );
    stored
}

fn describe(expected: &State, stored: &State) -> String {
    let short = |value: Option<&String>| value.map(|text| text.chars().take(12).collect::<String>());
    let mut keys: Vec<&String> = expected.keys().chain(stored.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| expected.get(*key) != stored.get(*key))
        .map(|key| {
            let (expected, stored) = (short(expected.get(key)), short(stored.get(key)));
            format!("{key} is {stored:?} and was {expected:?}; ")
        })
        .collect()
}

fn read(file: &Path) -> State {
    let store = rusqlite::Connection::open(file).unwrap();
    let verdict: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let mut rows = store
        .prepare("SELECT key, value FROM kv_store WHERE deleted_at IS NULL")
        .unwrap();
    rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<State, _>>()
        .unwrap()
}

/// Each number stands for one version for ever, later writes have higher ones, and the store knows the highest.
fn check_numbers(file: &Path, numbers: &mut Numbers) {
    let store = rusqlite::Connection::open(file).unwrap();
    let mut rows = store
        .prepare("SELECT sequence, key, timestamp FROM kv_store ORDER BY sequence")
        .unwrap();
    let held: Vec<(i64, (String, i64))> = rows
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(held.is_sorted_by_key(|(_, (_, timestamp))| *timestamp), "{held:?}");
    let highest: i64 = store
        .query_row("SELECT number FROM change_sequence", [], |row| row.get(0))
        .unwrap();
    let used = numbers.keys().last().max(held.last().map(|(number, _)| number));
    assert!(
        used.is_none_or(|used| *used <= highest),
        "{used:?} was used, {highest} is known"
    );
    for (number, version) in held {
        let first = numbers.entry(number).or_insert_with(|| version.clone());
        assert_eq!(*first, version, "number {number} was used twice");
    }
}

fn ask(node: &Node) -> State {
    let mut state = State::new();
    for line in node.lines("list --json") {
        let item: Value = serde_json::from_str(&line).unwrap();
        if let (Some(key), Some(value)) = (item["key"].as_str(), item["value"].as_str()) {
            state.insert(key.to_owned(), value.to_owned());
        }
    }
    state
}
