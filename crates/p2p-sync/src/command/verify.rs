//! `verify`: checks what is stored.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Schema};

/// Checks every record, and the summary of them that sync uses
///
/// Damaged records are set aside, and come back if another node has them. This takes some seconds for a million records; the
/// node keeps working meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
}

impl Run for Verify {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Verified>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Verified(node.verify().await?))
    }
}
