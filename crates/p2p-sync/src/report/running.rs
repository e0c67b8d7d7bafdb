//! A node that runs, as `node.json` in its data directory says.

use serde::{Deserialize, Serialize};

/// Where to find the node that has a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Running {
    /// The address of its local API: a loopback address with a port, such as `127.0.0.1:40123`.
    pub api: String,
    /// Its process id.
    pub pid: u32,
    /// Its peer id.
    pub peer_id: String,
    /// The version of the program.
    pub version: String,
}
