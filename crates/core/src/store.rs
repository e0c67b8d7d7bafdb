//! What a store must do, and the test suite that every implementation must pass. A store never decides which version wins:
//! it keeps what it is given.

use crate::record::{Key, Record};
use crate::time::Timestamp;

mod conformance;
mod memory;

pub use conformance::conformance;
pub use memory::{MemoryStore, MemoryStoreError};

/// Holds at most one version of each key.
///
/// Writes happen inside a transaction: [`begin`](Store::begin), any number of [`put`](Store::put), then
/// [`commit`](Store::commit), after which they survive everything that the implementation promises to survive; or
/// [`rollback`](Store::rollback), after which none of them happened. Reads inside a transaction see its writes.
pub trait Store {
    /// What can go wrong.
    type Error;

    /// The held version of a key, which may be a deletion.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error>;

    /// Stores this version in place of any other of its key.
    ///
    /// # Errors
    /// If it cannot be written; the transaction must then be rolled back.
    fn put(&mut self, record: &Record) -> Result<(), Self::Error>;

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
    /// If that fails; no transaction is open then.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Makes the transaction's writes durable.
    ///
    /// # Errors
    /// If that fails; it is then unknown whether they are durable, and [`rollback`](Store::rollback) must follow.
    fn commit(&mut self) -> Result<(), Self::Error>;

    /// Discards the transaction's writes. Leaves the store usable if possible.
    fn rollback(&mut self);
}
