//! The loop that owns the swarm: requests from the node, dials and checks that fall due, the goodbye. [`events`] handles
//! the swarm's events. It never waits for the disk or the node: if a queue is full, the message is dropped and counted.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::gossipsub::IdentTopic;
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, StreamProtocol, Swarm};
use p2p_sync_core::gate::GateLimits;
use p2p_sync_core::{NodeId, Record};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::behaviour::{Behaviour, kad_protocol, sync_protocol};
use super::door::Doors;
use super::gossip::Gossip;
use super::log_budget::LogBudget;
use super::peers::address_book::Source;
use super::peers::connections::{Connections, Listeners};
use super::peers::dialer::{Chance, Dialer, Order};
use super::peers::subnets::Subnets;
use super::reach::Knocking;
use super::streams::{self, Feeds};
use super::transport::late_dials::Arrivals;
use super::transport::muxer::CutOff;
use super::transport::pulse::Pulses;
use super::{NetConfig, discovery};
use crate::names::Names;
use crate::net::{Audience, FROM_PEERS_BYTES_MAX, FromPeers, StreamOrder, ToPeers};
use crate::report::NotListening;

mod crowding;
mod events;
mod gossiping;
mod pinging;
mod reaching;
mod status;
mod telling;

use pinging::Pings;

use telling::Telling;

/// How often liveness, spare connections and silent peers are looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// A check that comes this much too late means that the process stood still.
const STOOD_STILL: Duration = Duration::from_secs(2);
/// Orders of the node that are carried out before the swarm is looked at again.
const ORDERS_MAX: usize = 256;
/// How long the goodbye waits for the feeds to send what they have.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What ties the task to the node.
pub(super) struct Ends {
    pub(super) outbound: mpsc::Receiver<ToPeers>,
    pub(super) inbound: mpsc::Sender<FromPeers>,
    pub(super) listeners: Vec<ListenerId>,
    pub(super) not_listening: Vec<NotListening>,
    /// To be told the addresses once they are known.
    pub(super) ready: oneshot::Sender<Vec<String>>,
    pub(super) streams: Arc<streams::Common>,
    pub(super) audience: Arc<Audience>,
    /// The number of this run.
    pub(super) nonce: u64,
    pub(super) log: Arc<LogBudget>,
    pub(super) pulses: Arc<Pulses>,
    pub(super) arrivals: Arrivals,
    pub(super) cut_off: mpsc::Receiver<CutOff>,
    /// Those of a private network.
    pub(super) doors: Option<Doors>,
    pub(super) asked_back: mpsc::Receiver<streams::Incoming>,
}

/// The swarm with everything that decides about it.
pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    kad_protocol: Option<StreamProtocol>,
    sync_protocol: Option<StreamProtocol>,
    outbound: mpsc::Receiver<ToPeers>,
    inbound: mpsc::Sender<FromPeers>,
    /// Bytes of messages that may still wait for the node.
    waiting: Arc<Semaphore>,
    listeners: Vec<ListenerId>,
    not_listening: Vec<NotListening>,
    ready: Option<oneshot::Sender<Vec<String>>>,
    audience: Arc<Audience>,
    dialer: Dialer,
    dials: HashMap<ConnectionId, Order>,
    connections: Connections,
    telling: Telling,
    pulses: Arc<Pulses>,
    arrivals: Arrivals,
    cut_off: mpsc::Receiver<CutOff>,
    log: Arc<LogBudget>,
    names: Names,
    gossip: Gossip,
    streams: Arc<streams::Common>,
    feeds: Feeds,
    /// Somebody listens to gossip who does not speak the sync, or did not say so yet, and so cannot be fed.
    is_unfed_listening: bool,
    /// A write was neither gossiped nor fed, and is still to be owed to everybody.
    is_unsent: bool,
    /// The topic of [`rouse_gossip`](Self::rouse_gossip).
    rousing: IdentTopic,
    publish_at: Option<Instant>,
    next_check: Instant,
    pings: Pings,
    knocking: Knocking,
}

