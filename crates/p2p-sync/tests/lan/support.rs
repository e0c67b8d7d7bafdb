//! What the LAN tests share: starting nodes and strangers, and the check that changes pass.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Host, Launch, Node, Process, Stdin, Value, poll, wait_until};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");

/// For what has no limit of its own in these tests: long enough for a debug build on a machine that runs other
/// tests beside.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How soon live changes flow again after a link is back or a node has restarted.
pub(crate) const RECOVERY: Duration = Duration::from_secs(10);

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A node on `host`, at the standard port, to be completed and started.
pub(crate) fn launch(host: &Host, label: &str) -> Launch {
    Launch::new(PROGRAM).on(host).label(label)
}

/// A node on each host, labelled `n0`, `n1` and so on, to be started.
pub(crate) fn launch_each(hosts: &[Host]) -> impl Iterator<Item = Launch> {
    hosts
        .iter()
        .enumerate()
        .map(|(number, host)| launch(host, &format!("n{number}")))
}

/// Starts a node on each host, all at once, and waits until they accept commands.
pub(crate) fn start_together(hosts: &[Host]) -> Vec<Node> {
    let nodes: Vec<Node> = launch_each(hosts).map(Launch::spawn).collect();
    for node in &nodes {
        node.wait_ready();
    }
    nodes
}

pub(crate) fn tcp(host: &Host) -> String {
    format!("/ip4/{}/tcp/4002", host.ip4())
}

pub(crate) fn quic(host: &Host) -> String {
    format!("/ip4/{}/udp/4002/quic-v1", host.ip4())
}

/// Waits until `node` is connected with so many others and hears all of them.
#[track_caller]
pub(crate) fn wait_subscribed(node: &Node, others: usize, deadline: Duration) {
    wait_until(&format!("{} hears {others} others", node.label()), deadline, || {
        let status = node.status();
        let peers = status["peers"].as_array().unwrap();
        peers.len() == others && peers.iter().all(|peer| peer["subscribed"] == true)
    });
}

/// One write each way, right now; both must arrive.
#[track_caller]
pub(crate) fn share_both_ways(a: &Node, b: &Node, what: &str) {
    for (from, to) in [(a, b), (b, a)] {
        let value = format!("{what} by {}", from.label());
        from.add(&value, &value);
        to.wait_value(&value, &value, RECOVERY);
    }
}

/// Writes on `from` once a second until one of the writes has arrived at `to`; returns how long that took.
#[track_caller]
pub(crate) fn wait_flow(from: &Node, to: &Node, what: &str, deadline: Duration) -> Duration {
    let start = Instant::now();
    let key = format!("{what} by {}", from.label());
    let mut number = 0;
    let arrived = poll(deadline, || {
        number += 1;
        from.add(&key, &number.to_string());
        poll(seconds(1), || to.get(&key))
    });
    assert!(
        arrived.is_some(),
        "after {deadline:?} no change has come from {} to {}: {what}",
        from.label(),
        to.label()
    );
    start.elapsed()
}

/// A field of the peer `id` in the status of `node`, while it is connected.
#[track_caller]
pub(crate) fn peer_field(node: &Node, id: &str, field: &str) -> Option<Value> {
    Some(node.peer(id)?.get(field).unwrap_or(&Value::Null).clone())
}

/// A number of the status, at a path such as `/messages/received`.
#[track_caller]
pub(crate) fn status_number(node: &Node, pointer: &str) -> u64 {
    let status = node.status();
    status
        .pointer(pointer)
        .and_then(Value::as_u64)
        .unwrap_or_else(|| panic!("{}: no number {pointer} in {status}", node.label()))
}

/// The example program `bare_gossip`: gossip from plain libp2p, without anything of ours.
pub(crate) struct Stranger {
    process: Process,
    peer_id: String,
}

impl Stranger {
    /// Starts it on `host`, dialling `addresses`. The same `seed` gives the same identity.
    #[track_caller]
    pub(crate) fn start(host: &Host, seed: u64, addresses: &[String]) -> Self {
        Self::start_as(host, &["--seed", &seed.to_string()], addresses)
    }

    /// The same, with a fresh identity of another type: `ecdsa`, `secp256k1`, or a file with an RSA key.
    #[track_caller]
    pub(crate) fn with_key(host: &Host, key: &str, addresses: &[String]) -> Self {
        Self::start_as(host, &["--key", key], addresses)
    }

    /// The same, saying by Identify that this is its agent version.
    #[track_caller]
    pub(crate) fn with_agent(host: &Host, agent: &str, addresses: &[String]) -> Self {
        Self::start_as(host, &["--agent", agent], addresses)
    }

    /// The same, waiting at a port for whoever dials it, with gossip of another topic.
    #[track_caller]
    pub(crate) fn listening(host: &Host, port: u16, topic: &str) -> Self {
        let address = format!("/ip4/{}/tcp/{port}", host.ip4());
        Self::start_as(host, &["--topic", topic, "--listen", &address], &[])
    }

    #[track_caller]
    fn start_as(host: &Host, options: &[&str], addresses: &[String]) -> Self {
        let mut command = host.command(example("bare_gossip"));
        command.args(options);
        for address in addresses {
            command.args(["--dial", address]);
        }
        let process = Process::spawn(&format!("stranger {:.40}", options[1]), command, Stdin::Pipe);
        let first = process.wait_json(0, "peer id", PATIENCE, |object| object.get("peer_id").is_some());
        let peer_id = first["peer_id"].as_str().unwrap().to_owned();
        Self { process, peer_id }
    }

    pub(crate) fn peer_id(&self) -> &str {
        &self.peer_id
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Waits until it and `node` hear each other.
    #[track_caller]
    pub(crate) fn wait_linked(&self, node: &Node) {
        let id = node.peer_id();
        self.process.wait_json(0, "subscription", PATIENCE, |object| {
            object["subscribed"] == id.as_str()
        });
        let what = format!("{} hears the stranger", node.label());
        wait_until(&what, PATIENCE, || node.is_subscribed(&self.peer_id));
    }

    /// Gives it a line and waits until it has done what the line asks for.
    #[track_caller]
    pub(crate) fn publish(&self, line: &str) {
        let mark = self.process.stdout().mark();
        self.process.send(format!("{line}\n").as_bytes());
        let done = self
            .process
            .wait_json(mark, "answer", PATIENCE, |object| object.get("published").is_some());
        assert_eq!(done["published"], true, "{done}");
    }

    /// The first message from `source` that `wanted` accepts, parsed.
    #[track_caller]
    pub(crate) fn wait_message(&self, source: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let parsed = |object: &Value| {
            let received = object.get("received")?;
            if received["source"] != source {
                return None;
            }
            serde_json::from_str::<Value>(received["data"].as_str()?).ok()
        };
        let object = self.process.wait_json(0, "such message", PATIENCE, |object| {
            parsed(object).is_some_and(|message| wanted(&message))
        });
        parsed(&object).unwrap()
    }
}

/// The path of an example program of this package.
pub(crate) fn example(name: &str) -> PathBuf {
    p2p_sync_testbed::example(PROGRAM, name)
}

/// Base64 with padding, as messages and replies carry bytes that are no text.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
