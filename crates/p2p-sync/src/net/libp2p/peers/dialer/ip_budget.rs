//! How often to dial an address that never answered. Anybody on the LAN can announce any address under any number of peer
//! ids, so this counts by IP address: a flood of announcements must not cause a flood of dials.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// From one dial to the next to an address at which nobody ever answered.
pub(super) const UNPROVED_INTERVAL: Duration = Duration::from_secs(60);
/// From one dial to the next to an address at which somebody did, under this or another id: several nodes may share one.
pub(super) const ANSWERED_INTERVAL: Duration = Duration::from_millis(100);
/// Addresses that are remembered; at the rate at which hearsay is dialled, more than fall into one interval.
const ADDRESSES_MAX: usize = 8_192;

#[derive(Debug, Clone, Copy)]
struct Dialled {
    last: Instant,
    answered: bool,
}

/// The addresses that were dialled on hearsay.
#[derive(Debug, Default)]
pub(super) struct IpBudget(HashMap<IpAddr, Dialled>);

impl IpBudget {
    /// From when on an address may be dialled; none if it may be now and was never dialled. This machine itself costs nobody
    /// anything.
    pub(super) fn free_from(&self, ip: IpAddr) -> Option<Instant> {
        if ip.is_loopback() {
            return None;
        }
        self.0.get(&ip).map(|dialled| {
            dialled.last
                + if dialled.answered {
                    ANSWERED_INTERVAL
                } else {
                    UNPROVED_INTERVAL
                }
        })
    }

    /// An address is dialled now.
    pub(super) fn spend(&mut self, ip: IpAddr, now: Instant) {
        if self.0.len() >= ADDRESSES_MAX && !self.0.contains_key(&ip) {
            self.0
                .retain(|_, dialled| now.saturating_duration_since(dialled.last) < UNPROVED_INTERVAL);
            if self.0.len() >= ADDRESSES_MAX {
                // Cannot be, at the rate of dials; forgetting them is the lesser harm.
                self.0.clear();
            }
        }
        let answered = self.0.get(&ip).is_some_and(|dialled| dialled.answered);
        self.0.insert(ip, Dialled { last: now, answered });
    }

    /// Somebody answered there, and proved an identity.
    pub(super) fn answered(&mut self, ip: IpAddr, now: Instant) {
        self.spend(ip, now);
        if let Some(dialled) = self.0.get_mut(&ip) {
            dialled.answered = true;
        }
    }

    /// The interfaces changed: what was behind an address may be another machine now.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0xc000_0200 + last).into()
    }

    #[test]
    fn one_dial_a_minute_until_somebody_answers() {
        let (mut budget, now) = (IpBudget::default(), Instant::now());
        assert_eq!(budget.free_from(ip(1)), None);
        budget.spend(ip(1), now);
        assert_eq!(budget.free_from(ip(1)), Some(now + UNPROVED_INTERVAL));
        assert_eq!(budget.free_from(ip(2)), None);
        budget.answered(ip(1), now);
        assert_eq!(budget.free_from(ip(1)), Some(now + ANSWERED_INTERVAL));
        budget.spend(ip(1), now + UNPROVED_INTERVAL);
        assert_eq!(
            budget.free_from(ip(1)),
            Some(now + UNPROVED_INTERVAL + ANSWERED_INTERVAL)
        );
        budget.spend([127, 0, 0, 1].into(), now);
        assert_eq!(budget.free_from([127, 0, 0, 1].into()), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut budget, now) = (IpBudget::default(), Instant::now());
        for n in 0..3 * ADDRESSES_MAX as u32 {
            budget.spend(ip(n), now + Duration::from_millis(u64::from(n) * 20));
            assert!(budget.0.len() <= ADDRESSES_MAX);
        }
    }
}
