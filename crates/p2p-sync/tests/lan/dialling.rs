//! Whom a node dials, and where: nothing that strangers do keeps it from those that belong to it.

use p2p_sync_core::NodeId;
use p2p_sync_testbed::{Addresses, Host, Lab, Node, Process, Stdin, Value, poll, tempfile, wait_until};

use crate::support::{PATIENCE, RECOVERY, example, launch, peer_field, seconds, share_both_ways, tcp, wait_subscribed};

/// Visits by one machine under as many identities. All of them with `P2P_SYNC_FULL=1`.
fn visits() -> usize {
    if std::env::var_os("P2P_SYNC_FULL").is_some() {
        1_100
    } else {
        200
    }
}

fn visitors(from: &Host, to: &Host, count: usize) -> Process {
    let mut command = from.command(example("visitors"));
    command.args([&count.to_string(), &tcp(to)]);
    Process::spawn("visitors", command, Stdin::Null)
}

fn wait_visited(visitors: &Process, count: usize) {
    let done = visitors.wait_json(0, "end of the visits", seconds(300), |line| line.get("done").is_some());
    // One address may not have more than its share of connections at a time, so some are turned away.
    assert!(done["done"].as_u64().unwrap() >= count as u64 / 2, "{done}");
}

/// What was seen: a thousand identities that come, say who they are and go, were taken for nodes that had been reached.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_crowd_of_short_visits_keeps_nobody_from_being_found() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let elsewhere = lab.host(Addresses::V4);
    let a = launch(&host_a, "a").start();
    wait_visited(&visitors(&elsewhere, &host_a, visits()), visits());
    let status = a.status();
    assert!(status["known_peers"].as_u64().unwrap() <= 64, "{status}");
    // While more of them come, somebody new is found.
    let more = visitors(&elsewhere, &host_a, visits());
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, RECOVERY);
    share_both_ways(&a, &b, "amid visits");
    wait_visited(&more, visits());
    // None of them is remembered.
    a.stop();
    b.stop();
    for node in [&a, &b] {
        node.spawn_again();
    }
    for node in [&a, &b] {
        node.wait_ready();
    }
    a.wait_linked(&b, RECOVERY);
    let status = a.status();
    assert!(status["known_peers"].as_u64().unwrap() <= 2, "{status}");
}

/// Containers, VPNs and temporary addresses: most of what is announced leads nowhere from here.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_host_with_many_addresses_is_reached_at_the_one_that_leads_there() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    for host in [&host_a, &host_b] {
        host.set_default_route(&host.spare_ip4());
    }
    for number in 1..=20 {
        // They sort before the good one, and share no network with the other host.
        host_b.add_address(&format!("10.9.{number}.1/24"));
    }
    // The one with the aliases cannot dial: all depends on the other.
    host_b.block_dials();
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, RECOVERY);
    share_both_ways(&a, &b, "in spite of the aliases");
}

/// A DHCP server that lost its leases: each has the address of another when they come back, and there is no multicast.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn members_that_swapped_their_addresses_while_off_find_each_other() {
    let lab = Lab::new();
    let hosts = [(); 3].map(|()| lab.host(Addresses::V4));
    let directories = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let start = |place: usize, who: usize| {
        let label = ["a", "b", "c"][who];
        launch(&hosts[place], label).no_lan().data_dir(directories[who].path())
    };
    let first: Vec<Node> = (0..3)
        .map(|who| {
            let all = hosts.iter().fold(start(who, who), |node, host| node.peer(&tcp(host)));
            all.start()
        })
        .collect();
    first.iter().for_each(|node| wait_subscribed(node, 2, PATIENCE));
    first.iter().for_each(Node::stop);
    // Nobody is told anything now.
    let moved: Vec<Node> = (0..3).map(|who| start((who + 1) % 3, who).start()).collect();
    moved.iter().for_each(|node| wait_subscribed(node, 2, seconds(20)));
    share_both_ways(&moved[0], &moved[2], "after the move");
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_node_with_a_new_identity_at_a_known_address_is_no_trouble() {
    let lab = Lab::new();
    let hosts = [(); 2].map(|()| lab.host(Addresses::V4));
    let a = launch(&hosts[0], "a").start();
    let old = launch(&hosts[1], "old").start();
    a.wait_linked(&old, PATIENCE);
    old.stop();
    let new = launch(&hosts[1], "new").start();
    a.wait_linked(&new, PATIENCE);
    // Longer than it takes until the old one is looked for again, where another one answers now.
    let causes = |status: Value| -> Vec<Value> {
        let troubles = status["troubles"].as_array().unwrap().iter();
        troubles.map(|trouble| trouble["cause"].clone()).collect()
    };
    let seen = poll(seconds(12), || {
        causes(a.status()).into_iter().find(|cause| cause == "another_identity")
    });
    assert_eq!(seen, None);
}

