//! Connections that this node made to a peer that has not yet identified itself. A member of this network does so within
//! seconds; others are reported to the table of troubles.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};

use crate::net::TroubleCause;

/// How long somebody may take to show that it takes part. On a slow link, what it says of itself takes a while.
const SHOWN_WITHIN: Duration = Duration::from_secs(8);
/// Connections that are followed: more than a node dials in that time.
const VISITS_MAX: usize = 1_024;

#[derive(Debug)]
struct Visit {
    peer: PeerId,
    address: Multiaddr,
    opened: Instant,
    /// It said something of itself.
    identified: bool,
    closed: bool,
}

/// The connections that are followed.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Visits(HashMap<ConnectionId, Visit>);

impl Visits {
    /// This node has dialled somebody.
    pub(in crate::net::libp2p) fn opened(&mut self, peer: PeerId, id: ConnectionId, address: Multiaddr, now: Instant) {
        if self.0.len() < VISITS_MAX {
            let visit = Visit {
                peer,
                address,
                opened: now,
                identified: false,
                closed: false,
            };
            self.0.insert(id, visit);
        }
    }

    /// It identified itself, but not as somebody that is known.
    pub(in crate::net::libp2p) fn identified(&mut self, id: ConnectionId) {
        if let Some(visit) = self.0.get_mut(&id) {
            visit.identified = true;
        }
    }

    /// The connection is gone.
    pub(in crate::net::libp2p) fn closed(&mut self, id: ConnectionId) {
        if let Some(visit) = self.0.get_mut(&id) {
            visit.closed = true;
        }
    }

    /// It is known what this peer is.
    pub(in crate::net::libp2p) fn known(&mut self, peer: PeerId) {
        self.0.retain(|_, visit| visit.peer != peer);
    }

    /// Those who did not show in time that they take part, and what that makes of them.
    pub(in crate::net::libp2p) fn take_due(&mut self, now: Instant) -> Vec<(PeerId, Multiaddr, TroubleCause)> {
        let is_due = |visit: &Visit| now.saturating_duration_since(visit.opened) >= SHOWN_WITHIN;
        self.0
            .extract_if(|_, visit| is_due(visit))
            .map(|(_, visit)| {
                // A node that has too many connections closes each one at once, without a word.
                let cause = if visit.closed && !visit.identified {
                    TroubleCause::Closed
                } else {
                    TroubleCause::NotANode
                };
                (visit.peer, visit.address, cause)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_show_what_it_is_is_named_once() {
        let (mut visits, now) = (Visits::default(), Instant::now());
        let peers = [(); 4].map(|()| PeerId::random());
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().expect("an address");
        for (number, peer) in peers.iter().enumerate() {
            visits.opened(*peer, ConnectionId::new_unchecked(number), address.clone(), now);
        }
        visits.known(peers[0]);
        visits.closed(ConnectionId::new_unchecked(1));
        visits.identified(ConnectionId::new_unchecked(2));
        visits.closed(ConnectionId::new_unchecked(2));
        assert_eq!(visits.take_due(now + SHOWN_WITHIN / 2), []);
        let mut due = visits.take_due(now + SHOWN_WITHIN);
        due.sort_by_key(|(peer, ..)| peers.iter().position(|one| one == peer));
        assert_eq!(
            due,
            [
                (peers[1], address.clone(), TroubleCause::Closed),
                (peers[2], address.clone(), TroubleCause::NotANode),
                (peers[3], address.clone(), TroubleCause::NotANode)
            ]
        );
        assert_eq!(visits.take_due(now + 9 * SHOWN_WITHIN), []);
    }

    #[test]
    fn no_more_are_followed_than_there_can_be() {
        let (mut visits, now) = (Visits::default(), Instant::now());
        for number in 0..2 * VISITS_MAX {
            visits.opened(
                PeerId::random(),
                ConnectionId::new_unchecked(number),
                Multiaddr::empty(),
                now,
            );
        }
        assert_eq!(visits.0.len(), VISITS_MAX);
    }
}
