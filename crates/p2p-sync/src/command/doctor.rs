//! `doctor`: what is wrong with a node, or around it, and what to do. The node looks around; this only draws conclusions from what
//! it found, and looks at the files.

use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{Diagnosis, Examined, Finding, Schema, Status, Surroundings};

mod clocks;
mod files;
mod network;
mod store;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
mod troubles;
mod ways;

/// Looks for what is wrong: LAN, firewalls, peers, clocks, sync, disk, files
///
/// Takes up to six seconds: it asks on the LAN who is there, and tries whether this node and its peers get through to each other. Each
/// finding has its cause and what to do. The exit code is 1 if there is one. Without a running node it looks at the LAN and the store.
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
        Ok(Reply::Diagnosis(Box::new(diagnosis(node).await?)))
    }
}

/// Looks at a node, for at most six seconds.
///
/// # Errors
/// When it has stopped, or its store cannot be read.
pub async fn diagnosis(node: &Node) -> Result<Diagnosis, CommandError> {
    let (status, surroundings) = node.examine().await?;
    let files = files::Files::of(&node.private_files());
    let findings = findings(&status, &surroundings, &files);
    Ok(Diagnosis {
        examined: Examined {
            findings: findings.len() as u64,
            version: status.version,
            sqlite: crate::node::sqlite_version().to_owned(),
            descriptors: files.descriptors,
            descriptors_open: files.descriptors_open,
            store: status.store,
            surroundings,
        },
        findings,
    })
}

fn findings(status: &Status, around: &Surroundings, files: &files::Files) -> Vec<Finding> {
    let mut findings = network::findings(status, around);
    let ways = ways::findings(status, around);
    findings.extend(troubles::findings(status, around));
    findings.extend(ways);
    findings.extend(clocks::findings(status, around));
    findings.extend(store::findings(status, around));
    findings.extend(files::findings(files));
    findings
}

fn finding(finding: &str, text: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding {
        finding: finding.to_owned(),
        text: text.into(),
        advice: advice.into(),
    }
}

/// Names in a row: the first few of them.
fn listed(names: impl IntoIterator<Item = String>) -> String {
    const TOLD: usize = 5;
    let names: Vec<String> = names.into_iter().collect();
    let first = names.iter().take(TOLD).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(TOLD) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// A number of seconds as people say it.
fn time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A number of records in words.
fn records(count: u64) -> String {
    format!("{count} {}", if count == 1 { "record" } else { "records" })
}
