//! Which of the known peers this node is connected with, where there are too many for all: the rule of the core, applied to the
//! redial table.

use std::time::{Duration, Instant};

use libp2p::PeerId;
use p2p_sync_core::Uptime;
use p2p_sync_core::limits::FULL_MESH_PEERS_MAX;
use p2p_sync_core::neighbours::{Connected, Known, Neighbours, Position, Wanted};

use super::candidates::{Candidate, Candidates, Rank};
use super::schedule::State;

/// How often the choice is made anew though nothing was heard: what failed is forgiven after a while.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long an announced peer that could not be reached is no choice for those that are there.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);
/// Peers that a node connects with before it knows how many there are.
const AT_ONCE: usize = 16;
/// With fewer connected peers than this, others than the wanted ones are dialled too …
const ENOUGH: usize = 8;
/// … if they have been known for so long that the wanted ones had their turn.
const TRIED_WITHIN: Duration = Duration::from_secs(2);
/// How long the others wait: when a large network starts, most of it is heard of in that time.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// A peer that leaves within this time after it was dialled had no room.
const SETTLED_AFTER: Duration = Duration::from_secs(30);

/// How many peers are connected, and how many others are being dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Busy {
    connected: usize,
    dialling: usize,
}

/// A peer with a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::net::libp2p) struct Link {
    /// Who it is.
    pub(in crate::net::libp2p) peer: PeerId,
    /// This node dialled it.
    pub(in crate::net::libp2p) is_dialled: bool,
    /// Nothing passes that would be lost.
    pub(in crate::net::libp2p) is_quiet: bool,
    /// Since when it is connected.
    pub(in crate::net::libp2p) since: Instant,
}

/// The choice, as it was made last.
#[derive(Debug)]
pub(super) struct Neighbourhood {
    neighbours: Neighbours,
    began: Instant,
    wanted: Wanted,
    /// No more peers were ever reached than a small network has.
    are_reached_few: bool,
    /// When it is to be made again; none: at once.
    next: Option<Instant>,
}

impl Neighbourhood {
    /// Of this node; its lots are drawn from `seed`.
    pub(super) fn new(own: &PeerId, seed: u64, now: Instant) -> Self {
        Self {
            neighbours: Neighbours::new(Position::of(&own.to_bytes()), seed),
            began: now,
            wanted: Wanted::Everybody,
            are_reached_few: true,
            next: None,
        }
    }

    fn at(&self, instant: Instant) -> Uptime {
        Uptime(instant.saturating_duration_since(self.began))
    }

    /// Something was learned about a peer.
    pub(super) fn outdate(&mut self) {
        self.next = None;
    }

    /// Makes the choice anew, if that is due.
    pub(super) fn refresh(&mut self, candidates: &Candidates, now: Instant) {
        if self.next.is_some_and(|next| next > now) {
            return;
        }
        let at = self.at(now);
        self.wanted = self.neighbours.choose(&known(candidates, now), at);
        let reached = candidates.iter().map(|(_, candidate)| candidate.rank());
        self.are_reached_few = reached.filter(|rank| *rank == Rank::Proved).count() <= FULL_MESH_PEERS_MAX;
        let redraw = self.began + self.neighbours.next_draw(at).0;
        self.next = Some(redraw.min(now + INTERVAL));
    }

    /// Whether this node is not connected with everybody.
    pub(super) fn is_bounded(&self) -> bool {
        self.wanted != Wanted::Everybody
    }

    /// Whether to be connected with a peer.
    pub(super) fn wants(&self, candidate: &Candidate) -> bool {
        candidate.rank() == Rank::Configured || self.wanted.contains(candidate.position)
    }

    /// From when on a peer may be dialled; none: it is not wanted.
    pub(super) fn dials_from(&self, candidate: &Candidate, busy: Busy) -> Option<Instant> {
        let is_heard = candidate.rank() == Rank::Heard;
        let waits = match (self.wants(candidate), self.is_bounded()) {
            (true, true) => Duration::ZERO,
            (true, false) if busy.connected + busy.dialling < AT_ONCE || !is_heard => Duration::ZERO,
            (true, false) => HEARD_WITHIN,
            // Anybody can announce a crowd: it must not hide those who are there.
            (false, _) if busy.connected < ENOUGH && self.are_reached_few && candidate.rank() == Rank::Proved => {
                Duration::ZERO
            }
            (false, _) if busy.connected < ENOUGH => TRIED_WITHIN,
            (false, _) => return None,
        };
        Some(candidate.since + waits)
    }

