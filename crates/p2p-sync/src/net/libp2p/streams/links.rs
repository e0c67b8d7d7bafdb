//! The table of peers to sync with that the node sees: who is there, who was lost and came back, and with whom something
//! did not get through. The writers of the table know the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use p2p_sync_core::NodeId;
use tokio::sync::watch;

use crate::net::{PeerLink, PeerLinks};

/// How often the node is told at most that something did not get through to the same peer: under a flood of them each would
/// wake it.
const TELL_INTERVAL: Duration = Duration::from_millis(250);

/// The table. Only the network writes to it, from several tasks.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Links {
    told: watch::Sender<PeerLinks>,
    /// The numbers in the table: never the same twice, so that nothing must be remembered of peers that are gone.
    number: AtomicU64,
    missed: Mutex<Missed>,
}

/// Peers of the table to whom something did not get through.
#[derive(Debug, Default)]
struct Missed {
    last: BTreeMap<NodeId, Instant>,
    untold: BTreeSet<NodeId>,
}

impl Links {
    pub(in crate::net::libp2p) fn new(told: watch::Sender<PeerLinks>) -> Self {
        Self {
            told,
            number: AtomicU64::new(0),
            missed: Mutex::default(),
        }
    }

    /// These are the peers now.
    pub(in crate::net::libp2p) fn set(&self, peers: &BTreeSet<NodeId>) {
        self.told.send_if_modified(|links| {
            let before = links.len();
            links.retain(|peer, _| peers.contains(peer));
            let mut changed = links.len() != before;
            for peer in peers {
                links.entry(*peer).or_insert_with(|| {
                    changed = true;
                    let number = self.next_number();
                    PeerLink {
                        connected: number,
                        missed: number,
                        dialled: false,
                    }
                });
            }
            changed
        });
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        missed.last.retain(|peer, _| peers.contains(peer));
        missed.untold.retain(|peer| peers.contains(peer));
    }

    /// Of the peers in the table, these were dialled by this node.
    pub(in crate::net::libp2p) fn set_dialled(&self, dialled: &BTreeSet<NodeId>) {
        self.told.send_if_modified(|links| {
            let mut changed = false;
            for (peer, link) in links {
                let now = dialled.contains(peer);
                changed |= std::mem::replace(&mut link.dialled, now) != now;
            }
            changed
        });
    }

    /// Something did not get through between this peer and us. One that is not in the table gets a session when it comes.
    pub(in crate::net::libp2p) fn missed(&self, peer: NodeId, now: Instant) {
        if !self.told.borrow().contains_key(&peer) {
            return;
        }
        {
            let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
            let recently = |last: &Instant| now.saturating_duration_since(*last) < TELL_INTERVAL;
            if missed.last.get(&peer).is_some_and(recently) {
                missed.untold.insert(peer);
                return;
            }
            missed.last.insert(peer, now);
        }
        self.tell(&BTreeSet::from([peer]));
    }

    /// Something of ours got through to nobody.
    pub(in crate::net::libp2p) fn missed_by_all(&self, now: Instant) {
        let peers: Vec<NodeId> = self.told.borrow().keys().copied().collect();
        for peer in peers {
            self.missed(peer, now);
        }
    }

    /// Tells what was held back. To be called every now and then.
    pub(in crate::net::libp2p) fn settle(&self, now: Instant) {
        let untold = {
            let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
            let untold = std::mem::take(&mut missed.untold);
            missed.last.extend(untold.iter().map(|peer| (*peer, now)));
            untold
        };
        if !untold.is_empty() {
            self.tell(&untold);
        }
    }

    fn tell(&self, peers: &BTreeSet<NodeId>) {
        self.told.send_if_modified(|links| {
            let mut changed = false;
            for (_, link) in links.iter_mut().filter(|(peer, _)| peers.contains(peer)) {
                link.missed = self.next_number();
                changed = true;
            }
            changed
        });
    }

    fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn peer(number: u8) -> NodeId {
        NodeId::from_bytes(&[number; 38]).unwrap()
    }

    fn table() -> (Links, watch::Receiver<PeerLinks>) {
        let (told, seen) = watch::channel(PeerLinks::new());
        (Links::new(told), seen)
    }

    #[test]
    fn a_peer_that_was_lost_and_came_back_has_another_number() {
        let (links, mut seen) = table();
        let both = BTreeSet::from([peer(1), peer(2)]);
        links.set(&both);
        let first = seen.borrow_and_update().clone();
        assert_eq!(first.len(), 2);
        links.set(&both);
        assert!(!seen.has_changed().unwrap(), "nothing changed, and nobody is woken");
        links.set(&BTreeSet::from([peer(2)]));
        links.set(&both);
        let second = seen.borrow_and_update().clone();
        assert!(
            second[&peer(1)].connected > first[&peer(1)].connected,
            "seen late, and seen nevertheless"
        );
        assert_eq!(second[&peer(2)], first[&peer(2)]);
    }

    #[test]
    fn many_misses_are_told_now_and_then_and_the_last_one_is_not_forgotten() {
        let (links, mut seen) = table();
        let now = Instant::now();
        links.set(&BTreeSet::from([peer(1), peer(2)]));
        let before = seen.borrow_and_update().clone();
        links.missed(peer(1), now);
        let first = seen.borrow_and_update().clone();
        assert!(first[&peer(1)].missed > before[&peer(1)].missed);
        assert_eq!(first[&peer(2)], before[&peer(2)]);
        for _ in 0..100 {
            links.missed(peer(1), now);
            links.missed(peer(3), now);
        }
        assert!(!seen.has_changed().unwrap());
        links.settle(now);
        let second = seen.borrow_and_update().clone();
        assert!(second[&peer(1)].missed > first[&peer(1)].missed);
        assert!(!second.contains_key(&peer(3)), "a miss makes nobody a peer");
        links.settle(now);
        assert!(!seen.has_changed().unwrap());
        links.missed_by_all(now + TELL_INTERVAL);
        let third = seen.borrow_and_update().clone();
        assert!(third.iter().all(|(peer, link)| link.missed > second[peer].missed));
    }
}
