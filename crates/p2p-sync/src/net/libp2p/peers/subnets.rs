//! The networks that this machine is in, by the addresses and masks of its interfaces: an address in one of them can be
//! reached without a router.

use std::net::IpAddr;

use if_addrs::{IfAddr, Interface};

/// Networks, each as an address in it and the length of its prefix in bits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::net::libp2p) struct Subnets(Vec<(IpAddr, u32)>);

impl Subnets {
    /// Those of the interfaces that this machine has now; none when the system does not tell.
    pub(in crate::net::libp2p) fn of_this_machine() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        Self(interfaces.iter().map(prefix).collect())
    }

    #[cfg(test)]
    pub(in crate::net::libp2p) fn new(networks: &[(IpAddr, u32)]) -> Self {
        Self(networks.to_vec())
    }

    /// Whether an address is in one of them.
    pub(in crate::net::libp2p) fn contain(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| match (network, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                (network.to_bits() ^ ip.to_bits()).leading_zeros() >= (*bits).min(32)
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                (network.to_bits() ^ ip.to_bits()).leading_zeros() >= (*bits).min(128)
            }
            _ => false,
        })
    }
}

fn prefix(interface: &Interface) -> (IpAddr, u32) {
    match &interface.addr {
        IfAddr::V4(v4) => (IpAddr::V4(v4.ip), v4.netmask.to_bits().leading_ones()),
        IfAddr::V6(v6) => (IpAddr::V6(v6.ip), v6.netmask.to_bits().leading_ones()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_a_network_whose_prefix_it_shares() {
        let subnets = Subnets::new(&[(ip("192.168.4.7"), 22), (ip("fd00::7"), 64), (ip("10.1.1.1"), 32)]);
        for (text, shared) in [
            ("192.168.7.255", true),
            ("192.168.8.0", false),
            ("10.1.1.1", true),
            ("10.1.1.2", false),
            ("fd00::ffff:1", true),
            ("fd00:0:0:1::1", false),
        ] {
            assert_eq!(subnets.contain(ip(text)), shared, "{text}");
        }
        assert!(!Subnets::default().contain(ip("10.1.1.1")));
    }

    #[test]
    fn this_machine_is_in_the_network_of_its_loopback() {
        assert!(Subnets::of_this_machine().contain(ip("127.0.0.1")));
    }
}
