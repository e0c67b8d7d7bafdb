//! What the author of a version had seen of its key: the causal context that tells "overwritten" from "written apart".
//!
//! It is a version vector with one entry for each author, cut to a bounded size: beside at most [`SEEN_AUTHORS_MAX`] entries
//! there is a *floor*, up to which everything counts as seen, whoever wrote it. An author has seen its own earlier versions
//! without saying so, so that a key with one author has nothing to say.

use std::sync::Arc;

use crate::id::NodeId;
use crate::limits::SEEN_AUTHORS_MAX;
use crate::record::Record;
use crate::time::Timestamp;

/// What the author of a version had seen. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Seen {
    floor: Option<Timestamp>,
    /// By author, in their order; each above the floor.
    others: Option<Arc<[(NodeId, Timestamp)]>>,
}

/// An author that is named twice, an entry that the floor makes superfluous, or more entries than [`SEEN_AUTHORS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the author had seen is not in its one valid form")]
pub struct InvalidSeen;

impl Seen {
    /// Its author had seen no version of the key but its own.
    pub const NOTHING: Self = Self {
        floor: None,
        others: None,
    };

    /// Its author overwrites everything that is older than this: what a message means that does not say what was seen.
    pub fn everything_before(timestamp: Timestamp) -> Self {
        Self {
            floor: timestamp.previous(),
            others: None,
        }
    }

