//! `doctor` finds what is wrong, and nothing else: each fault is made on hosts of its own, in a network of its own, all at once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use p2p_sync_core::NetworkName;
use p2p_sync_testbed::{Addresses, FakeClock, Host, Lab, Launch, Node, Process, Stdin, Value, Volume, poll, tempfile};

use crate::support::{PATIENCE, PROGRAM, launch};
use crate::sync::add_all;

/// How soon a fault is found. Some take a dial that fails, or a comparison.
const FOUND_WITHIN: Duration = Duration::from_secs(40);
/// What one look may take: it promises 6 s, and here there are many at once.
const LOOK_MAX: Duration = Duration::from_secs(9);

/// What `doctor` said.
#[derive(Debug)]
struct Said {
    findings: Vec<Value>,
    examined: Value,
}

impl Said {
    fn words(&self) -> Vec<&str> {
        let words = self.findings.iter().map(|finding| finding["finding"].as_str().unwrap());
        words.collect()
    }

    #[track_caller]
    fn text(&self, part: &str) {
        let texts = || self.findings.iter().map(|finding| finding["text"].as_str().unwrap());
        assert!(texts().any(|text| text.contains(part)), "{part}: {self:#?}");
    }
}

/// Runs it on a host, for the node there or for its data directory.
#[track_caller]
fn look(host: &Host, data_dir: &Path) -> Said {
    let began = Instant::now();
    let mut command = host.command(PROGRAM);
    command.args(["doctor", "--json", "--data-dir"]).arg(data_dir);
    let output = command.output().unwrap();
    assert!(began.elapsed() < LOOK_MAX, "it took {:?}", began.elapsed());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
    let examined = lines
        .pop()
        .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let code = output.status.code();
    assert_eq!(code, Some(i32::from(!lines.is_empty())), "{text}");
    assert_eq!(examined["findings"], lines.len() as u64);
    Said {
        findings: lines,
        examined,
    }
}

/// Looks until just this is found, in words that hold this.
#[track_caller]
fn wait_found(host: &Host, node: &Node, expected: &[&str], part: &str) -> Said {
    let mut last = None;
    let found = poll(FOUND_WITHIN, || {
        let said = look(host, node.data_dir());
        let texts = || said.findings.iter().map(|finding| finding["text"].as_str().unwrap());
        let is_it = said.words() == expected && (part.is_empty() || texts().any(|text| text.contains(part)));
        last = Some(said);
        is_it.then_some(())
    });
    let last = last.unwrap();
    assert!(
        found.is_some(),
        "{}: {expected:?} ({part}) and not {last:#?}",
        node.label()
    );
    last
}

fn member(host: &Host, label: &str, network: &str) -> Launch {
    launch(host, label).argument("--network").argument(network)
}

fn pair(lab: &Lab) -> [Host; 2] {
    [lab.host(Addresses::V4), lab.host(Addresses::V4)]
}

fn start_pair(hosts: &[Host; 2], network: &str) -> [Node; 2] {
    let nodes = [0, 1].map(|at| member(&hosts[at], &format!("{network}-{at}"), network).spawn());
    nodes.iter().for_each(Node::wait_ready);
    nodes
}

fn linked_pair(hosts: &[Host; 2], network: &str) -> [Node; 2] {
    let nodes = start_pair(hosts, network);
    nodes[0].wait_linked(&nodes[1], PATIENCE);
    nodes
}

/// A program of another kind that speaks multicast DNS, and a node of a version to come.
const OTHERS: &str = r#"
import json, socket, sys
from zeroconf import ServiceInfo, Zeroconf
ip, net, peer = sys.argv[1:]
zc = Zeroconf(interfaces=[ip])
where = {"addresses": [socket.inet_aton(ip)], "server": "future.local."}
for kind, name, port, text in (
    ("_http._tcp.local.", "printer", 80, {}),
    ("_p2p-sync._tcp.local.", "future", 4002, {"id": peer, "v": "9", "net": net}),
):
    zc.register_service(ServiceInfo(kind, f"{name}.{kind}", port=port, properties=text, **where))
