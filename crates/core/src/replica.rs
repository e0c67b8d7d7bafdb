//! One node's copy of the data: local writes get their timestamp here, received records meet what is held. Holding
//! records is the store's work, deciding between two versions that of [`record`](crate::record).

use crate::clock::{Clock, ClockExhausted};
use crate::id::NodeId;
use crate::record::{Content, Key, Merge, Record, merge};
use crate::store::Store;
use crate::time::{Base, Timestamp};

/// The rules by which one node changes its store.
#[derive(Debug, Clone)]
pub struct Replica {
    id: NodeId,
    clock: Clock,
}

/// A local write that did not happen. Nothing was stored.
#[derive(Debug, thiserror::Error)]
pub enum WriteError<E> {
    /// No later timestamp exists.
    #[error(transparent)]
    Clock(#[from] ClockExhausted),
    /// The store failed.
    #[error("the store failed")]
    Store(E),
}

/// What a local write did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The new version.
    pub record: Record,
    /// The version that it replaced.
    pub replaced: Option<Record>,
}

impl Replica {
    /// A replica whose writes carry `id`, with a clock that continues behind what the store holds.
    pub fn new(id: NodeId, clock: Clock) -> Self {
        Self { id, clock }
    }

    /// The id that local writes carry.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Stores a value as the newest version of a key.
    ///
    /// # Errors
    /// When the clock is exhausted or the store fails; the transaction must be rolled back then.
    pub fn write<S: Store>(
        &mut self,
        store: &mut S,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let replaced = store.get(&key).map_err(WriteError::Store)?;
        self.write_over(store, replaced, key, content, now)
    }

    /// Stores a deletion as the newest version of a key that is there. For a key that is not there nothing is written.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn delete<S: Store>(
        &mut self,
        store: &mut S,
        key: Key,
        now: Timestamp,
    ) -> Result<Option<Written>, WriteError<S::Error>> {
        match store.get(&key).map_err(WriteError::Store)? {
            Some(held) if held.content.value().is_some() => {
                self.write_over(store, Some(held), key, Content::Deleted, now).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Merges a record of another node into the store.
    ///
    /// # Errors
    /// When the store fails; the transaction must be rolled back then.
    pub fn receive<S: Store>(&mut self, store: &mut S, record: &Record) -> Result<Merge, S::Error> {
        let held = store.get(&record.key)?;
        let merged = merge(held.as_ref(), record);
        if merged.stores_incoming() {
            store.put(record)?;
            self.clock.observe(record.timestamp);
        }
        Ok(merged)
    }

    fn write_over<S: Store>(
        &mut self,
        store: &mut S,
        replaced: Option<Record>,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let base = replaced
            .as_ref()
            .map_or(Base::Nothing, |held| Base::Version(held.timestamp));
        let timestamp = self.clock.tick(now, replaced.as_ref().map(|held| held.timestamp))?;
        let record = Record {
            key,
            content,
            timestamp,
            author: self.id,
            base,
        };
        store.put(&record).map_err(WriteError::Store)?;
        Ok(Written { record, replaced })
    }
}
