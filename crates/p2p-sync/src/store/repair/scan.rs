//! Reading all records beside the writer: to compute the summary where it is not known, and to find what the disk has
//! damaged, and what another program left in disorder.
//!
//! A scan reads one moment of the file, while the store notes what changes after it; the two together give the summary of
//! now. It has a connection of its own and runs on another thread. As long as it does, the write-ahead log only grows, so
//! there is one at a time, and it ends by itself, or when the store is closed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use p2p_sync_core::Key;
use p2p_sync_core::summary::Summary;
use rusqlite::{Connection, Row};

use super::completing::{self, INCOMPLETE_ROWS_MAX};
use super::rows::{Examined, RowState, examine, log_unnamed};
use crate::store::authors::Authors;
use crate::store::error::StoreError;
use crate::store::members;
use crate::store::opening;
use crate::store::sqlite::SqliteStore;
use crate::store::table::{RowId, Table, for_either_table};
use crate::store::transaction::Transaction;
use crate::store::{columns, conflicts};

/// Damaged rows of which one scan takes care. What is beyond is left to the next.
pub const SCAN_ROWS_MAX: usize = 10_000;
/// Rows taken care of in one transaction.
const ROWS_PER_TRANSACTION: usize = 500;
/// Steps of SQLite, or pages that it checks, after which it asks whether the scan was stopped: some ten rows.
const STEPS_PER_QUESTION: i32 = 100;

const PIN: &str = "SELECT EXISTS (SELECT 1 FROM kv_store)";
for_either_table!(fn items_sql = "SELECT key_hash, timestamp, digest, sequence FROM " TABLE " INDEXED BY " TABLE "_item");
for_either_table!(pub(super) fn records_sql = "SELECT value, timestamp, author, deleted_at, seen, key, key_hash, digest, sequence, signature FROM "
    TABLE " NOT INDEXED ORDER BY sequence");
const CHECK: &str = "PRAGMA integrity_check(1)";

/// How thoroughly a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The items, as they stand in the index: about a second for a million records.
    Items,
    /// Every byte of every record and of the file.
    Records,
}

/// A scan that was begun, to be [run](Self::run) on another thread. Dropping it ends it.
#[derive(Debug)]
pub struct Scan {
    number: u64,
    depth: Depth,
    file: PathBuf,
    hold: Arc<Hold>,
    /// How many rows were read, for whoever wants to know how far it is.
    progress: Arc<AtomicU64>,
}

/// What a scan found, for [`SqliteStore::finish_scan`].
#[derive(Debug)]
pub struct Scanned {
    number: u64,
    summary: Summary,
    records: u64,
    damaged: Rows,
    /// Rows without the right columns for their item.
    unindexed: Rows,
    /// Keys of which the rows are not what is to be held.
    unsettled: Vec<Key>,
    /// What is wrong with the file itself.
    structure: Option<String>,
}

/// What a scan came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanFound {
    /// Records looked at, deletions included.
    pub records: u64,
    /// What the summary was.
    pub summary: SummaryWas,
    /// Rows that another program wrote, and that are records of the store now. Where there are many, others are still to be
    /// [completed](SqliteStore::complete_some).
    pub indexed: u64,
    /// Rows that another program wrote, and that are no records. They were left as they are.
    pub unreadable: u64,
    /// Keys of the damaged records that were taken out, made printable.
    pub removed: Vec<String>,
    /// Damaged rows that are left to another scan, because there were more than [`SCAN_ROWS_MAX`].
    pub left: u64,
    /// What is wrong with the file itself: it must be [rescued](SqliteStore::rescue). Nothing was taken out then.
    pub structure: Option<String>,
}

/// What a scan found the summary to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SummaryWas {
    /// Not known. Now it is.
    #[default]
    Unknown,
    /// That of the records.
    Right,
    /// Another one. It was replaced.
    Wrong,
    /// That of the records before another program changed some. It was replaced.
    Outdated,
    /// It cannot be told, because the file was opened anew since the scan began.
    Overtaken,
}

