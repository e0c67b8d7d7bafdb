//! The configuration of a node, as plain values, and the defaults that depend on the machine. `cli` reads the values from
//! flags and environment, or a program that embeds a node sets them; `node` checks and uses them.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytesize::ByteSize;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use p2p_sync_core::network::InvalidNetworkName;
use p2p_sync_core::{NetworkName, limits};

/// The default port.
pub const PORT: u16 = 4002;
/// Longest node name: it must fit into a DNS label for its announcement.
pub const NAME_BYTES_MAX: usize = 63;
/// Most peers that can be configured: each is redialled forever.
pub const PEERS_MAX: usize = 1_024;
/// The smallest size limit of a store.
pub const STORE_BYTES_MIN: ByteSize = ByteSize::mb(1);
/// Gossip messages accepted from one author within 60 s by default.
pub const MESSAGE_LIMIT: usize = limits::AUTHOR_MESSAGES_MAX;
/// The highest limit that can be set.
pub const MESSAGE_LIMIT_MAX: usize = limits::AUTHOR_MESSAGES_CEILING;

/// The configuration of a node, as plain values. [`Node::builder`](crate::Node::builder) sets the same ones by name.
///
/// ```
/// let mut config = p2p_sync::Config::new("/var/lib/example");
/// config.port = 0;
/// config.name = "kitchen".to_owned();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where the store, the identity and the lock file are. Created if it does not exist, for this user alone.
    pub data_dir: PathBuf,
    /// The TCP and UDP port; 0 for any free one. Default: 4002.
    pub port: u16,
    /// The node's name for people: 1 to 63 bytes of UTF-8 without control characters. Default: the machine's host name.
    pub name: String,
    /// The network that it belongs to. Nodes of different networks ignore each other. Default: the network without a name.
    pub network: NetworkName,
    /// Peers to stay connected to, at most 1,024, as multiaddresses with an IP address: `/ip4/192.168.1.5/tcp/4002` or
    /// `/ip4/192.168.1.5/udp/4002/quic-v1`, with or without `/p2p/PEER-ID`. Default: none.
    pub peers: Vec<String>,
    /// Whether to look for other nodes on the LAN, and announce this one. Default: true.
    pub lan: bool,
    /// The size in bytes at which the store stops taking data from other nodes, at least 1,000,000; none: no limit but the free
    /// space of the volume. Default: none.
    pub max_store: Option<u64>,
    /// Gossip messages accepted from one author within 60 s: 1 to 6,000. Default: 100.
    pub message_limit: usize,
    /// Whether a node that has a store but no identity may create a new one. Default: false, so that a lost identity is noticed.
    pub new_identity: bool,
    /// Whether to log values written by other nodes, escaped and cut; keys are always logged. Default: false.
    pub log_values: bool,
}

impl Config {
    /// The default configuration, with the data in this directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: PORT,
            name: default_name(),
            network: NetworkName::default(),
            peers: Vec::new(),
            lan: true,
            max_store: None,
            message_limit: MESSAGE_LIMIT,
            new_identity: false,
            log_values: false,
        }
    }

    /// Checks what the types leave open.
    pub(crate) fn check(&self) -> Result<(), InvalidSetting> {
        node_name(&self.name)?;
        if self.peers.len() > PEERS_MAX {
            return Err(InvalidSetting::TooManyPeers(self.peers.len()));
        }
        self.dialled_peers()?;
        if self.max_store.is_some_and(|bytes| bytes < STORE_BYTES_MIN.as_u64()) {
            return Err(InvalidSize.into());
        }
        if !(1..=MESSAGE_LIMIT_MAX).contains(&self.message_limit) {
            return Err(InvalidMessageLimit.into());
        }
        Ok(())
    }

    /// The addresses of the peers, for the network.
    pub(crate) fn dialled_peers(&self) -> Result<Vec<Multiaddr>, InvalidSetting> {
        let peers = self.peers.iter().map(|text| {
            dialled(text).map_err(|why| InvalidSetting::Peer {
                address: text.clone(),
                why,
            })
        });
        peers.collect()
    }
}

/// A setting with which a node cannot start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSetting {
    /// The name of the node.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The name of the network.
    #[error(transparent)]
    Network(#[from] InvalidNetworkName),
    /// The address of a peer.
    #[error("invalid peer address: {address}: {why}")]
    Peer {
        /// The address, as it was given.
        address: String,
        /// What is wrong with it.
        why: InvalidPeerAddress,
    },
    /// More peers than a node keeps dialling.
    #[error("{0} peer addresses are too many: at most {PEERS_MAX} are allowed")]
    TooManyPeers(usize),
    /// The size limit of the store.
    #[error(transparent)]
    MaxStore(#[from] InvalidSize),
    /// The limit of gossip messages from one author.
    #[error(transparent)]
    MessageLimit(#[from] InvalidMessageLimit),
}

/// A text that is not an address of a peer that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an address such as /ip4/192.168.1.5/tcp/4002 or /ip4/192.168.1.5/udp/4002/quic-v1, with or without /p2p/PEER-ID: {why}"
)]
pub struct InvalidPeerAddress {
    why: String,
}

