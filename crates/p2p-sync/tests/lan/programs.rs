//! Programs of others, as they are: js-libp2p and py-libp2p with their default settings take part in gossip.
//!
//! `P2P_SYNC_JS_LIBP2P` names a folder with the npm packages that `peers/js.mjs` imports, `P2P_SYNC_PY_LIBP2P` a Python
//! interpreter with the package `libp2p`; `.ci/run` installs both.

use std::fs;
use std::path::{Path, PathBuf};

use p2p_sync_testbed::{Addresses, Host, Lab, Process, Stdin, poll};

use crate::support::{PATIENCE, RECOVERY, launch, seconds, tcp};

fn named_by(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{variable} is not set; see the head of this file"))
}

fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lan/peers")
}

/// Starts js-libp2p on a host, dialling another.
fn js(host: &Host, other: &Host) -> Process {
    let folder = named_by("P2P_SYNC_JS_LIBP2P");
    // Packages are looked for beside the program.
    let program = folder.join(format!("js-{}.mjs", std::process::id()));
    fs::copy(peers().join("js.mjs"), &program).unwrap();
    let mut command = host.command("node");
    command.arg("--import").arg(peers().join("with_resolvers.mjs"));
    command.arg(&program).arg(tcp(other));
    let process = Process::spawn("js", command, Stdin::Pipe);
    process.wait_json(0, "connection", PATIENCE, |line| line["dialled"] == true);
    fs::remove_file(&program).unwrap();
    process
}

/// Starts py-libp2p on a host, dialling a node; always with the same identity.
fn py(host: &Host, node: &str) -> Process {
    let mut command = host.command(named_by("P2P_SYNC_PY_LIBP2P"));
    command.arg(peers().join("py.py")).args(["7", node]);
    let process = Process::spawn("py", command, Stdin::Pipe);
    process.wait_json(0, "connection", PATIENCE, |line| line["dialled"] == true);
    process
}

fn put(key: &str, value: &str) -> Vec<u8> {
    format!("{{\"Put\":{{\"key\":\"{key}\",\"value\":\"{value}\",\"timestamp\":\"2025-01-04T08:30:15Z\"}}}}\n")
        .into_bytes()
}

/// It refuses our pings, and leaves when its own are not answered: that took 15 s.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn js_libp2p_is_connected_and_heard_for_as_long_as_it_likes() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let js = js(&elsewhere, &host);
    js.wait_json(0, "subscription", PATIENCE, |line| line.get("subscribed").is_some());
    // Its mesh takes a heartbeat to come about.
    let mut number = 0;
    let heard = poll(PATIENCE, || {
        number += 1;
        js.send(&put(&format!("early{number}"), "js"));
        poll(seconds(1), || node.get(&format!("early{number}")))
    });
    assert_eq!(heard.as_deref(), Some("js"));
    let whole = std::env::var_os("P2P_SYNC_FULL").is_some();
    std::thread::sleep(seconds(if whole { 600 } else { 25 }));
    js.send(&put("late", "still here"));
    node.wait_value("late", "still here", RECOVERY);
    node.add("answer", "heard");
    js.wait_json(0, "our change", RECOVERY, |line| {
        line["received"].as_str().is_some_and(|text| text.contains("heard"))
    });
    assert_eq!(js.stdout().count(0, "\"closed\""), 0);
}

/// It numbers its messages from the second of its start on: after a restart the numbers come again.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_py_libp2p_says_after_a_restart_is_stored() {
    let lab = Lab::new();
    let (host, elsewhere) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let address = format!("{}/p2p/{}", tcp(&host), node.peer_id());
    for run in ["first", "second"] {
        let py = py(&elsewhere, &address);
        let id = py.wait_json(0, "peer id", PATIENCE, |line| line.get("peer_id").is_some());
        let id = id["peer_id"].as_str().unwrap().to_owned();
        assert!(poll(PATIENCE, || node.is_subscribed(&id).then_some(())).is_some());
        for number in 0..30 {
            py.send(&put(&format!("{run}{number}"), run));
            // It drops its own messages beyond ten a second.
            std::thread::sleep(std::time::Duration::from_millis(150));
        }
        for number in 0..30 {
            node.wait_value(&format!("{run}{number}"), run, RECOVERY);
        }
    }
}