print(json.dumps({"ready": True}), flush=True)
sys.stdin.read()
"#;

fn others(host: &Host, network: &str) -> Process {
    let python = std::env::var("P2P_SYNC_ZEROCONF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let network: NetworkName = network.parse().unwrap();
    let peer = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
    let mut command = host.command(&python);
    command.args(["-u", "-c", OTHERS, &host.ip4(), &network.tag(), peer]);
    let process = Process::spawn("others", command, Stdin::Pipe);
    process.wait_json(0, "readiness", PATIENCE, |_| true);
    process
}

fn healthy(lab: &Lab) {
    let hosts = pair(lab);
    let nodes = linked_pair(&hosts, "healthy");
    for at in [0, 1] {
        let said = wait_found(&hosts[at], &nodes[at], &[], "");
        let examined = &said.examined;
        assert_eq!(examined["running"], true);
        let eth0 = examined["interfaces"].as_array().unwrap().iter();
        let eth0: Vec<_> = eth0.filter(|interface| interface["name"] == "eth0").collect();
        assert_eq!(eth0[0]["ipv4"], "works", "{said:#?}");
        let other = nodes[1 - at].peer_id();
        let ways = &examined["ways"][0];
        assert_eq!(ways["peer_id"], other.as_str(), "{said:#?}");
        for way in ["tcp_to", "udp_to", "tcp_from", "udp_from"] {
            assert_eq!(ways[way], "through", "{way}: {said:#?}");
        }
        let clock = &examined["clocks"][0];
        assert!(clock["ahead_seconds"].as_f64().unwrap().abs() < 1.0, "{said:#?}");
        assert!(clock["within_seconds"].as_f64().is_some(), "{said:#?}");
    }
    // The same words for people, and for programs that ask by HTTP.
    let mut command = hosts[0].command(PROGRAM);
    let output = command
        .args(["doctor", "--data-dir"])
        .arg(nodes[0].data_dir())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && text.starts_with("✓ Nothing wrong was found\n"),
        "{text}"
    );
}

fn tcp(lab: &Lab) {
    let hosts = pair(lab);
    hosts[1].block_tcp();
    let nodes = linked_pair(&hosts, "tcp");
    for at in [0, 1] {
        wait_found(
            &hosts[at],
            &nodes[at],
            &["tcp_blocked"],
            "do not reach each other by TCP: ",
        );
    }
}

fn udp(lab: &Lab) {
    let hosts = pair(lab);
    hosts[1].block_udp_except_mdns();
    let nodes = linked_pair(&hosts, "udp");
    for at in [0, 1] {
        wait_found(
            &hosts[at],
            &nodes[at],
            &["udp_blocked"],
            "do not reach each other by UDP: ",
        );
    }
}

fn unreachable(lab: &Lab) {
    let hosts = pair(lab);
    hosts[1].block_tcp();
    hosts[1].block_udp_except_mdns();
    let nodes = start_pair(&hosts, "apart");
    let said = wait_found(&hosts[0], &nodes[0], &["unreachable"], "TCP or UDP");
    said.text(&format!("at {} port 4002: no answer", hosts[1].ip4()));
    said.text("apart-1-");
}

fn one_way(lab: &Lab) {
    let hosts = pair(lab);
    hosts[1].drop_uninvited();
    let nodes = linked_pair(&hosts, "oneway");
    wait_found(&hosts[0], &nodes[0], &["one_way"], "this node does not reach oneway-1");
    wait_found(&hosts[1], &nodes[1], &["one_way"], "oneway-0 does not reach this node");
}

fn multicast(lab: &Lab) {
    let (deaf, held) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    deaf.block_multicast();
    let _holder = crate::told::holder(&held);
    let nodes = [
        member(&deaf, "deaf", "deaf").start(),
        member(&held, "held", "held").start(),
    ];
    wait_found(&deaf, &nodes[0], &["multicast_blocked"], "on eth0");
    let holder = "UDP port 5353 (multicast DNS) is held by python3";
    wait_found(&held, &nodes[1], &["multicast_deaf"], holder);
    // It is the same without a node.
    nodes[1].stop();
    let said = look(&held, nodes[1].data_dir());
    assert_eq!(said.words(), ["not_running", "multicast_deaf"], "{said:#?}");
}

