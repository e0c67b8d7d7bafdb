//! The same keys written on both sides of a cut: one winner each, the same everywhere, and the last edit of the other side is a
//! conflict everywhere.

use std::collections::BTreeMap;
use std::time::Instant;

use p2p_sync_core::Timestamp;
use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value};

use super::{Row, Rows, SOON, add_all, command_all, conflict_rows, delete_all, measured, rows, wait_equal};
use crate::support::{PATIENCE, RECOVERY, launch, seconds, status_number, wait_subscribed};

const KEYS: usize = 100;
/// Of these, both sides had a version before, and the last edit of one side deletes it.
const COMMON: usize = 10;
/// How often a side edits a key at most.
const EDITS_MAX: usize = 5;

fn key(number: usize) -> String {
    format!("key {number}")
}

struct Sides {
    nodes: Vec<Node>,
    hosts: Vec<Host>,
    lab: Lab,
}

impl Sides {
    fn start() -> Self {
        let lab = Lab::new();
        let hosts: Vec<Host> = (0..6).map(|_| lab.host(Addresses::V4)).collect();
        let labels = ["a", "b", "c", "d", "e", "f"];
        let nodes: Vec<Node> = hosts
            .iter()
            .zip(labels)
            .map(|(host, label)| launch(host, label).spawn())
            .collect();
        for node in &nodes {
            node.wait_ready();
        }
        let sides = Self { nodes, hosts, lab };
        sides.wait_connected(5);
        sides
    }

    #[track_caller]
    fn wait_connected(&self, others: usize) {
        for node in &self.nodes {
            wait_subscribed(node, others, PATIENCE);
        }
    }

    fn all(&self) -> Vec<&Node> {
        self.nodes.iter().collect()
    }

    fn sides(&self) -> [Vec<&Node>; 2] {
        [self.nodes[..3].iter().collect(), self.nodes[3..].iter().collect()]
    }
}

/// What both sides do to the keys while they are apart. In each round the keys with edits left are edited by another node of
/// the side, which has seen the edit before, so that there is no conflict within a side.
fn edit_apart(sides: &Sides) {
    for round in 0..EDITS_MAX {
        for (side, nodes) in sides.sides().iter().enumerate() {
            let mine = |number: &usize| round < edits(*number, side);
            let writer = nodes[round % nodes.len()];
            let last = |number: usize| round + 1 == edits(number, side);
            let deleted = |number: &usize| *number < COMMON && side == 1 && last(*number);
            delete_all(writer, (0..KEYS).filter(mine).filter(deleted).map(key));
            let added = (0..KEYS).filter(mine).filter(|number| !deleted(number));
            add_all(
                writer,
                added.map(|number| (key(number), format!("{number} by {} in round {round}", writer.label()))),
            );
            wait_equal("within a side", nodes, PATIENCE);
        }
    }
}

/// How often a side edits a key: one to five times.
fn edits(number: usize, side: usize) -> usize {
    1 + [number, number / EDITS_MAX][side] % EDITS_MAX
}

/// The value of each key and its conflict, by what the sides held: the later of the two, and the other.
fn expected(sides: [&Rows; 2]) -> BTreeMap<String, [Row; 2]> {
    let one = |(key, a): (&String, &Row)| {
        let d = &sides[1][key];
        let (value, conflict) = if a.timestamp > d.timestamp { (a, d) } else { (d, a) };
        (key.clone(), [value.clone(), conflict.clone()])
    };
    sides[0].iter().map(one).collect()
}

#[track_caller]
fn assert_lists(node: &Node, expected: &BTreeMap<String, [Row; 2]>) {
    let listed = node.conflicts();
    let label = node.label();
    assert_eq!(listed.len(), expected.len(), "{label}");
    for (key, versions) in expected {
        let listed = &listed[key];
        assert_eq!(listed.len(), 2, "{label}: {key}: {listed:?}");
        for (shown, row) in listed.iter().zip(versions) {
            assert!(is_version(shown, row), "{label}: {key}: {shown} is not {row:?}");
        }
    }
    assert_eq!(status_number(node, "/sync/conflicts"), listed.len() as u64, "{label}");
}