/// The scan's end of the file: the thread that runs it holds the lock, and the store can stop it.
pub(in crate::store) struct Hold {
    /// SQLite itself asks for it, so that no statement runs on, whenever it was begun.
    stopped: Arc<AtomicBool>,
    connection: Mutex<Option<Connection>>,
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold")
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl Hold {
    /// Nothing in here panics while it holds the lock, and what it guards is good after every single step.
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Some rows, and how many more there are.
#[derive(Debug)]
struct Rows {
    some: Vec<RowId>,
    more: u64,
    most: usize,
}

impl Rows {
    fn up_to(most: usize) -> Self {
        Self {
            some: Vec::new(),
            more: 0,
            most,
        }
    }

    fn push(&mut self, row: RowId) {
        if self.some.len() < self.most {
            self.some.push(row);
        } else {
            self.more += 1;
        }
    }
}

impl Scan {
    /// The same, which counts the rows that it reads here, from 0 on.
    #[must_use]
    pub fn counting(self, progress: Arc<AtomicU64>) -> Self {
        progress.store(0, Ordering::Relaxed);
        Self { progress, ..self }
    }

    /// Reads the records as they were when the scan was begun.
    ///
    /// # Errors
    /// When the file cannot be read, or when the store was closed meanwhile.
    pub fn run(self) -> Result<Scanned, StoreError> {
        let mut lock = self.hold.lock();
        let mut scanned = Scanned {
            number: self.number,
            summary: Summary::new(),
            records: 0,
            damaged: Rows::up_to(SCAN_ROWS_MAX),
            unindexed: Rows::up_to(INCOMPLETE_ROWS_MAX),
            unsettled: Vec::new(),
            structure: None,
        };
        // Closing the connection at the end lets the write-ahead log be emptied again.
        let done = match lock.take() {
            Some(connection) => self.read_all(&connection, &mut scanned),
            None => Ok(()),
        };
        drop(lock);
        if self.hold.is_stopped() {
            return Err(StoreError::Stopped { file: self.file });
        }
        done?;
        Ok(scanned)
    }

    fn read_all(&self, connection: &Connection, scanned: &mut Scanned) -> Result<(), StoreError> {
        let read = self.read(connection, scanned);
        read.map_err(|cause| StoreError::sqlite(&self.file, cause))?;
        // A file that is damaged in itself is not written to.
        if scanned.structure.is_none() {
            scanned.unsettled = conflicts::unsettled(connection, &mut Authors::default(), &self.file, SCAN_ROWS_MAX)?;
        }
        Ok(())
    }

    fn read(&self, connection: &Connection, scanned: &mut Scanned) -> rusqlite::Result<()> {
        match self.depth {
            Depth::Items => Table::BOTH
                .into_iter()
                .try_for_each(|table| self.each_row(connection, items_sql(table), |row| scanned.take_item(row, table))),
            Depth::Records => {
                let (mut authors, rule) = (Authors::default(), members::rule(connection)?);
                for table in Table::BOTH {
                    self.each_row(connection, records_sql(table), |row| {
                        scanned.take_record(row, table, examine(row, &mut authors, rule)?)
                    })?;
                }
                if self.hold.is_stopped() {
                    return Ok(());
                }
                let verdict: String = connection.query_row(CHECK, [], |row| row.get(0))?;
                scanned.structure = (verdict != "ok").then_some(verdict);
                Ok(())
            }
        }
    }

    fn each_row(
        &self,
        connection: &Connection,
        sql: &str,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while !self.hold.is_stopped()
            && let Some(row) = rows.next()?
        {
            take(row)?;
            self.progress.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Scanned {
    fn take_item(&mut self, row: &Row<'_>, table: Table) -> rusqlite::Result<()> {
        self.records += 1;
        match columns::item_of(row, 0, 1, 2)? {
            Some(item) => self.summary.inserted(&item),
            None => self.unindexed.push(RowId {
                table,
                number: row.get(3)?,
            }),
        }
        Ok(())
    }

    fn take_record(&mut self, row: &Row<'_>, table: Table, examined: Examined) -> rusqlite::Result<()> {
        self.records += 1;
        // The summary counts what the columns say, right or wrong, until they are changed.
        if let Some(item) = examined.stored {
            self.summary.inserted(&item);
        }
        let id = RowId {
            table,
            number: row.get(8)?,
        };
        match examined.state {
            RowState::Sound => {}
            RowState::Damaged(_) | RowState::Unsigned { .. } => self.damaged.push(id),
            RowState::Unindexed { .. } | RowState::Unreadable(_) => self.unindexed.push(id),
        }
        Ok(())
    }
}

impl SqliteStore {
    /// Begins a scan of what is committed at this moment. To be called outside a transaction; one scan at a time.
    ///
    /// # Errors
    /// When the file cannot be read, or at another moment.
    pub fn start_scan(&mut self, depth: Depth) -> Result<Scan, StoreError> {
        if !self.connection()?.is_autocommit() {
            return Err(StoreError::Misuse("a scan was begun in a transaction"));
        }
        if self.is_scanning() {
            return Err(StoreError::Misuse("a scan was begun while another one runs"));
        }
        // It opens the file by its name.
        self.check_files()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stopped);
        let pinned = opening::reader(&self.file).and_then(|mut connection| {
            let pin = connection
                .progress_handler(STEPS_PER_QUESTION, Some(move || asked.load(Ordering::Relaxed)))
                .and_then(|()| connection.execute_batch("BEGIN"))
                .and_then(|()| connection.query_row(PIN, [], |row| row.get::<_, bool>(0)));
            pin.map(|_| ()).map_err(|cause| StoreError::sqlite(&self.file, cause))?;
            Ok(connection)
        });
        let connection = self.noted(pinned)?;
        let hold = Arc::new(Hold {
            stopped,
            connection: Mutex::new(Some(connection)),
        });
        self.scan = Arc::downgrade(&hold);
        Ok(Scan {
            number: self.tracker.start_scan(),
            depth,
            file: self.file.clone(),
            hold,
            progress: Arc::default(),
        })
    }

    /// Takes what a scan found: the summary that it gives with what was committed since; rows that another program wrote,
    /// which become records of the store; and damaged records, which are set aside so that they come back from other nodes.
    /// To be called outside a transaction.
    ///
    /// # Errors
    /// When the file cannot be read or written. The summary may be in place then, and another scan can do the rest.
    pub fn finish_scan(&mut self, scanned: Scanned) -> Result<ScanFound, StoreError> {
        if !self.connection()?.is_autocommit() {
            return Err(StoreError::Misuse("a scan was finished in a transaction"));
        }
        let (known, outdated) = (self.summary().is_some(), self.is_outdated());
        let summary = match self.tracker.end_scan(scanned.number) {
            None => SummaryWas::Overtaken,
            Some(since) => {
                let mut summary = scanned.summary;
                summary.add(&since);
                match (known, self.tracker.install(summary)) {
                    (false, _) => SummaryWas::Unknown,
                    (true, false) => SummaryWas::Right,
                    (true, true) if outdated => SummaryWas::Outdated,
                    (true, true) => SummaryWas::Wrong,
                }
            }
        };
        if self.tracker.must_unmark() {
            Transaction::begin(self)?.commit()?;
        }
        let mut verified = ScanFound {
            records: scanned.records,
            summary,
            indexed: 0,
            unreadable: 0,
            removed: Vec::new(),
            left: scanned.damaged.more,
            structure: scanned.structure,
        };
        // A file that is damaged in itself is not written to; its rescue leaves these rows behind.
        if verified.structure.is_none() {
            let mut unindexed = scanned.unindexed.some;
            let rest = unindexed.split_off(unindexed.len().min(completing::AT_A_TIME));
            self.list_incomplete(rest, scanned.unindexed.more > 0);
            let rows = [scanned.damaged.some, unindexed].concat();
            let mended = self.mend_in_parts(&rows, &mut verified);
            log_unnamed(verified.removed.len(), verified.unreadable);
            mended?;
            self.settle_keys(&scanned.unsettled)?;
        }
        Ok(verified)
    }

    pub(super) fn mend_in_parts(&mut self, rows: &[RowId], verified: &mut ScanFound) -> Result<(), StoreError> {
        for some in rows.chunks(ROWS_PER_TRANSACTION) {
            let mut transaction = Transaction::begin(self)?;
            transaction.mend_all(some, verified)?;
            transaction.commit()?;
        }
        Ok(())
    }

    /// Whether a scan holds on to a moment of the file.
    pub(in crate::store) fn is_scanning(&self) -> bool {
        self.scan.strong_count() > 0
    }

    /// Ends a scan that runs, without waiting for it.
    pub(in crate::store) fn stop_scan(&mut self) -> Weak<Hold> {
        let scan = std::mem::take(&mut self.scan);
        if let Some(hold) = scan.upgrade() {
            hold.stop();
        }
        scan
    }

    /// Ends a scan that runs, and waits until it has let go of the file.
    pub(in crate::store) fn end_scan(&mut self) {
        if let Some(hold) = self.stop_scan().upgrade() {
            hold.lock().take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, deleted, key, put, store};
    use p2p_sync_core::Record;
    use p2p_sync_core::item::Item;
    use p2p_sync_core::store::Store;

    fn summary_of(sqlite: &mut SqliteStore) -> Summary {
        let records = sqlite.scan("", None, usize::MAX).unwrap();
        Summary::of(records.iter().map(Item::of))
    }

    fn scanned(sqlite: &mut SqliteStore, depth: Depth) -> ScanFound {
        let scan = sqlite.start_scan(depth).unwrap();
        let scanned = std::thread::spawn(|| scan.run().unwrap()).join().unwrap();
        sqlite.finish_scan(scanned).unwrap()
    }

    fn some_records(count: i64) -> Vec<Record> {
        (0..count)
            .map(|n| match n % 5 {
                0 => deleted(&format!("key {n}"), n + 1),
                _ => put(&format!("key {n}"), b"value", n + 1),
            })
            .collect()
    }

    /// A store after a crash: it has records, and no summary.
    fn crashed(records: &[Record]) -> (Place, SqliteStore) {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, records);
        let crashed = place.crashed();
        let sqlite = crashed.open();
        assert_eq!(sqlite.summary(), None);
        (crashed, sqlite)
    }

    #[test]
    fn a_scan_finds_the_summary_while_records_change() {
        for depth in [Depth::Items, Depth::Records] {
            let (_place, mut sqlite) = crashed(&some_records(100));
            let scan = sqlite.start_scan(depth).unwrap();
            store(&mut sqlite, &[put("key 1", b"other", 1_000), put("new", b"", 1_001)]);
            let result = std::thread::spawn(|| scan.run().unwrap()).join().unwrap();
            store(&mut sqlite, &[put("key 2", b"other", 1_002), deleted("new", 1_003)]);
            assert_eq!(sqlite.summary(), None);
            let verified = sqlite.finish_scan(result).unwrap();
            assert_eq!((verified.records, verified.summary), (100, SummaryWas::Unknown));
            let expected = summary_of(&mut sqlite);
            assert_eq!(sqlite.summary(), Some(&expected));
            store(&mut sqlite, &[put("key 3", b"other", 1_004)]);
            let expected = summary_of(&mut sqlite);
            assert_eq!(sqlite.summary(), Some(&expected));
            assert_eq!(scanned(&mut sqlite, depth).summary, SummaryWas::Right);
        }
    }

    #[test]
    fn one_scan_at_a_time_and_none_in_a_transaction() {
        let place = Place::new();
        let mut sqlite = place.open();
        let scan = sqlite.start_scan(Depth::Items).unwrap();
        let refused = sqlite.start_scan(Depth::Items).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Internal);
        drop(scan);
        let mut transaction = sqlite.begin().unwrap();
        assert!(transaction.start_scan(Depth::Items).is_err());
        drop(transaction);
        assert_eq!(scanned(&mut sqlite, Depth::Items).summary, SummaryWas::Right);
    }

    #[test]
    fn a_scan_ends_when_the_store_is_closed_or_opened_again() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(10));
        let early = sqlite.start_scan(Depth::Items).unwrap().run().unwrap();
        let scan = sqlite.start_scan(Depth::Items).unwrap();
        sqlite.reopen().unwrap();
        assert!(matches!(scan.run(), Err(StoreError::Stopped { .. })));
        assert_eq!(sqlite.finish_scan(early).unwrap().summary, SummaryWas::Overtaken);
        assert_eq!(sqlite.summary(), None, "what it found was of another time");
        assert_eq!(scanned(&mut sqlite, Depth::Items).summary, SummaryWas::Unknown);
        let scan = sqlite.start_scan(Depth::Records).unwrap();
        sqlite.close().unwrap();
        assert!(scan.run().is_err());
        assert!(place.content().keys().eq([&place.file]), "no WAL is left behind");
    }

    #[test]
    fn a_statement_that_begins_when_the_scan_was_stopped_ends_soon() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(2_000));
        let scan = sqlite.start_scan(Depth::Records).unwrap();
        let hold = Arc::clone(&scan.hold);
        let connection = hold.lock().take().unwrap();
        sqlite.stop_scan();
        for sql in [CHECK, "SELECT MAX(digest) FROM kv_store"] {
            let error = connection.query_row(sql, [], |_| Ok(())).unwrap_err();
            assert_eq!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::OperationInterrupted),
                "{sql}: {error}"
            );
        }
    }

    #[test]
    fn rows_of_another_program_become_records() {
        for depth in [Depth::Items, Depth::Records] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &some_records(10));
            sqlite.close().unwrap();
            place.shell(&format!(
                "INSERT INTO kv_store (key, value, timestamp, author) SELECT 'theirs ' || timestamp, value, 5, author FROM kv_store;
                INSERT INTO kv_store (key, value, timestamp, author) VALUES ('bad', 'v', 5, '0');
                UPDATE kv_store SET digest = NULL WHERE key = 'key {}'", 7
            ));
            let mut sqlite = place.open();
            assert_eq!(sqlite.summary(), None, "what another program wrote is noticed");
            let verified = scanned(&mut sqlite, depth);
            assert_eq!((verified.indexed, verified.unreadable, verified.left), (9, 3, 0));
            assert_eq!(verified.removed, [""; 0]);
            let held = sqlite.items().unwrap();
            assert_eq!(held.len(), 10 + 8);
            assert_eq!(sqlite.summary(), Some(&Summary::of(held)));
            assert_eq!(scanned(&mut sqlite, depth).indexed, 0);
        }
    }

    #[test]
    fn damaged_records_are_taken_out_unless_they_changed() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(100));
        sqlite.close().unwrap();
        place.shell(
            "UPDATE kv_store SET value = 'rot' WHERE key IN ('key 1', 'key 2', 'key 3');
            UPDATE kv_store SET author = 'rot\u{1b}' WHERE key = 'key 4'",
        );
        let mut sqlite = place.open();
        assert_eq!(sqlite.summary(), None, "another program changed rows");
        let scan = sqlite.start_scan(Depth::Records).unwrap();
        let result = scan.run().unwrap();
        let again = put("key 2", b"value", 3);
        store(&mut sqlite, std::slice::from_ref(&again));
        let verified = sqlite.finish_scan(result).unwrap();
        assert_eq!(verified.summary, SummaryWas::Unknown);
        assert_eq!(verified.removed, ["key 1", "key 3", "key 4"]);
        assert_eq!(sqlite.get(&key("key 1")).unwrap(), None);
        assert_eq!(sqlite.get(&key("key 2")).unwrap(), Some(again));
        let expected = summary_of(&mut sqlite);
        assert_eq!(sqlite.summary(), Some(&expected));
        assert_eq!(expected.count(), 97);
        assert_eq!(
            place.rows("SELECT key || ' ' || value || ' ' || timestamp FROM damaged_row ORDER BY number"),
            ["key 1 rot 2", "key 3 rot 4", "key 4 value 5"],
            "nothing is thrown away"
        );
    }

    #[test]
    fn what_is_set_aside_is_bounded() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(1_500));
        sqlite.close().unwrap();
        place.shell(
            "UPDATE kv_store SET value = 'rot';
            UPDATE kv_store SET value = zeroblob(70000) WHERE key = 'key 1499'",
        );
        let mut sqlite = place.open();
        assert_eq!(scanned(&mut sqlite, Depth::Records).removed.len(), 1_500);
        assert_eq!(
            place.rows("SELECT MIN(timestamp) || ' ' || MAX(timestamp) || ' ' || COUNT(*) FROM damaged_row"),
            ["500 1499 1000"]
        );
    }

    #[test]
    fn a_wrong_summary_is_replaced_and_not_kept() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(20));
        sqlite.close().unwrap();
        // One record in place of another: neither the count nor the columns show it.
        let other = place.crashed();
        let mut wrong = other.open();
        store(&mut wrong, &[put("key 1", b"other", 50)]);
        wrong.close().unwrap();
        let bytes = rusqlite::Connection::open(&other.file)
            .unwrap()
            .query_row("SELECT bytes FROM summary", [], |row| row.get::<_, Vec<u8>>(0))
            .unwrap();
        rusqlite::Connection::open(&place.file)
            .unwrap()
            .execute("UPDATE summary SET bytes = ?1", [bytes])
            .unwrap();
        let mut sqlite = place.open();
        let right = summary_of(&mut sqlite);
        assert!(sqlite.summary().is_some_and(|summary| *summary != right));
        assert_eq!(scanned(&mut sqlite, Depth::Items).summary, SummaryWas::Wrong);
        let expected = summary_of(&mut sqlite);
        assert_eq!(sqlite.summary(), Some(&expected));
        assert_eq!(
            place.crashed().open().summary(),
            None,
            "the wrong one is not believed again"
        );
        sqlite.close().unwrap();
        assert_eq!(place.open().summary(), Some(&expected));
    }

    #[test]
    fn more_damaged_rows_than_one_scan_takes_care_of_are_left_to_the_next() {
        let mut rows = Rows::up_to(2);
        (1..=5).for_each(|number| rows.push(RowId::value(number)));
        assert_eq!((rows.some, rows.more), (vec![RowId::value(1), RowId::value(2)], 3));
    }

    #[test]
    fn a_damaged_index_is_found_by_the_deep_scan() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &some_records(50));
        sqlite.close().unwrap();
        // An index that lacks a row, as only SQLite's own back door can make it.
        place.shell(
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = sql || ' AND 0' WHERE name = 'kv_store_deleted_at';
            PRAGMA writable_schema = RESET; REINDEX kv_store_deleted_at; PRAGMA writable_schema = ON;
            UPDATE sqlite_schema SET sql = replace(sql, ' AND 0', '') WHERE name = 'kv_store_deleted_at'",
        );
        let mut sqlite = place.open();
        assert_eq!(scanned(&mut sqlite, Depth::Items).structure, None);
        let verified = scanned(&mut sqlite, Depth::Records);
        assert!(
            verified
                .structure
                .is_some_and(|why| why.contains("kv_store_deleted_at"))
        );
        assert_eq!(
            sqlite
                .items()
                .unwrap()
                .into_iter()
                .map(|item| (item, ()))
                .collect::<BTreeMap<_, _>>()
                .len(),
            50
        );
    }
}
