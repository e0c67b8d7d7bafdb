//! The addresses of one peer: a few of each origin, so that nothing that strangers announce can push out what the user named
//! or a connection has proved. When they are dialled is the dialer's business.

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

/// The addresses of one peer, those of each origin in the order in which they were learned, the latest first.
#[derive(Debug, Default)]
pub(super) struct AddressBook(Vec<(Multiaddr, Source)>);

impl AddressBook {
    /// Takes in addresses. Returns whether one of them was unknown.
    pub(super) fn learn(&mut self, addresses: Vec<Multiaddr>, source: Source) -> bool {
        let is_known =
            |book: &[(Multiaddr, Source)], address: &Multiaddr| book.iter().any(|(known, _)| known == address);
        let news = addresses.iter().any(|address| !is_known(&self.0, address));
        if source == Source::Discovered {
            self.forget_discovered();
        }
        for address in addresses.into_iter().rev() {
            // A better origin stays; the same or a lesser one is renewed.
            self.0.retain(|(known, origin)| *known != address || *origin < source);
            if !is_known(&self.0, &address) {
                self.0.insert(0, (address, source));
            }
        }
        self.0.sort_by_key(|(_, origin)| *origin);
        for origin in [Source::Proved, Source::Discovered] {
            let mut kept = 0;
            self.0.retain(|(_, other)| {
                kept += usize::from(*other == origin);
                *other != origin || kept <= OF_ONE_SOURCE_MAX
            });
        }
        news
    }

    /// Drops what discovery told.
    pub(super) fn forget_discovered(&mut self) {
        self.0.retain(|(_, source)| *source != Source::Discovered);
    }

    /// Drops an address, unless the user named it or there is no other. Returns whether it did.
    pub(super) fn give_up(&mut self, address: &Multiaddr) -> bool {
        let before = self.0.len();
        if before > 1 {
            self.0
                .retain(|(known, source)| known != address || *source == Source::Configured);
        }
        self.0.len() < before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.0.iter().any(|(_, source)| *source == Source::Configured)
    }

    /// All of them, those of the best origin first.
    pub(super) fn all(&self) -> Vec<Multiaddr> {
        self.0.iter().map(|(address, _)| address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn announcements_replace_each_other_and_nothing_else() {
        let mut book = AddressBook::default();
        assert!(book.learn(vec![address(1)], Source::Configured));
        assert!(book.learn(vec![address(2)], Source::Proved));
        assert!(book.learn((3..99).map(address).collect(), Source::Discovered));
        assert_eq!(book.all().len(), 2 + OF_ONE_SOURCE_MAX);
        assert!(
            !book.learn(vec![address(2), address(1)], Source::Discovered),
            "both are known, and better"
        );
        assert_eq!(book.all(), [address(1), address(2)]);
        book.forget_discovered();
        assert_eq!(book.all(), [address(1), address(2)]);
    }

    #[test]
    fn a_proved_address_is_renewed_and_the_oldest_goes() {
        let mut book = AddressBook::default();
        for port in 0..20 {
            book.learn(vec![address(port)], Source::Proved);
        }
        book.learn(vec![address(12)], Source::Proved);
        assert_eq!(book.all().first(), Some(&address(12)));
        assert_eq!(book.all().len(), OF_ONE_SOURCE_MAX);
        assert!(!book.all().contains(&address(0)));
    }

    #[test]
    fn a_discovered_address_that_proves_right_is_kept() {
        let mut book = AddressBook::default();
        book.learn(vec![address(1)], Source::Discovered);
        book.learn(vec![address(1)], Source::Proved);
        book.forget_discovered();
        assert_eq!(book.all(), [address(1)]);
    }
}
