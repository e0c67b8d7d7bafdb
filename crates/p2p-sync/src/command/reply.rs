//! What came of a command, as data; and its JSON.

use super::{CommandError, ConflictList, Page};
use crate::report::{
    Added, Conflicts, Deleted, Exiting, Failure, Help, Peer, Peers, Record, Restored, Status, Synced, Verified, line,
};

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// This version was stored, and survives a crash.
    Added(Added),
    /// This is the version of the key.
    Found(Record),
    /// For each key its deletion, or why there is none.
    Deleted(Vec<Result<Deleted, CommandError>>),
    /// The first of the records asked for.
    Listed(Page),
    /// How the node is doing.
    Status(Box<Status>),
    /// The connected peers.
    Peers(Vec<Peer>),
    /// What came of the comparison with each connected peer.
    Synced(Vec<Synced>),
    /// What the check of the store found.
    Verified(Verified),
    /// The writes that lost.
    Conflicts(ConflictList),
    /// The lost version has been written anew.
    Restored(Restored),
    /// The commands, or the one asked for.
    Help(Help),
    /// The user wants to leave.
    Exit,
}

impl Reply {
    /// One JSON object a line. Of a list the records of this page: [`Items`](crate::report::Items) follows the last one.
    pub fn json(&self) -> String {
        match self {
            Self::Added(added) => line(added),
            Self::Found(record) => line(record),
            Self::Deleted(deletions) => deletions
                .iter()
                .map(|deletion| deletion.as_ref().map_or_else(CommandError::json, line))
                .collect(),
            Self::Listed(page) => page.records.iter().map(line).collect(),
            Self::Status(status) => line(status),
            Self::Peers(peers) => lines(peers, &Peers { peers: peers.len() }),
            Self::Synced(synced) => lines(synced, &Peers { peers: synced.len() }),
            Self::Verified(verified) => line(verified),
            Self::Conflicts(list) => lines(
                &list.newest,
                &Conflicts {
                    conflicts: list.total.unwrap_or(list.newest.len() as u64),
                    more: list.more,
                },
            ),
            Self::Restored(restored) => line(restored),
            Self::Help(help) => line(help),
            Self::Exit => line(&Exiting { exiting: true }),
        }
    }
}

impl CommandError {
    /// The error as one line of JSON.
    pub fn json(&self) -> String {
        line(&Failure {
            error: self.to_string(),
            code: self.class,
        })
    }
}

fn lines<T: serde::Serialize>(all: &[T], end: &impl serde::Serialize) -> String {
    all.iter().map(line).chain([line(end)]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
