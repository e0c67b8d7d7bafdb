//! Moves records that do not count out of the versions, and back when they count again.

use std::collections::BTreeSet;
use std::sync::Arc;

use p2p_sync_core::membership::{Roster, Standing};
use p2p_sync_core::versions::Versions;
use p2p_sync_core::{Key, Record};
use rusqlite::{OptionalExtension, params};

use super::{counts, keep, set_record_aside};
use crate::store::error::StoreError;
use crate::store::rows;
use crate::store::sqlite::SqliteStore;
use crate::store::table::{RowId, Table, for_either_table};
use crate::store::transaction::Transaction;

const ANY_RECORD: &str = "SELECT EXISTS (SELECT 1 FROM kv_store) OR EXISTS (SELECT 1 FROM kv_conflict)";

for_either_table!(fn authors_sql = "SELECT sequence, key, author FROM " TABLE
    " WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence LIMIT ?3");
const HIGHEST: &str = "SELECT MAX((SELECT COALESCE(MAX(sequence), 0) FROM kv_store), \
    (SELECT COALESCE(MAX(sequence), 0) FROM kv_conflict))";
const REMOVE_VALUE: &str = "DELETE FROM kv_store WHERE key = ?1";
const NUMBER_OF: &str = "SELECT sequence FROM kv_store WHERE key = ?1";
/// What nobody signed never counts.
const ASIDE: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, number, signature FROM set_aside \
    WHERE number > ?1 AND signature IS NOT NULL ORDER BY number LIMIT ?2";
const TAKE_BACK: &str = "DELETE FROM set_aside WHERE number = ?1";
/// Rows looked at between two changes.
const ROWS_AT_A_TIME: i64 = 10_000;
/// Records read at a time that may come back.
const ASIDE_AT_A_TIME: i64 = 500;

/// What a change of the members did to the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recounted {
    /// Records that do not count any longer, and were set aside.
    pub aside: u64,
    /// Records that count again. Those that a held one covers are not held again.
    pub back: u64,
}

