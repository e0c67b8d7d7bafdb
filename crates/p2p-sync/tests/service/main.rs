//! The node as a service: what service managers are told to do, what the node tells them, and where its log goes.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::fs;
use std::path::Path;
use std::time::Duration;

mod definitions;
mod logging;
mod supervision;

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
