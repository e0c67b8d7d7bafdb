//! The summary of what is committed: updated with every transaction, and saved in the file at a clean stop.
//!
//! A kept summary is valid as long as nothing was written since. That is said by a mark in `meta`, which is set in the
//! transaction that keeps the summary, and taken away in the first transaction after opening that changes a record. So a
//! run without writes leaves it valid, however it ends, and a run with writes leaves a valid one only if it was closed.
//! When there is none, the records have to be read: see `scan`.

use p2p_sync_core::item::Item;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::{Key, Record};
use rusqlite::{Connection, OptionalExtension};

use super::error::StoreError;
use super::sqlite::SqliteStore;
use super::summing::Summing;
use super::transaction::Transaction;

const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM kv_store) AND NOT EXISTS (SELECT 1 FROM kv_conflict)";
/// Valid until another program changes a record, too.
const IS_VALID: &str = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'summary' AND value = 'valid ' || \
    (SELECT number FROM change_of_others))";
const KEPT: &str = "SELECT bytes FROM summary";
const HAS_UNINDEXED: &str = "SELECT EXISTS (SELECT 1 FROM kv_store INDEXED BY kv_store_item WHERE key_hash IS NULL) \
    OR EXISTS (SELECT 1 FROM kv_conflict INDEXED BY kv_conflict_item WHERE key_hash IS NULL)";
const KEEP: &str = "INSERT OR REPLACE INTO summary (id, bytes) VALUES (1, ?1)";
const MARK: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES ('summary', 'valid ' || \
    (SELECT number FROM change_of_others))";
pub(super) const UNMARK: &str = "DELETE FROM meta WHERE name = 'summary'";

/// Changes of one transaction that are remembered with no more than their room; a larger transaction gives it back.
const PENDING_KEPT: usize = 4_096;

/// One record stored, replaced or taken out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) old: Option<Item>,
    pub(super) new: Option<Item>,
}

impl Change {
    pub(super) fn apply(self, summary: &mut Summary) {
        match (self.old, self.new) {
            (Some(old), Some(new)) => summary.replaced(&old, &new),
            (None, Some(new)) => summary.inserted(&new),
            (Some(old), None) => summary.removed(&old),
            (None, None) => {}
        }
    }
}

/// The summary, and what happens to it at the next commit.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    /// Of what is committed; none while it is not known.
    summary: Option<Summary>,
    /// What was committed since the running scan took its snapshot, and the number of that scan.
    since: Option<(u64, Summary)>,
    scans: u64,
    /// What the open transaction did since it was held last.
    pending: Vec<Change>,
    /// What it did before: a transaction that is held long would make a long list.
    held: Option<Summing>,
    /// What the open transaction found last: a `put` mostly follows the `get` of its key.
    found: Option<(Key, Option<Item>)>,
    /// The mark is set in the file.
    marked: bool,
    /// It must go, though no record changes.
    wrong: bool,
    /// Another program changed records that the summary does not know of; and since the running scan began.
    outdated: bool,
    outdated_in_scan: bool,
}

