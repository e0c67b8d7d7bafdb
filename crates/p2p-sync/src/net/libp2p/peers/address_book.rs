//! The addresses of one peer: a quota per origin, so that strangers' announcements cannot push out addresses that the user
//! named or a connection has proved; when each may be dialled, and whose turn it is. The dialer decides when to dial.

use std::net::IpAddr;
use std::time::Instant;

use libp2p::Multiaddr;

use super::subnets::Subnets;
use crate::net::libp2p::multiaddrs::{ip, is_quic};

/// Addresses that are kept of each origin but the user: two transports at each of 32 IP addresses. A machine with containers,
/// VPNs and temporary IPv6 addresses has a dozen.
pub(in crate::net::libp2p) const OF_ONE_SOURCE_MAX: usize = 64;
/// Addresses in one dial.
pub(in crate::net::libp2p) const PER_DIAL_MAX: usize = 16;
/// Of these, the best ones are in every dial; the others take turns.
const ALWAYS_MAX: usize = 4;

/// How an address became known. The first is never given up for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net::libp2p) enum Source {
    /// The user named it.
    Configured,
    /// A connection that we dialled proved it, now or in an earlier run, or a peer that we know by a session says so.
    Proved,
    /// Discovery told of it: replaced by what discovery tells next.
    Discovered,
    /// A peer that connected to us says that it listens there: replaced by what it says next.
    Claimed,
}

#[derive(Debug)]
struct Known {
    address: Multiaddr,
    source: Source,
    /// It is of no use before that moment.
    aside_until: Option<Instant>,
    /// Dials that it was in, without success, since the last one that had any.
    tried: u32,
}

/// The addresses of one peer, those of each origin in the order in which they were learned, the latest first.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct AddressBook(Vec<Known>);

impl AddressBook {
    /// Takes in addresses. Returns whether one of them was unknown. One that was put aside stays so, unless it is proved now.
    pub(in crate::net::libp2p) fn learn(&mut self, addresses: Vec<Multiaddr>, source: Source) -> bool {
        let news = addresses.iter().any(|address| self.find(address).is_none());
        if matches!(source, Source::Discovered | Source::Claimed) {
            self.0
                .retain(|known| known.source != source || addresses.contains(&known.address));
        }
        for address in addresses.into_iter().rev() {
            let (mut aside_until, mut tried) = (None, 0);
            if let Some(place) = self.find(&address) {
                // A better origin stays; the same or a lesser one is renewed.
                let known = self.0.remove(place);
                aside_until = known.aside_until.filter(|_| source != Source::Proved);
                tried = known.tried;
                if known.source < source {
                    self.0.insert(place, Known { aside_until, ..known });
                    continue;
                }
            }
            self.0.insert(
                0,
                Known {
                    address,
                    source,
                    aside_until,
                    tried,
                },
            );
        }
        self.0.sort_by_key(|known| known.source);
        for origin in [Source::Proved, Source::Discovered, Source::Claimed] {
            let mut kept = 0;
            self.0.retain(|known| {
                kept += usize::from(known.source == origin);
                known.source != origin || kept <= OF_ONE_SOURCE_MAX
            });
        }
        news
    }

    fn find(&self, address: &Multiaddr) -> Option<usize> {
        self.0.iter().position(|known| known.address == *address)
    }

    /// Drops what discovery told.
    pub(in crate::net::libp2p) fn forget_discovered(&mut self) {
        self.0.retain(|known| known.source != Source::Discovered);
    }

    /// What the peer claims is believed from now on; gives it.
    pub(in crate::net::libp2p) fn believe_claims(&mut self) -> Vec<Multiaddr> {
        let claims: Vec<Multiaddr> = self
            .0
            .iter()
            .filter(|known| known.source == Source::Claimed)
            .map(|known| known.address.clone())
            .collect();
        if !claims.is_empty() {
            self.learn(claims.clone(), Source::Proved);
        }
        claims
    }

    /// Leaves an address out until then: another peer was met there.
    pub(in crate::net::libp2p) fn put_aside(&mut self, address: &Multiaddr, until: Instant) {
        for known in self.0.iter_mut().filter(|known| known.address == *address) {
            known.aside_until = Some(until);
        }
    }

