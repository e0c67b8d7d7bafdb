//! `repair-clock`: dates now what a clock that was wrong has dated ahead.

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::{CommandError, Format, Progress, Reply, Run};
use crate::node::{Node, NodeError};
use crate::report::{RepairedKeys, Schema};

/// Keys that are written at once, to share transactions.
const KEYS_AT_ONCE: usize = 100;

/// Dates now what this node's clock once dated too far ahead
///
/// Other nodes refuse such a record until they reach its date, and every later write of its key with it. The values stay as they are.
/// Set the clock right first.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepairClock {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
}

impl Run for RepairClock {
    fn lines(schema: Schema) -> Schema {
        schema.line::<RepairedKeys>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        run_counting(node, &Progress::default()).await
    }
}

/// Runs it; `progress` counts the keys.
pub(super) async fn run_counting(node: &Node, progress: &Progress) -> Result<Reply, CommandError> {
    let repaired_keys = repair(node, progress).await?;
    Ok(Reply::ClockRepaired(RepairedKeys { repaired_keys }))
}

/// Says how many keys were dated ahead.
async fn repair(node: &Node, progress: &Progress) -> Result<u64, NodeError> {
    loop {
        let mut writes = JoinSet::new();
        for key in node.ahead(KEYS_AT_ONCE).await? {
            let node = node.clone();
            writes.spawn(async move { node.redate(key).await });
        }
        let mut some = 0;
        for done in writes.join_all().await {
            some += u64::from(done?.is_some());
        }
        // What is not written again stays in the list, and must not keep this going.
        if some == 0 {
            return Ok(progress.keys());
        }
        progress.add(some);
    }
}
