//! Handles the swarm's events: passes each to the table that decides about it, and forwards the consequences to the swarm
//! or the node.

use std::error::Error as _;
use std::time::Instant;

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionDenied, ConnectionId, DialError, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, identify, ping};
use tokio::sync::oneshot;

use super::Task;
use crate::net::FromPeers;
use crate::net::libp2p::agent::Agent;
use crate::net::libp2p::behaviour::BehaviourEvent;
use crate::net::libp2p::door::members;
use crate::net::libp2p::log_budget::About;
use crate::net::libp2p::multiaddrs::{ip, split_peer};
use crate::net::libp2p::peers::address_book::Source;
use crate::net::libp2p::peers::connections::{Boot, Closed};
use crate::net::libp2p::peers::subnets::Subnets;
use crate::net::libp2p::{discovery, listening, node_id, streams};
use crate::report::NotListening;

/// Addresses at which a peer may say that it listens, of those with the IP address of its connection: a node says two.
const LISTENERS_MAX: usize = 4;
/// Listeners that were lost and are told in the status.
const NOT_LISTENING_MAX: usize = 16;

impl Task {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.on_established(peer_id, connection_id, &endpoint, now);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => {
                tracing::debug!(%peer_id, ?cause, "connection closed");
                self.telling.visits.closed(connection_id);
                match self.connections.closed(peer_id, connection_id, now) {
                    Closed::Nothing => {
                        self.pings.gone(peer_id);
                        self.on_disconnected(peer_id, now);
                    }
                    Closed::Unheard => self.reconnect(peer_id),
                    Closed::Others => {
                        self.missed(peer_id, now);
                        self.rouse_gossip(peer_id);
                        self.gossip.repeat(now);
                        self.publish();
                    }
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(order) = self.dials.remove(&connection_id) {
                    tracing::debug!("dial failed: {error}");
                    // One that was given up because the peer came by itself is no trouble.
                    if order.peer.is_none_or(|peer| self.connections.best(peer).is_none()) {
                        self.note_failed_dial(&order, &error, now);
                    }
                    match &error {
                        DialError::WrongPeerId { obtained, address } => {
                            self.dialer.misled(&order, address, *obtained, now);
                        }
                        _ => self.dialer.failed(&order, now),
                    }
                }
            }
            SwarmEvent::IncomingConnectionError {
                error: ListenError::Denied { cause },
                ..
            } if members::is_no_member(&cause) => self.gossip.complaints.count("stranger behind the door", 1),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error: ListenError::Denied { cause },
                ..
            } => self.on_refused(&send_back_addr, &cause, now),
            SwarmEvent::IncomingConnectionError {
                send_back_addr, error, ..
            } => self.note_failed_handshake(send_back_addr, &error, now),
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(&address, now),
            SwarmEvent::ListenerClosed {
                reason: Err(error),
                addresses,
                ..
            } => {
                for address in addresses {
                    let closed = NotListening {
                        address: address.to_string(),
                        reason: listening::reason(&error),
                    };
                    tracing::error!("no longer listening on {closed}");
                    // There are as many as there are addresses of this machine.
                    if self.not_listening.len() < NOT_LISTENING_MAX && !self.not_listening.contains(&closed) {
                        self.not_listening.push(closed);
                    }
                }
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event, now),
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
        self.dials.remove(&id);
        self.arrivals.arrived(peer);
        let dialled = endpoint
            .is_dialer()
            .then(|| split_peer(endpoint.get_remote_address().clone()).0);
        self.dialer.connected(peer, dialled.as_ref(), now);
        self.note_connected(peer, id, dialled.as_ref(), now);
        if let Some(address) = dialled {
            self.remember(peer, &address);
        }
        let pulse = self.pulses.of(endpoint);
        match self.connections.opened(peer, id, endpoint, pulse, now) {
            Some(false) => {
                if self.log.allows(About::Peer(peer), "established", now) {
                    tracing::info!("Connection established with peer: {peer}");
                }
                self.relax_discovery();
            }
            Some(true) if self.log.allows(About::Peer(peer), "re-established", now) => {
                tracing::info!("Connection re-established with peer {peer}");
            }
            Some(true) => {}
            None => tracing::debug!(%peer, "an additional connection"),
        }
    }

    /// A connection was one too many, in all or from its address.
    fn on_refused(&mut self, from: &Multiaddr, cause: &ConnectionDenied, now: Instant) {
        let complaints = &mut self.gossip.complaints;
        match ip(from) {
            Some(ip) if complaints.count_about(About::Address(ip), "too many connections", now) => {
                let why = cause.source().map(ToString::to_string).unwrap_or_default();
                tracing::warn!("Refused a connection from {ip}: {why}");
            }
            Some(_) => {}
            None => complaints.count("too many connections", 1),
        }
    }

    fn on_disconnected(&mut self, peer: PeerId, now: Instant) {
        if self.log.allows(About::Peer(peer), "closed", now) {
            tracing::info!("Connection closed with peer {peer}");
        }
        if let Ok(node) = node_id(&peer) {
            self.names.left(node);
        }
        self.dialer.disconnected(peer, now);
        self.arrivals.left(peer);
        self.count_peers();
        // Where there are many, peers come and go all the time, and others take their places.
        if !self.dialer.is_strict() {
            self.search();
        }
    }

    /// Something did not get through between a peer and us.
    pub(super) fn missed(&self, peer: PeerId, now: Instant) {
        if let Ok(peer) = node_id(&peer) {
            self.streams.links.missed(peer, now);
        }
    }

    pub(super) fn remember(&self, peer: PeerId, address: &Multiaddr) {
        if let Ok(peer) = node_id(&peer) {
            // Worth a note, not worth a wait.
            let _ = self.inbound.try_send(FromPeers::Reached {
                peer,
                address: address.to_string(),
            });
        }
    }

    fn relax_discovery(&mut self) {
        if self.connections.iter().count() == 1
            && let Some(discovery) = self.swarm.behaviour().discovery.as_ref()
        {
            discovery.relax();
        }
    }

    fn search(&mut self) {
        let is_alone = self.connections.iter().next().is_none();
        if let Some(discovery) = self.swarm.behaviour().discovery.as_ref() {
            discovery.search(is_alone);
        }
    }

    fn on_listening(&mut self, address: &Multiaddr, now: Instant) {
        // Whoever waited for the first addresses may have given up.
        if self.ready.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.dialer.wake(Subnets::of_this_machine(), now);
            if listening::worth_telling(self.swarm.listeners()).contains(address) {
                tracing::info!("Listening on {address}");
            }
        } else if listening::is_complete(self.swarm.listeners()) {
            let told = self.listening();
            self.ready.take().map(|ready| ready.send(told));
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip(event, now),
            BehaviourEvent::Liveness(ping::Event {
                peer,
                connection,
                result,
            }) => match result {
                Ok(rtt) => {
                    self.connections.pinged(peer, connection, rtt);
                    self.pings.answered(peer, rtt);
                }
                Err(ping::Failure::Unsupported) => self.connections.cannot_ping(peer, connection),
                Err(failure) => tracing::debug!(%peer, "ping: {failure}"),
            },
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => {
                self.on_identified(peer_id, connection_id, &info, now);
                self.count_peers();
            }
            BehaviourEvent::Streams(streams::NoPlace(peer)) => self.streams.refuse(peer),
            BehaviourEvent::Discovery(event) => self.on_discovery(event, now),
            _ => {}
        }
    }

    fn on_discovery(&mut self, event: discovery::Event, now: Instant) {
        match event {
            discovery::Event::Discovered { peer, addresses } => {
                self.telling.found(peer);
                self.dialer.learn(peer, addresses, Source::Discovered, now)
            }
            discovery::Event::Undialable { peer, addresses } => self.note_undialable(peer, addresses, now),
            discovery::Event::Ourselves { addresses } => self.note_own_identity(addresses, now),
            discovery::Event::Expired { peer } => self.dialer.unlearn(peer),
            discovery::Event::InterfacesChanged => {
                self.dialer.wake(Subnets::of_this_machine(), now);
                self.search();
            }
        }
    }

    fn on_identified(&mut self, peer: PeerId, id: ConnectionId, info: &identify::Info, now: Instant) {
        let is_node = self
            .kad_protocol
            .as_ref()
            .is_some_and(|own| info.protocols.contains(own));
        let syncs = self
            .sync_protocol
            .as_ref()
            .is_some_and(|own| info.protocols.contains(own));
        self.connections.speaks_sync(peer, syncs);
        self.connections.says_agent(peer, &info.agent_version);
        let agent = Agent::of(&info.agent_version);
        let boot = agent.as_ref().and_then(|agent| agent.boot_nonce);
        self.note_identified(peer, id, info, agent.as_ref(), is_node && syncs);
        self.note_name(peer, agent.and_then(|agent| agent.name), now);
        match self.connections.identified(peer, id, boot, is_node) {
            Boot::Known => {}
            Boot::Repeated => return,
            Boot::Restarted => {
                tracing::debug!(%peer, "restarted; reconnecting");
                self.reconnect(peer);
                return;
            }
            Boot::Twice { elsewhere } => {
                let here = self
                    .connections
                    .address(peer, id)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !self
                    .gossip
                    .complaints
                    .count_of(peer, "one identity on two machines", now)
                {
                    return;
                }
                tracing::error!(
                    "Two machines have the same identity {peer}: one at {elsewhere}, one at {here}. On the copy, stop \
                     the node, delete identity.key from its data directory, and start it once with --new-identity; \
                     its data is kept"
                );
            }
        }
        if is_node {
            self.learn_listeners(peer, id, info, now);
        }
    }

    /// Takes over where a node says it listens, as far as this connection proves the address: others may be dead ends here.
    fn learn_listeners(&mut self, peer: PeerId, id: ConnectionId, info: &identify::Info, now: Instant) {
        let Some(seen) = self.connections.address(peer, id).and_then(ip) else {
            return;
        };
        let proved = |address: &&Multiaddr| ip(address) == Some(seen) && listening::is_plain(address);
        let addresses: Vec<Multiaddr> = info
            .listen_addrs
            .iter()
            .filter(proved)
            .map(|address| split_peer(address.clone()).0)
            .take(LISTENERS_MAX)
            .collect();
        self.swarm.behaviour_mut().kad.learn(peer, addresses.clone());
        if self.connections.is_dialled(peer, id) {
            addresses.iter().for_each(|address| self.remember(peer, address));
            self.dialer.learn(peer, addresses, Source::Proved, now);
        } else {
            self.dialer.learn(peer, addresses, Source::Claimed, now);
        }
    }
}
