//! The status of the network, put together from all its tables.

use libp2p::PeerId;

use super::Task;
use crate::net::libp2p::{discovery, listening, node_id};
use crate::net::{Multicast, NetStatus, PeerStatus};

impl Task {
    pub(super) fn listening(&self) -> Vec<String> {
        listening::worth_telling(self.swarm.listeners())
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    /// Whether other machines are heard by multicast DNS.
    pub(super) fn multicast(&self) -> Multicast {
        let discovery = self.swarm.behaviour().discovery.as_ref();
        discovery.map(discovery::Behaviour::multicast).unwrap_or_default()
    }

    pub(super) fn status(&mut self) -> NetStatus {
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
        let (sync_bytes_in, sync_bytes_out) = self.streams.traffic();
        NetStatus {
            addresses: self.listening(),
            not_listening: self.not_listening.clone(),
            peers,
            known_peers: self.dialer.known(),
            mesh: mesh.len(),
            sent: self.gossip.sent,
            unheard: self.gossip.unheard,
            received: self.gossip.received,
            multicast: self.multicast(),
            troubles: self.telling.troubles.all(),
            dropped: self.gossip.complaints.all_with(&self.streams.complaints()),
            sync_streams: self.streams.inbound_streams(),
            sync_bytes_in,
            sync_bytes_out,
        }
    }
}
