//! Versions that lost to one whose author had not seen them, in the table `kv_conflict`. They are versions like any other, with
//! numbers in the same change sequence. Which versions of a key are held is decided by the core.
//!
//! Rows that another program added are no versions before they have been completed, and are passed over until then.

use std::path::Path;

use p2p_sync_core::item::Item;
use p2p_sync_core::versions::Versions;
use p2p_sync_core::{Key, Record};
use rusqlite::{Connection, params};

use super::authors::Authors;
use super::columns::columns;
use super::error::StoreError;
use super::reader::{self, Reader, Readers};
use super::rows;
use super::sqlite::SqliteStore;
use super::table::RowId;
use super::transaction::Transaction;

const OF_KEY: &str = "SELECT value, timestamp, author, deleted_at, seen, digest, sequence, signature \
    FROM kv_conflict INDEXED BY kv_conflict_key WHERE key = ?1 AND digest IS NOT NULL";
const ADD: &str = "INSERT INTO kv_conflict (sequence, key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const REMOVE: &str = "DELETE FROM kv_conflict WHERE key_hash = ?1 AND timestamp = ?2 AND digest = ?3";
const ANY: &str = "SELECT EXISTS (SELECT 1 FROM kv_conflict)";
/// A conflict that says the same as the value is nothing to decide.
const KEYS: &str = "SELECT COUNT(DISTINCT lost.key) FROM kv_conflict AS lost JOIN kv_store AS held ON held.key = lost.key \
    WHERE lost.digest IS NOT NULL AND (lost.value IS NOT held.value OR (lost.deleted_at IS NULL) <> (held.deleted_at IS NULL))";

macro_rules! keys {
    ($condition:literal) => {
        concat!(
            "SELECT DISTINCT key FROM kv_conflict INDEXED BY kv_conflict_key WHERE ",
            $condition,
            " ORDER BY key LIMIT ?2"
        )
    };
}
const KEYS_TO_END: &str = keys!("key >= ?1");
const KEYS_BELOW: &str = keys!("key >= ?1 AND key < ?3");

/// Keys looked at in one read of conflicts, for each that is wanted: most of them may have nothing to decide.
const LOOKED_AT_PER_KEY: usize = 4;

/// Keys brought into order in one transaction.
const SETTLED_PER_TRANSACTION: usize = 500;

/// Keys whose order is looked at between two questions for keys.
const KEYS_AT_ONCE: usize = 1_000;

/// Some keys in conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflicts {
    /// All versions of each key, in the order of the keys. Each has a conflict that [is shown](Versions::shown).
    pub keys: Vec<Versions>,
    /// The place behind them, at which the next read begins; none: there are no more.
    pub next: Option<Key>,
}

/// The conflicts of a key, in any order.
pub(super) fn of_key(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    key: &Key,
) -> Result<Vec<Record>, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let mut statement = connection.prepare_cached(OF_KEY).map_err(failed)?;
    let mut rows = statement.query([key.as_str()]).map_err(failed)?;
    let mut conflicts = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        let digest = row.get_ref(5).map_err(failed)?;
        match rows::proved(rows::record(row, authors, key.clone()), digest) {
            Ok(record) => conflicts.push(record),
            Err(why) => {
                let row = RowId::conflict(row.get(6).map_err(failed)?);
                return Err(rows::damaged(file, key.as_str().as_bytes(), (row, digest), why));
            }
        }
    }
    Ok(conflicts)
}

/// Adds a conflict under the next number. Gives its item.
pub(super) fn add(
    connection: &Connection,
    authors: &mut Authors,
    number: i64,
    record: &Record,
) -> rusqlite::Result<Item> {
    rows::write(connection, ADD, authors, number, record)
}

/// Takes a conflict out. Gives its item, and how many rows had it: another program may have made copies.
pub(super) fn remove(connection: &Connection, record: &Record) -> rusqlite::Result<(Item, usize)> {
    let columns = columns(record);
    let parameters = params![columns.key_hash(), record.timestamp.as_nanos(), columns.digest];
    let removed = connection.prepare_cached(REMOVE)?.execute(parameters)?;
    Ok((columns.item(record.timestamp), removed))
}

impl Transaction<'_> {
    /// Holds these conflicts of a key in place of those before.
    pub(super) fn replace_conflicts(&mut self, conflicts: &[Record], after: &[Record]) -> Result<(), StoreError> {
        let copied = copied(conflicts);
        for old in conflicts {
            if copied.contains(&old) || !after.contains(old) {
                let (item, rows) = self.write(|connection| remove(connection, old))?;
                (0..rows).for_each(|_| self.tracker.note_removed(item));
            }
        }
        for new in after {
            if copied.contains(&new) || !conflicts.contains(new) {
                self.add_conflict(new)?;
            }
        }
        Ok(())
    }
}

