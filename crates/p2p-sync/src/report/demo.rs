//! What `demo` shows, one step a line.

use serde::{Deserialize, Serialize};

/// A step of the demonstration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum DemoStep {
    /// Nodes run.
    Started {
        /// Their names and peer ids.
        nodes: Vec<DemoNode>,
        /// Where their data is until the end.
        directory: String,
    },
    /// What was written on the first node has arrived on another one.
    Arrived {
        /// Its name.
        node: String,
        /// How long after the write was on the disk of the first one.
        milliseconds: f64,
    },
    /// A node was cut off, and both sides wrote.
    Apart {
        /// Its name.
        node: String,
        /// How many keys were written on the other side meanwhile.
        there: u64,
        /// How many on this one.
        here: u64,
    },
    /// It is back, and all nodes hold the same.
    Together {
        /// How long after its start.
        milliseconds: f64,
        /// How many keys each holds.
        keys: u64,
        /// How many times the session waited for an answer.
        round_trips: u64,
        /// Bytes of frames that it sent.
        bytes_sent: u64,
        /// Bytes of frames that it received.
        bytes_received: u64,
        /// The node with which it held the session.
        with: String,
    },
    /// A key that both sides wrote.
    Conflict {
        /// The key.
        key: String,
        /// The value that it has everywhere.
        value: String,
        /// The other one, which is kept.
        kept: String,
    },
    /// The conflict was resolved, and no node has it any more.
    Resolved {
        /// The key.
        key: String,
        /// The value that was chosen.
        value: String,
    },
    /// It is over, and nothing is left of it.
    Ended {
        /// How long it took.
        seconds: f64,
    },
}

/// A node of the demonstration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DemoNode {
    /// Its name.
    pub name: String,
    /// Its peer id.
    pub peer_id: String,
    /// Its port.
    pub port: u16,
}
