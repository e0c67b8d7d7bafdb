//! A store in memory: the reference implementation, used by tests and simulators. Nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::Store;
use crate::record::{Key, Record};
use crate::time::Timestamp;

/// Records in a map. A transaction remembers what it replaced, so that it can be undone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    records: BTreeMap<Key, Record>,
    last: Option<Timestamp>,
    /// While a transaction is open: what was held before it.
    undo: Option<Undo>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Undo {
    /// What was held before each of its writes, in their order.
    replaced: Vec<(Key, Option<Record>)>,
    last: Option<Timestamp>,
}

/// A call that the transaction rules forbid. The store is unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryStoreError {
    /// A write or a commit outside a transaction.
    #[error("no transaction is open")]
    NoTransaction,
    /// A transaction inside a transaction.
    #[error("a transaction is open already")]
    TransactionOpen,
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
    type Error = MemoryStoreError;

    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error> {
        Ok(self.records.get(key).cloned())
    }

    fn put(&mut self, record: &Record) -> Result<(), Self::Error> {
        let undo = self.undo.as_mut().ok_or(MemoryStoreError::NoTransaction)?;
        let replaced = self.records.insert(record.key.clone(), record.clone());
        undo.replaced.push((record.key.clone(), replaced));
        self.last = self.last.max(Some(record.timestamp));
        Ok(())
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

    fn begin(&mut self) -> Result<(), Self::Error> {
        if self.undo.is_some() {
            return Err(MemoryStoreError::TransactionOpen);
        }
        self.undo = Some(Undo {
            replaced: Vec::new(),
            last: self.last,
        });
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Self::Error> {
        self.undo.take().map(drop).ok_or(MemoryStoreError::NoTransaction)
    }

    fn rollback(&mut self) {
        let Some(undo) = self.undo.take() else { return };
        self.last = undo.last;
        for (key, replaced) in undo.replaced.into_iter().rev() {
            match replaced {
                Some(record) => self.records.insert(key, record),
                None => self.records.remove(&key),
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

    #[test]
    fn the_transaction_rules_are_enforced() {
        let mut store = MemoryStore::new();
        assert_eq!(store.commit(), Err(MemoryStoreError::NoTransaction));
        store.begin().unwrap();
        assert_eq!(store.begin(), Err(MemoryStoreError::TransactionOpen));
        store.rollback();
        assert_eq!(store, MemoryStore::new());
    }
}
