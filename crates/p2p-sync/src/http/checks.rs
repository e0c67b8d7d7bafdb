//! Checks of every record, which take long: they are begun, and then asked how far they are. One runs at a time, and the last one is
//! remembered.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::json;
use crate::node::{NodeError, Verified};
use crate::report::{Check, CheckState};

/// The last check.
#[derive(Debug, Default)]
pub(super) struct Checks(Mutex<Option<Last>>);

#[derive(Debug)]
struct Last {
    id: u64,
    begun: Instant,
    ended: Option<(Instant, Result<Verified, NodeError>)>,
}

impl Checks {
    /// The check that runs; a new one if none does, and whether it is new.
    fn begin(&self) -> (Check, bool) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = last.as_ref().is_none_or(|last| last.ended.is_some());
        let id = last.as_ref().map_or(0, |last| last.id) + 1;
        let new = || Last {
            id,
            begun: Instant::now(),
            ended: None,
        };
        if is_new {
            *last = Some(new());
        }
        (last.get_or_insert_with(new).report(), is_new)
    }

    fn end(&self, found: Result<Verified, NodeError>) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_mut() {
            last.ended = Some((Instant::now(), found));
        }
    }

    fn look(&self, id: u64) -> Option<Check> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|last| last.id == id).map(Last::report)
    }
}

impl Last {
    fn report(&self) -> Check {
        let until = self.ended.as_ref().map_or_else(Instant::now, |(at, _)| *at);
        let (state, found, error) = match &self.ended {
            None => (CheckState::Running, None, None),
            Some((_, Ok(found))) => (CheckState::Done, Some(*found), None),
            Some((_, Err(error))) => (CheckState::Failed, None, Some(error.to_string())),
        };
        Check {
            id: self.id,
            state,
            seconds: until.saturating_duration_since(self.begun).as_secs(),
            checked: 0,
            records: 0,
            found,
            error,
        }
    }
}

/// Begins a check, unless one runs.
#[utoipa::path(
    post,
    path = "/v1/verify",
    operation_id = "begin_check",
    tag = "node",
    responses((status = 202, description = "The check that runs", body = ref("#/components/schemas/Check"), headers(("Location" = String, description = "Where to ask how far it is"))))
)]
pub(super) async fn begin(State(api): State<Arc<Api>>, query: Query) -> Result<Response, Problem> {
    query.end()?;
    let (check, is_new) = api.checks.begin();
    let id = check.id;
    if is_new {
        let (api, mut stopping) = (Arc::clone(&api), api.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                found = api.node.verify() => api.checks.end(found),
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        });
    }
    let mut response = json(&with_progress(&api, check).await?);
    *response.status_mut() = StatusCode::ACCEPTED;
    if let Ok(place) = HeaderValue::try_from(format!("/v1/verify/{id}")) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// How far a check is.
#[utoipa::path(
    get,
    path = "/v1/verify/{id}",
    operation_id = "get_check",
    tag = "node",
    params(("id" = u64, Path, description = "The number of the check")),
    responses(
        (status = 200, description = "The check", body = ref("#/components/schemas/Check")),
        (status = 404, description = "There is no such check; only the last one is remembered", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn look(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Problem> {
    query.end()?;
    let check = id.parse().ok().and_then(|id| api.checks.look(id));
    let check: Check =
        check.ok_or_else(|| Problem::not_found("There is no such check. Only the last one is remembered."))?;
    Ok(json(&with_progress(&api, check).await?))
}

async fn with_progress(api: &Api, check: Check) -> Result<Check, Problem> {
    let counts = api.node.counts().await?;
    Ok(Check {
        checked: check.found.map_or_else(|| api.node.checked(), |found| found.records),
        records: counts.live + counts.deleted,
        ..check
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_runs_at_a_time_and_the_last_is_remembered() {
        let checks = Checks::default();
        assert_eq!(checks.look(1), None);
        let (first, is_new) = checks.begin();
        assert!(is_new && first.id == 1 && first.state == CheckState::Running);
        assert!(!checks.begin().1);
        checks.end(Err(NodeError::Crowded));
        assert_eq!(checks.look(1).map(|check| check.state), Some(CheckState::Failed));
        let (second, is_new) = checks.begin();
        assert!(is_new && second.id == 2);
        checks.end(Ok(Verified::default()));
        assert_eq!(checks.look(2).and_then(|check| check.found), Some(Verified::default()));
        assert_eq!(checks.look(1), None);
    }
}
