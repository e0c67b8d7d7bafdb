//! Whom to dial, where, and when: every peer that was configured, discovered or remembered, forever, with a capped and
//! jittered back-off. The swarm task dials; nothing here does I/O.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};

use super::address_book::Source;
use super::subnets::Subnets;
use crate::net::libp2p::multiaddrs::{ip, split_peer};

mod candidates;
mod chance;
mod ip_budget;
mod neighbourhood;
mod schedule;
#[cfg(test)]
mod tests;

pub(in crate::net::libp2p) use chance::Chance;
pub(in crate::net::libp2p) use neighbourhood::Link;

use candidates::{Candidate, Candidates, Rank};
use ip_budget::IpBudget;
use neighbourhood::{Busy, Neighbourhood};
use schedule::{PAUSE_MAX_RECENT, Schedule, State};

/// How long an address at which another peer answered is left out: the one that is looked for is not there, and every dial is
/// a connection to somebody who does not want it.
const MISLED_PAUSE: Duration = Duration::from_secs(600);
/// How much longer the peer with the greater id waits, so that the two do not dial each other at once.
const COURTESY: Duration = Duration::from_millis(300);
/// A peer that was only heard of, never reached, is forgotten after this, unless it is heard of again.
const HEARSAY_MAX: Duration = Duration::from_secs(600);
/// From one dial on hearsay to the next, whoever is meant: what costs nothing to announce must not cost us much.
const HEARSAY_INTERVAL: Duration = Duration::from_millis(20);

/// A dial to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net::libp2p) struct Order {
    /// Whom to expect; none for a configured address without a peer id.
    pub(in crate::net::libp2p) peer: Option<PeerId>,
    /// Where; never empty.
    pub(in crate::net::libp2p) addresses: Vec<Multiaddr>,
}

/// A configured address without a peer id.
#[derive(Debug)]
struct Nameless {
    address: Multiaddr,
    /// Who answered there last.
    answered: Option<PeerId>,
    schedule: Schedule,
}

/// The redial table.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Dialer {
    own: PeerId,
    candidates: Candidates,
    nameless: Vec<Nameless>,
    /// The peers with a connection. The limit on connections bounds how many there are.
    connected: HashSet<PeerId>,
    neighbourhood: Neighbourhood,
    subnets: Subnets,
    budget: IpBudget,
    /// No dial on hearsay before that moment.
    next_hearsay: Option<Instant>,
    chance: Chance,
}

impl Dialer {
    /// An empty table.
    pub(in crate::net::libp2p) fn new(own: PeerId, chance: Chance) -> Self {
        Self {
            own,
            candidates: Candidates::default(),
            nameless: Vec::new(),
            connected: HashSet::new(),
            neighbourhood: Neighbourhood::new(&own, chance.bits(), Instant::now()),
            subnets: Subnets::default(),
            budget: IpBudget::default(),
            next_hearsay: None,
            chance,
        }
    }

    /// Adds an address that the user named, with or without a peer id at its end.
    pub(in crate::net::libp2p) fn configure(&mut self, address: Multiaddr, now: Instant) {
        match split_peer(address) {
            (address, Some(peer)) => self.learn(peer, vec![address], Source::Configured, now),
            (address, None) => self.nameless.push(Nameless {
                address,
                answered: None,
                schedule: Schedule::new(now),
            }),
        }
    }

    /// Adds what is known of a peer. Discovered addresses take the place of those discovered before, and wake a peer that
    /// is waiting for its next turn.
    pub(in crate::net::libp2p) fn learn(
        &mut self,
        peer: PeerId,
        addresses: Vec<Multiaddr>,
        source: Source,
        now: Instant,
    ) {
        if peer == self.own || addresses.is_empty() {
            return;
        }
        self.neighbourhood.outdate();
        let first_dial = if self.own < peer || source == Source::Configured {
            now
        } else {
            now + COURTESY
        };
        if self.candidates.get(&peer).is_none() {
            let mut schedule = Schedule::new(first_dial);
            if self.connected.contains(&peer) {
                schedule.state = State::Connected;
            }
            let mut candidate = Candidate::new(&peer, schedule, addresses.first().and_then(ip), now);
            candidate.proved = source == Source::Proved;
            let rank = match source {
                Source::Configured => Rank::Configured,
                Source::Proved => Rank::Proved,
                Source::Discovered => Rank::Heard,
                Source::Claimed => Rank::Visitor,
            };
            if !self.candidates.insert(peer, candidate, rank, self.chance) {
                return;
            }
        }
        if source == Source::Proved {
            self.candidates.prove(&peer, self.chance);
        }
        let Some(candidate) = self.candidates.get_mut(&peer) else {
            return;
        };
        candidate.heard = now;
        candidate.announced |= source == Source::Discovered;
        candidate.lost &= source != Source::Discovered;
        let news = candidate.addresses.learn(addresses, source);
        // Repeated announcements must not undo the back-off, or a dead address would be dialled at every one.
        if source == Source::Discovered && news {
            candidate.schedule.wake(first_dial);
        }
    }

