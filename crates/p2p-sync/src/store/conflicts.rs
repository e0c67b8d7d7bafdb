//! Versions that lost to one whose author had not seen them, kept so that the user can view and restore them. The core
//! decides what counts as lost.
//!
//! Their number is limited, because a peer can cause any number: the oldest are dropped.

use p2p_sync_core::replica::Lost;
use p2p_sync_core::{Base, Content, Key, Record, Timestamp, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql, params};

use super::error::StoreError;
use super::rows::{self, Authors, StoredContent};
use super::sqlite::SqliteStore;

/// Lost versions that are kept.
pub const CONFLICTS_MAX: u64 = 10_000;
/// Bytes of keys and values of lost versions and their winners that are kept.
pub const CONFLICT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a conflict takes beyond keys and values: an upper bound for timestamps, authors and digest.
const OVERHEAD_BYTES: usize = 256;

macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT key, noticed, loser_timestamp, loser_author, loser_base, loser_value, winner_timestamp, \
            winner_author, winner_base, winner_value, number, loser_digest FROM conflict WHERE ",
            $condition
        )
    };
}
const NEWEST: &str =
    select!("number IN (SELECT number FROM conflict ORDER BY number DESC LIMIT ?1) ORDER BY number DESC");
const OF_KEY: &str = select!(
    "number IN (SELECT number FROM conflict INDEXED BY conflict_key WHERE key = ?2 ORDER BY number DESC LIMIT ?1) ORDER BY number DESC"
);
const OF_LOSER: &str = select!("key = ?1 AND loser_timestamp = ?2 ORDER BY number DESC");
/// From a number on, which column 10 gives, the oldest first.
pub(super) const ALL: &str = select!("number >= ?1 ORDER BY number");
const KEEP: &str = "INSERT INTO conflict (key, loser_digest, noticed, bytes, loser_timestamp, loser_author, loser_base, \
    winner_timestamp, winner_author, winner_base, loser_value, winner_value) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (key, loser_digest) DO NOTHING";
const DROP: &str = "DELETE FROM conflict WHERE key = ?1 AND loser_digest = ?2 RETURNING bytes";
const DROP_OLDEST: &str = "DELETE FROM conflict WHERE number = (SELECT MIN(number) FROM conflict) RETURNING bytes";
const SIZE: &str = "SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM conflict";
const COUNT: &str = "SELECT COUNT(*) FROM conflict";

/// A version that lost to one whose author had not seen it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The version that lost.
    pub loser: Record,
    /// The version that won over it at the time.
    pub winner: Record,
    /// When this node noticed, by its clock.
    pub noticed: Timestamp,
}

/// The size of the table, so that it need not be counted for every conflict.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    count: u64,
    bytes: u64,
}

impl SqliteStore {
    /// The most recently noticed lost version of a key, or the one written at that timestamp.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn conflict(&mut self, key: &Key, timestamp: Option<Timestamp>) -> Result<Option<Conflict>, StoreError> {
        let found = self.asked(|connection| match timestamp {
            None => list(connection, Some(key), 1),
            Some(timestamp) => select(connection, OF_LOSER, params![key.as_str(), timestamp.as_nanos()]),
        })?;
        Ok(found.into_iter().next())
    }
}

pub(super) fn keep(
    connection: &Connection,
    authors: &mut Authors,
    size: Option<Size>,
    lost: &Lost,
    noticed: Timestamp,
) -> rusqlite::Result<Size> {
    let mut size = size.map_or_else(|| measure(connection), Ok)?;
    let bytes = |record: &Record| record.content.value().map_or(0, |value| value.as_bytes().len());
    let (loser, winner) = (&lost.loser, &lost.winner);
    let bytes = (loser.key.as_str().len() + bytes(loser) + bytes(winner) + OVERHEAD_BYTES) as u64;
    let loser_author = authors.text(loser.author).to_owned();
    let inserted = connection.prepare_cached(KEEP)?.execute(params![
        loser.key.as_str(),
        loser.digest(),
        noticed.as_nanos(),
        bytes.cast_signed(),
        loser.timestamp.as_nanos(),
        loser_author,
        loser.base.as_nanos(),
        winner.timestamp.as_nanos(),
        authors.text(winner.author),
        winner.base.as_nanos(),
        StoredContent(&loser.content),
        StoredContent(&winner.content),
    ])?;
    if inserted > 0 {
        size.count += 1;
        size.bytes += bytes;
    }
    while size.count > CONFLICTS_MAX || size.bytes > CONFLICT_BYTES_MAX {
        let mut statement = connection.prepare_cached(DROP_OLDEST)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { break };
        let dropped: i64 = row.get(0)?;
        size.count = size.count.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(dropped.unsigned_abs());
        // The row is gone for certain only once the statement has ended.
        while rows.next()?.is_some() {}
    }
    Ok(size)
}

