//! Pages of keys and values. A page is cut where it would take too much memory, so it may be shorter than was asked for.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use p2p_sync_core::Record;

use super::Api;
use super::problem::Problem;
use super::query::Query;
use super::routes::json;
use crate::report::{KeyPage, RecordPage};

/// Records on a page, unless another number is asked for.
const LIMIT_DEFAULT: usize = 100;
/// Records on a page.
const LIMIT_MAX: usize = 1_000;
/// Bytes of values behind which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Records that are read at once.
const READ_AT_ONCE: usize = 50;

/// The records whose keys begin with `prefix` and come after `after`.
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
    Ok(if values {
        let records = records.iter().map(Into::into).collect();
        json(&RecordPage { records, next })
    } else {
        let records = records.iter().map(Into::into).collect();
        json(&KeyPage { records, next })
    })
}
