//! Somebody was away, or was not told: the rest comes by itself, at once.

use std::time::Instant;

use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value, tempfile};

use super::{SOON, add_all, delete_all, measured, rows, wait_equal, wait_equal_since, wait_in_sync};
use crate::support::{PATIENCE, launch, seconds};

const WRITES: usize = 1_000;
const DELETES: usize = 200;

fn fresh() -> impl Iterator<Item = (String, String)> {
    (0..WRITES).map(|number| (format!("fresh {number}"), format!("value {number}")))
}

/// A pair of which both hold the keys that will be deleted.
fn pair(lab: &Lab) -> (Node, Node, Host) {
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    add_all(
        &a,
        (0..DELETES).map(|number| (format!("old {number}"), "old".to_owned())),
    );
    wait_equal("both have the old keys", &[&a, &b], PATIENCE);
    (a, b, host_b)
}

#[track_caller]
fn assert_nothing_came_back(nodes: &[&Node]) {
    for node in nodes {
        let status = node.status();
        assert_eq!(
            (&status["keys"], &status["deleted"]),
            (&WRITES.into(), &DELETES.into()),
            "{}",
            node.label()
        );
        for number in 0..DELETES {
            assert_eq!(node.get(&format!("old {number}")), None, "{}", node.label());
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_thousand_writes_and_two_hundred_deletions_made_while_a_node_was_stopped_are_there_in_five_seconds() {
    let lab = Lab::new();
    let (a, b, _) = pair(&lab);
    b.stop();
    add_all(&a, fresh());
    delete_all(&a, (0..DELETES).map(|number| format!("old {number}")));
    let expected = rows(&a);
    let start = Instant::now();
    b.restart();
    let took = wait_equal_since(start, "since the start", &[&a, &b], SOON);
    measured(&format!("equal {took:?} after the start of the one that was stopped"));
    assert_eq!(rows(&b), expected);
    wait_in_sync(&a, &b, PATIENCE);
    assert_nothing_came_back(&[&a, &b]);
    assert_eq!(rows(&a), expected);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_was_written_and_deleted_on_the_other_side_of_a_silent_cut_is_there_in_five_seconds() {
    let lab = Lab::new();
    let (a, b, host_b) = pair(&lab);
    let marks = [a.stderr().mark(), b.stderr().mark()];
    lab.partition(&[&[&host_b]]);
    for (node, mark) in [&a, &b].into_iter().zip(marks) {
        node.wait_log(mark, "Connection closed with peer", PATIENCE);
    }
    // Each does half of it.
    let all: Vec<_> = fresh().collect();
    let (half_a, half_b) = all.split_at(WRITES / 2);
    add_all(&a, half_a.iter().cloned());
    add_all(&b, half_b.iter().cloned());
    delete_all(&a, (0..DELETES / 2).map(|number| format!("old {number}")));
    delete_all(&b, (DELETES / 2..DELETES).map(|number| format!("old {number}")));
    lab.heal();
    let linked = a.wait_linked(&b, PATIENCE);
    let took = wait_equal("since the link", &[&a, &b], SOON);
    measured(&format!(
        "linked {linked:?} after the cut was mended, equal {took:?} after that"
    ));
    assert_nothing_came_back(&[&a, &b]);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn a_burst_of_a_thousand_writes_is_on_every_node_within_five_seconds() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..4).map(|_| lab.host(Addresses::V4)).collect();
    let labels = ["a", "b", "c", "d"];
    // A prompt waits for the disk with every write; a thousand a second need one that is faster than most.
    let disk = [(); 4].map(|()| tempfile::tempdir_in("/dev/shm").unwrap());
    let nodes: Vec<Node> = hosts
        .iter()
        .zip(labels)
        .zip(&disk)
        .map(|((host, label), directory)| launch(host, label).data_dir(directory.path()).spawn())
        .collect();
    for node in &nodes {
        node.wait_ready();
    }
    for (at, node) in nodes.iter().enumerate() {
        for other in &nodes[..at] {
            node.wait_linked(other, PATIENCE);
        }
    }
    let start = Instant::now();
    add_all(&nodes[0], fresh());
    let written = start.elapsed();
    let took = wait_equal("the burst", &nodes.iter().collect::<Vec<_>>(), SOON);
    measured(&format!(
        "{WRITES} writes acknowledged within {written:?}, everywhere {took:?} after that"
    ));
    for node in &nodes {
        assert_eq!(node.status()["keys"], WRITES, "{}", node.label());
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn at_the_end_of_a_chain_arrives_what_was_written_at_its_start_while_that_was_alone() {
    let lab = Lab::new();
    let [host_a, host_b, host_c, host_d] = [(); 4].map(|()| lab.host(Addresses::V4));
    host_a.hear_only(&[&host_b]);
    host_b.hear_only(&[&host_a, &host_c]);
    host_c.hear_only(&[&host_b, &host_d]);
    host_d.hear_only(&[&host_c]);
    let start = |host, label| launch(host, label).start();
    let (a, b, c, d) = (
        start(&host_a, "a"),
        start(&host_b, "b"),
        start(&host_c, "c"),
        start(&host_d, "d"),
    );
    for (one, other) in [(&a, &b), (&b, &c), (&c, &d)] {
        one.wait_linked(other, PATIENCE);
    }
    let marks = [a.stderr().mark(), b.stderr().mark()];
    lab.partition(&[&[&host_a]]);
    a.wait_log(marks[0], "Connection closed with peer", PATIENCE);
    b.wait_log(
        marks[1],
        &format!("Connection closed with peer {}", a.peer_id()),
        PATIENCE,
    );
    add_all(&a, (0..300).map(|number| (format!("alone {number}"), "v".to_owned())));
    assert_eq!(rows(&d).len(), 0);
    lab.heal();
    let linked = a.wait_linked(&b, PATIENCE);
    let took = wait_equal("the chain", &[&a, &b, &c, &d], seconds(10));
    measured(&format!(
        "linked {linked:?} after the cut was mended, the chain equal {took:?} after that"
    ));
    for (node, neighbours) in [(&a, 1), (&b, 2), (&c, 2), (&d, 1)] {
        let peers = node.status()["peers"].as_array().map(Vec::len);
        assert_eq!(
            peers,
            Some(neighbours),
            "{}: a chain, or nothing was tested",
            node.label()
        );
    }
    assert_eq!(d.status()["sync"]["refused"], Value::Array(Vec::new()));
}
