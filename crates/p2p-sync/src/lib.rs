//! p2p-sync turns the machines on a LAN into one replicated key-value store, without a server and without configuration. This
//! library puts a node of it into a program. It is the same node that the program `p2p-sync` runs, and talks to those.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let data_dir = directory.path();
//! use p2p_sync::{Event, Node, Since};
//!
//! // Without `port` and `lan`, it listens on port 4002, and finds the other nodes of the LAN by itself.
//! let node = Node::builder(data_dir).port(0).lan(false).start().await?;
//!
//! node.put("light/hall", "on").await?;
//! let record = node.get("light/hall").await?.expect("it was stored");
//! assert_eq!(record.text(), Some("on"));
//!
//! // What is held, and then every change, whichever node it is made on.
//! let mut changes = node.watch("light/", Since::Snapshot);
//! while let Some(event) = changes.next().await {
//!     match event? {
//!         Event::Put(now) => println!("{} is {:?}", now.record.key, now.record.text()),
//!         Event::Delete(now) => println!("{} is gone", now.record.key),
//!         Event::Ready { .. } => break,
//!         _ => {}
//!     }
//! }
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What to expect
//! - Every node holds all data, in an SQLite file in its data directory. Reads and writes need no other node.
//! - When [`put`](Node::put) returns, the value is on disk, and survives a crash and a power failure.
//! - Nodes that can reach each other, directly or through others, end with the same data within seconds. Of two values of a key, the
//!   later one wins everywhere. A value that was overwritten by somebody who had not seen it is kept:
//!   [`Node::conflicts`] lists those, and [`Node::resolve`] chooses.
//! - There are no locks, and no transactions or conditions across nodes.
//! - Traffic is encrypted, but everybody who knows the name of the network can join it.
//!
//! # Limits
//! | What | Limit |
//! | --- | --- |
//! | key | UTF-8, 1 to 256 bytes, no control characters |
//! | value | 0 to 65,536 bytes |
//! | versions of one key in conflict | 8; the earliest of more are dropped, and counted |
//! | clock | what is dated more than 120 s ahead of another node's clock reaches that node when it falls due |
//! | connections | 1,024, with all peers together |
//!
//! # What the program decides
//! The library changes nothing that belongs to the whole process. It installs no logger, no panic hook and no signal handler, does not
//! change the environment or the limits of the process, prints nothing and never exits. Nodes share nothing: several can run in one
//! process.
//! - **Runtime**: a node runs on the Tokio runtime on which it was [started](Node::start), which needs I/O and time.
//! - **Logs**: it logs with [`tracing`](https://docs.rs/tracing). Without a subscriber nothing is written. The lines that matter to users
//!   have the target `p2p_sync` and the level `INFO` or higher; libraries below it use their own targets.
//! - **End**: call [`Node::stop`] before the program exits, so that the peers hear of it. It costs no data not to.
//! - **Files taken away**: [`Node::failed`] returns if the files of the store are removed or replaced under the node.
//! - **Secrets**: if the environment variable `SSLKEYLOGFILE` is set, the QUIC library writes the keys of every connection to the file
//!   that it names. The program `p2p-sync` removes the variable at its start.
//!
//! # Where to find what
//! [`Node`] is the handle with everything one can ask of a node, and [`NodeBuilder`] its settings. [`Record`] is what is stored under a
//! [`Key`]. [`status`] describes how a node is doing, [`error`] what can go wrong.

#![allow(
    unreachable_pub,
    reason = "users see what this file exports; in a private module, `pub` means: for the other modules"
)]

mod config;
mod dump;
mod identity;
mod names;
mod net;
mod throttle;

// Public for the binary, the tests and the benchmarks of this package, and for nobody else.
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod client;
#[doc(hidden)]
pub mod command;
pub mod http;
#[doc(hidden)]
pub mod node;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod system;

pub use config::Config;
pub use names::{Called, Name, Names};
pub use node::watch::{Event, Observed, Since, Watch};
pub use node::{
    Condition, Conflicts, Counts, Dating, ErrorKind, LastSync, Node, NodeBuilder, NodeError, Standing, StartError,
    Synced, Terms, Write,
};
#[doc(inline)]
pub use p2p_sync_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
#[doc(inline)]
pub use p2p_sync_core::sequence::Cursor;
#[doc(inline)]
pub use p2p_sync_core::{Content, Key, NetworkName, NodeId, Record, Seen, Timestamp, Value, Versions};
pub use report::{Peer, Status, Verified};

/// How a node is doing, as [`Node::status`] and [`Node::peers`](crate::Node::peers) tell it: plain values that serde can write and read.
/// Ids, keys and times are text here.
pub mod status {
    pub use crate::report::{
        Ahead, Attempt, Completing, Count, Direction, Due, Last, Messages, Multicast, NotListening, Peer, Standing,
        StandingState, Status, Store, Sync, SyncPeer, SyncState, Synced, Transport, Trouble,
    };
}

/// What can go wrong. Each error says in words what failed, what happened to the data, and what to do.
pub mod error {
    pub use crate::config::{InvalidMessageLimit, InvalidName, InvalidPeerAddress, InvalidSetting, InvalidSize};
    pub use crate::identity::IdentityError;
    pub use crate::net::PortError;
    pub use crate::net::libp2p::NetError;
    pub use crate::node::{ErrorKind, NodeError, StartError};
    pub use crate::store::{
        Displacement, FileId, OpenError, Part, RowId, SqliteError, StoreError, StoreErrorKind, Table,
    };
    #[doc(inline)]
    pub use p2p_sync_core::clock::ClockExhausted;
    #[doc(inline)]
    pub use p2p_sync_core::id::InvalidNodeId;
    #[doc(inline)]
    pub use p2p_sync_core::network::InvalidNetworkName;
    #[doc(inline)]
    pub use p2p_sync_core::record::{InvalidKey, ValueTooLarge};
    #[doc(inline)]
    pub use p2p_sync_core::sequence::InvalidCursor;
    #[doc(inline)]
    pub use p2p_sync_core::time::InvalidTimestamp;
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
