//! `status`: how the node is doing.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Schema};

/// Shows how this node is doing
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShowStatus {
    #[command(flatten)]
    #[serde(default)]
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
