//! What a place for records must do, and the suite of promises that every implementation is held to. No store
//! decides which version wins: it keeps what it is given.

use crate::record::{Key, Record};
use crate::time::Timestamp;

mod conformance;
mod memory;

pub use conformance::conformance;
pub use memory::{MemoryStore, MemoryStoreError};

/// A place that holds at most one version of each key.
///
/// Writes happen inside a transaction: [`begin`](Store::begin), any number of [`put`](Store::put), then
/// [`commit`](Store::commit), after which they survive whatever the implementation promises to survive; or
/// [`rollback`](Store::rollback), after which none of them happened. Reads inside a transaction see its writes.
pub trait Store {
    /// What can go wrong.
    type Error;

    /// The version held of a key, deletions included.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn get(&mut self, key: &Key) -> Result<Option<Record>, Self::Error>;

    /// Holds this version in place of any other of its key.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must be rolled back then.
    fn put(&mut self, record: &Record) -> Result<(), Self::Error>;

    /// Up to `limit` records in the order of their keys, deletions included: those whose key starts with `prefix` and
    /// lies behind `after`.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, Self::Error>;

    /// The highest timestamp that was ever held: no version in the store is later.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn last_timestamp(&mut self) -> Result<Option<Timestamp>, Self::Error>;

    /// Opens a transaction.
    ///
    /// # Errors
    /// When that fails; none is open then.
    fn begin(&mut self) -> Result<(), Self::Error>;

    /// Makes the transaction's writes durable.
    ///
    /// # Errors
    /// When that fails; it is then unknown whether they are there, and [`rollback`](Store::rollback) must follow.
    fn commit(&mut self) -> Result<(), Self::Error>;

    /// Forgets the transaction's writes. Leaves the store usable if it can be.
    fn rollback(&mut self);
}
