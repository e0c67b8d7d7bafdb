//! Which of the addresses that the transports listen on are worth telling: those that another machine could dial, or
//! loopback while there is no other.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use super::connections::ip;

/// Whether another machine could dial it. IPv6 link-local addresses need a zone, which a multiaddress cannot hold.
fn is_dialable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

/// Whether it is an IP address and a port of one of our transports, and nothing else.
pub(super) fn is_plain(address: &Multiaddr) -> bool {
    let mut parts = address.iter();
    matches!(parts.next(), Some(Protocol::Ip4(_) | Protocol::Ip6(_)))
        && match parts.next() {
            Some(Protocol::Tcp(_)) => true,
            Some(Protocol::Udp(_)) => parts.next() == Some(Protocol::QuicV1),
            _ => false,
        }
        && parts.next().is_none_or(|part| matches!(part, Protocol::P2p(_)))
}

/// Whether an interface of this machine has that address now.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || local_ips().contains(&ip)
}

/// The addresses of all interfaces of this machine.
pub(super) fn local_ips() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(if_addrs::Interface::ip).collect()
}

/// The port of one of our transports.
pub(super) fn port(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    })
}

/// The addresses worth telling, IPv4 before IPv6 and TCP before QUIC.
pub(super) fn worth_telling<'a>(listeners: impl Iterator<Item = &'a Multiaddr>) -> Vec<Multiaddr> {
    let (mut dialable, mut local) = (Vec::new(), Vec::new());
    for address in listeners {
        match ip(address) {
            Some(ip) if is_dialable(ip) => dialable.push(address.clone()),
            Some(ip) if ip.is_loopback() => local.push(address.clone()),
            _ => {}
        }
    }
    let mut told = if dialable.is_empty() { local } else { dialable };
    told.sort_by_key(|address| (ip(address), address.iter().any(|part| matches!(part, Protocol::Udp(_)))));
    told
}

/// Whether every interface of this machine is being listened on, with both transports.
pub(super) fn is_complete<'a>(listeners: impl Iterator<Item = &'a Multiaddr>) -> bool {
    let listening: Vec<IpAddr> = listeners.filter_map(ip).collect();
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let mut expected = interfaces
        .iter()
        .map(if_addrs::Interface::ip)
        .filter(|ip| is_dialable(*ip) || ip.is_loopback());
    expected.all(|ip| listening.iter().filter(|other| **other == ip).count() >= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listeners: &[&str]) -> Vec<String> {
        let listeners: Vec<Multiaddr> = listeners.iter().map(|text| text.parse().unwrap()).collect();
        worth_telling(listeners.iter())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn plain_addresses_are_told_from_others() {
        for (text, plain) in [
            ("/ip4/10.0.0.1/tcp/1", true),
            ("/ip6/fd00::1/udp/1/quic-v1", true),
            ("/ip4/10.0.0.1/udp/1", false),
            ("/ip4/10.0.0.1/tcp/1/ws", false),
            ("/dns4/example/tcp/1", false),
        ] {
            assert_eq!(is_plain(&text.parse().unwrap()), plain, "{text}");
        }
    }

    #[test]
    fn loopback_and_link_local_are_told_only_when_there_is_nothing_else() {
        let all = [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip4/10.0.0.1/udp/1/quic-v1",
            "/ip4/10.0.0.1/tcp/1",
        ];
        assert_eq!(
            told(&all),
            [
                "/ip4/10.0.0.1/tcp/1",
                "/ip4/10.0.0.1/udp/1/quic-v1",
                "/ip6/fd00::1/tcp/1"
            ]
        );
        assert_eq!(told(&all[..2]), ["/ip4/127.0.0.1/tcp/1"]);
    }
}
