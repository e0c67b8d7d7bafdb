//! The local API of the node that `start` runs: it starts and ends with it.

use std::net::SocketAddr;

use super::Failure;
use crate::http::{self, ApiError, Server};
use crate::node::Node;

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::new(error.class(), error.to_string())
    }
}

/// Starts the local API at an address, if there is to be one.
///
/// # Errors
/// When it cannot be started, unless for want of room on the disk. The node has been stopped then.
pub(super) async fn start(node: &Node, address: Option<SocketAddr>) -> Result<Option<Server>, Failure> {
    let Some(address) = address else {
        http::forget(node);
        return Ok(None);
    };
    match Server::start(node.clone(), address).await {
        Ok(server) => Ok(Some(server)),
        // On a full disk, keys must still be deleted.
        Err(error) if error.is_for_want_of_room() => {
            tracing::warn!("{error}. The node runs without it: free some space, and start again");
            http::forget(node);
            Ok(None)
        }
        Err(error) => {
            node.stop().await;
            Err(error.into())
        }
    }
}

/// Ends the local API while the node leaves the network.
pub(super) async fn leave(node: &Node, server: Option<Server>) {
    let stop = async {
        if let Some(server) = server {
            server.stop().await;
        }
    };
    tokio::join!(stop, node.leave());
}