    /// Discovery no longer sees a peer; what it said of it is forgotten, and so is a peer of which nothing else is known.
    pub(in crate::net::libp2p) fn unlearn(&mut self, peer: PeerId) {
        self.neighbourhood.outdate();
        if let Some(candidate) = self.candidates.get_mut(&peer) {
            candidate.announced = false;
            candidate.addresses.forget_discovered();
            if candidate.addresses.is_empty() && !candidate.proved {
                self.candidates.remove(&peer);
            }
        }
    }

    /// A connection to `peer` stands; `dialled` is the address that was dialled for it. Whoever dialled us is a visitor: that
    /// proves nothing of where it listens, or that it will be back.
    pub(in crate::net::libp2p) fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>, now: Instant) {
        self.connected.insert(peer);
        self.neighbourhood.outdate();
        let is_dialled = dialled.is_some();
        if let Some(dialled) = dialled.map(|address| split_peer(address.clone()).0) {
            if let Some(nameless) = self.nameless.iter_mut().find(|nameless| nameless.address == dialled) {
                nameless.answered = Some(peer);
                nameless.schedule.state = State::Connected;
            }
            if let Some(ip) = ip(&dialled) {
                self.budget.answered(ip, now);
            }
            self.learn(peer, vec![dialled], Source::Proved, now);
        }
        for nameless in &mut self.nameless {
            if nameless.answered == Some(peer) {
                nameless.schedule.state = State::Connected;
            }
        }
        if let Some(candidate) = self.candidates.get_mut(&peer) {
            candidate.addresses.begin_anew();
            candidate.schedule.state = State::Connected;
            candidate.lost = false;
            candidate.dialled_at = candidate.dialled_at.or(is_dialled.then_some(now));
        }
    }

    /// A sync session with a peer came to its end: it is no mere visitor. Gives where it says that it listens, if that was not
    /// believed before.
    pub(in crate::net::libp2p) fn vouch(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        self.candidates.prove(&peer, self.chance);
        self.candidates
            .get_mut(&peer)
            .filter(|candidate| candidate.proved)
            .map(|candidate| candidate.addresses.believe_claims())
            .unwrap_or_default()
    }

    /// The last connection to `peer` is gone.
    pub(in crate::net::libp2p) fn disconnected(&mut self, peer: PeerId, now: Instant) {
        self.connected.remove(&peer);
        let next = if self.own < peer { now } else { now + COURTESY };
        if let Some(candidate) = self.candidates.get_mut(&peer) {
            candidate.heard = now;
            candidate.announced = false;
            candidate.schedule = Schedule::new(next);
            self.neighbourhood.left(candidate, self.chance.jitter(), now);
        }
        // The peer itself is in the table now; its nameless address comes second, in case another answers there.
        for nameless in &mut self.nameless {
            if nameless.answered == Some(peer) {
                nameless.schedule = Schedule::new(next + PAUSE_MAX_RECENT);
            }
        }
    }

    /// A dial that was ordered came to nothing.
    pub(in crate::net::libp2p) fn failed(&mut self, order: &Order, now: Instant) {
        let jitter = self.chance.jitter();
        self.neighbourhood.outdate();
        let Some(peer) = order.peer else {
            for nameless in &mut self.nameless {
                if order.addresses.contains(&nameless.address) {
                    nameless.schedule.failed(now, jitter, false);
                }
            }
            return;
        };
        if let Some(candidate) = self.candidates.get_mut(&peer) {
            let more = candidate.addresses.has_untried(now);
            candidate.schedule.failed(now, jitter, more);
            if candidate.rank().is_hearsay() && now.saturating_duration_since(candidate.heard) > HEARSAY_MAX {
                self.candidates.remove(&peer);
            }
        }
    }

    /// A dial that was ordered came to nothing because another peer answered, at this address; the others, where slower ones
    /// may be right, are tried again without it. Whoever answered is dialled under its own id: addresses are handed out anew,
    /// and any member of the network is welcome.
    pub(in crate::net::libp2p) fn misled(
        &mut self,
        order: &Order,
        address: &Multiaddr,
        answered: PeerId,
        now: Instant,
    ) {
        let address = split_peer(address.clone()).0;
        if let Some(candidate) = order.peer.and_then(|peer| self.candidates.get_mut(&peer)) {
            let until = now + MISLED_PAUSE.mul_f64(self.chance.jitter());
            candidate.addresses.put_aside(&address, until);
        }
        if let Some(ip) = ip(&address) {
            self.budget.answered(ip, now);
        }
        self.failed(order, now);
        self.learn(answered, vec![address], Source::Claimed, now);
    }

    /// The machine's interfaces are these now: whoever waits is tried again at once, at every address.
    pub(in crate::net::libp2p) fn wake(&mut self, subnets: Subnets, now: Instant) {
        self.subnets = subnets;
        self.budget.clear();
        for candidate in self.candidates.values_mut() {
            candidate.addresses.restore_all();
            candidate.schedule.wake(now);
        }
        for nameless in &mut self.nameless {
            nameless.schedule.wake(now);
        }
    }

    /// The dials that are due. Each must be answered by [`connected`](Self::connected), [`failed`](Self::failed) or
    /// [`misled`](Self::misled).
    pub(in crate::net::libp2p) fn due(&mut self, now: Instant) -> Vec<Order> {
        self.neighbourhood.refresh(&self.candidates, now);
        let mut orders = Vec::new();
        for nameless in &mut self.nameless {
            if nameless.schedule.next().is_some_and(|next| next <= now) {
                nameless.schedule.state = State::Dialling;
                orders.push(Order {
                    peer: None,
                    addresses: vec![nameless.address.clone()],
                });
            }
        }
        let (mut free, busy) = (self.free_dials(), self.busy());
        // The better known first, and among equals the newcomers: whoever just appeared is more likely to be there than one that
        // did not answer.
        let mut waiting: Vec<_> = self
            .candidates
            .iter()
            .filter_map(|(peer, candidate)| {
                let next = self.next_dial(candidate, busy).filter(|next| *next <= now)?;
                Some((candidate.rank(), !candidate.schedule.is_fresh(), next, *peer))
            })
            .collect();
        waiting.sort_unstable();
        for (rank, _, _, peer) in waiting {
            if let Some((_, free)) = free.get_mut(rank as usize)
                && *free > 0
                && let Some(order) = self.order(peer, rank, now)
            {
                *free -= 1;
                orders.push(order);
            }
        }
        orders
    }

    /// The dial to a peer that is due; none if another one at the same IP address, or on hearsay as well, was quicker.
    fn order(&mut self, peer: PeerId, rank: Rank, now: Instant) -> Option<Order> {
        if rank.is_hearsay() && self.next_hearsay.is_some_and(|next| next > now) {
            return None;
        }
        let (budget, subnets) = (&self.budget, &self.subnets);
        let candidate = self.candidates.get_mut(&peer)?;
        let addresses = candidate
            .addresses
            .take_turn(now, subnets, |ip| budget.free_from(ip).filter(|_| rank.is_hearsay()));
        if addresses.is_empty() {
            return None;
        }
        candidate.schedule.state = State::Dialling;
        if rank.is_hearsay() {
            addresses
                .iter()
                .filter_map(ip)
                .for_each(|ip| self.budget.spend(ip, now));
            self.next_hearsay = Some(now + HEARSAY_INTERVAL);
        }
        Some(Order {
            peer: Some(peer),
            addresses,
        })
    }

    /// How many more dials to peers of each kind may be under way.
    fn free_dials(&self) -> [(Rank, usize); 4] {
        let mut free = Rank::ALL.map(|rank| (rank, rank.dials()));
        for (_, candidate) in self.candidates.iter() {
            if candidate.schedule.state == State::Dialling
                && let Some((_, free)) = free.get_mut(candidate.rank() as usize)
            {
                *free = free.saturating_sub(1);
            }
        }
        free
    }

    /// When a peer is to be dialled, if it is and there is an address to dial.
    fn next_dial(&self, candidate: &Candidate, busy: Busy) -> Option<Instant> {
        let next = candidate.schedule.next().filter(|_| !candidate.addresses.is_empty())?;
        let wanted_from = self.neighbourhood.dials_from(candidate, busy)?;
        let is_hearsay = candidate.rank().is_hearsay();
        let usable_from = candidate
            .addresses
            .usable_from(|ip| self.budget.free_from(ip).filter(|_| is_hearsay));
        Some(
            Some(next.max(wanted_from))
                .max(usable_from)
                .max(self.next_hearsay.filter(|_| is_hearsay))
                .unwrap_or(next),
        )
    }

    /// When the next dial falls due.
    pub(in crate::net::libp2p) fn next_due(&self) -> Option<Instant> {
        let nameless = self.nameless.iter().filter_map(|nameless| nameless.schedule.next());
        let (free, busy) = (self.free_dials(), self.busy());
        let is_free = |rank: Rank| free.get(rank as usize).is_some_and(|(_, free)| *free > 0);
        let candidates = self.candidates.iter().map(|(_, candidate)| candidate);
        candidates
            .filter(|candidate| is_free(candidate.rank()))
            .filter_map(|candidate| self.next_dial(candidate, busy))
            .chain(nameless)
            .min()
    }

    /// Whether a peer announces itself, as far as is known: what was heard of one that was connected and went away is no sign
    /// that it is there.
    pub(in crate::net::libp2p) fn is_announced(&self, peer: &PeerId) -> bool {
        self.candidates.get(peer).is_some_and(|candidate| candidate.announced)
    }

    /// Whether a peer is in the table, so that it is dialled again.
    pub(in crate::net::libp2p) fn looks_for(&self, peer: &PeerId) -> bool {
        self.candidates.get(peer).is_some()
    }
}
