//! What a sync between two nodes of equal size costs, both on SQLite, without network and encryption: bytes of our frames,
//! round trips, CPU of both sides. Then what keeping sketch and digest adds to a write.
//!
//! And what it costs to take in a bulk of so many records, against raw SQLite at its best.
//!
//! `cargo bench --bench sync_cost [-- sync|writes|bulk] [KEYS [DIFFERENCES]]`; without a word everything is measured, with a million
//! keys and ten differences.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use p2p_sync::node::{Ledger, PeerView};
use p2p_sync::store::SqliteStore;
use p2p_sync::system::Stopwatch;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::store::Store;
use p2p_sync_core::sync::{Next, Opening, Outcome, Report, Session, Slots, SyncStore};
use p2p_sync_core::sync::{PageLimit, StoreId};
use p2p_sync_core::{Clock, Content, Key, NetworkName, Record, Seen, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

mod support;

use support::{author, content, fill, key, median, quantile, raw_at_best, record};

const DIFFERENCES: u64 = 10;
/// Runs, if these together have no more than so many differences; but no fewer than the other number.
const RUNS: u64 = 1_000;
const RUNS_MIN: u64 = 20;
const DIFFERENCES_MAX: u64 = 10_000;
const TRANSACTIONS: u64 = 20;
const TURNS: usize = 400;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let mut numbers = words.iter().filter_map(|word| word.parse().ok());
    let keys = numbers.next().unwrap_or(1_000_000);
    let differences = numbers.next().unwrap_or(DIFFERENCES);
    let wanted =
        |name: &str| words.iter().all(|word| word.parse::<u64>().is_ok()) || words.iter().any(|word| word == name);
    if wanted("sync") {
        sync(keys, differences);
    }
    if wanted("writes") {
        writes();
    }
    if wanted("bulk") {
        bulk(keys);
    }
}

fn open(file: &Path) -> PeerView<Ledger> {
    let store = SqliteStore::open(file, &NetworkName::default()).unwrap();
    assert!(store.summary().is_some(), "it was closed in good order");
    let ledger = Ledger::new(Replica::new(author(), Clock::new(None)), store);
    PeerView::new(ledger, author(), Stopwatch::start().now())
}

fn sync(keys: u64, differences: u64) {
    let directory = tempfile::tempdir().unwrap();
    let files = ["a.db", "b.db"].map(|name| directory.path().join(name));
    fill(&files[0], keys);
    fs::copy(&files[0], &files[1]).unwrap();
    let mut nodes = files.each_ref().map(|file| open(file));
    let mut random = StdRng::seed_from_u64(1);
    let (mut bytes, mut cpu, mut checks) = (Vec::new(), Vec::new(), Vec::new());
    let (mut one_trip, mut trips) = (0, 0);
    let mut fresh = keys;
    let runs = (DIFFERENCES_MAX / differences.max(1)).clamp(RUNS_MIN, RUNS);
    for run in 0..runs as i64 {
        for _ in 0..differences {
            differ(&mut nodes, &mut random, keys, &mut fresh, run);
        }
        let start = cpu_time();
        let (sent, report) = hold(&mut nodes, Opening::Hello);
        cpu.push((cpu_time() - start).as_secs_f64() * 1e3);
        bytes.push(sent.iter().sum::<usize>() as f64);
        one_trip += u64::from(report.round_trips == 1);
        trips = trips.max(report.round_trips);
        let (sent, _) = hold(&mut nodes, Opening::Check);
        checks.push(*sent.iter().max().unwrap() as f64);
    }
    println!("{keys} keys each, {differences} differences, {runs} runs:");
    let all = |values: &mut [f64]| (median(values), quantile(values, 0.99), quantile(values, 1.0));
    let (p50, p99, max) = all(&mut bytes);
    println!("  bytes both ways: p50 {p50:.0}, p99 {p99:.0}, max {max:.0} (at most 8,192)");
    println!("  one round trip: {one_trip} of {runs} (at least 99 %); at most {trips}");
    let (p50, p99, max) = all(&mut cpu);
    println!("  CPU of both sides: p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms (at most 5)");
    let (p50, _, max) = all(&mut checks);
    println!("  check of equals, each way: p50 {p50:.0} bytes, max {max:.0} (at most 100)");
    for node in &mut nodes {
        println!(
            "  rows that a statement of a sync passed over in a scan: {} (must be 0)",
            node.ledger().store().scan_steps().unwrap()
        );
    }
}

/// One difference of a random kind: a new key on one side, a newer version on one side, or different ones on both.
fn differ(nodes: &mut [PeerView<Ledger>; 2], random: &mut StdRng, keys: u64, fresh: &mut u64, run: i64) {
    let side = usize::from(random.random::<bool>());
    let at = |extra: i64| Timestamp::from_nanos(1_760_000_000_000_000_000 + run * 1_000_000_000 + extra).unwrap();
    let moment = random.random_range(0..1_000_000_000);
    let version = |n: u64, timestamp: Timestamp| Record {
        content: content(random_free(n, timestamp)),
        timestamp,
        seen: Seen::NOTHING,
        ..record(n)
    };
    match random.random_range(0..3) {
        0 => {
            *fresh += 1;
            apply(&mut nodes[side], version(*fresh, at(moment)));
        }
        1 => apply(&mut nodes[side], version(random.random_range(0..keys), at(moment))),
        _ => {
            let n = random.random_range(0..keys);
            apply(&mut nodes[0], version(n, at(moment)));
            apply(&mut nodes[1], version(n, at(moment + 1 + side as i64)));
        }
    }
}

