//! `peers`: who is connected.

use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Shows the connected peers
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Peers {
    #[command(flatten)]
    pub(super) format: Format,
}

impl Peers {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Peers(node.status().await?.peers))
    }
}
