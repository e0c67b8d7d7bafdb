//! How many inbound connections may be open from one address, so that one machine with many identities cannot take them
//! all. Connections that this node dialled are not counted.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, ListenFailure, NetworkBehaviour, THandler,
    THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{PeerId, swarm};

use crate::net::libp2p::multiaddrs::ip;

/// Connections that others dialled from one source, those being set up included. A node needs one; some machines run several.
const PER_SOURCE_MAX: usize = 32;

/// What counts as one source: an IPv4 address, and of IPv6 what one machine is given: an address in a network in which this
/// machine is too, else a network of 64 bits. A LAN is one such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum AddressBlock {
    Address(IpAddr),
    Network(u64),
}

/// There are too many connections from this address.
#[derive(Debug)]
pub(in crate::net::libp2p) struct TooManyConnections(pub(in crate::net::libp2p) IpAddr);

impl fmt::Display for TooManyConnections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "too many connections from {}", self.0)
    }
}

impl std::error::Error for TooManyConnections {}

/// Refuses connections beyond the limit.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Behaviour {
    open: HashMap<ConnectionId, AddressBlock>,
    by_source: HashMap<AddressBlock, usize>,
    /// Where this node listens: as many as the machine has addresses.
    own: HashSet<Multiaddr>,
}

fn network(address: Ipv6Addr) -> u64 {
    let [a, b, c, d, ..] = address.segments();
    [a, b, c, d]
        .into_iter()
        .fold(0, |bits, part| bits << 16 | u64::from(part))
}

impl Behaviour {
    /// None for this machine itself, whose programs are its user's.
    fn source(&self, address: IpAddr) -> Option<AddressBlock> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return None;
        }
        let IpAddr::V6(six) = address else {
            return Some(AddressBlock::Address(address));
        };
        let own = self.own.iter().filter_map(ip);
        let is_near = |own| matches!(own, IpAddr::V6(own) if network(own) == network(six));
        if six.is_unicast_link_local() || own.into_iter().any(is_near) {
            return Some(AddressBlock::Address(address));
        }
        Some(AddressBlock::Network(network(six)))
    }

    fn admit(&mut self, id: ConnectionId, address: IpAddr) -> Result<(), TooManyConnections> {
        let Some(source) = self.source(address) else {
            return Ok(());
        };
        let count = self.by_source.entry(source).or_default();
        if *count >= PER_SOURCE_MAX {
            return Err(TooManyConnections(address));
        }
        *count += 1;
        self.open.insert(id, source);
        Ok(())
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(source) = self.open.remove(&id) else { return };
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = std::convert::Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        match ip(remote) {
            Some(address) => self.admit(id, address).map_err(ConnectionDenied::new),
            None => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. })
            | FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => self.forget(connection_id),
            FromSwarm::NewListenAddr(swarm::NewListenAddr { addr, .. }) => drop(self.own.insert(addr.clone())),
            FromSwarm::ExpiredListenAddr(swarm::ExpiredListenAddr { addr, .. }) => drop(self.own.remove(addr)),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    /// How many of 100 connections from these addresses, taken in turn, are let in.
    fn admitted(limits: &mut Behaviour, addresses: &[&str]) -> usize {
        let start = 1_000 * limits.open.len();
        (0..100)
            .filter(|n| {
                let address = addresses[n % addresses.len()];
                let kind = if address.contains(':') { "ip6" } else { "ip4" };
                let remote = format!("/{kind}/{address}/tcp/{n}").parse().unwrap();
                limits
                    .handle_pending_inbound_connection(id(start + n), &Multiaddr::empty(), &remote)
                    .is_ok()
            })
            .count()
    }

    #[test]
    fn one_address_has_its_share_and_no_more() {
        let mut limits = Behaviour::default();
        assert_eq!(admitted(&mut limits, &["192.0.2.1"]), PER_SOURCE_MAX);
        assert_eq!(
            admitted(&mut limits, &["::ffff:192.0.2.1"]),
            0,
            "the same in other words"
        );
        assert_eq!(admitted(&mut limits, &["192.0.2.2"]), PER_SOURCE_MAX);
        assert_eq!(admitted(&mut limits, &["127.0.0.1", "::1"]), 100);
    }

    #[test]
    fn what_has_ended_or_failed_is_given_back() {
        let mut limits = Behaviour::default();
        assert_eq!(admitted(&mut limits, &["192.0.2.1"]), PER_SOURCE_MAX);
        for number in 0..100 {
            limits.forget(id(number));
            limits.forget(id(number));
        }
        assert!(limits.open.is_empty() && limits.by_source.is_empty());
        assert_eq!(admitted(&mut limits, &["192.0.2.1"]), PER_SOURCE_MAX);
    }

    #[test]
    fn a_far_network_counts_as_one_and_the_own_one_by_address() {
        let mut limits = Behaviour::default();
        assert_eq!(admitted(&mut limits, &["2001:db8::1", "2001:db8::2"]), PER_SOURCE_MAX);
        limits.own.insert("/ip6/2001:db8:1::9/tcp/4002".parse().unwrap());
        let near = ["2001:db8:1::1", "2001:db8:1::2"];
        assert_eq!(admitted(&mut limits, &near), 2 * PER_SOURCE_MAX);
        assert_eq!(admitted(&mut limits, &["fe80::1", "fe80::2"]), 2 * PER_SOURCE_MAX);
    }
}
