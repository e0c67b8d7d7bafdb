//! What keys and values look like in files of this and of other programs: formats that are read, and some that are also written. It
//! knows neither files nor nodes. Each reader hands on one record at a time, with the line in which it begins, so that a file of any size
//! takes no more memory than its largest record.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::io::{self, BufRead};
use std::ops::ControlFlow;

use p2p_sync_core::{Key, Timestamp, Value};

mod consul;
mod csv;
mod documents;
mod env;
mod etcd;
mod json;
mod ndjson;
mod redis;
mod resp;
mod scan;
mod write;

pub(crate) use write::{NotExported, Writer};

/// Keys that are remembered to notice one that comes twice: 24 bytes each. Behind so many, the last record of a key counts, as if it
/// had been written last.
const REMEMBERED_KEYS_MAX: usize = 8_000_000;

/// How keys and values are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object a line; loses nothing.
    Ndjson,
    /// One JSON object with the keys as its names.
    Json,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// Variables, as dotenv, systemd and shells read them.
    Env,
    /// What `redis-cli --csv` and `redis-cli --no-raw` print: keys and values in turn.
    Redis,
    /// The protocol of Redis: commands as `redis-cli --pipe` takes them, or a reply of keys and values in turn.
    Resp,
    /// What `etcdctl get -w json` prints.
    Etcd,
    /// What `consul kv export` prints.
    Consul,
}

impl Format {
    /// All of them, those that are also written first.
    const ALL: [(&'static str, Self); 8] = [
        ("ndjson", Self::Ndjson),
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("env", Self::Env),
        ("redis", Self::Redis),
        ("resp", Self::Resp),
        ("etcd", Self::Etcd),
        ("consul", Self::Consul),
    ];
    /// How many of these are also written.
    const WRITTEN: usize = 4;

    /// The names of those that can be read.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        Self::ALL.iter().map(|(name, _)| *name)
    }

    /// The names of those that can be written.
    pub(crate) fn names_of_written() -> impl Iterator<Item = &'static str> {
        Self::names().take(Self::WRITTEN)
    }

    /// The one with this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, format)| *format)
    }

    /// The one that a file with this extension has, unless it can be several.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "env" => Some(Self::Env),
            "resp" | "aof" => Some(Self::Resp),
            _ => None,
        }
    }

    /// Whether it says when a record was written.
    pub(crate) fn has_timestamps(self) -> bool {
        self == Self::Ndjson
    }
}

/// A record of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// In which line it begins, counted from 1.
    pub(crate) line: u64,
    pub(crate) key: Key,
    /// None: the key was deleted.
    pub(crate) value: Option<Value>,
    pub(crate) timestamp: Option<Timestamp>,
}

/// A part of a file that is no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bad {
    /// In which line it begins, counted from 1.
    pub(crate) line: u64,
    /// What is wrong with it.
    pub(crate) why: String,
    /// What follows cannot be read.
    pub(crate) is_end: bool,
}

/// What a reader finds.
#[derive(Debug, Default)]
struct Found {
    line: u64,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: Option<String>,
}

type Finding = Result<Found, Bad>;

/// Whoever is told of what a reader finds, and may stop it.
type Each<'a> = dyn FnMut(Finding) -> ControlFlow<()> + 'a;

impl Bad {
    /// One behind which the reader goes on.
    fn one(line: u64, why: impl Into<String>) -> Self {
        Self {
            line,
            why: why.into(),
            is_end: false,
        }
    }

    /// One behind which nothing can be read.
    fn end(line: u64, why: impl Into<String>) -> Self {
        Self {
            is_end: true,
            ..Self::one(line, why)
        }
    }
}

/// What the keys of a file are called in the store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renaming {
    /// What they all begin with, and is left out.
    pub(crate) strip: Option<String>,
    /// What is put in front of them then.
    pub(crate) prefix: Option<String>,
}

impl Renaming {
    fn apply(&self, key: Vec<u8>) -> Result<String, String> {
        let key = String::from_utf8(key).map_err(|_| "invalid key: the key is not UTF-8".to_owned())?;
        let rest = match &self.strip {
            None => key.as_str(),
            Some(strip) => key
                .strip_prefix(strip.as_str())
                .ok_or_else(|| format!("the key {key} does not begin with {strip}"))?,
        };
        Ok(match &self.prefix {
            None if self.strip.is_none() => key,
            prefix => format!("{}{rest}", prefix.as_deref().unwrap_or_default()),
        })
    }
}

/// Reads records and hands them on, one after the other, until nothing follows or `each` has enough.
///
/// # Errors
/// When the input cannot be read.
pub(crate) fn read(
    format: Format,
    input: &mut dyn BufRead,
    renaming: &Renaming,
    each: &mut dyn FnMut(Result<Item, Bad>) -> ControlFlow<()>,
) -> io::Result<()> {
    skip_mark(input)?;
    let mut lines = Lines::default();
    let each: &mut Each<'_> = &mut |found: Finding| each(found.and_then(|found| lines.check(found, renaming)));
    match format {
        Format::Ndjson => ndjson::read(input, each),
        Format::Json => json::read(input, each),
        Format::Csv => csv::read(input, each),
        Format::Env => env::read(input, each),
        Format::Redis => redis::read(input, each),
        Format::Resp => resp::read(input, each),
        Format::Etcd => etcd::read(input, each),
        Format::Consul => consul::read(input, each),
    }
}

/// Passes over a byte order mark.
fn skip_mark(input: &mut dyn BufRead) -> io::Result<()> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    // A pipe may give less at first, but programs that write the mark write more than that at once.
    if input.fill_buf()?.starts_with(MARK) {
        input.consume(MARK.len());
    }
    Ok(())
}

/// In which line each key came.
#[derive(Default)]
struct Lines {
    of_keys: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Lines {
    fn check(&mut self, found: Found, renaming: &Renaming) -> Result<Item, Bad> {
        let line = found.line;
        let bad = |why: String| Bad::one(line, why);
        let key = Key::new(renaming.apply(found.key).map_err(bad)?);
        let key = key.map_err(|error| bad(format!("invalid key: {error}")))?;
        let value = found.value.map(Value::new).transpose();
        let value = value.map_err(|error| bad(format!("the value of {key} is too large: {error}")))?;
        let timestamp = found.timestamp.map(|text| {
            text.parse()
                .map_err(|_| bad(format!("{key} has no valid timestamp: {text}")))
        });
        let timestamp = timestamp.transpose()?;
        let hash = self.hasher.hash_one(&key);
        let is_full = self.of_keys.len() >= REMEMBERED_KEYS_MAX;
        match self.of_keys.entry(hash) {
            Entry::Occupied(first) => {
                let why = format!("{key} is there twice: line {} has it, too", first.get());
                return Err(bad(why));
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(place) => drop(place.insert(line)),
        }
        Ok(Item {
            line,
            key,
            value,
            timestamp,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
