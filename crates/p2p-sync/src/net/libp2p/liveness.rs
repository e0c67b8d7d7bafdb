//! Pings every connection: often over TCP, where nothing else would notice that the other end is gone, and now and then over
//! QUIC, which notices by itself, to know the round trip. What a missing answer means is decided in the table of
//! connections.

use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, ping};

/// How often a connection over TCP is pinged. Bounds how late a dead one is noticed.
const TCP_INTERVAL: Duration = Duration::from_secs(4);
/// How often a connection over QUIC is pinged. With ten nodes the shorter interval would make up most of the idle traffic.
const QUIC_INTERVAL: Duration = Duration::from_secs(30);

/// Whether an address is one of QUIC.
pub(super) fn is_quic(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::QuicV1))
}

/// libp2p's ping, with an interval for each transport.
pub(super) struct Behaviour {
    tcp: ping::Behaviour,
    quic: ping::Behaviour,
}

impl Behaviour {
    pub(super) fn new() -> Self {
        let every = |interval| ping::Behaviour::new(ping::Config::new().with_interval(interval));
        Self {
            tcp: every(TCP_INTERVAL),
            quic: every(QUIC_INTERVAL),
        }
    }

    fn for_address(&mut self, address: &Multiaddr) -> &mut ping::Behaviour {
        if is_quic(address) {
            &mut self.quic
        } else {
            &mut self.tcp
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = THandler<ping::Behaviour>;
    type ToSwarm = ping::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.for_address(remote)
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.for_address(address)
            .handle_established_outbound_connection(id, peer, address, role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.tcp.on_swarm_event(event);
        self.quic.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        // It only passes the result on, whichever of the two made the handler.
        self.tcp.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.tcp.poll(cx) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => self.quic.poll(cx),
        }
    }
}
