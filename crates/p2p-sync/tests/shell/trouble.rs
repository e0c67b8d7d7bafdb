//! One-shot commands while nodes and other commands come and go: an answer or exit 4, soon, and never a lost write.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use p2p_sync_testbed::Process;

use super::{PATIENCE, directory, launch, shell, start, until};

/// The promise about commands beside a node that starts or stops.
const SOON: Duration = Duration::from_secs(3);

#[test]
fn a_node_that_starts_is_waited_for() {
    let (_parent, directory) = directory();
    assert_eq!(shell(&directory, &["add", "k", "v"]).code, 0);
    for _ in 0..5 {
        let node = launch(&directory).spawn();
        for n in 0..6 {
            let got = shell(&directory, &["get", "k"]);
            assert_eq!((got.code, got.text().as_str()), (0, "v"), "{n}: {got:?}");
            assert!(got.took < SOON, "{got:?}");
        }
        node.process().signal("TERM");
        for n in 0..6 {
            let got = shell(&directory, &["get", "k"]);
            assert_eq!((got.code, got.text().as_str()), (0, "v"), "{n}: {got:?}");
            assert!(got.took < SOON, "{got:?}");
        }
        assert!(node.wait_exit(PATIENCE).success(), "it did not start");
    }
}

#[test]
fn what_was_acknowledged_beside_a_node_that_dies_is_there() {
    let (_parent, directory) = directory();
    let mut acknowledged = Vec::new();
    for round in 0..4 {
        let node = launch(&directory).spawn();
        let process = node.process();
        let killer = thread::spawn(move || {
            thread::sleep(Duration::from_millis(700 + 130 * round));
            process.kill9();
        });
        let mut n = 0;
        while !killer.is_finished() || n == 0 {
            let key = format!("{round}/{n}");
            let added = shell(&directory, &["add", &key, "v"]);
            assert!(matches!(added.code, 0 | 4), "{added:?}");
            assert!(added.took < SOON, "{added:?}");
            if added.code == 0 {
                acknowledged.push(key);
            } else {
                assert!(
                    added.stderr.contains("unknown") || added.stderr.contains("Nothing was changed"),
                    "{added:?}"
                );
            }
            n += 1;
        }
        killer.join().unwrap();
    }
    let listed = shell(&directory, &["list", "--keys-only"]).text();
    let listed: Vec<&str> = listed.lines().collect();
    assert!(!acknowledged.is_empty());
    for key in &acknowledged {
        assert!(listed.contains(&key.as_str()), "{key} was acknowledged and is lost");
    }
}

