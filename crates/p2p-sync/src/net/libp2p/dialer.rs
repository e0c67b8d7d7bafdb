//! Who is to be dialled, where, and when: every peer that was configured, discovered or remembered, for ever, with a
//! capped and jittered back-off. Dialling itself is left to the swarm's task; nothing here does input or output.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::address_book::{AddressBook, Source};

/// Peers that are remembered at once. Configured ones are never displaced.
const CANDIDATES_MAX: usize = 1_024;
/// The first pause after a failed dial; it doubles with each further failure.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// The longest pause within [`RECENT`] of losing a peer, or of hearing of it.
const PAUSE_MAX_RECENT: Duration = Duration::from_secs(5);
/// The longest pause after that.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How long an address at which another peer answered is left out: the one that is looked for is not there, and every dial is
/// a connection to somebody who does not want it.
const MISLED_PAUSE: Duration = Duration::from_secs(600);
/// How long a peer counts as recently lost.
const RECENT: Duration = Duration::from_secs(600);
/// How much longer the peer with the greater id waits, so that the two do not dial each other at once.
const COURTESY: Duration = Duration::from_millis(300);
/// A peer that was only heard of, never reached, is forgotten after this, unless it is heard of again.
const HEARSAY_MAX: Duration = Duration::from_secs(600);

/// A dial to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// Whom to expect; none for a configured address without a peer id.
    pub(super) peer: Option<PeerId>,
    /// Where; never empty.
    pub(super) addresses: Vec<Multiaddr>,
}

#[derive(Debug)]
struct Candidate {
    addresses: AddressBook,
    heard: Instant,
    schedule: Schedule,
    reached: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting(Instant),
    Dialling,
    Connected,
}

/// When to try next.
#[derive(Debug)]
struct Schedule {
    state: State,
    failures: u32,
    lost: Instant,
}

impl Schedule {
    fn new(next: Instant) -> Self {
        Self {
            state: State::Waiting(next),
            failures: 0,
            lost: next,
        }
    }

    fn next(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(next) => Some(next),
            State::Dialling | State::Connected => None,
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|next| next <= now)
    }

    /// Forgets the failures of one that waits, and lets it be tried at `next` if that is sooner.
    fn wake(&mut self, next: Instant) {
        if let State::Waiting(planned) = self.state {
            *self = Self::new(next.min(planned));
        }
    }

    /// A dial came to nothing; no matter if a connection came about in another way meanwhile.
    fn failed(&mut self, now: Instant, jitter: f64) {
        if self.state == State::Dialling {
            let cap = if now.saturating_duration_since(self.lost) < RECENT {
                PAUSE_MAX_RECENT
            } else {
                PAUSE_MAX
            };
            let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(10)).min(cap);
            self.failures = self.failures.saturating_add(1);
            self.state = State::Waiting(now + pause.mul_f64(jitter));
        }
    }
}

/// The redial table.
#[derive(Debug)]
pub(super) struct Dialer {
    own: PeerId,
    peers: HashMap<PeerId, Candidate>,
    /// Configured addresses without a peer id, with the peer that answered there.
    nameless: Vec<(Multiaddr, Option<PeerId>, Schedule)>,
    jitter: fn() -> f64,
}

impl Dialer {
    /// An empty table. `jitter` gives a factor near one for each pause.
    pub(super) fn new(own: PeerId, jitter: fn() -> f64) -> Self {
        Self {
            own,
            peers: HashMap::new(),
            nameless: Vec::new(),
            jitter,
        }
    }

    /// Adds an address that the user named, with or without a peer id at its end.
    pub(super) fn configure(&mut self, address: Multiaddr, now: Instant) {
        match split_peer(address) {
            (address, Some(peer)) => self.learn(peer, vec![address], Source::Configured, now),
            (address, None) => self.nameless.push((address, None, Schedule::new(now))),
        }
    }

    /// Adds what is known of a peer. Discovered addresses take the place of those discovered before, and wake a peer that
    /// is waiting for its next turn.
    pub(super) fn learn(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, source: Source, now: Instant) {
        if peer == self.own || addresses.is_empty() {
            return;
        }
        if !self.peers.contains_key(&peer) && self.peers.len() >= CANDIDATES_MAX && !self.displace_one(source) {
            return;
        }
        let first_dial = if self.own < peer || source == Source::Configured {
            now
        } else {
            now + COURTESY
        };
        let candidate = self
            .peers
            .entry(peer)
            .or_insert_with(|| Candidate::new(Schedule::new(first_dial)));
        candidate.heard = now;
        candidate.reached |= source == Source::Proved;
        let news = candidate.addresses.learn(addresses, source);
        // Repeated announcements must not undo the back-off, or a dead address would be dialled at every one.
        if source == Source::Discovered && news {
            candidate.schedule.wake(first_dial);
        }
    }

