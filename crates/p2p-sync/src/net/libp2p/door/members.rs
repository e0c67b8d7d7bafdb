//! The door's second look: a connection is refused if its device is no member by now, and ended when it ceases to be one.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::error::Error as _;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::PeerId;
use libp2p::core::transport::PortUse;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};

use super::Private;

/// A device that is no member.
#[derive(Debug, thiserror::Error)]
#[error("this device is no member of the private network")]
struct NoMember;

/// Whether a connection was refused for that.
pub(in crate::net::libp2p) fn is_no_member(denied: &ConnectionDenied) -> bool {
    denied.source().is_some_and(|cause| cause.is::<NoMember>())
}

/// Refuses connections with those that are no members, and closes those of whoever is none any more.
pub(in crate::net::libp2p) struct Members {
    private: Private,
    /// The connected peers. The swarm bounds them.
    connected: HashSet<PeerId>,
    /// Whose connections are to be closed.
    out: VecDeque<PeerId>,
    changed: BoxFuture<'static, ()>,
}

impl Members {
    pub(in crate::net::libp2p) fn new(private: Private) -> Self {
        Self {
            changed: changed(&private),
            private,
            connected: HashSet::new(),
            out: VecDeque::new(),
        }
    }

    fn check(&self, peer: PeerId) -> Result<THandler<Self>, ConnectionDenied> {
        if self.private.lets_in(&peer) {
            return Ok(dummy::ConnectionHandler);
        }
        Err(ConnectionDenied::new(NoMember))
    }
}

/// Ready when the roster is another one than now.
fn changed(private: &Private) -> BoxFuture<'static, ()> {
    let mut changes = private.changes();
    changes.mark_unchanged();
    async move {
        if changes.changed().await.is_err() {
            // It will never be another one.
            std::future::pending().await
        }
    }
    .boxed()
}

impl NetworkBehaviour for Members {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, .. }) => {
                self.connected.insert(peer_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id,
                remaining_established: 0,
                ..
            }) => {
                self.connected.remove(&peer_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while self.changed.as_mut().poll(cx).is_ready() {
            // Before the look, so that no change goes unseen.
            self.changed = changed(&self.private);
            let out = self.connected.iter().filter(|peer| !self.private.lets_in(peer));
            self.out = out.copied().collect();
        }
        match self.out.pop_front() {
            Some(peer_id) => Poll::Ready(ToSwarm::CloseConnection {
                peer_id,
                connection: CloseConnection::All,
            }),
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use libp2p::identity::Keypair;
    use p2p_sync_core::membership::Roster;

    use super::*;
    use crate::net::libp2p::testing::private;

    #[tokio::test]
    async fn who_ceased_to_be_a_member_since_the_door_is_refused_in_both_directions() {
        let (private, keep) = private::home(4);
        let peer = Keypair::ed25519_from_bytes([4; 32]).unwrap().public().to_peer_id();
        let mut members = Members::new(private);
        let (id, nowhere) = (ConnectionId::new_unchecked(1), Multiaddr::empty());
        let mut results = |peer| {
            let inbound = members.handle_established_inbound_connection(id, peer, &nowhere, &nowhere);
            let (role, port) = (Endpoint::Dialer, PortUse::New);
            let outbound = members.handle_established_outbound_connection(id, peer, &nowhere, role, port);
            [inbound, outbound].map(|result| result.err().map(|denied| is_no_member(&denied)))
        };
        assert_eq!(results(peer), [None, None]);
        assert_eq!(results(PeerId::random()), [Some(true); 2]);
        let mut roster = Roster::clone(&keep.roster.borrow());
        roster.add(vec![private::lower(&roster, 4).0]);
        keep.roster.send_replace(Arc::new(roster));
        assert_eq!(results(peer), [Some(true); 2]);
    }
}
