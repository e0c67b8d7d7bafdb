//! Records in memory as sync sees them: the reference implementation of a [`SyncStore`], used by simulators.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;

use super::page::cost;
use super::store::{Applied, Page, PageLimit, SyncStore};
use super::wire::StoreId;
use crate::item::{Item, KeyHash};
use crate::record::{Key, Merge, Record, merge};
use crate::sequence::{Cursor, Epoch, Epochs, Sequence};
use crate::summary::Summary;

/// Records with the indexes that sync needs. Nothing survives the process.
#[derive(Debug, Clone)]
pub struct MemorySyncStore {
    id: StoreId,
    records: BTreeMap<Key, Record>,
    by_hash: BTreeMap<KeyHash, BTreeSet<Key>>,
    /// The number of each key's version, and the keys by their numbers.
    numbers: BTreeMap<Key, u64>,
    by_number: BTreeMap<u64, Key>,
    sequence: Sequence,
    positions: BTreeMap<StoreId, Cursor>,
    summary: Summary,
}

impl MemorySyncStore {
    /// An empty store of this name, in its first run. The epoch of that is the same for all stores of the name.
    pub fn new(id: StoreId) -> Self {
        Self {
            id,
            records: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            numbers: BTreeMap::new(),
            by_number: BTreeMap::new(),
            sequence: Sequence::resume(Epochs::default(), 0, Epoch(id.0)),
            positions: BTreeMap::new(),
            summary: Summary::new(),
        }
    }

    /// Begins another run with its own epoch, like a process that opens the store again.
    pub fn restart(&mut self, drawn: Epoch) {
        self.sequence.restart(drawn);
    }

    /// The version held of a key.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.records.get(key)
    }

    /// Every held record in key order.
    pub fn records(&self) -> &BTreeMap<Key, Record> {
        &self.records
    }

    /// Replaces the summary: to install a damaged one, or to correct it.
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

    /// Stores this version in place of any other of its key, whichever wins.
    fn put(&mut self, record: &Record) {
        let item = Item::of(record);
        match self.records.insert(record.key.clone(), record.clone()) {
            Some(old) => self.summary.replaced(&Item::of(&old), &item),
            None => self.summary.inserted(&item),
        }
        self.by_hash
            .entry(item.key_hash())
            .or_default()
            .insert(record.key.clone());
        // There are more numbers than a process can take.
        let number = self.sequence.take().unwrap_or(u64::MAX);
        self.sequence.committed();
        if let Some(old) = self.numbers.insert(record.key.clone(), number) {
            self.by_number.remove(&old);
        }
        self.by_number.insert(number, record.key.clone());
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

    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, Infallible> {
        let after = after.filter(|after| self.sequence.knows(*after));
        let start = Bound::Excluded(after.map_or(0, |after| after.number));
        let (mut records, mut reached) = (Vec::new(), None);
        let mut bytes = 0;
        for (number, key) in self.by_number.range((start, Bound::Unbounded)) {
            let Some(record) = self.records.get(key) else { continue };
            bytes += cost(record);
            if records.len() >= limit.records.max(1) || (bytes > limit.bytes && !records.is_empty()) {
                break;
            }
            records.push(record.clone());
            reached = Some(self.sequence.cursor(*number));
        }
        Ok(Page { records, reached })
    }

    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, Infallible> {
        Ok(self.positions.get(&source).copied())
    }

    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, Infallible> {
        let changed = records
            .iter()
            .filter(|record| self.merge(record).stores_incoming())
            .count();
        if let Some((source, position)) = progress {
            self.positions.insert(source, position);
        }
        Ok(Applied {
            changed: changed as u64,
            refused: 0,
        })
    }
}
