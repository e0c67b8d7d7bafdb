//! Made-up facts, for the tests of those who show or write them.

use super::{Attempt, Direction, Peer, Transport, Trouble};

/// The id of the node that tells.
pub(crate) const ME: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
/// The id of another one.
pub(crate) const PEER: &str = "12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa";

/// One peer of each kind.
pub(crate) fn peers() -> Vec<Peer> {
    let quic = Peer {
        peer_id: PEER.to_owned(),
        name: Some("kit\u{7}chen".to_owned()),
        display_name: "kit\\u{7}chen".to_owned(),
        address: "/ip4/192.168.11.52/udp/4002/quic-v1".to_owned(),
        transport: Transport::Quic,
        direction: Direction::Outbound,
        rtt_ms: Some(0.41),
        connections: 1,
        subscribed: true,
        in_mesh: true,
    };
    let tcp = Peer {
        name: None,
        display_name: PEER.to_owned(),
        address: "/ip6/fd00::2/tcp/40000".to_owned(),
        transport: Transport::Tcp,
        direction: Direction::Inbound,
        rtt_ms: None,
        connections: 2,
        subscribed: false,
        in_mesh: false,
        ..quic.clone()
    };
    vec![quic, tcp]
}

/// A configured address that refuses.
pub(crate) fn trouble() -> Trouble {
    Trouble {
        peer_id: None,
        name: None,
        display_name: None,
        configured: true,
        cause: "refused".to_owned(),
        since: "2027-01-15T08:00:00Z".to_owned(),
        last: "2027-01-15T08:00:07Z".to_owned(),
        times: 12,
        attempts: vec![Attempt {
            address: "/ip4/10.0.0.9/tcp/4002".to_owned(),
            cause: "refused".to_owned(),
            text: "connection refused".to_owned(),
            at: "2027-01-15T08:00:07Z".to_owned(),
        }],
    }
}
