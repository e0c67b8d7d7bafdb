//! Thirty nodes, each of which sees a few others only.

use std::collections::BTreeSet;
use std::thread;
use std::time::Instant;

use p2p_sync_testbed::{Addresses, Host, Lab};

use super::{Chance, add_all, measured, wait_equal};
use crate::support::{seconds, start_together, wait_subscribed};

const NODES: usize = 30;
/// Circles through all nodes, each in an order of its own: every node has two links by each of them.
const CIRCLES: usize = 5;
const RECORDS: usize = 800;

/// For each node the others that it sees: ten at most, and nobody is cut off.
fn links(chance: &mut Chance) -> Vec<BTreeSet<usize>> {
    let mut links = vec![BTreeSet::new(); NODES];
    for _ in 0..CIRCLES {
        let mut order: Vec<usize> = (0..NODES).collect();
        for at in (1..NODES).rev() {
            order.swap(at, chance.index(at + 1));
        }
        for at in 0..NODES {
            let (one, other) = (order[at], order[(at + 1) % NODES]);
            links[one].insert(other);
            links[other].insert(one);
        }
    }
    links
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn thirty_nodes_with_ten_links_each_are_equal_within_thirty_seconds_of_the_last_write() {
    let mut chance = Chance::drawn();
    let links = links(&mut chance);
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    for (host, links) in hosts.iter().zip(&links) {
        host.hear_only(&links.iter().map(|other| &hosts[*other]).collect::<Vec<_>>());
    }
    let start = Instant::now();
    let nodes = start_together(&hosts);
    for (node, links) in nodes.iter().zip(&links) {
        wait_subscribed(node, links.len(), seconds(120));
    }
    let linked = start.elapsed();
    let mut of_node = vec![Vec::new(); NODES];
    for record in 0..RECORDS {
        of_node[chance.index(NODES)].push((format!("key {record}"), format!("value {record}")));
    }
    let first_write = Instant::now();
    thread::scope(|scope| {
        for (node, records) in nodes.iter().zip(of_node) {
            scope.spawn(move || add_all(node, records));
        }
    });
    let written = first_write.elapsed();
    let took = wait_equal("thirty nodes", &nodes.iter().collect::<Vec<_>>(), seconds(30));
    measured(&format!(
        "all linked {linked:?} after the start; {RECORDS} records acknowledged within {written:?}, equal {took:?} after that"
    ));
    for node in &nodes {
        assert_eq!(node.status()["keys"], RECORDS, "{}", node.label());
    }
}
