//! One node's copy of the data: stamps local writes, and merges received records with those held. The store holds the
//! records; [`record`](crate::record) and [`versions`](crate::versions) decide between versions.

use crate::clock::{Clock, ClockExhausted};
use crate::id::NodeId;
use crate::limits::FUTURE_MAX;
use crate::membership::Signer;
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
    signer: Option<Signer>,
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
        let signer = None;
        Self { id, clock, signer }
    }

    /// A replica in a private network: its writes carry the signer's id, and are signed.
    pub fn signing(signer: Signer, clock: Clock) -> Self {
        Self {
            id: signer.author(),
            clock,
            signer: Some(signer),
        }
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
        self.write_over(transaction, (held, Timestamp::MAX), key, content, now)
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
        self.write_over(transaction, (held, accepted), key, content, now)
    }

    /// Stores a deletion as the newest version of an existing key, or of one whose deletion is in conflict with a value. If no
    /// version of the key has a value, nothing is written.
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
        if held.all().iter().all(|version| version.content == Content::Deleted) {
            return Ok(None);
        }
        self.write_over(transaction, (held, Timestamp::MAX), key, Content::Deleted, now)
            .map(Some)
    }

    /// Dates the value of a key now, in place of its versions that are dated further ahead of `now` than other nodes accept
    /// ([`FUTURE_MAX`]). What others can have stays, and is in conflict with it where the dropped versions had not seen it. If none
    /// is dated ahead, nothing is written.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn redate<S: Transaction>(
        &mut self,
        transaction: &mut S,
        key: Key,
        now: Timestamp,
    ) -> Result<Option<Written>, WriteError<S::Error>> {
        let held = transaction.versions(&key).map_err(WriteError::Store)?;
        let accepted = now.saturating_add(FUTURE_MAX);
        let due = held.all().partition_point(|version| version.timestamp <= accepted);
        let (due, ahead) = held.all().split_at_checked(due).unwrap_or((held.all(), &[]));
        let Some(winner) = ahead.last() else { return Ok(None) };
        let timestamp = self.clock.tick(now, due.last().map(|version| version.timestamp))?;
        let record = Record {
            key,
            content: winner.content.clone(),
            timestamp,
            author: self.id,
            seen: Seen::by(&self.id, ahead).before(timestamp),
            signature: None,
        };
        let record = self.signed(record);
        let after = Versions::of(due.iter().cloned().chain([record.clone()]));
        transaction.replace(&held, &after).map_err(WriteError::Store)?;
        let replaced = held.without(&after);
        Ok(Some(Written { record, replaced }))
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

    /// Merges a remote record whose key is probably new, as [`receive`](Self::receive) does, at less cost if it is.
    ///
    /// # Errors
    /// As for [`receive`](Self::receive).
    pub fn receive_new<S: Transaction>(&mut self, transaction: &mut S, record: &Record) -> Result<Received, S::Error> {
        if !transaction.insert(record)? {
            return self.receive(transaction, record);
        }
        self.clock.observe(record.timestamp);
        let mut held = Versions::NONE;
        let merged = held.merge(record);
        Ok(Received { merged, held })
    }

    /// A record of this node as others are to get it.
    fn signed(&self, mut record: Record) -> Record {
        record.signature = self.signer.as_ref().map(|signer| signer.sign(&record));
        record
    }

    /// Replaces what is held of a key by a write that has seen it, and is dated after what of it is not later than a timestamp.
    fn write_over<S: Transaction>(
        &mut self,
        transaction: &mut S,
        (replaced, latest): (Versions, Timestamp),
        key: Key,
        content: Content,
        now: Timestamp,
    ) -> Result<Written, WriteError<S::Error>> {
        let timestamps = replaced.all().iter().map(|version| version.timestamp);
        let after = timestamps.filter(|timestamp| *timestamp <= latest).max();
        let timestamp = self.clock.tick(now, after)?;
        let record = Record {
            key,
            content,
            timestamp,
            author: self.id,
            // What was dated later is dropped, but what its author had seen has been seen.
            seen: Seen::by(&self.id, replaced.all()).before(timestamp),
            signature: None,
        };
        let record = self.signed(record);
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
            signature: None,
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

    fn from(author: NodeId, text: &str, timestamp: Timestamp) -> Record {
        Record {
            key: Key::new("k").unwrap(),
            content: Content::Put(Value::new(text.as_bytes()).unwrap()),
            timestamp,
            author,
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    #[test]
    fn a_value_dated_anew_ends_no_conflict_with_what_others_have() {
        let [me, other] = [1, 2].map(|byte| NodeId::from_bytes(&[byte]).unwrap());
        let key = Key::new("k").unwrap();
        let mut store = MemoryStore::new();
        let mut replica = Replica::new(me, Clock::new(None));
        let mut transaction = store.begin().unwrap();
        let seen = from(other, "seen", at(900));
        replica.receive(&mut transaction, &seen).unwrap();
        let ahead = Content::Put(Value::new(*b"2099").unwrap());
        replica
            .write(&mut transaction, key.clone(), ahead.clone(), at(9_000))
            .unwrap();
        let none = replica.redate(&mut transaction, key.clone(), at(9_000)).unwrap();
        assert_eq!(none, None, "it is not dated ahead");
        // They do not accept that version, and go on from the one before.
        let unseen = from(other, "unseen", at(1_000));
        replica.receive(&mut transaction, &unseen).unwrap();
        let written = replica
            .redate(&mut transaction, key.clone(), at(1_001))
            .unwrap()
            .unwrap();
        let held = transaction.versions(&key).unwrap();
        assert_eq!(held.all(), [unseen, written.record.clone()]);
        assert_eq!(written.replaced.all().len(), 1);
        assert!(written.record.content == ahead && written.record.covers(&seen));
        assert!(written.record.timestamp <= at(1_001).saturating_add(FUTURE_MAX));
        assert_eq!(replica.redate(&mut transaction, key, at(1_001)).unwrap(), None);
    }

    #[test]
    fn a_deletion_in_conflict_with_a_value_is_made_anew() {
        let [me, other] = [1, 2].map(|byte| NodeId::from_bytes(&[byte]).unwrap());
        let key = Key::new("k").unwrap();
        let mut store = MemoryStore::new();
        let mut replica = Replica::new(me, Clock::new(None));
        let mut transaction = store.begin().unwrap();
        let edit = from(other, "edit", at(900));
        let deletion = Record {
            content: Content::Deleted,
            ..from(me, "", at(901))
        };
        for version in [&edit, &deletion] {
            replica.receive(&mut transaction, version).unwrap();
        }
        let written = replica.delete(&mut transaction, key.clone(), at(902)).unwrap().unwrap();
        assert_eq!(written.replaced.all(), [edit, deletion]);
        assert_eq!(
            transaction.versions(&key).unwrap().all(),
            std::slice::from_ref(&written.record)
        );
        assert_eq!(replica.delete(&mut transaction, key, at(903)).unwrap(), None);
    }
}