fn is_version(shown: &Value, row: &Row) -> bool {
    let value = row.value.as_deref().map(String::from_utf8_lossy);
    let timestamp = shown["timestamp"].as_str().map(str::parse::<Timestamp>);
    shown["value"].as_str() == value.as_deref()
        && (shown["deleted"] == true) == value.is_none()
        && timestamp.is_some_and(|at| at.unwrap().as_nanos() == row.timestamp)
        && shown["author"] == row.author.as_str()
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn of_keys_edited_on_both_sides_of_a_partition_every_node_shows_the_last_edit_of_the_other_side() {
    let sides = Sides::start();
    let (a, d) = (&sides.nodes[0], &sides.nodes[3]);
    add_all(a, (0..COMMON).map(|number| (key(number), "before".to_owned())));
    wait_equal("before", &sides.all(), PATIENCE);
    sides
        .lab
        .partition(&[&[&sides.hosts[3], &sides.hosts[4], &sides.hosts[5]]]);
    sides.wait_connected(2);
    edit_apart(&sides);
    let before = [rows(a), rows(d)];
    for node in &sides.nodes {
        assert_eq!(node.conflicts().len(), 0, "{}: all was seen", node.label());
    }
    let start = Instant::now();
    sides.lab.heal();
    sides.wait_connected(5);
    let linked = start.elapsed();
    let took = wait_equal("after the partition", &sides.all(), SOON);
    measured(&format!(
        "all linked {linked:?} after the cut was mended, equal {took:?} after that"
    ));

    let expected = expected([&before[0], &before[1]]);
    let won_by_a = expected.iter().filter(|(key, [value, _])| before[0][*key] == *value);
    measured(&format!(
        "{} of {KEYS} keys have the value of the side of a",
        won_by_a.count()
    ));
    assert_eq!(expected.len(), KEYS);
    let after = rows(a);
    for (key, [value, _]) in &expected {
        assert_eq!(&after[key], value, "{key}");
    }
    for node in &sides.nodes {
        assert_lists(node, &expected);
    }
    assert_resolves(&sides, expected);
}

/// One key gets the other value, one is deleted as the other side had it, and the rest keep what they have.
#[track_caller]
fn assert_resolves(sides: &Sides, mut expected: BTreeMap<String, [Row; 2]>) {
    let (b, e) = (&sides.nodes[1], &sides.nodes[4]);
    for (node, key) in [(b, key(50)), (e, key(1))] {
        let [value, conflict] = expected.remove(&key).unwrap();
        let chosen = Timestamp::from_nanos(conflict.timestamp).unwrap();
        let resolved = node.json(&format!("resolve --json \"{key}\" {chosen}"));
        assert_eq!(resolved["resolved"], true, "{resolved}");
        assert_ne!(conflict.value, value.value);
        let text = conflict.value.map(|value| String::from_utf8(value).unwrap());
        assert_eq!(resolved["value"].as_str(), text.as_deref(), "{resolved}");
        assert_eq!(resolved["deleted"] == true, text.is_none(), "{resolved}");
        wait_equal("after one is resolved", &sides.all(), RECOVERY);
        for node in &sides.nodes {
            assert_eq!(node.get(&key), text, "{}", node.label());
            assert_lists(node, &expected);
        }
        for line in [format!("resolve --json \"{key}\""), "resolve --json nobody".to_owned()] {
            assert_eq!(node.json(&line)["code"], 3);
        }
    }
    let resolved = e.json("resolve --json --all");
    assert_eq!(resolved["resolved_keys"], expected.len(), "{resolved}");
    wait_equal("after the rest is resolved", &sides.all(), SOON);
    let after = rows(b);
    for (key, [value, _]) in &expected {
        assert_eq!(after[key].value, value.value, "{key}");
    }
    for node in &sides.nodes {
        assert_eq!(node.conflicts().len(), 0, "{}", node.label());
        assert_eq!(status_number(node, "/sync/conflicts"), 0, "{}", node.label());
        assert_eq!(conflict_rows(node), Ok(Vec::new()), "{}", node.label());
    }
    assert_eq!(b.json("resolve --json --all")["resolved_keys"], 0);
}

/// A write that had seen the other one is no conflict, wherever it is made.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn overwriting_what_was_seen_makes_no_conflict() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let (a, b) = (launch(&host_a, "a").start(), launch(&host_b, "b").start());
    a.wait_linked(&b, PATIENCE);
    for round in 0..10 {
        for (writer, reader) in [(&a, &b), (&b, &a)] {
            let text = format!("{round} by {}", writer.label());
            writer.add("key", &text);
            reader.wait_value("key", &text, RECOVERY);
        }
    }
    b.stop();
    command_all(&a, &["add key later".to_owned(), "delete key".to_owned()], "✓ ");
    b.restart();
    wait_equal("after the return", &[&a, &b], seconds(10));
    for node in [&a, &b] {
        assert_eq!(node.conflicts().len(), 0, "{}", node.label());
        assert_eq!(conflict_rows(node), Ok(Vec::new()), "{}", node.label());
    }
}
