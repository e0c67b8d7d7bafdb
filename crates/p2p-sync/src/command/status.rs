//! `status`: how the node is doing.

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Schema};

/// Shows how this node is doing
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct ShowStatus {
    #[command(flatten)]
    pub(super) format: Format,
}

impl Run for ShowStatus {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Status>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Status(Box::new(node.status().await?)))
    }
}
