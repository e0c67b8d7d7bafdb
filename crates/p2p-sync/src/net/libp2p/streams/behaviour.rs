//! The sync protocol as a libp2p behaviour: opens streams and accepts those that peers open, whatever runs on them. It
//! keeps nothing for a peer after its connections, and dials nobody.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound, SubstreamProtocol,
};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour,
    NotifyHandler, Stream, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

/// Streams that peers opened and that wait to be looked at, which takes microseconds. Further ones are dropped.
pub(in crate::net::libp2p) const INCOMING_MAX: usize = 64;
/// Streams to be opened that wait on one connection. Further ones are not opened.
const OPENING_MAX: usize = 16;

/// A stream that a peer opened.
pub(in crate::net::libp2p) struct Incoming {
    pub(in crate::net::libp2p) peer: PeerId,
    /// It dialled the connection.
    pub(in crate::net::libp2p) is_stranger: bool,
    pub(in crate::net::libp2p) stream: Stream,
}

/// A peer opened a stream while too many waited to be looked at; it is dropped.
#[derive(Debug)]
pub(in crate::net::libp2p) struct NoPlace(pub(in crate::net::libp2p) PeerId);

/// A stream that is being opened; fails when that cannot be.
pub(in crate::net::libp2p) type Opening = oneshot::Receiver<Stream>;

/// Opens streams, and passes on those that peers open.
pub(in crate::net::libp2p) struct Behaviour {
    protocol: StreamProtocol,
    incoming: mpsc::Sender<Incoming>,
    /// As many as were asked for since the swarm was polled last.
    orders: VecDeque<(PeerId, ConnectionId, oneshot::Sender<Stream>)>,
    /// As many as connections reported since then.
    dropped: VecDeque<NoPlace>,
}

impl Behaviour {
    /// Speaks `protocol`; what peers open goes to `incoming`.
    pub(in crate::net::libp2p) fn new(protocol: StreamProtocol, incoming: mpsc::Sender<Incoming>) -> Self {
        Self {
            protocol,
            incoming,
            orders: VecDeque::new(),
            dropped: VecDeque::new(),
        }
    }

    /// Opens a stream on a connection to a peer, when the swarm is polled next. It fails when the connection is gone, the peer
    /// does not speak the protocol, or does not answer within some ten seconds.
    pub(in crate::net::libp2p) fn open(&mut self, peer: PeerId, connection: ConnectionId) -> Opening {
        let (reply, opening) = oneshot::channel();
        self.orders.push_back((peer, connection, reply));
        opening
    }

    fn handler(&self, peer: PeerId, is_stranger: bool) -> Handler {
        Handler {
            peer,
            is_stranger,
            protocol: self.protocol.clone(),
            incoming: self.incoming.clone(),
            orders: VecDeque::new(),
            dropped: 0,
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = NoPlace;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, true))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(peer, false))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        self.dropped.push_back(event);
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(dropped) = self.dropped.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(dropped));
        }
        // Whoever asks for a stream owns the swarm, and polls it next.
        let Some((peer_id, connection, event)) = self.orders.pop_front() else {
            return Poll::Pending;
        };
        Poll::Ready(ToSwarm::NotifyHandler {
            peer_id,
            handler: NotifyHandler::One(connection),
            event,
        })
    }
}

/// The same on one connection.
pub(in crate::net::libp2p) struct Handler {
    peer: PeerId,
    is_stranger: bool,
    protocol: StreamProtocol,
    incoming: mpsc::Sender<Incoming>,
    /// At most [`OPENING_MAX`].
    orders: VecDeque<oneshot::Sender<Stream>>,
    /// Streams that were dropped and not reported yet.
    dropped: usize,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = oneshot::Sender<Stream>;
    type ToBehaviour = NoPlace;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Stream>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), ())
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(fewer) = self.dropped.checked_sub(1) {
            self.dropped = fewer;
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(NoPlace(self.peer)));
        }
        // A connection is polled again after every order that it is given.
        let Some(order) = self.orders.pop_front() else {
            return Poll::Pending;
        };
        Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
            protocol: SubstreamProtocol::new(ReadyUpgrade::new(self.protocol.clone()), order),
        })
    }

    fn on_behaviour_event(&mut self, order: Self::FromBehaviour) {
        if self.orders.len() < OPENING_MAX {
            self.orders.push_back(order);
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: stream, .. }) => {
                let incoming = Incoming {
                    peer: self.peer,
                    is_stranger: self.is_stranger,
                    stream,
                };
                if let Err(mpsc::error::TrySendError::Full(_)) = self.incoming.try_send(incoming) {
                    self.dropped += 1;
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info }) => {
                // Whoever asked may have given up.
                drop(info.send(stream));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info }) => {
                tracing::debug!(peer = %self.peer, "cannot open a stream: {error}");
                drop(info);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt;
    use libp2p::identity::Keypair;
    use libp2p::swarm::SwarmEvent;
    use libp2p::{Swarm, SwarmBuilder};

    use super::*;
    use crate::net::libp2p::transport;
    use crate::net::libp2p::transport::late_dials::Arrivals;

    fn swarm(incoming: mpsc::Sender<Incoming>) -> Swarm<Behaviour> {
        SwarmBuilder::with_existing_identity(Keypair::generate_ed25519())
            .with_tokio()
            .with_other_transport(|key| {
                transport::build(key, Arc::default(), mpsc::channel(1).0, Arrivals::default(), None)
            })
            .unwrap()
            .with_behaviour(|_| Behaviour::new(StreamProtocol::new("/test"), incoming))
            .unwrap()
            .build()
    }

    #[tokio::test]
    async fn streams_that_find_the_queue_full_are_reported_each() {
        const OPENED: usize = 5;
        let (taken, mut waiting) = mpsc::channel(1);
        let (mut ours, mut theirs) = (swarm(taken), swarm(mpsc::channel(1).0));
        ours.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let peer = *theirs.local_peer_id();
        let (mut openings, mut reported) = (Vec::new(), 0);
        while reported < OPENED - 1 {
            tokio::select! {
                event = ours.select_next_some() => match event {
                    SwarmEvent::NewListenAddr { address, .. } => theirs.dial(address).unwrap(),
                    SwarmEvent::Behaviour(NoPlace(who)) => {
                        assert_eq!(who, peer);
                        reported += 1;
                    }
                    _ => {}
                },
                event = theirs.select_next_some() => if let SwarmEvent::ConnectionEstablished { peer_id, connection_id, .. } = event {
                    let open = |_| theirs.behaviour_mut().open(peer_id, connection_id);
                    openings = (0..OPENED).map(open).collect();
                },
            }
        }
        assert_eq!(openings.len(), OPENED);
        let first = waiting.recv().await.unwrap();
        assert!(first.peer == peer && first.is_stranger);
        assert!(waiting.try_recv().is_err());
    }
}
