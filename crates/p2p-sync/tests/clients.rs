//! The example clients of the local API, `examples/clients`: each runs to a good end beside a real node, prints what its README
//! shows, and says what is wrong where there is none. Needs python3, node and curl.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use p2p_sync_testbed::{Launch, Stdin, has_programs, tempfile, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/clients")
}

/// What the README beside the clients says that each of them prints.
fn shown() -> String {
    let readme = fs::read_to_string(folder().join("README.md")).unwrap();
    let transcript = readme
        .split("```console\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let (command, printed) = transcript.split_once('\n').unwrap();
    assert!(command.starts_with("$ python3 light.py "), "{command}");
    printed.to_owned()
}

fn run(interpreter: &str, file: &str, directory: &Path) -> Output {
    let mut command = Command::new(interpreter);
    // A proxy for the world is none for this machine.
    command
        .env("http_proxy", "http://127.0.0.1:9")
        .env("HTTP_PROXY", "http://127.0.0.1:9");
    command.arg(folder().join(file)).arg(directory).output().unwrap()
}

fn assert_client(interpreter: &str, file: &str, needs: &[&str]) {
    if !has_programs(&[&[interpreter], needs].concat()) {
        return;
    }
    let node = Launch::new(PROGRAM).label("node").no_lan().stdin(Stdin::Pipe).start();
    wait_until("node.json", PATIENCE, || node.data_dir().join("node.json").exists());
    // Twice: the second time, the key has a past.
    for _ in 0..2 {
        let ended = run(interpreter, file, node.data_dir());
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stdout), shown());
        assert!(ended.stderr.is_empty(), "{ended:?}");
    }
    assert_eq!(node.command("get example/light"), "✗ Not found: example/light");
    node.stop();
    // Without a node, with one that is gone, and with the token of another one.
    let none = tempfile::tempdir().unwrap();
    assert_says_what_is_wrong(interpreter, file, none.path(), "no node runs on");
    fs::write(node.data_dir().join("node.json"), r#"{"api":"127.0.0.1:9"}"#).unwrap();
    assert_says_what_is_wrong(interpreter, file, node.data_dir(), "");
    node.restart();
    let running = node.data_dir().join("node.json");
    let is_new = || fs::read_to_string(&running).is_ok_and(|text| text.contains("peer_id"));
    wait_until("the new node.json", PATIENCE, is_new);
    fs::copy(&running, none.path().join("node.json")).unwrap();
    fs::write(none.path().join("api.token"), "not-the-token\n").unwrap();
    assert_says_what_is_wrong(interpreter, file, none.path(), "401");
}

#[track_caller]
fn assert_says_what_is_wrong(interpreter: &str, file: &str, directory: &Path, what: &str) {
    let ended = run(interpreter, file, directory);
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(told.contains(&format!("{file}: ")) && told.contains(what), "{ended:?}");
    assert!(!told.contains("Traceback"), "{told}");
}

#[test]
fn the_client_in_python() {
    assert_client("python3", "light.py", &[]);
}

#[test]
fn the_client_in_javascript() {
    assert_client("node", "light.mjs", &[]);
}

#[test]
fn the_client_in_shell() {
    assert_client("sh", "light.sh", &["curl"]);
}