    /// Makes room for a newcomer: at the cost of a peer that was only heard of, or, for one that was configured or
    /// reached, of any that is neither configured nor connected.
    fn displace_one(&mut self, newcomer: Source) -> bool {
        let victim = self
            .peers
            .iter()
            .filter(|(_, known)| known.schedule.next().is_some() && !known.addresses.is_configured())
            .filter(|(_, known)| newcomer != Source::Discovered || !known.reached)
            .min_by_key(|(_, known)| (known.reached, known.heard))
            .map(|(peer, _)| *peer);
        victim.is_some_and(|peer| self.peers.remove(&peer).is_some())
    }

    /// Discovery no longer sees a peer; what it said of it is forgotten, and so is a peer of which nothing else is known.
    pub(super) fn unlearn(&mut self, peer: PeerId) {
        if let Some(candidate) = self.peers.get_mut(&peer) {
            candidate.addresses.forget_discovered();
            if candidate.addresses.is_empty() && !candidate.reached {
                self.peers.remove(&peer);
            }
        }
    }

    /// A connection to `peer` stands; `dialled` is the address that was dialled for it.
    pub(super) fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>, now: Instant) {
        if let Some(dialled) = dialled.map(|address| split_peer(address.clone()).0) {
            if let Some((_, answered, schedule)) = self.nameless.iter_mut().find(|(address, ..)| *address == dialled) {
                *answered = Some(peer);
                schedule.state = State::Connected;
            }
            self.learn(peer, vec![dialled], Source::Proved, now);
        }
        for (_, _, schedule) in self
            .nameless
            .iter_mut()
            .filter(|(_, answered, _)| *answered == Some(peer))
        {
            schedule.state = State::Connected;
        }
        // One that dialled us may be unknown so far. The limit on connections bounds how many of those there are.
        let candidate = self
            .peers
            .entry(peer)
            .or_insert_with(|| Candidate::new(Schedule::new(now)));
        candidate.reached = true;
        candidate.schedule.state = State::Connected;
    }

    /// The last connection to `peer` is gone.
    pub(super) fn disconnected(&mut self, peer: PeerId, now: Instant) {
        let next = if self.own < peer { now } else { now + COURTESY };
        if let Some(candidate) = self.peers.get_mut(&peer) {
            candidate.schedule = Schedule::new(next);
        }
        // The peer itself is in the table now; its nameless address comes second, in case another answers there.
        for (_, _, schedule) in self
            .nameless
            .iter_mut()
            .filter(|(_, answered, _)| *answered == Some(peer))
        {
            *schedule = Schedule::new(next + PAUSE_MAX_RECENT);
        }
    }

    /// A dial that was ordered came to nothing.
    pub(super) fn failed(&mut self, order: &Order, now: Instant) {
        let jitter = (self.jitter)();
        match order.peer {
            Some(peer) => {
                if let Some(candidate) = self.peers.get_mut(&peer) {
                    candidate.schedule.failed(now, jitter);
                    if !candidate.is_worthy() && now.saturating_duration_since(candidate.heard) > HEARSAY_MAX {
                        self.peers.remove(&peer);
                    }
                }
            }
            None => {
                for (_, _, schedule) in self
                    .nameless
                    .iter_mut()
                    .filter(|(address, ..)| order.addresses.contains(address))
                {
                    schedule.failed(now, jitter);
                }
            }
        }
    }

    /// A dial that was ordered came to nothing because another peer answered, at this address; the others, where slower ones
    /// may be right, are tried again without it.
    pub(super) fn misled(&mut self, order: &Order, address: &Multiaddr, now: Instant) {
        if let Some(candidate) = order.peer.and_then(|peer| self.peers.get_mut(&peer)) {
            let until = now + MISLED_PAUSE.mul_f64((self.jitter)());
            candidate.addresses.put_aside(&split_peer(address.clone()).0, until);
        }
        self.failed(order, now);
    }

    /// The machine's interfaces changed: whoever waits is tried again at once, at every address.
    pub(super) fn wake(&mut self, now: Instant) {
        for candidate in self.peers.values_mut() {
            candidate.addresses.restore_all();
        }
        let schedules = self.peers.values_mut().map(|candidate| &mut candidate.schedule);
        for schedule in schedules.chain(self.nameless.iter_mut().map(|(_, _, schedule)| schedule)) {
            schedule.wake(now);
        }
    }

    /// The dials that are due, at most `limit`. Each must be answered by [`connected`](Self::connected) or
    /// [`failed`](Self::failed).
    pub(super) fn due(&mut self, now: Instant, limit: usize) -> Vec<Order> {
        let mut orders = Vec::new();
        for (address, _, schedule) in &mut self.nameless {
            if orders.len() < limit && schedule.is_due(now) {
                schedule.state = State::Dialling;
                orders.push(Order {
                    peer: None,
                    addresses: vec![address.clone()],
                });
            }
        }
        let mut waiting: Vec<_> = self
            .peers
            .iter_mut()
            .filter(|(_, candidate)| candidate.next().is_some_and(|next| next <= now))
            .collect();
        // Hearsay comes last, so that no amount of it can keep a peer waiting that was there before.
        waiting.sort_by_key(|(_, candidate)| (!candidate.is_worthy(), candidate.schedule.next()));
        for (peer, candidate) in waiting.into_iter().take(limit - orders.len()) {
            candidate.schedule.state = State::Dialling;
            orders.push(Order {
                peer: Some(*peer),
                addresses: candidate.addresses.usable(now),
            });
        }
        orders
    }

    /// When the next dial falls due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let nameless = self.nameless.iter().filter_map(|(_, _, schedule)| schedule.next());
        self.peers.values().filter_map(Candidate::next).chain(nameless).min()
    }

    /// Whether discovery tells where a peer is.
    pub(super) fn is_announced(&self, peer: &PeerId) -> bool {
        self.peers
            .get(peer)
            .is_some_and(|candidate| candidate.addresses.is_announced())
    }

    /// How many peers are known.
    pub(super) fn known(&self) -> usize {
        self.peers.len()
    }
}

