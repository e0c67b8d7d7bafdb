//! Two machines find each other without being told anything, and a foreign browser finds them too.

use std::net::IpAddr;
use std::time::Duration;

use p2p_sync_testbed::{Addresses, Host, Lab, Launch, Process, Sniffer, Stdin, Value, wait_until};

use crate::support::{PATIENCE, RECOVERY, launch, peer_field, seconds, share_both_ways};

/// The largest IP packet of an Ethernet.
const MTU_BYTES: u64 = 1_500;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_one_user_adds_the_other_gets() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, PATIENCE);
    for (node, other) in [(&a, &b), (&b, &a)] {
        let line = format!("Connection established with peer: {}", other.peer_id());
        node.wait_log(0, &line, PATIENCE);
    }

    assert_eq!(a.command("add hello world"), "✓ Added: hello = world");
    b.wait_value("hello", "world", RECOVERY);
    assert_eq!(b.command("get hello"), "✓ hello = world");
    assert_eq!(b.lines("list"), ["Stored items (1):", "  hello = world"]);
    let line = format!("Got message from {}: Put {{ hello = world }}", a.peer_id());
    b.wait_log(0, &line, RECOVERY);

    assert_eq!(b.command("delete hello"), "✓ Deleted: hello");
    wait_until("the deletion is there", RECOVERY, || a.get("hello").is_none());
    assert_eq!(a.command("get hello"), "✗ Not found: hello");
    let line = format!("Got message from {}: Delete {{ hello }}", b.peer_id());
    a.wait_log(0, &line, RECOVERY);
    assert_eq!(a.lines("list"), ["Stored items (0):"]);

    // A clean stop says goodbye: the other side need not wait for a watchdog.
    let id = b.peer_id();
    b.stop();
    a.wait_log(0, &format!("Connection closed with peer {id}"), seconds(3));
    a.stop();
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_started_before_its_interface_has_an_address_is_found_later() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::None));
    let a = launch(&host_a, "a").start();
    let b = launch(&host_b, "b").start();
    // Whatever they do before the address comes must not stand in the way after it has come.
    assert_eq!(b.command("add early bird"), "✓ Added: early = bird");
    host_b.add_address(&format!("{}/24", host_b.ip4()));
    a.wait_linked(&b, seconds(15));
    share_both_ways(&a, &b, "after the address");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn dead_end_interfaces_neither_swell_the_packets_nor_delay_the_dial() {
    let lab = Lab::new();
    let plain = link_times(&lab.host(Addresses::V4), &lab.host(Addresses::V4), |b, _| b);

    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    add_dead_ends(&host_a);
    swallow_what_goes_astray(&host_b);
    let sniffers = [Sniffer::start(&host_a), Sniffer::start(&host_b)];
    let amid_dead_ends = link_times(&host_a, &host_b, |b, _| b);

    for sniffer in sniffers {
        let seen = sniffer.seen();
        assert!(seen.packets > 0, "{seen:?}");
        assert_eq!(seen.fragments, 0, "{seen:?}");
        assert!(seen.largest_bytes <= MTU_BYTES, "{seen:?}");
    }
    assert_not_delayed(&amid_dead_ends, &plain);
}

/// Here only one side dials, and it has been told of more wrong addresses than right ones; at one of them somebody else answers,
/// and sooner, for QUIC goes first.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn wrong_addresses_of_a_peer_do_not_delay_the_dial() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let host_c = lab.host(Addresses::V4);
    let _stranger = launch(&host_c, "c").no_lan().start();
    swallow_what_goes_astray(&host_b);
    let right = format!("{}/tcp/4002", host_a.ip4());
    let of_another = format!("{}/udp/4002/quic-v1", host_c.ip4());
    let told = |b: Launch, id: &str, addresses: &[&str]| {
        addresses
            .iter()
            .fold(b, |b, address| b.peer(&format!("/ip4/{address}/p2p/{id}")))
            .no_lan()
    };
    let plain = link_times(&host_a, &host_b, |b, id| told(b, id, &[&right]));
    // The first is its own.
    let mixed = [
        "172.17.0.1/tcp/4002",
        "172.17.0.1/udp/4002/quic-v1",
        &of_another,
        "192.168.122.1/udp/4002/quic-v1",
        "192.168.122.1/tcp/4002",
        // In the middle: it is to be neither first nor last, in whatever order they are tried.
        &right,
        "192.168.56.1/tcp/4002",
        "192.168.56.1/udp/4002/quic-v1",
        "100.64.0.1/tcp/4002",
    ];
    let misled = link_times(&host_a, &host_b, |b, id| told(b, id, &mixed));
    assert_not_delayed(&misled, &plain);
}

/// The slowest may take two seconds longer than usual.
#[track_caller]
fn assert_not_delayed(times: &[Duration; 3], usual: &[Duration; 3]) {
    assert!(
        times[2] <= usual[1] + seconds(2),
        "linked in {times:?}, usually in {usual:?}"
    );
}

/// Gives the host a private range that it shares with others, as container software does, and a default route
/// into nothing: a wrong address is not refused at once but swallows what is sent to it.
fn swallow_what_goes_astray(host: &Host) {
    host.add_dead_end("172.17.0.1/16");
    host.set_default_route(&host.spare_ip4());
}

