//! The libp2p network: TCP with Noise and Yamux, and QUIC, on one port, with gossip for live changes and DNS-SD to find
//! other nodes. This file builds the swarm; its task runs it.

use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId, SwarmBuilder};
use p2p_sync_core::id::InvalidNodeId;
use p2p_sync_core::{NetworkName, NodeId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Audience, FROM_PEERS_MAX, Link, Network, PeerLinks, PortError, STREAM_EVENTS_MAX, Streams, TO_PEERS_MAX, ToPeers,
    claim_port,
};
use crate::names::Names;
use crate::report::NotListening;
use crate::system;

pub(crate) use discovery::{probe, survey};
pub use door::Private;
pub(crate) use reach::knock_near;

mod agent;
mod behaviour;
mod complaints;
mod discovery;
mod door;
mod gossip;
mod listening;
mod log_budget;
mod lookups;
mod multiaddrs;
mod peers;
mod reach;
mod streams;
mod task;
#[cfg(test)]
mod testing;
mod transport;

/// Connections that no protocol needs are closed after this. Gossip needs those to nodes of this network.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the start waits to learn the addresses on which it listens; those that come later are logged.
const LISTENING_WITHIN: Duration = Duration::from_secs(1);

/// What the network needs to know.
#[derive(Debug, Clone)]
pub struct NetConfig {
    /// The identity of this node.
    pub key: Keypair,
    /// Its name, which it tells to others.
    pub name: String,
    /// What nodes are called, to be told when a peer tells its name.
    pub names: Names,
    /// The port for both transports; see [`claim_port`].
    pub port: u16,
    /// The network to take part in; of no account in a private one.
    pub network: NetworkName,
    /// The private network to take part in; none for an open one.
    pub private: Option<Private>,
    /// Addresses to keep connected to, with or without a peer id at the end.
    pub configured: Vec<Multiaddr>,
    /// Peers that were reached before, and where.
    pub remembered: Vec<(NodeId, Multiaddr)>,
    /// Whether to find others, and be found, on the LAN.
    pub lan: bool,
    /// Gossip messages that are taken from one author within 60 s.
    pub message_limit: usize,
}

/// Why the network could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetError {
    /// No transport could listen.
    #[error("cannot listen on port {port}: {reason}")]
    Listen {
        /// The port.
        port: u16,
        /// What the transports said.
        reason: String,
    },
    /// A protocol could not be set up.
    #[error("cannot set up the network: {0}")]
    Setup(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A running network.
#[derive(Debug)]
pub struct Started {
    /// The ends for the node.
    pub link: Link,
    /// The addresses on which it listens.
    pub addresses: Vec<String>,
}

/// The network of libp2p, on the interfaces of this machine.
#[derive(Debug)]
pub(crate) struct Lan;

impl Network for Lan {
    fn claim_port(&self, port: u16) -> Result<u16, PortError> {
        claim_port(port)
    }

    async fn start(self, config: NetConfig) -> Result<Started, NetError> {
        spawn(config).await
    }
}

/// Starts the network on a task of its own. It ends when the link's outbound end is dropped or asked to stop.
///
/// # Errors
/// When no transport can listen, or a protocol cannot be set up; in a private network, also when the keys of connections would be
/// written to a file.
pub async fn spawn(mut config: NetConfig) -> Result<Started, NetError> {
    let setup = |error: Box<dyn std::error::Error + Send + Sync>| NetError::Setup(error);
    let doors = config
        .private
        .clone()
        .map(|private| door::Doors::new(private, &config.key));
    let doors = doors.transpose().map_err(|error| setup(error.into()))?;
    if let Some(private) = &config.private {
        config.network = private.network_name();
    }
    let discovery = config.lan.then(|| start_discovery(&config));
    let nonce = system::boot_nonce();
    let agent_version = agent::agent_version(nonce, &config.name);
    let (opened, incoming) = mpsc::channel(streams::INCOMING_MAX);
    let (asking, asked_back) = mpsc::channel(streams::INCOMING_MAX);
    let log = Arc::new(log_budget::LogBudget::new());
    let pulses = Arc::new(transport::pulse::Pulses::default());
    let arrivals = transport::late_dials::Arrivals::default();
    let (told_cut_off, cut_off) = mpsc::channel(transport::muxer::CUT_OFFS_MAX);
    let mut swarm = SwarmBuilder::with_existing_identity(config.key.clone())
        .with_tokio()
        .with_other_transport(|key| {
            transport::build(key, Arc::clone(&pulses), told_cut_off, arrivals.clone(), doors.clone())
        })
        .map_err(|error| setup(error.into()))?
        .with_behaviour(|key| {
            let private = config.private.clone();
            behaviour::Behaviour::new(key, &config.network, agent_version, discovery, opened, asking, private)
        })
        .map_err(|error| setup(error.into()))?
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(IDLE_TIMEOUT)
                // In which order they are dialled, and when, the transport decides.
                .with_dial_concurrency_factor(NonZeroU8::MAX)
        })
        // The transport has its own, which tells that it was that.
        .with_connection_timeout(transport::DIAL_TIMEOUT * 2)
        .build();

    let (listeners, not_listening) = listen(&mut swarm, config.port)?;
    let (to_peers, outbound) = mpsc::channel(TO_PEERS_MAX);
    let (inbound, from_peers) = mpsc::channel(FROM_PEERS_MAX);
    let (told, peers) = watch::channel(PeerLinks::new());
    let (happened, events) = mpsc::channel(STREAM_EVENTS_MAX);
    let common = Arc::new(streams::Common::new(
        happened,
        inbound.clone(),
        streams::links::Links::new(told),
        streams::Patience::default(),
        Arc::clone(&log),
        config.names.clone(),
    ));
    tokio::spawn(streams::accept(Arc::clone(&common), incoming));
    let (ready, is_ready) = oneshot::channel();
    let audience = Arc::new(Audience::default());
    let task = task::Task::new(
        swarm,
        &config,
        task::Ends {
            outbound,
            inbound,
            listeners,
            not_listening,
            ready,
            streams: common,
            audience: Arc::clone(&audience),
            nonce,
            log,
            pulses,
            arrivals,
            cut_off,
            doors,
            asked_back,
        },
    );
    tokio::spawn(task.run());
    let addresses = match select(is_ready, Box::pin(tokio::time::sleep(LISTENING_WITHIN))).await {
        Either::Left((Ok(addresses), _)) => addresses,
        // Some transport is still not there: what is there will do.
        _ => listening_so_far(&to_peers).await,
    };
    Ok(Started {
        link: Link {
            audience,
            outbound: to_peers,
            inbound: from_peers,
            streams: Streams { peers, events },
        },
        addresses,
    })
}