    /// The last connection to a peer is gone.
    pub(super) fn left(&mut self, candidate: &mut Candidate, jitter: f64, now: Instant) {
        self.outdate();
        let dialled_at = candidate.dialled_at.take();
        if !self.is_bounded() {
            return;
        }
        candidate.lost = self.wants(candidate);
        let is_short = |at: Instant| now.saturating_duration_since(at) < SETTLED_AFTER;
        if dialled_at.is_some_and(is_short) {
            candidate.schedule.turned_away(now, jitter);
        }
    }

    /// The connected peers that are too many, by their positions.
    fn surplus(&self, connected: &[Connected], candidates: &Candidates, now: Instant) -> Vec<Position> {
        self.neighbours
            .surplus(&self.wanted, connected, &known(candidates, now))
    }
}

fn known(candidates: &Candidates, now: Instant) -> Vec<Known> {
    let all = candidates.iter().map(|(_, candidate)| Known {
        position: candidate.position,
        is_there: is_there(candidate, now),
    });
    all.collect()
}

/// Whether a peer is connected, or as far as is known would be if it were dialled.
fn is_there(candidate: &Candidate, now: Instant) -> bool {
    let is_mere_visitor = candidate.rank() == Rank::Visitor;
    let has_failed = |failed: Instant| !candidate.announced || now.saturating_duration_since(failed) < FORGIVEN_AFTER;
    candidate.schedule.state == State::Connected
        || !candidate.lost && !is_mere_visitor && !candidate.schedule.failed_at().is_some_and(has_failed)
}

impl super::Dialer {
    /// How many peers are connected or being dialled.
    pub(super) fn busy(&self) -> Busy {
        let is_dialled = |candidate: &Candidate| candidate.schedule.state == State::Dialling;
        let all = self.candidates.iter();
        Busy {
            connected: self.connected.len(),
            dialling: all.filter(|(_, candidate)| is_dialled(candidate)).count(),
        }
    }

    /// Whether nobody is to be dialled but whom this table orders: there are many, and enough of them are connected.
    pub(in crate::net::libp2p) fn is_strict(&self) -> bool {
        self.neighbourhood.is_bounded() && self.connected.len() >= ENOUGH
    }

    /// How many peers are known.
    pub(in crate::net::libp2p) fn known(&self) -> usize {
        let strangers = self.connected.iter().filter(|peer| self.candidates.get(peer).is_none());
        self.candidates.len() + strangers.count()
    }

