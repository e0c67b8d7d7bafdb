//! What several tests need: a generator that gives the same numbers on every machine, and short ways to make values.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;

use p2p_sync_core::message::Change;
use p2p_sync_core::{Base, Content, Key, NodeId, Record, Timestamp, Value};

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

pub(crate) fn record(text: &str, content: Content, timestamp: Timestamp, author: u8, base: Base) -> Record {
    Record {
        key: key(text),
        content,
        timestamp,
        author: node(author),
        base,
    }
}

pub(crate) fn change(text: &str, content: Content, timestamp: Timestamp, base: Base) -> Change {
    Change {
        key: key(text),
        content,
        timestamp,
        base,
    }
}

/// What a replica that heard all of these holds: the oracle, independent of the order in which they are given.
pub(crate) fn winners<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeMap<Key, Record> {
    let mut winners: BTreeMap<Key, Record> = BTreeMap::new();
    for record in records {
        let rank = |record: &Record| (record.timestamp, record.author, record.digest());
        match winners.get(&record.key) {
            Some(held) if rank(held) >= rank(record) => {}
            _ => {
                winners.insert(record.key.clone(), record.clone());
            }
        }
    }
    winners
}