/// A text that is not a valid node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a node name: expected 1 to {NAME_BYTES_MAX} bytes without control characters")]
pub struct InvalidName;

/// A text that is not a valid store size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 500MB or 20GB, of at least {}", STORE_BYTES_MIN.display().si())]
pub struct InvalidSize;

/// A text that is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a port number from 1 to 65535, or 0 for any free one")]
pub struct InvalidPort;

/// A text that does not say where the local API may listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a loopback address with a port, such as 127.0.0.1:4080 or [::1]:0, or `off`. The API is for programs on this \
     machine only"
)]
pub struct InvalidApi;

/// A text that is not a number of messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of messages from 1 to {MESSAGE_LIMIT_MAX}")]
pub struct InvalidMessageLimit;

/// The platform's usual place for the user's application data; none without a home directory.
pub fn default_data_dir() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "p2p-sync").map(|project| project.data_local_dir().to_owned())
}

/// The platform's usual place for the user's configuration; none without a home directory.
pub fn default_config_file() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "p2p-sync").map(|project| project.config_dir().join("config.toml"))
}

/// The host name without its domain; `p2p-sync` if it is not a valid node name.
pub fn default_name() -> String {
    let host = host_name().unwrap_or_default();
    let label = host.split('.').next().unwrap_or_default();
    node_name(label).unwrap_or_else(|_| "p2p-sync".to_owned())
}

#[cfg(unix)]
fn host_name() -> Option<String> {
    rustix::system::uname().nodename().to_str().ok().map(str::to_owned)
}

#[cfg(not(unix))]
fn host_name() -> Option<String> {
    std::env::var("COMPUTERNAME").ok()
}

/// Validates a node name.
///
/// # Errors
/// If it is empty, longer than [`NAME_BYTES_MAX`] bytes, or contains a control character.
pub fn node_name(text: &str) -> Result<String, InvalidName> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(InvalidName) }
}

/// Parses the maximum size of a store, in bytes.
///
/// # Errors
/// If it is not a size, or less than the size of an empty store.
pub fn max_store(text: &str) -> Result<u64, InvalidSize> {
    let size = text.parse::<ByteSize>().map_err(|_| InvalidSize)?;
    if size < STORE_BYTES_MIN {
        Err(InvalidSize)
    } else {
        Ok(size.as_u64())
    }
}

/// Parses the port to listen on; 0 for any free one.
///
/// # Errors
/// If it is not a number from 0 to 65535.
pub fn port(text: &str) -> Result<u16, InvalidPort> {
    text.parse().map_err(|_| InvalidPort)
}

/// Parses where the local API listens, port 0 for any free one; none for `off`.
///
/// # Errors
/// If it is neither that nor a loopback address with a port.
pub fn api(text: &str) -> Result<Option<SocketAddr>, InvalidApi> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let address: SocketAddr = text.parse().map_err(|_| InvalidApi)?;
    if address.ip().is_loopback() {
        Ok(Some(address))
    } else {
        Err(InvalidApi)
    }
}

/// Parses how many gossip messages to accept from one author within 60 s.
///
/// # Errors
/// If it is not a number from 1 to [`MESSAGE_LIMIT_MAX`].
pub fn message_limit(text: &str) -> Result<usize, InvalidMessageLimit> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MESSAGE_LIMIT_MAX).contains(limit))
        .ok_or(InvalidMessageLimit)
}

/// Validates and normalizes a peer address: an IP address, TCP or QUIC v1 with a port, and optionally the peer id. Host
/// names are refused because nothing here resolves them.
///
/// # Errors
/// If it is anything else.
pub fn peer_address(text: &str) -> Result<String, InvalidPeerAddress> {
    dialled(text).map(|address| address.to_string())
}

