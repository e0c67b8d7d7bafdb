//! The files of the node, and what the system allows it.

use std::path::PathBuf;

use super::finding;
use crate::report::Finding;

/// Fewer open files than this are soon used up by connections.
const DESCRIPTORS_MIN: u64 = 1_024;

/// What was found around the node.
#[derive(Debug, Clone, Default)]
pub(super) struct Surroundings {
    /// Files that only their owner should read, and others can.
    pub(super) open_to_others: Vec<PathBuf>,
    /// How many files the process may have open.
    pub(super) descriptors: Option<u64>,
}

impl Surroundings {
    /// Looks at these files.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self {
            open_to_others: files.iter().filter(|file| is_open_to_others(file)).cloned().collect(),
            descriptors: descriptors(),
        }
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|found| found.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::path::Path) -> bool {
    false
}

#[cfg(unix)]
fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn descriptors() -> Option<u64> {
    None
}

pub(super) fn findings(surroundings: &Surroundings) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &surroundings.open_to_others {
        let text = format!("Other users of this machine may look into {}", file.display());
        findings.push(finding("permissions", text, format!("chmod go= {}", file.display())));
    }
    if let Some(most) = surroundings.descriptors.filter(|most| *most < DESCRIPTORS_MIN) {
        let text = format!("The node may have only {most} files and connections open");
        findings.push(finding(
            "descriptors",
            text,
            "Raise the limit: ulimit -n 4096, or LimitNOFILE= of its service",
        ));
    }
    findings
}
