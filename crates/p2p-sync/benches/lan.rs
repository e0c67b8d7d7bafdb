//! What users wait for and what the network carries, measured with real processes on hosts made of network namespaces. Needs root.
//!
//! `cargo bench --bench lan [-- first-value|loss|latency|idle ...]`; without a word everything is measured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

#[path = "support/process.rs"]
mod process;

use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node};

use process::{cpu_seconds, rss_megabytes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const DEADLINE: Duration = Duration::from_secs(60);
const FIRST_VALUE_RUNS: usize = 50;
const LATENCY_PAIRS: usize = 3;
/// Below half the budget for live changes, so that none of them is held back: this measures an idle network.
const LATENCY_SAMPLES: usize = 40;
const IDLE_NODES: usize = 10;
/// Until everybody has heard of everybody and the questions of the first minute are over.
const IDLE_SETTLE: Duration = Duration::from_secs(90);
const IDLE_TIME: Duration = Duration::from_secs(60);
const ECHO_PORT: u16 = 7;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo-server", address] => return echo_server(address),
        ["echo-client", address] => return echo_client(address),
        _ => {}
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    if wanted("first-value") {
        first_value("first value", 0);
    }
    if wanted("loss") {
        first_value("first value, 30 % of multicast lost", 30);
    }
    if wanted("latency") {
        latency();
    }
    if wanted("idle") {
        idle();
    }
}

fn print(name: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    println!(
        "{name}: p50 {:.3} {unit}, p99 {:.3} {unit}, max {:.3} {unit} ({} runs)",
        at(0.5),
        at(0.99),
        at(1.0),
        values.len()
    );
}

/// From the start of the second node until a value that the first adds once they are connected is readable on it.
fn first_value(name: &str, loss_percent: u32) {
    let mut seconds = Vec::new();
    for run in 0..FIRST_VALUE_RUNS {
        let lab = Lab::new();
        let hosts = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
        if loss_percent > 0 {
            hosts.iter().for_each(|host| host.drop_multicast_share(loss_percent));
        }
        let first = Launch::new(PROGRAM).on(&hosts[0]).label("first").start();
        let start = Instant::now();
        let second = Launch::new(PROGRAM).on(&hosts[1]).label("second").spawn();
        while !is_anybody_subscribed(&first) {
            assert!(start.elapsed() < DEADLINE, "run {run}: not connected");
        }
        let key = format!("key{run}");
        first.add(&key, "value");
        second.wait_log(0, &key, DEADLINE);
        seconds.push(start.elapsed().as_secs_f64());
    }
    print(name, "s", seconds);
}

fn is_anybody_subscribed(node: &Node) -> bool {
    let status = node.status();
    let peers = status["peers"].as_array().unwrap();
    peers.iter().any(|peer| peer["subscribed"].as_bool().unwrap())
}

/// From the acknowledgement on one node until the value is readable on the other, beside what the disk and the network
/// need at least.
fn latency() {
    let mut milliseconds = Vec::new();
    for _ in 0..LATENCY_PAIRS {
        let lab = Lab::new();
        let hosts = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
        let a = Launch::new(PROGRAM).on(&hosts[0]).label("a").start();
        let b = Launch::new(PROGRAM).on(&hosts[1]).label("b").start();
        a.wait_linked(&b, DEADLINE);
        for sample in 0..LATENCY_SAMPLES {
            let key = format!("key{sample:04}");
            a.add(&key, "value");
            let acknowledged = Instant::now();
            b.wait_log(0, &key, DEADLINE);
            milliseconds.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        }
        echo(&hosts);
    }
    print("fsync of 4 KiB", "ms", fsync());
    print("acknowledged on A to readable on B, idle", "ms", milliseconds);
}

fn fsync() -> Vec<f64> {
    let directory = tempfile::tempdir().unwrap();
    let mut file = File::create(directory.path().join("file")).unwrap();
    let one = |_| {
        let start = Instant::now();
        file.write_all(&[0; 4_096]).unwrap();
        file.sync_data().unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    (0..200).map(one).collect()
}

/// A byte there and back over TCP between the two hosts.
fn echo(hosts: &[Host; 2]) {
    let this = std::env::current_exe().unwrap();
    let address = format!("{}:{ECHO_PORT}", hosts[1].ip4());
    let mut server = hosts[1].command(&this).args(["echo-server", &address]).spawn().unwrap();
    let client = hosts[0]
        .command(&this)
        .args(["echo-client", &address])
        .status()
        .unwrap();
    assert!(client.success());
    assert!(server.wait().unwrap().success());
}

fn echo_server(address: &str) {
    let (mut stream, _) = TcpListener::bind(address).unwrap().accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 {
        stream.write_all(&byte).unwrap();
    }
}

fn echo_client(address: &str) {
    let start = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(error) => assert!(start.elapsed() < DEADLINE, "{error}"),
        }
    };
    stream.set_nodelay(true).unwrap();
    let mut byte = [1];
    let mut one = |_| {
        let start = Instant::now();
        stream.write_all(&byte).unwrap();
        stream.read_exact(&mut byte).unwrap();
        start.elapsed().as_secs_f64() * 1e3
    };
    print(
        "TCP echo between the same hosts",
        "ms",
        (0..500).map(&mut one).collect(),
    );
}

/// What a network costs in which nothing happens.
fn idle() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..IDLE_NODES).map(|_| lab.host(Addresses::V4)).collect();
    let start = |(n, host): (usize, &Host)| Launch::new(PROGRAM).on(host).label(&format!("node{n}")).start();
    let nodes: Vec<Node> = hosts.iter().enumerate().map(start).collect();
    std::thread::sleep(IDLE_SETTLE);
    let read = || -> Vec<(f64, u64)> {
        let traffic = |host: &Host| {
            let (received, sent) = host.traffic_bytes();
            received + sent
        };
        nodes
            .iter()
            .zip(&hosts)
            .map(|(node, host)| (cpu_seconds(node.process().pid()), traffic(host)))
            .collect()
    };
    let (before, since) = (read(), Instant::now());
    std::thread::sleep(IDLE_TIME);
    let (after, elapsed) = (read(), since.elapsed().as_secs_f64());
    let pairs = || before.iter().zip(&after);
    print(
        "idle CPU",
        "% of a core",
        pairs().map(|(b, a)| (a.0 - b.0) / elapsed * 100.0).collect(),
    );
    print(
        "idle traffic, sent and received",
        "kB/s",
        pairs().map(|(b, a)| (a.1 - b.1) as f64 / elapsed / 1e3).collect(),
    );
    print(
        "idle memory (RSS)",
        "MB",
        nodes.iter().map(|node| rss_megabytes(node.process().pid())).collect(),
    );
}
