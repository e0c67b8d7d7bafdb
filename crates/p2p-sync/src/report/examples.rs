//! Made-up facts, for the tests of those who show or write them.

use super::{
    Attempt, Closed, Direction, Examined, Interface, MulticastWay, NodeOnLan, Peer, PeerClock, Store, Surroundings,
    Transport, Trouble, Way, Ways,
};

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

/// What was looked at where all is well.
pub(crate) fn examined() -> Examined {
    Examined {
        findings: 0,
        version: "0.1.0".to_owned(),
        sqlite: "3.54.1".to_owned(),
        descriptors: Some(1_024),
        descriptors_open: Some(24),
        store: Store {
            bytes: Some(1_200_000),
            log_bytes: Some(0),
            free_bytes: Some(10_000_000_000),
        },
        surroundings: surroundings(),
    }
}

/// A healthy node beside another one.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        running: true,
        closed: Closed::Cleanly,
        looked_around: true,
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            loopback: false,
            ipv4: Some(MulticastWay::Works),
            ipv6: Some(MulticastWay::Works),
            reason: None,
        }],
        heard_others: true,
        responders: Vec::new(),
        port_5353: vec!["avahi-daemon (process 12)".to_owned()],
        nodes: vec![NodeOnLan {
            peer_id: Some(PEER.to_owned()),
            instance: "kitchen-6kmksyuw".to_owned(),
            same_network: true,
            version: "1".to_owned(),
            address: "10.0.0.2".to_owned(),
            here: false,
        }],
        ways: vec![Ways {
            peer_id: PEER.to_owned(),
            display_name: "kitchen".to_owned(),
            at: "10.0.0.2 port 4002".to_owned(),
            connected: true,
            tcp_to: Way::Through,
            udp_to: Way::Through,
            tcp_from: Way::Through,
            udp_from: Way::Through,
        }],
        clocks: vec![PeerClock {
            peer_id: PEER.to_owned(),
            display_name: "kitchen".to_owned(),
            ahead_seconds: -0.1,
            within_seconds: Some(0.001),
        }],
    }
}
