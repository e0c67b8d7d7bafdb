//! Following changes: server-sent events, or lines of JSON. The client pulls: what it does not read is not read from the store
//! either.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, HeaderName};
use axum::response::Response;
use futures::stream::{once, unfold};
use futures::{Stream, StreamExt};
use tokio::time::timeout;

use super::Api;
use super::command::NDJSON;
use super::problem::Problem;
use super::query::Query;
use super::routes::typed;
use crate::command::CommandError;
use crate::node::NodeError;
use crate::node::watch::{Event, Since};
use crate::report::{WatchEvent, line};

/// The type of server-sent events.
const EVENTS: &str = "text/event-stream";
/// Where a client that was cut off has come to.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What a client of server-sent events is told first: to connect again after a second.
const RETRY: &str = "retry: 1000\n\n";
/// A line that says nothing, so that clients do not take the silence for a dead connection; many give up after 5 s.
const SILENCE: Duration = Duration::from_secs(4);
const COMMENT: &str = ":\n\n";

/// Follows the keys that begin with `prefix`.
#[utoipa::path(
    get,
    path = "/v1/watch",
    operation_id = "watch",
    tag = "keys",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin with this"), ("since" = Option<String>, Query, description = "The `cursor` of an event, to go on behind it; `now` for changes only; without it, all that is there comes first"), ("Last-Event-ID" = Option<String>, Header, description = "The same, as clients of server-sent events send it; it goes before `since`")),
    responses(
        (status = 200, description = "Events until the client or the node ends", content(
            (ref("#/components/schemas/WatchEvent") = "text/event-stream"),
            (ref("#/components/schemas/WatchEvent") = "application/x-ndjson")
        ))
    )
)]
pub(super) async fn watch(
    State(api): State<Arc<Api>>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let prefix = query.take("prefix")?.unwrap_or_default();
    let since = query.take("since")?;
    query.end()?;
    let last = headers.get(LAST_EVENT_ID).filter(|id| !id.is_empty());
    let last = last.map(|id| id.to_str().unwrap_or("?").to_owned());
    // Whoever was cut off asks with the same target again.
    let since =
        match last.or(since).as_deref() {
            None => Since::Snapshot,
            Some("now") => Since::Now,
            Some(cursor) => Since::Cursor(cursor.parse().map_err(|_| {
                Problem::usage("Not a place to go on from: expected the `cursor` of an event, or `now`.")
            })?),
        };
    let as_lines = wants_lines(&headers);
    let mut stopping = api.stopping.clone();
    let stop = async move { drop(stopping.wait_for(|stop| *stop).await) };
    let events = api.node.watch(&prefix, since).take_until(Box::pin(stop));
    drop(api);
    Ok(if as_lines {
        let lines = ended(events).map(|event| text(&event)).map(Ok::<_, Infallible>);
        typed(NDJSON, Body::from_stream(lines))
    } else {
        let told = once(async { Bytes::from(RETRY) }).chain(sent(events));
        typed(EVENTS, Body::from_stream(told.map(Ok::<_, Infallible>)))
    })
}

/// Server-sent events are what is sent unless lines of JSON are asked for, and they are not.
fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    let wanted = kinds.find_map(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
            NDJSON | "application/ndjson" | "application/jsonl" => Some(true),
            EVENTS => Some(false),
            _ => None,
        }
    });
    wanted.unwrap_or_default()
}

type Told = Result<Event, NodeError>;

/// The events up to the first failure, behind which the client goes on by its cursor.
fn ended(events: impl Stream<Item = Told> + Send + Unpin) -> impl Stream<Item = Told> + Send + Unpin {
    Box::pin(events.scan(false, |has_failed, event| {
        let told = (!*has_failed).then_some(event);
        *has_failed |= told.as_ref().is_some_and(Result::is_err);
        std::future::ready(told)
    }))
}

/// An event, or the failure, as a line of JSON.
fn text(event: &Told) -> Bytes {
    Bytes::from(match event {
        Ok(event) => line(&WatchEvent::from(event)),
        Err(error) => CommandError::from(error.clone()).json(),
    })
}

/// The events as server-sent ones, and comments while there are none.
fn sent(events: impl Stream<Item = Told> + Send + Unpin) -> impl Stream<Item = Bytes> + Send {
    unfold(ended(events), |mut events| async move {
        let sent = match timeout(SILENCE, events.next()).await {
            Ok(event) => server_sent(&event?),
            Err(_) => Bytes::from(COMMENT),
        };
        Some((sent, events))
    })
}

fn server_sent(event: &Told) -> Bytes {
    let mut sent = String::new();
    match event {
        Ok(told) => {
            let told = WatchEvent::from(told);
            if let Some(cursor) = told.cursor() {
                sent.push_str(&format!("id: {cursor}\n"));
            }
            sent.push_str(&format!("data: {}\n", line(&told)));
        }
        Err(error) => {
            let failure = CommandError::from(error.clone()).json();
            sent.push_str(&format!("event: failure\ndata: {failure}\n"));
        }
    }
    Bytes::from(sent)
}
