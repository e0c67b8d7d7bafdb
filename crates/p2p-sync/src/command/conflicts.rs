//! `conflicts`: shows the keys that were written on several nodes without one write having seen the other.

use std::ffi::OsString;

use p2p_sync_core::Versions;
use p2p_sync_core::record::InvalidKey;
use serde::{Deserialize, Serialize};

use super::{CommandError, Format, Reply, Run, serial};
use crate::node::{Node, conflict};
use crate::report::{self, Conflict, Schema};

/// Keys that are shown unless another number is asked for.
const SHOWN_DEFAULT: u16 = 100;

/// Values of so many bytes are shown at most, give or take those of the keys that are read at once: the reply is built in memory.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Keys that are read at once: each may have eight versions of 64 KiB.
const READ_AT_ONCE: usize = 10;

/// Shows keys with writes that did not see each other
///
/// Every node shows the same ones, with the value that the key has first. They end when the key is written, or with `resolve`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conflicts {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// How many keys to show at most; 100 by default
    #[arg(long, value_name = "N", default_value_t = SHOWN_DEFAULT)]
    #[serde(default = "shown_default")]
    limit: u16,
    /// Only keys that begin with this
    #[serde(default, with = "serial")]
    prefix: Option<OsString>,
}

fn shown_default() -> u16 {
    SHOWN_DEFAULT
}

impl Run for Conflicts {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Conflict>().line::<report::Conflicts>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let prefix = self.prefix.unwrap_or_default().into_string();
        let prefix = prefix.map_err(|_| InvalidKey::NotUtf8)?;
        let total = if prefix.is_empty() {
            Some(node.status().await?.sync.conflicts)
        } else {
            None
        };
        // One more than is shown tells whether there are more.
        let (found, is_cut) = find(node, &prefix, usize::from(self.limit) + 1, BYTES_MAX).await?;
        let found = found.iter().map(|one| conflict(one, node.names())).collect();
        Ok(Reply::Conflicts(ConflictList::of(
            found,
            total,
            self.limit.into(),
            is_cut,
        )))
    }
}

/// Keys in conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictList {
    /// Those that are shown, in key order.
    pub keys: Vec<Conflict>,
    /// How many there are, when it is known: of all keys that is counted, of those with a prefix it is not.
    pub total: Option<u64>,
    /// Whether there are more than are shown.
    pub more: bool,
}

/// Those with a prefix, up to the limits; and whether that in bytes of values has cut them off.
async fn find(
    node: &Node,
    prefix: &str,
    limit: usize,
    bytes_max: usize,
) -> Result<(Vec<Versions>, bool), CommandError> {
    let (mut found, mut after, mut bytes) = (Vec::new(), None, 0);
    let size = |record: &p2p_sync_core::Record| record.content.value().map_or(0, |value| value.as_bytes().len());
    loop {
        let wanted = READ_AT_ONCE.min(limit - found.len());
        let conflicts = node.conflicts(prefix, after, wanted).await?;
        bytes += (conflicts.keys.iter())
            .flat_map(|versions| versions.all())
            .map(size)
            .sum::<usize>();
        found.extend(conflicts.keys);
        match conflicts.next {
            Some(_) if found.len() < limit && bytes >= bytes_max => return Ok((found, true)),
            Some(next) if found.len() < limit => after = Some(next),
            _ => return Ok((found, false)),
        }
    }
}

impl ConflictList {
    fn of(mut found: Vec<Conflict>, counted: Option<u64>, limit: usize, is_cut: bool) -> Self {
        let more = is_cut || found.len() > limit;
        // The two were not read at the same moment.
        let total = if more {
            counted.map(|counted| counted.max(found.len() as u64))
        } else {
            Some(found.len() as u64)
        };
        found.truncate(limit);
        Self {
            keys: found,
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

    fn conflict() -> Conflict {
        Conflict {
            key: "k".to_owned(),
            versions: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_shown_is_counted_if_it_can_be() {
        let list = |found: usize, counted, limit| {
            let list = ConflictList::of(vec![conflict(); found], counted, limit, false);
            (list.keys.len(), list.total, list.more)
        };
        assert_eq!(list(0, Some(0), 100), (0, Some(0), false));
        assert_eq!(list(100, Some(100), 100), (100, Some(100), false));
        assert_eq!(list(101, Some(7_000), 100), (100, Some(7_000), true));
        assert_eq!(
            list(101, Some(90), 100),
            (100, Some(101), true),
            "more came in the meantime"
        );
        let cut = ConflictList::of(vec![conflict(); 3], Some(50), 100, true);
        assert_eq!((cut.keys.len(), cut.total, cut.more), (3, Some(50), true));
        assert_eq!(list(2, None, 100), (2, Some(2), false));
        assert_eq!(list(101, None, 100), (100, None, true));
    }

    #[test]
    fn a_limit_can_be_given() {
        let limit = |line: &str| match parse_line(line.as_bytes()).unwrap().unwrap() {
            Command::Conflicts(conflicts) => (conflicts.limit, conflicts.prefix),
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
