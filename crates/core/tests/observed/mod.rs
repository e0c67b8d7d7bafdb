//! A replica under observation: every step is checked against the laws that hold for one node alone.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::cmp::Ordering;
use std::collections::BTreeMap;

use p2p_sync_core::limits::CLOCK_LEAD_MAX;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::{MemoryStore, MemoryTransaction, Store, Transaction};
use p2p_sync_core::versions::{Merge, Merged};
use p2p_sync_core::{Clock, Content, Key, Record, Timestamp};

use crate::support::{fallen, instant, node};

/// One node as the laws see it: a replica on a store, and what was observed of it from outside.
pub(crate) struct Node {
    replica: Replica,
    pub(crate) store: MemoryStore,
    /// The highest timestamp that its clock has to stay above, within the bound.
    counted: Option<Timestamp>,
    pub(crate) wall: Timestamp,
    /// Versions that it counted as gone: covered by a folded floor alone, or fallen to the bound.
    pub(crate) folded: Vec<Record>,
    pub(crate) fallen: Vec<Record>,
}

impl Node {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            replica: Replica::new(node(number), Clock::new(None)),
            store: MemoryStore::new(),
            counted: None,
            wall: instant("2025-01-04T08:30:15Z"),
            folded: Vec::new(),
            fallen: Vec::new(),
        }
    }

    /// Changes the store in a transaction and holds it to the law that no key goes back.
    fn change<T>(&mut self, key: &Key, change: impl FnOnce(&mut Replica, &mut MemoryTransaction<'_>) -> T) -> T {
        let before = self.store.get(key).unwrap();
        let mut transaction = self.store.begin().unwrap();
        let result = change(&mut self.replica, &mut transaction);
        transaction.commit().unwrap();
        let after = self.store.get(key).unwrap();
        if let Some(before) = before {
            assert_ne!(after.unwrap().precedence(&before), Ordering::Less, "{key} went back");
        }
        result
    }

    pub(crate) fn write(&mut self, key: &Key, content: Content) -> Option<Record> {
        let wall = self.wall;
        let bound = wall.saturating_add(CLOCK_LEAD_MAX);
        let name = key.clone();
        let held = self.store.versions(key).unwrap();
        let lives = held.all().iter().any(|version| version.content != Content::Deleted);
        let is_due = lives || content != Content::Deleted;
        let written = self.change(key, |replica, store| match content {
            Content::Deleted => replica.delete(store, name, wall).unwrap(),
            content => Some(replica.write(store, name, content, wall).unwrap()),
        });
        assert_eq!(written.is_some(), is_due, "only what is there can be deleted");
        let written = written?;
        let record = written.record;
        assert_eq!(
            self.store.get(key).unwrap().as_ref(),
            Some(&record),
            "an own write is held"
        );
        assert!(record.timestamp >= wall, "a write is not dated back");
        for replaced in written.replaced.all() {
            assert_eq!(
                record.precedence(replaced),
                Ordering::Greater,
                "a write beats what its author could see"
            );
            assert!(record.covers(replaced), "and has seen it");
        }
        assert!(record.seen.is_before(record.timestamp) && !record.seen.names(&record.author));
        if let Some(counted) = self.counted {
            assert!(record.timestamp > counted.min(bound), "the clock went back");
        }
        if record.timestamp <= bound.next().unwrap() {
            self.counted = self.counted.max(Some(record.timestamp));
        }
        Some(record)
    }

    pub(crate) fn receive(&mut self, record: &Record) -> Merge {
        let before = self.store.versions(&record.key).unwrap();
        let received = self.change(&record.key, |replica, store| replica.receive(store, record).unwrap());
        let Merged { merge, dropped, folded } = received.merged;
        let fallen = fallen(&before, record, &received.held);
        let beyond_bound = dropped + usize::from(merge == Merge::BeyondBound);
        assert_eq!(fallen.len(), beyond_bound, "what falls to the bound is counted");
        self.fallen.extend(fallen);
        self.folded.extend(folded);
        if merge.stores_incoming() {
            self.counted = self.counted.max(Some(record.timestamp));
        }
        merge
    }

    pub(crate) fn restart(&mut self) {
        let last = self.store.last_timestamp().unwrap();
        self.replica = Replica::new(self.replica.id(), Clock::new(last));
        assert!(last >= self.counted, "what the clock must know is in the store");
        self.counted = last;
    }

    /// All versions of each key, the lowest first.
    pub(crate) fn held(&self) -> BTreeMap<Key, Vec<Record>> {
        let mut held: BTreeMap<Key, Vec<Record>> = BTreeMap::new();
        for version in self.store.all() {
            held.entry(version.key.clone()).or_default().push(version.clone());
        }
        held
    }
}
