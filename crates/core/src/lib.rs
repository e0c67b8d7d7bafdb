//! The decisions of p2p-sync, as plain values: nothing here reads a clock, rolls dice, or touches a file, a socket or a
//! task. Time is an argument, and effects are returned to the caller, so that every rule can be tested thousands of times
//! and replayed from a seed.
//!
//! # Reading order
//! - [`limits`]: all limits, with units and reasons.
//! - [`id`]: who a node is; [`network`]: which nodes belong together.
//! - [`neighbours`]: with which peers a node keeps connections.
//! - [`time`]: instants and their text form; [`clock`]: the hybrid logical clock that stamps writes.
//! - [`record`]: keys, values and versions; which version wins, and which one covers which; [`seen`]: what the author of a
//!   version had seen; [`versions`]: all versions of a key that a node holds; [`signature`]: what goes with a record in a private network.
//! - [`message`]: the live changes that nodes gossip, as JSON.
//! - [`via`]: how a change arrived; [`admission`]: the check that every remote record must pass.
//! - [`limiter`] and [`gate`]: which gossip messages are accepted, and who is charged for them.
//! - [`pacer`]: how a node keeps its own gossip below what others accept.
//! - [`store`]: what a store must do; [`replica`]: how local writes and received records change it.
//! - [`sequence`]: the order of a store's changes, and cursors into it.
//! - [`item`], [`sketch`], [`set_digest`], [`summary`]: what a node knows about its whole set of records at any moment.
//! - [`sync`]: how two nodes become equal, whatever either of them missed.
//! - [`membership`]: who is in a private network; not in use yet.
//! - [`text`]: how foreign text is made safe for a terminal or a log.

pub mod admission;
pub mod clock;
pub mod gate;
pub mod id;
pub mod item;
pub mod limiter;
pub mod limits;
pub mod membership;
pub mod message;
pub mod neighbours;
pub mod network;
pub mod pacer;
mod random;
pub mod record;
pub mod replica;
pub mod seen;
pub mod sequence;
pub mod set_digest;
pub mod signature;
pub mod sketch;
pub mod store;
pub mod summary;
pub mod sync;
pub mod text;
pub mod time;
pub mod versions;
pub mod via;

pub use admission::Admission;
pub use clock::Clock;
pub use id::NodeId;
pub use network::NetworkName;
pub use record::{Content, Key, Record, Value};
pub use seen::Seen;
pub use signature::Signature;
pub use time::{Timestamp, Uptime};
pub use versions::Versions;
pub use via::Via;