/// A number that differs from one version of a key to the next.
fn random_free(n: u64, timestamp: Timestamp) -> u64 {
    n ^ timestamp.as_nanos().unsigned_abs()
}

fn apply(node: &mut PeerView<Ledger>, record: Record) {
    node.apply(&[record], None).unwrap();
}

/// Holds a session and gives the bytes that either side sent, and what the asking side reports.
fn hold(nodes: &mut [PeerView<Ledger>; 2], opening: Opening) -> ([usize; 2], Report) {
    let now = Timestamp::from_nanos(1_770_000_000_000_000_000).unwrap();
    let [a, b] = nodes;
    let mut asking = Session::ask(opening, Slots::default(), a, now);
    let mut answering = Session::answer(Slots::default());
    let mut sent = [0, 0];
    loop {
        let there = carry((&mut asking, a), (&mut answering, b), now);
        let back = carry((&mut answering, b), (&mut asking, a), now);
        sent[0] += there.unwrap_or(0);
        sent[1] += back.unwrap_or(0);
        if there.is_none() && back.is_none() {
            break;
        }
    }
    assert_eq!(asking.outcome(), Some(Outcome::Equal));
    (sent, asking.report().clone())
}

/// Carries what one side has to say to the other, and gives its bytes; none when it has nothing to say.
fn carry(
    from: (&mut Session, &mut PeerView<Ledger>),
    to: (&mut Session, &mut PeerView<Ledger>),
    now: Timestamp,
) -> Option<usize> {
    let mut bytes = None;
    loop {
        match from.0.next_frame(from.1, now).unwrap() {
            Next::Frame(frame) => {
                *bytes.get_or_insert(0) += frame.encode().len();
                to.0.receive(frame, to.1, now).unwrap();
            }
            Next::Again => {}
            Next::Nothing => return bytes,
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

/// Puts into a store that keeps its summary, against the same without one. The two take turns after a few puts each, because
/// the disk of a shared machine is never twice as fast as itself.
fn writes() {
    for (name, each, bound) in [("one by one", 1, "at most 1.05"), ("by 100", 100, "at most 1.4")] {
        let mut bare = Putting::new(false);
        let mut kept = Putting::new(true);
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for turn in 0..TURNS {
            // Neither always comes second.
            if turn % 2 == 0 {
                without.push(bare.puts(each));
                with.push(kept.puts(each));
            } else {
                with.push(kept.puts(each));
                without.push(bare.puts(each));
            }
        }
        let (with, without) = (median(&mut with), median(&mut without));
        println!(
            "puts {name}: {with:.1} µs with sketch and digest, {without:.1} µs without; ratio of the medians {:.3} ({bound})",
            with / without
        );
    }
}

/// A store that is written to, with its summary or without.
struct Putting {
    store: SqliteStore,
    replica: Replica,
    keeps_summary: bool,
    next: u64,
    _directory: tempfile::TempDir,
}

impl Putting {
    fn new(keeps_summary: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
        if !keeps_summary {
            // As after a stop that was not clean, before the summary is rebuilt.
            store.forget_summary();
        }
        Self {
            store,
            replica: Replica::new(author(), Clock::new(None)),
            keeps_summary,
            next: 0,
            _directory: directory,
        }
    }

    /// Microseconds for one put, over some transactions of `each`.
    fn puts(&mut self, each: u64) -> f64 {
        let now = record(0).timestamp;
        let start = Instant::now();
        for _ in 0..TRANSACTIONS {
            let mut transaction = self.store.begin().unwrap();
            for _ in 0..each {
                let (key, content): (Key, Content) = (Key::new(key(self.next)).unwrap(), content(self.next));
                self.replica.write(&mut transaction, key, content, now).unwrap();
                self.next += 1;
            }
            transaction.commit().unwrap();
        }
        let elapsed = start.elapsed();
        assert_eq!(self.store.summary().is_some(), self.keeps_summary);
        elapsed.as_secs_f64() * 1e6 / (TRANSACTIONS * each) as f64
    }
}

/// Pages of a bulk that come as fast as they are taken, into an empty store, without a network.
fn bulk(keys: u64) {
    let raw = keys as f64 / raw_at_best(keys).as_secs_f64();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("store.db");
    let mut node = open(&file);
    let source = StoreId(1);
    node.position(source).unwrap();
    let (mut elapsed, mut longest, cpu) = (Duration::ZERO, Duration::ZERO, cpu_time());
    let mut cpu_of_bench = Duration::ZERO;
    let page = PageLimit::FULL.records;
    for first in (0..keys).step_by(page) {
        let made = cpu_time();
        let records: Vec<Record> = (first..(first + page as u64).min(keys)).map(record).collect();
        cpu_of_bench += cpu_time() - made;
        let reached = Cursor {
            epoch: Epoch(1),
            number: first + records.len() as u64,
            seen: keys,
        };
        let start = Instant::now();
        node.apply(&records, Some((source, reached))).unwrap();
        drop(node.ledger().take_committed());
        longest = longest.max(start.elapsed());
        elapsed += start.elapsed();
    }
    let start = Instant::now();
    node.settle();
    elapsed += start.elapsed();
    assert_eq!(node.summary().count(), keys);
    let rate = keys as f64 / elapsed.as_secs_f64();
    let cpu = (cpu_time() - cpu - cpu_of_bench).as_secs_f64() * 1e6 / keys as f64;
    println!(
        "bulk of {keys}: {rate:.0} records/s, {cpu:.2} µs of CPU each, longest page {:.0} ms; raw SQLite at its best {raw:.0} rows/s; ratio {:.2}",
        longest.as_secs_f64() * 1e3,
        rate / raw
    );
}
