//! What a simulated process goes by: the real replica, or one with a fault of our choice, to see that the simulator
//! would notice it.

use p2p_sync_core::limits::VERSIONS_MAX;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::{MemoryTransaction, Transaction};
use p2p_sync_core::{Clock, Content, Key, NodeId, Record, Seen, Timestamp, Versions};

use crate::support::covers;
pub(crate) use crate::support::rank;

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
        Replica::receive(self, store, record)
            .unwrap()
            .merged
            .merge
            .stores_incoming()
    }
}

/// A replica with exchangeable parts.
pub(crate) struct Faulty {
    pub(crate) id: NodeId,
    pub(crate) clock: Clock,
    /// Whether the second of two versions becomes the value in place of the first.
    pub(crate) wins: fn(&Record, &Record) -> bool,
    /// Whether the author of the first of two versions had seen the second.
    pub(crate) covers: fn(&Record, &Record) -> bool,
    /// What a write says that it has seen.
    pub(crate) sees: fn(&NodeId, &[Record]) -> Seen,
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
            covers,
            sees: Seen::by,
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
        let held = store.versions(&key).unwrap();
        let lives = held.winner().is_some_and(|held| held.content.value().is_some());
        if content == Content::Deleted && !lives {
            return None;
        }
        let timestamp = if self.minds_what_it_has_seen {
            self.clock.tick(now, held.latest()).unwrap()
        } else {
            now
        };
        let record = Record {
            key,
            content,
            timestamp,
            author: self.id,
            seen: (self.sees)(&self.id, held.all()),
            signature: None,
        };
        let after = Versions::from_stored(Vec::new(), record.clone());
        store.replace(&held, &after).unwrap();
        Some(record)
    }

    fn receive(&mut self, store: &mut MemoryTransaction<'_>, record: &Record) -> bool {
        if record.content == Content::Deleted && !self.keeps_deletions {
            return false;
        }
        let before = store.versions(&record.key).unwrap();
        let mut held = before.all().to_vec();
        if held.contains(record) || held.iter().any(|held| (self.covers)(held, record)) {
            return false;
        }
        held.retain(|held| !(self.covers)(record, held));
        let mut winner = record.clone();
        if let Some(former) = held.pop() {
            if (self.wins)(&former, record) {
                held.push(former);
            } else {
                held.push(std::mem::replace(&mut winner, former));
            }
        }
        let excess = (held.len() + 1).saturating_sub(VERSIONS_MAX);
        held.drain(..excess);
        store.replace(&before, &Versions::from_stored(held, winner)).unwrap();
        self.clock.observe(record.timestamp);
        true
    }
}
