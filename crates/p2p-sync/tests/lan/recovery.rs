//! Links that break and come back, machines that move: reconnected in time, and logged.

use std::thread;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Host, Lab, Node, wait_until};

use crate::support::{PATIENCE, RECOVERY, launch, peer_field, seconds, share_both_ways, wait_flow};

/// How long a dead connection may stay unnoticed: the watchdog's six seconds, and a busy machine.
const NOTICE: Duration = Duration::from_secs(12);

struct Pair {
    lab: Lab,
    host_b: Host,
    _host_a: Host,
    a: Node,
    b: Node,
}

fn linked_pair() -> Pair {
    pair_that_is_linked(|_| ())
}

fn pair_that_is_linked(prepare: impl Fn(&Host)) -> Pair {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    prepare(&host_b);
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    share_both_ways(&a, &b, "before");
    Pair {
        lab,
        host_b,
        _host_a: host_a,
        a,
        b,
    }
}

/// The connection may have survived or not; either way changes must flow.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn changes_flow_within_ten_seconds_after_a_cut_of_five() {
    let pair = linked_pair();
    pair.host_b.cut();
    thread::sleep(seconds(5));
    pair.host_b.mend();
    thread::scope(|scope| {
        scope.spawn(|| wait_flow(&pair.a, &pair.b, "after the cut", RECOVERY));
        scope.spawn(|| wait_flow(&pair.b, &pair.a, "after the cut", RECOVERY));
    });
}

#[track_caller]
fn assert_recovers_from(pair: &Pair, cut: impl Fn(), mend: impl Fn()) {
    let marks = [pair.a.stderr().mark(), pair.b.stderr().mark()];
    let sides = [
        (&pair.a, pair.b.peer_id(), marks[0]),
        (&pair.b, pair.a.peer_id(), marks[1]),
    ];
    cut();
    let cut_at = Instant::now();
    for (node, id, mark) in &sides {
        node.wait_log(*mark, &format!("Connection closed with peer {id}"), NOTICE);
    }
    // Meanwhile each goes on alone.
    pair.a.add("meanwhile at a", "1");
    pair.b.add("meanwhile at b", "1");
    thread::sleep(seconds(60).saturating_sub(cut_at.elapsed()));
    mend();
    pair.a.wait_linked(&pair.b, RECOVERY);
    for (node, id, mark) in &sides {
        node.wait_log(*mark, &format!("Connection re-established with peer {id}"), seconds(1));
    }
    share_both_ways(&pair.a, &pair.b, "after the cut");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_cable_pulled_for_a_minute_is_noticed_and_recovered_from() {
    let pair = linked_pair();
    assert_recovers_from(&pair, || pair.host_b.cut(), || pair.host_b.mend());
}

/// As a switch between the two would fail: no carrier is lost, nobody is told. Over TCP, which would never notice
/// by itself.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_silent_cut_of_a_minute_is_noticed_and_recovered_from_over_tcp() {
    let pair = pair_that_is_linked(Host::block_udp_except_mdns);
    let transport = peer_field(&pair.a, &pair.b.peer_id(), "transport");
    assert_eq!(transport, Some("tcp".into()));
    assert_recovers_from(&pair, || pair.lab.partition(&[&[&pair.host_b]]), || pair.lab.heal());
}

#[track_caller]
fn assert_found_at_new_address(pair: &Pair) {
    let (id_a, id_b) = (pair.a.peer_id(), pair.b.peer_id());
    let new = format!("/ip4/{}/", pair.host_b.spare_ip4());
    wait_until("found at the new address", seconds(15), || {
        let address = peer_field(&pair.a, &id_b, "address");
        let there = address.is_some_and(|address| address.as_str().unwrap().starts_with(&new));
        there && pair.a.is_subscribed(&id_b) && pair.b.is_subscribed(&id_a)
    });
    wait_flow(&pair.a, &pair.b, "after the move", RECOVERY);
    wait_flow(&pair.b, &pair.a, "after the move", RECOVERY);
}

fn change_address(host: &Host) {
    host.remove_address(&format!("{}/24", host.ip4()));
    host.add_address(&format!("{}/24", host.spare_ip4()));
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_host_that_changes_its_address_is_found_again() {
    let pair = linked_pair();
    change_address(&pair.host_b);
    assert_found_at_new_address(&pair);
}

/// As a laptop does that is carried to another access point.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_host_that_comes_back_with_another_address_is_found_again() {
    let pair = linked_pair();
    let mark = pair.a.stderr().mark();
    pair.host_b.cut();
    change_address(&pair.host_b);
    let closed = format!("Connection closed with peer {}", pair.b.peer_id());
    pair.a.wait_log(mark, &closed, NOTICE);
    pair.host_b.mend();
    assert_found_at_new_address(&pair);
}
