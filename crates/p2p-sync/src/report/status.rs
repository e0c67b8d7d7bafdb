//! The status of a node.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Sync, Trouble};

/// The status of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Status {
    /// Its peer id.
    pub peer_id: String,
    /// Its name.
    pub name: String,
    /// The network it belongs to; empty for the default network.
    pub network: String,
    /// The port it listens on.
    pub port: u16,
    /// The multiaddresses it listens on, as others could dial them.
    pub addresses: Vec<String>,
    /// How many keys have a value.
    pub keys: u64,
    /// How many keys are deleted.
    pub deleted: u64,
    /// The connected peers.
    pub peers: Vec<Peer>,
    /// How many peers are known, connected or not.
    pub known_peers: usize,
    /// How many peers are in the gossip mesh.
    pub mesh: usize,
    /// Gossip messages.
    pub messages: Messages,
    /// How many messages and records were dropped or refused, by cause.
    pub dropped: Vec<Count>,
    /// The state of sync.
    pub sync: Sync,
    /// The version of the program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
    /// The data directory. Parts of the path that are not UTF-8 are replaced by U+FFFD.
    pub data_dir: String,
    /// Disk space.
    pub store: Store,
    /// Peers that this node cannot reach, and why.
    pub troubles: Vec<Trouble>,
    /// Whether multicast DNS from other machines arrives.
    pub multicast: Multicast,
    /// Seconds since another machine was last heard.
    pub multicast_heard_seconds_ago: Option<u64>,
    /// Why this node cannot listen to multicast DNS; only with `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multicast_failure: Option<String>,
    /// Transports that should listen and do not.
    pub not_listening: Vec<NotListening>,
}

/// Counts of gossip messages since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Messages {
    /// Messages published.
    pub sent: u64,
    /// Messages accepted.
    pub received: u64,
    /// Local changes that no peer was connected to hear.
    pub unheard: u64,
}

/// How often something happened, by cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Count {
    /// The cause.
    pub cause: String,
    /// How many times.
    pub count: u64,
}

impl From<(String, u64)> for Count {
    fn from((cause, count): (String, u64)) -> Self {
        Self { cause, count }
    }
}

/// Disk space in bytes; null where the operating system does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Store {
    /// Size of the database file.
    pub bytes: Option<u64>,
    /// Size of the write-ahead log.
    pub log_bytes: Option<u64>,
    /// Free space on the volume.
    pub free_bytes: Option<u64>,
}

/// Whether multicast DNS from other machines arrives, whatever program sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Multicast {
    /// Discovery on the LAN is switched off.
    Off,
    /// This node cannot listen.
    Unknown,
    /// No other machine has been heard since the node started.
    Silent,
    /// Another machine has been heard.
    Heard,
}

/// A transport that does not listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct NotListening {
    /// The multiaddress it should listen on.
    pub address: String,
    /// The error from the operating system.
    pub reason: String,
}

impl fmt::Display for NotListening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

/// A connected peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Peer {
    /// Its peer id.
    pub peer_id: String,
    /// The name that it told, which anybody can choose; null if it told none.
    pub name: Option<String>,
    /// How people see it, in printable characters: its name, followed by the end of its peer id if another node has the same
    /// name; without a name, its peer id.
    pub display_name: String,
    /// The remote address of the connection.
    pub address: String,
    /// The transport of the connection.
    pub transport: Transport,
    /// Which side dialled.
    pub direction: Direction,
    /// The last measured round trip, in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How many connections are open to it. Extra ones are closed within moments.
    pub connections: usize,
    /// Whether it has subscribed to the gossip topic of this network.
    pub subscribed: bool,
    /// Whether it is in the gossip mesh, so that messages are pushed to it.
    pub in_mesh: bool,
}

/// The last line of a list of peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Peers {
    /// How many were listed.
    pub peers: usize,
}

/// The transport of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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

/// Which side dialled a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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

/// The node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exiting {
    /// Always true.
    pub exiting: bool,
}

/// A peer has answered a ping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Pinged {
    /// Its peer id.
    pub peer_id: String,
    /// The name that it told, as in the list of peers.
    pub name: Option<String>,
    /// How people see it, as in the list of peers.
    pub display_name: String,
    /// The round trip that was just measured, in milliseconds.
    pub rtt_ms: f64,
}
