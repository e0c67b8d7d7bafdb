//! Which listening addresses to show: those that another machine could dial, or loopback if there is no other.

use std::error::Error;
use std::io;
use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::core::transport::TransportError;
use libp2p::multiaddr::Protocol;

use super::transport::dial_errors::chain;
use crate::net::libp2p::multiaddrs::ip;
use crate::report::NotListening;

/// What systems say of a kind of socket that they do not have, or that this process must not have: Linux, macOS, Windows.
const NO_FAMILY: [i32; 3] = [97, 47, 10_047];

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

/// The addresses of all interfaces of this machine.
pub(super) fn local_ips() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.iter().map(if_addrs::Interface::ip).collect()
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

/// Why a transport does not listen, in the words of the operating system: the library wraps them in errors that show nothing.
pub(super) fn failure(address: &Multiaddr, error: &TransportError<io::Error>) -> NotListening {
    let reason = match error {
        TransportError::MultiaddrNotSupported(_) => "not supported on this machine".to_owned(),
        TransportError::Other(error) => reason(error),
    };
    NotListening {
        address: address.to_string(),
        reason,
    }
}

/// Whether the machine has no IPv6, which is no failure.
pub(super) fn lacks_ipv6(address: &Multiaddr, error: &TransportError<io::Error>) -> bool {
    let TransportError::Other(error) = error else {
        return false;
    };
    ip(address).is_some_and(|ip| ip.is_ipv6()) && os_code(root(error)).is_some_and(|code| NO_FAMILY.contains(&code))
}

/// The innermost of errors that wrap each other.
fn root(error: &io::Error) -> &(dyn Error + 'static) {
    chain(error).last().unwrap_or(error)
}

fn os_code(error: &(dyn Error + 'static)) -> Option<i32> {
    error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
}

/// What an error says at its root.
pub(super) fn reason(error: &io::Error) -> String {
    let root = root(error);
    // Where sockets for the kernel's news are forbidden, as service managers can do, no interface can be followed.
    let hint = if cfg!(target_os = "linux") && os_code(root) == NO_FAMILY.first().copied() {
        "; the service manager must allow AF_INET, AF_INET6 and AF_NETLINK"
    } else {
        ""
    };
    let text = root.to_string();
    let text = if text.is_empty() { format!("{root:?}") } else { text };
    format!("{text}{hint}")
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

    #[test]
    fn a_reason_is_what_the_system_said_however_it_is_wrapped() {
        let address: Multiaddr = "/ip4/0.0.0.0/tcp/1".parse().unwrap();
        let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
        let expected = in_use().to_string();
        let wrapped = io::Error::other(TransportError::Other(io::Error::other(in_use())));
        for error in [in_use(), io::Error::other(in_use()), wrapped] {
            let told = failure(&address, &TransportError::Other(error));
            assert_eq!(
                (told.address.as_str(), told.reason.as_str()),
                ("/ip4/0.0.0.0/tcp/1", expected.as_str())
            );
        }
        #[cfg(target_os = "linux")]
        {
            let absent = || io::Error::other(io::Error::from_raw_os_error(97));
            assert!(reason(&absent()).contains("AF_NETLINK"), "{}", reason(&absent()));
            assert!(!lacks_ipv6(&address, &TransportError::Other(absent())));
            assert!(lacks_ipv6(
                &"/ip6/::/tcp/1".parse().unwrap(),
                &TransportError::Other(absent())
            ));
            assert!(!lacks_ipv6(
                &"/ip6/::/tcp/1".parse().unwrap(),
                &TransportError::Other(in_use())
            ));
        }
    }
}
