//! Who may ask. Web pages in a browser on this machine can send requests here, other users can connect, and a name that an attacker
//! controls can lead here (DNS rebinding); none of them gets past this, and none learns more than that. In this order: the connection
//! comes from this machine; the request is for us; no other page sent it; it knows the token. Sizes and times are up to `body`.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN, UPGRADE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, Request, StatusCode};

use super::Api;
use super::problem::Problem;
use super::query::{Query, check_path};
use crate::report::Class;

/// What may be asked without the token.
pub(super) const OPEN_PATH: &str = "/healthz";
/// Parameters in which other servers take a token. Targets end up in logs and histories.
const TOKEN_PARAMETERS: &[&str] = &["access_token", "api_key", "auth", "authorization", "key_token", "token"];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a request is answered.
///
/// # Errors
/// With the refusal.
pub(super) fn check<B>(api: &Api, from: IpAddr, request: &Request<B>) -> Result<(), Problem> {
    if !from.to_canonical().is_loopback() {
        return Err(refused("Only programs on this machine may ask."));
    }
    let headers = request.headers();
    let host = check_host(api.address.port(), request)?;
    check_origin(host, headers)?;
    if headers.contains_key(UPGRADE) && is_websocket(headers) {
        return Err(Problem::usage(
            "WebSockets are not spoken here. To follow changes, use GET /v1/watch.",
        ));
    }
    if request.uri().path() == OPEN_PATH {
        return Ok(());
    }
    check_token(api, request)?;
    check_path(request.uri().path())
}

/// Returns the host and port that the request is for: one of the names of this machine, and our port.
fn check_host<B>(port: u16, request: &Request<B>) -> Result<&str, Problem> {
    let host = only(request.headers(), &HOST).ok_or_else(|| Problem::usage("Send exactly one Host header."))?;
    let absolute = request.uri().authority();
    if is_ours(host, port) && absolute.is_none_or(|authority| is_ours(authority.as_str(), port)) {
        Ok(host)
    } else {
        Err(refused(
            "The Host header is not that of this API. Use the address in node.json as it stands there.",
        ))
    }
}

fn is_ours(host: &str, port: u16) -> bool {
    let name = match host.strip_suffix(&format!(":{port}")) {
        Some(name) => name,
        // What clients leave out.
        None if port == 80 => host,
        None => return false,
    };
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

/// Programs send neither header; browsers do.
fn check_origin(host: &str, headers: &HeaderMap) -> Result<(), Problem> {
    let origin = only(headers, &ORIGIN);
    let is_own = origin.and_then(|origin| origin.strip_prefix("http://")) == Some(host);
    if headers.contains_key(ORIGIN) && !is_own {
        return Err(refused("Web pages may not ask."));
    }
    let site = only(headers, &SEC_FETCH_SITE);
    if headers.contains_key(SEC_FETCH_SITE) && !matches!(site, Some("same-origin" | "none")) {
        return Err(refused("Web pages may not ask."));
    }
    Ok(())
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let asked = headers.get_all(UPGRADE).iter();
    asked
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.to_ascii_lowercase().contains("websocket"))
}

fn check_token<B>(api: &Api, request: &Request<B>) -> Result<(), Problem> {
    let query = request.uri().query().unwrap_or_default();
    if Query::read(query).is_ok_and(|query| query.has(TOKEN_PARAMETERS)) {
        return Err(Problem::usage(
            "A token in the target ends up in logs. Send it as `Authorization: Bearer TOKEN`.",
        ));
    }
    let given = only(request.headers(), &AUTHORIZATION).and_then(|value| value.split_once(' '));
    let is_right = given.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && api.token.is(token.trim_matches(' ').as_bytes())
    });
    if is_right {
        return Ok(());
    }
    let detail = "The token is missing or wrong. It is in the file api.token in the data directory of the node; send it as \
        `Authorization: Bearer TOKEN`.";
    Err(Problem::new(StatusCode::UNAUTHORIZED, Class::NotPermitted, detail).with(WWW_AUTHENTICATE, "Bearer"))
}

/// The value of a header that is there exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, Class::NotPermitted, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_this_machine_with_our_port_are_ours() {
        for host in ["127.0.0.1:4080", "[::1]:4080", "localhost:4080", "LocalHost:4080"] {
            assert!(is_ours(host, 4080), "{host}");
        }
        for host in [
            "",
            "127.0.0.1",
            "localhost",
            "127.0.0.1:4081",
            "127.0.0.1:40800",
            "localhost.:4080",
            "evil.example:4080",
            "localhost.evil.example:4080",
            "evil@127.0.0.1:4080",
            "127.0.0.1:4080:4080",
            "127.1:4080",
            "2130706433:4080",
            "0.0.0.0:4080",
            "::1:4080",
        ] {
            assert!(!is_ours(host, 4080), "{host}");
        }
        assert!(is_ours("localhost", 80) && is_ours("[::1]:80", 80));
    }

    #[test]
    fn pages_of_others_may_not_ask() {
        let ours = "127.0.0.1:4080";
        let allowed = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, value.parse().unwrap());
            }
            check_origin(ours, &headers).is_ok()
        };
        assert!(allowed(&[]));
        assert!(allowed(&[
            ("origin", "http://127.0.0.1:4080"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(allowed(&[("sec-fetch-site", "none")]));
        for origin in [
            "null",
            "",
            "https://127.0.0.1:4080",
            "http://127.0.0.1:4081",
            "http://localhost:4080",
            "http://evil.example",
        ] {
            assert!(!allowed(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "", "Same-Origin"] {
            assert!(!allowed(&[("sec-fetch-site", site)]), "{site}");
        }
        let own = ("origin", "http://127.0.0.1:4080");
        assert!(!allowed(&[own, own]), "twice");
    }
}
