//! A store in memory: the reference implementation, used by tests and simulators. Nothing survives the process.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Bound;

use super::{Store, Transaction};
use crate::record::{Key, Record};
use crate::time::Timestamp;
use crate::versions::Versions;

/// Records in a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore {
    versions: BTreeMap<Key, Versions>,
    last: Option<Timestamp>,
}

/// Writes to a [`MemoryStore`]. It remembers what it replaced, so that it can be undone.
#[derive(Debug)]
pub struct MemoryTransaction<'a> {
    store: &'a mut MemoryStore,
    /// What was held before each of its writes, in their order.
    replaced: Vec<(Key, Option<Versions>)>,
    last: Option<Timestamp>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The winner of every key in key order, deletions included.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.versions.values().filter_map(Versions::winner)
    }

    /// Every version held, in the order of keys and versions.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.versions.values().flat_map(Versions::all)
    }
}

impl Store for MemoryStore {
    type Error = Infallible;
    type Transaction<'a> = MemoryTransaction<'a>;

    fn versions(&mut self, key: &Key) -> Result<Versions, Self::Error> {
        Ok(self.versions.get(key).cloned().unwrap_or_default())
    }

    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, Self::Error> {
        // Keys are ordered by their bytes, so those with a prefix are adjacent, starting at the prefix itself.
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let range = self.versions.range::<str, _>((start, Bound::Unbounded));
        Ok(range
            .filter_map(|(_, versions)| versions.winner())
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

    fn versions(&mut self, key: &Key) -> Result<Versions, Infallible> {
        self.store.versions(key)
    }

    fn replace(&mut self, _before: &Versions, after: &Versions) -> Result<(), Infallible> {
        if let Some(winner) = after.winner() {
            let replaced = self.store.versions.insert(winner.key.clone(), after.clone());
            self.replaced.push((winner.key.clone(), replaced));
            self.store.last = self.store.last.max(after.latest());
        }
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
                Some(versions) => self.store.versions.insert(key, versions),
                None => self.store.versions.remove(&key),
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
