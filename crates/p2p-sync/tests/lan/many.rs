//! More nodes than everybody can be connected with: thirty of them.

use std::collections::BTreeSet;

use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value, wait_until};

use crate::support::{PATIENCE, RECOVERY, seconds, start_together};

const NODES: usize = 30;
/// Peers that a node is content with.
const CONNECTED_MAX: usize = 48;
/// Peers that a node has at least, if there are as many.
const ENOUGH: usize = 8;
/// Peers that a node seeks by itself.
const WANTED: usize = 16;

/// Whom a node is connected with, by peer id.
fn peers(node: &Node) -> BTreeSet<String> {
    let status = node.status();
    let peers = status["peers"].as_array().unwrap();
    let id = |peer: &Value| peer["peer_id"].as_str().unwrap().to_owned();
    peers.iter().map(id).collect()
}

/// Whether every node reaches every other one over the connections of all. Asks no node twice: thirty of them have little time for
/// questions on a small machine.
fn is_whole(nodes: &[(&Node, String)]) -> bool {
    let links: Vec<BTreeSet<String>> = nodes.iter().map(|(node, _)| peers(node)).collect();
    let mut reached = BTreeSet::from([0]);
    let mut edge = vec![0];
    while let Some(node) = edge.pop() {
        let others = (0..nodes.len()).filter(|other| links[node].contains(&nodes[*other].1));
        let fresh: Vec<usize> = others.filter(|other| reached.insert(*other)).collect();
        edge.extend(fresh);
    }
    reached.len() == nodes.len()
}

#[track_caller]
fn assert_write_is_on_all(nodes: &[(&Node, String)], key: &str) {
    nodes[0].0.add(key, "value");
    for (node, _) in nodes {
        node.wait_value(key, "value", RECOVERY);
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn thirty_nodes_are_one_network_of_bounded_connections_and_get_over_the_loss_of_some() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    lab.know_neighbours(&hosts);
    let nodes = start_together(&hosts);
    let all: Vec<(&Node, String)> = nodes.iter().map(|node| (node, node.peer_id())).collect();
    let mut connections = 0;
    for node in &nodes {
        let what = format!(
            "{} knows all, and is connected with no more than it wants",
            node.label()
        );
        wait_until(&what, seconds(60), || {
            let status = node.status();
            let connected = status["peers"].as_array().unwrap().len();
            connections += connected;
            let is_done = status["known_peers"] == NODES - 1 && (WANTED..=CONNECTED_MAX).contains(&connected);
            connections -= if is_done { 0 } else { connected };
            is_done
        });
    }
    let full = NODES * (NODES - 1);
    assert!(
        connections < full,
        "everybody is connected with everybody: {connections}"
    );
    wait_until("all are one network", PATIENCE, || is_whole(&all));
    assert_write_is_on_all(&all, "by one of thirty");

    // Those whom the first is connected with vanish, all but a few.
    let (first, others) = all.split_first().unwrap();
    let of_first = peers(first.0);
    let (lost, mut left): (Vec<_>, Vec<_>) = others.iter().cloned().partition(|(_, id)| of_first.contains(id));
    let (lost, spared) = lost.split_at(WANTED.min(lost.len()));
    lost.iter().for_each(|(node, _)| node.kill9());
    left.extend_from_slice(spared);
    left.insert(0, first.clone());
    wait_until("the first has peers again", PATIENCE, || peers(first.0).len() >= ENOUGH);
    wait_until("those that are left are one network", PATIENCE, || is_whole(&left));
    assert_write_is_on_all(&left, "by one of those that are left");
}
