//! Turns rows that another program added into records of the store: they get the columns that their item needs. A scan
//! finds which they are, and there may be millions; they are completed some at a time, so that nobody waits for all of
//! them. Which row needs what is left to `mending`.

use super::rows::log_unnamed;
use super::scan::ScanFound;
use crate::store::error::StoreError;
use crate::store::sqlite::SqliteStore;
use crate::store::table::RowId;

/// Rows completed in one transaction: some milliseconds of work.
pub(super) const AT_A_TIME: usize = 500;
/// Rows that wait to be completed, 16 bytes each. A further scan finds what is beyond.
pub const INCOMPLETE_ROWS_MAX: usize = 2_000_000;

/// Rows that are still to be completed.
#[derive(Debug, Default)]
pub(in crate::store) struct Incomplete {
    /// The next ones last.
    rows: Vec<RowId>,
    /// How many there were when the scan ended.
    found: u64,
    /// There are more than are listed.
    more: bool,
    /// Rows that are no records.
    unreadable: u64,
}

/// How far the store has come with the rows that another program added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Completed {
    /// Rows that were looked at so far, of those found by the last scan.
    pub done: u64,
    /// Rows that the last scan found.
    pub found: u64,
}

impl Completed {
    /// Whether there is nothing more to do.
    pub fn is_over(self) -> bool {
        self.done >= self.found
    }
}

impl SqliteStore {
    /// These rows are to be completed, in place of any others.
    pub(super) fn list_incomplete(&mut self, mut rows: Vec<RowId>, more: bool) {
        rows.reverse();
        self.incomplete = Incomplete {
            found: rows.len() as u64,
            rows,
            more,
            unreadable: 0,
        };
    }

    /// How far the store has come with the rows that another program added; none when none are left.
    pub fn completing(&self) -> Option<Completed> {
        let left = self.incomplete.rows.len() as u64;
        (left > 0).then(|| Completed {
            done: self.incomplete.found - left,
            found: self.incomplete.found,
        })
    }

    /// Completes some of the rows that the last scan found, in one transaction. Those that are no records are left as they are. To be
    /// called outside a transaction, until it is over.
    ///
    /// # Errors
    /// When the file cannot be written. The rows are completed by a later call then.
    pub fn complete_some(&mut self) -> Result<Completed, StoreError> {
        let keep = self.incomplete.rows.len().saturating_sub(AT_A_TIME);
        let some = self.incomplete.rows.split_off(keep);
        let mut verified = ScanFound::default();
        if let Err(error) = self.mend_in_parts(some.as_slice(), &mut verified) {
            self.incomplete.rows.extend(some);
            return Err(error);
        }
        self.incomplete.unreadable += verified.unreadable;
        let completed = Completed {
            done: self.incomplete.found - keep as u64,
            found: self.incomplete.found,
        };
        if completed.is_over() {
            self.finish_completing();
        }
        Ok(completed)
    }

    fn finish_completing(&mut self) {
        let Incomplete { more, unreadable, .. } = std::mem::take(&mut self.incomplete);
        log_unnamed(0, unreadable);
        if more {
            self.tracker.doubt();
        }
    }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;

    use super::*;
    use crate::store::testing::{Place, put, store};
    use crate::store::{Depth, SummaryWas};

    /// So many rows as another program adds them: with nothing but what it can know.
    fn add(place: &Place, rows: usize) {
        place.shell(&format!(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
            INSERT INTO kv_store (key, value, timestamp, author)
            SELECT 'theirs ' || i, 'v', i, author FROM n, (SELECT author FROM kv_store LIMIT 1)"
        ));
    }

    fn scanned(sqlite: &mut SqliteStore, depth: Depth) -> ScanFound {
        let scanned = sqlite.start_scan(depth).unwrap().run().unwrap();
        sqlite.finish_scan(scanned).unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "how much is tried is the caller's choice")]
    fn counts() -> Vec<usize> {
        let full = std::env::var_os("P2P_SYNC_FULL").is_some();
        let mut counts = vec![1, AT_A_TIME, AT_A_TIME + 1, 20_001];
        counts.extend(full.then_some(1_000_000));
        counts
    }

    #[test]
    fn all_rows_of_another_program_become_records_however_many_they_are() {
        for rows in counts() {
            for running in [true, false] {
                let place = Place::new();
                let mut sqlite = place.open();
                store(&mut sqlite, &[put("ours", b"v", 1)]);
                if !running {
                    sqlite.close().unwrap();
                    add(&place, rows);
                    sqlite = place.open();
                } else {
                    add(&place, rows);
                    sqlite.look_for_others().unwrap();
                }
                let verified = scanned(&mut sqlite, Depth::Items);
                assert_eq!((verified.left, verified.removed.len()), (0, 0), "none is damaged");
                let (mut steps, mut last) = (0, Completed::default());
                while sqlite.completing().is_some() {
                    let now = sqlite.complete_some().unwrap();
                    assert!(now.done > last.done && now.done - last.done <= AT_A_TIME as u64);
                    (steps, last) = (steps + 1, now);
                }
                assert_eq!(
                    steps,
                    rows.div_ceil(AT_A_TIME) - 1,
                    "the first ones are completed with the scan"
                );
                let held = sqlite.items().unwrap();
                assert_eq!(held.len(), rows + 1);
                assert_eq!(sqlite.summary(), Some(&Summary::of(held)));
                if rows < 100_000 {
                    let verified = scanned(&mut sqlite, Depth::Records);
                    assert_eq!((verified.summary, verified.indexed), (SummaryWas::Right, 0));
                }
                sqlite.close().unwrap();
                assert!(place.open().summary().is_some(), "nothing is left to do");
            }
        }
    }

    #[test]
    fn what_changes_while_rows_are_completed_stays_as_it_is_then() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("ours", b"v", 1)]);
        add(&place, 3 * AT_A_TIME);
        place.shell("INSERT INTO kv_store (key, value, timestamp, author) VALUES ('bad', 'v', 5, '0')");
        sqlite.look_for_others().unwrap();
        scanned(&mut sqlite, Depth::Items);
        assert!(sqlite.completing().is_some());
        let newer = put(&format!("theirs {}", 2 * AT_A_TIME), b"ours now", 9_000);
        store(&mut sqlite, std::slice::from_ref(&newer));
        while sqlite.completing().is_some() {
            sqlite.complete_some().unwrap();
        }
        assert_eq!(sqlite.get(&newer.key).unwrap(), Some(newer));
        let held = sqlite.items().unwrap();
        assert_eq!(held.len(), 3 * AT_A_TIME + 1, "a row that is no record is none");
        assert_eq!(sqlite.summary(), Some(&Summary::of(held)));
    }
}
