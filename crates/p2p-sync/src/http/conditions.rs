//! Entity tags, and the conditions of requests on them (RFC 9110, section 13).

use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
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

/// The conditions of a request that only reads, whatever it asks for.
#[derive(Debug, Default)]
pub(super) struct OfReading {
    wanted: Option<Vec<String>>,
    known: Option<Vec<String>>,
}

/// What to answer to a request that only reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was asked for.
    Whole,
    /// 304: the client has it.
    Known,
    /// 412: it is not what the client wants.
    Other,
}

impl OfReading {
    /// Those of a request; none, if it has none or may change something.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Self::default();
        }
        let all = |name| {
            let is_there = headers.contains_key(name);
            is_there.then(|| tags(headers, name).map(str::to_owned).collect())
        };
        Self {
            wanted: all(&IF_MATCH),
            known: all(&IF_NONE_MATCH),
        }
    }

    /// Whether they hold for an answer: one that failed stays as it is. What has no tag matches `*` alone.
    pub(super) fn verdict(&self, status: StatusCode, answered: &HeaderMap) -> Verdict {
        if !status.is_success() {
            return Verdict::Whole;
        }
        let tag = answered.get(ETAG).and_then(|tag| tag.to_str().ok()).unwrap_or_default();
        let is_among = |tags: &Option<Vec<String>>, is_it: &dyn Fn(&str) -> bool| {
            tags.as_ref()
                .map(|tags| tags.iter().any(|one| one == "*" || is_it(one)))
        };
        // A weak tag names no bytes: it never matches where exactly these are wanted, and does where any equal ones will do.
        if is_among(&self.wanted, &|wanted| wanted == tag) == Some(false) {
            Verdict::Other
        } else if is_among(&self.known, &|known| known.strip_prefix("W/").unwrap_or(known) == tag) == Some(true) {
            Verdict::Known
        } else {
            Verdict::Whole
        }
    }
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
