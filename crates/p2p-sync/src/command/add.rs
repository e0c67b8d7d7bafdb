//! `add`: stores a value under a key.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use p2p_sync_core::{Key, Timestamp, Value};
use serde::{Deserialize, Serialize};

use super::error::key;
use super::{Class, CommandError, Format, Reply, Run, accepted_from, condition, dating, not_written, serial};
use crate::node::{Node, Terms};
use crate::report::{Added, Schema};

/// Stores a value under a key
///
/// At the prompt, the value is the rest of the line exactly as typed, including spaces and quotes. Quote a key that
/// contains spaces, or begins with a quote or a dash. For a value of several lines, type <<END in place of the value, then
/// the lines, then a line that says END. The reply comes once the value is safe on disk.
///
/// In the shell, the value is one word: quote one that contains spaces. The value - stands for everything on standard input. Behind
/// --, keys and values may begin with a dash.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(into = "Sent", try_from = "Sent")]
pub struct Add {
    #[command(flatten)]
    pub(super) format: Format,
    /// Stores an empty value
    #[arg(long, conflicts_with_all = ["value", "value_b64", "file"])]
    empty: bool,
    /// Stores what this file contains
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value", "value_b64"], hide_short_help = true)]
    file: Option<PathBuf>,
    /// Stores the bytes that this base64 text encodes; JSON replies show values that are not text this way
    #[arg(long, value_name = "BASE64", conflicts_with = "value", hide_short_help = true)]
    value_b64: Option<String>,
    /// Dates the write by this machine's clock, and drops versions of the key that are dated too far ahead
    #[arg(long, hide_short_help = true)]
    now: bool,
    /// Stores the value only if the key has none on this node
    #[arg(long, hide_short_help = true, conflicts_with = "if_timestamp")]
    if_absent: bool,
    /// Stores the value only if the one that the key has on this node was written at this time
    #[arg(long, value_name = "TIMESTAMP", hide_short_help = true)]
    if_timestamp: Option<Timestamp>,
    /// 1 to 256 bytes of text without control characters
    key: OsString,
    /// 0 to 65536 bytes of anything
    #[arg(
        required_unless_present_any = ["empty", "value_b64", "file"],
        allow_negative_numbers = true
    )]
    value: Vec<OsString>,
    #[arg(skip)]
    verbatim: Option<Vec<u8>>,
}

/// How an `add` is sent: however the value was given, it is text or base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    #[serde(default)]
    format: Format,
    #[serde(default)]
    now: bool,
    #[serde(default)]
    if_absent: bool,
    #[serde(default, with = "serial::displayed")]
    if_timestamp: Option<Timestamp>,
    #[serde(with = "serial")]
    key: OsString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
}

impl From<Add> for Sent {
    fn from(add: Add) -> Self {
        let given = add
            .value_b64
            .is_none()
            .then(|| add.verbatim.unwrap_or_else(|| joined(&add.value)));
        let (value, value_b64) = match given.map(String::from_utf8) {
            None => (None, add.value_b64),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(bytes)) => (None, Some(BASE64.encode(bytes.as_bytes()))),
        };
        Self {
            format: add.format,
            now: add.now,
            if_absent: add.if_absent,
            if_timestamp: add.if_timestamp,
            key: add.key,
            value,
            value_b64,
        }
    }
}

impl TryFrom<Sent> for Add {
    type Error = &'static str;

    fn try_from(sent: Sent) -> Result<Self, Self::Error> {
        if sent.value.is_some() == sent.value_b64.is_some() {
            return Err("expected either `value` or `value_b64`");
        }
        Ok(Self {
            format: sent.format,
            empty: false,
            file: None,
            value_b64: sent.value_b64,
            now: sent.now,
            if_absent: sent.if_absent,
            if_timestamp: sent.if_timestamp,
            key: sent.key,
            value: Vec::new(),
            verbatim: sent.value.map(String::into_bytes),
        })
    }
}

/// The bytes of words that a shell has split.
fn joined(words: &[OsString]) -> Vec<u8> {
    words.join(" ".as_ref()).into_encoded_bytes()
}