/// Conflicts of which another program has made copies.
fn copied(conflicts: &[Record]) -> Vec<&Record> {
    let mut sorted: Vec<&Record> = conflicts.iter().collect();
    sorted.sort_by(|one, other| one.precedence(other));
    sorted
        .windows(2)
        .filter_map(|pair| match pair {
            [one, next] if one == next => Some(*one),
            _ => None,
        })
        .collect()
}

/// Keys, up to so many, of which the rows are not what is to be held: another program took the value away, put another one in its
/// place, or copied rows. Looks at every conflict, and at the values of their keys; those that are damaged are passed over.
pub(super) fn unsettled(
    connection: &Connection,
    authors: &mut Authors,
    file: &Path,
    most: usize,
) -> Result<Vec<Key>, StoreError> {
    let (mut unsettled, mut after) = (Vec::new(), None);
    loop {
        let keys = keys(connection, "", after.as_ref(), KEYS_AT_ONCE);
        let keys = keys.map_err(|cause| StoreError::sqlite(file, cause))?;
        let Some(last) = keys.last().cloned() else {
            return Ok(unsettled);
        };
        for key in keys {
            match is_settled(connection, authors, file, &key) {
                Ok(false) if unsettled.len() >= most => return Ok(unsettled),
                Ok(false) => unsettled.push(key),
                Ok(true) => {}
                Err(error) if error.is_one_record() => {}
                Err(error) => return Err(error),
            }
        }
        after = Some(last);
    }
}

fn is_settled(connection: &Connection, authors: &mut Authors, file: &Path, key: &Key) -> Result<bool, StoreError> {
    let winner = rows::get(connection, authors, file, key)?;
    let conflicts = of_key(connection, authors, file, key)?;
    Ok(match winner {
        None => conflicts.is_empty(),
        Some(winner) => {
            let held = Versions::from_stored(conflicts, winner);
            held == Versions::of(held.all().iter().cloned())
        }
    })
}

/// Whether the table has any row.
pub(super) fn are_there(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(ANY)?.query_row([], |row| row.get(0))
}

impl SqliteStore {
    /// Brings keys into order that are [not](unsettled), some in each transaction.
    pub(super) fn settle_keys(&mut self, keys: &[Key]) -> Result<(), StoreError> {
        for some in keys.chunks(SETTLED_PER_TRANSACTION) {
            let mut transaction = Transaction::begin(self)?;
            for key in some {
                match transaction.settle(key) {
                    // A row of it is damaged, and is set aside in its turn.
                    Err(error) if error.is_one_record() => {}
                    settled => settled?,
                }
            }
            transaction.commit()?;
        }
        Ok(())
    }
}

/// Prepares every statement, so that a table that was changed by hand is noticed when the file is opened.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    [OF_KEY, ADD, REMOVE, ANY, KEYS, KEYS_TO_END, KEYS_BELOW]
        .iter()
        .try_for_each(|sql| connection.prepare_cached(sql).map(drop))
}

impl Readers {
    /// All versions of a key that are held.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of the key is damaged.
    pub fn versions(&self, key: &Key) -> Result<Versions, StoreError> {
        self.read(|reader, file| versions(reader, file, key))
    }

    /// Up to `limit` keys in conflict, in the order of the keys: those that start with `prefix` and come after `after`. There may
    /// be fewer, or none, before the end.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of a key in conflict is damaged.
    pub fn conflicts(&self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Conflicts, StoreError> {
        self.read(|reader, file| {
            let most = limit.saturating_mul(LOOKED_AT_PER_KEY);
            let found = keys(&reader.connection, prefix, after, most);
            let found = found.map_err(|cause| StoreError::sqlite(file, cause))?;
            let is_all = found.len() < most;
            let mut conflicts = Conflicts {
                keys: Vec::new(),
                next: None,
            };
            for key in &found {
                if conflicts.keys.len() >= limit {
                    return Ok(conflicts);
                }
                let versions = versions(reader, file, key)?;
                if versions.shown().next().is_some() {
                    conflicts.keys.push(versions);
                }
                conflicts.next = Some(key.clone());
            }
            if is_all {
                conflicts.next = None;
            }
            Ok(conflicts)
        })
    }

    /// How many keys are in conflict. Looks at every conflict, and at the value of its key.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn conflict_count(&self) -> Result<u64, StoreError> {
        self.ask(|connection| {
            let count: i64 = connection.prepare_cached(KEYS)?.query_row([], |row| row.get(0))?;
            Ok(count.unsigned_abs())
        })
    }
}

