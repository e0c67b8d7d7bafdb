//! The same keys written on both sides of a cut: one winner each, the same everywhere, and no loser is lost.

use std::collections::BTreeMap;

use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value};

use super::{add_all, command_all, delete_all, measured, rows, wait_equal};
use crate::support::{PATIENCE, RECOVERY, launch, seconds, status_number, wait_subscribed};

const KEYS: usize = 100;
/// Of these, both sides had a version before, and one side deletes it.
const COMMON: usize = 10;

fn key(number: usize) -> String {
    format!("key {number}")
}

fn value(number: usize, writer: &Node) -> (String, String) {
    (key(number), format!("{number} by {}", writer.label()))
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

/// What a node lists as lost: by key, what lost and what won.
fn conflicts(node: &Node) -> BTreeMap<String, (Value, Value)> {
    let mut lines = node.lines("conflicts --json --limit=1000");
    let end: Value = serde_json(&lines.pop().unwrap());
    assert_eq!(end["conflicts"], lines.len(), "{}", node.label());
    let listed = lines.iter().map(|line| {
        let one = serde_json(line);
        let key = one["key"].as_str().unwrap().to_owned();
        (key, (one["lost"].clone(), one["won"].clone()))
    });
    listed.collect()
}

fn serde_json(line: &str) -> Value {
    line.parse().unwrap_or_else(|_| panic!("no JSON: {line}"))
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_same_keys_written_on_both_sides_of_a_partition_have_one_winner_and_every_loser_is_kept() {
    let sides = Sides::start();
    let (a, d) = (&sides.nodes[0], &sides.nodes[3]);
    add_all(a, (0..COMMON).map(|number| (key(number), "before".to_owned())));
    wait_equal("before", &sides.all(), PATIENCE);
    sides
        .lab
        .partition(&[&[&sides.hosts[3], &sides.hosts[4], &sides.hosts[5]]]);
    sides.wait_connected(2);

    // The even ones are written by `a` first, the odd ones by `d`; the later one wins.
    let numbers = |odd: bool| (0..KEYS).filter(move |number| (number % 2 == 1) == odd);
    let write_d = |odd| {
        delete_all(d, numbers(odd).filter(|number| *number < COMMON).map(key));
        add_all(
            d,
            numbers(odd)
                .filter(|number| *number >= COMMON)
                .map(|number| value(number, d)),
        );
    };
    add_all(a, numbers(false).map(|number| value(number, a)));
    write_d(false);
    write_d(true);
    add_all(a, numbers(true).map(|number| value(number, a)));
    for side in sides.sides() {
        wait_equal("within a side", &side, PATIENCE);
    }
    let before = [rows(a), rows(d)];
    sides.lab.heal();
    let took = wait_equal("after the partition", &sides.all(), PATIENCE);
    measured(&format!("six nodes equal {took:?} after the partition"));

    let after = rows(a);
    assert_eq!(after.len(), KEYS);
    for number in 0..KEYS {
        let winner = if number % 2 == 0 { &before[1] } else { &before[0] };
        assert_eq!(after[&key(number)], winner[&key(number)], "{}", key(number));
    }
    for (side, losers) in sides.sides().iter().zip(&before) {
        for node in side {
            assert_lists_losers(node, &after, losers);
        }
    }
    assert_restores(&sides);
}

/// Every version of `held` that did not win is listed with the one that did, and nothing that did win.
#[track_caller]
fn assert_lists_losers(node: &Node, winners: &super::Rows, held: &super::Rows) {
    let listed = conflicts(node);
    let label = node.label();
    for (key, row) in held.iter().filter(|(key, row)| winners[*key] != **row) {
        let (lost, won) = listed.get(key).unwrap_or_else(|| panic!("{label} does not list {key}"));
        assert!(is_version(lost, row), "{label}: {key} lost {row:?}, listed is {lost}");
        assert!(is_version(won, &winners[key]), "{label}: {key}: won is {won}");
    }
    for (key, (lost, _)) in &listed {
        assert!(
            !is_version(lost, &winners[key]),
            "{label}: {key} is listed as lost and won"
        );
    }
    // Losers that were published may still be on their way to those who hold the winners.
    assert!(status_number(node, "/sync/conflicts") >= listed.len() as u64, "{label}");
}

fn is_version(shown: &Value, row: &super::Row) -> bool {
    let value = row.value.as_deref().map(String::from_utf8_lossy);
    shown["value"].as_str() == value.as_deref()
        && (shown["deleted"] == true) == value.is_none()
        && shown["author"] == row.author.as_str()
}

#[track_caller]
fn assert_restores(sides: &Sides) {
    let (b, e) = (&sides.nodes[1], &sides.nodes[4]);
    // A value that `a` wrote and `b` had, and a deletion that `d` made and `e` had.
    let restored = b.json(&format!("restore --json \"{}\"", key(50)));
    assert_eq!(
        (&restored["restored"], &restored["value"]),
        (&true.into(), &"50 by a".into()),
        "{restored}"
    );
    let lost = conflicts(e)[&key(1)].0["timestamp"].as_str().unwrap().to_owned();
    let restored = e.json(&format!("restore --json \"{}\" {lost}", key(1)));
    assert_eq!(
        (&restored["restored"], &restored["deleted"]),
        (&true.into(), &true.into()),
        "{restored}"
    );
    wait_equal("after the restoring", &sides.all(), RECOVERY);
    for node in &sides.nodes {
        assert_eq!(node.get(&key(50)).as_deref(), Some("50 by a"), "{}", node.label());
        assert_eq!(node.get(&key(1)), None, "{}", node.label());
    }
    for (node, restored) in [(b, key(50)), (e, key(1))] {
        assert!(!conflicts(node).contains_key(&restored), "{}: {restored}", node.label());
    }
    for line in [
        format!("restore --json \"{}\"", key(50)),
        "restore --json nobody".to_owned(),
    ] {
        assert_eq!(b.json(&line)["code"], 3);
    }
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
        assert_eq!(conflicts(node).len(), 0, "{}", node.label());
    }
}
