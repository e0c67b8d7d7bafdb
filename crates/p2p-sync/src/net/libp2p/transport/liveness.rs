//! Pings every connection: often over TCP, where nothing else would notice that the other end is gone, and now and then
//! over QUIC, which notices by itself, to measure the round trip. Of a connection over TCP one side pings often, the one that dialled
//! it: that keeps both sides sure of each other. The other one is asked to ping when it hears nothing. The table of connections decides what a missing answer
//! means. This also answers the other side's pings: libp2p's own handler stops answering once the other side has refused
//! its ping, and programs that ping but refuse pings would leave.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::handler::{ConnectionEvent, ConnectionHandler, FullyNegotiatedInbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandlerEvent, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream,
    SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, ping};

use crate::net::libp2p::multiaddrs::is_quic;

/// How often a connection over TCP is pinged by the side that dialled it. Bounds how late a dead one is noticed.
const TCP_INTERVAL: Duration = Duration::from_secs(4);
/// How often other connections are pinged. With ten nodes the shorter interval would make up most of the idle traffic.
const SELDOM_INTERVAL: Duration = Duration::from_secs(120);

/// Bytes of a ping, which come back as they are.
const PING_BYTES: usize = 32;

/// Pings that were asked for and have not gone to their connections yet.
const ASKED_MAX: usize = 64;

/// libp2p's ping, with an interval for each transport.
pub(in crate::net::libp2p) struct Behaviour {
    often: ping::Behaviour,
    seldom: ping::Behaviour,
    asked: VecDeque<(PeerId, ConnectionId)>,
}

/// Asks a connection for a ping at once.
#[derive(Debug, Clone, Copy)]
pub(in crate::net::libp2p) struct PingNow;

impl Behaviour {
    pub(in crate::net::libp2p) fn new() -> Self {
        Self {
            often: every(TCP_INTERVAL),
            seldom: every(SELDOM_INTERVAL),
            asked: VecDeque::new(),
        }
    }

    /// Pings a connection at once, besides the usual pings. The answer is an event like theirs.
    pub(in crate::net::libp2p) fn ping(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.asked.len() < ASKED_MAX {
            self.asked.push_back((peer, connection));
        }
    }

    fn for_connection(&mut self, remote: &Multiaddr, is_dialled: bool) -> (&mut ping::Behaviour, Duration) {
        if is_quic(remote) || !is_dialled {
            (&mut self.seldom, SELDOM_INTERVAL)
        } else {
            (&mut self.often, TCP_INTERVAL)
        }
    }
}

fn every(interval: Duration) -> ping::Behaviour {
    ping::Behaviour::new(ping::Config::new().with_interval(interval))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = ping::Event;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (ping, interval) = self.for_connection(remote, false);
        ping.handle_established_inbound_connection(id, peer, local, remote)
            .map(|ping| Handler::new(ping, interval))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (ping, interval) = self.for_connection(address, true);
        ping.handle_established_outbound_connection(id, peer, address, role, port_use)
            .map(|ping| Handler::new(ping, interval))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.often.on_swarm_event(event);
        self.seldom.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        // It only passes the result on, whichever of the two made the handler.
        self.often.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some((peer_id, connection)) = self.asked.pop_front() {
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event: PingNow,
            });
        }
        let told = match self.often.poll(cx) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => self.seldom.poll(cx),
        };
        // They ask nothing of their handlers.
        told.map(|told| told.map_in(|never| match never {}))
    }
}

type Ping = THandler<ping::Behaviour>;

/// libp2p's handler for the pings that go out, and our own answers to those that come in.
pub(in crate::net::libp2p) struct Handler {
    ping: Ping,
    interval: Duration,
    /// Ends when the stream does. A new stream takes the place of the one before: one at a time is what the protocol asks for.
    answering: Option<BoxFuture<'static, io::Error>>,
}

impl Handler {
    fn new(ping: Ping, interval: Duration) -> Self {
        Self {
            ping,
            interval,
            answering: None,
        }
    }

    /// libp2p's handler pings when it is new, and then at its interval. It makes nothing of what it is told of the connection.
    fn ping_now(&mut self) {
        let nowhere = Multiaddr::empty();
        let fresh = every(self.interval).handle_established_inbound_connection(
            ConnectionId::new_unchecked(0),
            PeerId::random(),
            &nowhere,
            &nowhere,
        );
        if let Ok(fresh) = fresh {
            self.ping = fresh;
        }
    }
}

/// Sends every ping back until the stream ends.
async fn answer(mut stream: Stream) -> io::Error {
    let mut ping = [0; PING_BYTES];
    loop {
        let answered = async {
            stream.read_exact(&mut ping).await?;
            stream.write_all(&ping).await?;
            stream.flush().await
        };
        if let Err(error) = answered.await {
            return error;
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = PingNow;
    type ToBehaviour = <Ping as ConnectionHandler>::ToBehaviour;
    type InboundProtocol = <Ping as ConnectionHandler>::InboundProtocol;
    type OutboundProtocol = <Ping as ConnectionHandler>::OutboundProtocol;
    type InboundOpenInfo = <Ping as ConnectionHandler>::InboundOpenInfo;
    type OutboundOpenInfo = <Ping as ConnectionHandler>::OutboundOpenInfo;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        self.ping.listen_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        self.ping.connection_keep_alive()
    }

    fn on_behaviour_event(&mut self, PingNow: PingNow) {
        self.ping_now();
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: mut stream, ..
            }) => {
                stream.ignore_for_keep_alive();
                self.answering = Some(answer(stream).boxed());
            }
            event => self.ping.on_connection_event(event),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>> {
        if let Some(answering) = &mut self.answering
            && let Poll::Ready(error) = answering.poll_unpin(cx)
        {
            tracing::trace!("no more pings: {error}");
            self.answering = None;
        }
        self.ping.poll(cx)
    }
}
