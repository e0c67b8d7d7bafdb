//! What known nodes are called, kept across restarts, so that the author of a record has a name while it is away. Limited in
//! number; rows that hold no name are skipped. The node decides whose names are worth it.

use std::collections::BTreeMap;

use p2p_sync_core::{NodeId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::error::StoreError;
use super::peers;
use super::sqlite::SqliteStore;
use crate::names::{KNOWN_NAMES_MAX, Name};

const REMEMBER: &str = "INSERT INTO peer_name (peer, name, last_heard) VALUES (?1, ?2, ?3) \
    ON CONFLICT (peer) DO UPDATE SET name = excluded.name, last_heard = excluded.last_heard";
const FORGET: &str = "DELETE FROM peer_name WHERE peer = ?1";
const FORGET_OLDEST: &str = "DELETE FROM peer_name WHERE peer NOT IN \
    (SELECT peer FROM peer_name ORDER BY last_heard DESC, peer LIMIT ?1)";
const RECALL: &str = "SELECT peer, name, last_heard FROM peer_name ORDER BY last_heard DESC, peer LIMIT ?1";

/// Names by node; none where it has none any more.
pub type NamesHeard = BTreeMap<NodeId, Option<Name>>;

/// What a node was called when it was last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedName {
    /// Who.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// When that was written down, by the clock of this node.
    pub last_heard: Timestamp,
}

impl SqliteStore {
    /// At most [`KNOWN_NAMES_MAX`] names, the one heard longest ago first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn remembered_names(&mut self) -> Result<Vec<RememberedName>, StoreError> {
        let result = self
            .connection()
            .and_then(|connection| recall(connection).map_err(|cause| StoreError::sqlite(self.file(), cause)));
        self.noted(result)
    }
}

/// Takes note of names, and forgets those heard longest ago beyond [`KNOWN_NAMES_MAX`].
pub(super) fn remember(connection: &Connection, heard: &NamesHeard, at: Timestamp) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(REMEMBER)?;
    let mut forget = connection.prepare_cached(FORGET)?;
    for (peer, name) in heard {
        let peer = peer.to_string();
        match name {
            Some(name) => insert.execute(params![peer, name.as_str(), at.as_nanos()])?,
            None => forget.execute([peer])?,
        };
    }
    connection.prepare_cached(FORGET_OLDEST)?.execute([bound()])?;
    Ok(())
}

pub(super) fn recall(connection: &Connection) -> rusqlite::Result<Vec<RememberedName>> {
    let mut statement = connection.prepare_cached(RECALL)?;
    let mut rows = statement.query([bound()])?;
    let mut names = Vec::new();
    while let Some(row) = rows.next()? {
        names.extend(name(row)?);
    }
    names.reverse();
    Ok(names)
}

fn name(row: &Row<'_>) -> rusqlite::Result<Option<RememberedName>> {
    Ok(peers::noted(row)?.and_then(|(id, name, last_heard)| {
        let name = Name::new(name)?;
        Some(RememberedName { id, name, last_heard })
    }))
}

fn bound() -> i64 {
    i64::try_from(KNOWN_NAMES_MAX).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, at, id};
    use p2p_sync_core::store::Store;

    fn heard(seed: u16, name: Option<&str>) -> NamesHeard {
        NamesHeard::from([(id(seed), name.and_then(Name::new))])
    }

    fn remember(store: &mut SqliteStore, heard: &NamesHeard, nanos: i64) {
        let mut transaction = store.begin().unwrap();
        transaction.remember_names(heard, at(nanos)).unwrap();
        transaction.commit().unwrap();
    }

    fn names(store: &mut SqliteStore) -> Vec<String> {
        let names = store.remembered_names().unwrap();
        names.iter().map(|name| name.name.as_str().to_owned()).collect()
    }

    #[test]
    fn names_survive_a_restart_and_the_last_one_counts() {
        let place = Place::new();
        let mut store = place.open();
        remember(&mut store, &heard(1, Some("kitchen")), 1);
        remember(&mut store, &heard(2, Some("Küche\u{1b}\u{202e}")), 2);
        store.close().unwrap();
        let mut store = place.open();
        let known = RememberedName {
            id: id(1),
            name: Name::new("kitchen").unwrap(),
            last_heard: at(1),
        };
        assert_eq!(store.remembered_names().unwrap()[0], known);
        remember(&mut store, &heard(1, Some("attic")), 3);
        assert_eq!(names(&mut store), ["Küche\u{1b}\u{202e}", "attic"]);
        remember(&mut store, &heard(1, None), 4);
        assert_eq!(names(&mut store), ["Küche\u{1b}\u{202e}"]);
    }

    #[test]
    fn those_heard_longest_ago_make_way() {
        let place = Place::new();
        let mut store = place.open();
        let max = u16::try_from(KNOWN_NAMES_MAX).unwrap();
        let all = |seeds: std::ops::Range<u16>| -> NamesHeard {
            seeds.map(|seed| (id(seed), Name::new(&format!("n{seed}")))).collect()
        };
        remember(&mut store, &heard(0, Some("n0")), 1);
        remember(&mut store, &all(1..max), 2);
        assert_eq!(names(&mut store).len(), KNOWN_NAMES_MAX);
        remember(&mut store, &all(max..max + 1), 3);
        let kept = names(&mut store);
        assert_eq!(kept.len(), KNOWN_NAMES_MAX);
        assert!(!kept.contains(&"n0".to_owned()) && kept.last() == Some(&format!("n{max}")));
    }

    #[test]
    fn what_is_no_name_is_skipped() {
        let place = Place::new();
        let mut store = place.open();
        remember(&mut store, &heard(1, Some("kitchen")), 1);
        place.shell(&format!(
            "INSERT INTO peer_name VALUES ('0OIl', 'a', 1), ('{}', '{}', 1), ('{}', x'00', 1), ('{}', 'b', -1), \
             ('{}', '', 1)",
            id(2),
            "x".repeat(65),
            id(3),
            id(4),
            id(5)
        ));
        assert_eq!(names(&mut store), ["kitchen"]);
    }
}
