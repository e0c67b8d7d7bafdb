//! More nodes write a key apart than versions of it are held: all end with the same ones, the latest, and count those that fell.

use std::time::Instant;

use p2p_sync_core::limits::VERSIONS_MAX;
use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value, wait_until};

use super::{Conflicts, Version, one, wait_conflicts};
use crate::support::{PATIENCE, launch, start_together, wait_subscribed};
use crate::sync::{SOON, measured, wait_equal};

const NODES: usize = VERSIONS_MAX + 2;

/// How many versions this node has counted as fallen to the bound.
fn fallen(node: &Node) -> u64 {
    let status = node.status();
    let refused = status["sync"]["refused"].as_array().unwrap();
    let fallen = refused.iter().find(|one| one["cause"] == "too many conflicts of a key");
    fallen.map_or(0, |one| one["count"].as_u64().unwrap())
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn of_more_writes_apart_than_a_key_holds_all_nodes_hold_the_latest_and_count_the_others() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    let nodes = start_together(&hosts);
    let all: Vec<&Node> = nodes.iter().collect();
    for node in &nodes {
        wait_subscribed(node, NODES - 1, PATIENCE);
    }
    nodes[0].add("hours", "9-17");
    wait_equal("before", &all, PATIENCE);
    let alone: Vec<[&Host; 1]> = hosts.iter().map(|host| [host]).collect();
    let groups: Vec<&[&Host]> = alone.iter().map(|group| &group[..]).collect();
    lab.partition(&groups);
    for node in &nodes {
        wait_until("all are alone", PATIENCE, || {
            node.status()["peers"] == Value::Array(Vec::new())
        });
    }
    for node in &nodes {
        node.add("hours", node.label());
    }
    let start = Instant::now();
    lab.heal();
    for node in &nodes {
        wait_subscribed(node, NODES - 1, PATIENCE);
    }
    let linked = start.elapsed();
    let took = wait_equal("after all are back", &all, SOON);
    measured(&format!(
        "all linked {linked:?} after the cuts were mended, equal {took:?} after that"
    ));
    let latest = nodes.iter().rev().take(VERSIONS_MAX);
    let versions: Vec<Version> = latest.map(|node| Version::of(Some(node.label()), node)).collect();
    let expected = one("hours", &versions);
    wait_conflicts(&all, &expected, SOON);
    for node in &nodes[..NODES - VERSIONS_MAX] {
        assert!(
            fallen(node) > 0,
            "{}: its own write has fallen, and is not counted",
            node.label()
        );
        let told = node.stderr().count(
            0,
            "in conflict were not kept, the last of hours: a key holds 8 versions",
        );
        assert!(told >= 1, "{}: that is not in the log", node.label());
    }

    // A newcomer shows the same, and one write ends all of it.
    let newcomer = launch(&lab.host(Addresses::V4), "newcomer").start();
    newcomer.wait_linked(&nodes[0], PATIENCE);
    wait_conflicts(&[&newcomer], &expected, SOON);
    newcomer.add("hours", "10-18");
    wait_equal("in the end", &all, SOON);
    wait_conflicts(&all, &Conflicts::new(), SOON);
    wait_conflicts(&[&newcomer], &Conflicts::new(), SOON);
}
