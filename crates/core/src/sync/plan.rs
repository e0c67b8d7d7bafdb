//! Who sends what, once the difference is known: for each key, the side with the newest version, as far as the items show
//! it, and nothing that is too far ahead for the receiver's clock. From the same difference, both sides reach the same plan,
//! each from its own point of view.

use crate::item::{KeyHash, ShortItem};
use crate::sketch::Difference;
use crate::time::Timestamp;

/// The latest timestamp allowed for each side: later records wait until they fall due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Horizons {
    pub(super) mine: Timestamp,
    pub(super) theirs: Timestamp,
}

/// What to do about a difference.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Plan {
    /// Keys whose records go to the peer, sorted.
    pub(super) send: Vec<KeyHash>,
    /// Keys whose records come from the peer, sorted.
    pub(super) want: Vec<KeyHash>,
    /// Records that would be sent, in either direction, if they were not too far ahead for their receiver.
    pub(super) waiting: u64,
    /// The earliest timestamp among those.
    pub(super) earliest_waiting: Option<u64>,
    /// In how many nanoseconds the first of them falls due, by its receiver's clock.
    pub(super) due_in: Option<u64>,
}

impl Plan {
    pub(super) fn moves_nothing(&self) -> bool {
        self.send.is_empty() && self.want.is_empty()
    }

    pub(super) fn of(difference: &Difference, horizons: Horizons) -> Self {
        let mut plan = Self::default();
        let mut mine = difference.mine.as_slice();
        let mut theirs = difference.theirs.as_slice();
        // Both sides are sorted, and items begin with the key hash: the groups of one hash come up together.
        while let Some(key) = mine
            .first()
            .into_iter()
            .chain(theirs.first())
            .map(ShortItem::key_hash)
            .min()
        {
            let mine = take_group(&mut mine, key);
            let theirs = take_group(&mut theirs, key);
            plan.add(key, mine, theirs, horizons);
        }
        plan
    }

    /// Removes keys of which the peer holds no version. Returns how many there were.
    pub(super) fn hold_back_what_is_new(&mut self, difference: &Difference) -> u64 {
        let before = self.send.len();
        let holds = |key: &KeyHash| difference.theirs.binary_search_by_key(key, ShortItem::key_hash).is_ok();
        self.send.retain(holds);
        (before - self.send.len()) as u64
    }

    /// Decides for the items of one key hash: the side with the newest version that may be sent now sends what it holds, and
    /// what survives of the other side's comes back. The timestamps are a hint: if they do not show which side that is, both
    /// send, and merging decides.
    fn add(&mut self, key: KeyHash, mine: &[ShortItem], theirs: &[ShortItem], horizons: Horizons) {
        let newest_of_mine = self.newest_due(mine, horizons.theirs);
        let newest_of_theirs = self.newest_due(theirs, horizons.mine);
        if newest_of_mine.is_some() && newest_of_mine >= newest_of_theirs {
            self.send.push(key);
        }
        if newest_of_theirs.is_some() && newest_of_theirs >= newest_of_mine {
            self.want.push(key);
        }
    }

    /// When the newest of these was written that is not too far ahead; those that are, are counted.
    fn newest_due(&mut self, items: &[ShortItem], horizon: Timestamp) -> Option<u64> {
        let horizon = horizon.as_nanos().unsigned_abs();
        let (due, ahead): (Vec<u64>, Vec<u64>) =
            items.iter().map(ShortItem::nanos).partition(|nanos| *nanos <= horizon);
        let earliest = ahead.iter().copied().min();
        let due_in = earliest.map(|nanos| nanos - horizon);
        self.earliest_waiting = self.earliest_waiting.into_iter().chain(earliest).min();
        self.due_in = self.due_in.into_iter().chain(due_in).min();
        self.waiting += ahead.len() as u64;
        due.into_iter().max()
    }
}

