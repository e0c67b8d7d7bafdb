//! The summary of what is committed: it follows every transaction, and is kept in the file over a clean stop.
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

const IS_EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM kv_store)";
const IS_VALID: &str = "SELECT EXISTS (SELECT 1 FROM meta WHERE name = 'summary' AND value = 'valid')";
const KEPT: &str = "SELECT bytes FROM summary";
const HAS_UNINDEXED: &str = "SELECT EXISTS (SELECT 1 FROM kv_store INDEXED BY kv_store_item WHERE key_hash IS NULL)";
const COUNT: &str = "SELECT COUNT(*) FROM kv_store";
const KEEP: &str = "INSERT OR REPLACE INTO summary (id, bytes) VALUES (1, ?1)";
const MARK: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES ('summary', 'valid')";
pub(super) const UNMARK: &str = "DELETE FROM meta WHERE name = 'summary'";

/// Changes of one transaction that are remembered with no more than their room; a larger transaction gives it back.
const PENDING_KEPT: usize = 4_096;

/// One record stored, replaced or taken out.
#[derive(Debug, Clone, Copy)]
struct Change {
    old: Option<Item>,
    new: Option<Item>,
}

impl Change {
    fn apply(self, summary: &mut Summary) {
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
    /// What the open transaction did.
    pending: Vec<Change>,
    /// What the open transaction found last: a `put` mostly follows the `get` of its key.
    found: Option<(Key, Option<Item>)>,
    /// The mark is set in the file.
    marked: bool,
    /// It must go, though no record changes.
    wrong: bool,
}

impl Tracker {
    /// Reads what was kept. Costs a walk over the narrowest index, to notice what another program added or removed.
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
        self.marked && (self.wrong || !self.pending.is_empty())
    }

    pub(super) fn committed(&mut self) {
        if self.must_unmark() {
            (self.marked, self.wrong) = (false, false);
        }
        let since = self.since.as_mut().map(|(_, since)| since);
        for summary in self.summary.iter_mut().chain(since) {
            self.pending.iter().for_each(|change| change.apply(summary));
        }
        self.forget_pending();
    }

    pub(super) fn forget_pending(&mut self) {
        self.pending.clear();
        self.pending.shrink_to(PENDING_KEPT);
        self.found = None;
    }

    /// Another program wrote to the file, or nobody knows what was committed.
    pub(super) fn lose(&mut self) {
        self.summary = None;
        self.since = None;
        self.wrong = self.marked;
    }

    /// Begins to follow what changes from this moment on, and names the scan that reads what is there now.
    pub(super) fn start_scan(&mut self) -> u64 {
        self.scans += 1;
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
    let count: i64 = connection.query_row(COUNT, [], |row| row.get(0))?;
    Ok((!unindexed && count.unsigned_abs() == summary.count()).then_some(summary))
}

impl SqliteStore {
    /// The summary of everything that is committed; none while it is not known: after a stop in the middle of writing, after
    /// [`reopen`](Self::reopen), and after another program wrote to the file. Then a [scan](Self::start_scan) is due.
    pub fn summary(&self) -> Option<&Summary> {
        self.tracker.summary()
    }

    /// Forgets the summary, as a stop in the middle of writing does: for tests and benchmarks.
    pub fn forget_summary(&mut self) {
        self.tracker.lose();
    }

    /// Keeps the summary for the next start, unless the one in the file is good.
    pub(super) fn keep_summary(&mut self) -> Result<(), StoreError> {
        let bytes = match self.tracker.summary() {
            Some(summary) if !self.tracker.marked || self.tracker.wrong => Some(summary.to_bytes()),
            None if self.tracker.marked => None,
            _ => return Ok(()),
        };
        let connection = self.connection()?;
        let write = || {
            let transaction = connection.unchecked_transaction()?;
            match bytes {
                Some(bytes) => {
                    transaction.execute(KEEP, [bytes])?;
                    transaction.execute(MARK, [])?;
                }
                None => drop(transaction.execute(UNMARK, [])?),
            }
            transaction.commit()
        };
        write().map_err(|cause| StoreError::sqlite(self.file(), cause))
    }
}
