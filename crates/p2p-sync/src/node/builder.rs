//! Setting up a node in a program: one method for each setting, checked when it starts.

use std::path::PathBuf;

use super::{Node, StartError};
use crate::config::{Config, InvalidSetting};

/// The settings of a node that is to be started; see [`Node::builder`]. Settings that are not made have the defaults of
/// [`Config`]. They are checked by [`start`](Self::start), which names the one that is wrong.
#[derive(Debug, Clone)]
#[must_use = "nothing starts before `start` is called"]
pub struct NodeBuilder {
    config: Config,
    /// The network as it was given.
    network: Option<String>,
}

impl NodeBuilder {
    pub(super) fn new(data_dir: PathBuf) -> Self {
        Self {
            config: Config::new(data_dir),
            network: None,
        }
    }

    /// The TCP and UDP port to listen on, on all interfaces; 0 for any free one, which [`Node::port`] tells. Default: 4002.
    pub fn port(mut self, port: u16) -> Self {
        self.config.port = port;
        self
    }

    /// The node's name for people: 1 to 63 bytes of UTF-8 without control characters. Names need not be unique, and nothing
    /// depends on them. Default: the machine's host name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// The network to join: up to 64 bytes of UTF-8 without control characters. Nodes of different networks ignore each other.
    /// The name is no secret. A data directory stays with the network it was made for. Default: empty, the network without a
    /// name.
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = Some(network.into());
        self
    }

    /// Adds a peer to stay connected to, at most 1,024: `/ip4/192.168.1.5/tcp/4002` or `/ip4/192.168.1.5/udp/4002/quic-v1`,
    /// with or without `/p2p/PEER-ID`. It is dialled again for ever, after at most 30 s.
    pub fn peer(mut self, address: impl Into<String>) -> Self {
        self.config.peers.push(address.into());
        self
    }

    /// Adds several [peers](Self::peer).
    pub fn peers<T: Into<String>>(mut self, addresses: impl IntoIterator<Item = T>) -> Self {
        self.config.peers.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// Whether to look for other nodes on the LAN by multicast DNS, and to announce this one. Without it, a node meets only its
    /// [peers](Self::peer), those that dial it, and whom these know. Default: true.
    pub fn lan(mut self, lan: bool) -> Self {
        self.config.lan = lan;
        self
    }

    /// The size in bytes at which the store stops taking data from other nodes, at least 1,000,000. Local writes still go
    /// through. Default: no limit, except that 5 % of the volume (at most 1 GiB) stay free.
    pub fn max_store(mut self, bytes: u64) -> Self {
        self.config.max_store = Some(bytes);
        self
    }

    /// Gossip messages accepted from one author within 60 s, 1 to 6,000; the rest comes by sync. Default: 100.
    pub fn message_limit(mut self, messages: usize) -> Self {
        self.config.message_limit = messages;
        self
    }

    /// Whether a data directory that has a store but no identity gets a new identity, and so a new peer id. Default: false, which
    /// refuses to start there, because the identity was lost or forgotten in a copy.
    pub fn new_identity(mut self, allowed: bool) -> Self {
        self.config.new_identity = allowed;
        self
    }

    /// Whether to log values written by other nodes, escaped and cut at 80 characters. Keys are always logged. Default: false.
    pub fn log_values(mut self, logged: bool) -> Self {
        self.config.log_values = logged;
        self
    }

    /// The settings as plain values.
    ///
    /// # Errors
    /// The first one that is out of range.
    pub fn config(self) -> Result<Config, InvalidSetting> {
        let mut config = self.config;
        if let Some(network) = self.network {
            config.network = network.parse()?;
        }
        config.check()?;
        Ok(config)
    }

    /// Starts the node; see [`Node::start`].
    ///
    /// # Errors
    /// [`StartError::Setting`] when a setting is out of range, and those of [`Node::start`].
    pub async fn start(self) -> Result<Node, StartError> {
        Node::start(self.config()?).await
    }
}