/// Forgets a lost version.
pub(super) fn forget(connection: &Connection, conflict: &Conflict) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(DROP)?;
    let mut rows = statement.query(params![conflict.loser.key.as_str(), conflict.loser.digest()])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn measure(connection: &Connection) -> rusqlite::Result<Size> {
    connection.prepare_cached(SIZE)?.query_row([], |row| {
        Ok(Size {
            count: row.get::<_, i64>(0)?.unsigned_abs(),
            bytes: row.get::<_, i64>(1)?.unsigned_abs(),
        })
    })
}

/// Up to `limit` lost versions, of one key if given, most recently noticed first.
pub(super) fn list(connection: &Connection, key: Option<&Key>, limit: usize) -> rusqlite::Result<Vec<Conflict>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match key {
        None => select(connection, NEWEST, params![limit]),
        Some(key) => select(connection, OF_KEY, params![limit, key.as_str()]),
    }
}

pub(super) fn count(connection: &Connection) -> rusqlite::Result<u64> {
    let count: i64 = connection.prepare_cached(COUNT)?.query_row([], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

fn select(connection: &Connection, sql: &str, parameters: &[&dyn ToSql]) -> rusqlite::Result<Vec<Conflict>> {
    let mut authors = Authors::default();
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut conflicts = Vec::new();
    while let Some(row) = rows.next()? {
        conflicts.extend(conflict(row, &mut authors)?);
    }
    Ok(conflicts)
}

/// None if the row was changed by hand into something else.
pub(super) fn conflict(row: &Row<'_>, authors: &mut Authors) -> rusqlite::Result<Option<Conflict>> {
    let key = match row.get_ref(0)? {
        ValueRef::Text(bytes) => rows::text_key(bytes).ok(),
        _ => None,
    };
    let noticed = rows::timestamp(row.get_ref(1)?).ok();
    let (Some(key), Some(noticed)) = (key, noticed) else {
        return Ok(None);
    };
    let loser = version(row, 2, authors, &key)?;
    let winner = version(row, 6, authors, &key)?;
    // One that was damaged must not be brought back.
    let sound = |loser: &Record| {
        row.get_ref(11)
            .is_ok_and(|digest| digest == ValueRef::Blob(&loser.digest()))
    };
    Ok(loser
        .filter(sound)
        .zip(winner)
        .map(|(loser, winner)| Conflict { loser, winner, noticed }))
}

/// The version in four columns: timestamp, author, base, value.
fn version(row: &Row<'_>, first: usize, authors: &mut Authors, key: &Key) -> rusqlite::Result<Option<Record>> {
    let author = match row.get_ref(first + 1)? {
        ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|text| authors.id(text)),
        _ => None,
    };
    let base = match row.get_ref(first + 2)? {
        ValueRef::Null => Some(Base::Unknown),
        ValueRef::Integer(nanos) => Base::from_nanos(nanos).ok(),
        _ => None,
    };
    let content = match row.get_ref(first + 3)? {
        ValueRef::Null => Some(Content::Deleted),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Value::new(bytes).ok().map(Content::Put),
        _ => None,
    };
    let timestamp = rows::timestamp(row.get_ref(first)?).ok();
    let (Some(timestamp), Some(author), Some(base), Some(content)) = (timestamp, author, base, content) else {
        return Ok(None);
    };
    Ok(Some(Record {
        key: key.clone(),
        content,
        timestamp,
        author,
        base,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Readers;
    use crate::store::testing::{Place, at, deleted, key, put};
    use p2p_sync_core::store::Store;

    fn lost(loser: Record, winner: Record) -> Lost {
        Lost { loser, winner }
    }

    fn keep_all(sqlite: &mut SqliteStore, all: &[(Lost, i64)]) {
        let mut transaction = sqlite.begin().unwrap();
        for (lost, noticed) in all {
            transaction.keep_conflict(lost, at(*noticed)).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn as_kept(lost: &Lost, noticed: i64) -> Conflict {
        Conflict {
            loser: lost.loser.clone(),
            winner: lost.winner.clone(),
            noticed: at(noticed),
        }
    }

    #[test]
    fn lost_versions_are_kept_once_and_whole() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 1).unwrap();
        let based = Record {
            base: Base::Version(at(3)),
            ..put("a", b"\xff\0", 5)
        };
        let nothing = Record {
            base: Base::Nothing,
            ..put("a", b"", 6)
        };
        let all = [
            (lost(based, deleted("a", 7)), 10),
            (lost(deleted("b", 5), put("b", b"w", 6)), 11),
            (lost(nothing, put("a", b"w", 9)), 12),
        ];
        keep_all(&mut sqlite, &all);
        keep_all(&mut sqlite, &[(all[0].0.clone(), 99)]);
        let kept: Vec<_> = all.iter().rev().map(|(lost, at)| as_kept(lost, *at)).collect();
        assert_eq!(
            readers.conflicts(None, 9).unwrap(),
            kept,
            "the newest first, a replay adds none"
        );
        assert_eq!(readers.conflicts(None, 1).unwrap(), kept[..1]);
        assert_eq!(readers.conflict_count().unwrap(), 3);
        let of_a = [kept[0].clone(), kept[2].clone()];
        assert_eq!(readers.conflicts(Some(&key("a")), 9).unwrap(), of_a);
        assert_eq!(sqlite.conflict(&key("a"), None).unwrap(), Some(kept[0].clone()));
        assert_eq!(sqlite.conflict(&key("a"), Some(at(5))).unwrap(), Some(kept[2].clone()));
        assert_eq!(sqlite.conflict(&key("a"), Some(at(8))).unwrap(), None);
        assert_eq!(sqlite.conflict(&key("none"), None).unwrap(), None);

        let mut transaction = sqlite.begin().unwrap();
        transaction.drop_conflict(&kept[0]).unwrap();
        transaction.drop_conflict(&kept[0]).unwrap();
        transaction.commit().unwrap();
        assert_eq!(readers.conflicts(None, 9).unwrap(), kept[1..]);
        place.shell("UPDATE conflict SET loser_author = '0' WHERE key = 'b'");
        assert_eq!(
            readers.conflicts(None, 9).unwrap(),
            kept[2..],
            "what cannot be read is left out"
        );
    }

    #[test]
    fn the_oldest_are_dropped_beyond_the_count() {
        let place = Place::new();
        let mut sqlite = place.open();
        let many: Vec<_> = (0..10_010)
            .map(|n| {
                (
                    lost(put(&format!("key {n}"), b"", 5), put(&format!("key {n}"), b"", 6)),
                    n + 1,
                )
            })
            .collect();
        keep_all(&mut sqlite, &many[..10_005]);
        let mut transaction = sqlite.begin().unwrap();
        transaction.keep_conflict(&many[10_006].0, at(5)).unwrap();
        drop(transaction);
        keep_all(&mut sqlite, &many[10_005..]);
        let kept = Readers::open(&place.file, 1)
            .unwrap()
            .conflicts(None, usize::MAX)
            .unwrap();
        assert_eq!(kept.len() as u64, CONFLICTS_MAX);
        assert_eq!((kept[0].noticed, kept[9_999].noticed), (at(10_010), at(11)));
    }

    #[test]
    fn the_oldest_are_dropped_beyond_the_bytes() {
        let place = Place::new();
        let mut sqlite = place.open();
        let value = [7; 65_536];
        for n in 1..=600 {
            keep_all(&mut sqlite, &[(lost(put("k", &value, n), put("k", &value, 9_999)), n)]);
        }
        let readers = Readers::open(&place.file, 1).unwrap();
        let count = readers.conflict_count().unwrap();
        assert_eq!(count, CONFLICT_BYTES_MAX / (2 * 65_536 + 1 + OVERHEAD_BYTES as u64));
        assert_eq!(readers.conflicts(None, 1).unwrap()[0].noticed, at(600));
    }

    #[test]
    fn records_ahead_are_counted_the_earliest_first() {
        let place = Place::new();
        let mut sqlite = place.open();
        crate::store::testing::store(&mut sqlite, &[put("a", b"", 5), deleted("b", 7), put("c", b"", 6)]);
        let readers = Readers::open(&place.file, 1).unwrap();
        assert_eq!(readers.ahead(at(5), 1).unwrap(), (2, vec![(key("c"), at(6))]));
        assert_eq!(
            readers.ahead(at(4), 9).unwrap(),
            (3, vec![(key("a"), at(5)), (key("c"), at(6)), (key("b"), at(7))])
        );
        assert_eq!(readers.ahead(at(7), 9).unwrap(), (0, vec![]));
    }
}
