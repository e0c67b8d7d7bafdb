//! `status`: how the node is doing.

use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Shows how this node is doing
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ShowStatus {
    #[command(flatten)]
    pub(super) format: Format,
}

impl ShowStatus {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Status(Box::new(node.status().await?)))
    }
}