/// Splits the items with this key hash off the front.
fn take_group<'a>(items: &mut &'a [ShortItem], key: KeyHash) -> &'a [ShortItem] {
    let length = items.partition_point(|item| item.key_hash() <= key);
    let (group, rest) = items.split_at_checked(length).unwrap_or((items, &[]));
    *items = rest;
    group
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Item;

    fn item(key: u64, seconds: i64, digest: u64) -> ShortItem {
        let timestamp = Timestamp::from_nanos(seconds * 1_000_000_000).unwrap();
        Item::from_parts(KeyHash::from_bits(key), timestamp, [digest, 0]).short()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000).unwrap()
    }

    const HORIZONS: fn() -> Horizons = || Horizons {
        mine: at(1_000),
        theirs: at(500),
    };

    fn plan(mine: &[ShortItem], theirs: &[ShortItem]) -> (Vec<u64>, Vec<u64>, u64) {
        let mut difference = Difference {
            mine: mine.to_vec(),
            theirs: theirs.to_vec(),
        };
        difference.mine.sort_unstable();
        difference.theirs.sort_unstable();
        let plan = Plan::of(&difference, HORIZONS());
        // The peer, with the same difference the other way round, must come to the same plan.
        let mirrored = Plan::of(
            &Difference {
                mine: difference.theirs,
                theirs: difference.mine,
            },
            Horizons {
                mine: HORIZONS().theirs,
                theirs: HORIZONS().mine,
            },
        );
        assert_eq!((&mirrored.send, &mirrored.want), (&plan.want, &plan.send));
        assert_eq!(
            (mirrored.waiting, mirrored.earliest_waiting, mirrored.due_in),
            (plan.waiting, plan.earliest_waiting, plan.due_in)
        );
        let bits = |keys: &[KeyHash]| keys.iter().map(|key| key.bits()).collect();
        (bits(&plan.send), bits(&plan.want), plan.waiting)
    }

    #[test]
    fn what_a_full_peer_holds_no_version_of_is_held_back() {
        let difference = Difference {
            mine: vec![item(1, 1, 1), item(2, 5, 1), item(3, 5, 1)],
            theirs: vec![item(2, 4, 1), item(4, 1, 1)],
        };
        let mut plan = Plan::of(&difference, HORIZONS());
        assert_eq!(plan.hold_back_what_is_new(&difference), 2);
        assert_eq!((plan.send, plan.want.len()), (vec![KeyHash::from_bits(2)], 1));
    }

    #[test]
    fn only_winners_travel() {
        let plan = plan(
            &[item(1, 10, 0), item(2, 20, 0), item(3, 10, 0), item(5, 30, 1)],
            &[item(2, 10, 0), item(3, 20, 0), item(4, 10, 0), item(5, 30, 2)],
        );
        assert_eq!(plan, (vec![1, 2, 5], vec![3, 4, 5], 0));
    }

    #[test]
    fn whoever_has_the_newest_of_several_versions_sends() {
        let older = [item(1, 20, 0), item(1, 5, 0)];
        assert_eq!(plan(&[item(1, 10, 0), item(1, 30, 0)], &older), (vec![1], vec![], 0));
        assert_eq!(plan(&[item(1, 10, 0), item(1, 20, 1)], &older), (vec![1], vec![1], 0));
        assert_eq!(plan(&[item(1, 10, 0), item(1, 30, 0)], &[]), (vec![1], vec![], 0));
    }

    #[test]
    fn what_is_ahead_waits_and_keeps_nothing_else_from_travelling() {
        assert_eq!(plan(&[item(1, 501, 0)], &[item(1, 10, 0)]), (vec![], vec![1], 1));
        assert_eq!(
            plan(&[item(1, 501, 0), item(1, 20, 0)], &[item(1, 10, 0)]),
            (vec![1], vec![], 1)
        );
        assert_eq!(plan(&[item(1, 500, 0)], &[item(1, 10, 0)]), (vec![1], vec![], 0));
        assert_eq!(plan(&[item(1, 10, 0)], &[item(1, 900, 0)]), (vec![], vec![1], 0));
        assert_eq!(plan(&[], &[item(1, 1_001, 0)]), (vec![], vec![], 1));
        let far = Plan::of(
            &Difference {
                mine: vec![item(1, 700, 0), item(2, 600, 0)],
                theirs: vec![],
            },
            HORIZONS(),
        );
        assert_eq!(far.earliest_waiting, Some(600 * 1_000_000_000));
    }
}
