//! Twelve nodes: gossip stays a mesh and does not become a flood.

use p2p_sync_testbed::{Addresses, Host, Lab, Node, json, poll, wait_until};

use crate::support::{seconds, start_together, status_number, wait_subscribed};

const NODES: usize = 12;
const MESH_MAX: u64 = 8;
/// Writes of each node.
const WRITES: usize = 3;
/// gossipsub sends an own message to this many at least, even while its mesh is smaller.
const MESH_WANTED: u64 = 6;
/// Large writes of one node, to weigh how often it sends them.
const LARGE_WRITES: usize = 10;
const LARGE_BYTES: usize = 30_000;

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn twelve_nodes_form_a_mesh_and_apply_each_write_once() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    let nodes = start_together(&hosts);
    for node in &nodes {
        wait_subscribed(node, NODES - 1, seconds(60));
    }
    assert_mesh_settles(&nodes);
    assert_each_write_is_applied_once(&nodes);
    assert_no_flood(&hosts, &nodes);
    // Where all is well, nobody is told of a trouble.
    for node in &nodes {
        assert_eq!(node.stderr().count(0, "WARN"), 0, "{}", node.label());
        assert_eq!(node.status()["troubles"], json!([]), "{}", node.label());
    }
}

fn mesh(node: &Node) -> u64 {
    status_number(node, "/mesh")
}

fn assert_mesh_settles(nodes: &[Node]) {
    let in_bounds = || nodes.iter().all(|node| (1..=MESH_MAX).contains(&mesh(node)));
    // Two heartbeats of a second, and time to ask all of them.
    wait_until("every mesh is within its bounds", seconds(4), in_bounds);
    let left = poll(seconds(4), || (!in_bounds()).then_some(()));
    assert!(left.is_none(), "a mesh has left its bounds again");
}

fn assert_each_write_is_applied_once(nodes: &[Node]) {
    let key = |node: usize, write: usize| format!("w{node}-{write}");
    for (number, node) in nodes.iter().enumerate() {
        for write in 0..WRITES {
            node.add(&key(number, write), "once");
        }
    }
    let all = u64::try_from(NODES * WRITES).unwrap();
    for node in nodes {
        wait_until(&format!("{} has all writes", node.label()), seconds(20), || {
            status_number(node, "/keys") == all
        });
    }
    for (number, node) in nodes.iter().enumerate() {
        for (author, writer) in nodes.iter().enumerate() {
            for write in 0..WRITES {
                let key = key(author, write);
                assert_eq!(node.get(&key).as_deref(), Some("once"));
                let line = format!("Got message from {}: Put {{ {key} = once }}", writer.peer_id());
                let applied = node.stderr().count(0, &line);
                assert_eq!(applied, usize::from(author != number), "{}: {line}", node.label());
            }
        }
    }
}

fn assert_no_flood(hosts: &[Host], nodes: &[Node]) {
    let (host, node) = (&hosts[0], &nodes[0]);
    let value = "x".repeat(LARGE_BYTES);
    let mut mesh_peers = MESH_WANTED;
    let (_, before) = host.traffic_bytes();
    for write in 0..LARGE_WRITES {
        let key = format!("large {write}");
        mesh_peers = mesh_peers.max(mesh(node));
        node.add(&key, &value);
        // One after the other: a peer outside the mesh that hears of a message before it has come to it asks
        // for it, and is answered. That would be counted too.
        for other in nodes {
            other.wait_value(&key, &value, seconds(20));
        }
    }
    mesh_peers = mesh_peers.max(mesh(node));
    assert!(mesh_peers <= MESH_MAX);
    let (_, after) = host.traffic_bytes();
    let one_copy_bytes = u64::try_from(LARGE_WRITES * LARGE_BYTES).unwrap();
    // A copy to each in the mesh, and less than one more for frames and everything else that is said.
    let limit = one_copy_bytes * (mesh_peers + 1);
    let sent = after - before;
    assert!(
        sent <= limit,
        "{sent} bytes sent, {one_copy_bytes} a copy, {mesh_peers} copies expected of {} possible",
        NODES - 1
    );
}
