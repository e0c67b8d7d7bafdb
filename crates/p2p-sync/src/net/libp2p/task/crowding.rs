//! Lets go of peers where there are too many to be connected with all.

use std::time::Instant;

use super::Task;

/// Peers that are disconnected in one check because there are too many of them: gossip has to get along with it.
const CLOSED_MAX: usize = 2;

impl Task {
    /// Closes connections to peers that are too many, a few at a time.
    pub(super) fn close_surplus(&mut self, now: Instant) {
        let links = self.connections.links(now, |peer| self.streams.is_busy(peer));
        for peer in self.dialer.surplus(&links, now).into_iter().take(CLOSED_MAX) {
            tracing::debug!(%peer, "closing the connection to a peer that is one too many");
            self.reconnect(peer);
        }
    }
}
