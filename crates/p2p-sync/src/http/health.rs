//! Whether the node lives, and whether it does its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::json;
use crate::report::{Class, Health};

/// How long each part of the node has for an answer.
const WITHIN: Duration = Duration::from_secs(2);

/// That the process answers; nothing else is looked at.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "is_alive",
    tag = "node",
    responses((status = 200, description = "It does", body = ref("#/components/schemas/Health"))),
    security(())
)]
pub(super) async fn alive() -> Response {
    json(&Health { ok: true })
}

/// Whether the network, the store and the thread that writes do their work.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "is_ready",
    tag = "node",
    responses(
        (status = 200, description = "They do", body = ref("#/components/schemas/Health")),
        (status = 503, description = "What does not, in words", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn ready(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let hindrances = api.node.hindrances(WITHIN).await;
    if hindrances.is_empty() {
        Ok(json(&Health { ok: true }))
    } else {
        let detail = hindrances.join(". ");
        Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, Class::Failed, detail))
    }
}
