//! Gives the program the version that `p2p-sync --version` shows: in a release build, with the commit.

#![allow(clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=P2P_SYNC_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // A test build would be made anew after each commit.
    let is_release = std::env::var("PROFILE").as_deref() == Ok("release");
    let commit = is_release.then(commit).flatten().filter(|commit| !commit.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    let version = commit.map_or_else(|| version.to_owned(), |commit| format!("{version} ({commit})"));
    println!("cargo::rustc-env=P2P_SYNC_VERSION={version}");
}

/// Who builds from an archive without a history may say it; otherwise git does.
fn commit() -> Option<String> {
    if let Ok(commit) = std::env::var("P2P_SYNC_COMMIT") {
        return Some(commit);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    // The history of another project that holds a copy of this one says nothing.
    let history = root.join(".git");
    if !history.exists() {
        return None;
    }
    for name in ["HEAD", "refs/heads"] {
        let path = history.join(name);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    let words = ["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"];
    let described = Command::new("git").current_dir(root).args(words).output().ok()?;
    let described = described.status.success().then_some(described.stdout)?;
    Some(String::from_utf8(described).ok()?.trim().to_owned())
}
