//! Pages of keys and values. A page is cut where it would take too much memory, so it may be shorter than was asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use p2p_sync_core::Record;

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::json;
use crate::report::{KeyPage, ListPage, RecordPage};

/// Records on a page, unless another number is asked for.
const LIMIT_DEFAULT: usize = 100;
/// Records on a page.
const LIMIT_MAX: usize = 1_000;
/// Bytes of values behind which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Records that are read at once.
const READ_AT_ONCE: usize = 50;

/// The records whose keys begin with `prefix` and come after `after`.
#[utoipa::path(
    get,
    path = "/v1/kv",
    operation_id = "list",
    tag = "keys",
    params(("prefix" = Option<String>, Query, description = "Only keys that begin with this"), ("after" = Option<String>, Query, description = "Only keys behind this one: the `next` of the page before"), ("limit" = Option<u16>, Query, description = "Records on the page; it may have fewer, and `next` says whether there are more. 100 by default", minimum = 1, maximum = 1000), ("values" = Option<bool>, Query, description = "False: keys without their values")),
    responses(
        (status = 200, description = "A page of records, or, without values, of keys", body = ref("#/components/schemas/ListPage"))
    )
)]
pub(super) async fn list(State(api): State<Arc<Api>>, mut query: Query) -> Result<Response, Problem> {
    let prefix = query.take("prefix")?.unwrap_or_default();
    let after = query.take_key("after")?;
    let limit = query.take_number("limit", LIMIT_DEFAULT, 1..=LIMIT_MAX)?;
    let values = match query.take("values")?.as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(Problem::usage("`values` is `true` or `false`.")),
    };
    query.end()?;
    let (mut records, mut bytes, mut next) = (Vec::<Record>::new(), 0, after);
    loop {
        let wanted = READ_AT_ONCE.min(limit - records.len());
        let found = api.node.list(&prefix, next, wanted).await?;
        let is_end = found.len() < wanted;
        let size = |record: &Record| record.content.value().map_or(0, |value| value.as_bytes().len());
        bytes += found.iter().map(size).sum::<usize>();
        next = found.last().filter(|_| !is_end).map(|record| record.key.clone());
        records.extend(found);
        if is_end || records.len() >= limit || bytes >= PAGE_BYTES {
            break;
        }
    }
    let next = next.map(|key| key.as_str().to_owned());
    Ok(json(&if values {
        let records = records.iter().map(Into::into).collect();
        ListPage::Records(RecordPage { records, next })
    } else {
        let records = records.iter().map(Into::into).collect();
        ListPage::Keys(KeyPage { records, next })
    }))
}
