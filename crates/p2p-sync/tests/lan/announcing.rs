//! Discovery where multicast DNS is held by others, fails, or is flooded; and announcements as other programs write them.

use std::fs;
use std::time::Instant;

use p2p_sync_core::NetworkName;
use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Node, Process, Stdin, Value, poll, wait_until};

use crate::support::{PATIENCE, RECOVERY, launch, launch_each, seconds, share_both_ways, wait_subscribed};

/// Holds UDP port 5353 for itself until its input ends.
const HOLDER: &str = r#"
import socket, sys
one = [socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6)]
one[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
for each in one:
    each.bind(("", 5353))
print('{"ready":true}', flush=True)
sys.stdin.read()
"#;

/// What the next two programs share: packets that announce nodes, byte by byte.
const ANNOUNCE: &str = r#"
import os, socket, struct, sys, time
DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
def random_id():
    number, text = int.from_bytes(b"\x24\x08\x01\x12\x20" + os.urandom(32), "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = DIGITS[digit] + text
    return "1" + text
def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"
def record(of, kind, flush, ttl, data):
    return name(of) + struct.pack("!HHIH", kind, 0x8001 if flush else 1, ttl, len(data)) + data
def packet(label, strings, address, port, ttl):
    service = "_p2p-sync._tcp.local"
    instance, host = label + "." + service, label + ".local"
    text = b"".join(bytes([len(one)]) + one.encode() for one in strings)
    return struct.pack("!6H", 0, 0x8400, 0, 4, 0, 0) + record(service, 12, False, ttl, name(instance)) \
        + record(instance, 33, True, ttl, struct.pack("!3H", 0, 0, port) + name(host)) \
        + record(instance, 16, True, ttl, text) + record(host, 1, True, ttl, socket.inet_aton(address))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
out.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(sys.argv[1]))
out.bind((sys.argv[1], 5353))
def send(data):
    out.sendto(data, ("224.0.0.251", 5353))
"#;

/// 5,000 packets a second, another node in each, which live for seventy years.
const FLOOD: &str = r#"
address, tag, dead_end, seconds = sys.argv[1:5]
start, sent = time.monotonic(), 0
while (passed := time.monotonic() - start) < float(seconds):
    while sent < passed * 5000:
        send(packet("fake%d" % sent, ["id=" + random_id(), "v=1", "net=" + tag], dead_end, 4002, 2**31 - 1))
        sent += 1
    time.sleep(0.001)
print('{"sent":%d}' % sent, flush=True)
"#;

/// One node, three times.
const SINGLE: &str = r#"
address, at, label = sys.argv[1:4]
for _ in range(3):
    send(packet(label, sys.argv[4:], at, 9, 120))
    time.sleep(0.5)
print('{"sent":3}', flush=True)
"#;

/// Nodes that may not be believed, and one that may: announced from another port than that of multicast DNS, to the node itself
/// from beyond a router, and to the node itself from this link.
const SPOOFED: &str = r#"
own, victim, far, net = sys.argv[1:5]
def from_(address, port):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
    one.bind((address, port))
    return one
group = ("224.0.0.251", 5353)
nobody = own.rsplit(".", 1)[0] + ".21%d"
for _ in range(3):
    for number, (label, address, port, to, id) in enumerate([
        ("port", own, 0, group, sys.argv[5]),
        ("far", far, 5353, (victim, 5353), sys.argv[6]),
        ("group", far, 5353, group, sys.argv[7]),
        ("near", own, 5353, (victim, 5353), sys.argv[8]),
    ]):
        # An address of its own for each: one that does not answer is not dialled for another peer.
        from_(address, port).sendto(packet(label, ["id=" + id, net], nobody % number, 9, 120), to)
    time.sleep(0.5)
print('{"sent":3}', flush=True)
"#;

/// Asks all nodes once, as a node does, and tells who answers at once.
const ASK: &str = r#"
out.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton(sys.argv[1]))
group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
group.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("224.0.0.251") + socket.inet_aton(sys.argv[1]))
group.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
group.bind(("224.0.0.251", 5353))
send(struct.pack("!6H", 0, 0, 1, 0, 0, 0) + name("_p2p-sync._tcp.local") + struct.pack("!HH", 12, 1))
answered, start = set(), time.monotonic()
while (left := start + 1.5 - time.monotonic()) > 0:
    group.settimeout(left)
    try:
        data, (source, _) = group.recvfrom(9000)
    except TimeoutError:
        break
    if data[2] & 0x80:
        answered.add(source)
print('{"answered":%d}' % len(answered), flush=True)
"#;

fn python(host: &Host, label: &str, program: &str, arguments: &[&str]) -> Process {
    let mut command = host.command("python3");
    command.args(["-u", "-c", program]).args(arguments);
    Process::spawn(label, command, Stdin::Pipe)
}

