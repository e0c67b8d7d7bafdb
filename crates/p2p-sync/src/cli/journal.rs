//! What a log file says about the program itself: when and as what it started, when and why it stops, and the node's status
//! when a signal asks for it.

use std::convert::Infallible;

use super::logging::Logs;
use super::stop::StatusRequests;
use super::{VERSION, text};
use crate::node::Node;

/// The node has started. At a terminal its first lines on standard output say so.
pub(super) fn started(node: &Node, logs: &Logs) {
    if logs.is_kept() {
        tracing::info!(
            "p2p-sync {} started: peer id {}, name {}, process {}, {}",
            VERSION,
            node.id(),
            node.names().peer(node.id()),
            std::process::id(),
            node.listening().join(", ")
        );
    }
}

/// The node is about to stop.
pub(super) fn stopping(why: &str, logs: &Logs) {
    if logs.is_kept() {
        tracing::info!("p2p-sync {} stopping: {why}", VERSION);
    }
}

/// Logs the status of the node whenever somebody asks for it.
pub(super) async fn answer(mut requests: StatusRequests, node: &Node) -> Infallible {
    loop {
        requests.asked().await;
        match node.status().await {
            Ok(status) => {
                for line in text::status(&status).lines() {
                    tracing::info!("Status: {line}");
                }
            }
            Err(error) => tracing::warn!("Status: {error}"),
        }
    }
}
