//! What sync as a whole is doing, derived from the state of the store and of each peer.

use super::{Standing, SyncStatus};
use crate::report::SyncState;

impl SyncStatus {
    /// What the sync is doing.
    pub fn state(&self) -> SyncState {
        let peers = self.peers.len();
        let count = |wanted: fn(&Standing) -> bool| self.peers.iter().filter(|peer| wanted(&peer.standing)).count();
        let in_sync = count(|standing| matches!(standing, Standing::InSync));
        let waiting = count(|standing| matches!(standing, Standing::Waiting { .. } | Standing::NoRoom { .. }));
        if self.is_out_of_order {
            SyncState::OutOfOrder
        } else if !self.ready {
            SyncState::Rebuilding
        } else if peers == 0 {
            SyncState::NoPeers
        } else if self.is_full {
            SyncState::NoRoom
        } else if in_sync == peers {
            SyncState::InSync
        } else if in_sync + waiting == peers {
            SyncState::Waiting
        } else {
            SyncState::UnderWay
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::PeerSync;

    fn with(standings: &[Standing]) -> SyncStatus {
        let peer = |standing: &Standing| PeerSync {
            unequal_for: None,
            hindrance: None,
            peer: p2p_sync_core::NodeId::from_bytes(&[1; 38]).expect("an id"),
            standing: *standing,
            last: None,
            clock_ahead_nanos: None,
        };
        SyncStatus {
            ready: true,
            peers: standings.iter().map(peer).collect(),
            ..SyncStatus::default()
        }
    }

    #[test]
    fn the_peers_decide_when_nothing_else_is_in_the_way() {
        let waiting = Standing::Waiting { records: 1 };
        for (standings, state) in [
            (&[][..], SyncState::NoPeers),
            (&[Standing::InSync; 2], SyncState::InSync),
            (&[Standing::InSync, waiting], SyncState::Waiting),
            (&[Standing::InSync, waiting, Standing::Unknown], SyncState::UnderWay),
            (&[Standing::Syncing], SyncState::UnderWay),
        ] {
            assert_eq!(with(standings).state(), state, "{standings:?}");
        }
    }

    #[test]
    fn what_is_in_the_way_goes_first() {
        let mut sync = with(&[Standing::InSync]);
        sync.is_full = true;
        assert_eq!(sync.state(), SyncState::NoRoom);
        sync.ready = false;
        assert_eq!(sync.state(), SyncState::Rebuilding);
        sync.is_out_of_order = true;
        assert_eq!(sync.state(), SyncState::OutOfOrder);
        let alone = SyncStatus {
            is_full: true,
            ..with(&[])
        };
        assert_eq!(alone.state(), SyncState::NoPeers);
    }
}
