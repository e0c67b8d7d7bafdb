//! Who may dial where there are too many nodes for everybody to be connected with everybody: the redial table alone. Kademlia
//! would dial whomever it has a question for, and so, little by little, all of them.

use std::convert::Infallible;
use std::fmt;
use std::task::{Context, Poll};

use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};

/// A dial that the redial table did not order.
#[derive(Debug)]
struct NotOrdered;

impl fmt::Display for NotOrdered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("this peer is none of those that this node connects with")
    }
}

impl std::error::Error for NotOrdered {}

/// Refuses the dials of other protocols while it is told to.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Behaviour {
    is_strict: bool,
    is_ordered: bool,
}

impl Behaviour {
    /// Whether only ordered dials are made from now on.
    pub(in crate::net::libp2p) fn set_strict(&mut self, is_strict: bool) {
        self.is_strict = is_strict;
    }

    /// The dials that begin until this is called with `false` are ordered.
    pub(in crate::net::libp2p) fn set_ordered(&mut self, is_ordered: bool) {
        self.is_ordered = is_ordered;
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.is_strict && !self.is_ordered {
            return Err(ConnectionDenied::new(NotOrdered));
        }
        Ok(Vec::new())
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

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

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

    #[test]
    fn a_dial_that_was_not_ordered_is_refused_only_when_told_to() {
        let mut dials = Behaviour::default();
        let is_allowed = |dials: &mut Behaviour| {
            let id = ConnectionId::new_unchecked(1);
            dials
                .handle_pending_outbound_connection(id, Some(PeerId::random()), &[], Endpoint::Dialer)
                .is_ok()
        };
        assert!(is_allowed(&mut dials));
        dials.set_strict(true);
        assert!(!is_allowed(&mut dials));
        dials.set_ordered(true);
        assert!(is_allowed(&mut dials));
        dials.set_ordered(false);
        assert!(!is_allowed(&mut dials));
        dials.set_strict(false);
        assert!(is_allowed(&mut dials));
    }
}
