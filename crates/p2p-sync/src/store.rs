//! Where records are kept: one SQLite file in a data directory that belongs to one process. Deciding which version wins
//! is left to the core, deciding when to write and what to do about a failure to the node.
//!
//! # Files
//! - [`DataDir`] makes the directory, locks it, and knows the names of what lies in it.
//! - [`SqliteStore`] is the one connection that writes. It belongs to one thread.
//! - [`Readers`] are a few connections that read beside it and never wait for it.
//! - [`StoreError`] says what went wrong and what became of the data.
//!
//! # Durability
//! The file is in WAL mode with `synchronous=FULL`: when [`commit`](p2p_sync_core::store::Store::commit) returns, the
//! transaction has been synced to the disk. What an opened store shows is on the disk as well, whatever happened before.
//!
//! While the store is open, nothing else in this process may open its files, not even to read them: by the rules of POSIX,
//! closing such a file again takes away the locks that SQLite holds on it, and another program may then remove the WAL.

mod conflicts;
mod directory;
mod error;
mod migrations;
mod opening;
mod peers;
mod reader;
mod rows;
mod scan;
mod sqlite;
mod summary;
mod sync;
#[cfg(test)]
mod testing;

pub use conflicts::{CONFLICT_BYTES_MAX, CONFLICTS_MAX, Conflict};
pub use directory::DataDir;
pub use error::{StoreError, StoreErrorKind};
pub use opening::WRITER_CACHE_KIB;
pub use peers::{PEER_ADDRESSES_MAX, REMEMBERED_ADDRESS_BYTES_MAX, REMEMBERED_PEERS_MAX, RememberedPeer};
pub use reader::{Counts, Readers};
pub use scan::{Depth, SCAN_ROWS_MAX, Scan, Scanned, SummaryWas, Verified};
pub use sqlite::SqliteStore;
pub use sync::POSITIONS_MAX;