fn networks(lab: &Lab) {
    let hosts = pair(lab);
    let lonely = member(&hosts[0], "lonely", "lonely").start();
    wait_found(
        &hosts[0],
        &lonely,
        &["another_network"],
        "No other node of this network",
    );
    let node = member(&hosts[0], "now", "versions").port(4003).start();
    let _others = others(&hosts[1], "versions");
    let future = format!("future at {}", hosts[1].ip4());
    let said = wait_found(&hosts[0], &node, &["version"], &future);
    let responders = said.examined["responders"].as_array().unwrap();
    assert!(responders.contains(&hosts[1].ip4().into()), "{said:#?}");
}

fn clocks(lab: &Lab) {
    let hosts = pair(lab);
    let clock = FakeClock::new();
    clock.set_ahead(100.0);
    let nodes = [
        member(&hosts[0], "right", "clock").spawn(),
        member(&hosts[1], "wrong", "clock").clock(&clock).spawn(),
    ];
    nodes.iter().for_each(Node::wait_ready);
    nodes[0].wait_linked(&nodes[1], PATIENCE);
    let said = wait_found(&hosts[0], &nodes[0], &["clock"], "that of wrong is ");
    let ahead = said.examined["clocks"][0]["ahead_seconds"].as_f64().unwrap();
    assert!((ahead - 100.0).abs() < 1.0, "{said:#?}");
    wait_found(&hosts[1], &nodes[1], &["clock"], "100 s behind this one");
    // What it writes is too far ahead now.
    clock.set_ahead(300.0);
    nodes[1].add("of tomorrow", "written today");
    let waiting = "1 record between this node and wrong";
    wait_found(&hosts[0], &nodes[0], &["clock", "waiting"], waiting);
}

fn room(lab: &Lab) {
    let hosts = pair(lab);
    let volume = Volume::new(16);
    let nodes = [
        member(&hosts[0], "full", "room").spawn(),
        member(&hosts[1], "small", "room")
            .data_dir(volume.path().join("data"))
            .spawn(),
    ];
    nodes.iter().for_each(Node::wait_ready);
    nodes[0].wait_linked(&nodes[1], PATIENCE);
    wait_found(&hosts[1], &nodes[1], &["little_room"], "");
    let value = "v".repeat(60_000);
    add_all(
        &nodes[0],
        (0..300).map(|number| (format!("key {number}"), value.clone())),
    );
    wait_found(&hosts[0], &nodes[0], &["no_room_there"], "small has no room for ");
    wait_found(&hosts[1], &nodes[1], &["no_room"], "");
}

fn clones(lab: &Lab) {
    let hosts = pair(lab);
    let directories = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let start = |at: usize| member(&hosts[at], "clone", "clones").data_dir(directories[at].path());
    let first = start(0).start();
    first.stop();
    for file in fs::read_dir(directories[0].path()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), directories[1].path().join(file.file_name())).unwrap();
    }
    first.restart();
    // Found before the copy is started, and after.
    let said = look(&hosts[1], directories[1].path());
    assert_eq!(said.words(), ["not_running", "same_identity"], "{said:#?}");
    said.text(&format!("runs elsewhere, at {}", hosts[0].ip4()));
    let second = start(1).start();
    wait_found(&hosts[1], &second, &["same_identity"], &hosts[0].ip4());
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn each_fault_is_found_and_nothing_else() {
    let lab = Lab::new();
    let silent = Lab::new();
    let faults: [fn(&Lab); 10] = [
        healthy,
        tcp,
        udp,
        unreachable,
        one_way,
        multicast,
        networks,
        clocks,
        room,
        clones,
    ];
    std::thread::scope(|scope| {
        for fault in faults {
            let lab = &lab;
            scope.spawn(move || fault(lab));
        }
        scope.spawn(|| {
            let host = silent.host(Addresses::V4);
            let node = launch(&host, "alone").start();
            wait_found(&host, &node, &["multicast_silent"], "on eth0");
        });
    });
}
