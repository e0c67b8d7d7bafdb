//! Kademlia, within bounds on the dials that its lookups make. It dials every peer that an answer names, at every address that the
//! answer gives, and looks something up whenever a peer is added: whoever lies in answers could have us knock at thousands of doors.

use std::ops::{Deref, DerefMut};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::listening::is_plain;
use crate::throttle::Throttle;

/// Peers that lookups may dial in an interval.
const DIALS_MAX: u32 = 32;
const INTERVAL: Duration = Duration::from_secs(10);
/// Addresses of one peer that are dialled.
const ADDRESSES_MAX: usize = 4;

type Kademlia = kad::Behaviour<MemoryStore>;

/// A dial has to be left out: there were too many.
#[derive(Debug, thiserror::Error)]
#[error("too many dials for lookups")]
struct TooMany;

/// Kademlia with bounded dials.
pub(super) struct Lookups {
    kademlia: Kademlia,
    dials: Throttle<Instant>,
}

impl Lookups {
    pub(super) fn new(kademlia: Kademlia) -> Self {
        Self {
            kademlia,
            dials: Throttle::new(DIALS_MAX, INTERVAL),
        }
    }
}

impl Deref for Lookups {
    type Target = Kademlia;

    fn deref(&self) -> &Kademlia {
        &self.kademlia
    }
}

impl DerefMut for Lookups {
    fn deref_mut(&mut self) -> &mut Kademlia {
        &mut self.kademlia
    }
}

impl NetworkBehaviour for Lookups {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Kademlia as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.kademlia.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kademlia
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    /// Only a lookup dials a peer without saying where.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self
            .kademlia
            .handle_pending_outbound_connection(id, peer, addresses, role)?;
        found.retain(is_plain);
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() || self.dials.allows(Instant::now()) {
            Ok(found)
        } else {
            Err(ConnectionDenied::new(TooMany))
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kademlia
            .handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.kademlia.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.kademlia.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.kademlia.poll(context)
    }
}