#[test]
fn many_shells_and_no_node_wait_for_each_other() {
    let (_parent, directory) = directory();
    let shells: Vec<_> = (0..6)
        .map(|n| {
            let directory = directory.clone();
            thread::spawn(move || shell(&directory, &["add", &format!("k{n}"), "v"]))
        })
        .collect();
    for ended in shells.into_iter().map(|shell| shell.join().unwrap()) {
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(shell(&directory, &["list", "--count"]).text(), "6\n");
}

#[test]
fn what_no_node_had_is_announced_by_the_next_one() {
    let (_parent, first) = directory();
    let (_other, second) = directory();
    assert_eq!(shell(&first, &["add", "written", "without a node"]).code, 0);
    let node = start(&first);
    let address = format!("/ip4/127.0.0.1/tcp/{}", node.port());
    let _peer = launch(&second).peer(&address).spawn();
    let waited = shell(&second, &["wait", "--synced", "--key", "written", "--timeout", "30s"]);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert_eq!(shell(&second, &["get", "written"]).text(), "without a node");
    let peers = shell(&second, &["peers", "--json"]).text();
    assert!(peers.contains(&node.peer_id()), "{peers}");
}

/// Over QUIC the usual pings are half a minute apart.
#[test]
fn a_peer_is_pinged_now() {
    let (_parent, first) = directory();
    let (_other, second) = directory();
    let node = start(&first);
    for transport in ["tcp/PORT", "udp/PORT/quic-v1"] {
        let port = node
            .listening()
            .iter()
            .find_map(|address| Some(address.split_once("/tcp/")?.1.to_owned()));
        let address = format!("/ip4/127.0.0.1/{}", transport.replace("PORT", &port.unwrap()));
        let peer = launch(&second).peer(&address).start();
        assert_eq!(shell(&second, &["wait", "--peers", "1", "--timeout", "30s"]).code, 0);
        for _ in 0..5 {
            let pinged = shell(&second, &["ping", &node.peer_id(), "--json"]);
            assert_eq!(pinged.code, 0, "{pinged:?}");
            assert!(pinged.text().contains("\"rtt_ms\":"), "{pinged:?}");
            assert!(pinged.took < SOON, "{pinged:?}");
        }
        assert_eq!(shell(&second, &["ping", "nobody"]).code, 3);
        node.process().signal("STOP");
        let silent = shell(&second, &["ping", &node.peer_id()]);
        node.process().signal("CONT");
        assert!(matches!(silent.code, 3 | 5), "{silent:?}");
        peer.process().signal("TERM");
        assert!(peer.wait_exit(PATIENCE).success());
    }
}

#[test]
fn a_network_that_was_chosen_stays() {
    let (_parent, directory) = directory();
    let mut add = super::command(&directory, &["add", "k", "v"]);
    add.env("P2P_SYNC_NETWORK", "lab");
    assert_eq!(super::end(add, b"").code, 0);
    let node = launch(&directory).argument("--network").argument("lab").spawn();
    assert_eq!(shell(&directory, &["wait"]).code, 0);
    node.process().signal("TERM");
    node.wait_exit(PATIENCE);
    assert_eq!(
        shell(&directory, &["get", "k"]).text(),
        "v",
        "it belongs to another network than the default one"
    );
}

/// Somebody has the directory and says nothing.
#[test]
fn a_directory_in_use_without_an_api_is_an_error_within_three_seconds() {
    let (_parent, directory) = directory();
    let node = launch(&directory).argument("--api").argument("off").spawn();
    until("it has a store", || directory.join("store.db").exists());
    for words in [&["get", "k"][..], &["add", "k", "v"]] {
        let refused = shell(&directory, words);
        assert_eq!(refused.code, 4, "{refused:?}");
        assert!(refused.took < SOON, "{refused:?}");
        assert!(refused.stderr.contains("local API"), "{refused:?}");
    }
    assert!(node.process().is_running());
}

#[test]
fn what_a_dead_node_left_behind_is_passed_over() {
    let (_parent, directory) = directory();
    let node = start(&directory);
    assert_eq!(shell(&directory, &["add", "k", "v"]).code, 0);
    node.kill9();
    assert!(directory.join("node.json").exists());
    let got = shell(&directory, &["get", "k"]);
    assert_eq!((got.code, got.text().as_str()), (0, "v"), "{got:?}");
    // By now somebody else may listen there.
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let api = stranger.local_addr().unwrap();
    for left in [
        String::new(),
        "{".to_owned(),
        format!(r#"{{"api":"{api}","pid":1,"peer_id":"","version":""}}"#),
        r#"{"api":"192.0.2.1:1","pid":1,"peer_id":"","version":""}"#.to_owned(),
    ] {
        fs::write(directory.join("node.json"), left).unwrap();
        let got = shell(&directory, &["get", "k"]);
        assert_eq!((got.code, got.text().as_str()), (0, "v"), "{got:?}");
    }
    assert!(stranger.accept().is_err(), "nobody was sent the token");
    fs::write(directory.join("node.json"), "{").unwrap();
    let _node = start(&directory);
    assert_eq!(shell(&directory, &["get", "k"]).text(), "v");
}

#[test]
fn a_token_that_others_can_read_is_refused() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    let token = directory.join("api.token");
    fs::set_permissions(&token, Permissions::from_mode(0o644)).unwrap();
    let refused = shell(&directory, &["get", "k"]);
    assert_eq!(refused.code, 7, "{refused:?}");
    assert!(refused.stderr.contains("mode is 644"), "{refused:?}");
    fs::set_permissions(&token, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(shell(&directory, &["get", "k"]).code, 3);
    fs::write(&token, "another-secret-that-is-long-enough").unwrap();
    assert_eq!(shell(&directory, &["get", "k"]).code, 7);
}

/// A stopped process holds its port, takes connections and says nothing.
#[test]
fn a_frozen_node_is_given_up_by_every_command() {
    let (_parent, directory) = directory();
    let node = start(&directory);
    assert_eq!(shell(&directory, &["add", "k", "v"]).code, 0);
    node.process().signal("STOP");
    let commands: &[&[&str]] = &[
        &["get", "k"],
        &["add", "k", "v"],
        &["list"],
        &["list", "--count"],
        &["delete", "k"],
        &["delete", "--prefix", "k", "--yes"],
        &["status"],
        &["peers"],
        &["sync"],
        &["verify"],
        &["conflicts"],
        &["resolve", "--all"],
        &["repair-clock"],
        &["ping", "nobody"],
    ];
    let asked: Vec<_> = commands
        .iter()
        .map(|words| {
            let directory = directory.clone();
            thread::spawn(move || (words, shell(&directory, words)))
        })
        .collect();
    let answered: Vec<_> = asked.into_iter().map(|asked| asked.join().unwrap()).collect();
    node.process().signal("CONT");
    for (words, ended) in answered {
        assert_eq!(ended.code, 5, "{words:?}: {ended:?}");
        assert!(ended.took < Duration::from_secs(20), "{words:?}: {ended:?}");
        assert!(
            ended.stderr.contains("has not answered within 10 s"),
            "{words:?}: {ended:?}"
        );
    }
}

#[test]
fn however_little_time_there_is_a_wait_looks_once() {
    let (_parent, directory) = directory();
    assert_eq!(shell(&directory, &["wait", "--timeout", "0"]).code, 5);
    let node = start(&directory);
    for timeout in ["0s", "1ms"] {
        let waited = shell(&directory, &["wait", "--timeout", timeout]);
        assert_eq!(waited.code, 0, "{waited:?}");
    }
    assert_eq!(shell(&directory, &["wait", "--key", "k", "--timeout", "0"]).code, 5);
    drop(node);
}

#[test]
fn a_node_starts_although_a_shell_has_the_store_for_a_moment() {
    let (_parent, directory) = directory();
    assert_eq!(shell(&directory, &["add", "k", "v"]).code, 0);
    let lock = File::options().write(true).open(directory.join("lock")).unwrap();
    lock.lock().unwrap();
    let node = launch(&directory).spawn();
    thread::sleep(Duration::from_millis(500));
    drop(lock);
    assert_eq!(shell(&directory, &["wait", "--timeout", "20s"]).code, 0);
    let mut second = Command::new(super::PROGRAM);
    second
        .args(["start", "--no-lan", "--port", "0", "--data-dir"])
        .arg(&directory);
    let second = Process::spawn("second", second, p2p_sync_testbed::Stdin::Null);
    assert_eq!(
        second.wait_exit(PATIENCE).code(),
        Some(10),
        "a node that goes on running is not waited for any longer"
    );
    drop(node);
}

#[test]
fn a_node_starts_although_another_one_has_not_quite_ended() {
    let (_parent, directory) = directory();
    // The port of one that was killed is free when all of it has ended.
    let port = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let number = port.local_addr().unwrap().port();
    let node = launch(&directory).port(number).spawn();
    let number = number.to_string();
    thread::sleep(Duration::from_millis(700));
    drop(port);
    assert_eq!(shell(&directory, &["wait", "--timeout", "20s"]).code, 0);
    let start = || {
        let words = ["start", "--no-lan", "--prompt", "never", "--port", &number];
        super::command(&directory, &words).spawn().unwrap()
    };
    node.process().signal("KILL");
    let mut running = start();
    for _ in 0..3 {
        assert_eq!(shell(&directory, &["wait", "--timeout", "20s"]).code, 0);
        running.kill().unwrap();
        let next = start();
        running.wait().unwrap();
        running = next;
    }
    assert_eq!(shell(&directory, &["wait", "--timeout", "20s"]).code, 0);
    running.kill().unwrap();
    running.wait().unwrap();
}
