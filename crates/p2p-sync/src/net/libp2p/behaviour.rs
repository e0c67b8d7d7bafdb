//! The protocols that the swarm speaks, and their limits. The swarm task decides what their events mean.

use std::time::Duration;

use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::gossipsub::{self, IdentTopic, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, StreamProtocol, identify, kad};
use p2p_sync_core::NetworkName;
use p2p_sync_core::limits::TRANSMIT_BYTES_MAX;
use tokio::sync::mpsc;

use super::lookups::Lookups;
use super::peers::{own_dials, per_address};
use super::transport::half_open::HALF_OPEN_MAX;
use super::transport::liveness;
use super::{discovery, door, reach, streams};

/// The protocol name of Kademlia in the default network.
pub(super) const KAD: &str = "/p2p-sync/kad/1.0.0";
/// The protocol name of the sync in the default network.
const SYNC: &str = "/p2p-sync/sync/1";
/// Open connections in all. More than the few hundred machines this is made for.
const CONNECTIONS_MAX: u32 = 1_024;
/// Open connections that others dialled: whoever takes them all leaves room for those that this node dials.
const CONNECTIONS_INBOUND_MAX: u32 = 768;
/// Open connections to one peer. More than one is passing: both sides dialled, or a restarted peer's dead ones linger.
const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// Connections that this node dials at a time.
const DIALS_MAX: u32 = 256;
/// Inbound connections being set up, for the swarm. One that has to make way for another (`half_open`) counts until the swarm has
/// heard of it.
const PENDING_INBOUND_MAX: u32 = 2 * HALF_OPEN_MAX as u32;

/// How often a peer says again who it is. What changes it says at once, and nobody else needs to hear it.
const IDENTIFY_INTERVAL: Duration = Duration::from_secs(3_600);
/// How often Kademlia looks whether there is anybody whom it does not know. It also does when it hears of somebody new.
const KAD_INTERVAL: Duration = Duration::from_secs(1_800);

/// How long a message counts as seen. gossipsub keeps an id of each, whether it was let in or not, without any other bound, so
/// this is what bounds its memory: a neighbour that sends junk as fast as a core can check it makes some ten thousand ids
/// a second. What comes again later is taken for a replay, which changes nothing. A message is on its way for less than
/// a second, and is offered again for five.
const SEEN_FOR: Duration = Duration::from_secs(10);

/// The protocols of a node.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) members: Toggle<door::members::Members>,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) per_address: per_address::Behaviour,
    pub(super) own_dials: own_dials::Behaviour,
    pub(super) gossip: gossipsub::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) liveness: liveness::Behaviour,
    pub(super) kad: Lookups,
    pub(super) streams: streams::Behaviour,
    pub(super) reach: streams::Behaviour,
    pub(super) discovery: Toggle<discovery::Behaviour>,
}

/// Kademlia's protocol name in a network.
pub(super) fn kad_protocol(network: &NetworkName) -> Result<StreamProtocol, libp2p::swarm::InvalidProtocol> {
    StreamProtocol::try_from_owned(network.protocol(KAD))
}

/// The protocol name of the sync in a network.
pub(super) fn sync_protocol(network: &NetworkName) -> Result<StreamProtocol, libp2p::swarm::InvalidProtocol> {
    StreamProtocol::try_from_owned(network.protocol(SYNC))
}

/// The protocol name of questions about the way to a node in a network.
fn reach_protocol(network: &NetworkName) -> Result<StreamProtocol, libp2p::swarm::InvalidProtocol> {
    StreamProtocol::try_from_owned(network.protocol(reach::REACH))
}

