//! Pings that somebody asked for: who waits for the answer of which peer.

use std::time::Duration;

use libp2p::PeerId;
use p2p_sync_core::NodeId;
use tokio::sync::oneshot;

use super::Task;

/// Answers that are waited for. Of more, the earliest ones are given up.
const PINGS_MAX: usize = 64;

/// Who waits.
#[derive(Debug, Default)]
pub(super) struct Pings(Vec<(PeerId, oneshot::Sender<Duration>)>);

impl Pings {
    fn wait(&mut self, peer: PeerId, reply: oneshot::Sender<Duration>) {
        self.0.retain(|(_, waiting)| !waiting.is_closed());
        if self.0.len() >= PINGS_MAX {
            self.0.remove(0);
        }
        self.0.push((peer, reply));
    }

    /// A ping came back, asked for or not.
    pub(super) fn answered(&mut self, peer: PeerId, rtt: Duration) {
        for (_, reply) in self.0.extract_if(.., |(asked, _)| *asked == peer) {
            // Whoever asked may have gone away meanwhile.
            let _ = reply.send(rtt);
        }
    }

    /// The last connection to a peer has ended.
    pub(super) fn gone(&mut self, peer: PeerId) {
        self.0.retain(|(asked, _)| *asked != peer);
    }
}

impl Task {
    /// Pings a peer now, if it is connected.
    pub(super) fn ping(&mut self, peer: NodeId, reply: oneshot::Sender<Duration>) {
        let Ok(peer) = PeerId::from_bytes(peer.as_bytes()) else {
            return;
        };
        if let Some(connection) = self.connections.best(peer) {
            self.swarm.behaviour_mut().liveness.ping(peer, connection);
            self.pings.wait(peer, reply);
        }
    }
}
