//! The commands of a user: words in, a plain reply out. One file per command. Reading the words and showing the reply is
//! left to the callers; the rules are the node's.

use std::ffi::OsString;

use p2p_sync_core::Record;

use crate::node::{Dating, Node};

mod add;
mod conflicts;
mod delete;
mod error;
mod exit;
mod get;
mod grammar;
mod help;
mod line;
mod list;
mod peers;
mod repair_clock;
mod reply;
mod resolve;
mod schema;
mod status;
mod sync;
mod verify;
mod words;

pub use add::Add;
pub use conflicts::{ConflictList, Conflicts};
pub use delete::Delete;
pub use error::CommandError;
pub use exit::Exit;
pub use get::Get;
pub use help::{Help, overview};
pub use line::{ParseError, asks_for_json, parse_line};
pub use list::{List, Page};
pub use peers::Peers;
pub use repair_clock::RepairClock;
pub use reply::Reply;
pub use resolve::Resolve;
#[cfg(test)]
pub(crate) use schema::assert_lines;
pub use schema::{schema, schema_names};
pub use status::ShowStatus;
pub use sync::SyncNow;
pub use verify::Verify;
pub use words::{Unclosed, Word, Words};

pub use crate::report::Class;

/// A command with its arguments: one grammar for all callers.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
#[expect(
    missing_docs,
    reason = "a comment here would take the place of the help that each struct has"
)]
pub enum Command {
    Add(Add),
    Get(Get),
    Delete(Delete),
    List(List),
    Status(ShowStatus),
    Peers(Peers),
    Sync(SyncNow),
    Verify(Verify),
    Conflicts(Conflicts),
    #[command(visible_alias = "restore")]
    Resolve(Resolve),
    RepairClock(RepairClock),
    Help(Help),
    #[command(visible_alias = "quit")]
    Exit(Exit),
}

/// Options of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args)]
pub struct Format {
    /// Replies with one JSON object per line
    #[arg(long)]
    pub json: bool,
}

/// What a command shows of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// The value of a key.
    Key(String),
    /// The keys with this prefix.
    Prefix(String),
}

impl Command {
    /// Whether the reply should be JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Add(add) => add.format.json,
            Self::Get(get) => get.format.json,
            Self::Delete(delete) => delete.format.json,
            Self::List(list) => list.format.json,
            Self::Status(status) => status.format.json,
            Self::Peers(peers) => peers.format.json,
            Self::Sync(sync) => sync.format.json,
            Self::Verify(verify) => verify.format.json,
            Self::Conflicts(conflicts) => conflicts.format.json,
            Self::Resolve(resolve) => resolve.format.json,
            Self::RepairClock(repair) => repair.format.json,
            Self::Help(help) => help.format.json,
            Self::Exit(exit) => exit.format.json,
        }
    }

    /// What the command shows of the data, for what else there is to say about that.
    pub fn shows(&self) -> Option<Shows> {
        let text = |word: &OsString| word.clone().into_string().ok();
        match self {
            Self::Get(get) => text(&get.key).map(Shows::Key),
            Self::List(list) => list
                .prefix
                .as_ref()
                .map_or(Some(String::new()), text)
                .map(Shows::Prefix),
            _ => None,
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// If it failed; the error says what happened to the data.
    pub async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        match self {
            Self::Add(add) => add.run(node).await,
            Self::Get(get) => get.run(node).await,
            Self::Delete(delete) => Ok(delete.run(node).await),
            Self::List(list) => list.run(node).await,
            Self::Status(status) => status.run(node).await,
            Self::Peers(peers) => peers.run(node).await,
            Self::Sync(sync) => sync.run(node).await,
            Self::Verify(verify) => verify.run(node).await,
            Self::Conflicts(conflicts) => conflicts.run(node).await,
            Self::Resolve(resolve) => resolve.run(node).await,
            Self::RepairClock(repair) => repair.run(node).await,
            Self::Help(help) => help.run(),
            Self::Exit(exit) => Ok(exit.run()),
        }
    }
}

/// How a write with or without `--now` is dated.
fn dating(now: bool) -> Dating {
    if now { Dating::Now } else { Dating::AfterHeld }
}

/// From when on other nodes accept what was written, if they do not now.
fn accepted_from(node: &Node, record: &Record) -> Option<String> {
    node.accepted_from(record).map(|at| at.to_string())
}
