//! What exports and imports consist of: records as lines, pages of them, and what came of it.

use std::borrow::Cow;

use data_encoding::BASE64;
use p2p_sync_core as core;
use serde::{Deserialize, Serialize};

use super::line::append_line;

/// A record of an export or an import: exactly one of `value`, `value_b64` and `deleted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Dumped<'a> {
    /// The key.
    pub key: Cow<'a, str>,
    /// The value, if it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Cow<'a, str>>,
    /// The value in base64 (RFC 4648, standard alphabet, padded), if it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_b64: Option<Cow<'a, str>>,
    /// True if the key was deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When this was written, by its author's clock (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Cow<'a, str>>,
    /// The peer id of the node on which it was written. An import does not look at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<Cow<'a, str>>,
}

impl<'a> Dumped<'a> {
    /// A value, or that the key was deleted.
    pub fn new(key: &'a str, value: Option<&'a [u8]>) -> Self {
        let text = value.map(std::str::from_utf8);
        let bytes = value.filter(|_| matches!(text, Some(Err(_))));
        Self {
            key: Cow::Borrowed(key),
            value: text.and_then(Result::ok).map(Cow::Borrowed),
            value_b64: bytes.map(|bytes| Cow::Owned(BASE64.encode(bytes))),
            deleted: value.is_none(),
            timestamp: None,
            author: None,
        }
    }

    /// The same, with nothing borrowed.
    pub fn into_owned(self) -> Dumped<'static> {
        let owned = |text: Cow<'a, str>| Cow::Owned(text.into_owned());
        Dumped {
            key: owned(self.key),
            value: self.value.map(owned),
            value_b64: self.value_b64.map(owned),
            deleted: self.deleted,
            timestamp: self.timestamp.map(owned),
            author: self.author.map(owned),
        }
    }

    /// The content: the bytes of a value, or none for a deletion.
    ///
    /// # Errors
    /// With what is wrong, if there is not exactly one content, or it is no base64.
    pub fn content(&self) -> Result<Option<Vec<u8>>, &'static str> {
        match (&self.value, &self.value_b64, self.deleted) {
            (Some(text), None, false) => Ok(Some(text.as_bytes().to_vec())),
            (None, Some(encoded), false) => {
                let bytes = BASE64.decode(encoded.as_bytes());
                bytes.map(Some).map_err(|_| "`value_b64` is not base64")
            }
            (None, None, true) => Ok(None),
            (None, None, false) => Err("it has neither `value` nor `value_b64`"),
            _ => Err("it has more than one of `value`, `value_b64` and `deleted`"),
        }
    }
}

impl<'a> From<&'a core::Record> for Dumped<'a> {
    fn from(record: &'a core::Record) -> Self {
        let value = record.content.value().map(core::Value::as_bytes);
        Self {
            timestamp: Some(Cow::Owned(record.timestamp.to_string())),
            author: Some(Cow::Owned(record.author.to_string())),
            ..Self::new(record.key.as_str(), value)
        }
    }
}

/// Records as lines of JSON, one each.
pub fn dump_lines(records: &[core::Record]) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records {
        append_line(&mut lines, &Dumped::from(record));
    }
    lines
}

/// What an import does with a key that has a value already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// Leaves it as it is.
    #[default]
    Never,
    /// Replaces what was written before the timestamp of the record.
    Older,
    /// Replaces it.
    Always,
}

/// Records to be imported in one transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportPage<'a> {
    /// What is done with keys that have a value.
    #[serde(default)]
    pub overwrite: Overwrite,
    /// Whether it is only counted what would be imported.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The records, in their order; 1 to 1,000.
    #[schemars(length(min = 1, max = 1_000))]
    pub records: Vec<Dumped<'a>>,
}

/// What came of a page of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PageImported {
    /// How many of its records were written.
    pub imported: u64,
    /// How many were not, because of what the node holds of their keys.
    pub kept: u64,
}

/// What came of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Imported {
    /// How many records were written; with `--dry-run`, how many would be.
    pub imported: u64,
    /// How many were not, because of what the node holds of their keys.
    pub kept: u64,
    /// How many could not be imported, and were left out.
    pub skipped: u64,
    /// True if nothing was written because it was only tried; left out otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// A part of a file that could not be imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Skipped {
    /// In which line of the file it begins, counted from 1.
    pub skipped_line: u64,
    /// Why.
    pub why: String,
}

/// A copy of a store that was made and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BackedUp {
    /// The file.
    pub file: String,
    /// How many records it has, deletions and conflicts included.
    pub records: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// A data directory that was made of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Restored {
    /// How many records it has, deletions included.
    pub records: u64,
    /// How many of them are damaged.
    pub damaged: u64,
    /// Where it is.
    pub data_dir: String,
    /// The peer id of the node that is to run there.
    pub peer_id: String,
}

/// What came of an export into a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exported {
    /// How many records the file has.
    pub exported: u64,
    /// How many bytes.
    pub bytes: u64,
}