fn announcer(host: &Host, label: &str, program: &str, arguments: &[&str]) -> Process {
    let address = host.ip4();
    let all: Vec<&str> = std::iter::once(address.as_str())
        .chain(arguments.iter().copied())
        .collect();
    python(host, label, &format!("{ANNOUNCE}{program}"), &all)
}

fn tag() -> String {
    NetworkName::default().tag()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_port_that_another_program_holds_is_told_and_taken_when_it_is_free() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let holder = python(&host_b, "holder", HOLDER, &[]);
    holder.wait_json(0, "readiness", PATIENCE, |_| true);
    let a = launch(&host_a, "a").start();
    let b = launch(&host_b, "b").start();
    let line = b.wait_log(0, "UDP port 5353", PATIENCE);
    let line = String::from_utf8_lossy(&b.stderr().lines_from(line)[0]).into_owned();
    for word in ["WARN", "multicast DNS", "another program", "--peer"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    // It works on its own meanwhile, and says it once.
    assert_eq!(b.command("add hello world"), "✓ Added: hello = world");
    wait_until("the status tells it", PATIENCE, || b.status()["multicast"] == "unknown");
    assert!(b.peer(&a.peer_id()).is_none());
    assert_eq!(warnings(&b), 1);

    holder.close_stdin();
    holder.wait_exit(PATIENCE);
    let linked = a.wait_linked(&b, RECOVERY);
    println!("linked {linked:?} after the port was free");
    b.wait_log(0, "UDP port 5353 is free", PATIENCE);
    share_both_ways(&a, &b, "after the port was free");
    assert_eq!(warnings(&b), 1);
}

fn warnings(node: &Node) -> usize {
    let lines = node.stderr().lines_from(0);
    let text = lines.iter().map(|line| String::from_utf8_lossy(line));
    text.filter(|line| line.contains("WARN") && line.contains("5353"))
        .count()
}

/// What the sockets were opened for goes, and something else comes.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn multicast_goes_on_after_the_address_was_another_for_a_while() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let b = launch(&host_b, "b").start();
    host_b.remove_address(&format!("{}/24", host_b.ip4()));
    std::thread::sleep(seconds(3));
    host_b.add_address(&format!("{}/24", host_b.spare_ip4()));
    let a = launch(&host_a, "a").start();
    a.wait_linked(&b, RECOVERY);
    share_both_ways(&a, &b, "at another address");
}

fn resident_bytes(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.process().pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1_024
}

