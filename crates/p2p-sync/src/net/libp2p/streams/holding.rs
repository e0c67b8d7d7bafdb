//! With which peers sessions are under way, for those who think of closing a connection.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use libp2p::PeerId;

/// How many sessions are under way with each peer. There are as many as there are streams.
#[derive(Debug, Default)]
pub(super) struct Holding(Mutex<HashMap<PeerId, usize>>);

/// A session under way, until this is dropped.
pub(super) struct Held<'a> {
    holding: &'a Holding,
    peer: PeerId,
}

impl Holding {
    /// A session with this peer begins.
    pub(super) fn begin(&self, peer: PeerId) -> Held<'_> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(peer).or_default() += 1;
        Held { holding: self, peer }
    }

    /// Whether one is under way with this peer.
    pub(super) fn is_busy(&self, peer: &PeerId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(peer)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut all = self.holding.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_busy_until_the_last_session_with_it_has_ended() {
        let (holding, peer) = (Holding::default(), PeerId::random());
        assert!(!holding.is_busy(&peer));
        let first = holding.begin(peer);
        let second = holding.begin(peer);
        drop(first);
        assert!(holding.is_busy(&peer) && !holding.is_busy(&PeerId::random()));
        drop(second);
        assert!(!holding.is_busy(&peer));
        assert!(holding.0.lock().unwrap().is_empty());
    }
}