fn versions(reader: &mut Reader, file: &Path, key: &Key) -> Result<Versions, StoreError> {
    let Reader {
        connection, authors, ..
    } = reader;
    // Both tables are read at one moment: a version may go from one to the other.
    let moment = connection.unchecked_transaction();
    let _moment = moment.map_err(|cause| StoreError::sqlite(file, cause))?;
    let winner = reader::get(connection, authors, file, key)?;
    let conflicts = of_key(connection, authors, file, key)?;
    Ok(stored(winner, conflicts))
}

/// The versions that these rows of a key hold.
pub(super) fn stored(winner: Option<Record>, conflicts: Vec<Record>) -> Versions {
    match winner {
        Some(winner) => Versions::from_stored(conflicts, winner),
        // Somebody took the value away.
        None => Versions::of(conflicts),
    }
}

/// Keys with rows in the table.
fn keys(connection: &Connection, prefix: &str, after: Option<&Key>, limit: usize) -> rusqlite::Result<Vec<Key>> {
    let (from, below) = (rows::lower_bound(prefix, after), rows::upper_bound(prefix));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(below.as_ref().map_or(KEYS_TO_END, |_| KEYS_BELOW))?;
    let mut rows = match &below {
        None => statement.query(params![from, limit]),
        Some(below) => statement.query(params![from, limit, below]),
    }?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let (_, key) = rows::key_of(row, 0)?;
        keys.extend(key.ok());
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::Seen;
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;
    use p2p_sync_core::sync::PageLimit;

    use super::*;
    use crate::store::testing::{Place, deleted, id, key, put};
    use crate::store::{Depth, Table};

    /// A version whose author had seen nothing.
    fn apart(author: u16, record: Record) -> Record {
        Record {
            author: id(author),
            seen: Seen::NOTHING,
            ..record
        }
    }

    /// Merges versions one after the other, each in a transaction of its own.
    fn merge(sqlite: &mut SqliteStore, versions: &[Record]) {
        for version in versions {
            let mut transaction = sqlite.begin().unwrap();
            let before = transaction.versions(&version.key).unwrap();
            let mut after = before.clone();
            after.merge(version);
            transaction.replace(&before, &after).unwrap();
            transaction.commit().unwrap();
        }
    }

    /// The summary is that of all versions, and a check of every row finds nothing.
    fn check(sqlite: &mut SqliteStore) {
        let held = sqlite.items().unwrap();
        assert_eq!(sqlite.summary(), Some(&Summary::of(held)));
        let scanned = sqlite.start_scan(Depth::Records).unwrap().run().unwrap();
        let verified = sqlite.finish_scan(scanned).unwrap();
        assert_eq!(
            (verified.indexed, verified.removed.len(), verified.structure),
            (0, 0, None)
        );
    }

    fn shown(readers: &Readers, prefix: &str, limit: usize) -> Vec<String> {
        let (mut names, mut after) = (Vec::new(), None);
        loop {
            let conflicts = readers.conflicts(prefix, after.as_ref(), limit).unwrap();
            assert!(conflicts.keys.len() <= limit);
            let keys = conflicts.keys.iter().filter_map(Versions::winner);
            names.extend(keys.map(|winner| winner.key.as_str().to_owned()));
            match conflicts.next {
                Some(next) => after = Some(next),
                None => return names,
            }
        }
    }

    #[test]
    fn versions_apart_are_held_and_told_and_end_with_a_write_that_has_seen_them() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 1).unwrap();
        let start = readers.cursor().unwrap().unwrap();
        let [first, second] = [apart(1, put("a", b"1", 5)), apart(2, put("a", b"2", 6))];
        merge(&mut sqlite, &[first.clone(), second.clone()]);
        assert_eq!(
            sqlite.get(&key("a")).unwrap(),
            Some(second.clone()),
            "the highest is the value"
        );
        assert_eq!(
            readers.versions(&key("a")).unwrap().all(),
            [first.clone(), second.clone()]
        );
        assert_eq!(
            sqlite
                .by_key_hash(p2p_sync_core::item::KeyHash::of(&key("a")), 9)
                .unwrap()
                .len(),
            2
        );
        let told = |from| {
            let changes = readers.changes_since(from, PageLimit::FULL).unwrap().unwrap();
            let told = changes
                .changes
                .into_iter()
                .map(|changed| (changed.record, changed.is_conflict));
            (told.collect::<Vec<_>>(), changes.cursor)
        };
        let (all, middle) = told(start);
        assert_eq!(
            all,
            [(second.clone(), false), (first.clone(), true)],
            "it is told that it lost"
        );
        check(&mut sqlite);

        let both = Record {
            seen: Seen::by(&id(3), &[first, second]),
            ..apart(3, put("a", b"3", 7))
        };
        merge(&mut sqlite, std::slice::from_ref(&both));
        assert_eq!(told(middle).0, [(both, false)]);
        assert_eq!(place.rows("SELECT key FROM kv_conflict"), Vec::<String>::new());
        check(&mut sqlite);
        sqlite.close().unwrap();
        assert!(place.open().summary().is_some());
    }

    #[test]
    fn keys_in_conflict_are_listed_in_order_and_counted_unless_there_is_nothing_to_choose() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 1).unwrap();
        for (name, other) in [
            ("b/1", &b"2"[..]),
            ("a", b"2"),
            ("b/2", b"2"),
            ("same", b"1"),
            ("b/3", b"2"),
        ] {
            merge(
                &mut sqlite,
                &[apart(1, put(name, b"1", 5)), apart(2, put(name, other, 6))],
            );
        }
        merge(
            &mut sqlite,
            &[apart(1, deleted("gone", 5)), apart(2, put("gone", b"1", 6))],
        );
        merge(&mut sqlite, &[apart(1, put("plain", b"1", 5))]);
        for limit in [1, 2, 100] {
            assert_eq!(shown(&readers, "", limit), ["a", "b/1", "b/2", "b/3", "gone"]);
            assert_eq!(shown(&readers, "b/", limit), ["b/1", "b/2", "b/3"]);
        }
        assert_eq!(readers.conflict_count().unwrap(), 5);
        check(&mut sqlite);
    }

    #[test]
    fn all_versions_of_a_key_are_those_of_one_moment() {
        let place = Place::new();
        let mut sqlite = place.open();
        merge(&mut sqlite, &[apart(1, put("a", b"0", 1))]);
        let readers = Readers::open(&place.file, 1).unwrap();
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for nanos in 2..400 {
                    let author = u16::try_from(nanos % 7).unwrap();
                    merge(
                        &mut sqlite,
                        &[apart(author, put("a", nanos.to_string().as_bytes(), nanos))],
                    );
                }
            });
            while !writer.is_finished() {
                let held = readers.versions(&key("a")).unwrap();
                assert_eq!(held, Versions::of(held.all().iter().cloned()));
            }
        });
    }

    #[test]
    fn a_conflict_that_is_damaged_is_set_aside_and_the_value_stays() {
        let place = Place::new();
        let mut sqlite = place.open();
        merge(&mut sqlite, &[apart(1, put("a", b"1", 5)), apart(2, put("a", b"2", 6))]);
        place.shell("UPDATE kv_conflict SET value = 'rotten'");
        let error = sqlite.versions(&key("a")).unwrap_err();
        let row = error.damaged_row().unwrap();
        assert_eq!(row.table, Table::Conflicts, "{error}");
        assert!(sqlite.get(&key("a")).unwrap().is_some());
        let mut transaction = sqlite.begin().unwrap();
        assert!(transaction.set_aside(row).unwrap());
        transaction.commit().unwrap();
        assert_eq!(sqlite.versions(&key("a")).unwrap().all().len(), 1);
        assert_eq!(place.rows("SELECT value FROM damaged_row"), ["rotten"]);
        let scanned = sqlite.start_scan(Depth::Records).unwrap().run().unwrap();
        sqlite.finish_scan(scanned).unwrap();
        check(&mut sqlite);
    }

    #[test]
    fn what_another_program_does_to_a_key_in_conflict_leaves_versions_in_good_order() {
        for (sql, left) in [
            // A row of another program says that it overwrites all that is older.
            (
                "INSERT OR REPLACE INTO kv_store (key, value, timestamp, author) SELECT 'a', '3', 7, author FROM kv_store",
                1,
            ),
            ("DELETE FROM kv_store", 1),
            ("DELETE FROM kv_conflict", 1),
            ("UPDATE kv_store SET timestamp = 1, digest = NULL, seen = NULL", 2),
            (
                "INSERT INTO kv_conflict (key, value, timestamp, author) SELECT 'a', '3', 4, author FROM kv_conflict",
                2,
            ),
        ] {
            let place = Place::new();
            let mut sqlite = place.open();
            merge(&mut sqlite, &[apart(1, put("a", b"1", 5)), apart(2, put("a", b"2", 6))]);
            place.shell(sql);
            sqlite.look_for_others().unwrap();
            let scanned = sqlite.start_scan(Depth::Items).unwrap().run().unwrap();
            sqlite.finish_scan(scanned).unwrap();
            let mut transaction = sqlite.begin().unwrap();
            let held = transaction.versions(&key("a")).unwrap();
            transaction.commit().unwrap();
            assert_eq!(held, Versions::of(held.all().iter().cloned()), "{sql}");
            assert_eq!(held.all().len(), left, "{sql}: {held:?}");
            assert_eq!(sqlite.get(&key("a")).unwrap().as_ref(), held.winner(), "{sql}");
            check(&mut sqlite);
        }
    }
}
