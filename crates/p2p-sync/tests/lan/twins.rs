//! A data directory that was copied: two machines with one identity never connect, so each says so by itself. And a node
//! that meets itself on strange ways does not take itself for another.

use std::fs;
use std::path::Path;
use std::time::Duration;

use p2p_sync_testbed::{Addresses, Host, Lab, Node, tempfile, wait_until};

use crate::support::{PATIENCE, launch, quic, seconds, tcp};

/// How soon a twin is told.
const TOLD_WITHIN: Duration = Duration::from_secs(10);
const ERROR: &str = "Another machine has the same identity";

fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Two data directories with the same identity.
fn twin_directories(host: &Host) -> [tempfile::TempDir; 2] {
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let first = launch(host, "clone").no_lan().data_dir(directories[0].path()).start();
    first.add("before", "the copy");
    first.stop();
    copy(directories[0].path(), directories[1].path());
    directories
}

#[track_caller]
fn assert_told(node: &Node, other: &Host) {
    let line = node.wait_log(0, ERROR, TOLD_WITHIN);
    let lines = node.stderr().lines_from(line);
    let text = String::from_utf8_lossy(&lines[0]).into_owned();
    assert!(text.contains("ERROR"), "{text}");
    assert!(text.contains(&format!("/ip4/{}/", other.ip4())), "{text}");
    assert!(
        text.contains(&node.peer_id()) && text.contains("identity.key"),
        "{text}"
    );
    let status = node.status();
    let troubles = status["troubles"].as_array().unwrap();
    let twin = troubles.iter().find(|trouble| trouble["cause"] == "same_identity");
    assert_eq!(twin.expect("it is in the status")["peer_id"], node.peer_id().as_str());
}

/// The two have the same name too, as two copies of one card have.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn two_copies_on_one_lan_say_so_on_both_machines() {
    let lab = Lab::new();
    let hosts = [(); 2].map(|()| lab.host(Addresses::V4));
    let directories = twin_directories(&hosts[0]);
    let start = |number: usize| {
        let node = launch(&hosts[number], "clone");
        node.data_dir(directories[number].path()).start()
    };
    let (a, b) = (start(0), start(1));
    assert_eq!(a.peer_id(), b.peer_id());
    assert_told(&a, &hosts[1]);
    assert_told(&b, &hosts[0]);

    // The cure works, and its data stays.
    b.stop();
    fs::remove_file(directories[1].path().join("identity.key")).unwrap();
    let b = launch(&hosts[1], "cured").data_dir(directories[1].path());
    let b = b.argument("--new-identity").start();
    a.wait_linked(&b, PATIENCE);
    assert_eq!(b.get("before").as_deref(), Some("the copy"));
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn two_copies_that_were_told_of_each_other_say_so_without_discovery() {
    let lab = Lab::new();
    let hosts = [(); 2].map(|()| lab.host(Addresses::V4));
    let directories = twin_directories(&hosts[0]);
    let a = launch(&hosts[0], "a").no_lan().data_dir(directories[0].path()).start();
    // Only one of them knows of the other.
    let b = launch(&hosts[1], "b")
        .no_lan()
        .peer(&quic(&hosts[0]))
        .data_dir(directories[1].path());
    let b = b.start();
    assert_told(&b, &hosts[0]);
    assert_told(&a, &hosts[1]);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_does_not_take_itself_for_another() {
    let lab = Lab::new();
    let host = lab.host(Addresses::Both);
    host.add_dead_end("172.17.0.1/16");
    // A way out that leads back, as some routers have one for their own public address.
    let script = format!(
        "add table ip loop\nadd chain ip loop out {{ type nat hook output priority -100; }}\n\
         add rule ip loop out ip daddr {} tcp dport 4002 redirect to :4002\n",
        host.spare_ip4()
    );
    let mut nft = host.command("nft");
    assert!(nft.arg(script).status().unwrap().success());
    let back = format!("/ip4/{}/tcp/4002", host.spare_ip4());
    let node = launch(&host, "a").peer(&back).peer(&tcp(&host)).start();
    let is_told = |address: &str| {
        let status = node.status();
        let troubles = status["troubles"].as_array().unwrap().clone();
        troubles
            .iter()
            .flat_map(|trouble| trouble["attempts"].as_array().unwrap().clone())
            .any(|attempt| attempt["address"] == address && attempt["cause"] == "ourselves")
    };
    wait_until("the way back is told", PATIENCE, || {
        is_told(&back) && is_told(&tcp(&host))
    });
    // It restarts within the life of its announcement, and gets another address.
    node.kill9();
    node.restart();
    host.remove_address(&format!("{}/24", host.ip4()));
    host.add_address(&format!("{}/24", host.spare_ip4()));
    let other = launch(&lab.host(Addresses::V4), "b").start();
    node.wait_linked(&other, PATIENCE);
    let false_alarm = node.stderr().wait_line(0, seconds(6), |line| {
        String::from_utf8_lossy(line).contains("same identity")
    });
    assert!(false_alarm.is_none(), "{false_alarm:?}");
}
