//! Which of the announced addresses can be dialled. The dialer decides the order.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::Event;
use super::table::News;
use crate::net::libp2p::peers::address_book::OF_ONE_SOURCE_MAX;

/// Hosts of one peer that are passed on, each with both transports: as many as are kept of a peer.
const HOSTS_MAX: usize = OF_ONE_SOURCE_MAX / 2;

/// What is told of a peer.
pub(super) fn event(news: News) -> Option<Event> {
    let (peer, places) = match news {
        News::Gone { peer } => return Some(Event::Expired { peer }),
        News::Announced { peer, places } => (peer, places),
    };
    let addresses = dialable(&places);
    if !addresses.is_empty() {
        return Some(Event::Discovered { peer, addresses });
    }
    let addresses = undialable(&places);
    (!addresses.is_empty()).then_some(Event::Undialable { peer, addresses })
}

/// Both transports at every announced address that can be dialled: IPv6 link-local ones cannot, for lack of a zone.
fn dialable(places: &[(IpAddr, u16)]) -> Vec<Multiaddr> {
    let mut places = places.to_vec();
    places.retain(|(host, _)| match host {
        IpAddr::V4(host) => !host.is_unspecified() && !host.is_multicast() && !host.is_broadcast(),
        IpAddr::V6(host) => !host.is_unspecified() && !host.is_multicast() && !host.is_unicast_link_local(),
    });
    // Loopback last: it leads anywhere only if both nodes are on one machine.
    places.sort_by_key(|(host, _)| host.is_loopback());
    places.truncate(HOSTS_MAX);
    let both = places.into_iter().flat_map(|(host, port)| {
        let host = Multiaddr::from(host);
        [
            host.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1),
            host.with(Protocol::Tcp(port)),
        ]
    });
    both.collect()
}

/// The announced addresses for which there is no way to dial them: IPv6 link-local ones.
fn undialable(places: &[(IpAddr, u16)]) -> Vec<Multiaddr> {
    let link_local = places
        .iter()
        .filter(|(host, _)| matches!(host, IpAddr::V6(host) if host.is_unicast_link_local()));
    link_local
        .take(HOSTS_MAX)
        .map(|(host, port)| Multiaddr::from(*host).with(Protocol::Tcp(*port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    fn told(hosts: &[&str]) -> Event {
        let places = hosts.iter().map(|host| (host.parse().unwrap(), 4002)).collect();
        let peer = PeerId::random();
        event(News::Announced { peer, places }).unwrap()
    }

    #[test]
    fn loopback_comes_last() {
        let Event::Discovered { addresses, .. } = told(&["127.0.0.1", "192.168.1.7", "10.9.0.1", "0.0.0.0"]) else {
            panic!("not discovered");
        };
        let tcp: Vec<String> = addresses
            .iter()
            .map(ToString::to_string)
            .filter(|text| text.contains("/tcp/"))
            .collect();
        assert_eq!(
            tcp,
            [
                "/ip4/192.168.1.7/tcp/4002",
                "/ip4/10.9.0.1/tcp/4002",
                "/ip4/127.0.0.1/tcp/4002"
            ]
        );
    }

    #[test]
    fn link_local_addresses_alone_cannot_be_dialled() {
        assert!(matches!(told(&["fe80::1"]), Event::Undialable { addresses, .. } if addresses.len() == 1));
        assert!(matches!(told(&["fe80::1", "fd00::1"]), Event::Discovered { addresses, .. } if addresses.len() == 2));
    }
}
