//! How a node is doing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Sync, Trouble};

/// How a node is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Status {
    /// Its peer id.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// The network that it belongs to; empty: the default one.
    pub network: String,
    /// The port on which it listens.
    pub port: u16,
    /// Where it listens, as multiaddresses that others could dial.
    pub addresses: Vec<String>,
    /// How many keys have a value.
    pub keys: u64,
    /// How many keys are deleted.
    pub deleted: u64,
    /// The connected peers.
    pub peers: Vec<Peer>,
    /// Peers that are known, connected or not.
    pub known_peers: usize,
    /// Peers in the gossip mesh.
    pub mesh: usize,
    /// Gossip messages.
    pub messages: Messages,
    /// What was dropped or refused, by cause.
    pub dropped: Vec<Count>,
    /// How the sync is doing.
    pub sync: Sync,
    /// The version of the program.
    pub version: String,
    /// How long it has been running.
    pub uptime_seconds: u64,
    /// The data directory. What of its path is not UTF-8 is replaced by U+FFFD.
    pub data_dir: String,
    /// What the data takes.
    pub store: Store,
    /// Peers that this node does not get in touch with.
    pub troubles: Vec<Trouble>,
    /// Whether other machines are heard by multicast DNS.
    pub multicast: Multicast,
    /// When one was heard last.
    pub multicast_heard_seconds_ago: Option<u64>,
    /// Why nobody can listen, where it is unknown whether others are heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_failure: Option<String>,
    /// Where it should listen too, and cannot.
    pub not_listening: Vec<NotListening>,
}

/// Gossip messages since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Messages {
    /// Messages published.
    pub sent: u64,
    /// Messages let in.
    pub received: u64,
    /// Changes of this node that nobody was there to hear.
    pub unheard: u64,
}

/// How often something happened, by cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Count {
    /// The cause.
    pub cause: String,
    /// How often.
    pub count: u64,
}

impl From<(String, u64)> for Count {
    fn from((cause, count): (String, u64)) -> Self {
        Self { cause, count }
    }
}

/// What the data of a node takes on its disk, as far as the operating system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Store {
    /// The file of the store.
    pub bytes: Option<u64>,
    /// Its write-ahead log.
    pub log_bytes: Option<u64>,
    /// What is free on the volume.
    pub free_bytes: Option<u64>,
}

/// Whether other machines are heard by multicast DNS, from whatever program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Multicast {
    /// This node is not to look for others on the LAN.
    Off,
    /// Nobody can listen.
    Unknown,
    /// None was heard since the start.
    Silent,
    /// One was heard.
    Heard,
}

/// A transport that does not listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct NotListening {
    /// Where it should, as a multiaddress.
    pub address: String,
    /// What the operating system said.
    pub reason: String,
}

impl fmt::Display for NotListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Peer {
    /// Who it is.
    pub peer_id: String,
    /// The address of its end of the connection.
    pub address: String,
    /// What the connection runs on.
    pub transport: Transport,
    /// Who dialled.
    pub direction: Direction,
    /// The last measured round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How many connections there are to it; one, after a moment.
    pub connections: usize,
    /// Whether it takes part in this network's gossip.
    pub subscribed: bool,
    /// Whether it is one of the neighbours to whom messages are pushed.
    pub in_mesh: bool,
}

/// The end of a list of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Peers {
    /// How many were listed.
    pub peers: usize,
}

/// What a connection runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
        })
    }
}

/// Who dialled a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The peer did.
    Inbound,
    /// This node did.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// The node stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exiting {
    /// Always true.
    pub exiting: bool,
}