impl Tracker {
    /// Reads what was kept, whatever the number of records: what another program added or removed was counted (`others`).
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let marked = connection.query_row(IS_VALID, [], |row| row.get(0))?;
        let summary = if connection.query_row(IS_EMPTY, [], |row| row.get(0))? {
            Some(Summary::new())
        } else if marked {
            kept(connection)?
        } else {
            None
        };
        Ok(Self {
            wrong: marked && summary.is_none(),
            summary,
            marked,
            ..Self::default()
        })
    }

    pub(super) fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// What the transaction found under a key, if it was the last one it asked for.
    pub(super) fn found(&self, key: &Key) -> Option<Option<Item>> {
        let (found, item) = self.found.as_ref()?;
        (found == key).then_some(*item)
    }

    pub(super) fn note_found(&mut self, key: &Key, item: Option<Item>) {
        self.found = Some((key.clone(), item));
    }

    pub(super) fn note_put(&mut self, record: &Record, old: Option<Item>, new: Item) {
        self.pending.push(Change { old, new: Some(new) });
        self.note_found(&record.key, Some(new));
    }

    pub(super) fn note_added(&mut self, new: Item) {
        self.pending.push(Change {
            old: None,
            new: Some(new),
        });
        self.found = None;
    }

    pub(super) fn note_removed(&mut self, old: Item) {
        self.pending.push(Change {
            old: Some(old),
            new: None,
        });
        self.found = None;
    }

    /// The row of a record got other columns, or got them at all.
    pub(super) fn note_indexed(&mut self, old: Option<Item>, new: Item) {
        self.pending.push(Change { old, new: Some(new) });
        self.found = None;
    }

    /// Whether the mark must be taken away in the open transaction.
    pub(super) fn must_unmark(&self) -> bool {
        self.marked && (self.wrong || self.held.is_some() || !self.pending.is_empty())
    }

    pub(super) fn committed(&mut self) {
        if self.must_unmark() {
            (self.marked, self.wrong) = (false, false);
        }
        let held = self.held.take().map(Summing::end);
        if let Some(None) = held {
            self.lose();
        }
        let held = held.flatten();
        let since = self.since.as_mut().map(|(_, since)| since);
        for summary in self.summary.iter_mut().chain(since) {
            if let Some(held) = &held {
                summary.add(held);
            }
            self.pending.iter().for_each(|change| change.apply(summary));
        }
        self.forget_pending();
    }

    /// The open transaction is held.
    pub(super) fn hold(&mut self) {
        let page = std::mem::take(&mut self.pending);
        self.held.get_or_insert_with(Summing::new).add(page);
    }

    pub(super) fn forget_pending(&mut self) {
        self.held = None;
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT);
        self.found = None;
    }

    /// Nobody knows what was committed.
    pub(super) fn lose(&mut self) {
        self.summary = None;
        self.since = None;
        self.wrong = self.marked;
    }

    /// Another program changed records. What is known serves until they have been read.
    pub(super) fn doubt(&mut self) {
        (self.outdated, self.outdated_in_scan) = (true, true);
        self.wrong = self.marked;
    }

    pub(super) fn is_outdated(&self) -> bool {
        self.outdated && self.summary.is_some()
    }

    /// Begins to follow what changes from this moment on, and names the scan that reads what is there now.
    pub(super) fn start_scan(&mut self) -> u64 {
        self.scans += 1;
        self.outdated_in_scan = false;
        self.since = Some((self.scans, Summary::new()));
        self.scans
    }

    /// What was committed since that scan began; none if it is not the one that runs.
    pub(super) fn end_scan(&mut self, number: u64) -> Option<Summary> {
        let since = self.since.take_if(|(running, _)| *running == number);
        since.map(|(_, since)| since)
    }

    /// Takes a summary that was computed from the records, if it is another one. Tells whether it was.
    pub(super) fn install(&mut self, summary: Summary) -> bool {
        self.outdated = self.outdated_in_scan;
        if self.summary.as_ref() == Some(&summary) {
            return false;
        }
        self.summary = Some(summary);
        self.wrong = self.marked;
        true
    }
}

/// The kept summary, if it fits the records.
fn kept(connection: &Connection) -> rusqlite::Result<Option<Summary>> {
    let bytes: Option<Vec<u8>> = connection.query_row(KEPT, [], |row| row.get(0)).optional()?;
    let Some(summary) = bytes.and_then(|bytes| Summary::from_bytes(&bytes).ok()) else {
        return Ok(None);
    };
    let unindexed: bool = connection.query_row(HAS_UNINDEXED, [], |row| row.get(0))?;
    Ok((!unindexed).then_some(summary))
}

impl SqliteStore {
    /// The summary of everything that is committed; none while it is not known: after a stop in the middle of writing, after
    /// [`reopen`](Self::reopen). Then a [scan](Self::start_scan) is due.
    pub fn summary(&self) -> Option<&Summary> {
        self.tracker.summary()
    }

    /// Whether another program changed records since the summary was known. Then a [scan](Self::start_scan) is due too, but the
    /// summary is good enough until it ends.
    pub fn is_outdated(&self) -> bool {
        self.tracker.is_outdated()
    }

    /// Forgets the summary, as a stop in the middle of writing does: for tests and benchmarks.
    pub fn forget_summary(&mut self) {
        self.tracker.lose();
    }

    /// Takes an item that no record has for one of a record, as a fault in memory may do: for tests.
    #[cfg(test)]
    pub(crate) fn confuse_summary(&mut self) {
        let mut summary = self.tracker.summary().cloned().unwrap_or_default();
        summary.inserted(&Item::from_bytes(&[7; 32]));
        self.tracker.install(summary);
    }

