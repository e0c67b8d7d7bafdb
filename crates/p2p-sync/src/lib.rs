//! p2p-sync: turns the machines on a LAN into one replicated key-value store.
//!
//! This crate gives the rules of `p2p-sync-core` a disk, a network and a user. Imports only go down:
//!
//! ```text
//!             main
//!            /    \
//!         cli      http          speak to users and to programs
//!            \    /
//!            command             one file per command: words in, plain reply out
//!               |
//!             node               the one door; owns the replica on its own thread
//!            /    \
//!        store    net            keep records | carry messages; unaware of each other
//!            \    /
//!        p2p-sync-core           decides
//! ```
//!
//! Next to them are [`config`] (what a node is started with), [`identity`] (its key pair, for `node`) and [`system`] (the
//! clock and the boot nonce, for `node` and `net`).
//!
//! To embed a node in a program, use [`Config`] and [`Node`]:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use p2p_sync::{Config, Node};
//! use p2p_sync_core::{Key, Value};
//!
//! let node = Node::start(Config {
//!     network: "lab".parse()?,
//!     ..Config::new("/var/lib/example")
//! })
//! .await?;
//! node.put(Key::new("hello")?, Value::new(*b"world")?).await?;
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`http::Server`] answers other programs on the machine for such a node, as `p2p-sync start` does.
//!
//! To react to changes, whichever node they are made on:
//!
//! ```no_run
//! # async fn example(node: p2p_sync::Node) -> Result<(), Box<dyn std::error::Error>> {
//! use futures::StreamExt;
//! use p2p_sync::node::watch::{Event, Since};
//!
//! let mut events = node.watch("light/", Since::Snapshot);
//! while let Some(event) = events.next().await {
//!     match event? {
//!         Event::Put(observed) => println!("{} is {:?}", observed.record.key, observed.record.content),
//!         Event::Delete(observed) => println!("{} is gone", observed.record.key),
//!         Event::Ready { cursor } => println!("up to date; {cursor} is where a later watch can go on"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

pub mod cli;
pub mod client;
pub mod command;
pub mod config;
pub mod http;
pub mod identity;
pub mod names;
pub mod net;
pub mod node;
pub mod report;
pub mod store;
pub mod system;
pub mod throttle;

pub use config::Config;
pub use node::{Node, NodeError, StartError};
pub use report::Status;
