//! How many messages of a peer are accepted: a sliding window per peer, in bounded memory. The [`gate`](crate::gate)
//! decides who is charged for what.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::id::NodeId;
use crate::time::Uptime;

/// How long to leave a full table alone after a search found no account to drop.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Sliding windows by peer: at most `messages_max` charges in any `window` to each account, exactly.
///
/// At most `peers_max` peers have an account of their own. When a newcomer finds the table full, accounts without a charge
/// in their window are dropped; if there are none, all newcomers share one account, so that a crowd of strangers cannot
/// crowd out earlier peers. Memory is at most 16 bytes per remembered charge, up to a factor of two for the growth of the
/// queues, and about 100 bytes per peer.
#[derive(Debug, Clone)]
pub struct Limiter {
    messages_max: usize,
    window: Duration,
    peers_max: usize,
    accounts: BTreeMap<NodeId, Account>,
    shared: Account,
    swept: Option<Uptime>,
}

/// A number that a charge carries so that it can be found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub u64);

impl Tag {
    /// The end of a peer id, which is part of its public key: as good as the whole where a collision does no harm.
    pub fn of(peer: NodeId) -> Self {
        let end = peer.as_bytes().iter().rev().take(8);
        Self(end.fold(0, |tag, byte| tag << 8 | u64::from(*byte)))
    }
}

#[derive(Debug, Clone, Default)]
struct Account {
    /// Oldest first. Nanoseconds of uptime rather than [`Uptime`]: half the memory, enough for five centuries.
    charges: VecDeque<(u64, Tag)>,
    /// The highest sequence number heard from this peer.
    sequence: Option<u64>,
}

impl Account {
    /// A charge counts until it is older than the window, so that an interval of exactly that length never holds more
    /// than the limit, wherever it starts.
    fn forget_old(&mut self, now: u64, window: Duration) {
        let window = nanos(window);
        while self
            .charges
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > window)
        {
            self.charges.pop_front();
        }
    }
}

impl Limiter {
    /// A limiter that has seen nothing yet.
    pub fn new(messages_max: usize, window: Duration, peers_max: usize) -> Self {
        Self {
            messages_max,
            window,
            peers_max,
            accounts: BTreeMap::new(),
            shared: Account::default(),
            swept: None,
        }
    }

    /// Charges one message to a peer if its window has room; otherwise returns false and charges nothing.
    pub fn charge(&mut self, peer: NodeId, tag: Tag, uptime: Uptime) -> bool {
        let (messages_max, window, now) = (self.messages_max, self.window, nanos(uptime.0));
        let account = self.account(peer, uptime);
        account.forget_old(now, window);
        let has_room = account.charges.len() < messages_max;
        if has_room {
            account.charges.push_back((now, tag));
        }
        has_room
    }

    /// Whether a peer has a charge with this tag in its window.
    pub fn has_charge(&mut self, peer: NodeId, tag: Tag, uptime: Uptime) -> bool {
        let account = self.accounts.get_mut(&peer).unwrap_or(&mut self.shared);
        account.forget_old(nanos(uptime.0), self.window);
        account.charges.iter().any(|(_, charged)| *charged == tag)
    }

    /// Replaces the tag of a peer's latest charge with this tag. Returns whether there was one.
    pub fn retag(&mut self, peer: NodeId, from: Tag, to: Tag) -> bool {
        let account = self.accounts.get_mut(&peer).unwrap_or(&mut self.shared);
        match account.charges.iter_mut().rfind(|(_, charged)| *charged == from) {
            Some((_, charged)) => {
                *charged = to;
                true
            }
            None => false,
        }
    }

    /// Refunds a peer's latest charge with this tag. Returns whether there was one.
    pub fn refund(&mut self, peer: NodeId, tag: Tag) -> bool {
        let account = self.accounts.get_mut(&peer).unwrap_or(&mut self.shared);
        match account.charges.iter().rposition(|(_, charged)| *charged == tag) {
            Some(position) => account.charges.remove(position).is_some(),
            None => false,
        }
    }

    /// Records a sequence number, and returns whether it is above all earlier ones of this peer. Peers without an account
    /// of their own are believed, as are those whose account was dropped while the table was full.
    pub fn is_new(&mut self, peer: NodeId, sequence: u64, uptime: Uptime) -> bool {
        self.account(peer, uptime);
        let Some(account) = self.accounts.get_mut(&peer) else {
            return true;
        };
        let is_new = account.sequence.is_none_or(|last| sequence > last);
        if is_new {
            account.sequence = Some(sequence);
        }
        is_new
    }

