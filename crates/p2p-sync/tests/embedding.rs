//! Nodes inside a program: what the library does there, what it leaves alone, and that its examples work. Runs on any machine, on
//! the loopback interface.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use p2p_sync::{Event, Node, NodeBuilder, NodeError, Since, Standing, StartError};
use p2p_sync_testbed::example;
use tokio::time::timeout;

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(directory: &Path, name: &str) -> NodeBuilder {
    Node::builder(directory.join(name)).name(name).port(0).lan(false)
}

fn address(node: &Node) -> String {
    format!("/ip4/127.0.0.1/tcp/{}", node.port())
}

/// Waits until a key is as wanted on a node; none: it has no value.
async fn wait_for(node: &Node, key: &str, value: Option<&str>) {
    let mut changes = node.watch(key, Since::Snapshot);
    let told = timeout(PATIENCE, async {
        let mut now = None;
        let mut is_complete = false;
        while !is_complete || now.as_deref() != value {
            match changes.next().await.unwrap().unwrap() {
                Event::Put(observed) => now = observed.record.text().map(str::to_owned),
                Event::Delete(_) => now = None,
                Event::Ready { .. } => is_complete = true,
                _ => {}
            }
        }
    });
    let name = node.names().peer(node.id());
    told.await
        .unwrap_or_else(|_| panic!("{name} never had {key} = {value:?}"));
}

#[tokio::test]
async fn two_nodes_in_one_process_share_everything_but_their_state() {
    let directory = tempfile::tempdir().unwrap();
    let desk = settings(directory.path(), "desk").start().await.unwrap();
    let in_kitchen = settings(directory.path(), "kitchen").peer(address(&desk));
    let kitchen = in_kitchen.clone().start().await.unwrap();
    assert_ne!(desk.id(), kitchen.id());
    assert_ne!(desk.port(), kitchen.port());

    desk.put("hello", "world").await.unwrap();
    wait_for(&kitchen, "hello", Some("world")).await;
    kitchen.delete("hello").await.unwrap().unwrap();
    wait_for(&desk, "hello", None).await;
    let peers = kitchen.peers().await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(peers[0].peer_id, desk.id().to_string());
    assert_eq!(kitchen.names().peer(desk.id()), "desk");

    // One ends, the other does not notice but for the missing peer; what it writes is fetched later.
    kitchen.stop().await;
    assert!(matches!(kitchen.put("late", "x").await, Err(NodeError::Stopped)));
    let id = kitchen.id();
    drop(kitchen);
    desk.put("light", "on").await.unwrap();
    let kitchen = in_kitchen.start().await.unwrap();
    assert_eq!(kitchen.id(), id);
    wait_for(&kitchen, "light", Some("on")).await;
    let synced = timeout(PATIENCE, kitchen.sync()).await.unwrap().unwrap();
    assert!(synced.iter().all(|one| one.standing == Standing::InSync), "{synced:?}");
    desk.stop().await;
    kitchen.stop().await;
}

#[tokio::test]
async fn networks_stay_apart_in_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let lab = settings(directory.path(), "lab").network("lab").start().await.unwrap();
    let stranger = settings(directory.path(), "stranger")
        .peer(address(&lab))
        .start()
        .await
        .unwrap();
    let friend = settings(directory.path(), "friend").network("lab").peer(address(&lab));
    let friend = friend.start().await.unwrap();
    lab.put("hello", "world").await.unwrap();
    wait_for(&friend, "hello", Some("world")).await;
    assert_eq!(stranger.get("hello").await.unwrap(), None);
    for node in [lab, stranger, friend] {
        node.stop().await;
    }
}

#[tokio::test]
async fn a_node_that_is_dropped_ends_and_keeps_what_it_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let node = settings(directory.path(), "n").start().await.unwrap();
    let mut changes = node.watch("", Since::Now);
    node.put("hello", "world").await.unwrap();
    let other = node.clone();
    drop(node);
    assert!(other.get("hello").await.unwrap().is_some(), "a clone keeps it running");
    drop(other);
    let ended = timeout(PATIENCE, async { while changes.next().await.is_some() {} });
    ended.await.expect("the watch ends with the node");
    let again = timeout(PATIENCE, async {
        loop {
            match settings(directory.path(), "n").start().await {
                Ok(node) => return node,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    });
    let again = again.await.expect("the directory becomes free");
    assert_eq!(again.get("hello").await.unwrap().unwrap().text(), Some("world"));
    again.stop().await;
}

#[tokio::test]
async fn a_wrong_setting_is_named_and_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let good = || settings(directory.path(), "n");
    for (wrong, named) in [
        (good().name(""), "not a node name"),
        (good().network("a\nb"), "not a network name"),
        (good().peers(["/ip4/127.0.0.1/tcp/1", "127.0.0.1:1"]), "127.0.0.1:1"),
        (good().max_store(10), "at least 1.0 MB"),
        (good().message_limit(0), "from 1 to 6000"),
    ] {
        let error = wrong.start().await.unwrap_err();
        assert!(matches!(error, StartError::Setting(_)), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    assert!(!directory.path().join("n").exists());
}

#[test]
fn without_a_runtime_it_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let started = futures::executor::block_on(settings(directory.path(), "n").start());
    assert!(matches!(started, Err(StartError::NoRuntime)));
}

/// What Linux knows of the process that only its program should change: signals that are caught, blocked or ignored, and limits.
///
/// Blocked signals are those of this thread: the main thread blocks all of them for a moment while it starts another.
#[cfg(target_os = "linux")]
fn process() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let signals = status
        .lines()
        .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"));
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    signals.map(str::to_owned).chain([limits]).collect()
}

