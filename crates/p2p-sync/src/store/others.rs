//! What other programs do to the file while this one uses it. Tables of their own are none of our business, however often they
//! write to them; what they change in the versions makes what is remembered of the records out of date.
//!
//! SQLite tells a connection that the file was written to by another one, but not what was written. So triggers count the changed
//! rows in a table beside. They are turned off for the one connection of ours that writes: they cost our own writes nothing, and
//! every number that they add is another program's.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::error::StoreError;
use super::sqlite::SqliteStore;
use crate::throttle::Throttle;

/// How often the log is told at most that another program changed records.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The table and the triggers, as the fourth version of the file has them. Never changed: files of this shape exist.
pub(super) const WATCH: &str = "
    CREATE TABLE IF NOT EXISTS change_of_others (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        number INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO change_of_others (id, number) VALUES (1, 0);
    CREATE TRIGGER IF NOT EXISTS kv_store_others_insert AFTER INSERT ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER IF NOT EXISTS kv_store_others_update AFTER UPDATE ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER IF NOT EXISTS kv_store_others_delete AFTER DELETE ON kv_store
        BEGIN UPDATE change_of_others SET number = number + 1; END;
";
/// The triggers of the conflicts, as the seventh version of the file has them. Never changed either.
pub(super) const WATCH_CONFLICTS: &str = "
    CREATE TRIGGER IF NOT EXISTS kv_conflict_others_insert AFTER INSERT ON kv_conflict
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER IF NOT EXISTS kv_conflict_others_update AFTER UPDATE ON kv_conflict
        BEGIN UPDATE change_of_others SET number = number + 1; END;
    CREATE TRIGGER IF NOT EXISTS kv_conflict_others_delete AFTER DELETE ON kv_conflict
        BEGIN UPDATE change_of_others SET number = number + 1; END;
";
const IS_WATCHED: &str = "SELECT (SELECT COUNT(*) FROM sqlite_schema WHERE type = 'trigger' AND name IN \
    ('kv_store_others_insert', 'kv_store_others_update', 'kv_store_others_delete', \
    'kv_conflict_others_insert', 'kv_conflict_others_update', 'kv_conflict_others_delete')) = 6 \
    AND EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'change_of_others')";
const NUMBER: &str = "SELECT COALESCE(MAX(number), -1) FROM change_of_others";
const COUNT_UP: &str = "UPDATE change_of_others SET number = number + 1";

/// What was last seen of other programs.
#[derive(Debug)]
pub(super) struct Others {
    /// Changes when another connection has written anything at all.
    version: i64,
    /// Rows with versions that other programs changed so far; none when nothing counts them.
    number: Option<i64>,
    log: Throttle<Instant>,
}

impl Others {
    pub(super) fn see(connection: &Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            version: version(connection)?,
            number: number(connection)?,
            log: Throttle::once(LOG_INTERVAL),
        })
    }

    /// How many rows other programs changed so far; none when nothing counts them.
    pub(super) fn number(&self) -> Option<i64> {
        self.number
    }
}

/// Puts back what counts the changes of others where somebody took it away. What they did meanwhile was not counted, and counts
/// as a change.
pub(super) fn watch(connection: &Connection) -> rusqlite::Result<()> {
    if !is_watched(connection)? {
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {WATCH} {WATCH_CONFLICTS} {COUNT_UP}; COMMIT"
        ))?;
    }
    // Ours are not to be counted.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .map(drop)
}

fn is_watched(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(IS_WATCHED)?.query_row([], |row| row.get(0))
}

/// Another number whenever another connection has committed something.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

pub(super) fn number(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    if !is_watched(connection)? {
        return Ok(None);
    }
    connection
        .prepare_cached(NUMBER)?
        .query_row([], |row| row.get(0))
        .map(Some)
}

