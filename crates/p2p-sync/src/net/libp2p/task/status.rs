//! The status of the network, put together from all its tables.

use std::time::Duration;

use libp2p::PeerId;

use super::Task;
use crate::net::libp2p::{discovery, listening, node_id};
use crate::net::{Multicast, NetStatus};
use crate::report::Peer;

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
        let mut peers: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(peer, known)| {
                let first = known.connections.first()?;
                let id = node_id(peer).ok()?;
                let called = self.names.called(id);
                let of_peer = Peer {
                    peer_id: id.to_string(),
                    name: called.name.map(Into::into),
                    display_name: called.display,
                    address: first.address.to_string(),
                    transport: first.transport,
                    direction: first.direction,
                    rtt_ms: first.rtt.map(milliseconds),
                    connections: known.connections.len(),
                    subscribed: known.subscribed,
                    in_mesh: mesh.contains(&peer),
                };
                Some((id, of_peer))
            })
            .collect();
        peers.sort_by_key(|(id, _)| *id);
        let peers = peers.into_iter().map(|(_, peer)| peer).collect();
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

/// To a hundredth: more is noise.
fn milliseconds(rtt: Duration) -> f64 {
    (rtt.as_secs_f64() * 1e5).round() / 1e2
}
