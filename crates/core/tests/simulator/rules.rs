//! What a simulated process goes by: the real replica, or one with a fault of our choice, to see that the simulator
//! would notice it.

use p2p_sync_core::record::Digest;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::{MemoryTransaction, Transaction};
use p2p_sync_core::{Base, Clock, Content, Key, NodeId, Record, Timestamp};

/// The order that the contract demands, stated a second time so that the oracles do not ask the code under test.
pub(crate) fn rank(record: &Record) -> (Timestamp, NodeId, Digest) {
    (record.timestamp, record.author, record.digest())
}

/// Local writes and received records meet the store of one process, inside a transaction.
pub(crate) trait Rules {
    /// Stores a local write and returns it; a deletion of what is not there is none.
    fn write(
        &mut self,
        store: &mut MemoryTransaction<'_>,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Option<Record>;

    /// Merges a record, and says whether it changed anything.
    fn receive(&mut self, store: &mut MemoryTransaction<'_>, record: &Record) -> bool;
}

impl Rules for Replica {
    fn write(
        &mut self,
        store: &mut MemoryTransaction<'_>,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Option<Record> {
        let written = match content {
            Content::Deleted => self.delete(store, key, now).unwrap()?,
            content => Replica::write(self, store, key, content, now).unwrap(),
        };
        Some(written.record)
    }

    fn receive(&mut self, store: &mut MemoryTransaction<'_>, record: &Record) -> bool {
        Replica::receive(self, store, record).unwrap().merge.stores_incoming()
    }
}

/// A replica with exchangeable parts.
pub(crate) struct Faulty {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    /// Whether the second of two versions takes the place of the first.
    pub(crate) wins: fn(&Record, &Record) -> bool,
    /// Whether local writes are stamped behind what was seen.
    pub(crate) minds_what_it_has_seen: bool,
    /// Whether deletions are kept as versions.
    pub(crate) keeps_deletions: bool,
}

impl Faulty {
    /// Without a fault.
    pub(crate) fn none(id: NodeId, last: Option<Timestamp>) -> Self {
        Self {
            id,
            clock: Clock::new(last),
            wins: |held, incoming| rank(incoming) > rank(held),
            minds_what_it_has_seen: true,
            keeps_deletions: true,
        }
    }
}

impl Rules for Faulty {
    fn write(
        &mut self,
        store: &mut MemoryTransaction<'_>,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Option<Record> {
        let held = store.get(&key).unwrap();
        let lives = held.as_ref().is_some_and(|held| held.content.value().is_some());
        if content == Content::Deleted && !lives {
            return None;
        }
        let replaced = held.map(|held| held.timestamp);
        let timestamp = if self.minds_what_it_has_seen {
            self.clock.tick(now, replaced).unwrap()
        } else {
            now
        };
        let base = replaced.map_or(Base::Nothing, Base::Version);
        let record = Record {
            key,
            content,
            timestamp,
            author: self.id,
            base,
        };
        store.put(&record).unwrap();
        Some(record)
    }

    fn receive(&mut self, store: &mut MemoryTransaction<'_>, record: &Record) -> bool {
        if record.content == Content::Deleted && !self.keeps_deletions {
            return false;
        }
        let wins = store
            .get(&record.key)
            .unwrap()
            .is_none_or(|held| (self.wins)(&held, record));
        if wins {
            store.put(record).unwrap();
            self.clock.observe(record.timestamp);
        }
        wins
    }
}
