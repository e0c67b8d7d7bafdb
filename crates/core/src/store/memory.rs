//! A store in memory: the reference implementation, used by tests and simulators. Nothing survives the process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use super::{Store, Transaction};
use crate::record::{Key, Record};
use crate::time::Timestamp;

/// Records in a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<Key, Record>,
    last: Option<Timestamp>,
}

/// Writes to a [`MemoryStore`]. It remembers what it replaced, so that it can be undone.
#[derive(Debug)]
pub struct MemoryTransaction<'a> {
    store: &'a mut MemoryStore,
    /// What was held before each of its writes, in their order.
    replaced: Vec<(Key, Option<Record>)>,
    last: Option<Timestamp>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every held record in key order, deletions included.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }
}

impl Store for MemoryStore {
    type Error = Infallible;
    type Transaction<'a> = MemoryTransaction<'a>;

    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error> {
        Ok(self.records.get(key).cloned())
    }

    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, Self::Error> {
        // Keys are ordered by their bytes, so those with a prefix are adjacent, starting at the prefix itself.
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let range = self.records.range::<str, _>((start, Bound::Unbounded));
        Ok(range
            .map(|(_, record)| record)
            .take_while(|record| record.key.as_str().starts_with(prefix))
            .take(limit)
            .cloned()
            .collect())
    }

    fn last_timestamp(&mut self) -> Result<Option<Timestamp>, Self::Error> {
        Ok(self.last)
    }

    fn begin(&mut self) -> Result<MemoryTransaction<'_>, Self::Error> {
        let last = self.last;
        Ok(MemoryTransaction {
            store: self,
            replaced: Vec::new(),
            last,
        })
    }
}

impl Transaction for MemoryTransaction<'_> {
    type Error = Infallible;

    fn get(&mut self, key: &Key) -> Result<Option<Record>, Infallible> {
        self.store.get(key)
    }

    fn put(&mut self, record: &Record) -> Result<(), Infallible> {
        let replaced = self.store.records.insert(record.key.clone(), record.clone());
        self.replaced.push((record.key.clone(), replaced));
        self.store.last = self.store.last.max(Some(record.timestamp));
        Ok(())
    }

    fn commit(mut self) -> Result<(), Infallible> {
        self.replaced.clear();
        self.last = self.store.last;
        Ok(())
    }
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        self.store.last = self.last;
        for (key, replaced) in self.replaced.drain(..).rev() {
            match replaced {
                Some(record) => self.store.records.insert(key, record),
                None => self.store.records.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_what_a_store_promises() {
        super::super::conformance(MemoryStore::new);
    }
}