    /// Of the connected peers, those whose connections are to be closed because there are too many, each with whether it is quiet
    /// and since when it is connected. Who is named here counts as still there.
    pub(in crate::net::libp2p) fn surplus(&mut self, connected: &[Link], now: Instant) -> Vec<PeerId> {
        if !self.neighbourhood.is_bounded() {
            return Vec::new();
        }
        let position = |peer: &PeerId| Position::of(&peer.to_bytes());
        let links = connected.iter().map(|link| {
            let candidate = self.candidates.get(&link.peer);
            Connected {
                position: candidate.map_or_else(|| position(&link.peer), |candidate| candidate.position),
                is_dialled: link.is_dialled,
                is_configured: candidate.is_some_and(|candidate| candidate.rank() == Rank::Configured),
                is_quiet: link.is_quiet,
                since: self.neighbourhood.at(link.since),
            }
        });
        let links: Vec<Connected> = links.collect();
        let surplus = self.neighbourhood.surplus(&links, &self.candidates, now);
        let pairs = connected.iter().zip(&links);
        let surplus = pairs.filter(|(_, link)| surplus.contains(&link.position));
        let peers: Vec<PeerId> = surplus.map(|(link, _)| link.peer).collect();
        for peer in &peers {
            if let Some(candidate) = self.candidates.get_mut(peer) {
                // It does not turn us away.
                candidate.dialled_at = None;
            }
        }
        peers
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use libp2p::Multiaddr;

    use super::super::{Chance, Dialer, Source};
    use super::*;

    const MOMENT: Duration = Duration::from_millis(25);

    fn address(host: usize) -> Multiaddr {
        format!("/ip4/10.0.{}.{}/tcp/1", host / 250, host % 250 + 1)
            .parse()
            .unwrap()
    }

    /// A table that has just heard of so many peers.
    fn heard_of(count: usize, now: Instant) -> (Dialer, Vec<PeerId>) {
        let mut dialer = Dialer::new(PeerId::random(), Chance(|| 0.5));
        let peers: Vec<PeerId> = (0..count).map(|_| PeerId::random()).collect();
        for (host, peer) in peers.iter().enumerate() {
            dialer.learn(*peer, vec![address(host)], Source::Discovered, now);
        }
        (dialer, peers)
    }

    /// Whom it dials in that time; every dial succeeds if the peer `answers`.
    fn dial(dialer: &mut Dialer, from: Instant, time: Duration, answers: impl Fn(&PeerId) -> bool) -> BTreeSet<PeerId> {
        let mut dialled = BTreeSet::new();
        let mut now = from;
        while now < from + time {
            for order in dialer.due(now) {
                let peer = order.peer.unwrap();
                dialled.insert(peer);
                if answers(&peer) {
                    dialer.connected(peer, order.addresses.first(), now);
                } else {
                    dialer.failed(&order, now);
                }
            }
            now += MOMENT;
        }
        dialled
    }

    fn links(peers: &BTreeSet<PeerId>, since: Instant) -> Vec<Link> {
        let link = |peer: &PeerId| Link {
            peer: *peer,
            is_dialled: true,
            is_quiet: true,
            since,
        };
        peers.iter().map(link).collect()
    }

    #[test]
    fn all_of_a_small_network_are_dialled_and_of_a_large_one_those_that_are_wanted() {
        let now = Instant::now();
        let (mut dialer, peers) = heard_of(28, now);
        assert_eq!(
            dial(&mut dialer, now, Duration::from_secs(4), |_| true),
            peers.into_iter().collect()
        );
        let (mut dialer, _) = heard_of(100, now);
        let dialled = dial(&mut dialer, now, Duration::from_secs(4), |_| true);
        assert_eq!(dialled.len(), AT_ONCE);
        assert!(dialer.surplus(&links(&dialled, now), now).is_empty());
    }

    #[test]
    fn who_was_dialled_before_the_others_were_heard_of_is_let_go() {
        let now = Instant::now();
        let (mut dialer, first) = heard_of(20, now);
        let dialled = dial(&mut dialer, now, Duration::from_secs(1), |_| true);
        assert_eq!(dialled.len(), AT_ONCE, "the others may be part of a large network");
        for host in 20..140 {
            dialer.learn(PeerId::random(), vec![address(host)], Source::Discovered, now);
        }
        dialer.configure(address(0).with_p2p(*dialled.first().unwrap()).unwrap(), now);
        let later = now + Duration::from_secs(1);
        let mut all = dial(&mut dialer, later, Duration::from_secs(4), |_| true);
        all.extend(&dialled);
        let surplus = dialer.surplus(&links(&all, now), later);
        assert!(!surplus.is_empty() && surplus.iter().all(|peer| first.contains(peer)));
        assert!(!surplus.contains(dialled.first().unwrap()), "the user named it");
        surplus.iter().for_each(|peer| dialer.disconnected(*peer, later));
        let again = dial(&mut dialer, later + MOMENT, Duration::from_secs(60), |_| true);
        assert!(surplus.iter().all(|peer| !again.contains(peer)));
    }

    #[test]
    fn when_all_whom_it_kept_vanish_others_are_dialled_at_once_and_they_are_sought_on() {
        let now = Instant::now();
        let (mut dialer, _) = heard_of(100, now);
        let kept = dial(&mut dialer, now, Duration::from_secs(4), |_| true);
        let later = now + Duration::from_secs(60);
        kept.iter().for_each(|peer| dialer.disconnected(*peer, later));
        let dialled = dial(&mut dialer, later, Duration::from_secs(1), |peer| !kept.contains(peer));
        assert!(dialled.is_superset(&kept));
        let others = dialled.difference(&kept).count();
        assert!((AT_ONCE..=AT_ONCE + ENOUGH).contains(&others), "{others}");
        // Those are connected now, and the lost ones are dialled again and again.
        let dialled = dial(
            &mut dialer,
            later + Duration::from_secs(1),
            Duration::from_secs(9),
            |peer| !kept.contains(peer),
        );
        assert!(dialled.is_superset(&kept));
        assert!(dialled.len() <= 2 * AT_ONCE, "{}", dialled.len());
    }

    #[test]
    fn who_turns_us_away_is_left_alone_and_another_takes_its_place() {
        let now = Instant::now();
        let (mut dialer, _) = heard_of(100, now);
        let kept = dial(&mut dialer, now, Duration::from_secs(4), |_| true);
        let (full, soon) = (*kept.first().unwrap(), now + Duration::from_secs(6));
        dialer.disconnected(full, soon);
        let dialled = dial(&mut dialer, soon, Duration::from_secs(40), |_| true);
        assert!(dialled.len() == 1 && !dialled.contains(&full), "{dialled:?}");
    }
}