impl Run for Add {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Added>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let terms = Terms {
            dating: dating(self.now),
            condition: condition(self.if_absent, self.if_timestamp),
        };
        let (key, value) = self.checked()?;
        let record = node.put_on(key.clone(), value, terms).await;
        let record = record.map_err(|error| not_written(error, &key))?;
        Ok(Reply::Added(Added {
            accepted_from: accepted_from(node, &record),
            ..(&record).into()
        }))
    }
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueSource<'a> {
    /// In the command.
    Given,
    /// It is all that standard input gives.
    Input,
    /// In a file of the machine on which the command was given.
    File(&'a Path),
    /// The shell has cut it into so many words, which nobody can put together again.
    Words(usize),
}

impl Add {
    /// Where the value is. Whoever has read it puts it in with [`with_value`](Self::with_value).
    pub fn source(&self) -> ValueSource<'_> {
        match (&self.file, self.value.as_slice()) {
            (Some(file), _) if self.verbatim.is_none() => ValueSource::File(file),
            _ if self.verbatim.is_some() => ValueSource::Given,
            (_, [word]) if word == "-" => ValueSource::Input,
            (_, [] | [_]) => ValueSource::Given,
            (_, words) => ValueSource::Words(words.len()),
        }
    }

    /// The words that were given for the key and the value.
    pub fn words(&self) -> impl Iterator<Item = &OsStr> {
        [&self.key].into_iter().chain(&self.value).map(OsString::as_os_str)
    }

    /// The same command with a value that was not split into words.
    pub(super) fn with_verbatim(self, value: &[u8]) -> Self {
        Self {
            verbatim: Some(value.to_vec()),
            ..self
        }
    }

    /// The word that ends the value, if that is to be the lines which follow: the value is `<<` and that word.
    pub fn here_document(&self) -> Option<&str> {
        let word = std::str::from_utf8(self.verbatim.as_deref()?.strip_prefix(b"<<")?).ok()?;
        let mut characters = word.chars();
        let is_word = characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && characters.all(|other| other.is_ascii_alphanumeric() || other == '_');
        is_word.then_some(word)
    }

    /// Whether the reply is to be JSON.
    pub fn json(&self) -> bool {
        self.format.json
    }

    /// The same command with these bytes as its value.
    #[must_use]
    pub fn with_value(self, value: &[u8]) -> Self {
        self.with_verbatim(value)
    }

    /// The key and the value, both within their limits.
    pub(super) fn checked(self) -> Result<(Key, Value), CommandError> {
        let key = key(&self.key)?;
        if let Some(text) = &self.value_b64 {
            let bytes = BASE64.decode(text.as_bytes()).map_err(|error| {
                CommandError::new(Class::Invalid, format!("Not base64: {error}. Nothing was stored."))
            })?;
            return Ok((key, Value::new(bytes)?));
        }
        Ok((key, Value::new(self.verbatim.unwrap_or_else(|| joined(&self.value)))?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Class, Command, parse_line};

    fn checked(line: &[u8]) -> Result<(Key, Value), CommandError> {
        // Where the system's words are text, bytes that are none are refused before there is a command.
        match parse_line(line).map_err(|refused| refused.error)? {
            Some(Command::Add(add)) => add.checked(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_and_values_have_their_limits() {
        let key = "k".repeat(256);
        assert_eq!(checked(format!("add {key} v").as_bytes()).unwrap().0.as_str(), key);
        let (_, value) = checked(&[&b"add k "[..], &[b'v'; 65_536]].concat()).unwrap();
        assert_eq!(value.as_bytes().len(), 65_536);
        let too_large = checked(&[&b"add k "[..], &[b'v'; 65_537]].concat()).unwrap_err();
        let text = "Value too large: the value has 65537 bytes, at most 65536 are allowed. Nothing was stored.";
        assert_eq!(
            (too_large.class, too_large.to_string()),
            (Class::Invalid, text.to_owned())
        );
        for (line, why) in [
            (format!("add {key}k v").as_bytes(), "257 bytes"),
            (b"add '' v", "empty"),
            (b"add a\x07b v", "control character"),
            (b"add a\x00b v", "control character"),
            (b"add \xff v", "UTF-8"),
        ] {
            let error = checked(line).unwrap_err();
            assert_eq!(error.class, Class::Invalid);
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
