//! What a store must do, and the test suite that every implementation must pass. A store never decides which version wins:
//! it keeps what it is given.

use crate::record::{Key, Record};
use crate::time::Timestamp;

mod conformance;
mod memory;

pub use conformance::conformance;
pub use memory::{MemoryStore, MemoryTransaction};

/// Holds at most one version of each key.
///
/// Writes happen in a [`Transaction`]: [`begin`](Store::begin), any number of [`put`](Transaction::put), then
/// [`commit`](Transaction::commit), after which they survive everything that the implementation promises to survive. A
/// transaction that is dropped without a commit is rolled back.
pub trait Store {
    /// What can go wrong.
    type Error;

    /// An open transaction.
    type Transaction<'a>: Transaction<Error = Self::Error>
    where
        Self: 'a;

    /// The held version of a key, which may be a deletion.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error>;

    /// Up to `limit` records in key order, deletions included: those whose key starts with `prefix` and comes after
    /// `after`.
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

    /// The held version of a key, which may be a deletion. The transaction sees its own writes.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error>;

    /// Stores this version in place of any other of its key.
    ///
    /// # Errors
    /// If it cannot be written; the transaction must not be committed then.
    fn put(&mut self, record: &Record) -> Result<(), Self::Error>;

    /// Makes the writes durable.
    ///
    /// # Errors
    /// If that fails; it is then unknown whether they are durable.
    fn commit(self) -> Result<(), Self::Error>;
}
