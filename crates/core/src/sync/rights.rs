//! Which of the slots of a node a session with a given peer may take. Slots are few, and a peer can make any of them necessary
//! whenever it likes: whoever had one for nothing gets none for a while, so that others do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::session::{Outcome, Report};
use super::slots::Slots;
use crate::id::NodeId;
use crate::limits::{SYNC_DENIAL_MAX, SYNC_DENIAL_MIN, SYNC_DENIED_PEERS_MAX, SYNC_RANGES_PEER_PAUSE};
use crate::time::Uptime;

/// What peers are denied for now. It outlasts their connections, else coming back would be the way around it.
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
    /// Until when it matters.
    fn until(&self) -> Uptime {
        let ends = |denial: &Denial| denial.until.after(denial.length);
        ends(&self.all).max(ends(&self.ranges))
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Denial {
    until: Uptime,
    /// How long it lasts. One that follows before as much time again has passed lasts twice as long.
    length: Duration,
}

impl Denial {
    fn begin(&mut self, at: Uptime) {
        let again = at < self.until.after(self.length);
        self.length = if again { self.length * 2 } else { SYNC_DENIAL_MIN };
        self.length = self.length.min(SYNC_DENIAL_MAX);
        self.until = at.after(self.length);
    }
}

impl Rights {
    /// The slots for a session with this peer that begins now.
    pub fn slots(&self, peer: NodeId, all: &Slots, at: Uptime) -> Slots {
        match self.denied.get(&peer) {
            Some(denied) if at < denied.all.until => Slots::new(0, 0, 0),
            Some(denied) if at < denied.ranges.until => all.without_ranges(),
            Some(_) | None => all.clone(),
        }
    }

    /// A session with this peer is over; without an outcome if it broke off.
    pub fn ended(&mut self, peer: NodeId, outcome: Option<Outcome>, report: &Report, at: Uptime) {
        if !report.ranges {
            return;
        }
        let ranges = &mut self.of(peer, at).ranges;
        // A copy that breaks off again and again goes on by ranges: what either side got counts.
        let moved = report.sent > 0 || report.changed > 0;
        if moved || matches!(outcome, Some(Outcome::Equal | Outcome::Waiting)) {
            ranges.until = ranges.until.max(at.after(SYNC_RANGES_PEER_PAUSE));
        } else {
            ranges.begin(at);
        }
    }

    /// A session with this peer had to be cut off: it moved too little, took too long or broke the rules.
    pub fn cut_off(&mut self, peer: NodeId, at: Uptime) {
        self.of(peer, at).all.begin(at);
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
        let slots = rights.slots(id(1), &Slots::default(), at(seconds));
        (slots.take_bulk().is_some(), slots.take_ranges(Timestamp::MIN).is_some())
    }

    #[test]
    fn whoever_had_to_be_cut_off_gets_no_slots_for_a_growing_time() {
        let mut rights = Rights::default();
        assert_eq!(gets(&rights, 0), (true, true));
        rights.cut_off(id(1), at(0));
        rights.cut_off(id(2), at(0));
        assert_eq!((gets(&rights, 59), gets(&rights, 60)), ((false, false), (true, true)));
        rights.cut_off(id(1), at(100));
        assert_eq!((gets(&rights, 219), gets(&rights, 220)), ((false, false), (true, true)));
        // It behaved for long enough.
        rights.cut_off(id(1), at(340));
        assert_eq!((gets(&rights, 399), gets(&rights, 400)), ((false, false), (true, true)));
        for _ in 0..20 {
            rights.cut_off(id(1), at(400));
        }
        let longest = 400 + SYNC_DENIAL_MAX.as_secs();
        assert_eq!(
            (gets(&rights, longest - 1), gets(&rights, longest)),
            ((false, false), (true, true))
        );
    }

    #[test]
    fn ranges_that_moved_nothing_are_denied_for_longer_than_others() {
        let mut rights = Rights::default();
        let mut report = Report {
            ranges: true,
            changed: 1,
            ..Report::default()
        };
        rights.ended(id(1), Some(Outcome::Delivered), &report, at(0));
        assert_eq!((gets(&rights, 9), gets(&rights, 10)), ((true, false), (true, true)));
        (report.changed, report.sent) = (0, 1);
        rights.ended(id(1), None, &report, at(0));
        assert_eq!((gets(&rights, 9), gets(&rights, 10)), ((true, false), (true, true)));
        report.sent = 0;
        rights.ended(id(1), Some(Outcome::Equal), &report, at(10));
        assert_eq!((gets(&rights, 19), gets(&rights, 20)), ((true, false), (true, true)));
        for outcome in [Some(Outcome::Delivered), Some(Outcome::Busy), None] {
            let mut rights = rights.clone();
            rights.ended(id(1), outcome, &report, at(20));
            assert_eq!((gets(&rights, 79), gets(&rights, 80)), ((true, false), (true, true)));
            rights.ended(id(1), outcome, &report, at(80));
            assert_eq!((gets(&rights, 199), gets(&rights, 200)), ((true, false), (true, true)));
        }
        report.ranges = false;
        rights.ended(id(1), None, &report, at(20));
        assert_eq!(gets(&rights, 20), (true, true), "it had none");
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
