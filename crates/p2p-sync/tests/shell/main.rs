//! Every command as `p2p-sync COMMAND`: what it prints where, how it ends, and what it does while nodes come and go. Real processes on
//! loopback, without discovery.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod backup;
mod bytes;
mod demo;
mod settings;
mod surroundings;
mod table;
mod transfer;
mod trouble;
mod watching;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Launch, Node, Stdin, tempfile};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);

/// A node by itself, as a service.
fn launch(directory: &Path) -> Launch {
    Launch::new(PROGRAM)
        .label("node")
        .no_lan()
        .stdin(Stdin::Null)
        .data_dir(directory)
}

/// Waits until the node of this directory can be asked.
fn start(directory: &Path) -> Node {
    let node = launch(directory).start();
    let waited = shell(directory, &["wait", "--timeout", "30s"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    node
}

/// What came of a command.
#[derive(Debug)]
struct Ended {
    code: i32,
    stdout: Vec<u8>,
    stderr: String,
    took: Duration,
}

impl Ended {
    fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }
}

/// A command about this data directory, whose home is there, too.
fn command<A: AsRef<OsStr>>(directory: &Path, arguments: &[A]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("P2P_SYNC_") || text.starts_with("XDG_") || text == "RUST_LOG" {
            command.env_remove(&name);
        }
    }
    command
        .env("P2P_SYNC_DATA_DIR", directory)
        .env("HOME", directory)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn shell<A: AsRef<OsStr>>(directory: &Path, arguments: &[A]) -> Ended {
    end(command(directory, arguments), b"")
}

fn shell_with<A: AsRef<OsStr>>(directory: &Path, arguments: &[A], input: &[u8]) -> Ended {
    end(command(directory, arguments), input)
}

/// Runs it to its end, with this as its input.
#[track_caller]
fn end(mut command: Command, input: &[u8]) -> Ended {
    let begun = Instant::now();
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        thread::spawn(move || stdin.write_all(&input));
    }
    let read = |mut from: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all
        })
    };
    let stdout = child.stdout.take().map(|stdout| read(Box::new(stdout)));
    let stderr = child.stderr.take().map(|stderr| read(Box::new(stderr)));
    let status = exit_of(&mut child);
    Ended {
        code: status.code().unwrap_or(-1),
        stdout: stdout.map(|stdout| stdout.join().unwrap()).unwrap_or_default(),
        stderr: String::from_utf8(stderr.map(|stderr| stderr.join().unwrap()).unwrap_or_default()).unwrap(),
        took: begun.elapsed(),
    }
}

#[track_caller]
fn exit_of(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("a command has not ended after {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("data");
    (parent, path)
}
