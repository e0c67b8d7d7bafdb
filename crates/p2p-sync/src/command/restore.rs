//! `restore`: brings a lost version back, as a new write.

use std::ffi::{OsStr, OsString};

use p2p_sync_core::{Key, Timestamp};

use super::error::key;
use super::{Class, CommandError, Format, Reply};
use crate::node::Node;

/// Writes a lost version of a key again, so that it wins
///
/// Restores the most recently noticed one, or the one with that timestamp; `conflicts` shows them. If the lost version is a
/// deletion, the key is deleted.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Restore {
    #[command(flatten)]
    pub(super) format: Format,
    /// The key
    key: OsString,
    /// The timestamp of the lost version, as `conflicts` shows it
    timestamp: Option<OsString>,
}

impl Restore {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let (key, timestamp) = self.checked()?;
        let restored = node.restore(key.clone(), timestamp).await?;
        let restored = restored.ok_or_else(|| no_such(&key, timestamp))?;
        Ok(Reply::Restored((&restored.record).into()))
    }

    fn checked(&self) -> Result<(Key, Option<Timestamp>), CommandError> {
        Ok((key(&self.key)?, self.timestamp.as_deref().map(timestamp).transpose()?))
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
    let when = timestamp.map(|at| format!(" written at {at}")).unwrap_or_default();
    let text = format!("Not found: no lost version of {key}{when}. Nothing was changed. Try: conflicts");
    CommandError::new(Class::NotFound, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Command, parse_line};

    fn checked(line: &str) -> Result<(Key, Option<Timestamp>), CommandError> {
        match parse_line(line.as_bytes()).unwrap().unwrap() {
            Command::Restore(restore) => restore.checked(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_version_is_named_by_its_key_and_timestamp() {
        let (key, timestamp) = checked("restore 'a b' 2025-01-04T08:30:15.000000001Z").unwrap();
        assert_eq!(key.as_str(), "a b");
        assert_eq!(timestamp, Some("2025-01-04T08:30:15.000000001Z".parse().unwrap()));
        assert_eq!(checked("restore k").unwrap().1, None);
        for line in ["restore k yesterday", "restore k 5", "restore '' 2025-01-04T08:30:15Z"] {
            assert_eq!(checked(line).unwrap_err().class, Class::Invalid, "{line}");
        }
    }

    #[test]
    fn a_version_that_is_not_there_is_named_in_the_error() {
        let key = Key::new("k").unwrap();
        let error = no_such(&key, Some("2025-01-04T08:30:15Z".parse().unwrap()));
        assert_eq!(error.class, Class::NotFound);
        let text =
            "Not found: no lost version of k written at 2025-01-04T08:30:15Z. Nothing was changed. Try: conflicts";
        assert_eq!(error.to_string(), text);
    }
}
