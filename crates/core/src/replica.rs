//! One node's copy of the data: stamps local writes, and merges received records with those held. The store holds the
//! records; [`record`](crate::record) and [`versions`](crate::versions) decide between versions.

use crate::clock::{Clock, ClockExhausted};
use crate::id::NodeId;
use crate::limits::FUTURE_MAX;
use crate::record::{Content, Key, Record};
use crate::seen::Seen;
use crate::store::Transaction;
use crate::time::Timestamp;
use crate::versions::{Merged, Versions};

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
    /// The versions that it replaced.
    pub replaced: Versions,
}

/// The result of receiving a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What became of the record.
    pub merged: Merged,
    /// The versions of its key that are held now.
    pub held: Versions,
}

impl Replica {
    /// A replica whose writes carry `id`, with a clock that continues after the store's last timestamp.
    pub fn new(id: NodeId, clock: Clock) -> Self {
        Self { id, clock }
    }

    /// The id that local writes carry.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Stores a value or a deletion as the newest version of a key, whether or not the key exists. The new version has seen
    /// every version held, so it settles the key's conflicts.
    ///
    /// # Errors
    /// When the clock is exhausted or the store fails; the transaction must be rolled back then.
    pub fn write<S: Transaction>(
        &mut self,
        transaction: &mut S,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let held = transaction.versions(&key).map_err(WriteError::Store)?;
        let after = held.latest();
        self.write_over(transaction, (held, after), key, content, now)
    }

    /// Stores a value or a deletion dated now. Versions of the key that are dated further ahead of `now` than other nodes accept
    /// ([`FUTURE_MAX`]) are dropped: nobody else can have them, and a write that had to be later would be refused as well. It is
    /// the one case in which a key goes back to an earlier version.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_now<S: Transaction>(
        &mut self,
        transaction: &mut S,
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let held = transaction.versions(&key).map_err(WriteError::Store)?;
        let accepted = now.saturating_add(FUTURE_MAX);
        let timestamps = held.all().iter().map(|version| version.timestamp);
        let after = timestamps.filter(|timestamp| *timestamp <= accepted).max();
        self.write_over(transaction, (held, after), key, content, now)
    }

    /// Stores a deletion as the newest version of an existing key. If the key does not exist, nothing is written.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn delete<S: Transaction>(
        &mut self,
        transaction: &mut S,
        key: Key,
        now: Timestamp,
    ) -> Result<Option<Written>, WriteError<S::Error>> {
        let held = transaction.versions(&key).map_err(WriteError::Store)?;
        match held.winner() {
            Some(winner) if winner.content.value().is_some() => {
                let after = held.latest();
                self.write_over(transaction, (held, after), key, Content::Deleted, now)
                    .map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Merges a remote record into the store.
    ///
    /// # Errors
    /// When the store fails; the transaction must be rolled back then.
    pub fn receive<S: Transaction>(&mut self, transaction: &mut S, record: &Record) -> Result<Received, S::Error> {
        let before = transaction.versions(&record.key)?;
        let mut held = before.clone();
        let merged = held.merge(record);
        if merged.merge.stores_incoming() {
            transaction.replace(&before, &held)?;
            self.clock.observe(record.timestamp);
        }
        Ok(Received { merged, held })
    }

    /// Replaces what is held of a key by a write that has seen it, and is dated after a timestamp.
    fn write_over<S: Transaction>(
        &mut self,
        transaction: &mut S,
        (replaced, after): (Versions, Option<Timestamp>),
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let timestamp = self.clock.tick(now, after)?;
        let record = Record {
            key,
            content,
            timestamp,
            author: self.id,
            // What was dated later is dropped, but what its author had seen has been seen.
            seen: Seen::by(&self.id, replaced.all()).before(timestamp),
        };
        let held = Versions::of([record.clone()]);
        transaction.replace(&replaced, &held).map_err(WriteError::Store)?;
        Ok(Written { record, replaced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;
    use crate::store::{MemoryStore, Store};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_nanos(seconds * 1_000_000_000).unwrap()
    }

    #[test]
    fn a_write_dated_now_drops_what_nobody_else_accepts_and_has_seen_the_rest() {
        let [me, other] = [1, 2].map(|byte| NodeId::from_bytes(&[byte]).unwrap());
        let key = Key::new("k").unwrap();
        let value = |text: &str| Content::Put(Value::new(text.as_bytes()).unwrap());
        let mut store = MemoryStore::new();
        let mut replica = Replica::new(me, Clock::new(None));
        let mut transaction = store.begin().unwrap();
        let theirs = Record {
            key: key.clone(),
            content: value("theirs"),
            timestamp: at(900),
            author: other,
            seen: Seen::NOTHING,
        };
        replica.receive(&mut transaction, &theirs).unwrap();
        // A clock that stood far ahead, and was set right.
        let ahead = replica
            .write(&mut transaction, key.clone(), value("2099"), at(9_000))
            .unwrap();
        let later = replica
            .write(&mut transaction, key.clone(), value("lost"), at(1_000))
            .unwrap();
        assert!(
            later.record.timestamp > ahead.record.timestamp,
            "it would be refused as well"
        );
        let written = replica
            .write_now(&mut transaction, key.clone(), value("now"), at(1_000))
            .unwrap();
        assert_eq!(written.replaced.all(), [later.record]);
        assert!(written.record.timestamp <= at(1_000).saturating_add(FUTURE_MAX));
        assert_eq!(
            transaction.versions(&key).unwrap().all(),
            std::slice::from_ref(&written.record)
        );
        let again = replica
            .write_now(&mut transaction, key, value("again"), at(1_001))
            .unwrap();
        assert!(again.record.covers(&theirs) && again.record.covers(&written.record));
    }
}
