//! Keys in conflict, and choosing between their versions.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use p2p_sync_core::{Record, Timestamp};

use super::problem::Problem;
use super::query::{Query, key};
use super::routes::json;
use super::{Api, body};
use crate::node::{Dating, conflict};
use crate::report::{Choice, ConflictPage, Resolved};

/// Keys on a page, unless another number is asked for, and at most.
const LIMIT_MAX: usize = 100;
/// Bytes of values behind which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Keys that are read at once: each may have eight versions of 64 KiB.
const READ_AT_ONCE: usize = 10;
/// The largest choice.
const CHOICE_BYTES_MAX: usize = 16 * 1024;

/// The keys in conflict that begin with `prefix` and come after `after`.
#[utoipa::path(
    get,
    path = "/v1/conflicts",
    operation_id = "list_conflicts",
    tag = "conflicts",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin with this"), ("after" = Option<String>, Query, description = "Only keys behind this one: the `next` of the page before"), ("limit" = Option<u16>, Query, description = "Keys on the page; it may have fewer, and `next` says whether there are more. 100 by default", minimum = 1, maximum = 100)),
    responses((status = 200, description = "A page of keys with all their versions", body = ref("#/components/schemas/ConflictPage")))
)]
pub(super) async fn list(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let prefix = query.take("prefix")?.unwrap_or_default();
    let mut after = query.take_key("after")?;
    let limit = query.take_number("limit", LIMIT_MAX, 1..=LIMIT_MAX)?;
    query.end()?;
    let (mut conflicts, mut bytes) = (Vec::new(), 0);
    let next = loop {
        let wanted = READ_AT_ONCE.min(limit - conflicts.len());
        let found = api.node.conflicts(&prefix, after, wanted).await?;
        let size = |record: &Record| record.content.value().map_or(0, |value| value.as_bytes().len());
        bytes += found
            .keys
            .iter()
            .flat_map(|versions| versions.all())
            .map(size)
            .sum::<usize>();
        conflicts.extend(found.keys.iter().map(|versions| conflict(versions, api.node.names())));
        match found.next {
            Some(next) if conflicts.len() < limit && bytes < PAGE_BYTES => after = Some(next),
            next => break next.map(|key| key.as_str().to_owned()),
        }
    };
    Ok(json(&ConflictPage { conflicts, next }))
}

/// Ends the conflict of a key.
#[utoipa::path(
    post,
    path = "/v1/conflicts/resolve",
    operation_id = "resolve_conflict",
    tag = "conflicts",
    request_body(content = ref("#/components/schemas/Choice"), content_type = "application/json"),
    responses(
        (status = 200, description = "The conflict has ended on every node that hears of it", body = ref("#/components/schemas/Resolved")),
        (status = 404, description = "No such conflict; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn resolve(State(api): State<Arc<Api>>, query: Query, request: Request) -> Result<Response, Problem> {
    query.end()?;
    let (choice, _permit): (Choice, _) = body::json(&api, request, CHOICE_BYTES_MAX).await?;
    let key = key(choice.key)?;
    let timestamp = choice.timestamp.map(|text| text.parse::<Timestamp>()).transpose();
    let timestamp = timestamp.map_err(|_| Problem::invalid("Invalid timestamp. Nothing was changed."))?;
    let resolved = api.node.resolve(key.clone(), timestamp, Dating::AfterHeld).await?;
    let record = resolved.ok_or_else(|| {
        Problem::not_found(format!(
            "{key} is not in conflict, or has no version with that timestamp. Nothing was changed."
        ))
    })?;
    Ok(json(&Resolved {
        accepted_from: api.node.accepted_from(&record).map(|at| at.to_string()),
        ..(&record).into()
    }))
}
