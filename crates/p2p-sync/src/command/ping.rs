//! `ping`: how long the way to a peer and back takes now.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

use super::peers::one_of;
use super::{Class, CommandError, Format, Reply, Run, serial};
use crate::node::Node;
use crate::report::{self, Schema};

/// Measures the round trip to a connected peer
///
/// `peers` shows the one that was measured last, which may be half a minute old.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// The name of a peer, its peer id, or the end of its peer id
    #[serde(with = "serial")]
    peer: OsString,
}

impl Run for Ping {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Pinged>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let peer = one_of(node.peers().await?, &self.peer)?;
        let silent = || {
            let text = format!("{} is connected, but does not answer a ping", peer.display_name);
            CommandError::new(Class::TimedOut, text)
        };
        let id = peer.peer_id.parse().map_err(|_| silent())?;
        let rtt = node.ping(id).await?.ok_or_else(silent)?;
        Ok(Reply::Pinged(report::Pinged {
            rtt_ms: (rtt.as_secs_f64() * 1e5).round() / 1e2,
            peer_id: peer.peer_id,
            name: peer.name,
            display_name: peer.display_name,
        }))
    }
}
