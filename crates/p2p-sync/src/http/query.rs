//! Names, keys and parameters in the target of a request, decoded once and strictly: what could be read in two ways is refused.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use p2p_sync_core::Key;

use super::problem::Problem;
use crate::report::Class;

/// What the path of a key's value begins with; the key follows as one percent-encoded segment.
pub(super) const KEY_PATH: &str = "/v1/kv/";

/// The parameters behind the `?`.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads them.
    ///
    /// # Errors
    /// If a `%` does not begin two hexadecimal digits, or a text is not UTF-8.
    pub(super) fn read(query: &str) -> Result<Self, Problem> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let read = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |text: &str| decoded(&text.replace('+', "%20"));
            Some((text(name)?, text(value)?))
        });
        let read: Option<_> = read.collect();
        read.map(Self)
            .ok_or_else(|| Problem::usage("The parameters are not percent-encoded UTF-8."))
    }

    /// Takes the value of a parameter out.
    ///
    /// # Errors
    /// If it is there more than once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut taken = None;
        while let Some(at) = self.0.iter().position(|(found, _)| found == name) {
            if taken.replace(self.0.swap_remove(at).1).is_some() {
                return Err(Problem::usage(format!(
                    "The parameter `{name}` is there more than once."
                )));
            }
        }
        Ok(taken)
    }

    /// Takes a number out.
    ///
    /// # Errors
    /// If it is none, or out of these bounds.
    pub(super) fn take_number(
        &mut self,
        name: &str,
        default: usize,
        bounds: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Problem> {
        let Some(text) = self.take(name)? else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (bounds.start(), bounds.end());
            Problem::usage(format!("`{name}` is a number from {least} to {most}."))
        })
    }

    /// Takes a key out.
    ///
    /// # Errors
    /// If it is no valid one.
    pub(super) fn take_key(&mut self, name: &str) -> Result<Option<Key>, Problem> {
        self.take(name)?.map(key).transpose()
    }

    /// That this was all.
    ///
    /// # Errors
    /// If there are parameters that were not taken out.
    pub(super) fn end(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::usage(format!(
                "There is no parameter `{name}` here. Nothing was changed."
            ))),
        }
    }

    /// Whether there is a parameter with one of these names.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(name, _)| names.contains(&name.as_str()))
    }
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::read(parts.uri.query().unwrap_or_default())
    }
}

/// The key that a request is about: the last segment of its path, or, where the path has none, the parameter `key`. Such a request has
/// no other parameters.
pub(super) struct RequestKey(pub(super) Key);

impl<S: Sync> FromRequestParts<S> for RequestKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let mut query = Query::from_request_parts(parts, state).await?;
        let named = match parts.uri.path().strip_prefix(KEY_PATH) {
            Some(segment) => {
                let text = decoded(segment);
                key(text.ok_or_else(|| Problem::invalid("The key is not percent-encoded UTF-8. Nothing was changed."))?)?
            }
            None => query
                .take_key("key")?
                .ok_or_else(|| Problem::usage("The parameter `key` is missing."))?,
        };
        query.end()?;
        Ok(Self(named))
    }
}

/// A valid key.
///
/// # Errors
/// If it is none.
pub(super) fn key(text: String) -> Result<Key, Problem> {
    Key::new(text).map_err(|error| Problem::invalid(format!("Invalid key: {error}. Nothing was changed.")))
}

/// Refuses paths that servers and clients read in different ways: empty segments, and `.` and `..`, which clients fold away.
///
/// # Errors
/// With what to do instead.
pub(super) fn check_path(path: &str) -> Result<(), Problem> {
    let Some(inside) = path.strip_prefix('/') else {
        return Err(Problem::usage("The target of the request is not a path."));
    };
    if path == "/" {
        return Ok(());
    }
    for segment in inside.split('/') {
        match decoded(segment).as_deref() {
            Some("") => return Err(Problem::new(StatusCode::NOT_FOUND, Class::NotFound, NO_SEGMENT)),
            Some("." | "..") => return Err(Problem::usage(DOTS)),
            _ => {}
        }
        if segment.contains('\\') {
            return Err(Problem::usage("Write a backslash as %5C. Nothing was changed."));
        }
    }
    Ok(())
}

const NO_SEGMENT: &str = "There is nothing at a path with an empty segment. Write a slash that belongs to a key as %2F. \
    Nothing was changed.";
const DOTS: &str = "Many clients fold `.` and `..` in a path away, so these keys are not read from it. Use \
    `/v1/value?key=.` instead. Nothing was changed.";

/// What a percent-encoded text means; none if that cannot be told.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_once_and_strictly() {
        for (text, expected) in [
            ("a%2Fb", Some("a/b")),
            ("%252F", Some("%2F")),
            ("a+b", Some("a+b")),
            ("%F0%9f%8C%8d", Some("🌍")),
            ("%", None),
            ("%4", None),
            ("%zz", None),
            ("%+1", None),
            ("%ff", None),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn parameters_are_taken_once_and_none_is_left() {
        let mut query = Query::read("a=1&b=x+y%2B&&c").unwrap();
        assert_eq!(query.take("b").unwrap().as_deref(), Some("x y+"));
        assert_eq!(query.take("c").unwrap().as_deref(), Some(""));
        assert_eq!(query.take("d").unwrap(), None);
        assert_eq!(query.take_number("a", 5, 1..=9).unwrap(), 1);
        assert_eq!(query.take_number("a", 5, 1..=9).unwrap(), 5);
        assert!(query.end().is_ok());
        assert!(Query::read("a=1&a=1").unwrap().take("a").is_err());
        assert!(Query::read("a=0").unwrap().take_number("a", 5, 1..=9).is_err());
        assert!(Query::read("a=1").unwrap().end().is_err());
        assert!(Query::read("a=%ff").is_err());
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways_are_refused() {
        for path in [
            "/",
            "/v1/kv/a",
            "/v1/kv/..%2fa",
            "/v1/kv/%2F",
            "/v1/kv/...",
            "/v1/kv/.a",
        ] {
            assert!(check_path(path).is_ok(), "{path}");
        }
        for path in [
            "",
            "*",
            "//",
            "/v1//kv",
            "/v1/kv/",
            "/v1/kv//a",
            "/v1/kv/.",
            "/v1/kv/%2e",
            "/v1/kv/..",
            "/v1/kv/%2E.",
            "/v1/../x",
            "/v1/kv/a\\b",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
