//! What catching up costs real processes: a cold copy, a stream of writes that is beyond the gossip's budget, a start with
//! many keys. Hosts are network namespaces: needs root.
//!
//! `cargo bench --bench sync_lan [-- copy|stream|start] [KEYS]`; without a word everything is measured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_sync::Node;
use p2p_sync::status::{StandingState, SyncPeer};
use p2p_sync_core::Key;
use p2p_sync_testbed::{Addresses, Host, Lab, Launch};

mod support;

use support::{content, fill, generate, key, median, quantile, raw, raw_at_best};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const DEADLINE: Duration = Duration::from_secs(300);
const STREAM_RATE: u64 = 1_000;
const STREAM_SECONDS: u64 = 60;
const COPIES: usize = 3;
const STARTS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", "writer", directory] => return writer(Path::new(directory)),
        ["node", "reader", directory] => return reader(Path::new(directory)),
        _ => {}
    }
    let keys: Vec<u64> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let wanted = |name: &str| words.len() == keys.len() || words.iter().any(|word| word == name);
    let sizes = |default: &[u64]| {
        if keys.is_empty() {
            default.to_vec()
        } else {
            keys.clone()
        }
    };
    if wanted("copy") {
        sizes(&[100_000, 1_000_000]).into_iter().for_each(copy);
    }
    if wanted("stream") {
        stream();
    }
    if wanted("start") {
        sizes(&[1_000_000]).into_iter().for_each(start);
    }
}

/// From the connection of an empty node until it has everything, against raw SQLite taking the same rows.
fn copy(rows: u64) {
    let (mut rates, mut raws, mut ratios, mut rss) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut bests, mut of_best, mut written) = (Vec::new(), Vec::new(), Vec::new());
    let directory = tempfile::tempdir().unwrap();
    give_identity(directory.path());
    fill(&directory.path().join("store.db"), rows);
    for _ in 0..COPIES {
        let raw = rows as f64 / raw(rows, 1_000).as_secs_f64();
        let best = rows as f64 / raw_at_best(rows).as_secs_f64();
        let lab = Lab::new();
        let hosts = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
        let a = Launch::new(PROGRAM)
            .on(&hosts[0])
            .data_dir(directory.path())
            .label("a")
            .start();
        let b = Launch::new(PROGRAM).on(&hosts[1]).label("b").start();
        b.wait_log(0, "Connection established", DEADLINE);
        let start = Instant::now();
        b.wait_log(0, "Synced with peer", DEADLINE);
        let rate = rows as f64 / start.elapsed().as_secs_f64();
        assert_eq!(b.status()["keys"].as_u64(), Some(rows));
        rss.push(megabytes(a.process().pid(), "VmHWM:").max(megabytes(b.process().pid(), "VmHWM:")));
        let file = fs::metadata(b.data_dir().join("store.db")).unwrap().len();
        written.push(write_bytes(b.process().pid()) / file as f64);
        a.stop();
        b.stop();
        rates.push(rate);
        raws.push(raw);
        ratios.push(rate / raw);
        bests.push(best);
        of_best.push(rate / best);
    }
    println!(
        "cold copy of {rows}: {:.0} records/s, raw SQLite {:.0} rows/s; median ratio {:.2} (at least 0.4); at its best {:.0} rows/s, ratio {:.2}; highest RSS of either side {:.0} MB; the receiver wrote {:.1} times its file to the disk",
        median(&mut rates),
        median(&mut raws),
        median(&mut ratios),
        median(&mut bests),
        median(&mut of_best),
        quantile(&mut rss, 1.0),
        median(&mut written)
    );
}