/// Seven interfaces that lead nowhere, with ten addresses between them.
fn add_dead_ends(host: &Host) {
    host.add_dead_end("172.17.0.1/16");
    host.add_dead_end("172.18.0.1/16");
    host.add_dead_end("192.168.122.1/24");
    host.add_dead_end("192.168.56.1/24");
    host.add_dead_end("100.64.0.1/10");
    host.add_dead_end("fd00:dead::1/64");
    let last = host.add_dead_end("10.200.0.1/24");
    for number in 2..5 {
        host.add_address_to(&last, &format!("10.200.{number}.1/24"));
    }
}

/// Three times a fresh node on each host, the one on `host_b` completed with what it is told of the other: from its
/// being ready to linked, sorted. Both fresh, for one that knew an earlier node at that address would keep calling it.
fn link_times(host_a: &Host, host_b: &Host, complete: impl Fn(Launch, &str) -> Launch) -> [Duration; 3] {
    let mut times = ["b1", "b2", "b3"].map(|label| {
        let a = launch(host_a, "a").start();
        let b = complete(launch(host_b, label), &a.peer_id()).start();
        let time = a.wait_linked(&b, PATIENCE);
        share_both_ways(&a, &b, label);
        b.stop();
        time
    });
    times.sort();
    times
}

/// Browses for the service of p2p-sync with a library that knows nothing of p2p-sync; a line an event.
const BROWSER: &str = r#"
import json, sys
try:
    from zeroconf import IPVersion, ServiceBrowser, ServiceListener, Zeroconf
except ImportError as error:
    print(json.dumps({"missing": str(error)}), flush=True)
    sys.exit(1)
class Listener(ServiceListener):
    def add_service(self, zc, kind, name):
        info = zc.get_service_info(kind, name, 3000)
        if info is None:
            return
        print(json.dumps({"found": name, "host": info.server, "port": info.port,
            "addresses": info.parsed_addresses(),
            "text": {k.decode(): (v or b"").decode() for k, v in info.properties.items()}}), flush=True)
    update_service = add_service
    def remove_service(self, zc, kind, name):
        print(json.dumps({"removed": name}), flush=True)
zc = Zeroconf(ip_version=IPVersion.All)
ServiceBrowser(zc, "_p2p-sync._tcp.local.", Listener())
print(json.dumps({"browsing": True}), flush=True)
sys.stdin.read()
zc.close()
"#;

fn browse(host: &Host) -> Process {
    let python = std::env::var("P2P_SYNC_ZEROCONF_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = host.command(&python);
    command.args(["-u", "-c", BROWSER]);
    let browser = Process::spawn("browser", command, Stdin::Pipe);
    let first = browser.wait_json(0, "first line", PATIENCE, |_| true);
    assert!(
        first.get("missing").is_none(),
        "{python} lacks the package zeroconf ({}): install it there or name another interpreter in \
         P2P_SYNC_ZEROCONF_PYTHON",
        first["missing"]
    );
    browser
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_foreign_browser_sees_the_service_with_its_host_port_addresses_and_id() {
    let lab = Lab::new();
    let (host_a, host_c) = (lab.host(Addresses::Both), lab.host(Addresses::Both));
    host_a.add_dead_end("172.17.0.1/16");
    let browser = browse(&host_c);
    let a = launch(&host_a, "attic").start();
    let id = a.peer_id();

    let complete = |event: &Value| {
        let has = |address: &str| {
            let addresses = event["addresses"].as_array();
            addresses.is_some_and(|all| all.iter().any(|one| one == address))
        };
        event["text"]["id"] == id.as_str() && has(&host_a.ip4()) && has(&host_a.ip6())
    };
    let event = browser.wait_json(0, "complete service", PATIENCE, complete);
    let instance = event["found"].as_str().unwrap();
    assert!(instance.ends_with("._p2p-sync._tcp.local."), "{event}");
    assert!(instance.starts_with("attic"), "{event}");
    assert!(
        instance.contains(&id[id.len() - 6..]),
        "unique by the end of the id: {event}"
    );
    let host_name = event["host"].as_str().unwrap();
    assert!(host_name.to_lowercase().ends_with(".local."), "{event}");
    assert_eq!(event["port"], 4002, "{event}");
    assert_eq!(event["text"]["v"], "1", "{event}");
    assert!(event["text"].get("net").is_some(), "{event}");
    for address in event["addresses"].as_array().unwrap() {
        // The addresses of this interface and of no other.
        let address = address.as_str().unwrap();
        let plain = address.split('%').next().unwrap();
        let local = match plain.parse::<IpAddr>().unwrap() {
            IpAddr::V4(_) => address == host_a.ip4(),
            IpAddr::V6(v6) => address == host_a.ip6() || v6.is_unicast_link_local(),
        };
        assert!(local, "{address} in {event}");
    }

    let mark = browser.stdout().mark();
    a.stop();
    browser.wait_json(mark, "goodbye", seconds(5), |event| event["removed"] == instance);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn two_nodes_on_a_machine_without_network_find_each_other() {
    let lab = Lab::new();
    let host = lab.lonely_host();
    let a = launch(&host, "a").start();
    let b = launch(&host, "b").port(4003).start();
    a.wait_linked(&b, PATIENCE);
    share_both_ways(&a, &b, "by loopback");
    assert!(peer_field(&a, &b.peer_id(), "address").is_some());

    // The same port once more: refused, with a reason, and without harm to the one that has it.
    let c = launch(&host, "c").spawn();
    assert_eq!(c.wait_exit(PATIENCE).code(), Some(10));
    let errors = c.stderr().tail(10);
    assert!(errors.contains("4002"), "{errors}");
    share_both_ways(&a, &b, "as before");
}
