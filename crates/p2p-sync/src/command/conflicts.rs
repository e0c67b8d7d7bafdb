//! `conflicts`: shows the writes that concurrent ones overwrote, as far as they are kept.

use std::ffi::OsString;

use super::error::key;
use super::{CommandError, Format, Reply};
use crate::node::{Node, conflict};
use crate::report::Conflict;

/// Lost versions that are shown unless another number is asked for.
const SHOWN_DEFAULT: u16 = 100;

/// Shows writes that were overwritten by concurrent ones
///
/// The most recently noticed come first. `restore KEY TIMESTAMP` brings one back. A loss that cannot be proved is not listed,
/// and only the newest ones are kept.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Conflicts {
    #[command(flatten)]
    pub(super) format: Format,
    /// How many to show at most; 100 by default
    #[arg(long, value_name = "N", default_value_t = SHOWN_DEFAULT)]
    limit: u16,
    /// Only the lost writes of this key
    key: Option<OsString>,
}

/// Lost versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictList {
    /// The ones that are shown, the one noticed last first.
    pub newest: Vec<Conflict>,
    /// How many there are, when it is known: of all keys that is counted, of a single one it is not.
    pub total: Option<u64>,
    /// Whether there are more than are shown.
    pub more: bool,
}

impl Conflicts {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let key = self.key.as_deref().map(key).transpose()?;
        let total = match key {
            None => Some(node.status().await?.sync.conflicts),
            Some(_) => None,
        };
        // One more than is shown tells whether there are more.
        let found = node.conflicts(key, usize::from(self.limit) + 1).await?;
        let found = found.iter().map(|one| conflict(one, node.names())).collect();
        Ok(Reply::Conflicts(ConflictList::of(found, total, self.limit.into())))
    }
}

impl ConflictList {
    fn of(mut found: Vec<Conflict>, counted: Option<u64>, limit: usize) -> Self {
        let more = found.len() > limit;
        // The two were not read at the same moment.
        let total = if more {
            counted.map(|counted| counted.max(found.len() as u64))
        } else {
            Some(found.len() as u64)
        };
        found.truncate(limit);
        Self {
            newest: found,
            total,
            more,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Class, Command, parse_line};
    use crate::report::{Content, Version};

    fn conflict() -> Conflict {
        let version = Version {
            content: Content::Deleted { deleted: true },
            timestamp: String::new(),
            author: String::new(),
            author_name: None,
            author_display_name: None,
        };
        Conflict {
            key: "k".to_owned(),
            lost: version.clone(),
            won: version,
            noticed: String::new(),
        }
    }

    #[test]
    fn what_is_not_shown_is_counted_if_it_can_be() {
        let list = |found: usize, counted, limit| {
            let list = ConflictList::of(vec![conflict(); found], counted, limit);
            (list.newest.len(), list.total, list.more)
        };
        assert_eq!(list(0, Some(0), 100), (0, Some(0), false));
        assert_eq!(list(100, Some(100), 100), (100, Some(100), false));
        assert_eq!(list(101, Some(7_000), 100), (100, Some(7_000), true));
        assert_eq!(
            list(101, Some(90), 100),
            (100, Some(101), true),
            "more came in the meantime"
        );
        assert_eq!(list(2, None, 100), (2, Some(2), false));
        assert_eq!(list(101, None, 100), (100, None, true));
    }

    #[test]
    fn a_limit_can_be_given() {
        let limit = |line: &str| match parse_line(line.as_bytes()).unwrap().unwrap() {
            Command::Conflicts(conflicts) => (conflicts.limit, conflicts.key),
            other => panic!("{other:?}"),
        };
        assert_eq!(limit("conflicts"), (100, None));
        assert_eq!(limit("conflicts --limit=7 k"), (7, Some("k".into())));
        for line in [
            "conflicts --limit=x",
            "conflicts --limit",
            "conflicts --limit=70000",
            "conflicts a b",
        ] {
            assert_eq!(
                parse_line(line.as_bytes()).unwrap_err().error.class,
                Class::Usage,
                "{line}"
            );
        }
    }
}
