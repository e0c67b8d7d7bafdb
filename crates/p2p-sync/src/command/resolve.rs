//! `resolve`: chooses between the versions of a key in conflict, as a new write that has seen them all.

use std::ffi::{OsStr, OsString};

use p2p_sync_core::{Key, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::error::key;
use super::{Class, CommandError, Format, Progress, Reply, Run, accepted_from, dating, serial};
use crate::node::{Dating, Node, NodeError};
use crate::report::{Resolved, ResolvedKeys, Schema};

/// Keys whose conflicts are settled at once, to share transactions.
const KEYS_AT_ONCE: usize = 100;

/// Ends the conflict of a key, on every node
///
/// Keeps the value that the key has, or chooses the version with that timestamp; `conflicts` shows them. If that version is a
/// deletion, the key is deleted.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolve {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// Keeps the values of all keys in conflict
    #[arg(long, conflicts_with = "key")]
    #[serde(default)]
    all: bool,
    /// Dates the write by this machine's clock, and drops versions of the key that are dated too far ahead
    #[arg(long, hide_short_help = true)]
    #[serde(default)]
    now: bool,
    /// The key
    #[arg(required_unless_present = "all")]
    #[serde(default, with = "serial")]
    key: Option<OsString>,
    /// The timestamp of the version to choose, as `conflicts` shows it
    #[serde(default, with = "serial")]
    timestamp: Option<OsString>,
}

impl Run for Resolve {
    fn lines(schema: Schema) -> Schema {
        schema.line::<Resolved>().line::<ResolvedKeys>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        self.run_counting(node, &Progress::default()).await
    }
}

impl Resolve {
    /// Whether it is about all keys in conflict.
    pub(super) fn is_of_many(&self) -> bool {
        self.all
    }

    /// Runs it; `progress` counts the keys if it is about all.
    pub(super) async fn run_counting(self, node: &Node, progress: &Progress) -> Result<Reply, CommandError> {
        let dating = dating(self.now);
        let Some((key, timestamp)) = self.checked()? else {
            let resolved_keys = all(node, dating, progress).await?;
            return Ok(Reply::ResolvedAll(ResolvedKeys { resolved_keys }));
        };
        let resolved = node.resolve(key.clone(), timestamp, dating).await?;
        let resolved = resolved.ok_or_else(|| no_such(&key, timestamp))?;
        Ok(Reply::Resolved(Resolved {
            accepted_from: accepted_from(node, &resolved),
            ..(&resolved).into()
        }))
    }

    /// One key, with the timestamp if there is one; none: all keys.
    fn checked(&self) -> Result<Option<(Key, Option<Timestamp>)>, CommandError> {
        let Some(word) = &self.key else { return Ok(None) };
        Ok(Some((
            key(word)?,
            self.timestamp.as_deref().map(timestamp).transpose()?,
        )))
    }
}

/// Keeps the values of all keys that are in conflict now. Says how many there were.
async fn all(node: &Node, dating: Dating, progress: &Progress) -> Result<u64, NodeError> {
    let mut after = None;
    loop {
        let conflicts = node.conflicts("", after, KEYS_AT_ONCE).await?;
        let mut writes = JoinSet::new();
        for key in conflicts.keys.iter().filter_map(|versions| versions.winner()) {
            let (node, key) = (node.clone(), key.key.clone());
            writes.spawn(async move { node.resolve(key, None, dating).await });
        }
        for done in writes.join_all().await {
            progress.add(u64::from(done?.is_some()));
        }
        match conflicts.next {
            Some(next) => after = Some(next),
            None => return Ok(progress.keys()),
        }
    }
}

fn timestamp(word: &OsStr) -> Result<Timestamp, CommandError> {
    let text = word.to_string_lossy();
    text.parse().map_err(|_| {
        let text = format!("Invalid timestamp: {text}. Write it as `conflicts` shows it. Nothing was changed.");
        CommandError::new(Class::Invalid, text)
    })
}

fn no_such(key: &Key, timestamp: Option<Timestamp>) -> CommandError {
    let text = match timestamp {
        None => format!("Not found: {key} is not in conflict. Nothing was changed. Try: conflicts"),
        Some(at) => {
            format!(
                "Not found: no conflict of {key} with a version written at {at}. Nothing was changed. Try: conflicts"
            )
        }
    };
    CommandError::new(Class::NotFound, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Command, parse_line};

    fn checked(line: &str) -> Result<Option<(Key, Option<Timestamp>)>, CommandError> {
        match parse_line(line.as_bytes()).unwrap().unwrap() {
            Command::Resolve(resolve) => resolve.checked(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_is_named_by_its_key_and_timestamp() {
        for name in ["resolve", "restore"] {
            let line = format!("{name} 'a b' 2025-01-04T08:30:15.000000001Z");
            let (key, timestamp) = checked(&line).unwrap().unwrap();
            assert_eq!(key.as_str(), "a b");
            assert_eq!(timestamp.unwrap().to_string(), "2025-01-04T08:30:15.000000001Z");
        }
        assert_eq!(checked("resolve k").unwrap().unwrap().1, None);
        assert_eq!(checked("resolve --all").unwrap(), None);
        assert_eq!(checked("resolve k yesterday").unwrap_err().class, Class::Invalid);
        for line in ["resolve", "resolve --all k", "resolve k 2025-01-04T08:30:15Z more"] {
            let error = parse_line(line.as_bytes()).unwrap_err().error;
            assert_eq!(error.class, Class::Usage, "{line}");
        }
    }
}
