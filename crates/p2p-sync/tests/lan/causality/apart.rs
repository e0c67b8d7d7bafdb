//! One node is away, and both sides edit the same keys, any number of times, with a deletion in any place: the last edit of the
//! side that loses is a conflict on every node.

use std::time::Instant;

use p2p_sync_testbed::Node;

use super::{Conflicts, Trio, Version, wait_conflicts};
use crate::support::PATIENCE;
use crate::sync::{SOON, add_all, command_all, measured, wait_equal};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edit {
    Put,
    Delete,
}

/// A key, and what the two sides do to it.
struct Case {
    key: String,
    /// The side that edits it last, and wins.
    last_by_b: bool,
    edits_a: Vec<Edit>,
    edits_b: Vec<Edit>,
}

/// One, two and ten edits on one side, with no deletion among them or one in the first, the middle or the last place, against a
/// value or a deletion on the other; each way round, and each side last.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in [1, 2, 10] {
        let mut places = vec![None, Some(0), Some(count / 2), Some(count - 1)];
        places.dedup();
        for place in places {
            let many: Vec<Edit> = (0..count)
                .map(|number| if Some(number) == place { Edit::Delete } else { Edit::Put })
                .collect();
            for few in [vec![Edit::Put], vec![Edit::Delete]] {
                for many_by_b in [false, true] {
                    let sides = (many.clone(), few.clone());
                    let (edits_b, edits_a) = if many_by_b { sides } else { (sides.1, sides.0) };
                    cases.extend([false, true].map(|last_by_b| Case {
                        key: String::new(),
                        last_by_b,
                        edits_a: edits_a.clone(),
                        edits_b: edits_b.clone(),
                    }));
                }
            }
        }
    }
    for (number, case) in cases.iter_mut().enumerate() {
        case.key = format!("hours {number}");
    }
    cases
}

impl Case {
    fn edits(&self, by_b: bool) -> &[Edit] {
        if by_b { &self.edits_b } else { &self.edits_a }
    }

    fn lines(&self, by_b: bool) -> impl Iterator<Item = String> {
        let edits = self.edits(by_b).iter().enumerate();
        edits.map(move |(number, edit)| match edit {
            Edit::Put => format!("add \"{}\" {}", self.key, text(number, by_b)),
            Edit::Delete => format!("delete \"{}\"", self.key),
        })
    }

    fn last(&self, by_b: bool, writer: &Node) -> Version {
        let edits = self.edits(by_b);
        let value = (edits.last() == Some(&Edit::Put)).then(|| text(edits.len() - 1, by_b));
        Version::of(value.as_deref(), writer)
    }
}

fn text(number: usize, by_b: bool) -> String {
    format!("edit {number} by {}", if by_b { "b" } else { "a" })
}

/// All edits of all cases, `b` being away. What is to be in conflict after it is back: nothing where both sides deleted the key.
#[track_caller]
fn edit_apart(a: &Node, b: &Node, cases: &[Case]) -> Conflicts {
    for last in [false, true] {
        for (node, by_b) in [(a, false), (b, true)] {
            let turn = cases.iter().filter(|case| (case.last_by_b == by_b) == last);
            let lines: Vec<String> = turn.flat_map(|case| case.lines(by_b)).collect();
            command_all(node, &lines, "✓ ");
        }
    }
    let versions = |case: &Case| {
        let (a, b) = (case.last(false, a), case.last(true, b));
        let is_same = a.value == b.value;
        let versions = if case.last_by_b { vec![b, a] } else { vec![a, b] };
        (!is_same).then(|| (case.key.clone(), versions))
    };
    cases.iter().filter_map(versions).collect()
}

/// All nodes hold the same, show the same, and have the winners for values.
#[track_caller]
fn assert_settled(trio: &Trio, cases: &[Case], expected: &Conflicts) {
    wait_conflicts(&trio.all(), expected, SOON);
    wait_equal("all versions", &trio.all(), SOON);
    for node in trio.all() {
        for case in cases {
            let writer = if case.last_by_b { &trio.b } else { &trio.a };
            let winner = case.last(case.last_by_b, writer);
            assert_eq!(node.get(&case.key), winner.value, "{}: {}", node.label(), case.key);
        }
    }
}