/// Both dial from the port on which they listen. Where only one of them can be dialled, their two dials become one connection that
/// both have opened, and that none of them answers; what was seen: for ever, because they failed and tried again at the same time.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn two_dials_that_meet_keep_nobody_apart() {
    let lab = Lab::new();
    let hosts = [(); 2].map(|()| lab.host(Addresses::V4));
    hosts.iter().for_each(Host::block_multicast);
    let nodes = [0, 1].map(|at| launch(&hosts[at], &format!("n{at}")).start());
    nodes.iter().for_each(Node::stop);
    hosts.iter().for_each(Host::unblock);
    // The one with the smaller id dials first, and is to wait for an answer when the other one dials.
    let id = |at: usize| nodes[at].peer_id().parse::<NodeId>().unwrap();
    let larger = usize::from(id(0) < id(1));
    hosts[larger].drop_requests_and_udp();
    nodes.iter().for_each(Node::spawn_again);
    nodes.iter().for_each(Node::wait_ready);
    nodes[0].wait_linked(&nodes[1], seconds(20));
    share_both_ways(&nodes[0], &nodes[1], "through one firewall");
}

/// The moment of a line of the log, in seconds of its day.
fn moment(line: &str) -> f64 {
    let time = line.get(11..23).unwrap();
    time.split(':')
        .fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}

/// How long after the peer was back each further connection to it came, in seconds.
fn further_connections(log: &[Vec<u8>]) -> Vec<f64> {
    let log: Vec<_> = log.iter().map(|line| String::from_utf8_lossy(line)).collect();
    let at = |pattern: &'static str| {
        log.iter()
            .filter(move |line| line.contains(pattern))
            .map(|line| moment(line))
    };
    let back = at("Connection re-established").next().unwrap();
    at("an additional connection").map(|further| further - back).collect()
}

/// A dial that was made while the peer was away, and is repeated by the transport when it is back, is a second handshake for
/// nothing.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_peer_that_comes_back_is_connected_once() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").env("RUST_LOG", "info,p2p_sync=debug").start();
    let b = launch(&host_b, "b").start();
    a.wait_linked(&b, PATIENCE);
    let mut further = Vec::new();
    for round in 0..6 {
        b.stop();
        // Nothing answers, so that dials wait for an answer when the peer is back.
        host_b.swallow_what_comes_in();
        std::thread::sleep(seconds(2) + std::time::Duration::from_millis(300 * round));
        host_b.unblock();
        let mark = a.stderr().mark();
        b.restart();
        a.wait_linked(&b, PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        further.extend(further_connections(&a.stderr().lines_from(mark)));
        wait_until("one connection", RECOVERY, || {
            peer_field(&a, &b.peer_id(), "connections") == Some(1.into())
        });
    }
    // The repetition may come in the very moment in which the peer dials, and is as good as that then; but no later.
    assert!(further.iter().all(|after| *after < 0.2), "{further:?}");
}