/// What a process has caused to be written to disks, in bytes.
fn write_bytes(pid: u32) -> f64 {
    let counters = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = counters.lines().find(|line| line.starts_with("write_bytes:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A node does not start with a store but without an identity, so it makes one before the store is filled.
fn give_identity(directory: &Path) {
    let lab = Lab::new();
    let host = lab.host(Addresses::V4);
    let node = Launch::new(PROGRAM).on(&host).data_dir(directory).label("new").start();
    node.stop();
}

/// A node that is used as a library, so that neither pipes nor text are measured.
struct Role {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Role {
    fn start(host: &Host, role: &str, directory: &Path) -> Self {
        let mut command = host.command(std::env::current_exe().unwrap());
        command.args(["node", role, directory.to_str().unwrap()]);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    fn go(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// The times, in nanoseconds of the wall clock that all namespaces share, that it prints at its end.
    fn times(mut self) -> Vec<u64> {
        let times = self.line().split(' ').map(|time| time.parse().unwrap()).collect();
        self.process.wait().unwrap();
        times
    }
}

/// Writes far beyond what gossip may carry, from their acknowledgement on one node until they are readable on two others.
fn stream() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..3).map(|_| lab.host(Addresses::V4)).collect();
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let roles = ["writer", "reader", "reader"];
    let mut nodes: Vec<Role> = (0..3)
        .map(|n| Role::start(&hosts[n], roles[n], directories[n].path()))
        .collect();
    for node in &mut nodes {
        assert_eq!(node.line(), "two peers");
    }
    for node in nodes.iter_mut().rev() {
        node.go();
    }
    let mut times: Vec<Vec<u64>> = nodes.into_iter().map(Role::times).collect();
    let written = times.remove(0);
    let mut milliseconds: Vec<f64> = (times.iter())
        .flat_map(|seen| seen.iter().zip(&written))
        .map(|(seen, written)| (*seen as f64 - *written as f64).max(0.0) / 1e6)
        .collect();
    println!(
        "{STREAM_RATE} puts a second for {STREAM_SECONDS} s, 3 nodes, acknowledged to readable: p50 {:.2} ms (at most 5), p99 {:.1} ms (at most 50), max {:.0} ms, {} of {} seen",
        quantile(&mut milliseconds, 0.5),
        quantile(&mut milliseconds, 0.99),
        quantile(&mut milliseconds, 1.0),
        milliseconds.len(),
        2 * written.len()
    );
}

fn run(directory: &Path, role: impl AsyncFnOnce(&Node) -> Vec<u64>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = Node::builder(directory).start().await.unwrap();
        let in_sync = |peer: &SyncPeer| peer.synced.standing.state == StandingState::InSync;
        while node
            .status()
            .await
            .unwrap()
            .sync
            .peers
            .iter()
            .filter(|peer| in_sync(peer))
            .count()
            < 2
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("two peers");
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        let times: Vec<String> = role(&node).await.iter().map(u64::to_string).collect();
        println!("{}", times.join(" "));
        node.stop().await;
    });
}

fn wall_nanos() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

fn stream_key(n: u64) -> Key {
    Key::new(format!("stream {}", key(n))).unwrap()
}

/// When each write was acknowledged.
fn writer(directory: &Path) {
    run(directory, async |node| {
        let start = Instant::now();
        let mut times = Vec::new();
        for n in 0..STREAM_RATE * STREAM_SECONDS {
            let due = Duration::from_secs(1) * u32::try_from(n).unwrap() / u32::try_from(STREAM_RATE).unwrap();
            tokio::time::sleep(due.saturating_sub(start.elapsed())).await;
            let Some(value) = content(n).value().cloned() else {
                continue;
            };
            node.put(stream_key(n), value).await.unwrap();
            times.push(wall_nanos());
        }
        // The others may still need what was written last.
        tokio::time::sleep(Duration::from_secs(10)).await;
        times
    });
}

/// When each write was first seen; they are looked for in the order of writing.
fn reader(directory: &Path) {
    run(directory, async |node| {
        let mut times = Vec::new();
        let start = Instant::now();
        for n in 0..STREAM_RATE * STREAM_SECONDS {
            while node.get(&stream_key(n)).await.unwrap().is_none() {
                assert!(start.elapsed() < DEADLINE, "write {n} never came");
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            times.push(wall_nanos());
        }
        times
    });
}

/// From the start of the process until it takes commands, after a clean stop and after none; and its memory.
fn start(rows: u64) {
    let directory = tempfile::tempdir().unwrap();
    give_identity(directory.path());
    generate(&directory.path().join("store.db"), rows);
    let launch = || Launch::new(PROGRAM).data_dir(directory.path()).no_lan();
    let time = || {
        let start = Instant::now();
        let node = launch().start();
        (node, start.elapsed().as_secs_f64())
    };
    let (mut clean, mut killed, mut rss) = (Vec::new(), Vec::new(), Vec::new());
    for n in 0..STARTS {
        let (node, seconds) = time();
        clean.push(seconds);
        node.add(&format!("key{n}"), "so that the kept summary is no longer valid");
        node.kill9();
        let (node, seconds) = time();
        killed.push(seconds);
        node.wait_log(0, "Rebuilt the summary", DEADLINE);
        rss.push(megabytes(node.process().pid(), "VmRSS:"));
        node.stop();
    }
    println!(
        "start with {rows} keys: {:.2} s after a clean stop, {:.2} s after kill -9 (at most 1); RSS {:.0} MB (at most 60)",
        median(&mut clean),
        median(&mut killed),
        quantile(&mut rss, 1.0)
    );
}

fn megabytes(pid: u32, field: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}
