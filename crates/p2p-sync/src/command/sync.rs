//! `sync`: compares with every connected peer now, instead of when there is a reason to.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Schema};

/// Compares with every connected peer now
///
/// You rarely need this: a node does it by itself whenever there is a reason to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncNow {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
}

impl Run for SyncNow {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Synced>().line::<report::Peers>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let synced = node.sync().await?;
        Ok(Reply::Synced(
            synced.iter().map(|one| one.report(node.names())).collect(),
        ))
    }
}
