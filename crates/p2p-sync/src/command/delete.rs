//! `delete`: deletes keys.

use std::ffi::{OsStr, OsString};

use p2p_sync_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{found, key};
use super::{CommandError, Format, Reply, Run, accepted_from, condition, dating, not_written, serial};
use crate::node::{Node, Terms};
use crate::report::{Deleted, Schema};

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
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    #[serde(with = "serial")]
    pub(super) keys: Vec<OsString>,
}

impl Run for Delete {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Deleted>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let terms = Terms {
            dating: dating(self.now),
            condition: condition(false, self.if_timestamp),
        };
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
