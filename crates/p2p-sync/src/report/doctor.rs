//! What is wrong with a node, or around it, and what was looked at.

use serde::{Deserialize, Serialize};

use super::Store;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Finding {
    /// What it is; a fixed word.
    pub finding: String,
    /// What it is, in a sentence: what happens, and why.
    pub text: String,
    /// What to do about it.
    pub advice: String,
}

/// The last line: what was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Examined {
    /// How many things are wrong.
    pub findings: u64,
    /// The version of the program.
    pub version: String,
    /// The version of its SQLite library.
    pub sqlite: String,
    /// How many files and connections the process may have open; null if the system sets no limit, or does not tell.
    pub descriptors: Option<u64>,
    /// How many it has open; null if the system does not tell.
    pub descriptors_open: Option<u64>,
    /// Disk space.
    pub store: Store,
    /// Everything else that was looked at.
    #[serde(flatten)]
    pub surroundings: Surroundings,
}

/// Everything that is wrong, and what was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Diagnosis {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The summary.
    pub examined: Examined,
}

/// What a node found around it when it looked for a few seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Surroundings {
    /// Whether a node runs; otherwise a command opened its store.
    pub running: bool,
    /// How the store was left before it was opened.
    pub closed: Closed,
    /// Whether it was looked around on the LAN; not so with `--no-lan`.
    pub looked_around: bool,
    /// What multicast does on the interfaces of this machine.
    pub interfaces: Vec<Interface>,
    /// Whether anything was heard from another machine by multicast DNS.
    pub heard_others: bool,
    /// Addresses from which other programs answer multicast DNS.
    pub responders: Vec<String>,
    /// Other programs on this machine that have UDP port 5353, as far as the system tells.
    pub port_5353: Vec<String>,
    /// The nodes that answered on the LAN.
    pub nodes: Vec<NodeOnLan>,
    /// Whether the peers on the LAN and this node get through to each other.
    pub ways: Vec<Ways>,
    /// The clocks of the peers.
    pub clocks: Vec<PeerClock>,
}

/// How a store was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Closed {
    /// There was none.
    #[default]
    New,
    /// The program closed it.
    Cleanly,
    /// The program was killed, or the power failed, by the signs that this leaves. Nothing that was acknowledged is lost by that.
    Killed,
    /// It was damaged, and what could be read was copied into a new file.
    Rescued,
}

/// What multicast does on an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Interface {
    /// Its name for the operating system.
    pub name: String,
    /// Whether it leads to no other machine.
    pub loopback: bool,
    /// With IPv4; null if it has no such address.
    pub ipv4: Option<MulticastWay>,
    /// With IPv6; null if it has no such address.
    pub ipv6: Option<MulticastWay>,
    /// What the operating system said, where it said anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What multicast does in one address family of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MulticastWay {
    /// The own question came back: it goes out, and multicast comes in.
    Works,
    /// The own question did not come back.
    Lost,
    /// Another program has UDP port 5353 for itself.
    PortTaken,
    /// The interface does no multicast.
    Unavailable,
}

/// A node that answered on the LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NodeOnLan {
    /// The peer id that it announces; null if it announces none that makes sense.
    pub peer_id: Option<String>,
    /// The name of its announcement.
    pub instance: String,
    /// Whether it belongs to the network of this node.
    pub same_network: bool,
    /// The version of its announcement; nodes of this version announce 1.
    pub version: String,
    /// The address from which it answered.
    pub address: String,
    /// Whether that is this machine.
    pub here: bool,
}

/// Whether a peer and this node get through to each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ways {
    /// Its peer id.
    pub peer_id: String,
    /// How people see it.
    pub display_name: String,
    /// Where it was tried, as `ADDRESS port PORT`; several are separated by commas.
    pub at: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether this node gets through to it by TCP.
    pub tcp_to: Way,
    /// By UDP, which carries QUIC.
    pub udp_to: Way,
    /// Whether it gets through to this node by TCP, as it says.
    pub tcp_from: Way,
    /// By UDP.
    pub udp_from: Way,
}

/// What came of a try to get through to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Way {
    /// Somebody answered.
    Through,
    /// Nothing came back in time.
    NoAnswer,
    /// Nobody listens at that port.
    Refused,
    /// There is no route, or the machine is not there.
    NoRoute,
    /// The firewall of the machine that tried did not let it out.
    NotPermitted,
    /// It was not tried.
    NotTried,
}

/// The clock of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PeerClock {
    /// Its peer id.
    pub peer_id: String,
    /// How people see it.
    pub display_name: String,
    /// How far it is ahead of the clock of this machine; negative if it is behind.
    pub ahead_seconds: f64,
    /// How much that may be wrong; null if that is not known.
    pub within_seconds: Option<f64>,
}
