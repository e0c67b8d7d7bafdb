//! The files of the node, and what the system allows it.

use std::path::PathBuf;

use super::finding;
use crate::report::Finding;

/// Fewer open files than this are soon used up by connections.
const DESCRIPTORS_MIN: u64 = 1_024;

/// What was found of the files.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    /// Files that only their owner should read, and others can, and directories in which others can change something.
    pub(super) open_to_others: Vec<PathBuf>,
    /// How many files the process may have open.
    pub(super) descriptors: Option<u64>,
    /// How many it has open.
    pub(super) descriptors_open: Option<u64>,
}

impl Files {
    /// Looks at these files.
    pub(super) fn of(files: &[PathBuf]) -> Self {
        Self {
            open_to_others: files.iter().filter(|file| is_open_to_others(file)).cloned().collect(),
            descriptors: descriptors(),
            descriptors_open: descriptors_open(),
        }
    }
}

#[cfg(unix)]
fn is_open_to_others(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|found| {
        // What is in a directory is closed by itself, as long as nobody else can put something else there.
        let closed = if found.is_dir() { 0o022 } else { 0o077 };
        found.permissions().mode() & closed != 0
    })
}

#[cfg(not(unix))]
fn is_open_to_others(_: &std::path::Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn descriptors_open() -> Option<u64> {
    // The listing is one itself.
    std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|open| (open.count() as u64).saturating_sub(1))
}

#[cfg(not(target_os = "linux"))]
fn descriptors_open() -> Option<u64> {
    None
}

#[cfg(unix)]
fn descriptors() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn descriptors() -> Option<u64> {
    None
}

pub(super) fn findings(files: &Files) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &files.open_to_others {
        let what = if file.is_dir() {
            "change what is in"
        } else {
            "look into"
        };
        let text = format!("Other users of this machine may {what} {}", file.display());
        findings.push(finding("permissions", text, format!("chmod go= {}", file.display())));
    }
    if let Some(most) = files.descriptors.filter(|most| *most < DESCRIPTORS_MIN) {
        let text = format!("The node may have only {most} files and connections open");
        findings.push(finding(
            "descriptors",
            text,
            "Raise the limit: ulimit -n 4096, or LimitNOFILE= of its service",
        ));
    }
    if let (Some(most), Some(open)) = (files.descriptors, files.descriptors_open)
        && open > most / 10 * 9
    {
        let text = format!("The node has {open} of {most} files and connections open that it may have");
        findings.push(finding(
            "descriptors_used",
            text,
            "Raise the limit: LimitNOFILE= of its service, or ulimit -n; soon nobody can connect",
        ));
    }
    findings
}
