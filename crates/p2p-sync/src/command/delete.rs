//! `delete`: deletes keys.

use std::ffi::{OsStr, OsString};

use p2p_sync_core::record::InvalidKey;
use p2p_sync_core::{Key, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::error::{found, key};
use super::{Class, CommandError, Format, Progress, Reply, Run, accepted_from, condition, dating, not_written, serial};
use crate::node::{Node, NodeError, Terms};
use crate::report::{Deleted, DeletedKeys, Schema};

/// Keys with a prefix that are deleted at once, to share transactions.
const KEYS_AT_ONCE: usize = 100;

/// Deletes keys
///
/// Each key is deleted separately and gets its own reply.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delete {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// Dates the deletions by this machine's clock, and drops versions of the keys that are dated too far ahead
    #[arg(long, hide_short_help = true)]
    #[serde(default)]
    now: bool,
    /// Deletes only what was written at this time, as this node has it
    #[arg(long, value_name = "TIMESTAMP", hide_short_help = true)]
    #[serde(default, with = "serial::displayed")]
    if_timestamp: Option<Timestamp>,
    /// Deletes all keys that begin with this, if --yes is there, too; otherwise says how many these are
    #[arg(long, hide_short_help = true, conflicts_with_all = ["keys", "if_timestamp"])]
    #[serde(default, with = "serial")]
    prefix: Option<OsString>,
    /// Means it
    #[arg(long, hide_short_help = true)]
    #[serde(default)]
    yes: bool,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    #[serde(default, with = "serial")]
    pub(super) keys: Vec<OsString>,
}

impl Run for Delete {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Deleted>().line::<DeletedKeys>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        self.run_counting(node, &Progress::default()).await
    }
}

impl Delete {
    /// Whether it deletes all keys with a prefix.
    pub(super) fn is_of_many(&self) -> bool {
        self.prefix.is_some() && self.yes
    }

    /// Runs it; `progress` counts the keys with a prefix.
    pub(super) async fn run_counting(self, node: &Node, progress: &Progress) -> Result<Reply, CommandError> {
        let terms = Terms {
            dating: dating(self.now),
            condition: condition(false, self.if_timestamp),
        };
        if let Some(prefix) = self.prefix {
            let prefix = prefix.into_string().map_err(|_| InvalidKey::NotUtf8)?;
            return all(node, &prefix, terms, self.yes.then_some(progress)).await;
        }
        if self.yes {
            let text = "--yes is for --prefix. Nothing was deleted.";
            return Err(CommandError::new(Class::Usage, text));
        }
        if self.keys.is_empty() {
            return Err(CommandError::new(
                Class::Usage,
                "No key was named. Nothing was deleted.",
            ));
        }
        let mut replies = Vec::with_capacity(self.keys.len());
        for word in &self.keys {
            replies.push(delete(node, word, terms).await);
        }
        Ok(Reply::Deleted(replies))
    }
}

async fn delete(node: &Node, word: &OsStr, terms: Terms) -> Result<Deleted, CommandError> {
    let key = key(word)?;
    let deleted = node.delete_on(key.clone(), terms).await;
    let record = found(deleted.map_err(|error| not_written(error, &key))?, &key)?;
    Ok(Deleted {
        accepted_from: accepted_from(node, &record),
        ..(&record).into()
    })
}

/// Deletes what has the prefix, if that is meant, and counts it then.
async fn all(node: &Node, prefix: &str, terms: Terms, meant: Option<&Progress>) -> Result<Reply, CommandError> {
    let Some(progress) = meant else {
        let keys = match node.count(prefix).await? {
            0 => return Err(none(prefix)),
            1 => "1 key begins".to_owned(),
            keys => format!("{keys} keys begin"),
        };
        let text = format!("{keys} with {prefix:?}. Nothing was deleted. To delete all of that: the same with --yes");
        return Err(CommandError::new(Class::Usage, text));
    };
    match delete_all(node, prefix, terms, progress).await? {
        0 => Err(none(prefix)),
        deleted_keys => Ok(Reply::DeletedAll(DeletedKeys { deleted_keys })),
    }
}

fn none(prefix: &str) -> CommandError {
    CommandError::new(
        Class::NotFound,
        format!("Not found: no key begins with {prefix:?}. Nothing was deleted."),
    )
}

/// Says how many there were. What is written meanwhile in front of where it has come to stays.
async fn delete_all(node: &Node, prefix: &str, terms: Terms, progress: &Progress) -> Result<u64, NodeError> {
    let mut after = None::<Key>;
    loop {
        let found = node.list(prefix, after, KEYS_AT_ONCE).await?;
        let mut writes = JoinSet::new();
        for record in &found {
            let (node, key) = (node.clone(), record.key.clone());
            writes.spawn(async move { node.delete_on(key, terms).await });
        }
        for done in writes.join_all().await {
            progress.add(u64::from(done?.is_some()));
        }
        match found.last() {
            Some(last) => after = Some(last.key.clone()),
            None => return Ok(progress.keys()),
        }
    }
}
