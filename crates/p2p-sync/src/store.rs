//! Where records are kept: one SQLite file in a data directory that belongs to one process. Deciding which version wins
//! is left to the core, deciding when to write and what to do about a failure to the node.
//!
//! # Files
//! - [`DataDir`] makes the directory and locks it; [`DataPaths`] are the names of what lies in it.
//! - [`SqliteStore`] is the one connection that writes. It belongs to one thread.
//! - [`Readers`] are a few connections that read beside it and never wait for it.
//! - [`Scan`] reads all records on another thread: for the summary where it is not known, and to find damage.
//! - [`StoreError`] says what went wrong and what became of the data.
//!
//! # The summary
//! Each row carries what makes its item, and the store keeps the summary of all of them up to date with every commit. A
//! clean stop keeps it in the file, and it is valid until the first change after that; otherwise, and whenever another
//! program has written to the file, there is none until a scan has been [finished](SqliteStore::finish_scan).
//!
//! # Damage
//! - A record whose content does not give its digest is never handed to another node, and a thorough scan takes it out.
//! - A file with damaged pages is [rescued](SqliteStore::rescue): what can be read is copied into a new file, and the old one
//!   put aside. Opening does so by itself.
//! - A file in which nothing can be read is put aside too, and replaced by an empty one, but only if other nodes are
//!   [known](known_peers) that can fill it.
//!
//! Either way, what is missing comes back from the other nodes.
//!
//! # Files that are taken away
//! Whoever removes, moves or replaces a file of an open store is noticed before the next transaction is acknowledged, and ends
//! the store: see [`SqliteStore::check_files`]. What cannot be seen so is said in `presence`.
//!
//! # Durability
//! The file is in WAL mode with `synchronous=FULL`: when [`commit`](p2p_sync_core::store::Store::commit) returns, the
//! transaction has been synced to the disk. What an opened store shows is on the disk as well, whatever happened before.
//!
//! While the store is open, nothing else in this process may open its files, not even to read them: by the rules of POSIX,
//! closing such a file again takes away the locks that SQLite holds on it, and another program may then remove the WAL.

mod changes;
mod columns;
mod conflicts;
mod directory;
mod displaced;
mod error;
mod files;
mod footprint;
mod known_peers;
mod migrations;
mod opening;
mod others;
mod overwriting;
mod paths;
mod peers;
mod presence;
mod reader;
mod repair;
mod reserve;
mod room;
mod rows;
mod sequence;
mod shape;
mod sqlite;
mod summary;
mod sync;
#[cfg(test)]
pub(crate) mod testing;
mod wal;

pub use changes::{Changed, Changes};
pub use conflicts::{CONFLICT_BYTES_MAX, CONFLICTS_MAX, Conflict};
pub use directory::DataDir;
pub use error::{StoreError, StoreErrorKind};
pub use footprint::Footprint;
pub use known_peers::known_peers;
pub use migrations::{Migration, Observer};
pub use opening::WRITER_CACHE_KIB;
pub use paths::DataPaths;
pub use peers::{PEER_ADDRESSES_MAX, REMEMBERED_ADDRESS_BYTES_MAX, REMEMBERED_PEERS_MAX, RememberedPeer};
pub use presence::{Displacement, FileId, Part};
pub use reader::{Counts, Readers};
pub use repair::{
    Completed, Depth, INCOMPLETE_ROWS_MAX, IfUnreadable, Patrolled, Rescued, Round, SCAN_ROWS_MAX, Scan, Scanned,
    SummaryWas, Verified,
};
pub use room::{Capacity, Load, Room};
pub use sqlite::SqliteStore;
pub use sync::POSITIONS_MAX;
