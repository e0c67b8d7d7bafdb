//! Entity tags, and the conditions of requests on them (RFC 9110, section 13).

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use p2p_sync_core::{Key, Record};

use super::Api;
use super::problem::Problem;
use crate::node::Condition;

/// Characters of an author's id in a tag: no two writes at the same nanosecond have the same end.
const AUTHOR_END: usize = 8;

/// The tag of a version, with its quotes.
pub(super) fn tag(record: &Record) -> String {
    let author = record.author.to_string();
    let end = author.len().saturating_sub(AUTHOR_END);
    format!("\"{}-{}\"", record.timestamp, author.get(end..).unwrap_or_default())
}

/// Whether a reader has this version already.
pub(super) fn has_it(headers: &HeaderMap, record: &Record) -> bool {
    let tag = tag(record);
    tags(headers, &IF_NONE_MATCH).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

/// On what condition a write of a key is made.
///
/// # Errors
/// If it cannot hold any more, or is none that a write may have.
pub(super) async fn of_write(api: &Api, key: &Key, headers: &HeaderMap) -> Result<Condition, Problem> {
    let unless: Vec<_> = tags(headers, &IF_NONE_MATCH).collect();
    match (unless.as_slice(), headers.contains_key(IF_MATCH)) {
        ([], false) => Ok(Condition::None),
        (["*"], false) => Ok(Condition::Absent),
        ([], true) => {
            let held = api.node.get(key).await?;
            let held = held.ok_or_else(|| failed("the key has no value"))?;
            let tag = tag(&held);
            // A weak tag names no bytes, so it never matches.
            if tags(headers, &IF_MATCH).any(|wanted| wanted == "*" || wanted == tag) {
                Ok(Condition::WrittenAt(held.timestamp))
            } else {
                Err(failed("the key has another value"))
            }
        }
        _ => Err(Problem::usage(
            "A write takes either `If-Match` with the tag that a GET has shown, or `If-None-Match: *`. Nothing was changed.",
        )),
    }
}

fn failed(why: &str) -> Problem {
    Problem::precondition(format!("Not as expected: {why}. Nothing was changed."))
}

/// The tags in a header. No tag of ours has a comma.
fn tags<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().map(HeaderValue::to_str);
    values
        // What is no text matches nothing, but it is there.
        .flat_map(|value| value.unwrap_or("?").split(','))
        .map(str::trim)
}