    /// Nothing is left out any longer, and all have their turn anew.
    pub(in crate::net::libp2p) fn restore_all(&mut self) {
        for known in &mut self.0 {
            known.aside_until = None;
        }
        self.begin_anew();
    }

    /// A connection stands: what follows when it is lost begins with the best addresses again.
    pub(in crate::net::libp2p) fn begin_anew(&mut self) {
        for known in &mut self.0 {
            known.tried = 0;
        }
    }

    pub(in crate::net::libp2p) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::net::libp2p) fn is_configured(&self) -> bool {
        // They are sorted by their origin.
        self.0.first().is_some_and(|known| known.source == Source::Configured)
    }

    /// Whether discovery tells of one.
    pub(in crate::net::libp2p) fn is_discovered(&self) -> bool {
        self.0
            .binary_search_by(|known| known.source.cmp(&Source::Discovered))
            .is_ok()
    }

    /// The earliest moment at which one of the addresses may be dialled, if that is not the case all the time; `free_from` says
    /// the same of an IP address. None as well if there are no addresses.
    pub(in crate::net::libp2p) fn usable_from(&self, free_from: impl Fn(IpAddr) -> Option<Instant>) -> Option<Instant> {
        self.0.iter().map(|known| known.usable_from(&free_from)).min().flatten()
    }

    /// The addresses for the next dial, the most promising first: those in a network that we share, then by origin. The best
    /// are in every dial, the others take turns.
    pub(in crate::net::libp2p) fn take_turn(
        &mut self,
        now: Instant,
        subnets: &Subnets,
        free_from: impl Fn(IpAddr) -> Option<Instant>,
    ) -> Vec<Multiaddr> {
        let is_usable = |known: &Known| known.usable_from(&free_from).is_none_or(|from| from <= now);
        let mut usable: Vec<&mut Known> = self.0.iter_mut().filter(|known| is_usable(known)).collect();
        usable.sort_by_key(|known| {
            let is_near = ip(&known.address).is_some_and(|ip| subnets.contain(ip));
            (known.source > Source::Proved, !is_near, known.source)
        });
        let others = usable.split_off(ALWAYS_MAX.min(usable.len()));
        let mut others: Vec<(usize, &mut Known)> = others.into_iter().enumerate().collect();
        others.sort_by_key(|(place, known)| (known.tried, *place));
        others.truncate(PER_DIAL_MAX - ALWAYS_MAX);
        others.sort_by_key(|(place, _)| *place);
        let mut others: Vec<&mut Known> = others.into_iter().map(|(_, known)| known).collect();
        // QUIC first: it takes fewer round trips, and notices by itself when it is cut.
        usable.sort_by_key(|known| !is_quic(&known.address));
        others.sort_by_key(|known| !is_quic(&known.address));
        let turn = usable.into_iter().chain(others);
        turn.map(|known| {
            known.tried = known.tried.saturating_add(1);
            known.address.clone()
        })
        .collect()
    }

    /// Whether an address that could be dialled now was in no dial yet.
    pub(in crate::net::libp2p) fn has_untried(&self, now: Instant) -> bool {
        let is_usable = |known: &&Known| known.aside_until.is_none_or(|until| until <= now);
        self.0.iter().filter(is_usable).any(|known| known.tried == 0)
    }
}