/// Two nodes that cannot reach each other are flooded for 5 s, or 20 s with `P2P_SYNC_FULL=1`; then they can.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_flood_of_announcements_costs_little_memory_and_nodes_meet_after_it() {
    const MEMORY_BYTES: u64 = 16 << 20;
    let full = std::env::var_os("P2P_SYNC_FULL").is_some_and(|value| value == "1");
    let lasts = if full { "20" } else { "5" };
    let lab = Lab::new();
    let hosts = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
    let flooders = [lab.host(Addresses::V4), lab.host(Addresses::V4)];
    lab.partition(&[&[&hosts[0], &flooders[0]], &[&hosts[1], &flooders[1]]]);
    let a = launch(&hosts[0], "a").start();
    let b = launch(&hosts[1], "b").start();
    // What a start takes is not the flood's.
    for node in [&a, &b] {
        node.add("warm", "up");
        node.status();
    }
    let before = [&a, &b].map(resident_bytes);
    let (tag, dead_end) = (tag(), hosts[0].spare_ip4());
    let floods = [&flooders[0], &flooders[1]].map(|host| announcer(host, "flood", FLOOD, &[&tag, &dead_end, lasts]));
    for flood in &floods {
        let sent = flood.wait_json(0, "the number of packets", seconds(60), |line| {
            line.get("sent").is_some()
        });
        println!("{sent}");
    }
    lab.heal();
    let start = Instant::now();
    a.wait_linked(&b, RECOVERY);
    println!("linked {:?} after the flood", start.elapsed());
    share_both_ways(&a, &b, "after the flood");
    for (node, before) in [&a, &b].into_iter().zip(before) {
        let peak = node.process().memory_peak_bytes();
        println!(
            "{}: {} kB before, {} kB at most",
            node.label(),
            before >> 10,
            peak >> 10
        );
        assert!(
            peak <= before + MEMORY_BYTES,
            "{}: {before} bytes before, {peak} at most",
            node.label()
        );
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn announcements_of_other_programs_are_understood() {
    const ID: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
    const OTHER: &str = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust";
    let lab = Lab::new();
    let (host, foreign) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let node = launch(&host, "a").start();
    let (at, net) = (foreign.ip4(), format!("net={}", tag()));
    let is_dialled = |id: &str| {
        let status = node.status();
        let troubles = status["troubles"].as_array().unwrap();
        troubles.iter().any(|trouble| trouble["peer_id"] == id)
    };
    // Passed over, as it does not say in which network it is.
    let without = format!("id={OTHER}");
    announcer(&foreign, "without", SINGLE, &[&at, "without", &without]).wait_exit(PATIENCE);
    // Empty strings, in front and between, are none.
    let with = format!("id={ID}");
    announcer(&foreign, "empty", SINGLE, &[&at, "empty", "", "flag", &with, "", &net]).wait_exit(PATIENCE);
    assert!(
        poll(seconds(20), || is_dialled(ID).then_some(())).is_some(),
        "{}",
        node.status()["troubles"]
    );
    assert!(!is_dialled(OTHER), "{}", node.status()["troubles"]);
}

/// Others on this machine or beyond a router cannot make it believe in nodes that are not there (RFC 6762, sections 6 and 11).
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn announcements_from_another_port_or_from_beyond_a_router_are_not_believed() {
    const FAR: &str = "192.0.2.77";
    const PORT: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
    const DIRECT: &str = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust";
    // What is sent to the group comes from this link, whatever its sender's address: another network may share the cable.
    const GROUP: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
    const NEAR: &str = "12D3KooWHdiAxVd8uMQR1hGWXccidmfCwLqcMpGwR6QcTP6QRMuD";
    let lab = Lab::new();
    let (host, foreign) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    // A way back, as there is one to the whole world in most networks: its packets are not dropped by the system.
    host.set_default_route(&foreign.ip4());
    foreign.add_address_to("lo", &format!("{FAR}/32"));
    let node = launch(&host, "a").start();
    let net = format!("net={}", tag());
    let spoofer = announcer(
        &foreign,
        "spoofer",
        SPOOFED,
        &[&host.ip4(), FAR, &net, PORT, DIRECT, GROUP, NEAR],
    );
    spoofer.wait_exit(PATIENCE);
    let troubles = || node.status()["troubles"].clone();
    let is_dialled = |troubles: &Value, id: &str| {
        let troubles = troubles.as_array().unwrap();
        troubles.iter().any(|trouble| trouble["peer_id"] == id)
    };
    for believed in [GROUP, NEAR] {
        let found = poll(seconds(20), || is_dialled(&troubles(), believed).then_some(()));
        assert!(found.is_some(), "{believed}: {}", troubles());
    }
    for refused in [PORT, DIRECT] {
        assert!(!is_dialled(&troubles(), refused), "{refused}: {}", troubles());
    }
}

/// An address that leads back to the node itself, as one that it has just got, is no trouble unless the user named it.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn an_announcement_of_ourselves_that_leads_back_to_us_is_no_trouble() {
    let lab = Lab::new();
    let (host, foreign) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (back, twin) = (host.spare_ip4(), foreign.spare_ip4());
    let script = format!(
        "add table ip loop\nadd chain ip loop out {{ type nat hook output priority -100; }}\n\
         add rule ip loop out ip daddr {back} tcp dport 9 counter redirect to :4002\n"
    );
    assert!(host.command("nft").arg(script).status().unwrap().success());
    let node = launch(&host, "a").start();
    let (id, net) = (format!("id={}", node.peer_id()), format!("net={}", tag()));
    for at in [&back, &twin] {
        announcer(&foreign, "ourselves", SINGLE, &[at, "ourselves", &id, &net]).wait_exit(PATIENCE);
    }
    wait_until("the way back was tried", PATIENCE, || {
        let rules = host.command("nft").args(["list", "ruleset"]).output().unwrap();
        !String::from_utf8_lossy(&rules.stdout).contains("packets 0")
    });
    let told = poll(seconds(4), || node.status()["troubles"].get(0).cloned());
    assert_eq!(told, None);
}

/// Each in a namespace of its own with two interfaces: the answer goes where the question came from.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn whoever_asks_is_answered_by_all_nodes_on_its_own_link() {
    const NODES: usize = 6;
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    let nodes: Vec<Node> = launch_each(&hosts).map(Launch::start).collect();
    wait_subscribed(&nodes[NODES - 1], NODES - 1, PATIENCE);
    // What is said at the start has been said by then, and nobody asks for 10 s.
    std::thread::sleep(seconds(3));
    let asker = lab.host(Addresses::V4);
    let told = announcer(&asker, "asker", ASK, &[]);
    let told = told.wait_json(0, "the number of answers", PATIENCE, |line| {
        line.get("answered").is_some()
    });
    assert_eq!(told["answered"], NODES);
}
