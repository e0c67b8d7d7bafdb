//! Saves the peers that were reached in the store, so that a node finds them again after a restart even if discovery does
//! not work. The network decides whom to dial.

use std::collections::HashMap;
use std::time::Duration;

use libp2p::Multiaddr;
use p2p_sync_core::{NodeId, Timestamp, Uptime};

use crate::names::Names;
use crate::store::{REMEMBERED_PEERS_MAX, RememberedPeer, SqliteStore, StoreError};

/// A peer at an address is written down again after this at the earliest.
const REPEAT: Duration = Duration::from_secs(600);
/// Peers and addresses of which it is known when they were last written down.
const RECENT_MAX: usize = 4_096;

/// Peers that are to be written down with the next transaction.
#[derive(Debug, Default)]
pub(super) struct Remembering {
    recent: HashMap<(NodeId, String), Uptime>,
    waiting: Vec<RememberedPeer>,
}

impl Remembering {
    /// A peer was reached at an address.
    pub(super) fn reached(&mut self, id: NodeId, address: String, now: Timestamp, uptime: Uptime) {
        let known = (id, address);
        if self
            .recent
            .get(&known)
            .is_some_and(|last| uptime.saturating_since(*last) < REPEAT)
        {
            return;
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        self.waiting.push(RememberedPeer {
            id,
            address: known.1.clone(),
            last_reached: now,
        });
        self.recent.insert(known, uptime);
    }

    /// What is to be written now.
    pub(super) fn take(&mut self) -> Vec<RememberedPeer> {
        std::mem::take(&mut self.waiting)
    }

    /// They could not be written; the next transaction tries again, for as many as the store keeps.
    pub(super) fn put_back(&mut self, peers: Vec<RememberedPeer>) {
        self.waiting.extend(peers);
        self.waiting.truncate(REMEMBERED_PEERS_MAX);
    }
}

/// The peers to try at the start, those reached last first. An address that cannot be read any more is left out.
pub(super) fn load(store: &mut SqliteStore) -> Result<Vec<(NodeId, Multiaddr)>, StoreError> {
    let known = store.remembered_peers(REMEMBERED_PEERS_MAX)?;
    Ok(known
        .into_iter()
        .filter_map(|peer| Some((peer.id, peer.address.parse().ok()?)))
        .collect())
}

/// What nodes are called, as far as that is known at the start: this one itself, and those that it knew before.
pub(super) fn load_names(store: &mut SqliteStore, own: NodeId, name: &str) -> Result<Names, StoreError> {
    let known = store.remembered_names()?;
    Ok(Names::new(
        own,
        name,
        known.into_iter().map(|known| (known.id, known.name)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_written_down_once_in_a_while_and_again_if_that_failed() {
        let mut remembering = Remembering::default();
        let id = NodeId::from_bytes(&[1]).unwrap();
        let reached = |remembering: &mut Remembering, uptime| {
            remembering.reached(id, "/ip4/192.0.2.1/tcp/1".to_owned(), Timestamp::MIN, Uptime(uptime));
            remembering.take()
        };
        let first = reached(&mut remembering, Duration::ZERO);
        assert_eq!(first.len(), 1);
        assert_eq!(reached(&mut remembering, Duration::from_secs(1)), []);
        remembering.put_back(first.clone());
        assert_eq!(remembering.take(), first);
        assert_eq!(reached(&mut remembering, REPEAT).len(), 1);
    }
}
