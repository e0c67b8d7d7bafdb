//! The commands of a user: words in, a plain reply out. One file per command. Reading the words and showing the reply is
//! left to the callers; the rules are the node's. Commands and replies are serde types, so that a command can be sent to a node
//! that runs elsewhere; a field that a node does not know is an error there, never ignored.

use std::ffi::OsString;

use p2p_sync_core::record::InvalidKey;
use p2p_sync_core::{Key, Record, Timestamp};
use serde::{Deserialize, Serialize};

use crate::node::{Condition, Dating, Node, NodeError};
use crate::report::{Schema, try_line};

mod add;
mod backup;
mod conflicts;
mod delete;
mod doctor;
mod error;
mod exit;
mod get;
mod grammar;
mod help;
mod import_page;
mod line;
mod list;
mod peers;
mod ping;
mod progress;
mod repair_clock;
mod reply;
mod resolve;
mod schema;
mod serial;
mod status;
mod sync;
mod verify;
mod words;

pub use add::{Add, ValueSource};
pub use backup::Backup;
pub use conflicts::{ConflictList, Conflicts};
pub use delete::Delete;
pub use doctor::{Doctor, diagnosis};
pub use error::CommandError;
pub use exit::Exit;
pub use get::Get;
pub use help::{Help, overview};
pub use import_page::import_page;
pub use line::{ParseError, asks_for_json, parse_line, parse_words};
pub use list::{List, Look, Page};
pub use peers::Peers;
pub use ping::Ping;
pub use progress::Progress;
pub use repair_clock::RepairClock;
pub use reply::Reply;
pub use resolve::Resolve;
#[cfg(test)]
pub(crate) use schema::assert_lines;
pub use schema::{schema, schema_names};
pub use status::ShowStatus;
pub use sync::SyncNow;
pub use verify::Verify;
pub use words::{Unclosed, Word, Words, as_word};

pub use crate::report::Class;

/// What every command is: its file implements this.
trait Run: Sized {
    /// The types of the lines that it prints with `--json` when it succeeds.
    fn lines(schema: Schema) -> Schema;

    /// Its options.
    fn format(&self) -> Format;

    /// Runs it.
    async fn run(self, node: &Node) -> Result<Reply, CommandError>;
}