impl Task {
    pub(super) fn new(swarm: Swarm<Behaviour>, config: &NetConfig, ends: Ends) -> Self {
        let now = Instant::now();
        let mut dialer = Dialer::new(*swarm.local_peer_id(), Chance(rand::random));
        dialer.wake(Subnets::of_this_machine(), now);
        for address in &config.configured {
            dialer.configure(address.clone(), now);
        }
        for (peer, address) in &config.remembered {
            if let Ok(peer) = PeerId::from_bytes(peer.as_bytes()) {
                dialer.learn(peer, vec![address.clone()], Source::Proved, now);
            }
        }
        let telling = Telling::new(*swarm.local_peer_id(), ends.nonce, config, ends.doors, now);
        Self {
            swarm,
            kad_protocol: kad_protocol(&config.network).ok(),
            sync_protocol: sync_protocol(&config.network).ok(),
            outbound: ends.outbound,
            inbound: ends.inbound,
            waiting: Arc::new(Semaphore::new(FROM_PEERS_BYTES_MAX)),
            listeners: ends.listeners,
            not_listening: ends.not_listening,
            ready: Some(ends.ready),
            audience: ends.audience,
            dialer,
            dials: HashMap::new(),
            connections: Connections::default(),
            telling,
            pulses: ends.pulses,
            arrivals: ends.arrivals,
            cut_off: ends.cut_off,
            gossip: Gossip::new(
                IdentTopic::new(config.network.topic()).hash(),
                GateLimits::with_author_messages(config.message_limit),
                Arc::clone(&ends.log),
                config.names.clone(),
            ),
            names: config.names.clone(),
            log: ends.log,
            feeds: Feeds::new(Arc::clone(&ends.streams)),
            streams: ends.streams,
            is_unfed_listening: false,
            is_unsent: false,
            rousing: IdentTopic::new(format!("{}/rouse", config.network.topic())),
            publish_at: None,
            next_check: now + CHECK_INTERVAL,
            pings: Pings::default(),
            knocking: Knocking::new(ends.asked_back),
        }
    }

