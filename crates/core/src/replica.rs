//! One node's copy of the data: stamps local writes, and merges received records with those held. The store holds the
//! records; [`record`](crate::record) decides between two versions.

use crate::clock::{Clock, ClockExhausted};
use crate::id::NodeId;
use crate::record::{Content, Key, Merge, Record, merge};
use crate::store::Transaction;
use crate::time::{Base, Timestamp};

/// The rules by which one node changes its store.
#[derive(Debug, Clone)]
pub struct Replica {
    id: NodeId,
    clock: Clock,
    /// Local writes later than this have reached nobody.
    unshared_after: Option<Timestamp>,
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

/// The result of receiving a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Which version is held now.
    pub merge: Merge,
    /// The version that was lost, if it can be proved that the other one's author had not seen it.
    pub lost: Option<Lost>,
}

/// A version that lost to one whose author had not seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The version that lost.
    pub loser: Record,
    /// The version that won over it.
    pub winner: Record,
}

impl Replica {
    /// A replica whose writes carry `id`, with a clock that continues after the store's last timestamp.
    pub fn new(id: NodeId, clock: Clock) -> Self {
        Self {
            id,
            clock,
            unshared_after: None,
        }
    }

    /// Local writes later than this cannot have reached any other node; none: any of them may have. The author of a version
    /// that replaces an unreceived write had not seen it, whatever its base says.
    pub fn set_unshared_after(&mut self, timestamp: Option<Timestamp>) {
        self.unshared_after = timestamp;
    }

    /// The id that local writes carry.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Stores a value or a deletion as the newest version of a key, whether or not the key exists.
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
        let replaced = transaction.get(&key).map_err(WriteError::Store)?;
        self.write_over(transaction, replaced, key, content, now)
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
        match transaction.get(&key).map_err(WriteError::Store)? {
            Some(held) if held.content.value().is_some() => self
                .write_over(transaction, Some(held), key, Content::Deleted, now)
                .map(Some),
            _ => Ok(None),
        }
    }

    /// Merges a remote record into the store.
    ///
    /// # Errors
    /// When the store fails; the transaction must be rolled back then.
    pub fn receive<S: Transaction>(&mut self, transaction: &mut S, record: &Record) -> Result<Received, S::Error> {
        let held = transaction.get(&record.key)?;
        let merge = merge(held.as_ref(), record);
        if merge.stores_incoming() {
            transaction.put(record)?;
            self.clock.observe(record.timestamp);
        }
        let lost = held.and_then(|held| self.lost(merge, held, record));
        Ok(Received { merge, lost })
    }

    fn lost(&self, merge: Merge, held: Record, incoming: &Record) -> Option<Lost> {
        let (lost_unseen, loser, winner) = match merge {
            Merge::Replaced { lost_unseen } => (
                lost_unseen || self.is_unshared_loss(&held, incoming),
                held,
                incoming.clone(),
            ),
            Merge::Kept { lost_unseen } => (lost_unseen, incoming.clone(), held),
            Merge::Inserted | Merge::Same => return None,
        };
        lost_unseen.then_some(Lost { loser, winner })
    }

    /// Whether this version is our own, nobody else can have received it, and its replacement does not say otherwise.
    fn is_unshared_loss(&self, held: &Record, winner: &Record) -> bool {
        held.author == self.id
            && self.unshared_after.is_some_and(|shared| held.timestamp > shared)
            && winner.base != Base::Version(held.timestamp)
    }

    fn write_over<S: Transaction>(
        &mut self,
        transaction: &mut S,
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
        transaction.put(&record).map_err(WriteError::Store)?;
        Ok(Written { record, replaced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;
    use crate::store::{MemoryStore, Store};

    fn at(nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos).unwrap()
    }

    fn node(id: u8) -> NodeId {
        NodeId::from_bytes(&[id]).unwrap()
    }

    fn theirs(nanos: i64, base: Base) -> Record {
        Record {
            key: Key::new("k").unwrap(),
            content: Content::Deleted,
            timestamp: at(nanos),
            author: node(2),
            base,
        }
    }

    /// What is lost when `winner` meets a write of our own at 100, which nobody can have received after `shared`.
    fn lost(winner: &Record, shared: Option<Timestamp>) -> Option<Lost> {
        let mut store = MemoryStore::new();
        let mut replica = Replica::new(node(1), Clock::new(None));
        replica.set_unshared_after(shared);
        let mut transaction = store.begin().unwrap();
        let value = Content::Put(Value::new(*b"v").unwrap());
        let written = replica
            .write(&mut transaction, winner.key.clone(), value, at(100))
            .unwrap();
        let received = replica.receive(&mut transaction, winner).unwrap();
        assert!(
            received
                .lost
                .iter()
                .all(|lost| lost.loser == written.record && lost.winner == *winner)
        );
        received.lost
    }

    #[test]
    fn a_loss_is_proved_by_the_base_or_by_having_been_alone() {
        assert!(lost(&theirs(200, Base::Nothing), None).is_some(), "it replaced nothing");
        assert!(
            lost(&theirs(200, Base::Version(at(50))), None).is_some(),
            "it replaced something older"
        );
        assert!(
            lost(&theirs(200, Base::Version(at(150))), None).is_none(),
            "what was between may have replaced ours"
        );
        assert!(
            lost(&theirs(200, Base::Version(at(150))), Some(at(99))).is_some(),
            "but not if nobody had ours"
        );
        assert!(lost(&theirs(200, Base::Version(at(150))), Some(at(100))).is_none());
        assert!(lost(&theirs(200, Base::Unknown), Some(at(99))).is_some());
        assert!(
            lost(&theirs(200, Base::Version(at(100))), Some(at(99))).is_none(),
            "it names ours: it was seen"
        );
    }
}
