//! What many nodes on one LAN cost each of them, and how long a change takes to be on all: real processes on hosts made of network
//! namespaces, all at one bridge. Needs root.
//!
//! `cargo bench --bench crowd [-- NODES ...]`; 20 and 50 without a number. A lab holds 250 hosts.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

#[path = "support/process.rs"]
mod process;

use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node, Stdin, wait_until};
use process::{cpu_seconds, rss_megabytes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const DEADLINE: Duration = Duration::from_secs(120);
/// What the first minute costs is told on its own.
const FIRST: Duration = Duration::from_secs(60);
const IDLE: Duration = Duration::from_secs(60);
/// What gossip has not brought after this time sync has to.
const GOSSIP: Duration = Duration::from_secs(2);
const WRITES: usize = 30;
/// Nodes that write something of their own before all start again.
const APART: usize = 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let numbers: Vec<usize> = words.iter().map(|word| word.parse().unwrap()).collect();
    for nodes in if numbers.is_empty() { vec![20, 50] } else { numbers } {
        crowd(nodes);
    }
}

/// What one node has used so far: seconds of CPU, and bytes on the wire.
type Used = (f64, u64);

struct Crowd {
    hosts: Vec<Host>,
    nodes: Vec<Node>,
    _lab: Lab,
}

impl Crowd {
    fn start(count: usize) -> Self {
        let lab = Lab::new();
        let hosts: Vec<Host> = (0..count).map(|_| lab.host(Addresses::V4)).collect();
        lab.know_neighbours(&hosts);
        let launch = |(number, host): (usize, &Host)| {
            let node = Launch::new(PROGRAM).on(host).label(&format!("n{number}"));
            node.stdin(Stdin::Pipe).spawn()
        };
        let nodes: Vec<Node> = hosts.iter().enumerate().map(launch).collect();
        nodes.iter().for_each(Node::wait_ready);
        Self {
            hosts,
            nodes,
            _lab: lab,
        }
    }

    fn wait_keys(&self, keys: usize) {
        for node in &self.nodes {
            let what = format!("{} has {keys} keys", node.label());
            wait_until(&what, DEADLINE, || node.status()["keys"] == keys);
        }
    }

    fn used(&self) -> Vec<Used> {
        let of = |(node, host): (&Node, &Host)| {
            let (received, sent) = host.traffic_bytes();
            (cpu_seconds(node.process().pid()), received + sent)
        };
        self.nodes.iter().zip(&self.hosts).map(of).collect()
    }

    /// Tells what each node used in some time.
    fn print_use(&self, name: &str, before: &[Used], since: Instant) {
        let (after, seconds) = (self.used(), since.elapsed().as_secs_f64());
        let pairs = || before.iter().zip(&after);
        print(
            &format!("{name}: traffic"),
            "kB/s",
            pairs().map(|(b, a)| (a.1 - b.1) as f64 / seconds / 1e3),
        );
        print(
            &format!("{name}: CPU"),
            "% of a core",
            pairs().map(|(b, a)| (a.0 - b.0) / seconds * 100.0),
        );
    }

    /// Adds a value on one node; how long it took from there until it was on all.
    fn write(&self, number: usize) -> f64 {
        let key = format!("write {number:04}");
        let writer = &self.nodes[number * 7 % self.nodes.len()];
        writer.add(&key, "value");
        let start = Instant::now();
        for node in self.nodes.iter().filter(|node| node.label() != writer.label()) {
            // What gossip brings is logged, which costs nothing to wait for; what sync brings is not.
            let is_told = |line: &[u8]| line.windows(key.len()).any(|part| part == key.as_bytes());
            if node.stderr().wait_line(0, GOSSIP, is_told).is_none() {
                node.wait_value(&key, "value", DEADLINE);
            }
        }
        start.elapsed().as_secs_f64()
    }
}

fn print(name: &str, unit: &str, values: impl Iterator<Item = f64>) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    println!(
        "{name}: median {:.3} {unit}, p99 {:.3}, highest {:.3}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn crowd(count: usize) {
    let start = Instant::now();
    let crowd = Crowd::start(count);
    println!(
        "{count} nodes: all started after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let zero = vec![(0.0, 0); count];
    crowd.nodes[0].add("first", "value");
    crowd.wait_keys(1);
    println!(
        "  the first value is on all {:.1} s after the start of the first node",
        start.elapsed().as_secs_f64()
    );
    std::thread::sleep(FIRST.saturating_sub(start.elapsed()));
    crowd.print_use("  first minute", &zero, start);
    let (before, since) = (crowd.used(), Instant::now());
    std::thread::sleep(IDLE);
    crowd.print_use("  idle", &before, since);
    let status: Vec<_> = crowd.nodes.iter().map(Node::status).collect();
    print(
        "  connected peers",
        "",
        status
            .iter()
            .map(|status| status["peers"].as_array().unwrap().len() as f64),
    );
    print(
        "  known peers",
        "",
        status.iter().map(|status| status["known_peers"].as_f64().unwrap()),
    );
    let rss = crowd.nodes.iter().map(|node| rss_megabytes(node.process().pid()));
    print("  memory (RSS)", "MB", rss);
    print(
        "  a write is on all",
        "s",
        (0..WRITES).map(|number| crowd.write(number)),
    );
    restart(&crowd);
}

/// All stop, some write, and all start at once.
fn restart(crowd: &Crowd) {
    for node in &crowd.nodes {
        node.kill9();
    }
    for node in crowd.nodes.iter().take(APART) {
        let mut command = std::process::Command::new(PROGRAM);
        let key = format!("apart {}", node.label());
        command.args(["add", &key, "value", "--data-dir"]).arg(node.data_dir());
        assert!(command.output().unwrap().status.success());
    }
    let start = Instant::now();
    crowd.nodes.iter().for_each(Node::spawn_again);
    crowd.nodes.iter().for_each(Node::wait_ready);
    let ready = start.elapsed().as_secs_f64();
    crowd.wait_keys(1 + WRITES + APART.min(crowd.nodes.len()));
    let equal = start.elapsed().as_secs_f64();
    println!("  all started again at once: ready after {ready:.1} s, equal after {equal:.1} s");
}