async fn listening_so_far(to_peers: &mpsc::Sender<ToPeers>) -> Vec<String> {
    let (reply, answer) = oneshot::channel();
    if to_peers.send(ToPeers::Status(reply)).await.is_err() {
        return Vec::new();
    }
    answer.await.map(|status| status.addresses).unwrap_or_default()
}

fn start_discovery(config: &NetConfig) -> discovery::Behaviour {
    discovery::Behaviour::new(&discovery::Announcement {
        peer: config.key.public().to_peer_id(),
        name: config.name.clone(),
        port: config.port,
        network_tag: config.network.tag(),
        private: config.private.clone(),
    })
}

/// Listens with every transport on every address family; one that the machine lacks is no failure while another works.
fn listen(
    swarm: &mut libp2p::Swarm<behaviour::Behaviour>,
    port: u16,
) -> Result<(Vec<ListenerId>, Vec<NotListening>), NetError> {
    let any = [
        Multiaddr::from(std::net::Ipv4Addr::UNSPECIFIED),
        Multiaddr::from(std::net::Ipv6Addr::UNSPECIFIED),
    ];
    let mut failures = Vec::new();
    let mut listeners = Vec::new();
    for host in any {
        let tcp = host.clone().with(Protocol::Tcp(port));
        let quic = host.with(Protocol::Udp(port)).with(Protocol::QuicV1);
        for address in [tcp, quic] {
            match swarm.listen_on(address.clone()) {
                Ok(listener) => listeners.push(listener),
                Err(error) => failures.push((
                    listening::lacks_ipv6(&address, &error),
                    listening::failure(&address, &error),
                )),
            }
        }
    }
    if listeners.is_empty() {
        let reasons: Vec<String> = failures.iter().map(|(_, failure)| failure.to_string()).collect();
        return Err(NetError::Listen {
            port,
            reason: reasons.join("; "),
        });
    }
    let (absent, failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(|(is_absent, _)| *is_absent);
    for (_, failure) in absent {
        tracing::debug!("not listening on {failure}");
    }
    let failures: Vec<NotListening> = failures.into_iter().map(|(_, failure)| failure).collect();
    for failure in &failures {
        tracing::warn!("cannot listen on {failure}; other nodes may be unable to reach this one there");
    }
    Ok((listeners, failures))
}

/// A peer as people see it.
fn called(names: &Names, peer: &PeerId) -> String {
    node_id(peer).map_or_else(|_| peer.to_string(), |node| names.peer(node))
}

/// The peer id in the form that the core knows.
///
/// # Errors
/// For an identity whose id is longer than any key type in use makes it.
pub fn node_id(peer: &PeerId) -> Result<NodeId, InvalidNodeId> {
    NodeId::from_bytes(&peer.to_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
