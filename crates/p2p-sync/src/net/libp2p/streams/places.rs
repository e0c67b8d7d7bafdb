//! Which streams peers may have open to us: a limited number in all and per peer, some of them reserved for peers that we
//! dialled. The reader of a silent stream ends it, so places become free by themselves.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use libp2p::PeerId;
use tokio::sync::oneshot;

/// Streams that one peer may have open to us: a session, a feed, and what replaces them while they end.
pub(super) const PER_PEER_MAX: usize = 4;
/// Streams that all peers together may have open to us: a feed and some sessions of a few hundred machines. Each takes at most a
/// frame's length of memory.
pub(super) const INBOUND_MAX: usize = 512;
/// Those of them that may be on connections that others dialled: whoever takes them all leaves room for the peers that this
/// node chose.
pub(super) const STRANGERS_MAX: usize = 384;
/// The streams that peers have open to us.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    taken: BTreeMap<u64, Place>,
    by_peer: HashMap<PeerId, usize>,
    strangers: usize,
}

#[derive(Debug)]
struct Place {
    peer: PeerId,
    is_stranger: bool,
    /// Dropped to end the feed, if it is one.
    feed: Option<oneshot::Sender<()>>,
}

impl Places {
    /// Takes a place for a stream of `peer`, which is a stranger if it dialled us. None when there is none for it.
    pub(super) fn take(&self, peer: PeerId, is_stranger: bool) -> Option<u64> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_peer.get(&peer).copied().unwrap_or_default();
        let is_crowded = is_stranger && table.strangers >= STRANGERS_MAX;
        if own >= PER_PEER_MAX || is_crowded || table.taken.len() >= INBOUND_MAX {
            return None;
        }
        table.next += 1;
        let number = table.next;
        let feed = None;
        table.taken.insert(
            number,
            Place {
                peer,
                is_stranger,
                feed,
            },
        );
        table.strangers += usize::from(is_stranger);
        *table.by_peer.entry(peer).or_default() += 1;
        Some(number)
    }

    /// The stream is a feed. The one that was there before it from the same peer ends, as this one is to do when what is
    /// returned fails.
    pub(super) fn feeds(&self, number: u64) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = table.taken.get(&number).map(|place| place.peer) {
            let of_peer = table.taken.values_mut().filter(|place| place.peer == peer);
            of_peer.for_each(|place| place.feed = None);
        }
        if let Some(place) = table.taken.get_mut(&number) {
            place.feed = Some(end);
        }
        ended
    }

    /// The stream has ended.
    pub(super) fn leave(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).taken.len()
    }
}

impl Table {
    fn remove(&mut self, number: u64) {
        let Some(place) = self.taken.remove(&number) else {
            return;
        };
        self.strangers -= usize::from(place.is_stranger);
        if let Some(count) = self.by_peer.get_mut(&place.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&place.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(places: &Places, is_stranger: bool) -> Vec<u64> {
        std::iter::from_fn(|| places.take(PeerId::random(), is_stranger)).collect()
    }

    #[test]
    fn the_streams_of_a_peer_and_of_all_are_bounded() {
        let (places, peer) = (Places::default(), PeerId::random());
        let own: Vec<_> = std::iter::from_fn(|| places.take(peer, true)).collect();
        assert_eq!(own.len(), PER_PEER_MAX);
        assert_eq!(fill(&places, true).len(), STRANGERS_MAX - PER_PEER_MAX);
        assert_eq!(fill(&places, false).len(), INBOUND_MAX - STRANGERS_MAX);
        assert_eq!(places.taken(), INBOUND_MAX);
        places.leave(own[0]);
        places.leave(own[0]);
        assert_eq!(places.taken(), INBOUND_MAX - 1);
        assert!(places.take(peer, true).is_some());
    }

    #[test]
    fn strangers_leave_room_for_those_that_were_dialled() {
        let places = Places::default();
        assert_eq!(fill(&places, true).len(), STRANGERS_MAX);
        let chosen = PeerId::random();
        assert!(places.take(chosen, false).is_some() && places.take(chosen, false).is_some());
    }

    #[test]
    fn a_peer_has_one_feed() {
        let (places, peer) = (Places::default(), PeerId::random());
        let (first, second) = (places.take(peer, true).unwrap(), places.take(peer, true).unwrap());
        let mut first = places.feeds(first);
        let mut second = places.feeds(second);
        assert!(
            first
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            second
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
    }
}
