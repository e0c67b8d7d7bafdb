//! Whatever way the network leaves open is found: one transport only, one address family only, no multicast.

use std::time::Instant;

use p2p_sync_testbed::{Addresses, Lab, Node, poll, wait_until};

use crate::support::{PATIENCE, launch, peer_field, quic, seconds, share_both_ways, tcp, wait_flow};
use crate::sync::measured;

#[track_caller]
fn assert_transport(a: &Node, b: &Node, transport: &str) {
    for (node, other) in [(a, b), (b, a)] {
        let used = peer_field(node, &other.peer_id(), "transport");
        assert_eq!(used, Some(transport.into()), "{}", node.label());
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn tcp_alone_is_enough_when_udp_is_blocked() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    host_b.block_udp_except_mdns();
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    assert_transport(&a, &b, "tcp");
    share_both_ways(&a, &b, "over TCP");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn quic_alone_is_enough_when_tcp_is_blocked() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    host_b.block_tcp();
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    assert_transport(&a, &b, "quic");
    share_both_ways(&a, &b, "over QUIC");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn ipv6_alone_is_enough() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V6), lab.host(Addresses::V6));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    share_both_ways(&a, &b, "over IPv6");
    let address = poll(PATIENCE, || peer_field(&a, &b.peer_id(), "address"));
    let address = address.expect("a connection");
    assert!(address.as_str().unwrap().starts_with("/ip6/"), "{address}");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_static_peer_is_enough_when_multicast_is_blocked() {
    let lab = Lab::new();
    let hosts = [(); 3].map(|()| lab.host(Addresses::V4));
    for host in &hosts {
        host.block_multicast();
    }
    let [host_a, host_b, host_c] = &hosts;
    let a = launch(host_a, "a").start();
    let stranger = launch(host_c, "nobody's peer").start();
    let b = launch(host_b, "b").peer(&tcp(host_a)).start();
    a.wait_linked(&b, PATIENCE);
    share_both_ways(&a, &b, "by a static peer");
    // Or else this network was not blocked at all.
    assert_eq!(stranger.status()["peers"], p2p_sync_testbed::json!([]));
}

/// Kademlia's work: an answer names a few peers, and each knows only whom it was told of.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn nodes_that_know_one_in_common_find_each_other_without_multicast() {
    let lab = Lab::new();
    let hosts = [(); 13].map(|()| lab.host(Addresses::V4));
    let (hub_host, others) = hosts.split_first().unwrap();
    let hub = launch(hub_host, "hub").no_lan().start();
    let others: Vec<_> = others
        .iter()
        .enumerate()
        .map(|(n, host)| launch(host, &format!("n{n}")).no_lan().peer(&tcp(hub_host)).start())
        .collect();
    let start = Instant::now();
    for node in others.iter().chain([&hub]) {
        wait_until("everybody is connected with everybody", seconds(20), || {
            node.status()["peers"]
                .as_array()
                .is_some_and(|peers| peers.len() == others.len())
        });
    }
    measured(&format!(
        "everybody connected {:?} after the last start",
        start.elapsed()
    ));
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_static_peer_that_starts_later_is_found() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let b = launch(&host_b, "b").no_lan().peer(&quic(&host_a)).start();
    // Some dials must have failed by now, so that it is the repetition that finds it.
    b.add("early", "bird");
    std::thread::sleep(seconds(8));
    let a = launch(&host_a, "a").no_lan().start();
    a.wait_linked(&b, seconds(15));
    share_both_ways(&a, &b, "with the late one");
}

/// When one transport is closed to them, the other takes over, and back again.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn one_transport_takes_over_when_the_other_is_closed() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    let (id_a, id_b) = (a.peer_id(), b.peer_id());
    let wait_transport = |transport: &str| {
        // Six seconds to notice that the way is dead, and as much again to find the other.
        wait_until(&format!("linked by {transport}"), seconds(20), || {
            peer_field(&a, &id_b, "transport") == Some(transport.into())
                && peer_field(&b, &id_a, "transport") == Some(transport.into())
        });
        wait_flow(&a, &b, &format!("over {transport}"), seconds(10));
        wait_flow(&b, &a, &format!("over {transport}"), seconds(10));
    };
    host_b.block_udp_except_mdns();
    wait_transport("tcp");
    host_b.unblock();
    host_b.block_tcp();
    wait_transport("quic");
}
