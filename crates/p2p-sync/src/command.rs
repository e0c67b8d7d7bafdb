//! The commands of a user: words in, a plain reply out. One file per command. Reading the words and showing the reply is
//! left to the callers; the rules are the node's.

use crate::node::Node;

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
mod reply;
mod restore;
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
pub use reply::Reply;
pub use restore::Restore;
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
    Restore(Restore),
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
            Self::Restore(restore) => restore.format.json,
            Self::Help(help) => help.format.json,
            Self::Exit(exit) => exit.format.json,
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
            Self::Restore(restore) => restore.run(node).await,
            Self::Help(help) => help.run(),
            Self::Exit(exit) => Ok(exit.run()),
        }
    }
}