/// Makes of a list of commands what there is one of for all of them.
macro_rules! commands {
    ($($(#[$attribute:meta])* $name:literal => $variant:ident($command:ty),)+) => {
        /// A command with its arguments: one grammar for all callers.
        #[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand, Serialize, Deserialize)]
        #[expect(
            missing_docs,
            reason = "a comment here would take the place of the help that each struct has"
        )]
        pub enum Command {
            $(#[command(name = $name)] #[serde(rename = $name)] $(#[$attribute])* $variant($command),)+
        }

        impl Command {
            /// Whether the reply should be JSON.
            pub fn json(&self) -> bool {
                match self {
                    $(Self::$variant(command) => command.format().json,)+
                }
            }

            /// Runs the command.
            ///
            /// # Errors
            /// If it failed; the error says what happened to the data.
            pub async fn run(self, node: &Node) -> Result<Reply, CommandError> {
                match self {
                    $(Self::$variant(command) => command.run(node).await,)+
                }
            }
        }

        /// By command name: the types of the lines that it prints with `--json` when it succeeds.
        const LINES: &[(&str, fn(Schema) -> Schema)] = &[$(($name, <$command as Run>::lines),)+];
    };
}

// In the order in which `help` shows them.
commands! {
    #[command(visible_aliases = ["set", "put"])]
    "add" => Add(Add),
    "get" => Get(Get),
    #[command(visible_aliases = ["del", "rm"])]
    "delete" => Delete(Delete),
    #[command(visible_alias = "ls")]
    "list" => List(List),
    "status" => Status(ShowStatus),
    "peers" => Peers(Peers),
    "ping" => Ping(Ping),
    "sync" => Sync(SyncNow),
    "verify" => Verify(Verify),
    "conflicts" => Conflicts(Conflicts),
    #[command(visible_alias = "restore")]
    "resolve" => Resolve(Resolve),
    "repair-clock" => RepairClock(RepairClock),
    "backup" => Backup(Backup),
    "doctor" => Doctor(Doctor),
    "help" => Help(Help),
    #[command(visible_alias = "quit")]
    "exit" => Exit(Exit),
}

/// Options of every command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Whether it may change what is stored. The others can be asked a second time.
    pub fn writes(&self) -> bool {
        matches!(
            self,
            Self::Add(_) | Self::Delete(_) | Self::Resolve(_) | Self::RepairClock(_)
        )
    }

    /// Whether it is about other nodes, so that a store alone cannot answer it.
    pub fn needs_node(&self) -> bool {
        matches!(self, Self::Peers(_) | Self::Ping(_) | Self::Sync(_))
    }

    /// Runs the command, and counts in `progress` the keys that it has changed if it changes many.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_counting(self, node: &Node, progress: &Progress) -> Result<Reply, CommandError> {
        match self {
            Self::Delete(delete) => delete.run_counting(node, progress).await,
            Self::Resolve(resolve) => resolve.run_counting(node, progress).await,
            Self::RepairClock(_) => repair_clock::run_counting(node, progress).await,
            other => other.run(node).await,
        }
    }

    /// What it does to keys, if it may do that to many, so that it is worth knowing how far it came: `deleted`.
    pub fn changes_many(&self) -> Option<&'static str> {
        match self {
            Self::Delete(delete) if delete.is_of_many() => Some("deleted"),
            Self::Resolve(resolve) if resolve.is_of_many() => Some("resolved"),
            Self::RepairClock(_) => Some("dated now"),
            _ => None,
        }
    }

    /// The rest of a list behind this page, as a list of its own; none if there is no more.
    pub fn behind(&self, page: &Page) -> Option<Self> {
        match self {
            Self::List(list) => list.behind(page).map(Self::List),
            _ => None,
        }
    }

    /// How the records of a list are shown.
    pub fn look(&self) -> Look {
        match self {
            Self::List(list) => list.look(),
            _ => Look::default(),
        }
    }

    /// The same command for whoever does not need to know beforehand how long a list will be.
    #[must_use]
    pub fn without_total(self) -> Self {
        match self {
            Self::List(list) => Self::List(list.without_total()),
            other => other,
        }
    }

    /// The command as it is sent to a node that runs elsewhere: one line of JSON.
    ///
    /// # Errors
    /// When a word of it is not UTF-8: nothing but text can be a key, a prefix or a name.
    pub fn sent(&self) -> Result<String, CommandError> {
        try_line(self).map_err(|_| InvalidKey::NotUtf8.into())
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
}

/// How a write with or without `--now` is dated.
fn dating(now: bool) -> Dating {
    if now { Dating::Now } else { Dating::AfterHeld }
}

/// From when on other nodes accept what was written, if they do not now.
fn accepted_from(node: &Node, record: &Record) -> Option<String> {
    node.accepted_from(record).map(|at| at.to_string())
}

/// On what condition a write is made.
fn condition(if_absent: bool, if_timestamp: Option<Timestamp>) -> Condition {
    match if_timestamp {
        Some(at) => Condition::WrittenAt(at),
        None if if_absent => Condition::Absent,
        None => Condition::None,
    }
}

/// Why a write of a key failed.
fn not_written(error: NodeError, key: &Key) -> CommandError {
    match error {
        NodeError::Changed { written_at: Some(at) } => CommandError::new(
            Class::Conflict,
            format!("Not as expected: {key} has a value that was written at {at}. Nothing was changed."),
        ),
        NodeError::Changed { written_at: None } => CommandError::new(
            Class::Conflict,
            format!("Not as expected: {key} has no value. Nothing was changed."),
        ),
        other => other.into(),
    }
}
