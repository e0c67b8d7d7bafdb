//! The loop that owns the swarm: carries its events to the tables that decide, and their decisions back to it. It never
//! waits for the disk or the node: what a full queue cannot take is dropped and counted.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::{self, IdentTopic};
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, Swarm, identify, kad, ping};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::behaviour::{Behaviour, BehaviourEvent, boot_nonce, kad_protocol};
use super::connections::{Boot, Closed, Connections, ip};
use super::address_book::Source;
use super::dialer::{Dialer, Order, split_peer};
use super::gossip::{Admitted, Gossip};
use super::{NetConfig, discovery, listening, node_id};
use crate::net::{Audience, FROM_PEERS_BYTES_MAX, FromPeers, NetStatus, PeerStatus, ToPeers};

/// How often liveness, spare connections and silent peers are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// A check that comes this much too late means that the process stood still.
const STOOD_STILL: Duration = Duration::from_secs(2);
/// Orders of the node that are carried out before the swarm is looked at again.
const ORDERS_MAX: usize = 256;
/// Dials under way at once; the others wait for their turn.
const DIALS_MAX: usize = 64;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What ties the task to the node.
pub(super) struct Ends {
    pub(super) outbound: mpsc::Receiver<ToPeers>,
    pub(super) inbound: mpsc::Sender<FromPeers>,
    pub(super) listeners: Vec<ListenerId>,
    /// To be told the addresses once they are known.
    pub(super) ready: oneshot::Sender<Vec<String>>,
    pub(super) audience: Arc<Audience>,
}

/// The swarm with everything that decides about it.
pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    kad_protocol: Option<StreamProtocol>,
    outbound: mpsc::Receiver<ToPeers>,
    inbound: mpsc::Sender<FromPeers>,
    /// Bytes of messages that may still wait for the node.
    waiting: Arc<Semaphore>,
    listeners: Vec<ListenerId>,
    ready: Option<oneshot::Sender<Vec<String>>>,
    audience: Arc<Audience>,
    dialer: Dialer,
    dials: HashMap<ConnectionId, Order>,
    connections: Connections,
    gossip: Gossip,
    /// The topic of [`rouse_gossip`](Self::rouse_gossip).
    rousing: IdentTopic,
    publish_at: Option<Instant>,
    next_check: Instant,
}

impl Task {
    pub(super) fn new(swarm: Swarm<Behaviour>, config: &NetConfig, ends: Ends) -> Self {
        let now = Instant::now();
        let mut dialer = Dialer::new(*swarm.local_peer_id(), || rand::random_range(0.75..1.25));
        for address in &config.configured {
            dialer.configure(address.clone(), now);
        }
        for (peer, address) in &config.remembered {
            if let Ok(peer) = PeerId::from_bytes(peer.as_bytes()) {
                dialer.learn(peer, vec![address.clone()], Source::Proved, now);
            }
        }
        Self {
            swarm,
            kad_protocol: kad_protocol(&config.network).ok(),
            outbound: ends.outbound,
            inbound: ends.inbound,
            waiting: Arc::new(Semaphore::new(FROM_PEERS_BYTES_MAX)),
            listeners: ends.listeners,
            ready: Some(ends.ready),
            audience: ends.audience,
            dialer,
            dials: HashMap::new(),
            connections: Connections::default(),
            gossip: Gossip::new(IdentTopic::new(config.network.topic()).hash()),
            rousing: IdentTopic::new(format!("{}/rouse", config.network.topic())),
            publish_at: None,
            next_check: now + CHECK_INTERVAL,
        }
    }

