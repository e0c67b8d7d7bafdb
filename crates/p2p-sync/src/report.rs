//! What a node reports about itself and about what it did, as plain serde types: commands return them, `cli` shows them, and the JSON
//! is what serde makes of them and nothing else. They can be read back from it. Field names are a promise; fields may be added.
//!
//! Peer ids, timestamps and keys are text, written as everywhere else. Durations are numbers with the unit in their name.

mod api;
mod demo;
mod doctor;
mod dump;
mod error;
#[cfg(test)]
pub(crate) mod examples;
mod help;
mod line;
mod problem;
mod record;
mod running;
mod schema;
mod settings;
mod status;
mod sync;
mod trouble;
mod watch;

pub use api::{
    Batch, BatchWritten, Check, CheckState, Choice, ConflictPage, DeleteOperation, Health, KeyEntry, KeyPage, ListPage,
    Operation, PeerList, PutOperation, RecordPage, SyncedList, Written,
};
pub use demo::{DemoNode, DemoStep};
pub use doctor::{
    Closed, Diagnosis, Examined, Finding, Interface, MulticastWay, NodeOnLan, PeerClock, Surroundings, Way, Ways,
};
pub use dump::{
    BackedUp, Dumped, Exported, ImportPage, Imported, Overwrite, PageImported, Restored, Skipped, dump_lines,
};
pub use error::{Class, Failure};
pub use help::{Argument, CommandHelp, Help};
pub use line::{InvalidLine, escaped, line, read, try_line};
pub use problem::Problem;
pub use record::{
    Added, Conflict, Conflicts, Content, Deleted, DeletedKeys, Found, Items, KeyOnly, Record, RepairedKeys, Resolved,
    ResolvedKeys, Version,
};
pub use running::Running;
#[cfg(test)]
pub(crate) use schema::matches;
pub use schema::{Schema, openapi};
pub use settings::{Paths, Setting, SettingSource};
pub use status::{
    Count, Direction, Exiting, Messages, Multicast, NotListening, Peer, Peers, Pinged, Status, Store, Transport,
};
pub use sync::{Ahead, Completing, Due, Last, Standing, StandingState, Sync, SyncPeer, SyncState, Synced, Verified};
pub use trouble::{Attempt, Trouble};
pub use watch::{Change, ChangeKind, KeyChange, Origin, WatchEvent};
