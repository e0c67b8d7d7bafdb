//! `doctor`: what is wrong with a node, or around it, and what to do. What a node knows of itself is in its status; this only draws
//! conclusions from it, and looks at the files.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{Diagnosis, Examined, Finding, Schema, Status};

mod clocks;
mod files;
mod network;
mod store;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;

/// Looks for what is wrong: network, clocks, sync, disk, files
///
/// Each finding has its cause and what to do. The exit code is 1 if there is one. Without a running node it looks at the store alone.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doctor {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
}

impl Run for Doctor {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Finding>().line::<Examined>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        Ok(Reply::Diagnosis(diagnosis(node).await?))
    }
}

/// Looks at a node.
///
/// # Errors
/// When it has stopped, or its store cannot be read.
pub async fn diagnosis(node: &Node) -> Result<Diagnosis, CommandError> {
    let status = node.status().await?;
    let surroundings = files::Surroundings::of(&node.private_files());
    let findings = findings(&status, &surroundings);
    Ok(Diagnosis {
        examined: Examined {
            findings: findings.len() as u64,
            version: status.version,
            sqlite: crate::node::sqlite_version().to_owned(),
            descriptors: surroundings.descriptors,
        },
        findings,
    })
}

fn findings(status: &Status, surroundings: &files::Surroundings) -> Vec<Finding> {
    let mut findings = network::findings(status);
    findings.extend(clocks::findings(status));
    findings.extend(store::findings(status));
    findings.extend(files::findings(surroundings));
    findings
}

fn finding(finding: &str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding {
        finding: finding.to_owned(),
        text: text.into(),
        advice: advice.into(),
    }
}
