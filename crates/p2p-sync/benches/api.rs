//! What programs on the machine pay: a command from the shell, the local API, a watch. Beside them, in the same run, the same work by
//! Redis, where it is installed. Two hosts are network namespaces: needs root.
//!
//! `cargo bench --bench api [-- shell|http|watch|watchers|hosts ...]`; without a word everything is measured.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use p2p_sync::Node as Library;
use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node};

mod support;

use support::local_api::{Api, VALUE, exchange};
use support::{quantile, redis};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a command of the shell is run.
const COMMANDS: usize = 200;
const CONNECTIONS: usize = 16;
/// How long requests are made.
const LOAD: Duration = Duration::from_secs(10);
const EVENTS: usize = 300;
const WATCHERS: usize = 1_000;
const CHANGES_A_SECOND: u64 = 100;
const WATCHERS_SECONDS: u64 = 20;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["role", "put", directory] => return put_in_turn(&Api::of(Path::new(directory))),
        ["role", "watch", directory] => return tell_events(&Api::of(Path::new(directory))),
        ["role", "redis-put", address] => {
            wait_for_go();
            return redis::put_in_turn(address, EVENTS, tell_time);
        }
        ["role", "redis-watch", address] => return redis::tell_events(address, || println!("ready"), tell_time),
        _ => {}
    }
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    if wanted("shell") {
        shell();
    }
    if wanted("http") {
        http();
    }
    if wanted("watch") {
        watch();
    }
    if wanted("watchers") {
        watchers();
    }
    if wanted("hosts") {
        hosts();
    }
}