/// The other tests run in this process as well, so it has one of its own.
#[cfg(target_os = "linux")]
#[test]
fn it_changes_nothing_that_belongs_to_the_whole_process() {
    const ALONE: &str = "P2P_SYNC_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(change_nothing());
    }
    let name = "it_changes_nothing_that_belongs_to_the_whole_process";
    let mut alone = Command::new(std::env::current_exe().unwrap());
    let ended = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").status();
    assert!(ended.unwrap().success());
}

#[cfg(target_os = "linux")]
async fn change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (before, environment) = (process(), std::env::vars_os().collect::<Vec<_>>());
    let node = Node::builder(directory.path()).port(0).start().await.unwrap();
    node.put("hello", "world").await.unwrap();
    assert_eq!(process(), before);
    node.stop().await;
    assert_eq!(process(), before);
    assert_eq!(std::env::vars_os().collect::<Vec<_>>(), environment);
    assert!(!tracing::dispatcher::has_been_set(), "a subscriber");
}

/// A running example. It is killed if the test fails.
struct Example {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(example(PROGRAM, name))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (told, lines) = mpsc::sync_channel(1_000);
        std::thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| told.send(line))
        });
        Self {
            input: child.stdin.take(),
            child,
            lines,
        }
    }

    /// The lines up to one that contains this.
    fn until(&self, wanted: &str) -> Vec<String> {
        let mut told: Vec<String> = Vec::new();
        while !told.last().is_some_and(|line| line.contains(wanted)) {
            let line = self.lines.recv_timeout(PATIENCE);
            told.push(line.unwrap_or_else(|_| panic!("no line with {wanted} after {told:?}")));
        }
        told
    }

    fn ends_well(mut self) -> Vec<String> {
        drop(self.input.take());
        let mut rest = Vec::new();
        // Its end is the end of its output.
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end, after {rest:?}"),
            }
        }
        assert!(self.child.wait().unwrap().success(), "{rest:?}");
        rest
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_example_three_nodes() {
    let told = Example::start("three_nodes", &[]).ends_well();
    assert_eq!(
        told,
        [r#"kitchen: hello = Some("world")"#, r#"cellar: hello = Some("world")"#]
    );
}

#[test]
fn the_readme_shows_that_example() {
    let read = |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let example = read("examples/three_nodes.rs");
    let code = example.lines().skip_while(|line| !line.starts_with("use "));
    let code = code.collect::<Vec<_>>().join("\n");
    assert!(
        read("../../README.md").contains(&format!("```rust\n{code}\n```")),
        "{code}"
    );
}

#[test]
fn the_example_settings() {
    let told = Example::start("settings", &[]).ends_well();
    let last = told.last().unwrap();
    assert!(last.contains(r#"greeting: "hello", workers: 4"#), "{told:?}");
}

// This test waits for another process with one thread, while the node runs on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_board() {
    let directory = tempfile::tempdir().unwrap();
    let node = settings(directory.path(), "n").start().await.unwrap();
    node.put("board/Ada", "lunch at noon\u{1b}[31m").await.unwrap();
    let data = directory.path().join("board");
    let mut board = Example::start("board", &[data.to_str().unwrap(), &address(&node)]);
    board.until("Ada: lunch at noon[31m");
    let mut input = board.input.take().unwrap();
    writeln!(input, "Bob back at two").unwrap();
    wait_for(&node, "board/Bob", Some("back at two")).await;
    assert!(
        board
            .until("Bob: back at two")
            .contains(&"--- 2 on the board".to_owned())
    );
    writeln!(input, "Ada").unwrap();
    wait_for(&node, "board/Ada", None).await;
    board.until("--- 1 on the board");
    drop(input);
    board.ends_well();
    node.stop().await;
}
