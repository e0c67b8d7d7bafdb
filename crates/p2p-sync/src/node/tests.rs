//! Whole nodes, each with a store of its own, in one process and without a socket.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use p2p_sync_core::{Key, Record, Value};
use tempfile::TempDir;

use super::*;
use crate::net::memory::Hub;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Machines on one network; each keeps its data directory while its node is off.
pub(super) struct Machines {
    hub: Hub,
    pub(super) directories: Vec<TempDir>,
}

impl Machines {
    pub(super) fn new(count: usize) -> Self {
        Self {
            hub: Hub::default(),
            directories: (0..count).map(|_| TempDir::new().unwrap()).collect(),
        }
    }

    pub(super) async fn start(&self, machine: usize) -> Node {
        self.start_as(machine, &format!("n{machine}")).await
    }

    async fn start_as(&self, machine: usize, name: &str) -> Node {
        let config = Config {
            name: name.to_owned(),
            ..Config::new(self.directories[machine].path())
        };
        Node::start_on(self.hub.clone(), config, |_| {}).await.unwrap()
    }

    /// A copy of what a machine has on its disk now.
    pub(super) fn crashed(&self, machine: usize) -> TempDir {
        let copy = TempDir::new().unwrap();
        for file in std::fs::read_dir(self.directories[machine].path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        copy
    }

    pub(super) async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for machine in 0..self.directories.len() {
            nodes.push(self.start(machine).await);
        }
        nodes
    }
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(super) async fn put(node: &Node, key: &str, value: &str) -> Record {
    let value = Value::new(value.as_bytes()).unwrap();
    node.put(Key::new(key).unwrap(), value).await.unwrap()
}

async fn get(node: &Node, key: &str) -> Option<String> {
    let held = node.get(&Key::new(key).unwrap()).await.unwrap()?;
    let value = held.content.value()?.as_bytes().to_vec();
    Some(String::from_utf8(value).unwrap())
}

/// Until this is so on every node.
async fn eventually(what: &str, nodes: &[Node], is_so: impl AsyncFn(&Node) -> bool) {
    let start = Instant::now();
    for node in nodes {
        while !is_so(node).await {
            assert!(start.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_writes_the_others_have_and_what_it_deletes_they_have_no_more() {
    let machines = Machines::new(3);
    let nodes = machines.start_all().await;
    put(&nodes[0], "hello", "world").await;
    let has = async |node: &Node| get(node, "hello").await.as_deref() == Some("world");
    eventually("the value is not everywhere", &nodes, has).await;
    nodes[2].delete(key("hello")).await.unwrap().unwrap();
    let has_not = async |node: &Node| get(node, "hello").await.is_none();
    eventually("it is not deleted everywhere", &nodes, has_not).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_missed_while_it_was_off_comes_when_it_is_back() {
    let machines = Machines::new(3);
    let mut nodes = machines.start_all().await;
    put(&nodes[0], "old", "1").await;
    let has_old = async |node: &Node| get(node, "old").await.is_some();
    eventually("the first value is not everywhere", &nodes, has_old).await;
    nodes.remove(2).stop().await;
    nodes[1].delete(key("old")).await.unwrap();
    for number in 0..500 {
        put(&nodes[0], &format!("key {number}"), "v").await;
    }
    nodes.push(machines.start(2).await);
    let is_equal = async |node: &Node| node.counts().await.unwrap().live == 500;
    eventually("not everything came", &nodes, is_equal).await;
    let has_not = async |node: &Node| get(node, "old").await.is_none();
    eventually("a deleted key came back", &nodes, has_not).await;
    for synced in nodes[2].sync().await.unwrap() {
        assert_eq!(synced.standing, Standing::InSync);
    }
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_lost_to_one_made_apart_is_shown_everywhere_until_somebody_chooses() {
    let machines = Machines::new(3);
    for (machine, value) in [(0, "mine"), (1, "theirs")] {
        let node = machines.start(machine).await;
        put(&node, "hours", value).await;
        node.stop().await;
    }
    let nodes = machines.start_all().await;
    let has = async |node: &Node| get(node, "hours").await.as_deref() == Some("theirs");
    eventually("the later write does not win everywhere", &nodes, has).await;
    let shows = async |node: &Node| node.conflicts("", None, 10).await.unwrap().keys.len() == 1;
    eventually("the conflict is not shown everywhere", &nodes, shows).await;
    let conflicts = nodes[2].conflicts("", None, 10).await.unwrap();
    let [loser] = conflicts.keys[0].conflicts() else {
        panic!("{conflicts:?}")
    };
    assert_eq!(loser.content.value().unwrap().as_bytes(), b"mine");
    nodes[2]
        .resolve(key("hours"), Some(loser.timestamp), Dating::AfterHeld)
        .await
        .unwrap();
    let has = async |node: &Node| get(node, "hours").await.as_deref() == Some("mine");
    eventually("what was chosen is not everywhere", &nodes, has).await;
    let shows_none = async |node: &Node| node.conflicts("", None, 10).await.unwrap().keys.is_empty();
    eventually("the conflict has not ended everywhere", &nodes, shows_none).await;
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_known_by_its_name_to_those_who_met_it_and_by_its_last_name() {
    let machines = Machines::new(3);
    let kitchen = machines.start_as(1, "kitchen").await;
    let author = kitchen.id();
    put(&kitchen, "meal", "soup").await;
    let desk = machines.start_as(0, "desk").await;
    let has = async |node: &Node| get(node, "meal").await.is_some();
    eventually("the value is not everywhere", std::slice::from_ref(&desk), has).await;
    // As a power cut would leave it. Whatever is asked of the node would have it write the name as well.
    let is_saved = async |_: &Node| {
        let crashed = machines.crashed(0);
        let config = Config::new(crashed.path());
        let alone = Node::start_on(Hub::default(), config, |_| {}).await.unwrap();
        let called = alone.names().author(author).display;
        alone.stop().await;
        called == "kitchen"
    };
    eventually("the name is not written down", std::slice::from_ref(&desk), is_saved).await;
    let [peer] = desk.status().await.unwrap().peers.try_into().unwrap();
    assert_eq!(
        (peer.name.as_deref(), peer.display_name.as_str()),
        (Some("kitchen"), "kitchen")
    );
    for node in [kitchen, desk] {
        node.stop().await;
    }

    let desk = machines.start_as(0, "desk").await;
    assert_eq!(
        desk.names().author(author).display,
        "kitchen",
        "it is away since the start"
    );
    let other = machines.start_as(2, "attic").await;
    eventually(
        "the value does not come from another",
        std::slice::from_ref(&other),
        has,
    )
    .await;
    let id = author.to_string();
    assert_eq!(
        other.names().author(author).display,
        format!("…{}", &id[id.len() - 8..])
    );

    let cellar = machines.start_as(1, "cellar").await;
    let renamed = async |node: &Node| node.names().author(author).display == "cellar";
    eventually("nobody hears the new name", &[desk.clone(), other.clone()], renamed).await;
    for synced in desk.sync().await.unwrap() {
        assert_eq!(synced.standing, Standing::InSync);
    }
    for node in [cellar, desk, other] {
        node.stop().await;
    }
    let desk = machines.start_as(0, "desk").await;
    assert!(renamed(&desk).await, "the old name is back");
    desk.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_until_it_stops_and_says_what_does_not_answer() {
    let machines = Machines::new(1);
    let node = machines.start(0).await;
    let within = Duration::from_secs(20);
    assert_eq!(node.hindrances(within).await, [""; 0]);
    node.stop().await;
    let told = node.hindrances(within).await;
    assert!(told.iter().any(|one| one.starts_with("The network fails")), "{told:?}");
    assert!(
        told.iter().any(|one| one.starts_with("The thread that writes fails")),
        "{told:?}"
    );
}
