//! `delete`: deletes keys.

use std::ffi::{OsStr, OsString};

use super::error::{found, key};
use super::{CommandError, Format, Reply};
use crate::node::Node;
use crate::report::Deleted;

/// Deletes keys
///
/// Each key is deleted separately and gets its own reply.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Delete {
    #[command(flatten)]
    pub(super) format: Format,
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    pub(super) keys: Vec<OsString>,
}

impl Delete {
    pub(super) async fn run(self, node: &Node) -> Reply {
        let mut replies = Vec::with_capacity(self.keys.len());
        for word in &self.keys {
            replies.push(delete(node, word).await);
        }
        Reply::Deleted(replies)
    }
}

async fn delete(node: &Node, word: &OsStr) -> Result<Deleted, CommandError> {
    let key = key(word)?;
    let record = found(node.delete(key.clone()).await?, &key)?;
    Ok((&record).into())
}
