//! How the node is doing, its peers, and comparing with them now.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use tokio::time::timeout;

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::json;
use crate::report::{Class, PeerList, SyncedList};

/// How long a comparison with all peers is waited for.
const SYNC_TIME: Duration = Duration::from_secs(60);

/// The status of the node.
pub(super) async fn status(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(json(&api.node.status().await?))
}

/// The connected peers.
pub(super) async fn peers(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let peers = api.node.status().await?.peers;
    Ok(json(&PeerList { peers }))
}

/// Compares with every connected peer.
pub(super) async fn sync(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let synced = timeout(SYNC_TIME, api.node.sync()).await.map_err(|_| {
        let detail = format!(
            "Not all peers answered within {} s. Sync goes on; GET /v1/status shows how far it is.",
            SYNC_TIME.as_secs()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, Class::TimedOut, detail)
    })??;
    let peers = synced.iter().map(|one| one.report(api.node.names())).collect();
    Ok(json(&SyncedList { peers }))
}
