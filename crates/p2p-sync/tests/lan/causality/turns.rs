//! Many nodes edit one key, each after it has seen the edit before: no conflict, and what is said to have been seen stays short.

use p2p_sync_testbed::{Addresses, Host, Lab, Node};

use super::{Conflicts, wait_conflicts};
use crate::support::{PATIENCE, RECOVERY, start_together, wait_subscribed};
use crate::sync::{SOON, measured, rows, wait_equal};

/// Nodes that run at once.
const NODES: usize = 6;
/// Of these, one after the other gives its place to a new one, so that there are more authors than a version may name.
const REPLACED: usize = 12;
const ROUNDS: usize = 10;
/// A floor, and sixteen authors, each with a length, an id of 38 bytes and a timestamp.
const SEEN_BYTES_MAX: usize = 8 + 16 * (1 + 38 + 8);

struct Turns {
    nodes: Vec<Node>,
    edits: usize,
}

impl Turns {
    /// The node at this place edits the key, which has the edit before by now.
    #[track_caller]
    fn edit(&mut self, place: usize) {
        let node = &self.nodes[place];
        if self.edits > 0 {
            node.wait_value("hours", &self.edits.to_string(), RECOVERY);
        }
        self.edits += 1;
        node.add("hours", &self.edits.to_string());
    }

    #[track_caller]
    fn assert_no_conflict(&self, authors: usize) {
        let all: Vec<&Node> = self.nodes.iter().collect();
        let took = wait_equal("after all edits", &all, SOON);
        measured(&format!("{} edits, equal {took:?} after the last", self.edits));
        wait_conflicts(&all, &Conflicts::new(), SOON);
        for node in all {
            assert_eq!(
                (crate::sync::conflict_rows(node), node.stderr().count(0, "conflict")),
                (Ok(Vec::new()), 0),
                "{}",
                node.label()
            );
            let row = &rows(node)["hours"];
            assert_eq!(row.value.as_deref(), Some(self.edits.to_string().as_bytes()));
            let seen = row.seen.as_ref().unwrap().len();
            let expected = (8 + (authors - 1) * 47).min(SEEN_BYTES_MAX);
            assert_eq!(seen, expected, "{}: {authors} authors", node.label());
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn authors_that_edit_a_key_in_turn_make_no_conflict_however_many_they_are() {
    let lab = Lab::new();
    let hosts: Vec<Host> = (0..NODES).map(|_| lab.host(Addresses::V4)).collect();
    let nodes = start_together(&hosts);
    for node in &nodes {
        wait_subscribed(node, NODES - 1, PATIENCE);
    }
    let mut turns = Turns { nodes, edits: 0 };
    for round in 0..ROUNDS {
        for place in 0..NODES {
            turns.edit((round * 5 + place) % NODES);
        }
    }
    turns.assert_no_conflict(NODES);

    for replaced in 0..REPLACED {
        let place = replaced % NODES;
        turns.nodes[place].stop();
        let newcomer = crate::support::launch(&hosts[place], &format!("newcomer {replaced}")).start();
        turns.nodes[place] = newcomer;
        turns.edit(place);
        // Not by the one that goes next: what it has told nobody yet would go with it.
        turns.edit((place + 2) % NODES);
    }
    turns.assert_no_conflict(NODES + REPLACED);
}
