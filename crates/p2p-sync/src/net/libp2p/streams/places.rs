//! Which streams peers may have open to us: so many in all and of each peer, some of them only for peers that we have dialled
//! ourselves. When all are taken, a feed on which nothing came for a while gives its place to a peer that has hardly any: its
//! sender opens it again when it has something to say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
/// Streams of a peer for which a feed of another one gives way: with a session and a feed it has all it needs.
const NEEDED: usize = 2;
/// A feed that brought nothing for this long may have to give way.
const IDLE_AFTER: Duration = Duration::from_secs(5);

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
    feed: Option<FeedPlace>,
}

#[derive(Debug)]
struct FeedPlace {
    /// When it brought something last.
    last: Instant,
    /// Dropped to end it.
    _end: oneshot::Sender<()>,
}

impl Places {
    /// Takes a place for a stream of `peer`, which is a stranger if it dialled us. None when there is none for it.
    pub(super) fn take(&self, peer: PeerId, is_stranger: bool, now: Instant) -> Option<u64> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = table.by_peer.get(&peer).copied().unwrap_or_default();
        if own >= PER_PEER_MAX {
            return None;
        }
        let is_crowded = is_stranger && table.strangers >= STRANGERS_MAX;
        if is_crowded || table.taken.len() >= INBOUND_MAX {
            let idle = (own < NEEDED).then(|| table.idlest(is_crowded, now)).flatten()?;
            table.remove(idle);
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
    pub(super) fn feeds(&self, number: u64, now: Instant) -> oneshot::Receiver<()> {
        let (end, ended) = oneshot::channel();
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = table.taken.get(&number).map(|place| place.peer) {
            let of_peer = table.taken.values_mut().filter(|place| place.peer == peer);
            of_peer.for_each(|place| place.feed = None);
        }
        if let Some(place) = table.taken.get_mut(&number) {
            place.feed = Some(FeedPlace { last: now, _end: end });
        }
        ended
    }

    /// The feed brought something.
    pub(super) fn fed(&self, number: u64, now: Instant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(feed) = table.taken.get_mut(&number).and_then(|place| place.feed.as_mut()) {
            feed.last = now;
        }
    }

    /// The stream has ended. Its place may have been given away before.
    pub(super) fn leave(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(number);
    }

    /// How many places are taken.
    pub(super) fn taken(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).taken.len()
    }
}

impl Table {
    fn idlest(&self, among_strangers: bool, now: Instant) -> Option<u64> {
        let idle = self.taken.iter().filter_map(|(number, place)| {
            let last = place.feed.as_ref()?.last;
            let is_idle = now.saturating_duration_since(last) >= IDLE_AFTER;
            (is_idle && (place.is_stranger || !among_strangers)).then_some((last, *number))
        });
        idle.min().map(|(_, number)| number)
    }

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

    fn fill(places: &Places, is_stranger: bool, now: Instant) -> Vec<u64> {
        std::iter::from_fn(|| places.take(PeerId::random(), is_stranger, now)).collect()
    }

    #[test]
    fn the_streams_of_a_peer_and_of_all_are_bounded() {
        let (places, peer, now) = (Places::default(), PeerId::random(), Instant::now());
        let own: Vec<_> = std::iter::from_fn(|| places.take(peer, true, now)).collect();
        assert_eq!(own.len(), PER_PEER_MAX);
        assert_eq!(fill(&places, true, now).len(), STRANGERS_MAX - PER_PEER_MAX);
        assert_eq!(fill(&places, false, now).len(), INBOUND_MAX - STRANGERS_MAX);
        assert_eq!(places.taken(), INBOUND_MAX);
        places.leave(own[0]);
        places.leave(own[0]);
        assert_eq!(places.taken(), INBOUND_MAX - 1);
        assert!(places.take(peer, true, now).is_some());
    }

    #[test]
    fn strangers_leave_room_for_those_that_were_dialled() {
        let (places, now) = (Places::default(), Instant::now());
        assert_eq!(fill(&places, true, now).len(), STRANGERS_MAX);
        let chosen = PeerId::random();
        assert!(places.take(chosen, false, now).is_some() && places.take(chosen, false, now).is_some());
    }

    #[test]
    fn an_idle_feed_gives_way_to_a_peer_that_has_nothing() {
        let (places, start) = (Places::default(), Instant::now());
        let mut feeds: Vec<_> = fill(&places, true, start)
            .into_iter()
            .map(|number| (number, places.feeds(number, start)))
            .collect();
        let later = start + IDLE_AFTER;
        feeds.iter().skip(1).for_each(|(number, _)| places.fed(*number, later));
        let peer = PeerId::random();
        assert!(
            places.take(peer, true, later - IDLE_AFTER / 2).is_none(),
            "none is idle"
        );
        assert!(places.take(peer, true, later).is_some());
        assert!(
            feeds[0]
                .1
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Closed)
        );
        assert!(
            feeds[1]
                .1
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        assert!(places.take(peer, true, later).is_none(), "no other one is idle");
        // Its task ends a moment later.
        places.leave(feeds[0].0);
        assert_eq!(places.taken(), STRANGERS_MAX);
        let much_later = later + IDLE_AFTER;
        assert!(places.take(peer, true, much_later).is_some());
        assert!(places.take(peer, true, much_later).is_none(), "it has what it needs");
        // Feeds of those that were dialled do not give way to strangers.
        let places = Places::default();
        let chosen = places.take(PeerId::random(), false, start).unwrap();
        let mut ended = places.feeds(chosen, start);
        fill(&places, true, start);
        assert!(places.take(PeerId::random(), true, much_later).is_none());
        assert!(
            ended
                .try_recv()
                .is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
    }

    #[test]
    fn a_peer_has_one_feed() {
        let (places, peer, now) = (Places::default(), PeerId::random(), Instant::now());
        let (first, second) = (
            places.take(peer, true, now).unwrap(),
            places.take(peer, true, now).unwrap(),
        );
        let mut first = places.feeds(first, now);
        let mut second = places.feeds(second, now);
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
