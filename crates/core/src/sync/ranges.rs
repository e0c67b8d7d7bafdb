//! The last fallback: range-based reconciliation, by the `negentropy` crate. It compares the records themselves and needs
//! no sketch, so it also finds differences that a wrong sketch would hide; it takes several round trips, and 40 bytes of
//! memory per record on both sides.

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use crate::item::{Item, ShortItem};
use crate::limits::SYNC_RANGE_BYTES_MAX;
use crate::sketch::Difference;

/// A message without any range: only the version of Negentropy. Its answer is the same.
pub(super) const NO_RANGES: [u8; 1] = [0x61];

/// One side of a reconciliation over the items of one moment.
pub(super) struct Ranges(Negentropy<'static, NegentropyStorageVector>);

/// A message that is invalid for the reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct InvalidRange;

impl From<negentropy::Error> for InvalidRange {
    fn from(_: negentropy::Error) -> Self {
        Self
    }
}

impl Ranges {
    /// Over these items, each given once.
    pub(super) fn new(items: Vec<Item>) -> Result<Self, InvalidRange> {
        let mut storage = NegentropyStorageVector::with_capacity(items.len());
        for item in items {
            storage.insert(item.nanos(), Id::from_byte_array(item.to_bytes()))?;
        }
        storage.seal()?;
        Ok(Self(Negentropy::owned(storage, SYNC_RANGE_BYTES_MAX as u64)?))
    }

    /// The first message of the asking side.
    pub(super) fn first_message(&mut self) -> Result<Vec<u8>, InvalidRange> {
        Ok(self.0.initiate()?)
    }

    /// The answer to a message of the asking side.
    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Vec<u8>, InvalidRange> {
        Ok(self.0.reconcile(message)?)
    }

    /// What an answer reveals of the difference, and the next message; none: that was all.
    pub(super) fn compare(&mut self, answer: &[u8]) -> Result<(Difference, Option<Vec<u8>>), InvalidRange> {
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = self.0.reconcile_with_ids(answer, &mut have, &mut need)?;
        let sorted = |ids: Vec<Id>| {
            let items = ids.iter().map(|id| Item::from_bytes(id.as_bytes()).short());
            let mut items: Vec<ShortItem> = items.collect();
            items.sort_unstable();
            items.dedup();
            items
        };
        let difference = Difference {
            mine: sorted(have),
            theirs: sorted(need),
        };
        Ok((difference, next))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::limits::{SYNC_RANGE_MESSAGE_RECORDS, SYNC_RANGE_MESSAGES_MIN};
    use crate::sketch::{Reconciler, Sketch};

    fn items(numbers: &BTreeSet<u16>) -> Vec<Item> {
        let hash = |number: &u16| *blake3::hash(&number.to_le_bytes()).as_bytes();
        let items = numbers.iter().map(|number| Item::from_bytes(&hash(number)));
        items.collect()
    }

    /// Runs both sides to the end, and tells before each message how many there were and how much they found.
    fn reconcile_and(mine: Vec<Item>, theirs: Vec<Item>, mut before_each: impl FnMut(u64, usize)) -> Difference {
        let (mut asks, mut answers) = (Ranges::new(mine).unwrap(), Ranges::new(theirs).unwrap());
        let mut found = Difference::default();
        let mut message = Some(asks.first_message().unwrap());
        let mut messages = 0;
        while let Some(sent) = message {
            before_each(messages, found.mine.len() + found.theirs.len());
            messages += 1;
            let (part, next) = asks.compare(&answers.answer(&sent).unwrap()).unwrap();
            found.mine.extend(part.mine);
            found.theirs.extend(part.theirs);
            message = next;
        }
        found.mine.sort_unstable();
        found.theirs.sort_unstable();
        found
    }

    fn reconcile(mine: Vec<Item>, theirs: Vec<Item>) -> Difference {
        reconcile_and(mine, theirs, |_, _| {})
    }

    #[test]
    fn honest_sides_stay_far_below_the_messages_that_are_allowed() {
        let item = |number: u64, side: u8| {
            let mut bytes = *blake3::hash(&[&number.to_le_bytes()[..], &[side]].concat()).as_bytes();
            bytes[8..16].copy_from_slice(&number.to_le_bytes());
            Item::from_bytes(&bytes)
        };
        let common = (0..30_000_u64).map(|number| item(number * 10, 0));
        let every_tenth = |side| (0..3_000_u64).map(move |number| item(number * 100 + 1, side));
        let (mine, theirs) = (common.clone().chain(every_tenth(1)), common.chain(every_tenth(2)));
        let mut messages = 0;
        let found = reconcile_and(mine.collect(), theirs.collect(), |sent, found| {
            messages = sent + 1;
            // Of two versions of one record only one moves.
            let allowed = SYNC_RANGE_MESSAGES_MIN / 2 + found as u64 / 2 / SYNC_RANGE_MESSAGE_RECORDS / 2;
            assert!(messages <= allowed, "{messages} messages found {found}");
        });
        assert_eq!(found.mine.len() + found.theirs.len(), 6_000);
        assert!(messages > 5, "{messages}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn sketch_and_ranges_find_the_same(
            mine in prop::collection::btree_set(any::<u16>(), 0..400),
            theirs in prop::collection::btree_set(any::<u16>(), 0..400),
        ) {
            let (mine, theirs) = (items(&mine), items(&theirs));
            let sketch = |items: &[Item]| {
                let mut sketch = Sketch::new();
                items.iter().for_each(|item| sketch.insert(item));
                sketch
            };
            let (a, b) = (sketch(&mine), sketch(&theirs));
            let decoded = Sketch::difference(a.pieces(4_000), b.pieces(4_000)).unwrap();
            prop_assert_eq!(reconcile(mine, theirs), decoded);
        }

        #[test]
        fn no_message_does_harm(message in prop::collection::vec(any::<u8>(), 0..300)) {
            let all = items(&(0..500).collect());
            let mut framed = vec![0x61];
            framed.extend(&message);
            let _ = Ranges::new(all.clone()).unwrap().answer(&framed);
            let mut asks = Ranges::new(all).unwrap();
            asks.first_message().unwrap();
            let _ = asks.compare(&framed);
        }
    }
}
