//! What there is to ask, and what every answer has in common.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::time::timeout;

use super::conditions::{OfReading, Verdict};
use super::problem::Problem;
use super::{Api, batch, checks, command, conflicts, health, kv, list, metrics, openapi, state, transfer, watching};
use crate::report::{Class, line};

/// How long the node may take for an answer; a longer task is one of those that say how far they are.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// All routes.
#[derive(Clone)]
pub(super) struct Routes(TowerToHyperService<Router>);

/// Routes, and their paths.
#[derive(Default)]
struct Table {
    router: Router<Arc<Api>>,
    paths: Vec<&'static str>,
}

impl Table {
    fn route(mut self, path: &'static str, methods: MethodRouter<Arc<Api>>) -> Self {
        self.router = self.router.route(path, methods);
        self.paths.push(path);
        self
    }
}

/// Those that are answered within a bounded time.
fn timed() -> Table {
    let value = get(kv::get).put(kv::put).delete(kv::delete);
    Table::default()
        .route("/v1/kv", get(list::list))
        .route("/v1/kv/{key}", value.clone())
        .route("/v1/value", value)
        .route("/v1/batch", post(batch::write))
        .route("/v1/import", post(transfer::import))
        .route("/v1/status", get(state::status))
        .route("/v1/peers", get(state::peers))
        .route("/v1/doctor", get(state::doctor))
        .route("/v1/conflicts", get(conflicts::list))
        .route("/v1/conflicts/resolve", post(conflicts::resolve))
        .route("/v1/verify", post(checks::begin))
        .route("/v1/verify/{id}", get(checks::look))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/v1/openapi.json", get(openapi::describe))
}

/// Those that take as long as it takes.
fn untimed() -> Table {
    Table::default()
        .route("/v1/command", post(command::run))
        .route("/v1/export", get(transfer::export))
        .route("/v1/sync", post(state::sync))
        .route("/v1/watch", get(watching::watch))
}

/// The paths of all routes.
#[cfg(test)]
pub(super) fn paths() -> Vec<&'static str> {
    [timed().paths, untimed().paths].concat()
}

/// The routes of an API.
pub(super) fn all(api: Arc<Api>) -> Routes {
    let router = timed()
        .router
        .layer(middleware::from_fn(in_time))
        .merge(untimed().router)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .with_state(api);
    Routes(TowerToHyperService::new(router))
}

impl Routes {
    /// The answer to a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        let conditions = OfReading::of(request.method(), request.headers());
        let mut response = match self.0.call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        match conditions.verdict(response.status(), response.headers()) {
            Verdict::Whole => {}
            Verdict::Known => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = Body::empty();
                response.headers_mut().remove(CONTENT_LENGTH);
            }
            Verdict::Other => {
                let other = "Not as expected: what is there has another tag than the one in `If-Match`.";
                response = Problem::precondition(other).response();
            }
        }
        protect(response.headers_mut());
        response
    }
}

/// Headers of every answer: it is what it says it is, and nobody keeps it.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

async fn in_time(request: Request, next: Next) -> Response {
    timeout(ANSWER_TIME, next.run(request)).await.unwrap_or_else(|_| {
        let detail = format!(
            "The node did not answer within {} s. A write may still be carried out: read the key to find out.",
            ANSWER_TIME.as_secs()
        );
        Problem::new(StatusCode::GATEWAY_TIMEOUT, Class::TimedOut, detail).response()
    })
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at {}. Nothing was changed.", uri.path()))
}

async fn wrong_method(request: Request) -> Problem {
    let detail = format!(
        "{} is not possible at {}. Nothing was changed.",
        request.method(),
        request.uri().path()
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, Class::Usage, detail)
}

/// A value as a response.
pub(super) fn json(value: &impl Serialize) -> Response {
    typed("application/json", line(value))
}

/// A body with its type.
pub(super) fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, kind)], body.into()).into_response()
}