impl SqliteStore {
    /// Looks whether another program changed records since this was last done; [`begin`](p2p_sync_core::store::Store::begin) does it
    /// too. What they do to tables of their own is passed over.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn look_for_others(&mut self) -> Result<(), StoreError> {
        let seen = self.asked(version)?;
        if seen == self.others.version {
            return Ok(());
        }
        let number = self.asked(number)?;
        self.others.version = seen;
        self.has_conflicts = None;
        let before = std::mem::replace(&mut self.others.number, number);
        // Where nothing counts them, anything may have been changed.
        if number.is_some() && number == before {
            return Ok(());
        }
        self.tracker.doubt();
        if let Some(connection) = &self.connection {
            let noted = self.numbers.changed_by_others(connection, number);
            let noted = noted.map_err(|cause| StoreError::sqlite(&self.file, cause));
            self.noted(noted)?;
        }
        if self.others.log.allows(Instant::now()) {
            tracing::warn!(
                file = %self.file.display(),
                "Another program changed records in the store; checking them all in the background"
            );
        }
        if self.connection()?.is_autocommit() {
            self.note_sequence();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::item::Item;
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;

    use super::*;
    use crate::store::testing::{Place, deleted, put, store};
    use crate::store::{Depth, SummaryWas};

    fn scanned(sqlite: &mut SqliteStore) -> SummaryWas {
        let scanned = sqlite.start_scan(Depth::Items).unwrap().run().unwrap();
        sqlite.finish_scan(scanned).unwrap().summary
    }

    fn summary_of(sqlite: &mut SqliteStore) -> Summary {
        let records = sqlite.scan("", None, usize::MAX).unwrap();
        Summary::of(records.iter().map(Item::of))
    }

    #[test]
    fn what_others_do_to_their_own_tables_is_none_of_ours() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), deleted("b", 2)]);
        place.shell("CREATE TABLE _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER); CREATE TABLE _litestream_lock (id INTEGER)");
        for n in 0..100 {
            place.shell(&format!("INSERT OR REPLACE INTO _litestream_seq VALUES (1, {n})"));
            sqlite.look_for_others().unwrap();
            store(&mut sqlite, &[put("a", b"2", 3 + n)]);
            assert!(sqlite.summary().is_some() && !sqlite.is_outdated(), "after {n}");
        }
        let expected = summary_of(&mut sqlite);
        assert_eq!(sqlite.summary(), Some(&expected));
        sqlite.close().unwrap();
        place.shell("INSERT OR REPLACE INTO _litestream_seq VALUES (1, 1000)");
        assert!(place.open().summary().is_some(), "nor while we were away");
    }

    #[test]
    fn what_others_change_in_the_records_makes_the_summary_out_of_date_and_it_serves_meanwhile() {
        for sql in [
            "INSERT INTO kv_store SELECT 7, 'c', value, timestamp, author, deleted_at, key_hash, digest, seen, signature FROM kv_store LIMIT 1",
            "UPDATE kv_store SET timestamp = 7 WHERE key = 'a'",
            "UPDATE kv_store SET key_hash = 7 WHERE key = 'a'",
            "DELETE FROM kv_store WHERE key = 'a'",
            "REPLACE INTO kv_store (key, value, timestamp, author) VALUES ('a', 'x', 9, 'me')",
            "INSERT INTO kv_conflict SELECT 7, 'c', value, timestamp, author, deleted_at, key_hash, digest, seen, signature FROM kv_store LIMIT 1",
            "DROP TRIGGER kv_store_others_update; UPDATE kv_store SET timestamp = 7 WHERE key = 'a'",
        ] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
            let before = sqlite.summary().cloned();
            place.shell(sql);
            sqlite.look_for_others().unwrap();
            assert!(sqlite.is_outdated(), "{sql}");
            assert_eq!(sqlite.summary().cloned(), before, "{sql}");
            assert_eq!(scanned(&mut sqlite), SummaryWas::Outdated, "{sql}");
            assert!(!sqlite.is_outdated(), "{sql}");
            let held = sqlite.items().unwrap();
            assert_eq!(sqlite.summary(), Some(&Summary::of(held)), "{sql}");
        }
    }

    #[test]
    fn what_others_change_while_we_are_away_is_noticed_at_the_start() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        sqlite.close().unwrap();
        // Neither the number of rows nor their columns show it.
        place.shell("UPDATE kv_store SET key_hash = key_hash + 1 WHERE key = 'a'");
        assert_eq!(place.open().summary(), None);
    }

    #[test]
    fn own_writes_are_not_counted() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("a", b"2", 2), deleted("a", 3)]);
        assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM change_of_others"), ["0"]);
        place.shell("UPDATE kv_store SET timestamp = 4");
        assert_eq!(place.rows("SELECT CAST(number AS TEXT) FROM change_of_others"), ["1"]);
        drop(sqlite);
        let crashed = place.crashed();
        drop(crashed.open());
        store(&mut crashed.open(), &[put("b", b"1", 9)]);
        assert_eq!(crashed.rows("SELECT CAST(number AS TEXT) FROM change_of_others"), ["1"]);
    }

    #[test]
    fn what_counts_them_is_put_back_at_the_start() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1)]);
        sqlite.close().unwrap();
        place.shell("DROP TRIGGER kv_store_others_delete; DELETE FROM kv_store; INSERT INTO kv_store SELECT 7, 'x', 'y', 1, 'z', NULL, NULL, NULL, NULL, NULL WHERE 0");
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("b", b"1", 2)]);
        place.shell("DELETE FROM kv_store");
        sqlite.look_for_others().unwrap();
        assert!(sqlite.is_outdated());
    }

    #[test]
    fn a_change_during_the_scan_leaves_another_one_due() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        place.shell("DELETE FROM kv_store WHERE key = 'a'");
        sqlite.look_for_others().unwrap();
        let scan = sqlite.start_scan(Depth::Items).unwrap();
        let result = scan.run().unwrap();
        place.shell("DELETE FROM kv_store WHERE key = 'b'");
        store(&mut sqlite, &[put("c", b"1", 3)]);
        assert_eq!(sqlite.finish_scan(result).unwrap().summary, SummaryWas::Outdated);
        assert_eq!(sqlite.summary().unwrap().count(), 2, "as good as can be known");
        assert!(sqlite.is_outdated());
        scanned(&mut sqlite);
        assert!(!sqlite.is_outdated() && sqlite.summary().unwrap().count() == 1);
    }
}
