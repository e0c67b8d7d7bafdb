//! The step from bases to what authors had seen: every record gets the column `seen` and another digest, and conflicts become
//! versions like any other, in the table `kv_conflict`.

use p2p_sync_core::versions::{Merge, Versions};
use p2p_sync_core::{Key, Record};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::based;
use super::{Migration, Observer};
use crate::store::authors::Authors;
use crate::store::columns::columns;
use crate::store::others::{WATCH, WATCH_CONFLICTS};
use crate::store::rows;
use crate::store::seen;

/// What counts the changes of others, and the index on digests, are made anew at the end.
const BEFORE: &str = "
    DROP TRIGGER IF EXISTS kv_store_others_insert;
    DROP TRIGGER IF EXISTS kv_store_others_update;
    DROP TRIGGER IF EXISTS kv_store_others_delete;
    DROP INDEX IF EXISTS kv_store_item;
    ALTER TABLE kv_store ADD COLUMN seen BLOB;
";
const ROWS: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest, sequence FROM kv_store \
    WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
const CONVERT: &str = "UPDATE kv_store SET seen = ?2, digest = ?3 WHERE sequence = ?1";
/// The table of conflicts has the columns of `kv_store`, but may hold a key more than once.
const TABLES: &str = "
    ALTER TABLE kv_store DROP COLUMN base;
    CREATE INDEX kv_store_item ON kv_store (key_hash, timestamp, digest);
    CREATE TABLE kv_conflict (
        sequence INTEGER NOT NULL PRIMARY KEY,
        key TEXT NOT NULL,
        value TEXT,
        timestamp INTEGER NOT NULL,
        author TEXT NOT NULL,
        deleted_at INTEGER,
        key_hash INTEGER,
        digest BLOB,
        seen BLOB
    );
    CREATE INDEX kv_conflict_key ON kv_conflict (key);
    CREATE INDEX kv_conflict_item ON kv_conflict (key_hash, timestamp, digest);
";
const LOSERS: &str =
    "SELECT key, loser_timestamp, loser_author, loser_base, loser_value, loser_digest FROM conflict ORDER BY number";
/// As the tables are at this step. The tenth parameter, a signature, is of a later one.
const ADD: &str = "INSERT INTO kv_conflict (sequence, key, value, timestamp, author, deleted_at, seen, key_hash, digest) \
    SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE ?10 IS NULL";
const WINNER: &str = "SELECT value, timestamp, author, deleted_at, seen, digest FROM kv_store WHERE key = ?1";
const CONFLICTS: &str = "SELECT value, timestamp, author, deleted_at, seen, digest FROM kv_conflict \
    WHERE key = ?1 AND digest IS NOT NULL";
const LAST: &str = "SELECT MAX(number, (SELECT COALESCE(MAX(sequence), 0) FROM kv_store)) FROM change_sequence";
const KEEP_LAST: &str = "UPDATE change_sequence SET number = ?1";
/// The summary is made anew from the records.
const AFTER: &str = "
    DROP TABLE conflict;
    ALTER TABLE damaged_row RENAME COLUMN base TO seen;
    DELETE FROM meta WHERE name IN ('summary', 'unshared_after');
    DELETE FROM summary;
";

/// Records converted between two words to the observer.
const AT_A_TIME: i64 = 5_000;

/// All of it is one transaction, like every step.
pub(super) fn seventh(connection: &Connection, observe: Observer<'_>) -> rusqlite::Result<()> {
    connection.execute_batch(BEFORE)?;
    convert(connection, observe)?;
    connection.execute_batch(TABLES)?;
    convert_conflicts(connection)?;
    connection.execute_batch(AFTER)?;
    connection.execute_batch(WATCH)?;
    connection.execute_batch(WATCH_CONFLICTS)
}

/// A row that is no record keeps no more than what is older as seen, as if another program had written it. A damaged one keeps its
/// digest, which does not match, so that a check finds it.
fn convert(connection: &Connection, observe: Observer<'_>) -> rusqlite::Result<()> {
    let all: i64 = connection.query_row("SELECT COUNT(*) FROM kv_store", [], |row| row.get(0))?;
    let mut authors = Authors::default();
    let mut select = connection.prepare(ROWS)?;
    let mut update = connection.prepare(CONVERT)?;
    let (mut last, mut done) = (i64::MIN, 0);
    loop {
        let mut rows = select.query([last, AT_A_TIME])?;
        let (mut sound, before) = (Vec::new(), done);
        while let Some(row) = rows.next()? {
            (last, done) = (row.get(7)?, done + 1);
            let digest = row.get_ref(6)?;
            if let Ok(based) = based::whole(row, &mut authors)?
                && digest != ValueRef::Null
                && based.is_vouched_for(digest)
            {
                let record = based.record;
                sound.push((last, seen::column(&record), columns(&record).digest));
            }
        }
        if done == before {
            return Ok(());
        }
        let all = all.unsigned_abs();
        observe(Migration { done: before, all });
        for (number, seen, digest) in sound {
            update.execute(params![number, seen, digest])?;
        }
    }
}

/// The versions that lost become versions that are held, unless one that is held covers them.
fn convert_conflicts(connection: &Connection) -> rusqlite::Result<()> {
    let mut authors = Authors::default();
    let mut number: i64 = connection.query_row(LAST, [], |row| row.get(0))?;
    let mut select = connection.prepare(LOSERS)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let Some(loser) = based::loser(row, &mut authors)? else {
            continue;
        };
        let Some(mut held) = held(connection, &mut authors, &loser.key)? else {
            continue;
        };
        if held.all().len() < p2p_sync_core::limits::VERSIONS_MAX && held.merge(&loser).merge == Merge::Conflicts {
            number += 1;
            rows::write(connection, ADD, &mut authors, number, &loser)?;
        }
    }
    connection.execute(KEEP_LAST, [number]).map(drop)
}

