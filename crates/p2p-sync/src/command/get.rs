//! `get`: shows the value of a key.

use std::ffi::OsString;

use p2p_sync_core::Record;
use serde::{Deserialize, Serialize};

use super::error::{found, key};
use super::{CommandError, Format, Reply, Run, serial};
use crate::node::Node;
use crate::report::{Found, Schema};

/// Shows the value of a key
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Get {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// The key
    #[serde(with = "serial")]
    pub(super) key: OsString,
}

impl Run for Get {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Found>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let key = key(&self.key)?;
        let versions = node.versions(&key).await?;
        let live = |winner: &&Record| winner.content.value().is_some();
        let record = found(versions.winner().filter(live).cloned(), &key)?;
        Ok(Reply::Found(Found {
            record: (&record).into(),
            conflicts: versions.shown().count() as u64,
        }))
    }
}