impl Candidate {
    fn new(schedule: Schedule) -> Self {
        let heard = schedule.lost;
        Self {
            addresses: AddressBook::default(),
            heard,
            schedule,
            reached: false,
        }
    }

    /// When it is to be dialled, if it is and there is an address to dial.
    fn next(&self) -> Option<Instant> {
        let next = self.schedule.next().filter(|_| !self.addresses.is_empty())?;
        Some(self.addresses.usable_from().map_or(next, |from| next.max(from)))
    }

    /// Whether there is more than hearsay behind it.
    fn is_worthy(&self) -> bool {
        self.reached || self.addresses.is_configured()
    }
}

/// Takes the peer id off the end of an address.
pub(super) fn split_peer(mut address: Multiaddr) -> (Multiaddr, Option<PeerId>) {
    match address.iter().last() {
        Some(libp2p::multiaddr::Protocol::P2p(peer)) => {
            address.pop();
            (address, Some(peer))
        }
        _ => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    /// A smaller and a greater peer id.
    fn two_peers() -> (PeerId, PeerId) {
        let (a, b) = (PeerId::random(), PeerId::random());
        if a < b { (a, b) } else { (b, a) }
    }

    #[test]
    fn the_smaller_id_dials_at_once_and_the_greater_after_a_moment() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        assert_eq!(
            dialer.due(now, 9),
            [Order {
                peer: Some(great),
                addresses: vec![address(1)]
            }]
        );

        let mut dialer = Dialer::new(great, || 1.0);
        dialer.learn(small, vec![address(1)], Source::Discovered, now);
        assert_eq!(dialer.due(now, 9), []);
        assert_eq!(dialer.next_due(), Some(now + COURTESY));
        assert_eq!(dialer.due(now + COURTESY, 9).len(), 1);
    }

    #[test]
    fn pauses_double_to_their_cap_and_never_end() {
        let ((small, great), mut now) = (two_peers(), Instant::now());
        let start = now;
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Proved, now);
        let mut pauses = Vec::new();
        while now < start + 2 * RECENT {
            let order = dialer.due(now, 9).pop().expect("it falls due for ever");
            dialer.failed(&order, now);
            let next = dialer.next_due().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses.first(), Some(&PAUSE_MIN));
        assert!(pauses.contains(&PAUSE_MAX_RECENT));
        assert_eq!(pauses.last(), Some(&PAUSE_MAX));
    }

    #[test]
    fn where_another_answers_the_other_addresses_are_tried_and_that_one_seldom() {
        let ((small, great), now) = (two_peers(), Instant::now());
        for source in [Source::Configured, Source::Proved, Source::Discovered] {
            let mut dialer = Dialer::new(small, || 1.0);
            dialer.learn(great, (1..4).map(address).collect(), source, now);
            let order = dialer.due(now, 9).pop().unwrap();
            dialer.misled(&order, &address(1).with_p2p(great).unwrap(), now);
            assert_eq!(dialer.next_due(), Some(now + PAUSE_MIN), "{source:?}");
            let mut later = now + PAUSE_MIN;
            for wrong in 2..4 {
                let order = dialer.due(later, 9).pop().unwrap();
                assert_eq!(order.addresses, (wrong..4).map(address).collect::<Vec<_>>());
                dialer.misled(&order, &address(wrong), later);
                later += SECOND;
            }
            assert_eq!(dialer.next_due(), Some(now + MISLED_PAUSE), "the first is tried again");
            assert_eq!(dialer.due(now + MISLED_PAUSE, 9).pop().unwrap().addresses, [address(1)]);
        }
    }

    #[test]
    fn another_address_or_another_interface_ends_the_pause_of_one_who_was_misled() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Configured, now);
        let order = dialer.due(now, 9).pop().unwrap();
        dialer.misled(&order, &address(1), now);
        dialer.learn(great, vec![address(2)], Source::Discovered, now);
        let seen_elsewhere = dialer.due(now, 9).pop().unwrap();
        assert_eq!(seen_elsewhere.addresses, [address(2)]);
        dialer.failed(&seen_elsewhere, now);
        dialer.wake(now);
        assert_eq!(dialer.due(now, 9).pop().unwrap().addresses, [address(1), address(2)]);
    }

    #[test]
    fn a_dial_that_fails_beside_an_open_connection_changes_nothing() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        let order = dialer.due(now, 9).pop().unwrap();
        dialer.connected(great, None, now);
        dialer.failed(&order, now);
        assert_eq!(dialer.next_due(), None);
        dialer.disconnected(great, now);
        assert_eq!(dialer.due(now, 9), [order]);
    }

    #[test]
    fn a_new_address_ends_the_pause_and_a_repeated_one_does_not() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        let order = dialer.due(now, 9).pop().unwrap();
        dialer.failed(&order, now);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        assert_eq!(dialer.next_due(), Some(now + PAUSE_MIN));
        dialer.learn(great, vec![address(2)], Source::Discovered, now);
        assert_eq!(
            dialer.due(now, 9),
            [Order {
                peer: Some(great),
                addresses: vec![address(2)]
            }]
        );
    }

    #[test]
    fn an_address_without_a_peer_is_dialled_until_somebody_answers_and_again_after_that() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.configure(address(1), now);
        let order = dialer.due(now, 9).pop().unwrap();
        assert_eq!(order.peer, None);
        dialer.failed(&order, now);
        assert_eq!(dialer.due(now + SECOND, 9).pop().unwrap(), order);
        dialer.connected(great, Some(&address(1)), now + SECOND);
        assert_eq!(dialer.next_due(), None);
        dialer.disconnected(great, now + SECOND);
        assert_eq!(dialer.due(now + SECOND, 9).pop().unwrap().peer, Some(great));
        assert_eq!(
            dialer.due(now + 10 * SECOND, 9).pop().unwrap().peer,
            None,
            "another peer may answer there now"
        );
    }

    #[test]
    fn strangers_fill_the_table_only_so_far_and_displace_no_one_who_was_reached() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Proved, now);
        for _ in 0..2 * CANDIDATES_MAX {
            dialer.learn(PeerId::random(), vec![address(2)], Source::Discovered, now);
        }
        assert_eq!(dialer.known(), CANDIDATES_MAX);
        dialer.learn(great, (0..99).map(address).collect(), Source::Discovered, now);
        assert!(
            dialer
                .due(now, usize::MAX)
                .iter()
                .any(|order| order.peer == Some(great) && order.addresses.contains(&address(1)))
        );
    }

    #[test]
    fn a_peer_that_dialled_us_is_not_dialled_while_it_is_connected() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.connected(great, None, now);
        dialer.learn(great, vec![address(1)], Source::Proved, now);
        assert_eq!(dialer.next_due(), None);
        dialer.disconnected(great, now);
        assert_eq!(dialer.due(now, 9).len(), 1);
    }

    #[test]
    fn a_peer_that_was_reached_is_redialled_whatever_discovery_says() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        let order = dialer.due(now, 9).pop().unwrap();
        dialer.connected(great, order.addresses.first(), now);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        dialer.unlearn(great);
        dialer.disconnected(great, now);
        assert_eq!(dialer.due(now, 9), [order]);
    }

    #[test]
    fn a_peer_that_was_only_heard_of_is_forgotten_with_its_announcement() {
        let ((small, great), now) = (two_peers(), Instant::now());
        let mut dialer = Dialer::new(small, || 1.0);
        dialer.learn(great, vec![address(1)], Source::Discovered, now);
        dialer.unlearn(great);
        assert_eq!(dialer.known(), 0);
    }
}
