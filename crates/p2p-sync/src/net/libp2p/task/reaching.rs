//! From which port a peer is dialled, and questions about the way between a peer and this node: those of this node, and those of
//! peers.

use libp2p::PeerId;
use libp2p::swarm::dial_opts::DialOpts;
use p2p_sync_core::NodeId;
use tokio::sync::oneshot;

use super::Task;
use crate::net::Told;
use crate::net::libp2p::multiaddrs::ip;
use crate::net::libp2p::peers::dialer::Order;
use crate::net::libp2p::peers::troubles::Whom;
use crate::net::libp2p::{reach, streams};

impl Task {
    /// How to carry out an order to dial; none if it names nobody.
    ///
    /// Dials come from the port on which this node listens. Two nodes that dial each other at once so, while a firewall drops what
    /// comes in to one of them, get one TCP connection that both have opened (RFC 9293, section 3.5): each waits for the other to
    /// answer, and takes it for another program. So whoever met that tries from another port next.
    pub(super) fn dial_options(&self, order: &Order) -> Option<DialOpts> {
        let met = |whom| self.telling.troubles.met_no_node(&whom);
        Some(match (order.peer, order.addresses.first()) {
            (Some(peer), _) => {
                let options = DialOpts::peer_id(peer).addresses(order.addresses.clone());
                if met(Whom::Peer(peer)) {
                    options.allocate_new_port().build()
                } else {
                    options.build()
                }
            }
            (None, Some(address)) => {
                let options = DialOpts::unknown_peer_id().address(address.clone());
                if met(Whom::Address(address.clone())) {
                    options.allocate_new_port().build()
                } else {
                    options.build()
                }
            }
            (None, None) => return None,
        })
    }

    /// Asks a peer to knock here, if it is connected.
    pub(super) fn ask_back(&mut self, peer: NodeId, reply: oneshot::Sender<Told>) {
        let Ok(peer) = PeerId::from_bytes(peer.as_bytes()) else {
            return;
        };
        let Some(connection) = self.connections.best(peer) else {
            return;
        };
        let Some(address) = self.connections.address(peer, connection).and_then(ip) else {
            return;
        };
        let opening = self.swarm.behaviour_mut().reach.open(peer, connection);
        let asked = reach::ask(opening, address, self.telling.twins.port());
        // It ends within seconds, and the node asks so many peers at a time.
        tokio::spawn(async move {
            if let Some(told) = asked.await {
                // Whoever asked may have gone away meanwhile.
                let _ = reply.send(told);
            }
        });
    }

    /// A peer asks this node to knock at its port.
    pub(super) fn on_asked_back(&mut self, asked: streams::Incoming) {
        let connection = self.connections.best(asked.peer);
        let address = connection.and_then(|id| self.connections.address(asked.peer, id));
        let port = self.telling.twins.port();
        self.knocking.serve(asked, address.and_then(ip), port);
    }
}