impl Transaction<'_> {
    /// Keeps these members in place of those that are kept, and moves the records accordingly. If it is the first time, the store is
    /// private from then on, which only one without records can become. Who is in is looked at row by row: about half a second for a
    /// million records, and more for those that move.
    ///
    /// # Errors
    /// As for [`put`](Self::put); and if the store is another network's, or has records of an open one.
    pub fn keep_members(&mut self, roster: Arc<Roster>) -> Result<Recounted, StoreError> {
        match self.roster().map(|kept| kept.network() == roster.network()) {
            Some(true) => {}
            Some(false) => return Err(StoreError::Misuse("the members of another network")),
            None => {
                if self.write(|connection| connection.query_row(ANY_RECORD, [], |row| row.get(0)))? {
                    return Err(StoreError::Misuse("a store with records of an open network"));
                }
            }
        }
        self.write(|connection| keep(connection, &roster))?;
        let mut recounted = Recounted::default();
        self.set_uncounted_aside(&roster, &mut recounted)?;
        self.bring_back(&roster, &mut recounted)?;
        self.next_roster = Some(roster);
        Ok(recounted)
    }

    fn set_uncounted_aside(&mut self, roster: &Roster, recounted: &mut Recounted) -> Result<(), StoreError> {
        let last: i64 = self.write(|connection| connection.query_row(HIGHEST, [], |row| row.get(0)))?;
        for table in Table::BOTH {
            let mut after = i64::MIN;
            loop {
                let (keys, reached) = self.suspects(table, (after, last), roster)?;
                for key in keys {
                    self.recount_key(&key, roster, recounted)?;
                }
                let Some(reached) = reached else { break };
                after = reached;
            }
        }
        Ok(())
    }

    /// The keys, of some rows, whose authors may not write, and the last of these rows; none: there are no more.
    fn suspects(
        &mut self,
        table: Table,
        (after, last): (i64, i64),
        roster: &Roster,
    ) -> Result<(BTreeSet<Key>, Option<i64>), StoreError> {
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(|_| (BTreeSet::new(), None));
        };
        let authors = &mut store.authors;
        let mut read = || -> rusqlite::Result<(BTreeSet<Key>, Option<i64>)> {
            let mut statement = connection.prepare_cached(authors_sql(table))?;
            let mut rows = statement.query(params![after, last, ROWS_AT_A_TIME])?;
            let (mut keys, mut reached) = (BTreeSet::new(), None);
            while let Some(row) = rows.next()? {
                reached = Some(row.get(0)?);
                let author = row.get_ref(2)?.as_str().ok().and_then(|text| authors.id(text));
                if author.is_some_and(|author| roster.author(&author) != Standing::Counts) {
                    keys.extend(rows::key_of(row, 1)?.1);
                }
            }
            Ok((keys, reached))
        };
        let found = read().map_err(|cause| StoreError::sqlite(&store.file, cause));
        store.noted(found)
    }

    /// Sets aside the versions of a key that do not count.
    fn recount_key(&mut self, key: &Key, roster: &Roster, recounted: &mut Recounted) -> Result<(), StoreError> {
        let before = match self.versions(key) {
            // It is taken out in its turn, and never sent until then.
            Err(error) if error.is_one_record() => return Ok(()),
            versions => versions?,
        };
        let (stay, go): (Vec<Record>, Vec<Record>) =
            before.all().iter().cloned().partition(|record| counts(roster, record));
        for record in &go {
            self.set_one_aside(record)?;
        }
        recounted.aside += go.len() as u64;
        if go.is_empty() {
            Ok(())
        } else if stay.is_empty() {
            self.remove_key(key, &before)
        } else {
            self.replace(&before, &Versions::of(stay))
        }
    }

    fn set_one_aside(&mut self, record: &Record) -> Result<(), StoreError> {
        // Nothing is written where SQLite has rolled back by itself.
        self.write(|_| Ok(()))?;
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let kept = set_record_aside(connection, &mut store.authors, record);
        let kept = kept.map_err(|cause| StoreError::sqlite(&store.file, cause));
        store.noted(kept)?;
        store.wal_size.note_put(record);
        Ok(())
    }

    /// Holds nothing of a key any longer. Nobody who follows the changes would hear of that, so all cursors are lost.
    fn remove_key(&mut self, key: &Key, before: &Versions) -> Result<(), StoreError> {
        self.replace_conflicts(before.conflicts(), &[])?;
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(drop);
        };
        let item = rows::item(connection, &store.file, key);
        let removed = connection
            .prepare_cached(REMOVE_VALUE)
            .and_then(|mut statement| statement.execute([key.as_str()]));
        let removed = removed.map_err(|cause| StoreError::sqlite(&store.file, cause));
        let item = store.noted(item.and_then(|item| removed.map(|_| item)))?;
        if let Some(item) = item {
            store.tracker.note_removed(item);
        }
        store.numbers.lose_cursors();
        Ok(())
    }

    fn bring_back(&mut self, roster: &Roster, recounted: &mut Recounted) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let (found, reached) = self.aside_after(after, roster)?;
            for (number, record) in found {
                self.write(|connection| connection.prepare_cached(TAKE_BACK)?.execute([number]))?;
                let before = match self.versions(&record.key) {
                    Err(error) if error.is_one_record() => Versions::NONE,
                    versions => versions?,
                };
                let mut held = before.clone();
                if held.merge(&record).merge.stores_incoming() {
                    self.replace(&before, &held)?;
                }
                recounted.back += 1;
            }
            let Some(reached) = reached else { return Ok(()) };
            after = reached;
        }
    }

    /// Of some records that are set aside, those that count, and the number of the last of them; none: there are no more.
    #[expect(clippy::type_complexity, reason = "rows of two columns")]
    fn aside_after(&mut self, after: i64, roster: &Roster) -> Result<(Vec<(i64, Record)>, Option<i64>), StoreError> {
        let store: &mut SqliteStore = self;
        let Some(connection) = &store.connection else {
            return store.connection().map(|_| (Vec::new(), None));
        };
        let authors = &mut store.authors;
        let mut read = || -> rusqlite::Result<(Vec<(i64, Record)>, Option<i64>)> {
            let mut statement = connection.prepare_cached(ASIDE)?;
            let mut rows = statement.query(params![after, ASIDE_AT_A_TIME])?;
            let (mut found, mut reached) = (Vec::new(), None);
            while let Some(row) = rows.next()? {
                let number = row.get(7)?;
                reached = Some(number);
                let (_, record) = rows::whole(row, authors)?;
                // One that is damaged stays where it is.
                if let Ok(record) = rows::proved(record, row.get_ref(6)?)
                    && counts(roster, &record)
                {
                    found.push((number, record));
                }
            }
            Ok((found, reached))
        };
        let found = read().map_err(|cause| StoreError::sqlite(&store.file, cause));
        store.noted(found)
    }

    /// In a private network, a value that another program wrote is signed or set aside before it is met by anything else.
    pub(in crate::store) fn settle_foreign(&mut self, key: &Key) -> Result<(), StoreError> {
        let number: Option<i64> = self.write(|connection| {
            connection
                .prepare_cached(NUMBER_OF)?
                .query_row([key.as_str()], |row| row.get(0))
                .optional()
        })?;
        if let Some(number) = number {
            self.set_aside(RowId::value(number))?;
        }
        Ok(())
    }
}
