//! One key: its value as raw bytes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use p2p_sync_core::limits::VALUE_BYTES_MAX;
use p2p_sync_core::{Record, Value};

use super::openapi::Raw;
use super::problem::Problem;
use super::query::RequestKey;
use super::routes::json;
use super::{Api, body, conditions};
use crate::node::{Node, Terms};
use crate::report::Written;

/// When the value was written, by its author's clock (RFC 3339).
const TIMESTAMP: HeaderName = HeaderName::from_static("p2p-sync-timestamp");
/// The peer id of the node on which it was written.
const AUTHOR: HeaderName = HeaderName::from_static("p2p-sync-author");
/// How many other writes are in conflict with this one; left out if none is.
const CONFLICTS: HeaderName = HeaderName::from_static("p2p-sync-conflicts");

/// The value of a key.
#[utoipa::path(
    get,
    path = "/v1/kv/{key}",
    operation_id = "get_value",
    tag = "keys",
    params(("key" = String, Path, description = "The key, percent-encoded as one segment; `.` and `..` cannot be named here", min_length = 1), ("If-None-Match" = Option<String>, Header, description = "Answer 304 if the value still has this tag"), ("If-Match" = Option<String>, Header, description = "Answer 412 if the value has another tag")),
    responses(
        (status = 200, description = "The value", body = inline(Raw), content_type = "application/octet-stream", headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 304, description = "The value still has this tag"),
        (status = 404, description = "The key has no value", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 412, description = "The value has another tag", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn get(State(api): State<Arc<Api>>, RequestKey(key): RequestKey) -> Result<Response, Problem> {
    let held = api.node.versions(&key).await?;
    let live = held.winner().filter(|winner| winner.content.value().is_some());
    let record = live.ok_or_else(|| Problem::not_found(format!("Not found: {key}")))?;
    let bytes = record.content.value().map(|value| value.as_bytes().to_vec());
    let mut response = Response::new(Body::from(bytes.unwrap_or_default()));
    let head = response.headers_mut();
    describe(head, record);
    let conflicts = held.shown().count();
    if conflicts > 0 {
        head.insert(CONFLICTS, HeaderValue::from(conflicts));
    }
    // Whoever wrote it may have meant to be run in a browser.
    for (name, value) in [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment"),
        (CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        head.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Stores the body as the value of a key.
#[utoipa::path(
    put,
    path = "/v1/kv/{key}",
    operation_id = "put_value",
    tag = "keys",
    params(("key" = String, Path, description = "The key, percent-encoded as one segment; `.` and `..` cannot be named here", min_length = 1), ("If-Match" = Option<String>, Header, description = "Only if the key has the value with this tag on this node; `*`: any value"), ("If-None-Match" = Option<String>, Header, description = "`*`: only if the key has no value on this node")),
    request_body(content = inline(Raw), content_type = "application/octet-stream", description = "The value: at most 65,536 bytes of anything"),
    responses(
        (status = 200, description = "It is on the disk", body = ref("#/components/schemas/Written"), headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 412, description = "The condition does not hold; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 413, description = "The value is too large; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    RequestKey(key): RequestKey,
    request: Request,
) -> Result<Response, Problem> {
    let condition = conditions::of_write(&api, &key, request.headers()).await?;
    let content = body::read(&api, request, VALUE_BYTES_MAX).await?;
    let value =
        Value::new(content.bytes.to_vec()).map_err(|error| Problem::invalid(format!("Value too large: {error}")))?;
    let terms = Terms {
        condition,
        ..Terms::default()
    };
    let record = api.node.put_on(key, value, terms).await?;
    Ok(told(&api.node, &record))
}

/// Deletes a key.
#[utoipa::path(
    delete,
    path = "/v1/kv/{key}",
    operation_id = "delete_value",
    tag = "keys",
    params(("key" = String, Path, description = "The key, percent-encoded as one segment; `.` and `..` cannot be named here", min_length = 1), ("If-Match" = Option<String>, Header, description = "Only if the key has the value with this tag on this node; `*`: any value")),
    responses(
        (status = 200, description = "The deletion is on the disk", body = ref("#/components/schemas/Written"), headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 404, description = "The key has no value; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 412, description = "The condition does not hold; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    RequestKey(key): RequestKey,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let terms = Terms {
        condition: conditions::of_write(&api, &key, &headers).await?,
        ..Terms::default()
    };
    let deleted = api.node.delete_on(key.clone(), terms).await?;
    let record = deleted.ok_or_else(|| Problem::not_found(format!("Not found: {key}. Nothing was changed.")))?;
    Ok(told(&api.node, &record))
}

/// Describes the same requests where they name the key in another way, and `HEAD`, which is a `GET` without the body. They are
/// carried out by the functions above.
macro_rules! described {
    ($($(#[$attribute:meta])* $name:ident,)+) => {
        $($(#[$attribute])*
        #[expect(dead_code, reason = "it carries a description")]
        pub(super) fn $name() {})+
    };
}
described! {
    /// Which value a key has.
    #[utoipa::path(
    head,
    path = "/v1/kv/{key}",
    operation_id = "head_value",
    tag = "keys",
    params(("key" = String, Path, description = "The key, percent-encoded as one segment; `.` and `..` cannot be named here", min_length = 1), ("If-None-Match" = Option<String>, Header, description = "Answer 304 if the value still has this tag"), ("If-Match" = Option<String>, Header, description = "Answer 412 if the value has another tag")),
    responses(
        (status = 200, description = "The value without its bytes", headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 304, description = "The value still has this tag"),
        (status = 404, description = "The key has no value"),
        (status = 412, description = "The value has another tag")
    )
)]
    head,
    /// The value of a key, named by a parameter.
    #[utoipa::path(
    get,
    path = "/v1/value",
    operation_id = "get_value_named",
    tag = "keys",
    params(("key" = String, Query, description = "The key, percent-encoded", min_length = 1), ("If-None-Match" = Option<String>, Header, description = "Answer 304 if the value still has this tag"), ("If-Match" = Option<String>, Header, description = "Answer 412 if the value has another tag")),
    responses(
        (status = 200, description = "The value", body = inline(Raw), content_type = "application/octet-stream", headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 304, description = "The value still has this tag"),
        (status = 404, description = "The key has no value", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 412, description = "The value has another tag", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
    get_named,
    /// Which value a key has, named by a parameter.
    #[utoipa::path(
    head,
    path = "/v1/value",
    operation_id = "head_value_named",
    tag = "keys",
    params(("key" = String, Query, description = "The key, percent-encoded", min_length = 1), ("If-None-Match" = Option<String>, Header, description = "Answer 304 if the value still has this tag"), ("If-Match" = Option<String>, Header, description = "Answer 412 if the value has another tag")),
    responses(
        (status = 200, description = "The value without its bytes", headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 304, description = "The value still has this tag"),
        (status = 404, description = "The key has no value"),
        (status = 412, description = "The value has another tag")
    )
)]
    head_named,
    /// Stores the body as the value of a key, named by a parameter.
    #[utoipa::path(
    put,
    path = "/v1/value",
    operation_id = "put_value_named",
    tag = "keys",
    params(("key" = String, Query, description = "The key, percent-encoded", min_length = 1), ("If-Match" = Option<String>, Header, description = "Only if the key has the value with this tag on this node; `*`: any value"), ("If-None-Match" = Option<String>, Header, description = "`*`: only if the key has no value on this node")),
    request_body(content = inline(Raw), content_type = "application/octet-stream", description = "The value: at most 65,536 bytes of anything"),
    responses(
        (status = 200, description = "It is on the disk", body = ref("#/components/schemas/Written"), headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 412, description = "The condition does not hold; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 413, description = "The value is too large; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
    put_named,
    /// Deletes a key, named by a parameter.
    #[utoipa::path(
    delete,
    path = "/v1/value",
    operation_id = "delete_value_named",
    tag = "keys",
    params(("key" = String, Query, description = "The key, percent-encoded", min_length = 1), ("If-Match" = Option<String>, Header, description = "Only if the key has the value with this tag on this node; `*`: any value")),
    responses(
        (status = 200, description = "The deletion is on the disk", body = ref("#/components/schemas/Written"), headers(
            ("ETag" = String, description = "Names this version of the key"),
            ("P2p-Sync-Timestamp" = String, description = "When it was written, by its author's clock (RFC 3339)"),
            ("P2p-Sync-Author" = String, description = "The peer id of the node on which it was written")
        )),
        (status = 404, description = "The key has no value; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json"),
        (status = 412, description = "The condition does not hold; nothing was changed", body = ref("#/components/schemas/Problem"), content_type = "application/problem+json")
    )
)]
    delete_named,
}

fn told(node: &Node, record: &Record) -> Response {
    let mut response = json(&written(node, record));
    describe(response.headers_mut(), record);
    response
}

/// What a write has stored.
pub(super) fn written(node: &Node, record: &Record) -> Written {
    Written {
        key: record.key.as_str().to_owned(),
        written: true,
        timestamp: Some(record.timestamp.to_string()),
        author: Some(record.author.to_string()),
        accepted_from: node.accepted_from(record).map(|at| at.to_string()),
    }
}

/// Says which version of the key this is.
fn describe(headers: &mut HeaderMap, record: &Record) {
    for (name, text) in [
        (ETAG, conditions::tag(record)),
        (TIMESTAMP, record.timestamp.to_string()),
        (AUTHOR, record.author.to_string()),
    ] {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    }
}