/// None where nothing is held of a key, or not in a good state.
fn held(connection: &Connection, authors: &mut Authors, key: &Key) -> rusqlite::Result<Option<Versions>> {
    let winner = sound(connection, WINNER, authors, key)?;
    let conflicts = sound(connection, CONFLICTS, authors, key)?;
    let winner = winner.and_then(|mut winners| winners.pop());
    Ok(winner
        .zip(conflicts)
        .map(|(winner, conflicts)| Versions::from_stored(conflicts, winner)))
}

/// The records in the rows of a key; none if one of them is in no good state.
fn sound(
    connection: &Connection,
    sql: &str,
    authors: &mut Authors,
    key: &Key,
) -> rusqlite::Result<Option<Vec<Record>>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key.as_str()])?;
    let mut sound = Vec::new();
    while let Some(row) = rows.next()? {
        let digest = row.get_ref(5)?;
        match rows::proved(rows::record(row, authors, key.clone()), digest) {
            Ok(record) => sound.push(record),
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(sound))
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::Seen;
    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::Depth;
    use crate::store::migrations::version;
    use crate::store::testing::{Place, id, key, put};

    /// Writes a record as the sixth version did, with what its author said to have replaced.
    fn insert(connection: &Connection, record: &Record, base: Option<i64>) {
        let based = based::of(record, base);
        let value = record.content.value().map(|value| value.as_text().unwrap());
        let row = params![
            record.key.as_str(),
            value,
            record.timestamp.as_nanos(),
            record.author.to_string(),
            base,
            based.key_hash(),
            based.digest()
        ];
        let sql = "INSERT INTO kv_store (key, value, timestamp, author, base, key_hash, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        connection.execute(sql, row).unwrap();
    }

    /// Keeps a version that lost as the sixth version did.
    fn keep(connection: &Connection, loser: &Record, base: Option<i64>) {
        let value = loser.content.value().map(|value| value.as_text().unwrap());
        let row = params![
            loser.key.as_str(),
            based::of(loser, base).digest,
            loser.timestamp.as_nanos(),
            loser.author.to_string(),
            base,
            value
        ];
        let sql = "INSERT INTO conflict (key, loser_digest, noticed, bytes, loser_timestamp, loser_author, loser_base, \
            winner_timestamp, winner_author, loser_value) VALUES (?1, ?2, 1, 1, ?3, ?4, ?5, 9, 'x', ?6)";
        connection.execute(sql, row).unwrap();
    }

    fn by(author: u16, record: Record, seen: Seen) -> Record {
        let author = id(author);
        Record { author, seen, ..record }
    }

    #[test]
    fn bases_become_what_they_prove_and_losers_become_versions_unless_they_were_overwritten() {
        let place = Place::new();
        version(&place.file, 6);
        let old = Connection::open(&place.file).unwrap();
        let unknown = put("unknown", b"v", 9);
        let nothing = by(1, put("nothing", b"v", 9), Seen::NOTHING);
        let replaced = by(1, put("replaced", b"v", 9), Seen::NOTHING);
        for (record, base) in [(&unknown, None), (&nothing, Some(0)), (&replaced, Some(5))] {
            insert(&old, record, base);
        }
        let damaged = put("damaged", b"v", 9);
        insert(&old, &damaged, Some(0));
        old.execute("UPDATE kv_store SET value = 'rotten' WHERE key = 'damaged'", [])
            .unwrap();
        old.execute("INSERT INTO kv_store (key, value, timestamp, author) SELECT 'theirs', 'v', 5, author FROM kv_store LIMIT 1", []).unwrap();
        let loser = by(2, put("nothing", b"lost", 7), Seen::NOTHING);
        keep(&old, &loser, Some(3));
        // Overwritten by whoever did not say what it had seen; by its own author; of a key that is gone.
        keep(&old, &by(2, put("unknown", b"lost", 7), Seen::NOTHING), Some(0));
        keep(&old, &by(1, put("replaced", b"lost", 7), Seen::NOTHING), Some(0));
        keep(&old, &by(2, put("gone", b"lost", 7), Seen::NOTHING), Some(0));
        keep(&old, &by(3, put("nothing", b"rotten", 8), Seen::NOTHING), Some(0));
        old.execute("UPDATE conflict SET loser_value = 'x' WHERE loser_value = 'rotten'", [])
            .unwrap();
        drop(old);

        let mut store = place.open();
        for record in [&unknown, &replaced] {
            assert_eq!(store.versions(&record.key).unwrap().all(), std::slice::from_ref(record));
        }
        assert_eq!(store.versions(&key("nothing")).unwrap().all(), [loser, nothing]);
        assert!(
            store.get(&damaged.key).unwrap_err().is_one_record(),
            "what was damaged is damaged"
        );
        let scanned = store.start_scan(Depth::Records).unwrap().run().unwrap();
        let verified = store.finish_scan(scanned).unwrap();
        assert_eq!(
            (verified.indexed, verified.removed.len(), verified.structure),
            (1, 1, None)
        );
        assert_eq!(store.versions(&key("theirs")).unwrap().all().len(), 1);
        assert_eq!(
            place.rows("SELECT name FROM sqlite_schema WHERE name = 'conflict'"),
            Vec::<String>::new()
        );
    }
}
