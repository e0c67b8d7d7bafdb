//! `get`: shows the value of a key.

use std::ffi::OsString;

use super::error::{found, key};
use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Shows the value of a key
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Get {
    #[command(flatten)]
    pub(super) format: Format,
    /// The key
    pub(super) key: OsString,
}

impl Get {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let key = key(&self.key)?;
        let record = found(node.get(&key).await?, &key)?;
        Ok(Reply::Found((&record).into()))
    }
}