impl Behaviour {
    /// The protocols for one run of a node, which others learn from its agent version. The streams of the sync that peers open go
    /// to `incoming`, those of questions about the way to them to `asking`. In a `private` network, only members are connected.
    pub(super) fn new(
        key: &Keypair,
        network: &NetworkName,
        agent_version: String,
        discovery: Option<discovery::Behaviour>,
        incoming: mpsc::Sender<streams::Incoming>,
        asking: mpsc::Sender<streams::Incoming>,
        private: Option<door::Private>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(PENDING_INBOUND_MAX))
            .with_max_pending_outgoing(Some(DIALS_MAX))
            .with_max_established(Some(CONNECTIONS_MAX))
            .with_max_established_incoming(Some(CONNECTIONS_INBOUND_MAX))
            .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
        let identify = identify::Config::new("/p2p-sync/1".to_owned(), key.public())
            .with_agent_version(agent_version)
            .with_interval(IDENTIFY_INTERVAL)
            .with_push_listen_addr_updates(true);
        Ok(Self {
            members: private.map(door::members::Members::new).into(),
            limits: connection_limits::Behaviour::new(limits),
            per_address: per_address::Behaviour::default(),
            own_dials: own_dials::Behaviour::default(),
            gossip: gossip(key, network)?,
            identify: identify::Behaviour::new(identify),
            liveness: liveness::Behaviour::new(),
            kad: Lookups::new(kademlia(key, network)?),
            streams: streams::Behaviour::new(sync_protocol(network)?, incoming),
            reach: streams::Behaviour::new(reach_protocol(network)?, asking),
            discovery: discovery.into(),
        })
    }
}

fn gossip(
    key: &Keypair,
    network: &NetworkName,
) -> Result<gossipsub::Behaviour, Box<dyn std::error::Error + Send + Sync>> {
    let config = gossipsub::ConfigBuilder::default()
        .mesh_n(6)
        .mesh_n_low(4)
        .mesh_n_high(8)
        .mesh_outbound_min(2)
        // Own messages go to the mesh and are passed on from there, not to everybody.
        .flood_publish(false)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_initial_delay(Duration::from_millis(200))
        .max_transmit_size(TRANSMIT_BYTES_MAX)
        .validation_mode(ValidationMode::Strict)
        // Nothing is passed on before it was checked here.
        .validate_messages()
        .message_id_fn(message_id)
        .duplicate_cache_time(SEEN_FOR)
        .build()?;
    let mut gossip = gossipsub::Behaviour::new(MessageAuthenticity::Signed(key.clone()), config)?;
    gossip.subscribe(&IdentTopic::new(network.topic()))?;
    Ok(gossip)
}

/// What tells a message from others: its author, its number and what it says. By author and number alone, which is gossipsub's
/// usual way, what an author says after a restart would count as seen if it counts from the start again.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let source = message.source.map(PeerId::to_bytes).unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(source.len() as u64).to_le_bytes());
    hasher.update(&source);
    hasher.update(&message.sequence_number.unwrap_or_default().to_le_bytes());
    hasher.update(&message.data);
    MessageId::from(hasher.finalize().as_bytes().as_slice())
}

fn kademlia(
    key: &Keypair,
    network: &NetworkName,
) -> Result<kad::Behaviour<MemoryStore>, libp2p::swarm::InvalidProtocol> {
    let peer = key.public().to_peer_id();
    let mut config = kad::Config::new(kad_protocol(network)?);
    // Finds peers beyond the reach of multicast. It stores nothing for anybody: what it is asked to keep is reported
    // here, and dropped.
    config.set_record_filtering(kad::StoreInserts::FilterBoth);
    // It hears of peers from `Lookups::learn` alone.
    config.set_kbucket_inserts(kad::BucketInserts::Manual);
    config
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_provider_publication_interval(None)
        .set_periodic_bootstrap_interval(Some(KAD_INTERVAL));
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    kad.set_mode(Some(kad::Mode::Server));
    Ok(kad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_told_from_others_by_its_author_its_number_and_its_content() {
        let message = gossipsub::Message {
            source: Some(PeerId::random()),
            data: b"one".to_vec(),
            sequence_number: Some(1),
            topic: IdentTopic::new("p2p-sync").hash(),
        };
        let mut others = [message.clone(), message.clone(), message.clone()];
        others[0].source = Some(PeerId::random());
        others[1].sequence_number = Some(2);
        others[2].data = b"two".to_vec();
        let mut ids: Vec<_> = others.iter().map(message_id).collect();
        ids.push(message_id(&message));
        assert_eq!(message_id(&message), message_id(&message.clone()));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }
}
