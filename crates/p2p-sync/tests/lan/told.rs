//! Who cannot be reached, and why, is told: once in the log, and in the status for as long as it lasts.

use std::time::Duration;

use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node, Process, Stdin, Value, poll, wait_until};

use crate::support::{PATIENCE, Stranger, launch, launch_each, quic, seconds, tcp, wait_subscribed};

/// A peer id that nobody has.
const NOBODY: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
/// How soon the status tells of what failed: a dial takes 4 s, and whoever takes part shows it within 8 s.
const SOON: Duration = Duration::from_secs(20);

/// Answers whoever connects at one port, but not as libp2p programs do, and nobody at another.
const WEB_SERVER: &str = r#"
import socket, sys, threading
def serve(server, answers):
    while True:
        one, _ = server.accept()
        if answers and one.recv(65536):
            one.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nBad Request\n")
        one.close()
for port, answers in (8080, True), (8081, False):
    server = socket.create_server((sys.argv[1], port))
    threading.Thread(target=serve, args=(server, answers)).start()
print('{"ready":true}', flush=True)
"#;

/// What the status tells of an address.
fn cause_at(node: &Node, address: &str) -> Option<String> {
    let status = node.status();
    let troubles = status["troubles"].as_array()?;
    let attempts = troubles
        .iter()
        .flat_map(|trouble| trouble["attempts"].as_array().unwrap());
    let mut at = attempts.filter(|attempt| attempt["address"] == address);
    Some(at.next()?["cause"].as_str()?.to_owned())
}

#[track_caller]
fn wait_cause(node: &Node, address: &str, cause: &str) {
    let told = poll(SOON, || cause_at(node, address).filter(|told| told == cause));
    assert!(
        told.is_some(),
        "{address}: {:?} and not {cause}: {}",
        cause_at(node, address),
        node.status()["troubles"]
    );
}

/// The lines of the log that hold both texts.
fn logged(node: &Node, one: &str, other: &str) -> usize {
    let lines = node.stderr().lines_from(0);
    let text = lines.iter().map(|line| String::from_utf8_lossy(line));
    text.filter(|line| line.contains(one) && line.contains(other)).count()
}

fn web_server(host: &Host) -> Process {
    let mut command = host.command("python3");
    command.args(["-u", "-c", WEB_SERVER, &host.ip4()]);
    let server = Process::spawn("web server", command, Stdin::Pipe);
    server.wait_json(0, "readiness", PATIENCE, |_| true);
    server
}

