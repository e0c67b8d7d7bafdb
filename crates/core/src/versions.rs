//! All versions of one key that a node holds: those that no other held one covers. Nearly always that is one. The highest in
//! order is the key's value, everywhere; the others are *conflicts*, writes that lost to one whose author had not seen them.
//!
//! Merging is the union, less what is covered, cut to the [`VERSIONS_MAX`] highest. While that bound is not reached it is
//! commutative, associative and idempotent, so nodes that received the same versions, in whatever order, hold the same.

use crate::item::Item;
use crate::limits::VERSIONS_MAX;
use crate::record::Record;
use crate::time::Timestamp;

/// The versions held of one key, the lowest in order first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Versions(Vec<Record>);

/// What came of a version that met those held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// It is the key's value now.
    Won {
        /// The former value is held on as a conflict: the new one's author had not seen it.
        over_unseen: bool,
    },
    /// It is held as a conflict beside a value whose author had not seen it.
    Conflicts,
    /// A held version covers it.
    Covered,
    /// It is held already.
    Same,
    /// There are [`VERSIONS_MAX`] higher ones that do not cover it. It is lost.
    BeyondBound,
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// What became of the incoming version.
    pub merge: Merge,
    /// How many versions were held, and fell to the bound.
    pub dropped: usize,
    /// Those that a *folded* floor alone covers, and that are not held for that reason: held ones, or the incoming one. Whoever
    /// overwrote them may not have seen them.
    pub folded: Vec<Record>,
}

impl Merge {
    /// Whether the incoming version is held now and was not before.
    pub fn stores_incoming(self) -> bool {
        matches!(self, Self::Won { .. } | Self::Conflicts)
    }

    /// Whether there is a conflict now that was not there before.
    pub fn is_new_conflict(self) -> bool {
        matches!(self, Self::Won { over_unseen: true } | Self::Conflicts)
    }
}

impl Versions {
    /// No version.
    pub const NONE: Self = Self(Vec::new());

    /// What a store kept of a key, as it is: the conflicts in any order, and the value.
    pub fn from_stored(mut conflicts: Vec<Record>, winner: Record) -> Self {
        conflicts.sort_by(Record::precedence);
        conflicts.push(winner);
        Self(conflicts)
    }

    /// Those of these versions of one key that no other covers, the highest of them.
    pub fn of(versions: impl IntoIterator<Item = Record>) -> Self {
        let mut held = Self::NONE;
        for version in versions {
            held.merge(&version);
        }
        held
    }

    /// The key's value, or its deletion; none when nothing is held.
    pub fn winner(&self) -> Option<&Record> {
        self.0.last()
    }

    /// The versions that lost, the lowest first.
    pub fn conflicts(&self) -> &[Record] {
        self.0.split_last().map_or(&[], |(_, conflicts)| conflicts)
    }

    /// The conflicts that people are shown, the lowest first: not those with the same content as the value, between which
    /// there is nothing to choose.
    pub fn shown(&self) -> impl DoubleEndedIterator<Item = &Record> {
        let value = self.winner().map(|winner| &winner.content);
        self.conflicts()
            .iter()
            .filter(move |conflict| Some(&conflict.content) != value)
    }

    /// All of them, the lowest first.
    pub fn all(&self) -> &[Record] {
        &self.0
    }

    /// The timestamp of the latest.
    pub fn latest(&self) -> Option<Timestamp> {
        self.winner().map(|winner| winner.timestamp)
    }

    /// The items of those that are held, and are not among these: whoever sent these may lack them.
    pub fn survivors(&self, received: &[Record]) -> impl Iterator<Item = Item> {
        self.0.iter().filter(|held| !received.contains(held)).map(Item::of)
    }

    /// Those of them that are not among others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let left = self.0.iter().filter(|held| !others.0.contains(held));
        Self(left.cloned().collect())
    }

    /// A version of the same key meets those held.
    pub fn merge(&mut self, incoming: &Record) -> Merged {
        let kept = |merge, folded| Merged {
            merge,
            dropped: 0,
            folded,
        };
        if self.0.contains(incoming) {
            return kept(Merge::Same, Vec::new());
        }
        if self.0.iter().any(|held| held.covers(incoming)) {
            let folded = (!self.has_seen(incoming)).then(|| incoming.clone());
            return kept(Merge::Covered, Vec::from_iter(folded));
        }
        let is_folded = |held: &&Record| incoming.covers_by_folding(held) && !self.has_seen(held);
        let folded = self.0.iter().filter(is_folded).cloned().collect();
        let former = self.0.pop_if(|former| !incoming.covers(former));
        self.0.retain(|held| !incoming.covers(held));
        let over_unseen = former.is_some();
        self.0.extend(former);
        let place = self.0.partition_point(|held| held.precedence(incoming).is_lt());
        let wins = place == self.0.len();
        self.0.insert(place, incoming.clone());
        let excess = self.0.len().saturating_sub(VERSIONS_MAX);
        self.0.drain(..excess);
        let merge = match (wins, place < excess) {
            (true, _) => Merge::Won { over_unseen },
            (false, false) => Merge::Conflicts,
            (false, true) => Merge::BeyondBound,
        };
        let dropped = excess - usize::from(merge == Merge::BeyondBound);
        Merged { merge, dropped, folded }
    }

    /// Whether a version is held whose author had seen this one, as far as anybody can tell.
    fn has_seen(&self, version: &Record) -> bool {
        let covers = |held: &Record| held.covers(version) && !held.covers_by_folding(version);
        self.0.iter().any(covers)
    }
}
