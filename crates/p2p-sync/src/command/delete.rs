//! `delete`: deletes keys.

use std::ffi::{OsStr, OsString};

use super::error::{found, key};
use super::{CommandError, Format, Reply, Run, accepted_from, dating};
use crate::node::{Dating, Node};
use crate::report::{Deleted, Schema};

/// Deletes keys
///
/// Each key is deleted separately and gets its own reply.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Delete {
    #[command(flatten)]
    pub(super) format: Format,
    /// Dates the deletions by this machine's clock, and drops versions of the keys that are dated too far ahead
    #[arg(long, hide_short_help = true)]
    now: bool,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
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
        let mut replies = Vec::with_capacity(self.keys.len());
        for word in &self.keys {
            replies.push(delete(node, word, dating(self.now)).await);
        }
        Ok(Reply::Deleted(replies))
    }
}

async fn delete(node: &Node, word: &OsStr, dating: Dating) -> Result<Deleted, CommandError> {
    let key = key(word)?;
    let record = found(node.delete_dated(key.clone(), dating).await?, &key)?;
    Ok(Deleted {
        accepted_from: accepted_from(node, &record),
        ..(&record).into()
    })
}
