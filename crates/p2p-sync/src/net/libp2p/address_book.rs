//! The addresses of one peer: a few of each origin, so that nothing that strangers announce can push out what the user named
//! or a connection has proved, and since when each may be dialled. When they are is the dialer's business.

use std::time::Instant;

use libp2p::Multiaddr;

/// Addresses that are kept of each origin but the user.
const OF_ONE_SOURCE_MAX: usize = 8;

/// How an address became known. The first is never given up for a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The user named it.
    Configured,
    /// A connection proved it, now or in an earlier run.
    Proved,
    /// Discovery told of it: replaced by what discovery tells next.
    Discovered,
}

#[derive(Debug)]
struct Known {
    address: Multiaddr,
    source: Source,
    /// It is of no use before that moment.
    aside_until: Option<Instant>,
}

/// The addresses of one peer, those of each origin in the order in which they were learned, the latest first.
#[derive(Debug, Default)]
pub(super) struct AddressBook(Vec<Known>);

impl AddressBook {
    /// Takes in addresses. Returns whether one of them was unknown. One that was put aside stays so, unless it is proved now.
    pub(super) fn learn(&mut self, addresses: Vec<Multiaddr>, source: Source) -> bool {
        let news = addresses.iter().any(|address| self.find(address).is_none());
        if source == Source::Discovered {
            self.0
                .retain(|known| known.source != source || addresses.contains(&known.address));
        }
        for address in addresses.into_iter().rev() {
            let mut aside_until = None;
            if let Some(place) = self.find(&address) {
                // A better origin stays; the same or a lesser one is renewed.
                let known = self.0.remove(place);
                aside_until = known.aside_until.filter(|_| source != Source::Proved);
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
                },
            );
        }
        self.0.sort_by_key(|known| known.source);
        for origin in [Source::Proved, Source::Discovered] {
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
    pub(super) fn forget_discovered(&mut self) {
        self.0.retain(|known| known.source != Source::Discovered);
    }

    /// Leaves an address out until then: another peer was met there.
    pub(super) fn put_aside(&mut self, address: &Multiaddr, until: Instant) {
        for known in self.0.iter_mut().filter(|known| known.address == *address) {
            known.aside_until = Some(until);
        }
    }

    /// Nothing is left out any longer.
    pub(super) fn restore_all(&mut self) {
        for known in &mut self.0 {
            known.aside_until = None;
        }
    }

    /// The moment from which on one of the addresses is of use, if that is not the case all the time.
    pub(super) fn usable_from(&self) -> Option<Instant> {
        self.0.iter().map(|known| known.aside_until).min().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.0.iter().any(|known| known.source == Source::Configured)
    }

    /// Whether discovery tells of one.
    pub(super) fn is_announced(&self) -> bool {
        self.0.iter().any(|known| known.source == Source::Discovered)
    }

    /// Those that are of use now, the ones of the best origin first.
    pub(super) fn usable(&self, now: Instant) -> Vec<Multiaddr> {
        self.0
            .iter()
            .filter(|known| known.aside_until.is_none_or(|until| until <= now))
            .map(|known| known.address.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    fn all(book: &AddressBook) -> Vec<Multiaddr> {
        book.usable(Instant::now())
    }

    #[test]
    fn announcements_replace_each_other_and_nothing_else() {
        let mut book = AddressBook::default();
        assert!(book.learn(vec![address(1)], Source::Configured));
        assert!(book.learn(vec![address(2)], Source::Proved));
        assert!(book.learn((3..99).map(address).collect(), Source::Discovered));
        assert_eq!(all(&book).len(), 2 + OF_ONE_SOURCE_MAX);
        assert!(
            !book.learn(vec![address(2), address(1)], Source::Discovered),
            "both are known, and better"
        );
        assert_eq!(all(&book), [address(1), address(2)]);
        book.forget_discovered();
        assert_eq!(all(&book), [address(1), address(2)]);
    }

    #[test]
    fn a_proved_address_is_renewed_and_the_oldest_goes() {
        let mut book = AddressBook::default();
        for port in 0..20 {
            book.learn(vec![address(port)], Source::Proved);
        }
        book.learn(vec![address(12)], Source::Proved);
        assert_eq!(all(&book).first(), Some(&address(12)));
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
    fn what_was_put_aside_is_left_out_until_its_time_or_a_connection_comes() {
        let (mut book, now) = (AddressBook::default(), Instant::now());
        let later = now + std::time::Duration::from_secs(1);
        book.learn(vec![address(1)], Source::Configured);
        book.learn(vec![address(2), address(3)], Source::Discovered);
        assert_eq!(book.usable_from(), None);
        book.put_aside(&address(1), later);
        book.put_aside(&address(2), later);
        book.learn(vec![address(1), address(2), address(3)], Source::Discovered);
        assert_eq!((book.usable(now), book.usable_from()), (vec![address(3)], None));
        book.put_aside(&address(3), later + (later - now));
        assert_eq!((book.usable(now), book.usable_from()), (vec![], Some(later)));
        assert_eq!(book.usable(later), [address(1), address(2)]);
        book.learn(vec![address(1)], Source::Proved);
        assert_eq!(book.usable(now), [address(1)], "a connection proved it");
        book.restore_all();
        assert_eq!(book.usable(now), [address(1), address(2), address(3)]);
    }
}
