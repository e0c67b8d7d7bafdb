//! Which of the slots of a node a session with a given peer may take. Slots are scarce, and a peer can claim any of them at
//! any time: a peer that used one for nothing gets none for a while, so that others do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::outcome::{Outcome, Report};
use super::slots::{Asker, Slots};
use crate::id::NodeId;
use crate::limits::{SYNC_DENIAL_MAX, SYNC_DENIAL_MIN, SYNC_DENIED_PEERS_MAX, SYNC_RANGES_PEER_PAUSE};
use crate::time::Uptime;

/// What peers are currently denied. This outlasts their connections; otherwise they could reconnect to avoid it.
#[derive(Debug, Clone, Default)]
pub struct Rights {
    denied: BTreeMap<NodeId, Denied>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Denied {
    all: Denial,
    ranges: Denial,
}

impl Denied {
    /// When it expires.
    fn until(&self) -> Uptime {
        self.all.until.max(self.ranges.until).after(SYNC_DENIAL_MAX)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Denial {
    until: Uptime,
    /// How long it lasts. One that follows within [`SYNC_DENIAL_MAX`] lasts twice as long.
    length: Duration,
}

impl Denial {
    fn begin(&mut self, least: Duration, at: Uptime) {
        let again = at < self.until.after(SYNC_DENIAL_MAX);
        self.length = if again { self.length * 2 } else { least };
        self.length = self.length.clamp(least, SYNC_DENIAL_MAX);
        self.until = at.after(self.length);
    }
}

impl Rights {
    /// The slots for a session with this peer that begins now.
    pub fn slots(&self, asker: Asker, all: &Slots, at: Uptime) -> Slots {
        let all = all.of(asker);
        match self.denied.get(&asker.peer) {
            Some(denied) if at < denied.all.until => all.denied(),
            Some(denied) if at < denied.ranges.until => all.without_ranges(),
            Some(_) | None => all,
        }
    }

    /// A session with this peer is over; without an outcome if it was interrupted.
    pub fn ended(&mut self, peer: NodeId, outcome: Option<Outcome>, report: &Report, at: Uptime) {
        if !report.ranges {
            return;
        }
        let ranges = &mut self.of(peer, at).ranges;
        // A copy that is interrupted again and again continues by ranges: what either side received counts.
        let moved = report.sent > 0 || report.changed > 0;
        if moved || matches!(outcome, Some(Outcome::Equal | Outcome::Waiting)) {
            ranges.until = ranges.until.max(at.after(SYNC_RANGES_PEER_PAUSE));
        } else {
            ranges.begin(SYNC_RANGES_PEER_PAUSE, at);
        }
    }

    /// A session with this peer had to be cut off: it transferred too little, took too long, kept others waiting or
    /// violated the protocol.
    pub fn cut_off(&mut self, peer: NodeId, at: Uptime) {
        self.of(peer, at).all.begin(SYNC_DENIAL_MIN, at);
    }

    fn of(&mut self, peer: NodeId, at: Uptime) -> &mut Denied {
        if self.denied.len() >= SYNC_DENIED_PEERS_MAX && !self.denied.contains_key(&peer) {
            self.denied.retain(|_, denied| denied.until() > at);
        }
        if self.denied.len() >= SYNC_DENIED_PEERS_MAX && !self.denied.contains_key(&peer) {
            let first = self.denied.iter().min_by_key(|(_, denied)| denied.until());
            if let Some(first) = first.map(|(id, _)| *id) {
                self.denied.remove(&first);
            }
        }
        self.denied.entry(peer).or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn id(number: u32) -> NodeId {
        NodeId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    fn at(seconds: u64) -> Uptime {
        Uptime(Duration::from_secs(seconds))
    }

    /// Whether a session with peer 1 that begins then gets a bulk and ranges.
    fn gets(rights: &Rights, seconds: u64) -> (bool, bool) {
        let asker = Asker {
            peer: id(1),
            dialled: false,
        };
        let slots = rights.slots(asker, &Slots::default(), at(seconds));
        (slots.take_bulk().is_some(), slots.take_ranges(Timestamp::MIN).is_some())
    }

    const ALL: (bool, bool) = (true, true);
    const NO_RANGES: (bool, bool) = (true, false);
    const NONE: (bool, bool) = (false, false);

    /// That a session gets less until then, and everything from then on.
    fn assert_until(rights: &Rights, seconds: u64, less: (bool, bool)) {
        assert_eq!((gets(rights, seconds - 1), gets(rights, seconds)), (less, ALL));
    }

    #[test]
    fn whoever_had_to_be_cut_off_gets_no_slots_for_a_growing_time() {
        let mut rights = Rights::default();
        assert_eq!(gets(&rights, 0), ALL);
        rights.cut_off(id(1), at(1_000));
        rights.cut_off(id(2), at(1_000));
        assert_until(&rights, 1_060, NONE);
        rights.cut_off(id(1), at(1_659));
        assert_until(&rights, 1_659 + 120, NONE);
        // It behaved for long enough.
        rights.cut_off(id(1), at(1_659 + 120 + 600));
        assert_until(&rights, 1_659 + 120 + 600 + 60, NONE);
        for _ in 0..20 {
            rights.cut_off(id(1), at(2_400));
        }
        assert_until(&rights, 2_400 + SYNC_DENIAL_MAX.as_secs(), NONE);
    }

    #[test]
    fn ranges_that_moved_nothing_are_denied_for_longer_and_longer() {
        let report = |changed, sent| Report {
            ranges: true,
            changed,
            sent,
            ..Report::default()
        };
        let fruitful = [
            (Some(Outcome::Delivered), report(1, 0)),
            (None, report(0, 1)),
            (Some(Outcome::Equal), report(0, 0)),
        ];
        for (outcome, report) in fruitful {
            let mut rights = Rights::default();
            for begun in [1_000, 1_010] {
                rights.ended(id(1), outcome, &report, at(begun));
                assert_until(&rights, begun + 10, NO_RANGES);
            }
        }
        for outcome in [Some(Outcome::Delivered), Some(Outcome::Busy), None] {
            let mut rights = Rights::default();
            for (begun, pause) in [(1_000, 10), (1_010, 20), (1_030, 40), (1_600, 80)] {
                rights.ended(id(1), outcome, &report(0, 0), at(begun));
                assert_until(&rights, begun + pause, NO_RANGES);
            }
            let none = Report::default();
            rights.ended(id(1), outcome, &none, at(1_680));
            assert_eq!(gets(&rights, 1_680), ALL, "it had none");
        }
    }

    #[test]
    fn many_peers_do_not_fill_the_memory() {
        let mut rights = Rights::default();
        for number in 0..5_000 {
            rights.cut_off(id(number + 10), at(u64::from(number / 100)));
        }
        assert_eq!(rights.denied.len(), SYNC_DENIED_PEERS_MAX);
        rights.cut_off(id(1), at(40));
        assert_eq!(gets(&rights, 50), (false, false), "the newest are remembered");
    }
}