fn dialled(text: &str) -> Result<Multiaddr, InvalidPeerAddress> {
    let address: Multiaddr = text.parse().map_err(|error| InvalidPeerAddress {
        why: format!("{error}"),
    })?;
    let refused = |why: &str| Err(InvalidPeerAddress { why: why.to_owned() });
    let mut parts = address.iter();
    match parts.next() {
        Some(Protocol::Ip4(_) | Protocol::Ip6(_)) => {}
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => {
            return refused("host names are not supported, use an IP address");
        }
        _ => return refused("it does not start with an IP address"),
    }
    let port = match (parts.next(), parts.next()) {
        (Some(Protocol::Udp(port)), Some(Protocol::QuicV1)) => (port, parts.next()),
        (Some(Protocol::Tcp(port)), peer) => (port, peer),
        _ => return refused("the IP address must be followed by /tcp/PORT or /udp/PORT/quic-v1"),
    };
    match (port, parts.next()) {
        ((0, _), _) => refused("port 0 cannot be dialled"),
        ((_, None | Some(Protocol::P2p(_))), None) => Ok(address),
        _ => refused("only /p2p/PEER-ID may follow the port"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";

    #[test]
    fn addresses_that_can_be_dialled_are_taken_in_their_usual_form() {
        for text in [
            "/ip4/192.168.1.5/tcp/4002",
            "/ip4/192.168.1.5/udp/4002/quic-v1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/::1/udp/65535/quic-v1",
        ] {
            assert_eq!(peer_address(text).as_deref(), Ok(text));
            let with_peer = format!("{text}/p2p/{PEER}");
            assert_eq!(peer_address(&with_peer), Ok(with_peer));
        }
        assert_eq!(
            peer_address("/ip6/fd00:0:0::1/tcp/1").as_deref(),
            Ok("/ip6/fd00::1/tcp/1")
        );
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        for (text, why) in [
            ("", "IP"),
            ("192.168.1.5:4002", "invalid multiaddr"),
            ("/ip4/192.168.1.5", "must be followed by"),
            ("/ip4/192.168.1.5/udp/4002", "must be followed by"),
            ("/ip4/192.168.1.5/tcp/0", "port 0"),
            ("/ip4/300.1.1.1/tcp/4002", "invalid"),
            ("/ip4/192.168.1.5/tcp/4002/ws", "only /p2p/"),
            ("/ip4/192.168.1.5/udp/4002/quic-v1/webtransport", "only /p2p/"),
            ("/dns4/host.example/tcp/4002", "not supported"),
            ("/tcp/4002", "with an IP address"),
        ] {
            let refusal = peer_address(text).expect_err(text).to_string();
            assert!(refusal.contains(why), "{text}: {refusal}");
            assert!(refusal.contains("/ip4/192.168.1.5/tcp/4002"), "{refusal}");
        }
        assert!(peer_address(&format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit")).is_err());
    }

    #[test]
    fn sizes_have_units_and_a_least() {
        for (text, bytes) in [
            ("1MB", 1_000_000),
            ("1000000", 1_000_000),
            ("1.5 GB", 1_500_000_000),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(max_store(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "999kB", "-1GB", "many", "5%", "1e99"] {
            assert_eq!(max_store(text), Err(InvalidSize), "{text}");
        }
        assert_eq!(
            InvalidSize.to_string(),
            "expected a size such as 500MB or 20GB, of at least 1.0 MB"
        );
    }

    #[test]
    fn the_api_is_for_this_machine_only() {
        assert_eq!(api("OFF"), Ok(None));
        for text in ["127.0.0.1:0", "127.0.0.2:80", "[::1]:65535"] {
            assert_eq!(api(text), Ok(Some(text.parse().unwrap())), "{text}");
        }
        for text in [
            "",
            "0.0.0.0:80",
            "[::]:80",
            "192.168.1.5:80",
            "[::ffff:192.168.1.5]:80",
            "localhost:80",
            "127.0.0.1",
            "127.0.0.1:65536",
            "no",
        ] {
            assert_eq!(api(text), Err(InvalidApi), "{text}");
        }
    }

    #[test]
    fn a_message_limit_is_a_number_from_one_on() {
        assert_eq!(message_limit("1"), Ok(1));
        assert_eq!(message_limit("6000"), Ok(MESSAGE_LIMIT_MAX));
        for text in ["", "0", "6001", "-1", "many", "1e3", "99999999999999999999"] {
            assert_eq!(message_limit(text), Err(InvalidMessageLimit), "{text}");
        }
    }

    #[test]
    fn what_a_program_sets_is_checked_as_strictly_as_a_flag() {
        let good = Config::new("/x");
        assert_eq!(good.check(), Ok(()));
        let checked = |change: fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().map_err(|error| error.to_string()).expect_err("refused")
        };
        assert!(checked(|config| config.name.clear()).contains("63 bytes"));
        assert!(checked(|config| config.max_store = Some(999_999)).contains("at least 1.0 MB"));
        assert!(checked(|config| config.message_limit = 0).contains("from 1 to 6000"));
        let peer = "/ip4/1.2.3.4/udp/1";
        assert!(checked(|config| config.peers.push("/ip4/1.2.3.4/udp/1".to_owned())).contains(peer));
        let many = checked(|config| config.peers = vec!["/ip4/1.2.3.4/tcp/1".to_owned(); PEERS_MAX + 1]);
        assert!(many.contains("at most 1024"), "{many}");
    }

    #[test]
    fn names_are_one_label_of_readable_text() {
        assert_eq!(node_name("Küche").as_deref(), Ok("Küche"));
        assert!(node_name(&"x".repeat(NAME_BYTES_MAX)).is_ok());
        for text in ["", &"x".repeat(NAME_BYTES_MAX + 1), "a\nb", "a\u{1b}[31m"] {
            assert_eq!(node_name(text), Err(InvalidName), "{text:?}");
        }
        assert!(node_name(&default_name()).is_ok());
    }
}
