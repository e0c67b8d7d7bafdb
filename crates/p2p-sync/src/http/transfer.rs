//! Everything that the node holds, out of it and into it: exports and imports.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt;
use futures::stream::unfold;

use super::command::NDJSON;
use super::problem::Problem;
use super::query::Query;
use super::routes::{json, typed};
use super::{Api, body};
use crate::command::{CommandError, import_page};
use crate::node::{Export, ExportPage};
use crate::report::{Class, ImportPage, Items, dump_lines, line};

/// Records of a page to import.
const RECORDS_MAX: usize = 1_000;
/// The largest body: 16 MiB, which is all the memory that a page takes before it is written.
const BYTES_MAX: usize = 16 << 20;

/// Everything as of one moment.
#[utoipa::path(
    get,
    path = "/v1/export",
    operation_id = "export",
    tag = "keys",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin with this"), ("deleted" = Option<bool>, Query, description = "True: also the keys that were deleted")),
    responses(
        (status = 200, description = "The records as they are at the moment of asking, in the order of their keys, one a line. The last line is `{\"items\":N}`; where it is another one, or missing, the export is incomplete", body = ref("#/components/schemas/Dumped"), content_type = "application/x-ndjson"),
        (status = 503, description = "Two others export already", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn export(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let prefix = query.take("prefix")?.unwrap_or_default();
    let with_deleted = match query.take("deleted")?.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Problem::usage("`deleted` is `true` or `false`.")),
    };
    query.end()?;
    let export = api.node.export(&prefix, with_deleted).await?;
    let mut stopping = api.stopping.clone();
    let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let lines = unfold(export, next_lines);
    let lines = lines.take_until(Box::pin(stop));
    Ok(typed(NDJSON, Body::from_stream(lines.map(Ok::<_, Infallible>))))
}

async fn next_lines(mut export: Export) -> Option<(Bytes, Export)> {
    let page = export.next().await?;
    let lines = match page {
        Ok(ExportPage::Records(records)) => dump_lines(&records),
        Ok(ExportPage::End { items }) => line(&Items { items }).into_bytes(),
        Ok(ExportPage::TooSlow) => too_slow().json().into_bytes(),
        Err(error) => CommandError::from(error).json().into_bytes(),
    };
    Some((lines.into(), export))
}

/// Why an export ends before its end if nobody reads it.
fn too_slow() -> CommandError {
    CommandError::new(
        Class::TimedOut,
        "The export was read too slowly, and was cut off so that the log of the store does not grow: at most 60 s a page and \
         30 minutes in all. Write it into a file",
    )
}

/// Imports a page of records in one transaction.
#[utoipa::path(
    post,
    path = "/v1/import",
    operation_id = "import_page",
    tag = "keys",
    request_body(content = ref("#/components/schemas/ImportPage"), content_type = "application/json", description = "The records; 16 MiB at most"),
    responses(
        (status = 200, description = "What was written is on the disk", body = ref("#/components/schemas/PageImported")),
        (status = 413, description = "The page is too large; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn import(State(api): State<Arc<Api>>, query: Query, request: Request) -> Result<Response, Problem> {
    query.end()?;
    let (page, _permit): (ImportPage<'_>, _) = body::json(&api, request, BYTES_MAX).await?;
    let count = page.records.len();
    if !(1..=RECORDS_MAX).contains(&count) {
        return Err(Problem::invalid(format!(
            "A page has 1 to {RECORDS_MAX} records, and this one has {count}. Nothing was changed."
        )));
    }
    Ok(json(&import_page(&api.node, page).await?))
}
