//! Records in memory as a sync sees them: the reference for what a [`SyncStore`] must do, and the one that simulators
//! use.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;

use super::page::cost;
use super::store::{Applied, Page, PageLimit, SyncStore};
use super::wire::{Position, StoreId};
use crate::item::{Item, KeyHash};
use crate::record::{Key, Merge, Record, merge};
use crate::summary::Summary;

/// Records with the indexes that a sync needs. Nothing of it survives the process.
#[derive(Debug, Clone)]
pub struct MemorySyncStore {
    id: StoreId,
    records: BTreeMap<Key, Record>,
    by_hash: BTreeMap<KeyHash, BTreeSet<Key>>,
    by_time: BTreeSet<(i64, Key)>,
    positions: BTreeMap<StoreId, Position>,
    summary: Summary,
}

impl MemorySyncStore {
    /// An empty store of this name.
    pub fn new(id: StoreId) -> Self {
        Self {
            id,
            records: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            by_time: BTreeSet::new(),
            positions: BTreeMap::new(),
            summary: Summary::new(),
        }
    }

    /// The version held of a key.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    /// Every record held, in the order of the keys.
    pub fn records(&self) -> &BTreeMap<Key, Record> {
        &self.records
    }

    /// Takes another summary for that of its records: how a damaged one is put in, or a right one in its place.
    pub fn set_summary(&mut self, summary: Summary) {
        self.summary = summary;
    }

    /// Merges one record.
    pub fn merge(&mut self, record: &Record) -> Merge {
        let merged = merge(self.records.get(&record.key), record);
        if merged.stores_incoming() {
            self.put(record);
        }
        merged
    }

    /// Holds this version in place of any other of its key, whichever wins.
    fn put(&mut self, record: &Record) {
        let item = Item::of(record);
        match self.records.insert(record.key.clone(), record.clone()) {
            Some(old) => {
                self.by_time.remove(&(old.timestamp.as_nanos(), old.key.clone()));
                self.summary.replaced(&Item::of(&old), &item);
            }
            None => self.summary.inserted(&item),
        }
        self.by_hash
            .entry(item.key_hash())
            .or_default()
            .insert(record.key.clone());
        self.by_time.insert((record.timestamp.as_nanos(), record.key.clone()));
    }
}

impl SyncStore for MemorySyncStore {
    type Error = Infallible;

    fn id(&self) -> StoreId {
        self.id
    }

    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn items(&mut self) -> Result<Vec<Item>, Infallible> {
        Ok(self.records.values().map(Item::of).collect())
    }

    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, Infallible> {
        let keys = self.by_hash.get(&key_hash).into_iter().flatten();
        Ok(keys
            .take(limit)
            .filter_map(|key| self.records.get(key).cloned())
            .collect())
    }

    fn page(&mut self, after: Option<&Position>, limit: PageLimit) -> Result<Page, Infallible> {
        let start = match after {
            Some(after) => Bound::Excluded((after.timestamp.as_nanos(), after.key.clone())),
            None => Bound::Unbounded,
        };
        let mut records = Vec::new();
        let mut bytes = 0;
        for (_, key) in self.by_time.range((start, Bound::Unbounded)) {
            let Some(record) = self.records.get(key) else { continue };
            bytes += cost(record);
            if records.len() >= limit.records.max(1) || (bytes > limit.bytes && !records.is_empty()) {
                break;
            }
            records.push(record.clone());
        }
        let reached = records.last().map(|last: &Record| Position {
            timestamp: last.timestamp,
            key: last.key.clone(),
        });
        Ok(Page { records, reached })
    }

    fn position(&mut self, source: StoreId) -> Result<Option<Position>, Infallible> {
        Ok(self.positions.get(&source).cloned())
    }

    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, &Position)>) -> Result<Applied, Infallible> {
        let changed = records
            .iter()
            .filter(|record| self.merge(record).stores_incoming())
            .count();
        if let Some((source, position)) = progress {
            self.positions.insert(source, position.clone());
        }
        Ok(Applied {
            changed: changed as u64,
            refused: 0,
        })
    }
}
