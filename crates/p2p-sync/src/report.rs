//! What a node tells of itself and of what it did, as plain data that goes both ways: a command returns it, `cli` shows it, and its
//! JSON is what serde makes of it and nothing else. Names of fields are a promise; fields may be added.
//!
//! Identities, timestamps and keys are texts here, as they are written everywhere. Durations are numbers with their unit in the name.

mod error;
mod help;
mod line;
mod record;
mod schema;
mod status;
mod sync;
mod trouble;

pub use error::{Class, Failure};
pub use help::{Argument, CommandHelp, Help};
pub use line::{InvalidLine, line, read};
pub use record::{Added, Conflict, Conflicts, Content, Deleted, Items, Record, Restored, Version};
pub use schema::Schema;
#[cfg(test)]
pub(crate) use schema::matches;
pub use status::{Count, Direction, Exiting, Messages, Multicast, NotListening, Peer, Peers, Status, Store, Transport};
pub use sync::{Ahead, Completing, Due, Last, Standing, StandingState, Sync, SyncPeer, SyncState, Synced, Verified};
pub use trouble::{Attempt, Trouble};
