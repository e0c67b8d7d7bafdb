//! What several tests need: a generator that gives the same numbers on every machine, and short ways to make values.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use p2p_sync_core::limits::VERSIONS_MAX;
use p2p_sync_core::message::Change;
use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Timestamp, Value, Versions};

/// SplitMix64 (Steele, Lea, Flood 2014): tiny, and every seed is a good one.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end` − 1. The bias is far below what any test here could notice.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.bits() % u64::try_from(end).unwrap()).unwrap()
    }

    pub(crate) fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.bits().to_le_bytes()[0]).collect()
    }
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes(&[number; 38]).unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn put(value: &[u8]) -> Content {
    Content::Put(Value::new(value).unwrap())
}

pub(crate) fn nanos(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).unwrap()
}

pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What the author of a version had seen, in few words.
#[derive(Debug, Clone)]
pub(crate) enum Saw {
    Nothing,
    /// Everything that is older: what a message of three fields means.
    AllOlder,
    UpTo(Timestamp),
    /// Of these authors, up to these timestamps.
    Of(Vec<(u8, Timestamp)>),
}

impl Saw {
    pub(crate) fn before(self, timestamp: Timestamp) -> Seen {
        let (floor, others) = match self {
            Self::Nothing => (None, vec![]),
            Self::AllOlder => return Seen::everything_before(timestamp),
            Self::UpTo(floor) => (Some(floor), vec![]),
            Self::Of(others) => (None, others),
        };
        let others = others.into_iter().map(|(author, timestamp)| (node(author), timestamp));
        let seen = Seen::new(floor, others.collect()).unwrap();
        assert!(seen.is_before(timestamp), "{seen:?} is not before {timestamp}");
        seen
    }
}

pub(crate) fn record(text: &str, content: Content, timestamp: Timestamp, author: u8, saw: Saw) -> Record {
    Record {
        key: key(text),
        content,
        timestamp,
        author: node(author),
        seen: saw.before(timestamp),
        signature: None,
    }
}

pub(crate) fn change(text: &str, content: Content, timestamp: Timestamp, saw: Saw) -> Change {
    Change {
        key: key(text),
        content,
        timestamp,
        seen: saw.before(timestamp),
        signature: None,
    }
}

/// The contract's order and relation, stated a second time so that the oracles do not ask the code under test.
pub(crate) fn rank(record: &Record) -> (Timestamp, NodeId, [u8; 32]) {
    (record.timestamp, record.author, record.digest())
}

pub(crate) fn covers(x: &Record, y: &Record) -> bool {
    let entry = x.seen.others().iter().find(|(author, _)| *author == y.author);
    x != y
        && (Some(y.timestamp) <= x.seen.floor()
            || (x.author == y.author && rank(y) < rank(x))
            || entry.is_some_and(|(_, seen)| y.timestamp <= *seen))
}

/// Which versions fell to the bound when one more came: those that are not held any longer, though no other one covers them.
pub(crate) fn fallen(before: &Versions, incoming: &Record, after: &Versions) -> Vec<Record> {
    let all = || before.all().iter().chain([incoming]);
    let gone = all().filter(|version| !after.all().contains(version));
    gone.filter(|version| !all().any(|other| covers(other, version)))
        .cloned()
        .collect()
}

/// What a replica holds that heard all of these: the oracle, independent of the order in which they are given. Each key's versions,
/// the lowest first; at most as many as are held of a key.
pub(crate) fn held<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<Key, Vec<Record>> {
    let mut keys: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
    for record in records {
        let versions = keys.entry(record.key.clone()).or_default();
        if !versions.contains(record) {
            versions.push(record.clone());
        }
    }
    for versions in keys.values_mut() {
        let all = versions.clone();
        versions.retain(|version| !all.iter().any(|other| covers(other, version)));
        versions.sort_by_key(rank);
        versions.drain(..versions.len().saturating_sub(VERSIONS_MAX));
    }
    keys
}