    /// Runs until it is asked to stop, or nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut orders = Vec::with_capacity(ORDERS_MAX);
        let stopped = loop {
            self.dial_due();
            let wake = [Some(self.next_check), self.publish_at, self.dialer.next_due()]
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
                    self.feeds.wake();
                }
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                Some(asked) = self.knocking.asked.recv() => self.on_asked_back(asked),
                Some(cut_off) = self.cut_off.recv() => self.on_cut_off(&cut_off),
                Some(answered) = self.telling.twins.told.recv() => self.on_twin(&answered),
                () = alarm => self.on_alarm(),
            }
        };
        self.say_goodbye().await;
        drop(stopped);
    }

    /// Carries out an order, or hands it back if it is the one to stop.
    fn obey(&mut self, order: ToPeers) -> Option<oneshot::Sender<()>> {
        match order {
            ToPeers::Live(record) => self.announce(record),
            ToPeers::OpenStream { peer, order } => self.open_stream(peer, order),
            ToPeers::Vouch { peer } => self.vouch(peer),
            ToPeers::ChangedNothing { author, neighbour } => self.gossip.changed_nothing(author, neighbour),
            ToPeers::Ping { peer, reply } => self.ping(peer, reply),
            ToPeers::AskBack { peer, reply } => self.ask_back(peer, reply),
            // Whoever asked may have gone away meanwhile.
            ToPeers::Status(reply) => drop(reply.send(self.status())),
            ToPeers::Stop(done) => return Some(done),
        }
        None
    }

    /// Tells the others of a write that was made here: by gossip while its budget lasts, or else by the feeds, which reach
    /// every direct peer that syncs; whoever is further away hears of it by the sync of those. Who does not sync has only gossip,
    /// and must wait for its turn there.
    fn announce(&mut self, record: Record) {
        let is_fed = !self.feeds.is_empty() && !self.gossip.is_ready();
        if is_fed {
            let (streams, connections) = (&mut self.swarm.behaviour_mut().streams, &self.connections);
            self.feeds.push(&record, |peer| {
                connections.best(peer).map(|connection| streams.open(peer, connection))
            });
        }
        if !is_fed || self.is_unfed_listening {
            let taken = self.gossip.push(record);
            self.is_unsent |= !taken && !is_fed;
        }
    }

    fn open_stream(&mut self, node: NodeId, order: StreamOrder) {
        let opening = PeerId::from_bytes(node.as_bytes()).ok().and_then(|peer| {
            let connection = self.connections.best(peer)?;
            Some((peer, self.swarm.behaviour_mut().streams.open(peer, connection)))
        });
        // The node asks for one stream a peer at a time, and each ends within seconds when it cannot be opened.
        tokio::spawn(streams::ask(Arc::clone(&self.streams), node, order, opening));
    }

    /// A session with a peer came to its end: it is worth finding again.
    fn vouch(&mut self, node: NodeId) {
        let Ok(peer) = PeerId::from_bytes(node.as_bytes()) else {
            return;
        };
        for address in self.dialer.vouch(peer) {
            self.remember(peer, &address);
        }
    }

    /// The peers to sync with have changed, or may have.
    fn count_peers(&mut self) {
        let Listeners { synced, others } = self.connections.listeners();
        self.audience.set_listening(others || !synced.is_empty());
        self.is_unfed_listening = others;
        self.feeds.set(&synced);
        let dialled = synced.iter().filter(|(peer, _)| self.connections.is_dialled_to(**peer));
        let dialled = dialled.map(|(_, node)| *node).collect();
        self.streams.links.set(&synced.into_values().collect());
        self.streams.links.set_dialled(&dialled);
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
                self.connections.gossiped(peer, now);
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
            self.connections.excuse();
        }
        for (peer, id) in self.connections.dead(now) {
            tracing::debug!(%peer, "closing a connection that has gone silent");
            self.swarm.close_connection(id);
        }
        for (peer, id) in self.connections.in_doubt(now) {
            self.swarm.behaviour_mut().liveness.ping(peer, id);
        }
        for id in self.connections.spare(*self.swarm.local_peer_id(), now) {
            self.swarm.close_connection(id);
        }
        self.close_surplus(now);
        let (unheard, crowded_out) = self.audience.take_missed();
        self.gossip.missed(unheard, crowded_out);
        if self.gossip.take_unsent() | std::mem::take(&mut self.is_unsent) {
            self.streams.links.missed_by_all(now);
        }
        self.feeds.settle(now);
        self.streams.links.settle(now);
        // gossipsub opens another stream for what it has to send only when something happens on the connection.
        let silent = self.connections.cut_off_and_silent();
        self.swarm.behaviour_mut().identify.push(silent);
        let left_out = self.log.take_left_out(now);
        if left_out > 0 {
            tracing::warn!("{left_out} more lines about peers were left out");
        }
        self.tell(now);
        for peer in self.connections.unsubscribed(now) {
            tracing::debug!(%peer, "reconnecting to a peer that does not take part in gossip");
            self.reconnect(peer);
        }
    }

    /// Closes every connection to a peer. It is dialled again when the last one is gone.
    fn reconnect(&mut self, peer: PeerId) {
        // It may be gone already, which is what was wanted.
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn dial_due(&mut self) {
        let now = Instant::now();
        let orders = self.dialer.due(now);
        let is_strict = self.dialer.is_strict();
        let own_dials = &mut self.swarm.behaviour_mut().own_dials;
        own_dials.set_strict(is_strict);
        own_dials.set_ordered(true);
        for order in orders {
            let Some(options) = self.dial_options(&order) else {
                continue;
            };
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => drop(self.dials.insert(id, order)),
                Err(error) => {
                    tracing::debug!("cannot dial: {error}");
                    self.note_failed_dial(&order, &error, now);
                    self.dialer.failed(&order, now);
                }
            }
        }
        self.swarm.behaviour_mut().own_dials.set_ordered(false);
    }

    /// Takes the announcement back, publishes what may go at once, and disconnects everybody, so that the others see it now
    /// and not when their patience ends.
    async fn say_goodbye(&mut self) {
        let listeners = std::mem::take(&mut self.listeners);
        let withdrawn = self
            .swarm
            .behaviour_mut()
            .discovery
            .as_mut()
            .and_then(discovery::Behaviour::withdraw);
        self.publish();
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        let last_words = tokio::time::timeout(LAST_WORDS, self.feeds.finish());
        let farewell = async {
            let mut last_words = pin!(last_words);
            loop {
                tokio::select! {
                    _ = &mut last_words => break,
                    _ = self.swarm.select_next_some() => {}
                }
            }
            // One round of the swarm's work for what was just published, before its streams are closed.
            let _ = tokio::time::timeout(GOODBYE / 10, self.swarm.select_next_some()).await;
            for listener in listeners {
                // Or the others would be back before the goodbye is over.
                self.swarm.remove_listener(listener);
            }
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
