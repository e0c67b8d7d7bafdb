//! Which connections to close: dead ones, spare ones, and those of peers that take no part in gossip.

use std::sync::Arc;
use std::time::Instant;

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;

use super::{
    Connections, DEAD_AFTER, DOUBTED_AFTER, DOUBTED_FOR, Pulse, QUIET, SPARE_AFTER, SPARE_AT_LAST, SUBSCRIBE_WITHIN,
};

impl Connections {
    /// Connections on which nothing came in for too long.
    pub(in crate::net::libp2p) fn dead(&self, now: Instant) -> Vec<(PeerId, ConnectionId)> {
        let all = self
            .peers
            .iter()
            .flat_map(|(peer, known)| known.connections.iter().map(move |it| (*peer, it)));
        let is_dead = |pulse: &Arc<Pulse>| now.saturating_duration_since(pulse.last().into_std()) > DEAD_AFTER;
        all.filter(|(_, connection)| connection.watched.as_ref().is_some_and(is_dead))
            .map(|(peer, connection)| (peer, connection.id))
            .collect()
    }

    /// Connections on which nothing has come in for so long that a ping is to show whether they are dead. Each is named once or
    /// twice, if this is asked twice a second.
    pub(in crate::net::libp2p) fn in_doubt(&self, now: Instant) -> Vec<(PeerId, ConnectionId)> {
        let all = self
            .peers
            .iter()
            .flat_map(|(peer, known)| known.connections.iter().map(move |it| (*peer, it)));
        let is_in_doubt = |pulse: &Arc<Pulse>| {
            let silence = now.saturating_duration_since(pulse.last().into_std());
            (DOUBTED_AFTER..DOUBTED_AFTER + DOUBTED_FOR).contains(&silence)
        };
        all.filter(|(_, connection)| connection.watched.as_ref().is_some_and(is_in_doubt))
            .map(|(peer, connection)| (peer, connection.id))
            .collect()
    }

    /// This process itself stood still for a while: silence during that time says nothing of the others.
    pub(in crate::net::libp2p) fn excuse(&self) {
        let all = self.peers.values().flat_map(|known| &known.connections);
        all.filter_map(|connection| connection.watched.as_ref())
            .for_each(|pulse| pulse.beat());
    }

    /// Connections beyond the one that each peer needs, where it is on this side to close them: the smaller peer id does, so
    /// that the two never close one each.
    pub(in crate::net::libp2p) fn spare(&self, own: PeerId, now: Instant) -> Vec<ConnectionId> {
        let mut spare = Vec::new();
        for known in self
            .peers
            .iter()
            .filter(|(peer, _)| own < **peer)
            .map(|(_, known)| known)
        {
            let Some(newest) = known.connections.iter().map(|connection| connection.opened).max() else {
                continue;
            };
            let age = now.saturating_duration_since(newest);
            let quiet = now.saturating_duration_since(known.gossiped) > QUIET;
            if known.connections.len() < 2 || age < SPARE_AFTER || !(quiet || age > SPARE_AT_LAST) {
                continue;
            }
            let keep = known.best();
            spare.extend(known.connections.iter().map(|it| it.id).filter(|id| Some(*id) != keep));
        }
        spare
    }

    /// Nodes of this network that are connected but take no part in gossip, as happens when their announcement went down
    /// with a dying connection. Each is named once in a while.
    pub(in crate::net::libp2p) fn unsubscribed(&mut self, now: Instant) -> Vec<PeerId> {
        let mut deaf = Vec::new();
        for (peer, known) in &mut self.peers {
            let since = now.saturating_duration_since(known.unsubscribed_since);
            if known.is_node && !known.subscribed && since > SUBSCRIBE_WITHIN {
                known.unsubscribed_since = now;
                deaf.push(*peer);
            }
        }
        deaf
    }
}
