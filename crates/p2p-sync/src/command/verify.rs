//! `verify`: checks what is stored.

use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Checks every record, and the summary of them that the sync works with
///
/// What is damaged is set aside, and comes back if another node has it. Takes some seconds for a million records, during which
/// the node works on.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Verify {
    #[command(flatten)]
    pub(super) format: Format,
}

impl Verify {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Verified(node.verify().await?))
    }
}