    /// How many peers have an account of their own.
    #[cfg(test)]
    fn peers(&self) -> usize {
        self.accounts.len()
    }

    fn account(&mut self, peer: NodeId, uptime: Uptime) -> &mut Account {
        if !self.accounts.contains_key(&peer) && self.accounts.len() >= self.peers_max {
            self.sweep(uptime);
            if self.accounts.len() >= self.peers_max {
                return &mut self.shared;
            }
        }
        self.accounts.entry(peer).or_default()
    }

    /// Drops the accounts whose window is empty. Looks at every account, so a crowd of newcomers may cause it only so
    /// often.
    fn sweep(&mut self, uptime: Uptime) {
        if self
            .swept
            .is_some_and(|swept| uptime.saturating_since(swept) < SWEEP_INTERVAL)
        {
            return;
        }
        self.swept = Some(uptime);
        let (window, now) = (self.window, nanos(uptime.0));
        self.accounts.retain(|_, account| {
            account.forget_old(now, window);
            !account.charges.is_empty()
        });
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag(0);

    fn peer(number: u32) -> NodeId {
        NodeId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    fn at(millis: u64) -> Uptime {
        Uptime(Duration::from_millis(millis))
    }

    fn limiter() -> Limiter {
        Limiter::new(3, Duration::from_secs(60), 4)
    }

    #[test]
    fn the_window_slides() {
        let mut limiter = limiter();
        assert!(limiter.charge(peer(1), TAG, at(0)));
        assert!(limiter.charge(peer(1), TAG, at(30_000)));
        assert!(limiter.charge(peer(1), TAG, at(59_999)));
        assert!(
            !limiter.charge(peer(1), TAG, at(60_000)),
            "the first is a window old, no more"
        );
        assert!(limiter.charge(peer(1), TAG, at(60_001)));
        assert!(!limiter.charge(peer(1), TAG, at(60_001)));
        assert!(
            limiter.charge(peer(2), TAG, at(60_001)),
            "another peer has a window of its own"
        );
    }

    #[test]
    fn a_refund_finds_the_charge_with_its_tag() {
        let mut limiter = limiter();
        for tag in [1, 2, 1] {
            assert!(limiter.charge(peer(1), Tag(tag), at(tag)));
        }
        assert!(!limiter.refund(peer(1), Tag(3)));
        assert!(!limiter.charge(peer(1), TAG, at(5)));
        assert!(limiter.refund(peer(1), Tag(2)));
        assert!(!limiter.refund(peer(1), Tag(2)));
        assert!(limiter.charge(peer(1), TAG, at(6)));
        assert!(!limiter.charge(peer(1), TAG, at(7)));
    }

    #[test]
    fn a_full_table_makes_newcomers_share_and_keeps_the_others() {
        let mut limiter = limiter();
        for number in 0..4 {
            assert!(limiter.charge(peer(number), TAG, at(0)));
        }
        let let_in = (100..200)
            .filter(|number| limiter.charge(peer(*number), TAG, at(10)))
            .count();
        assert_eq!((let_in, limiter.peers()), (3, 4));
        assert!(
            limiter.charge(peer(2), TAG, at(10_000)),
            "those who were there keep their own account"
        );
        assert!(limiter.charge(peer(200), TAG, at(61_000)), "idle accounts make room");
        assert_eq!(limiter.peers(), 2, "peer 2 was charged within the last minute");
    }

    #[test]
    fn sequence_numbers_rise() {
        let mut limiter = limiter();
        for (sequence, is_new) in [
            (0, true),
            (0, false),
            (7, true),
            (6, false),
            (7, false),
            (u64::MAX, true),
            (1, false),
        ] {
            assert_eq!(limiter.is_new(peer(1), sequence, at(0)), is_new, "{sequence}");
        }
    }

    #[test]
    fn memory_is_bounded_however_many_come() {
        let mut limiter = limiter();
        for number in 0..10_000 {
            limiter.is_new(peer(number), 1, at(u64::from(number)));
            limiter.charge(peer(number), TAG, at(u64::from(number)));
            assert!(limiter.peers() <= 4 && limiter.shared.charges.len() <= 3);
        }
    }
}
