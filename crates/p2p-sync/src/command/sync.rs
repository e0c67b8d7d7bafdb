//! `sync`: compares with every connected peer now, instead of when there is a reason to.

use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Compares with every connected peer now
///
/// You rarely need this: a node does it by itself whenever there is a reason to.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct SyncNow {
    #[command(flatten)]
    pub(super) format: Format,
}

impl SyncNow {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let synced = node.sync().await?;
        Ok(Reply::Synced(
            synced.iter().map(|one| one.report(node.names())).collect(),
        ))
    }
}