    /// From its parts; the entries may be in any order.
    ///
    /// # Errors
    /// When an author is named twice, an entry is not above the floor, or there are too many.
    pub fn new(floor: Option<Timestamp>, mut others: Vec<(NodeId, Timestamp)>) -> Result<Self, InvalidSeen> {
        others.sort_unstable();
        let is_repeated = others.windows(2).any(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
        let is_superfluous = others.iter().any(|(_, timestamp)| Some(*timestamp) <= floor);
        if is_repeated || is_superfluous || others.len() > SEEN_AUTHORS_MAX {
            return Err(InvalidSeen);
        }
        Ok(Self::of_sorted(floor, others))
    }

    fn of_sorted(floor: Option<Timestamp>, others: Vec<(NodeId, Timestamp)>) -> Self {
        let others = (!others.is_empty()).then(|| others.into());
        Self { floor, others }
    }

    /// Every version up to this timestamp had been seen, whoever wrote it.
    pub fn floor(&self) -> Option<Timestamp> {
        self.floor
    }

    /// For authors other than its own, up to which timestamp their versions had been seen; in the order of their ids.
    pub fn others(&self) -> &[(NodeId, Timestamp)] {
        self.others.as_deref().unwrap_or_default()
    }

    /// Up to which timestamp versions of this author had been seen. Of its own, its author does not say.
    pub fn of(&self, author: &NodeId) -> Option<Timestamp> {
        let entry = self.others().binary_search_by_key(author, |(author, _)| *author);
        let entry = entry.ok().and_then(|place| self.others().get(place));
        self.floor.max(entry.map(|(_, timestamp)| *timestamp))
    }

    /// Whether everything that was seen is earlier than this: nobody has seen what is as late as their own version.
    pub fn is_before(&self, timestamp: Timestamp) -> bool {
        self.floor < Some(timestamp) && self.others().iter().all(|(_, seen)| *seen < timestamp)
    }

    /// Whether there is an entry for this author, which there is not to be in its own versions.
    pub fn names(&self, author: &NodeId) -> bool {
        self.others().iter().any(|(other, _)| other == author)
    }

    /// The same without an entry for this author, who need not be named in its own version.
    #[must_use]
    pub fn without(self, author: &NodeId) -> Self {
        if !self.names(author) {
            return self;
        }
        let others = self.others().iter().filter(|(other, _)| other != author);
        Self::of_sorted(self.floor, others.copied().collect())
    }

    /// As much of it as a version of this timestamp can have seen: nobody has seen what is as late as their own version.
    #[must_use]
    pub fn before(self, timestamp: Timestamp) -> Self {
        if self.is_before(timestamp) {
            return self;
        }
        let latest = timestamp.previous();
        let floor = self.floor.min(latest);
        let others = self.others().iter();
        let others = others.filter_map(|(author, seen)| Some((*author, Some(*seen).min(latest)?)));
        let others = others.filter(|(_, seen)| Some(*seen) > floor).collect();
        Self::of_sorted(floor, others)
    }

    /// What `author` has seen when it holds these versions: everything that they say, and themselves. Beyond
    /// [`SEEN_AUTHORS_MAX`] authors the lowest entries are folded into the floor, which then counts more as seen than was: what
    /// such a floor alone covers is counted when it [goes](crate::versions::Merged::folded).
    pub fn by(author: &NodeId, held: &[Record]) -> Self {
        let mut floor = held.iter().filter_map(|version| version.seen.floor).max();
        let mut others: Vec<(NodeId, Timestamp)> = held
            .iter()
            .flat_map(|version| {
                let own = (version.author, version.timestamp);
                version.seen.others().iter().copied().chain([own])
            })
            .filter(|(other, timestamp)| other != author && Some(*timestamp) > floor)
            .collect();
        // The latest of each author, which stands last among those of its author.
        others.sort_unstable();
        others.reverse();
        others.dedup_by_key(|(other, _)| *other);
        if others.len() > SEEN_AUTHORS_MAX {
            others.sort_unstable_by_key(|(other, timestamp)| std::cmp::Reverse((*timestamp, *other)));
            let folded = others.split_off(SEEN_AUTHORS_MAX);
            floor = floor.max(folded.first().map(|(_, timestamp)| *timestamp));
            others.retain(|(_, timestamp)| Some(*timestamp) > floor);
        }
        others.sort_unstable();
        Self::of_sorted(floor, others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Key};

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos).unwrap()
    }

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes(&[number]).unwrap()
    }

    fn version(author: u8, nanos: i64, seen: Seen) -> Record {
        Record {
            key: Key::new("k").unwrap(),
            content: Content::Deleted,
            timestamp: at(nanos),
            author: node(author),
            seen,
            signature: None,
        }
    }

    fn seen(floor: i64, others: &[(u8, i64)]) -> Seen {
        let others = others.iter().map(|(author, nanos)| (node(*author), at(*nanos)));
        Seen::new(Timestamp::from_nanos(floor).ok(), others.collect()).unwrap()
    }

    #[test]
    fn there_is_one_valid_form() {
        assert_eq!(Seen::new(None, vec![]), Ok(Seen::NOTHING));
        for (floor, others) in [
            (None, vec![(node(1), at(1)), (node(1), at(2))]),
            (Some(at(5)), vec![(node(1), at(5))]),
            (None, (0..17).map(|author| (node(author), at(9))).collect()),
        ] {
            assert_eq!(Seen::new(floor, others), Err(InvalidSeen));
        }
        let others = vec![(node(2), at(7)), (node(1), at(8))];
        assert_eq!(
            Seen::new(Some(at(6)), others).unwrap().others(),
            [(node(1), at(8)), (node(2), at(7))]
        );
    }

    #[test]
    fn a_version_has_seen_nothing_as_late_as_itself() {
        assert!(seen(4, &[(2, 5)]).is_before(at(6)) && !seen(4, &[(2, 5)]).is_before(at(5)));
        assert!(seen(4, &[]).is_before(at(5)) && !seen(5, &[]).is_before(at(5)));
        assert!(Seen::NOTHING.is_before(Timestamp::MIN) && seen(0, &[(1, 5)]).names(&node(1)));
        assert_eq!(seen(0, &[(1, 5), (2, 5)]).without(&node(1)), seen(0, &[(2, 5)]));
        assert_eq!(seen(2, &[(1, 5), (2, 9)]).before(at(10)), seen(2, &[(1, 5), (2, 9)]));
        assert_eq!(seen(2, &[(1, 5), (2, 9)]).before(at(7)), seen(2, &[(1, 5), (2, 6)]));
        assert_eq!(seen(4, &[(1, 5)]).before(at(4)), seen(3, &[]));
        assert_eq!(seen(4, &[(1, 5)]).before(Timestamp::MIN), Seen::NOTHING);
        assert_eq!(Seen::everything_before(at(1)), Seen::NOTHING);
        assert_eq!(Seen::everything_before(at(9)), seen(8, &[]));
    }

    #[test]
    fn whoever_writes_has_seen_what_it_holds_and_what_that_had_seen() {
        let held = [
            version(2, 10, seen(3, &[(4, 5)])),
            version(3, 8, seen(4, &[(2, 6), (1, 7)])),
        ];
        let by = |author| Seen::by(&node(author), &held);
        assert_eq!(by(1), seen(4, &[(2, 10), (3, 8), (4, 5)]));
        assert_eq!(by(2), seen(4, &[(1, 7), (3, 8), (4, 5)]));
        assert_eq!(Seen::by(&node(1), &[]), Seen::NOTHING);
        assert_eq!(Seen::by(&node(2), &held[..1]), seen(3, &[(4, 5)]));
        assert_eq!((by(1).of(&node(2)), by(1).of(&node(9))), (Some(at(10)), Some(at(4))));
    }

    #[test]
    fn beyond_sixteen_authors_the_lowest_are_folded_into_the_floor() {
        let held: Vec<_> = (10..30)
            .map(|author| version(author, i64::from(author), Seen::NOTHING))
            .collect();
        let folded = Seen::by(&node(1), &held);
        assert_eq!(
            (folded.floor(), folded.others().len()),
            (Some(at(13)), SEEN_AUTHORS_MAX)
        );
        assert!(
            held.iter()
                .all(|version| folded.of(&version.author) >= Some(version.timestamp))
        );
        let same: Vec<_> = (10..30).map(|author| version(author, 5, Seen::NOTHING)).collect();
        assert_eq!(Seen::by(&node(1), &same), seen(5, &[]));
    }
}