/// A program that shares the port of multicast DNS with nobody.
pub(crate) fn holder(host: &Host) -> Process {
    let mut command = host.command("python3");
    let program = r#"
import socket, time
one = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
one[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
one[0].bind(("", 5353))
one[1].bind(("", 5353))
print('{"ready":true}', flush=True)
time.sleep(600)
"#;
    command.args(["-u", "-c", program]);
    let holder = Process::spawn("holder", command, Stdin::Pipe);
    holder.wait_json(0, "readiness", PATIENCE, |_| true);
    holder
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_peer_that_cannot_be_reached_is_named_with_the_reason() {
    let lab = Lab::new();
    let (host, other, silent) = (
        lab.host(Addresses::V4),
        lab.host(Addresses::V4),
        lab.host(Addresses::V4),
    );
    let of_another_network = |label: &str, port: u16| {
        let node = launch(&other, label).port(port).no_lan();
        node.argument("--network").argument("other").start()
    };
    let (foreign, misnamed) = (
        of_another_network("foreign", 4003),
        of_another_network("misnamed", 4005),
    );
    let _web = web_server(&other);
    let _gossiper = Stranger::listening(&other, 4004, "another topic");
    silent.block_tcp();
    silent.block_udp_except_mdns();

    let at = |host: &Host, port: u16| format!("/ip4/{}/tcp/{port}", host.ip4());
    let other_id = format!("{}/p2p/{NOBODY}", at(&other, 4005));
    let cases = [
        (at(&other, 4999), "refused"),
        ("/ip4/203.0.113.9/tcp/4002".to_owned(), "no_route"),
        ("/ip4/203.0.113.9/udp/4002/quic-v1".to_owned(), "no_route"),
        (tcp(&host), "ourselves"),
        (quic(&host), "ourselves"),
        ("/ip4/127.0.0.1/tcp/4002".to_owned(), "ourselves"),
        (at(&other, 4003), "another_network"),
        (at(&other, 8080), "not_a_node"),
        (at(&other, 8081), "closed"),
        (at(&other, 4004), "not_a_node"),
        (tcp(&silent), "no_answer"),
        (quic(&silent), "no_answer"),
        (at(&lab.lonely_host(), 4002), "host_unreachable"),
        ("/ip6/fe80::1/tcp/4002".to_owned(), "link_local"),
    ];
    let a = cases
        .iter()
        .fold(launch(&host, "a").no_lan(), |a, (address, _)| a.peer(address));
    let a = a.peer(&other_id).start();
    for (address, cause) in &cases {
        wait_cause(&a, address, cause);
    }
    wait_cause(&a, &at(&other, 4005), "another_identity");
    wait_until("the other network knows as well", SOON, || {
        let status = foreign.status();
        let mut troubles = status["troubles"].as_array().unwrap().iter();
        troubles.any(|trouble| trouble["peer_id"] == a.peer_id().as_str() && trouble["cause"] == "another_network")
    });

    // Each has one warning that names it, however often it is tried.
    for (address, _) in &cases {
        wait_until(&format!("a warning of {address}"), SOON, || {
            logged(&a, "WARN", address) > 0
        });
    }
    wait_until("a warning of the other peer", SOON, || {
        logged(
            &a,
            "WARN",
            &format!("Peer {}, not peer {NOBODY}, answers at", misnamed.peer_id()),
        ) == 1
    });
    let status = a.status();
    let refused = status["troubles"].as_array().unwrap().iter();
    let refused = refused
        .filter(|trouble| trouble["cause"] == "refused")
        .collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{status}");
    assert_eq!(
        (&refused[0]["peer_id"], &refused[0]["configured"]),
        (&Value::Null, &true.into())
    );
    assert!(refused[0]["times"].as_u64() > Some(3), "{status}");
    for (address, cause) in &cases {
        assert_eq!(logged(&a, "WARN", address), 1, "{address}: {cause}");
    }
    let lines = a.lines("status");
    assert!(lines.iter().any(|line| line.starts_with("No contact (")), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("Sync:      no peers")),
        "{lines:?}"
    );
    assert_eq!(status["sync"]["state"], "no_peers");

    // What is put right is no trouble any more.
    let closed = launch(&other, "late").port(4999).no_lan().start();
    a.wait_linked(&closed, PATIENCE);
    assert_eq!(cause_at(&a, &at(&other, 4999)), None);
    wait_until("in sync", PATIENCE, || a.status()["sync"]["state"] == "in_sync");
}

/// The nodes of each case are a network of their own, so that they can share a LAN.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nodes_that_discovery_finds_and_nobody_can_dial_are_told_and_so_is_a_deaf_discovery() {
    let lab = Lab::new();
    let on = |addresses, label: &str, network: &str| {
        let host = lab.host(addresses);
        let node = launch(&host, label).argument("--network").argument(network);
        (host, node)
    };
    // Multicast is filtered: nobody is found.
    let (deaf_host, deaf) = on(Addresses::V4, "deaf", "deaf");
    deaf_host.block_multicast();
    let deaf = deaf.start();
    // Another program has the port of multicast DNS for itself.
    let (held_host, held) = on(Addresses::V4, "held", "held");
    let _holder = holder(&held_host);
    let held = held.start();
    wait_until("it is told that nobody can listen", SOON, || {
        held.status()["multicast"] == "unknown"
    });
    let (_alone_host, alone) = on(Addresses::V4, "alone", "alone");
    let alone = alone.start();
    // One is stopped in good order.
    let (_stays_host, stays) = on(Addresses::V4, "stays", "stopped");
    let (_stops_host, stops) = on(Addresses::V4, "stops", "stopped");
    let (stays, stops) = (stays.start(), stops.start());
    stays.wait_linked(&stops, PATIENCE);
    let stopped = stops.peer_id();
    stops.stop();
    // Multicast passes, and nothing else.
    let (walled_host, walled) = on(Addresses::V4, "walled", "walled");
    let (_outside_host, outside) = on(Addresses::V4, "outside", "walled");
    walled_host.block_tcp();
    walled_host.block_udp_except_mdns();
    let (walled, outside) = (walled.start(), outside.start());
    // There are link-local addresses only.
    let (_one_host, one) = on(Addresses::None, "one", "local");
    let (_two_host, two) = on(Addresses::None, "two", "local");
    let (one, two) = (one.start(), two.start());

    wait_cause(&outside, &tcp(&walled_host), "no_answer");
    outside.wait_log(0, "It announces itself", SOON);
    assert_eq!(outside.status()["sync"]["state"], "no_peers");
    assert_eq!(logged(&outside, "WARN", &format!("peer {}", walled.peer_id())), 1);
    let told = poll(SOON, || {
        let status = one.status();
        let troubles = status["troubles"].as_array().unwrap().clone();
        troubles.into_iter().find(|trouble| trouble["cause"] == "link_local")
    });
    assert_eq!(
        told.expect("link-local addresses are told")["peer_id"],
        two.peer_id().as_str()
    );
    one.wait_log(0, "link-local", SOON);

    let line = deaf.wait_log(0, "No other node was found in 20 s", seconds(30));
    let lines = deaf.stderr().lines_from(line);
    let hint = String::from_utf8_lossy(&lines[0]).into_owned();
    for word in ["UDP port 5353", "--peer", "Guest Wi-Fi"] {
        assert!(hint.contains(word), "{hint}");
    }
    assert_eq!(deaf.status()["multicast"], "silent");
    // Others hear the nodes of other networks, and are told that it is not the network.
    let line = alone.wait_log(0, "No other node was found in 20 s", seconds(30));
    let hint = String::from_utf8_lossy(&alone.stderr().lines_from(line)[0]).into_owned();
    assert!(hint.contains("arrives, so") && hint.contains("--network"), "{hint}");
    assert_eq!(alone.status()["multicast"], "heard");
    // That somebody stopped is no reason for a warning, but can be seen.
    assert_eq!(logged(&stays, "WARN", ""), 0);
    let troubles = stays.status()["troubles"].clone();
    assert_eq!(troubles[0]["peer_id"], stopped.as_str(), "{troubles}");
    // Others have found somebody, and get no such hint.
    for node in [&outside, &one, &stays] {
        assert_eq!(logged(node, "INFO", "No other node was found"), 0, "{}", node.label());
    }
}

/// Nodes are switched off every day: that is no reason to look for a firewall.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nodes_that_were_stopped_or_lost_their_power_are_no_reason_for_a_warning() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..5).map(|_| lab.host(Addresses::V4)).collect();
    let nodes: Vec<Node> = launch_each(&hosts).map(Launch::start).collect();
    let (last, others) = nodes.split_last().unwrap();
    wait_subscribed(last, others.len(), PATIENCE);
    // Whatever the order of their ids, some are dialled again at once, and some after a moment.
    let (stopped, killed) = others.split_at(2);
    stopped.iter().for_each(Node::stop);
    killed.iter().for_each(Node::kill9);
    // QUIC notices within 6 s, and a warning comes when it has lasted for 5 s.
    std::thread::sleep(seconds(14));
    let troubles = last.status()["troubles"].clone();
    for node in killed {
        let id = node.peer_id();
        let is_shown = troubles
            .as_array()
            .unwrap()
            .iter()
            .any(|trouble| trouble["peer_id"] == id);
        assert!(is_shown, "{}: {troubles}", node.label());
    }
    assert_eq!(last.stderr().count(0, "WARN"), 0);
}