    /// Keeps the summary for the next start, unless the one in the file is good.
    pub(super) fn keep_summary(&mut self) -> Result<(), StoreError> {
        // This also notices what another program wrote in the meantime.
        let mut transaction = Transaction::begin(self)?;
        let tracker = &transaction.tracker;
        let bytes = match tracker.summary().filter(|_| !tracker.is_outdated()) {
            Some(summary) if !tracker.marked || tracker.wrong => Some(summary.to_bytes()),
            None if tracker.marked => None,
            _ => return Ok(()),
        };
        transaction.write(|connection| {
            match bytes {
                Some(bytes) => {
                    connection.execute(KEEP, [bytes])?;
                    connection.execute(MARK, [])?;
                }
                None => drop(connection.execute(UNMARK, [])?),
            }
            connection.execute_batch("COMMIT")
        })
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::testing::{Place, deleted, key, put, store};

    /// The summary is known, and that of the records.
    fn check(sqlite: &mut SqliteStore) {
        let records = sqlite.scan("", None, usize::MAX).unwrap();
        let expected = Summary::of(records.iter().map(Item::of));
        assert_eq!(sqlite.summary(), Some(&expected));
        assert_eq!(Summary::of(sqlite.items().unwrap()), expected);
    }

    #[test]
    fn it_follows_what_is_committed_and_nothing_else() {
        let place = Place::new();
        let mut sqlite = place.open();
        check(&mut sqlite);
        // With the record read before, without that, and with another one read in between; twice in one transaction.
        let mut transaction = sqlite.begin().unwrap();
        transaction.get(&key("a")).unwrap();
        transaction.put(&put("a", b"1", 1)).unwrap();
        transaction.put(&put("b", b"1", 2)).unwrap();
        transaction.get(&key("a")).unwrap();
        transaction.put(&deleted("b", 3)).unwrap();
        transaction.put(&put("b", b"2", 4)).unwrap();
        transaction.put(&put("a", b"2", 5)).unwrap();
        assert_eq!(transaction.summary().unwrap().count(), 0, "not yet");
        transaction.commit().unwrap();
        check(&mut sqlite);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"3", 6)).unwrap();
        transaction.put(&put("c", b"1", 7)).unwrap();
        drop(transaction);
        check(&mut sqlite);
        // What was read outside the transaction, or in one that is over, may have changed since.
        sqlite.get(&key("a")).unwrap();
        store(&mut sqlite, &[put("a", b"4", 8)]);
        store(&mut sqlite, &[put("a", b"5", 9)]);
        check(&mut sqlite);
    }

    #[test]
    fn a_clean_stop_keeps_it_and_a_run_without_writes_leaves_it() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), deleted("b", 2)]);
        assert!(place.crashed().open().summary().is_none(), "nothing was kept yet");
        sqlite.close().unwrap();
        let closed = place.content();

        let mut sqlite = place.open();
        check(&mut sqlite);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("c", b"1", 3)).unwrap();
        drop(transaction);
        sqlite.begin().unwrap().commit().unwrap();
        check(&mut place.crashed().open());
        sqlite.close().unwrap();
        assert!(closed == place.content(), "there was nothing to write");
    }

    #[test]
    fn the_first_change_ends_it_in_the_same_transaction() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1)]);
        sqlite.close().unwrap();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"2", 2)]);
        check(&mut sqlite);
        assert_eq!(place.crashed().open().summary(), None);
        sqlite.close().unwrap();
        check(&mut place.open());
    }

    #[test]
    fn what_another_program_does_is_noticed() {
        for sql in [
            "DELETE FROM kv_store WHERE key = 'a'",
            "INSERT INTO kv_store (key, value, timestamp, author) SELECT 'c', value, timestamp, author FROM kv_store LIMIT 1",
            "UPDATE summary SET bytes = zeroblob(5)",
            "DELETE FROM summary",
        ] {
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
            sqlite.close().unwrap();
            place.shell(sql);
            let sqlite = place.open();
            assert_eq!(sqlite.summary(), None, "while we were away: {sql}");
            drop(sqlite);
        }
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        sqlite.close().unwrap();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("b", b"2", 3)]);
        check(&mut sqlite);
        place.shell("DELETE FROM kv_store WHERE key = 'a'");
        drop(sqlite.begin().unwrap());
        assert!(sqlite.is_outdated(), "while we were there");
        store(&mut sqlite, &[put("c", b"1", 4)]);
        sqlite.close().unwrap();
        assert_eq!(place.open().summary(), None, "and nothing is kept");

        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        sqlite.close().unwrap();
        let sqlite = place.open();
        place.shell("UPDATE kv_store SET digest = zeroblob(16) WHERE key = 'a'");
        sqlite.close().unwrap();
        assert_eq!(place.open().summary(), None, "not even what was kept before");
    }

    #[test]
    fn an_own_checkpoint_and_readers_are_not_another_program() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = crate::store::Readers::open(&place.file, 2).unwrap();
        for n in 1..600 {
            store(&mut sqlite, &[put("a", &[7; 65_536], n)]);
            assert!(readers.get(&key("a")).unwrap().is_some());
            assert!(sqlite.summary().is_some(), "after transaction {n}");
        }
        check(&mut sqlite);
    }
}
