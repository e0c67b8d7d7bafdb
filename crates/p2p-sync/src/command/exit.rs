//! `exit`: stops the node.

use super::{Format, Reply};

/// Stops this node
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Exit {
    #[command(flatten)]
    pub(super) format: Format,
}

impl Exit {
    pub(super) fn run(self) -> Reply {
        Reply::Exit
    }
}