    /// Runs until it is asked to stop, or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut orders = Vec::with_capacity(ORDERS_MAX);
        let stopped = loop {
            self.dial_due();
            let wake = [Some(self.next_check), self.publish_at, self.next_dial()]
                .into_iter()
                .flatten()
                .min();
            let alarm = pin!(tokio::time::sleep_until(wake.unwrap_or(self.next_check).into()));
            tokio::select! {
                count = self.outbound.recv_many(&mut orders, ORDERS_MAX) => {
                    let stop = orders.drain(..).filter_map(|order| self.obey(order)).last();
                    if stop.is_some() || count == 0 {
                        break stop;
                    }
                    self.publish();
                }
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                () = alarm => self.on_alarm(),
            }
        };
        self.say_goodbye().await;
        drop(stopped);
    }

    /// Carries out an order, or hands it back if it is the one to stop.
    fn obey(&mut self, order: ToPeers) -> Option<oneshot::Sender<()>> {
        match order {
            ToPeers::Live(record) => self.gossip.push(record),
            ToPeers::ChangedNothing { author, neighbour } => self.gossip.changed_nothing(author, neighbour),
            // Whoever asked may have gone away meanwhile.
            ToPeers::Status(reply) => drop(reply.send(self.status())),
            ToPeers::Stop(done) => return Some(done),
        }
        None
    }

    fn publish(&mut self) {
        let now = Instant::now();
        let sent = self.gossip.sent;
        self.publish_at = self.gossip.publish(&mut self.swarm.behaviour_mut().gossip);
        if self.gossip.sent != sent {
            let mesh: Vec<PeerId> = self
                .swarm
                .behaviour()
                .gossip
                .mesh_peers(self.gossip.topic())
                .copied()
                .collect();
            for peer in mesh {
                self.connections.gossiped(peer, false, now);
            }
        }
    }

    fn on_alarm(&mut self) {
        let now = Instant::now();
        if self.publish_at.is_some_and(|at| at <= now) {
            self.publish();
        }
        if self.next_check <= now {
            self.check(now);
            self.next_check = now + CHECK_INTERVAL;
        }
    }

    fn check(&mut self, now: Instant) {
        if now.saturating_duration_since(self.next_check) > STOOD_STILL {
            self.connections.excuse(now);
        }
        for (peer, id) in self.connections.dead(now) {
            tracing::debug!(%peer, "closing a connection on which nothing comes back");
            self.swarm.close_connection(id);
        }
        for id in self.connections.spare(*self.swarm.local_peer_id(), now) {
            self.swarm.close_connection(id);
        }
        for peer in self.connections.unsubscribed(now) {
            tracing::debug!(%peer, "connecting anew to a peer that takes no part in gossip");
            self.reconnect(peer);
        }
    }

    /// Closes every connection to a peer. It is dialled again when the last one is gone.
    fn reconnect(&mut self, peer: PeerId) {
        // It may be gone already, which is what was wanted.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn next_dial(&self) -> Option<Instant> {
        if self.dials.len() < DIALS_MAX {
            self.dialer.next_due()
        } else {
            None
        }
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        for order in self.dialer.due(now, DIALS_MAX.saturating_sub(self.dials.len())) {
            let options = match (order.peer, order.addresses.first()) {
                (Some(peer), _) => DialOpts::peer_id(peer).addresses(order.addresses.clone()).build(),
                (None, Some(address)) => DialOpts::unknown_peer_id().address(address.clone()).build(),
                (None, None) => continue,
            };
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.dials.insert(id, order)),
                Err(error) => {
                    tracing::debug!("not dialled: {error}");
                    self.dialer.failed(&order, now);
                }
            }
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
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
                match self.connections.closed(peer_id, connection_id, now) {
                    Closed::Nothing => self.on_disconnected(peer_id, now),
                    Closed::Unheard => self.reconnect(peer_id),
                    Closed::Others => self.rouse_gossip(peer_id),
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id, error, ..
            } => {
                if let Some(order) = self.dials.remove(&connection_id) {
                    tracing::debug!("dial failed: {error}");
                    self.dialer.failed(&order, now);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(&address, now),
            SwarmEvent::ListenerClosed {
                reason: Err(error),
                addresses,
                ..
            } => {
                tracing::error!("no longer listening on {addresses:?}: {error}");
            }
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event, now),
            _ => {}
        }
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
        self.dials.remove(&id);
        let dialled = endpoint
            .is_dialer()
            .then(|| split_peer(endpoint.get_remote_address().clone()).0);
        self.dialer.connected(peer, dialled.as_ref(), now);
        if let Some(address) = dialled {
            self.remember(peer, &address);
        }
        match self.connections.opened(peer, id, endpoint, now) {
            Some(false) => {
                tracing::info!("Connection established with peer: {peer}");
                self.relax_discovery();
            }
            Some(true) => tracing::info!("Connection re-established with peer {peer}"),
            None => tracing::debug!(%peer, "an additional connection"),
        }
    }

    /// Makes gossip use a connection to `peer` that is left.
    ///
    /// gossipsub gives its messages to whichever connection of a peer asks first, and when one comes it wakes those only that
    /// have asked before. A connection that never had anything to send has not: after the other one is gone, messages would lie
    /// until something else happens to wake it. Joining and leaving a topic of no meaning gives it something to send, and
    /// pushing our identification wakes it.
    fn rouse_gossip(&mut self, peer: PeerId) {
        let behaviour = self.swarm.behaviour_mut();
        if behaviour.gossip.subscribe(&self.rousing).is_ok() {
            behaviour.gossip.unsubscribe(&self.rousing);
        }
        behaviour.identify.push([peer]);
    }

    fn on_disconnected(&mut self, peer: PeerId, now: Instant) {
        tracing::info!("Connection closed with peer {peer}");
        self.dialer.disconnected(peer, now);
        self.count_audience();
        self.search();
    }

    fn count_audience(&self) {
        self.audience
            .set_listening(self.connections.iter().any(|(_, peer)| peer.subscribed));
    }

    fn remember(&self, peer: PeerId, address: &Multiaddr) {
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
            && let Some(discovery) = self.swarm.behaviour_mut().discovery.as_mut()
        {
            discovery.relax();
        }
    }

    fn search(&mut self) {
        if let Some(discovery) = self.swarm.behaviour_mut().discovery.as_mut() {
            discovery.search();
        }
    }

    fn on_listening(&mut self, address: &Multiaddr, now: Instant) {
        // Whoever waited for the first addresses may have given up.
        if self.ready.as_ref().is_none_or(oneshot::Sender::is_closed) {
            self.dialer.wake(now);
            if listening::worth_telling(self.swarm.listeners()).contains(address) {
                tracing::info!("Listening on {address}");
            }
        } else if listening::is_complete(self.swarm.listeners()) {
            let told = self.listening();
            self.ready.take().map(|ready| ready.send(told));
        }
    }

    fn listening(&self) -> Vec<String> {
        listening::worth_telling(self.swarm.listeners())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent, now: Instant) {
        match event {
            BehaviourEvent::Gossip(event) => self.on_gossip(event, now),
            BehaviourEvent::Liveness(ping::Event {
                peer,
                connection,
                result,
            }) => match result {
                Ok(rtt) => self.connections.pinged(peer, connection, rtt, now),
                Err(ping::Failure::Unsupported) => self.connections.cannot_ping(peer, connection),
                Err(failure) => tracing::debug!(%peer, "ping: {failure}"),
            },
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => {
                self.on_identified(peer_id, connection_id, &info, now);
            }
            BehaviourEvent::Discovery(event) => self.on_discovery(event, now),
            BehaviourEvent::Kad(kad::Event::InboundRequest { request }) => {
                tracing::trace!(?request, "kademlia request");
            }
            _ => {}
        }
    }

    fn on_discovery(&mut self, event: discovery::Event, now: Instant) {
        match event {
            discovery::Event::Discovered { peer, addresses } => {
                self.dialer.learn(peer, addresses, Source::Discovered, now)
            }
            discovery::Event::Expired { peer } => self.dialer.unlearn(peer),
            discovery::Event::InterfacesChanged => {
                self.dialer.wake(now);
                self.search();
            }
        }
    }

    fn on_identified(&mut self, peer: PeerId, id: ConnectionId, info: &identify::Info, now: Instant) {
        let is_node = self
            .kad_protocol
            .as_ref()
            .is_some_and(|own| info.protocols.contains(own));
        let boot = boot_nonce(&info.agent_version);
        match self.connections.identified(peer, id, boot, is_node) {
            Boot::Known => {}
            Boot::Repeated => return,
            Boot::Restarted => {
                tracing::debug!(%peer, "restarted; connecting anew");
                self.reconnect(peer);
                return;
            }
            Boot::Twice { elsewhere } => {
                let here = self
                    .connections
                    .address(peer, id)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                if !self.gossip.complaints.count_of(peer, "one identity on two machines", now) {
                    return;
                }
                tracing::error!(
                    "Two machines have the same identity {peer}: one at {elsewhere}, one at {here}. On the copied one, stop the node and \
                     delete identity.key from its data directory; its data stays"
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
            .take(4)
            .collect();
        // Kademlia has no bound of its own for the addresses of a peer.
        self.swarm.behaviour_mut().kad.remove_peer(&peer);
        for address in &addresses {
            self.swarm.behaviour_mut().kad.add_address(&peer, address.clone());
            self.remember(peer, address);
        }
        self.dialer.learn(peer, addresses, Source::Proved, now);
    }

    fn on_gossip(&mut self, event: gossipsub::Event, now: Instant) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => {
                self.connections.gossiped(propagation_source, true, now);
                let (acceptance, admitted) = self.gossip.judge(propagation_source, &message);
                self.swarm.behaviour_mut().gossip.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    acceptance,
                );
                if let Some(admitted) = admitted {
                    self.hand_over(admitted, message.data.len());
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } if topic == *self.gossip.topic() => {
                self.connections.subscribed(peer_id, true, now);
                self.count_audience();
            }
            gossipsub::Event::Unsubscribed { peer_id, topic } if topic == *self.gossip.topic() => {
                self.connections.subscribed(peer_id, false, now);
                self.count_audience();
            }
            gossipsub::Event::SlowPeer { failed_messages, .. } => {
                let failed = failed_messages.priority.saturating_add(failed_messages.non_priority);
                self.gossip.complaints.count("peer too slow", failed as u64);
            }
            _ => {}
        }
    }

    /// Hands changes to the node, unless too much waits there already.
    fn hand_over(&mut self, admitted: Admitted, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let handed = Arc::clone(&self.waiting).try_acquire_many_owned(bytes).is_ok_and(|room| {
            let Admitted { author, neighbour, records } = admitted;
            self.inbound.try_send(FromPeers::Received { author, neighbour, records, room }).is_ok()
        });
        if !handed {
            self.gossip.complaints.count("store busy", 1);
        }
    }

    fn status(&mut self) -> NetStatus {
        let (unheard, crowded_out) = self.audience.take_missed();
        self.gossip.missed(unheard, crowded_out);
        let mesh: Vec<&PeerId> = self.swarm.behaviour().gossip.mesh_peers(self.gossip.topic()).collect();
        let mut peers: Vec<PeerStatus> = self
            .connections
            .iter()
            .filter_map(|(peer, known)| {
                let first = known.connections.first()?;
                Some(PeerStatus {
                    peer: node_id(peer).ok()?,
                    address: first.address.to_string(),
                    transport: first.transport,
                    direction: first.direction,
                    rtt: first.rtt,
                    connections: known.connections.len(),
                    subscribed: known.subscribed,
                    in_mesh: mesh.contains(&peer),
                })
            })
            .collect();
        peers.sort_by_key(|peer| peer.peer);
        NetStatus {
            addresses: self.listening(),
            peers,
            known_peers: self.dialer.known(),
            mesh: mesh.len(),
            sent: self.gossip.sent,
            received: self.gossip.received,
            dropped: self.gossip.complaints.all(),
        }
    }

    /// Takes the announcement back, publishes what may go at once, and disconnects everybody, so that the others see it now
    /// and not when their patience ends.
    async fn say_goodbye(&mut self) {
        for listener in std::mem::take(&mut self.listeners) {
            // Or the others would be back before the goodbye is over.
            self.swarm.remove_listener(listener);
        }
        let withdrawn = self
            .swarm
            .behaviour_mut()
            .discovery
            .as_mut()
            .and_then(discovery::Behaviour::withdraw);
        self.publish();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        let farewell = async {
            // One round of the swarm's work for what was just published, before its streams are closed.
            let _ = tokio::time::timeout(GOODBYE / 10, self.swarm.select_next_some()).await;
            for peer in peers {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
            if let Some(withdrawn) = withdrawn {
                // The daemon says when its goodbye is out, or is gone already.
                let _ = withdrawn.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, farewell).await;
    }
}