fn common(trio: &Trio, cases: &[Case]) {
    add_all(&trio.c, cases.iter().map(|case| (case.key.clone(), "9-17".to_owned())));
    wait_equal("before", &trio.all(), PATIENCE);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_last_edit_of_the_side_that_lost_is_shown_everywhere_after_a_cut() {
    let trio = Trio::start();
    let cases = cases();
    common(&trio, &cases);
    trio.cut_b();
    let expected = edit_apart(&trio.a, &trio.b, &cases);
    measured(&format!("{} keys, {} to be in conflict", cases.len(), expected.len()));
    wait_conflicts(&trio.all(), &Conflicts::new(), SOON);

    let start = Instant::now();
    trio.lab.heal();
    trio.wait_linked();
    let linked = start.elapsed();
    let took = wait_conflicts(&trio.all(), &expected, SOON);
    measured(&format!(
        "linked {linked:?} after the cut was mended, shown everywhere {took:?} after that"
    ));
    assert_settled(&trio, &cases, &expected);
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_last_edit_of_the_side_that_lost_is_shown_everywhere_after_a_crash() {
    let trio = Trio::start();
    let cases = cases();
    common(&trio, &cases);
    trio.cut_b();
    let expected = edit_apart(&trio.a, &trio.b, &cases);
    trio.b.kill9();
    trio.lab.heal();
    let start = Instant::now();
    trio.b.restart();
    let took = wait_conflicts(&trio.all(), &expected, SOON);
    measured(&format!(
        "started {:?} ago, shown everywhere {took:?} after it took commands",
        start.elapsed()
    ));
    assert_settled(&trio, &cases, &expected);

    // And after all of them have been started anew.
    for node in trio.all() {
        node.stop();
        node.restart();
    }
    assert_settled(&trio, &cases, &expected);
}

/// A file that two people read in, each on a node of their own.
#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn the_same_edits_on_both_sides_are_nothing_to_choose_between() {
    const KEYS: usize = 200;
    let trio = Trio::start();
    let keys = |from: usize, to: usize| (from..to).map(|number| format!("key {number}"));
    add_all(&trio.c, keys(0, KEYS / 2).map(|key| (key, "before".to_owned())));
    wait_equal("before", &trio.all(), PATIENCE);
    trio.cut_b();
    let mut lines: Vec<String> = keys(0, KEYS)
        .map(|key| format!("add \"{key}\" value of {key}"))
        .collect();
    lines.extend(keys(0, 10).map(|key| format!("delete \"{key}\"")));
    for node in [&trio.a, &trio.b] {
        command_all(node, &lines, "✓ ");
    }
    // One line in which they differ, so that it is seen when the rest has been compared.
    trio.a.add("other", "by a");
    trio.b.add("other", "by b");
    trio.lab.heal();
    trio.wait_linked();
    let [a, b] = [("by a", &trio.a), ("by b", &trio.b)].map(|(value, node)| Version::of(Some(value), node));
    wait_conflicts(&trio.all(), &super::one("other", &[b, a]), SOON);
    wait_equal("all versions", &trio.all(), SOON);
    for node in trio.all() {
        assert!(
            crate::sync::conflict_rows(node).unwrap().len() > KEYS,
            "{}: both are held",
            node.label()
        );
        assert_eq!(node.json("get --json \"key 50\"")["conflicts"], 0, "{}", node.label());
    }
    assert_eq!(trio.c.json("resolve --json --all")["resolved_keys"], 1);
    wait_conflicts(&trio.all(), &Conflicts::new(), SOON);
    assert_eq!(trio.c.json("resolve --json \"key 50\"")["code"], 3);
    // The next edit has seen both.
    trio.c.add("key 50", "anew");
    wait_equal("after the next edit", &trio.all(), SOON);
    for node in trio.all() {
        let held = crate::sync::conflict_rows(node).unwrap();
        assert!(held.iter().all(|(key, _)| key != "key 50"), "{}", node.label());
    }
    wait_conflicts(&trio.all(), &Conflicts::new(), SOON);
}
