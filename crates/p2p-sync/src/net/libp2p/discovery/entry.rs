//! One instance, as described by one source.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use libp2p::PeerId;

use super::ours::Said;

/// Addresses of one instance that are held.
const ADDRESSES_MAX: usize = 32;
/// Addresses of one host that are looked at in one packet: as many may be taken back as are new.
pub(super) const ADDRESSES_TOLD_MAX: usize = 2 * ADDRESSES_MAX;
/// How often the same is told again.
const TOLD_INTERVAL: Duration = Duration::from_secs(5);
/// How often what changes all the time is told.
pub(super) const TOLD_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// What one source said of one instance.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: IpAddr,
    pub(super) instance: String,
    pub(super) place: Option<(String, u16)>,
    pub(super) said: Option<Said>,
    /// Who it is in our network; none inside where it is somebody else.
    pub(super) text: Option<Option<PeerId>>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) heard: Instant,
    pub(super) lifetime: Duration,
    pub(super) asked: u8,
    pub(super) told: Option<Instant>,
    /// It is to be told as soon as it is heard of, however lately it was.
    pub(super) again: bool,
    pub(super) changed: bool,
}

impl Entry {
    pub(super) fn peer(&self) -> Option<PeerId> {
        self.text.flatten()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.place.is_some() && self.text.is_some() && !self.addresses.is_empty()
    }

    /// Takes in what a packet says of its host. The first address of a family that makes the others void does so, the rest is added.
    pub(super) fn take_addresses(&mut self, told: &[Told]) {
        let before = self.addresses.clone();
        let (mut flushed_v4, mut flushed_v6) = (false, false);
        for one in told {
            let is_v4 = one.address.is_ipv4();
            let flushed = if is_v4 { &mut flushed_v4 } else { &mut flushed_v6 };
            if one.flushes && !std::mem::replace(flushed, true) {
                self.addresses.retain(|other| other.is_ipv4() != is_v4);
            }
            self.addresses.retain(|other| *other != one.address);
            if !one.is_over && self.addresses.len() < ADDRESSES_MAX {
                self.addresses.push(one.address);
            }
        }
        self.changed |= self.addresses != before;
    }

    /// Whether it is time to tell of it: at once when it has changed, if that is not all the time.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let interval = if self.changed { TOLD_INTERVAL_MIN } else { TOLD_INTERVAL };
        let is_over = |told: Instant| now.saturating_duration_since(told) >= interval;
        self.is_complete() && (self.again || self.told.is_none_or(is_over))
    }
}

/// What a packet says of one address of a host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) address: IpAddr,
    /// It is taken back.
    pub(super) is_over: bool,
    /// What was said of that host and family before is void.
    pub(super) flushes: bool,
}
