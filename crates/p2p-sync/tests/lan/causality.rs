//! Writes that did not see each other: each node shows the same conflicts, however often either side edited, whoever vanished in
//! between and whatever strangers say; and writes that did see each other are none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Addresses, Host, Lab, Node, Value, poll};

use crate::support::{PATIENCE, launch, status_number};

mod apart;
mod crowd;
mod folded;
mod foreign;
mod lies;
mod sessions;
mod settling;
mod turns;
mod vanishing;

/// What a version of a key says, and which node wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    /// None: the key was deleted.
    value: Option<String>,
    author: String,
}

/// The keys in conflict, with the versions of each, the value first.
type Conflicts = BTreeMap<String, Vec<Version>>;

impl Version {
    fn of(value: Option<&str>, author: &Node) -> Self {
        Self {
            value: value.map(str::to_owned),
            author: author.peer_id(),
        }
    }

    #[track_caller]
    fn shown(shown: &Value) -> Self {
        let value = shown["value"].as_str().map(str::to_owned);
        assert_eq!(value.is_none(), shown["deleted"] == true, "{shown}");
        Self {
            value,
            author: shown["author"].as_str().unwrap().to_owned(),
        }
    }
}

#[track_caller]
fn conflicts(node: &Node) -> Conflicts {
    let shown = |versions: Vec<Value>| versions.iter().map(Version::shown).collect();
    let listed = node.conflicts().into_iter();
    listed.map(|(key, versions)| (key, shown(versions))).collect()
}

/// Waits until each node lists just these conflicts, and counts them in its status, and returns how long that took.
#[track_caller]
fn wait_conflicts(nodes: &[&Node], expected: &Conflicts, deadline: Duration) -> Duration {
    let start = Instant::now();
    for node in nodes {
        let mut last = Conflicts::new();
        let listed = poll(deadline.saturating_sub(start.elapsed()), || {
            last = conflicts(node);
            (last == *expected).then_some(())
        });
        if listed.is_none() {
            let wrong = expected.iter().find(|(key, versions)| last.get(*key) != Some(versions));
            let more = last.iter().find(|(key, _)| !expected.contains_key(*key));
            panic!(
                "{}: after {deadline:?} {} keys are in conflict and not {}: expected {wrong:?}, unexpected {more:?}, of the first: {:?}",
                node.label(),
                last.len(),
                expected.len(),
                wrong.and_then(|(key, _)| last.get(key))
            );
        }
    }
    let took = start.elapsed();
    for node in nodes {
        assert_eq!(
            status_number(node, "/sync/conflicts"),
            expected.len() as u64,
            "{}",
            node.label()
        );
    }
    took
}

/// One key in conflict.
fn one(key: &str, versions: &[Version]) -> Conflicts {
    Conflicts::from([(key.to_owned(), versions.to_vec())])
}

/// Three nodes on one network, all linked.
struct Trio {
    a: Node,
    b: Node,
    c: Node,
    hosts: [Host; 3],
    lab: Lab,
}

impl Trio {
    #[track_caller]
    fn start() -> Self {
        let lab = Lab::new();
        let hosts = [(); 3].map(|()| lab.host(Addresses::V4));
        let [a, b, c] = [(0, "a"), (1, "b"), (2, "c")].map(|(place, label)| launch(&hosts[place], label).spawn());
        for node in [&a, &b, &c] {
            node.wait_ready();
        }
        let trio = Self { a, b, c, hosts, lab };
        trio.wait_linked();
        trio
    }

    fn all(&self) -> [&Node; 3] {
        [&self.a, &self.b, &self.c]
    }

    #[track_caller]
    fn wait_linked(&self) {
        self.a.wait_linked(&self.b, PATIENCE);
        self.c.wait_linked(&self.b, PATIENCE);
        self.a.wait_linked(&self.c, PATIENCE);
    }

    /// Cuts `b` off, in silence, and waits until all know.
    #[track_caller]
    fn cut_b(&self) {
        self.lab.partition(&[&[&self.hosts[1]]]);
        wait_apart(&self.b, &[&self.a, &self.c]);
    }
}

/// Waits until `node` and these others are not connected any more.
#[track_caller]
fn wait_apart(node: &Node, others: &[&Node]) {
    for other in others {
        for (one, other) in [(node, other), (other, &node)] {
            let id = other.peer_id();
            let what = format!("{} has lost {}", one.label(), other.label());
            p2p_sync_testbed::wait_until(&what, PATIENCE, || one.peer(&id).is_none());
        }
    }
}