impl Known {
    fn usable_from(&self, free_from: impl Fn(IpAddr) -> Option<Instant>) -> Option<Instant> {
        self.aside_until.max(ip(&self.address).and_then(free_from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn at(host: u8) -> Multiaddr {
        format!("/ip4/192.0.2.{host}/tcp/1").parse().unwrap()
    }

    /// All addresses, in the order of their promise.
    fn all(book: &AddressBook) -> Vec<Multiaddr> {
        book.0.iter().map(|known| known.address.clone()).collect()
    }

    fn turn(book: &mut AddressBook, now: Instant) -> Vec<Multiaddr> {
        book.take_turn(now, &Subnets::default(), |_| None)
    }

    #[test]
    fn announcements_replace_each_other_and_nothing_else() {
        let mut book = AddressBook::default();
        assert!(book.learn(vec![address(1)], Source::Configured));
        assert!(book.learn(vec![address(2)], Source::Proved));
        assert!(book.learn((3..199).map(address).collect(), Source::Discovered));
        assert_eq!(all(&book).len(), 2 + OF_ONE_SOURCE_MAX);
        assert!(
            !book.learn(vec![address(2), address(1)], Source::Discovered),
            "both are known, and better"
        );
        assert_eq!(all(&book), [address(1), address(2)]);
        assert!(!book.is_discovered());
        book.forget_discovered();
        assert_eq!(all(&book), [address(1), address(2)]);
    }

    #[test]
    fn a_proved_address_is_renewed_and_the_oldest_goes() {
        let mut book = AddressBook::default();
        for port in 0..100 {
            book.learn(vec![address(port)], Source::Proved);
        }
        book.learn(vec![address(50)], Source::Proved);
        assert_eq!(all(&book).first(), Some(&address(50)));
        assert_eq!(all(&book).len(), OF_ONE_SOURCE_MAX);
        assert!(!all(&book).contains(&address(0)));
    }

    #[test]
    fn a_discovered_address_that_proves_right_is_kept() {
        let mut book = AddressBook::default();
        book.learn(vec![address(1)], Source::Discovered);
        book.learn(vec![address(1)], Source::Proved);
        book.forget_discovered();
        assert_eq!(all(&book), [address(1)]);
    }

    #[test]
    fn what_a_visitor_claims_is_replaced_by_its_next_claim_until_it_is_believed() {
        let mut book = AddressBook::default();
        book.learn(vec![address(1), address(2)], Source::Claimed);
        book.learn(vec![address(2), address(3)], Source::Claimed);
        assert_eq!(all(&book), [address(2), address(3)]);
        assert_eq!(book.believe_claims(), [address(2), address(3)]);
        book.learn(vec![address(4)], Source::Claimed);
        assert_eq!(all(&book), [address(2), address(3), address(4)]);
    }

    #[test]
    fn what_was_put_aside_is_left_out_until_its_time_or_a_connection_comes() {
        let (mut book, now) = (AddressBook::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(1);
        book.learn(vec![address(1)], Source::Configured);
        book.learn(vec![address(2), address(3)], Source::Discovered);
        assert_eq!(book.usable_from(|_| None), None);
        book.put_aside(&address(1), later);
        book.put_aside(&address(2), later);
        book.learn(vec![address(1), address(2), address(3)], Source::Discovered);
        assert_eq!(
            (turn(&mut book, now), book.usable_from(|_| None)),
            (vec![address(3)], None)
        );
        book.put_aside(&address(3), later + (later - now));
        assert_eq!(
            (turn(&mut book, now), book.usable_from(|_| None)),
            (vec![], Some(later))
        );
        assert_eq!(turn(&mut book, later), [address(1), address(2)]);
        book.learn(vec![address(1)], Source::Proved);
        assert_eq!(turn(&mut book, now), [address(1)], "a connection proved it");
        book.restore_all();
        assert_eq!(turn(&mut book, now), [address(1), address(2), address(3)]);
    }

    #[test]
    fn every_address_has_its_turn_and_those_of_our_network_come_first() {
        let (mut book, now) = (AddressBook::default(), Instant::now());
        let near = Subnets::new(&[([192, 0, 2, 200].into(), 28)]);
        book.learn((1..=40).chain([201]).map(at).collect(), Source::Discovered);
        let mut dialled = Vec::new();
        for turn in 0..4 {
            assert_eq!(book.has_untried(now), turn < 4);
            let addresses = book.take_turn(now, &near, |_| None);
            assert_eq!(addresses.first(), Some(&at(201)), "it is near");
            assert!(addresses.len() <= PER_DIAL_MAX);
            dialled.extend(addresses);
        }
        assert!(!book.has_untried(now));
        assert!((1..=40).all(|host| dialled.contains(&at(host))));
    }

    #[test]
    fn an_ip_address_whose_budget_is_spent_is_left_out_until_it_is_free() {
        let (mut book, now) = (AddressBook::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(60);
        book.learn(vec![at(1), at(2)], Source::Discovered);
        let spent = |ip: IpAddr| (ip == IpAddr::from([192, 0, 2, 1])).then_some(later);
        assert_eq!(book.take_turn(now, &Subnets::default(), spent), [at(2)]);
        assert_eq!(book.usable_from(spent), None);
        assert_eq!(book.usable_from(|_| Some(later)), Some(later));
    }
}
