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
use crate::command::diagnosis;
use crate::report::{Class, PeerList, SyncedList};

/// How long a comparison with all peers is waited for.
const SYNC_TIME: Duration = Duration::from_secs(60);

/// The status of the node.
#[utoipa::path(
    get,
    path = "/v1/status",
    operation_id = "get_status",
    tag = "node",
    responses((status = 200, description = "The status", body = ref("#/components/schemas/Status")))
)]
pub(super) async fn status(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(json(&api.node.status().await?))
}

/// The connected peers.
#[utoipa::path(
    get,
    path = "/v1/peers",
    operation_id = "get_peers",
    tag = "node",
    responses((status = 200, description = "The connected peers", body = ref("#/components/schemas/PeerList")))
)]
pub(super) async fn peers(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let peers = api.node.peers().await?;
    Ok(json(&PeerList { peers }))
}

/// What is wrong with the node, or around it, and what to do.
#[utoipa::path(
    get,
    path = "/v1/doctor",
    operation_id = "diagnose",
    tag = "node",
    responses((status = 200, description = "What is wrong; an empty list if nothing is", body = ref("#/components/schemas/Diagnosis")))
)]
pub(super) async fn doctor(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    Ok(json(&diagnosis(&api.node).await?))
}

/// Compares with every connected peer.
#[utoipa::path(
    post,
    path = "/v1/sync",
    operation_id = "sync",
    tag = "node",
    responses(
        (status = 200, description = "How each peer compares now", body = ref("#/components/schemas/SyncedList")),
        (status = 504, description = "Not all peers answered in time; sync goes on", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
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
