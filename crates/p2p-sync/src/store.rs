//! Stores the records: one SQLite file in a data directory that belongs to one process. The core decides which version
//! wins; the node decides when to write and how to handle failures.
//!
//! # Files
//! - [`DataDir`] creates the directory and locks it; [`DataPaths`] names the files in it.
//! - [`SqliteStore`] is the one connection that writes. It belongs to one thread.
//! - [`Transaction`] changes it: it commits when told to, and rolls back when it is dropped.
//! - [`Readers`] are a few connections that read in parallel and never wait for it.
//! - [`Scan`] reads all records on another thread: to compute the summary if it is not known, and to find damage.
//! - [`StoreError`] says what went wrong and what happened to the data.
//!
//! # The summary
//! Each row contains what its item needs, and the store updates the summary of all of them with every commit. A clean stop
//! saves it in the file, where it is valid until the first change after that; otherwise, and whenever another program has
//! written to the file, there is none until a scan has been [finished](SqliteStore::finish_scan).
//!
//! # Damage
//! - A record that does not match its digest is never sent to another node, and a full scan removes it.
//! - A file with damaged pages is [rescued](SqliteStore::rescue): everything readable is copied into a new file, and the
//!   old one is moved aside. Opening does this automatically.
//! - A file that is unreadable is moved aside too, and replaced by an empty one, but only if other nodes are
//!   known (`known_peers`) that can fill it.
//!
//! Either way, missing records come back from the other nodes.
//!
//! # Files that are taken away
//! If a file of an open store is removed, moved or replaced, this is noticed before the next transaction is acknowledged,
//! and the store is closed: see [`SqliteStore::check_files`]. `presence` says what cannot be noticed this way.
//!
//! # Durability
//! The file is in WAL mode with `synchronous=FULL`: when [`commit`](Transaction::commit) returns, the
//! transaction has been synced to disk. Everything that an opened store shows is on disk as well, whatever happened before.
//!
//! While the store is open, nothing else in this process may open its files, not even to read them: on POSIX, closing such
//! a file releases the locks that SQLite holds on it, and another program may then remove the WAL.

mod ahead;
mod authors;
mod backup;
mod changes;
mod columns;
mod conflicts;
mod deferred;
mod directory;
mod displaced;
mod error;
mod export;
mod files;
mod footprint;
mod frames;
mod held;
mod known_peers;
mod log_damage;
mod members;
mod migrations;
#[cfg(test)]
mod model;
mod opening;
mod others;
mod overwriting;
mod pairing;
mod paths;
mod peer_names;
mod peers;
mod presence;
mod private;
mod reader;
mod repair;
mod reserve;
mod room;
mod rows;
mod seen;
mod sequence;
mod shape;
mod sqlite;
mod summary;
mod summing;
mod sync;
mod table;
#[cfg(test)]
pub(crate) mod testing;
mod transaction;
mod wal;

pub use backup::{BackedUp, restore};
pub use changes::{Changed, Changes, Snapshot};
pub use conflicts::Conflicts;
pub use directory::DataDir;
pub use error::{OpenError, SqliteError, StoreError, StoreErrorKind};
pub use export::Export;
pub use footprint::Footprint;
pub use known_peers::known_peers;
pub use members::Recounted;
pub use migrations::{Migration, Observer};
pub use opening::{WRITER_CACHE_KIB, network_of, sqlite_version};
pub use paths::DataPaths;
pub use peer_names::{NamesHeard, RememberedName};
pub use peers::{PEER_ADDRESSES_MAX, REMEMBERED_ADDRESS_BYTES_MAX, REMEMBERED_PEERS_MAX, RememberedPeer};
pub use presence::{Displacement, FileId, Part};
pub use private::{exposure, write_private};
pub use reader::{Counts, Readers};
pub use repair::{
    Completed, Depth, INCOMPLETE_ROWS_MAX, IfUnreadable, Patrolled, Rescued, Round, SCAN_ROWS_MAX, Scan, ScanFound,
    Scanned, SummaryWas,
};
pub use room::{Capacity, Load, Room};
pub use sqlite::SqliteStore;
pub use sync::POSITIONS_MAX;
pub use table::{RowId, Table};
pub use transaction::Transaction;
