//! The result of a command, as data and as JSON.

use serde::{Deserialize, Serialize};

use super::{Class, CommandError, ConflictList, Page};
use crate::report::{
    Added, BackedUp, Conflicts, Deleted, DeletedKeys, Diagnosis, Exiting, Failure, Found, Help, Items, Peer, Peers,
    Pinged, RepairedKeys, Resolved, ResolvedKeys, Status, Synced, Verified, line,
};

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// This version was stored and survives a crash.
    Added(Added),
    /// The current version of the key.
    Found(Found),
    /// For each key its deletion, or why it was not deleted.
    Deleted(Vec<Result<Deleted, CommandError>>),
    /// All keys with a prefix were deleted.
    DeletedAll(DeletedKeys),
    /// The first page of the records asked for.
    Listed(Page),
    /// How many records there are.
    Counted(Items),
    /// The status of the node.
    Status(Box<Status>),
    /// The connected peers.
    Peers(Vec<Peer>),
    /// The peer asked for.
    Peer(Box<Peer>),
    /// The peer asked for has answered a ping.
    Pinged(Pinged),
    /// The result of comparing with each connected peer.
    Synced(Vec<Synced>),
    /// The result of a check of the store.
    Verified(Verified),
    /// Keys in conflict.
    Conflicts(ConflictList),
    /// The conflict of a key has ended.
    Resolved(Resolved),
    /// Those of all keys have.
    ResolvedAll(ResolvedKeys),
    /// So many keys were changed so far, and more may follow; the reply itself is still to come.
    UnderWay(u64),
    /// What was dated ahead is dated now.
    ClockRepaired(RepairedKeys),
    /// A copy of the store was made.
    BackedUp(BackedUp),
    /// What is wrong with the node.
    Diagnosis(Box<Diagnosis>),
    /// All commands, or the one asked for.
    Help(Help),
    /// The user wants to leave.
    Exit,
}

impl Reply {
    /// The class of the first failure that it tells of.
    pub fn failure(&self) -> Option<Class> {
        match self {
            Self::Deleted(deletions) => deletions
                .iter()
                .find_map(|deletion| Some(deletion.as_ref().err()?.class)),
            Self::Synced(peers) if peers.is_empty() => Some(Class::NotReachable),
            Self::Diagnosis(diagnosis) if !diagnosis.findings.is_empty() => Some(Class::Failed),
            Self::Verified(found) if found.damaged > 0 => Some(Class::Storage),
            _ => None,
        }
    }

    /// One JSON object a line. For a list these are the records of this page; [`Items`](crate::report::Items) follows the last page.
    pub fn json(&self) -> String {
        match self {
            Self::Added(added) => line(added),
            Self::Found(record) => line(record),
            Self::Deleted(deletions) => deletions
                .iter()
                .map(|deletion| deletion.as_ref().map_or_else(CommandError::json, line))
                .collect(),
            Self::DeletedAll(deleted) => line(deleted),
            Self::Counted(items) => line(items),
            Self::Listed(page) => page.records.iter().map(line).collect(),
            Self::Status(status) => line(status),
            Self::Peers(peers) => lines(peers, &Peers { peers: peers.len() }),
            Self::Peer(peer) => line(peer),
            Self::Pinged(pinged) => line(pinged),
            Self::Synced(synced) => lines(synced, &Peers { peers: synced.len() }),
            Self::Verified(verified) => line(verified),
            Self::Conflicts(list) => lines(
                &list.keys,
                &Conflicts {
                    conflicts: list.total.unwrap_or(list.keys.len() as u64),
                    more: list.more,
                },
            ),
            Self::Resolved(resolved) => line(resolved),
            Self::ResolvedAll(resolved) => line(resolved),
            Self::ClockRepaired(repaired) => line(repaired),
            Self::BackedUp(made) => line(made),
            Self::Diagnosis(diagnosis) => lines(&diagnosis.findings, &diagnosis.examined),
            Self::Help(help) => line(help),
            Self::UnderWay(_) => String::new(),
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

fn lines<T: Serialize>(all: &[T], end: &impl Serialize) -> String {
    all.iter().map(line).chain([line(end)]).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
