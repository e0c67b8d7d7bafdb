//! `exit`: stops the node.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Schema};

/// Stops this node
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exit {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
}

impl Run for Exit {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Exiting>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, _: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Exit)
    }
}
