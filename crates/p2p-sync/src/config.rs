//! What a node is started with, as plain values, and the defaults that the machine itself suggests. Where the values
//! come from (flags, environment) is left to `cli`; what becomes of them, to `node`.

use std::path::PathBuf;

use bytesize::ByteSize;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use p2p_sync_core::{NetworkName, limits};

/// The port that is listened on unless another is chosen.
pub const PORT: u16 = 4002;
/// Longest name of a node: a DNS label, which its announcement is made of.
pub const NAME_BYTES_MAX: usize = 63;
/// Most peers that can be configured: each is redialled for ever.
pub const PEERS_MAX: usize = 1_024;
/// The smallest size to which a store can be limited.
pub const STORE_BYTES_MIN: ByteSize = ByteSize::mb(1);
/// Gossip messages that are taken from one author within 60 s unless another number is chosen.
pub const MESSAGE_LIMIT: usize = limits::AUTHOR_MESSAGES_MAX;
/// The highest number that can be chosen for that.
pub const MESSAGE_LIMIT_MAX: usize = limits::AUTHOR_MESSAGES_CEILING;

/// What a node is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where the store, the identity and the lock file are.
    pub data_dir: PathBuf,
    /// The port for TCP and UDP; 0 for any that is free.
    pub port: u16,
    /// What people call this node: 1 to [`NAME_BYTES_MAX`] bytes without control characters.
    pub name: String,
    /// The network that it belongs to.
    pub network: NetworkName,
    /// Peers to stay connected with, as texts that [`peer_address`] has checked.
    pub peers: Vec<String>,
    /// Whether other nodes on the LAN are looked for, and told of this one.
    pub lan: bool,
    /// The size in bytes from which on the store takes nothing more that other nodes send; none: as long as the volume has room.
    pub max_store: Option<u64>,
    /// Gossip messages that are taken from one author within 60 s: 1 to [`MESSAGE_LIMIT_MAX`].
    pub message_limit: usize,
    /// Whether a node without an identity becomes a new one although it has a store.
    pub new_identity: bool,
    /// Whether values that other nodes have written are logged, escaped and cut; keys always are.
    pub log_values: bool,
}

impl Config {
    /// What a node is started with unless something else is chosen, with its data in this directory.
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
}

/// A text that is not an address at which a peer can be dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an address such as /ip4/192.168.1.5/tcp/4002 or /ip4/192.168.1.5/udp/4002/quic-v1, with or without /p2p/PEER-ID: {why}"
)]
pub struct InvalidPeerAddress {
    why: String,
}

/// A text that cannot be the name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a node name: expected 1 to {NAME_BYTES_MAX} bytes without control characters")]
pub struct InvalidName;

/// A text that is not the size of a store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as 500MB or 20GB, of at least {}", STORE_BYTES_MIN.display().si())]
pub struct InvalidSize;

/// A text that is not a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a port number from 1 to 65535, or 0 for any free one")]
pub struct InvalidPort;

/// A text that is not a number of messages.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number of messages from 1 to {MESSAGE_LIMIT_MAX}")]
pub struct InvalidMessageLimit;

/// Where the data of the machine's user goes by the custom of the platform; none without a home directory.
pub fn default_data_dir() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "p2p-sync").map(|project| project.data_local_dir().to_owned())
}

/// The machine's name without its domain; `p2p-sync` if it has none that could be a node's.
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

/// Checks the name of a node.
///
/// # Errors
/// When it is empty, longer than [`NAME_BYTES_MAX`] bytes, or holds a control character.
pub fn node_name(text: &str) -> Result<String, InvalidName> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(InvalidName) }
}

/// The size that a store may have, in bytes.
///
/// # Errors
/// When it is no size, or less than an empty store has.
pub fn max_store(text: &str) -> Result<u64, InvalidSize> {
    let size = text.parse::<ByteSize>().map_err(|_| InvalidSize)?;
    if size < STORE_BYTES_MIN {
        Err(InvalidSize)
    } else {
        Ok(size.as_u64())
    }
}

/// The port to listen on; 0 for any that is free.
///
/// # Errors
/// When it is no number from 0 to 65535.
pub fn port(text: &str) -> Result<u16, InvalidPort> {
    text.parse().map_err(|_| InvalidPort)
}

/// How many gossip messages are taken from one author within 60 s.
///
/// # Errors
/// When it is no number from 1 to [`MESSAGE_LIMIT_MAX`].
pub fn message_limit(text: &str) -> Result<usize, InvalidMessageLimit> {
    text.parse()
        .ok()
        .filter(|limit| (1..=MESSAGE_LIMIT_MAX).contains(limit))
        .ok_or(InvalidMessageLimit)
}

/// Checks the address of a peer and brings it into its usual form: an IP address, TCP or QUIC v1 with a port, and
/// the peer id if it is known. Names of hosts are refused because nothing here resolves them.
///
/// # Errors
/// When it is anything else.
pub fn peer_address(text: &str) -> Result<String, InvalidPeerAddress> {
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
        ((_, None | Some(Protocol::P2p(_))), None) => Ok(address.to_string()),
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
    fn a_message_limit_is_a_number_from_one_on() {
        assert_eq!(message_limit("1"), Ok(1));
        assert_eq!(message_limit("6000"), Ok(MESSAGE_LIMIT_MAX));
        for text in ["", "0", "6001", "-1", "many", "1e3", "99999999999999999999"] {
            assert_eq!(message_limit(text), Err(InvalidMessageLimit), "{text}");
        }
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