fn node() -> Node {
    Launch::new(PROGRAM).label("node").no_lan().start()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn milliseconds(times: &mut [f64]) -> String {
    format!(
        "p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms",
        quantile(times, 0.5),
        quantile(times, 0.95),
        quantile(times, 0.99)
    )
}

/// `get` as a process of its own.
fn shell() {
    let node = node();
    let api = Api::of(node.data_dir());
    api.put(&mut api.connect(), "k");
    let port = free_port();
    let redis = redis::start(Command::new("redis-server"), port, &[]);
    if redis.is_some() {
        redis::reached(&format!("127.0.0.1:{port}"));
        let port = port.to_string();
        assert!(
            Command::new("redis-cli")
                .args(["-p", &port, "set", "k", VALUE])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..COMMANDS {
        let mut get = Command::new(PROGRAM);
        get.args(["get", "k", "--data-dir"]).arg(node.data_dir());
        ours.push(timed(get));
        if redis.is_some() {
            let mut get = Command::new("redis-cli");
            get.args(["-p", &port.to_string(), "get", "k"]);
            theirs.push(timed(get));
        }
    }
    println!(
        "get from the shell, {COMMANDS} times in turn: {}",
        milliseconds(&mut ours)
    );
    if redis.is_some() {
        println!("  redis-cli get: {}", milliseconds(&mut theirs));
        println!(
            "  ratio of p95: {:.2} (at most 1.5)",
            quantile(&mut ours, 0.95) / quantile(&mut theirs, 0.95)
        );
    }
    node.stop();
}

fn timed(mut command: Command) -> f64 {
    let start = Instant::now();
    let output = command.output().unwrap();
    let took = start.elapsed().as_secs_f64() * 1e3;
    assert!(
        output.status.success() && output.stdout.starts_with(VALUE.as_bytes()),
        "{output:?}"
    );
    took
}

/// Requests over connections that stay open, on the same two cores as the node.
fn http() {
    let node = node();
    let api = Api::of(node.data_dir());
    api.put(&mut api.connect(), "k");
    let (rate, mut times) = load(&api, |api, _| api.request("GET", "/v1/kv/k", ""));
    println!(
        "GET, {CONNECTIONS} connections: {rate:.0} a second (at least 10,000); {} (p99 at most 5)",
        milliseconds(&mut times)
    );
    let (rate, mut times) = load(&api, |api, n| {
        api.request("PUT", &format!("/v1/kv/{}", support::key(n)), VALUE)
    });
    node.stop();
    let library = library();
    println!(
        "PUT, {CONNECTIONS} connections: {rate:.0} a second, the library with as many writers {library:.0}; ratio {:.2} (at least 0.7); {}",
        rate / library,
        milliseconds(&mut times)
    );
}

fn load(api: &Api, request: impl Fn(&Api, u64) -> String + Sync) -> (f64, Vec<f64>) {
    let (count, start) = (AtomicU64::new(0), Instant::now());
    let times = thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let (mut connection, mut times) = (api.connect(), Vec::new());
                    while start.elapsed() < LOAD {
                        let request = request(api, count.fetch_add(1, Ordering::Relaxed));
                        let sent = Instant::now();
                        let status = exchange(&mut connection, &request);
                        times.push(sent.elapsed().as_secs_f64() * 1e3);
                        assert!((200..300).contains(&status), "{status}");
                    }
                    times
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect::<Vec<_>>()
    });
    (times.len() as f64 / start.elapsed().as_secs_f64(), times)
}

/// The rate of as many writers that use a node in their own process.
fn library() -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let node = Library::builder(directory.path())
            .port(0)
            .lan(false)
            .start()
            .await
            .unwrap();
        let (count, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let writers = (0..CONNECTIONS).map(|_| {
            let (node, count) = (node.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                while start.elapsed() < LOAD {
                    let n = count.fetch_add(1, Ordering::Relaxed);
                    node.put(support::key(n).as_str(), VALUE).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        let rate = count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
        node.stop().await;
        rate
    })
}

/// From the acknowledgement of a put until a watcher of the same node has read the event.
fn watch() {
    let node = node();
    let api = Api::of(node.data_dir());
    let (told, heard) = mpsc::sync_channel(EVENTS);
    let watcher = api.clone();
    thread::spawn(move || {
        for line in watcher.watch() {
            let _ = told.send((Instant::now(), line.contains(r#""event":"put""#)));
        }
    });
    heard.recv_timeout(PATIENCE).unwrap();
    let mut connection = api.connect();
    let mut times = Vec::new();
    for n in 0..EVENTS {
        api.put(&mut connection, &format!("k{n}"));
        let acknowledged = Instant::now();
        let at = loop {
            if let (at, true) = heard.recv_timeout(PATIENCE).unwrap() {
                break at;
            }
        };
        // An event may even come before the answer.
        times.push(at.saturating_duration_since(acknowledged).as_secs_f64() * 1e3);
        thread::sleep(Duration::from_millis(10));
    }
    println!(
        "from commit to event, {EVENTS} changes: {} (p50 at most 1, p99 at most 10)",
        milliseconds(&mut times)
    );
    node.stop();
}

/// What many watchers that read cost the node.
fn watchers() {
    let node = node();
    let api = Api::of(node.data_dir());
    let heard = Arc::new(AtomicU64::new(0));
    for _ in 0..WATCHERS {
        let (api, heard) = (api.clone(), Arc::clone(&heard));
        let watcher = thread::Builder::new().stack_size(128 * 1024);
        watcher
            .spawn(move || {
                for line in api.watch() {
                    heard.fetch_add(u64::from(line.contains(r#""event":"put""#)), Ordering::Relaxed);
                }
            })
            .unwrap();
    }
    thread::sleep(Duration::from_secs(3));
    let pid = node.process().pid();
    let (before, start) = (cpu(pid), Instant::now());
    let mut connection = api.connect();
    let changes = CHANGES_A_SECOND * WATCHERS_SECONDS;
    for n in 0..changes {
        let due = start + Duration::from_secs(1) * n as u32 / CHANGES_A_SECOND as u32;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        api.put(&mut connection, &format!("k{}", n % 1_000));
    }
    let expected = changes * WATCHERS as u64;
    while heard.load(Ordering::Relaxed) < expected && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    let cores = (cpu(pid) - before) / start.elapsed().as_secs_f64();
    println!(
        "{WATCHERS} watchers, {CHANGES_A_SECOND} changes a second: {:.2} cores (below 1), RSS {:.0} MB (below 100), {} of {expected} events",
        cores,
        megabytes(pid),
        heard.load(Ordering::Relaxed)
    );
    node.stop();
}

fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn megabytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1e3
}

/// From the acknowledgement on one host until a watcher on another one has read the event.
fn hosts() {
    let lab = Lab::new();
    let hosts = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
    let nodes = [0, 1].map(|n| Launch::new(PROGRAM).on(&hosts[n]).label(["a", "b"][n]).start());
    nodes[0].wait_log(0, "Connection established", PATIENCE);
    thread::sleep(Duration::from_secs(2));
    let mut ours = between(
        role(&hosts[0], "put", nodes[0].data_dir().to_str().unwrap()),
        role(&hosts[1], "watch", nodes[1].data_dir().to_str().unwrap()),
    );
    println!(
        "acknowledged on A to event on B, {EVENTS} changes: {}",
        milliseconds(&mut ours)
    );
    nodes.iter().for_each(Node::stop);
    let master = hosts[0].ip4();
    let server = |host: &Host| host.command("redis-server");
    let (Some(_master), Some(_replica)) = (
        redis::start(server(&hosts[0]), 6379, &["--bind", "0.0.0.0"]),
        redis::start(
            server(&hosts[1]),
            6379,
            &["--replicaof", &master, "6379", "--notify-keyspace-events", "K$"],
        ),
    ) else {
        return;
    };
    let is_up = || {
        let mut info = hosts[1].command("redis-cli");
        let output = info.args(["info", "replication"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains("master_link_status:up")
    };
    let start = Instant::now();
    while !is_up() {
        assert!(start.elapsed() < PATIENCE, "the replica has no master");
        thread::sleep(Duration::from_millis(100));
    }
    let mut theirs = between(
        role(&hosts[0], "redis-put", "127.0.0.1:6379"),
        role(&hosts[1], "redis-watch", "127.0.0.1:6379"),
    );
    println!(
        "  Redis, master to keyspace event on a replica: {}",
        milliseconds(&mut theirs)
    );
    println!(
        "  ratio of p50: {:.2} (at most 1.5)",
        quantile(&mut ours, 0.5) / quantile(&mut theirs, 0.5)
    );
}

/// This program on a host.
fn role(host: &Host, role: &str, argument: &str) -> Child {
    let mut command = host.command(std::env::current_exe().unwrap());
    command.args(["role", role, argument]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The times between what one role and what another one prints, change by change, in milliseconds.
fn between(mut put: Child, mut watch: Child) -> Vec<f64> {
    let lines = |child: &mut Child| BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut puts, mut events) = (lines(&mut put), lines(&mut watch));
    assert_eq!(events.next().unwrap().unwrap(), "ready");
    put.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut times = Vec::new();
    for _ in 0..EVENTS {
        let time = |line: Option<std::io::Result<String>>| line.unwrap().unwrap().parse::<u64>().unwrap();
        let (put, event) = (time(puts.next()), time(events.next()));
        times.push(event.saturating_sub(put) as f64 / 1e6);
    }
    let _ = watch.kill();
    let _ = (put.wait(), watch.wait());
    times
}

/// Prints nanoseconds of the wall clock, which all namespaces share.
fn tell_time() {
    println!("{}", SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos());
}

fn wait_for_go() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

fn put_in_turn(api: &Api) {
    let mut connection = api.connect();
    api.put(&mut connection, "first");
    wait_for_go();
    for n in 0..EVENTS {
        api.put(&mut connection, &format!("k{n}"));
        tell_time();
        thread::sleep(Duration::from_millis(20));
    }
}

fn tell_events(api: &Api) {
    let is_ready = AtomicBool::new(false);
    for line in api.watch() {
        if line.contains(r#""event":"ready""#) && !is_ready.swap(true, Ordering::Relaxed) {
            println!("ready");
        } else if line.contains(r#""key":"k"#) {
            tell_time();
        }
    }
}
