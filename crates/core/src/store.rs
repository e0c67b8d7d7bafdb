//! What a store must do, and the test suite that every implementation must pass. A store never decides which version wins:
//! it keeps what it is given.

use crate::record::{Key, Record};
use crate::time::Timestamp;
use crate::versions::Versions;

mod conformance;
mod memory;

pub use conformance::conformance;
pub use memory::{MemoryStore, MemoryTransaction};

/// Holds the [versions](Versions) of each key.
///
/// Writes happen in a [`Transaction`]: [`begin`](Store::begin), any number of [`replace`](Transaction::replace), then
/// [`commit`](Transaction::commit), after which they survive everything that the implementation promises to survive. A
/// transaction that is dropped without a commit is rolled back.
pub trait Store {
    /// What can go wrong.
    type Error;

    /// An open transaction.
    type Transaction<'a>: Transaction<Error = Self::Error>
    where
        Self: 'a;

    /// The value of a key, or its deletion: the highest version held.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error> {
        Ok(self.versions(key)?.winner().cloned())
    }

    /// All versions of a key that are held.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn versions(&mut self, key: &Key) -> Result<Versions, Self::Error>;

    /// The winners of up to `limit` keys in key order, deletions included: those whose key starts with `prefix` and comes
    /// after `after`.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, Self::Error>;

    /// The highest timestamp that was ever held: no version in the store is later.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn last_timestamp(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// If that fails.
    fn begin(&mut self) -> Result<Self::Transaction<'_>, Self::Error>;
}

/// Changes that are applied together or not at all. Dropping it without a commit rolls it back.
pub trait Transaction {
    /// What can go wrong.
    type Error;

    /// All versions of a key that are held. The transaction sees its own writes.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn versions(&mut self, key: &Key) -> Result<Versions, Self::Error>;

    /// Holds the versions `after`, at least one, in place of `before`, which [`versions`](Self::versions) returned for the
    /// same key in this transaction.
    ///
    /// # Errors
    /// If it cannot be written; the transaction must not be committed then.
    fn replace(&mut self, before: &Versions, after: &Versions) -> Result<(), Self::Error>;

    /// Holds this version if none of its key is held, and tells whether it does so now. A store may do that at less cost than by
    /// asking first.
    ///
    /// # Errors
    /// As for [`replace`](Self::replace).
    fn insert(&mut self, record: &Record) -> Result<bool, Self::Error> {
        let before = self.versions(&record.key)?;
        if before != Versions::NONE {
            return Ok(false);
        }
        self.replace(&before, &Versions::of([record.clone()]))?;
        Ok(true)
    }

    /// Makes the writes durable.
    ///
    /// # Errors
    /// If that fails; it is then unknown whether they are durable.
    fn commit(self) -> Result<(), Self::Error>;
}
