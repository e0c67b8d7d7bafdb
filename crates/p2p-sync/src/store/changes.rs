//! What changed after a place in the change sequence: one range of the table. A watcher reads it by its cursor, at its own
//! pace; a sync bulk reads the same range.

use p2p_sync_core::sequence::{Cursor, Epochs};
use p2p_sync_core::sync::{PageLimit, cost};
use p2p_sync_core::text::shortened;
use p2p_sync_core::{Key, Record};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::authors::Authors;
use super::error::StoreError;
use super::others;
use super::reader::Readers;
use super::rows;
use super::sequence;

/// Rows looked at for a page, for each record that fits into it, and the same for their bytes: where many are damaged, it is
/// cut short.
const LOOKED_AT_PER_PAGE: usize = 4;

/// Each table is in this order, so they are merged as they are read.
pub(super) const BY_NUMBER: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, 0 AS conflict, signature \
    FROM kv_store WHERE sequence > ?1 AND sequence <= ?2 \
    UNION ALL SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, 1, signature \
    FROM kv_conflict WHERE sequence > ?1 AND sequence <= ?2 ORDER BY sequence";

const LIVE_TO_END: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, signature \
    FROM kv_store WHERE key >= ?1 AND deleted_at IS NULL ORDER BY key";
const LIVE_BELOW: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, sequence, signature \
    FROM kv_store WHERE key >= ?1 AND key < ?2 AND deleted_at IS NULL ORDER BY key";

/// A version that the store took in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The place behind it.
    pub cursor: Cursor,
    /// The version.
    pub record: Record,
    /// It lost to another version of its key, whose author had not seen it.
    pub is_conflict: bool,
}

/// What changed behind a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The changes, in the order in which the store took them in: of each key the versions that are held now.
    pub changes: Vec<Changed>,
    /// The place behind all of them, at which the next read begins.
    pub cursor: Cursor,
    /// Nothing had changed behind that place when this was read.
    pub is_all: bool,
}

impl Readers {
    /// The place behind everything that is committed now; none if the store does not know one, which it makes up for with its next
    /// transaction.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        self.read(|reader, file| {
            let place = Place::read(&reader.connection, &mut reader.epochs);
            let place = place.map_err(|cause| StoreError::sqlite(file, cause))?;
            Ok(place.and_then(|place| reader.epochs.1.cursor(place.last, place.last)))
        })
    }

    /// What changed behind a place, up to the limit. None: the cursor is lost, and what changed since cannot be told: it is
    /// another store's, or the store was rolled back, rescued or changed by another program meanwhile. Damaged records are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn changes_since(&self, cursor: Cursor, limit: PageLimit) -> Result<Option<Changes>, StoreError> {
        self.read(|reader, file| {
            let (connection, authors) = (&reader.connection, &mut reader.authors);
            let changes = changes_since(connection, authors, &mut reader.epochs, cursor, limit);
            changes.map_err(|cause| StoreError::sqlite(file, cause))
        })
    }
}

/// Values of keys as they were at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The values, in the order of their keys.
    pub records: Vec<Record>,
    /// The key behind which the next page begins; none: this was the last one.
    pub next: Option<Key>,
}

impl Readers {
    /// Values of the keys that start with `prefix` and come after `after`, up to the limit, as far as they have not changed behind a
    /// place. Together with the [changes](Self::changes_since) behind that place, the pages give what is held, each key told once or
    /// followed by what became of it. Damaged records are left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn snapshot(
        &self,
        prefix: &str,
        after: Option<&Key>,
        place: Cursor,
        limit: PageLimit,
    ) -> Result<Snapshot, StoreError> {
        self.read(|reader, file| {
            let (connection, authors) = (&reader.connection, &mut reader.authors);
            let page = snapshot(connection, authors, (prefix, after), place.number.cast_signed(), limit);
            page.map_err(|cause| StoreError::sqlite(file, cause))
        })
    }
}

fn snapshot(
    connection: &Connection,
    authors: &mut Authors,
    (prefix, after): (&str, Option<&Key>),
    last: i64,
    limit: PageLimit,
) -> rusqlite::Result<Snapshot> {
    let (from, below) = (rows::lower_bound(prefix, after), rows::upper_bound(prefix));
    let mut statement = connection.prepare_cached(below.as_ref().map_or(LIVE_TO_END, |_| LIVE_BELOW))?;
    let mut rows = match &below {
        None => statement.query(params![from]),
        Some(below) => statement.query(params![from, below]),
    }?;
    let records_max = limit.records.max(1);
    let rows_max = records_max.saturating_mul(LOOKED_AT_PER_PAGE);
    let mut page = Snapshot {
        records: Vec::new(),
        next: None,
    };
    let (mut bytes, mut rows_seen) = (0, 0_usize);
    while let Some(row) = rows.next()? {
        let (_, key) = rows::key_of(row, 5)?;
        let Ok(key) = key else { continue };
        rows_seen += 1;
        // What changed since is told as a change; what another program wrote is one as soon as it is completed.
        let is_due = row.get::<_, i64>(7)? <= last && row.get_ref(6)? != ValueRef::Null;
        if is_due && let Ok(record) = rows::proved(rows::record(row, authors, key.clone()), row.get_ref(6)?) {
            bytes += cost(&record);
            page.records.push(record);
        }
        if bytes > limit.bytes || page.records.len() >= records_max || rows_seen >= rows_max {
            page.next = Some(key);
            break;
        }
    }
    Ok(page)
}

/// The epochs that a reader knows, and the newest of them by what the file said: they are read again when it says another.
pub(super) type KnownEpochs = (Option<sequence::Kept>, Epochs);

/// Where the sequence ends.
struct Place {
    last: u64,
}

impl Place {
    /// None while the epochs are good for nothing.
    fn read(connection: &Connection, known: &mut KnownEpochs) -> rusqlite::Result<Option<Self>> {
        let kept = sequence::kept(connection)?;
        if kept.map(|kept| kept.epoch) != known.0.map(|kept| kept.epoch) {
            known.1 = sequence::epochs(connection)?;
        }
        known.0 = kept;
        let others = others::number(connection)?;
        let good = kept.filter(|kept| kept.is_good_for(others));
        Ok(good.map(|kept| Self { last: kept.number }))
    }
}

fn changes_since(
    connection: &Connection,
    authors: &mut Authors,
    known: &mut KnownEpochs,
    cursor: Cursor,
    limit: PageLimit,
) -> rusqlite::Result<Option<Changes>> {
    // The end of the sequence and the rows are those of one moment.
    let _moment = connection.unchecked_transaction()?;
    let Some(Place { last }) = Place::read(connection, known)? else {
        return Ok(None);
    };
    let epochs = &known.1;
    if !epochs.know(cursor, last) {
        return Ok(None);
    }
    let read = read(
        connection,
        authors,
        (cursor.number.cast_signed(), last.cast_signed()),
        limit,
    )?;
    let place = |number: u64| epochs.cursor(number, last).unwrap_or(cursor);
    let end = read.reached.filter(|_| !read.is_all).map_or(last, i64::unsigned_abs);
    Ok(Some(Changes {
        cursor: place(end),
        is_all: read.is_all,
        changes: (read.records.into_iter())
            .map(|found| Changed {
                cursor: place(found.number.unsigned_abs()),
                record: found.record,
                is_conflict: found.is_conflict,
            })
            .collect(),
    }))
}

/// The sound record of a row.
pub(super) struct Found {
    number: i64,
    pub(super) record: Record,
    is_conflict: bool,
}

/// Sound records in the order of their numbers, of rows that were read.
pub(super) struct Read {
    pub(super) records: Vec<Found>,
    /// The number of the last row that was looked at.
    pub(super) reached: Option<i64>,
    /// There are no further rows in the range.
    pub(super) is_all: bool,
    pub(super) damaged: u64,
    /// The key of the first damaged one, made printable, and what is wrong with it.
    pub(super) first: Option<(String, rows::Why)>,
}

/// Reads the rows with these numbers, the first number excluded, the last one included, as far as the limit goes.
pub(super) fn read(
    connection: &Connection,
    authors: &mut Authors,
    (after, last): (i64, i64),
    limit: PageLimit,
) -> rusqlite::Result<Read> {
    let mut statement = connection.prepare_cached(BY_NUMBER)?;
    let mut rows = statement.query([after, last])?;
    let records_max = limit.records.max(1);
    let rows_max = records_max.saturating_mul(LOOKED_AT_PER_PAGE);
    let bytes_max = limit.bytes.saturating_mul(LOOKED_AT_PER_PAGE);
    let mut read = Read {
        records: Vec::new(),
        reached: None,
        is_all: false,
        damaged: 0,
        first: None,
    };
    let (mut bytes, mut rows_seen, mut bytes_seen) = (0, 0_usize, 0_usize);
    while bytes <= limit.bytes && read.records.len() < records_max && rows_seen < rows_max && bytes_seen <= bytes_max {
        let Some(row) = rows.next()? else {
            read.is_all = true;
            break;
        };
        let before = read.reached;
        rows_seen += 1;
        bytes_seen = bytes_seen.saturating_add(value_bytes(row)?);
        let number = row.get(7)?;
        read.reached = Some(number);
        // Another program's: it is no version of the store before it is completed, under a higher number.
        if row.get_ref(6)? == ValueRef::Null {
            continue;
        }
        let (key, record) = rows::whole(row, authors)?;
        match rows::proved(record, row.get_ref(6)?) {
            Ok(record) => {
                bytes += cost(&record);
                // One record may cost more than a page, or a bulk would never end.
                if bytes > limit.bytes && !read.records.is_empty() {
                    read.reached = before;
                    break;
                }
                let is_conflict = row.get(8)?;
                read.records.push(Found {
                    number,
                    record,
                    is_conflict,
                });
            }
            Err(why) => {
                read.damaged += 1;
                if read.first.is_none() {
                    read.first = Some((shortened(key), why));
                }
            }
        }
    }
    Ok(read)
}

/// Bytes of the value of a row.
fn value_bytes(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(match row.get_ref(0)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use p2p_sync_core::limits::EPOCHS_MAX;
    use p2p_sync_core::store::Store;
    use proptest::prelude::*;
    use proptest::test_runner::FileFailurePersistence;

    use super::*;
    use crate::store::testing::{Place, deleted, key, put, store};
    use crate::store::{RowId, SqliteStore, Transaction};

    fn limit(records: usize) -> PageLimit {
        PageLimit {
            records,
            ..PageLimit::FULL
        }
    }

    fn readers(place: &Place) -> Readers {
        Readers::open(&place.file, 1).unwrap()
    }

    /// All that changed, by reads of two records at most; none when the cursor is lost.
    fn all_since(readers: &Readers, mut cursor: Cursor) -> Option<(Vec<Record>, Cursor)> {
        let mut found: Vec<Changed> = Vec::new();
        loop {
            let changes = readers.changes_since(cursor, limit(2)).unwrap()?;
            assert!(changes.changes.len() <= 2);
            found.extend(changes.changes);
            cursor = changes.cursor;
            if changes.is_all {
                break;
            }
        }
        for pair in found.windows(2) {
            assert!(
                pair[0].cursor.number < pair[1].cursor.number,
                "in the order of the store"
            );
        }
        // Each change has a place of its own, from which it goes on behind it.
        for (at, one) in found.iter().enumerate() {
            let rest = readers.changes_since(one.cursor, limit(1_000)).unwrap().unwrap();
            assert_eq!(rest.changes, found[at + 1..]);
        }
        Some((found.into_iter().map(|changed| changed.record).collect(), cursor))
    }

    #[test]
    fn what_changed_is_told_from_every_place_on() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = readers(&place);
        let start = readers.cursor().unwrap().unwrap();
        assert_eq!(
            all_since(&readers, start).unwrap(),
            (vec![], start),
            "of nothing, nothing"
        );
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2), put("c", b"1", 3)]);
        let (all, middle) = all_since(&readers, start).unwrap();
        assert_eq!(all, [put("a", b"1", 1), put("b", b"1", 2), put("c", b"1", 3)]);
        assert_eq!(readers.cursor().unwrap(), Some(middle));
        store(&mut sqlite, &[put("b", b"2", 4), deleted("a", 5), put("b", b"3", 6)]);
        let (later, end) = all_since(&readers, middle).unwrap();
        assert_eq!(later, [deleted("a", 5), put("b", b"3", 6)], "the newest version, once");
        let (all, same_end) = all_since(&readers, start).unwrap();
        assert_eq!(all, [put("c", b"1", 3), deleted("a", 5), put("b", b"3", 6)]);
        assert_eq!(same_end, end);
        assert_eq!(all_since(&readers, end).unwrap(), (vec![], end));
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("d", b"1", 7)).unwrap();
        assert_eq!(
            all_since(&readers, end).unwrap(),
            (vec![], end),
            "nothing before it is committed"
        );
        drop(transaction);
        store(&mut sqlite, &[put("e", b"1", 8)]);
        assert_eq!(all_since(&readers, end).unwrap().0, [put("e", b"1", 8)]);
    }

    #[test]
    fn a_cursor_outlives_restarts_and_crashes() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1)]);
        let cursor = readers(&place).cursor().unwrap().unwrap();
        sqlite.close().unwrap();
        let before = place.content();
        place.open().close().unwrap();
        assert_eq!(
            place.content(),
            before,
            "a run without a change leaves the file as it is"
        );
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("b", b"1", 2)]);
        let second = readers(&place).cursor().unwrap().unwrap();
        assert_ne!(second.epoch, cursor.epoch, "each run has its own epoch");
        let crashed = place.crashed();
        let mut sqlite = crashed.open();
        store(&mut sqlite, &[put("c", b"1", 3)]);
        let readers = readers(&crashed);
        assert_eq!(
            all_since(&readers, cursor).unwrap().0,
            [put("b", b"1", 2), put("c", b"1", 3)]
        );
        assert_eq!(all_since(&readers, second).unwrap().0, [put("c", b"1", 3)]);
        assert_eq!(
            crashed.rows("SELECT CAST(COUNT(*) AS TEXT) FROM change_epoch"),
            ["4"],
            "and one of when the file was made"
        );
    }

    #[test]
    fn a_number_is_not_used_again_for_a_row_that_was_taken_out() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        // As a disk does it, of whose deeds no trigger knows.
        place.shell("DROP TRIGGER kv_store_others_update; UPDATE kv_store SET value = 'rot' WHERE key = 'b'");
        let mut transaction = sqlite.begin().unwrap();
        assert!(transaction.set_aside(RowId::value(2)).unwrap());
        transaction.commit().unwrap();
        sqlite.close().unwrap();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("c", b"1", 3)]);
        assert_eq!(place.rows("SELECT key || sequence FROM kv_store"), ["a1", "c3"]);
    }

    #[test]
    fn a_store_that_was_rolled_back_does_not_know_what_came_after() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1)]);
        let early = readers(&place).cursor().unwrap().unwrap();
        let copy = place.crashed();
        store(&mut sqlite, &[put("b", b"1", 2), put("c", b"1", 3)]);
        let late = readers(&place).cursor().unwrap().unwrap();
        assert_eq!(early.epoch, late.epoch, "the copy was made in the middle of a run");
        let mut rolled_back = copy.open();
        let readers = readers(&copy);
        assert_eq!(all_since(&readers, late), None, "before anything was written");
        let others = [put("x", b"1", 4), put("y", b"1", 5), put("z", b"1", 6)];
        store(&mut rolled_back, &others);
        assert_eq!(all_since(&readers, late), None);
        assert_eq!(all_since(&readers, early).unwrap().0, others);
    }

    #[test]
    fn other_stores_and_rescued_ones_do_not_know_a_cursor() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        let pool = readers(&place);
        let cursor = pool.cursor().unwrap().unwrap();
        let other = Place::new();
        store(&mut other.open(), &[put("a", b"1", 1), put("b", b"1", 2)]);
        assert_eq!(all_since(&readers(&other), cursor), None);
        sqlite.rescue(&pool).unwrap();
        assert_eq!(all_since(&pool, cursor), None);
        let anew = pool.cursor().unwrap().unwrap();
        assert_eq!(all_since(&pool, anew).unwrap().0, []);
    }

    #[test]
    fn what_other_programs_change_loses_the_cursors_and_comes_as_a_change_when_it_is_completed() {
        for running in [true, false] {
            for sql in [
                "INSERT INTO kv_store (key, value, timestamp, author) SELECT 'theirs', 'v', 5, author FROM kv_store LIMIT 1",
                "INSERT INTO kv_store (sequence, key, value, timestamp, author) SELECT -3, 'theirs', 'v', 5, author FROM kv_store LIMIT 1",
                "INSERT INTO kv_store (sequence, key, value, timestamp, author) \
                    SELECT 9223372036854775807, 'theirs', 'v', 5, author FROM kv_store LIMIT 1",
                "INSERT INTO kv_store (sequence, key, value, timestamp, author) SELECT 500, 'theirs', 'v', 5, author FROM kv_store LIMIT 1",
            ] {
                let place = Place::new();
                let mut sqlite = place.open();
                store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
                let cursor = readers(&place).cursor().unwrap().unwrap();
                if running {
                    place.shell(sql);
                    assert_eq!(all_since(&readers(&place), cursor), None, "at once: {sql}");
                    sqlite.look_for_others().unwrap();
                } else {
                    sqlite.close().unwrap();
                    place.shell(sql);
                    sqlite = place.open();
                }
                let readers = readers(&place);
                assert_eq!(all_since(&readers, cursor), None, "{sql}");
                let anew = readers.cursor().unwrap().unwrap();
                assert_eq!(all_since(&readers, anew).unwrap().0, [], "{sql}");
                store(&mut sqlite, &[put("c", b"1", 9)]);
                let scan = sqlite.start_scan(crate::store::Depth::Items).unwrap().run().unwrap();
                assert_eq!(sqlite.finish_scan(scan).unwrap().indexed, 1, "{sql}");
                assert_eq!(
                    all_since(&readers, anew).unwrap().0,
                    [put("c", b"1", 9), put("theirs", b"v", 5)],
                    "{sql}"
                );
                assert_eq!(sqlite.last_timestamp().unwrap().unwrap().as_nanos(), 9);
            }
        }
    }

    #[test]
    fn what_another_program_takes_out_is_not_passed_over_in_silence() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 1), put("b", b"1", 2)]);
        let readers = readers(&place);
        let cursor = readers.cursor().unwrap().unwrap();
        place.shell("DELETE FROM kv_store WHERE key = 'b'");
        store(&mut sqlite, &[put("c", b"1", 3)]);
        assert_eq!(all_since(&readers, cursor), None);
        assert_eq!(
            place.rows("SELECT key || sequence FROM kv_store"),
            ["a1", "c3"],
            "nor is its number used again"
        );
        // Somebody took away what was kept.
        let cursor = readers.cursor().unwrap().unwrap();
        sqlite.close().unwrap();
        place.shell("DELETE FROM change_sequence; DELETE FROM change_epoch");
        let mut sqlite = place.open();
        assert_eq!(all_since(&readers, cursor), None);
        let anew = readers.cursor().unwrap().unwrap();
        store(&mut sqlite, &[put("d", b"1", 4)]);
        assert_eq!(all_since(&readers, anew).unwrap().0, [put("d", b"1", 4)]);
        assert_eq!(sqlite.last_timestamp().unwrap().unwrap().as_nanos(), 4);
    }

    #[test]
    fn damaged_records_are_left_out_and_large_ones_come_alone() {
        let place = Place::new();
        let mut sqlite = place.open();
        let start = readers(&place).cursor().unwrap().unwrap();
        let large = [
            put("a", &[1; 60_000], 1),
            put("b", &[2; 60_000], 2),
            put("c", &[3; 60_000], 3),
        ];
        store(&mut sqlite, &large);
        place.shell("DROP TRIGGER kv_store_others_update; UPDATE kv_store SET value = 'rot' WHERE key = 'b'");
        // As if nobody had seen that.
        place.shell(
            "CREATE TRIGGER kv_store_others_update AFTER UPDATE ON kv_store \
            BEGIN UPDATE change_of_others SET number = number + 1; END",
        );
        let small = PageLimit {
            records: 10,
            bytes: 1_000,
        };
        let first = readers(&place).changes_since(start, small).unwrap().unwrap();
        assert_eq!((first.changes.len(), first.is_all), (1, false));
        assert_eq!(first.changes[0].record, large[0]);
        let rest = all_since(&readers(&place), first.cursor).unwrap();
        assert_eq!(rest.0, large[2..]);
    }

    #[test]
    fn epochs_are_bounded() {
        let place = Place::new();
        let mut sqlite = place.open();
        let mut cursors = Vec::new();
        for n in 1..=EPOCHS_MAX + 5 {
            store(&mut sqlite, &[put("a", b"1", n as i64)]);
            if n % 250 == 0 || n == 1 {
                cursors.push(readers(&place).cursor().unwrap().unwrap());
            }
            // As another start does it, in less time.
            let connection = sqlite.connection().unwrap();
            let others = others::number(connection).unwrap();
            sqlite.numbers = sequence::Numbers::load(connection, others).unwrap();
        }
        let kept = place.rows("SELECT CAST(COUNT(*) AS TEXT) FROM change_epoch");
        assert_eq!(kept, [EPOCHS_MAX.to_string()]);
        let known = cursors
            .iter()
            .map(|cursor| all_since(&readers(&place), *cursor).is_some());
        assert_eq!(known.collect::<Vec<_>>(), [false, true, true, true, true]);
    }

    #[derive(Debug, Clone)]
    enum Deed {
        /// Versions of these keys in one transaction, which is committed or rolled back.
        Write {
            keys: Vec<u8>,
            commits: bool,
        },
        /// The process ends in the middle of a transaction, and another one opens what a crash leaves.
        Crash {
            keys: Vec<u8>,
        },
        Restart,
        /// The files are replaced by those of so many deeds ago.
        RollBack {
            deeds: usize,
        },
        /// Another program takes out a key.
        TakeOut {
            key: u8,
        },
        /// A watcher reads once.
        Poll {
            watcher: usize,
            records: usize,
        },
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let keys = || prop::collection::vec(0..6_u8, 1..5);
        let deed = prop_oneof![
            8 => (keys(), prop::bool::weighted(0.8)).prop_map(|(keys, commits)| Deed::Write { keys, commits }),
            1 => keys().prop_map(|keys| Deed::Crash { keys }),
            1 => Just(Deed::Restart),
            1 => (1..6_usize).prop_map(|deeds| Deed::RollBack { deeds }),
            1 => (0..6_u8).prop_map(|key| Deed::TakeOut { key }),
            8 => (0..3_usize, 1..4_usize).prop_map(|(watcher, records)| Deed::Poll { watcher, records }),
        ];
        prop::collection::vec(deed, 1..40)
    }

    /// Somebody who keeps a picture of the store up to date by its changes.
    #[derive(Default)]
    struct Watcher {
        cursor: Option<Cursor>,
        picture: BTreeMap<Key, Record>,
        /// Every change that it was told since it began anew.
        told: Vec<Cursor>,
    }

    struct World {
        place: Place,
        sqlite: SqliteStore,
        time: i64,
        watchers: [Watcher; 3],
        /// Versions by the epoch and the number under which they were stored.
        numbers: BTreeMap<(String, u64), Record>,
    }

    impl World {
        fn write(&mut self, keys: &[u8]) -> Transaction<'_> {
            let mut transaction = self.sqlite.begin().unwrap();
            for number in keys {
                self.time += 1;
                let name = format!("key {number}");
                let version = if self.time % 3 == 0 {
                    deleted(&name, self.time)
                } else {
                    put(&name, b"v", self.time)
                };
                transaction.put(&version).unwrap();
            }
            transaction
        }

        fn open(&mut self, place: Place) {
            self.sqlite = place.open();
            self.place = place;
        }

        fn held(&mut self) -> BTreeMap<Key, Record> {
            let held = self.sqlite.scan("", None, usize::MAX).unwrap();
            held.into_iter().map(|record| (record.key.clone(), record)).collect()
        }

        /// The epoch in which a number was used.
        fn covering(&self, number: u64) -> String {
            let sql =
                format!("SELECT CAST(epoch AS TEXT) FROM change_epoch WHERE first <= {number} ORDER BY ordinal DESC");
            self.place.rows(&sql).into_iter().next().unwrap_or_default()
        }

        /// Reads once. True when nothing more had changed.
        fn poll(&mut self, watcher: usize, records: usize) -> bool {
            let readers = readers(&self.place);
            let mut state = std::mem::take(&mut self.watchers[watcher]);
            let changes = state
                .cursor
                .and_then(|cursor| readers.changes_since(cursor, limit(records)).unwrap());
            let is_all = match changes {
                Some(changes) => {
                    for changed in changes.changes {
                        let later = state.told.last().is_none_or(|told| told.number < changed.cursor.number);
                        assert!(later, "in order, and nothing twice");
                        state.told.push(changed.cursor);
                        let number = (self.covering(changed.cursor.number), changed.cursor.number);
                        let known = self.numbers.entry(number).or_insert_with(|| changed.record.clone());
                        assert_eq!(*known, changed.record, "a number is never used twice");
                        state.picture.insert(changed.record.key.clone(), changed.record);
                    }
                    state.cursor = Some(changes.cursor);
                    changes.is_all
                }
                // It begins anew, with all that there is.
                None => {
                    state = Watcher {
                        cursor: readers.cursor().unwrap(),
                        picture: self.held(),
                        told: Vec::new(),
                    };
                    true
                }
            };
            self.watchers[watcher] = state;
            is_all
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 60,
            failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
            ..ProptestConfig::default()
        })]

        #[test]
        fn a_watcher_ends_with_what_the_store_holds_whatever_happens(deeds in deeds()) {
            let place = Place::new();
            let mut world = World {
                sqlite: place.open(),
                place,
                time: 0,
                watchers: Default::default(),
                numbers: BTreeMap::new(),
            };
            let mut copies = Vec::new();
            for deed in deeds {
                match deed {
                    Deed::Write { keys, commits } => {
                        let transaction = world.write(&keys);
                        if commits {
                            transaction.commit().unwrap();
                        }
                    }
                    Deed::Crash { keys } => {
                        let place = world.place.dir.path().to_owned();
                        let transaction = world.write(&keys);
                        let crashed = Place::crashed_in(&place);
                        drop(transaction);
                        world.open(crashed);
                    }
                    Deed::Restart => {
                        let same = world.place.crashed();
                        world.open(same);
                    }
                    Deed::RollBack { deeds } => {
                        if copies.len() >= deeds {
                            let copy: Place = copies.swap_remove(copies.len() - deeds);
                            world.open(copy);
                        }
                    }
                    Deed::TakeOut { key } => {
                        world.place.shell(&format!("DELETE FROM kv_store WHERE key = 'key {key}'"));
                        if key % 2 == 0 {
                            world.sqlite.look_for_others().unwrap();
                        }
                    }
                    Deed::Poll { watcher, records } => drop(world.poll(watcher, records)),
                }
                copies.push(world.place.crashed());
            }
            world.sqlite.look_for_others().unwrap();
            let held = world.held();
            for watcher in 0..3 {
                while !world.poll(watcher, 2) {}
                prop_assert_eq!(&world.watchers[watcher].picture, &held);
            }
        }
    }

    #[test]
    fn a_reader_costs_nothing_for_what_lies_behind_its_place() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (0..3_000).map(|n| put(&format!("key {n}"), b"v", n + 1)).collect();
        store(&mut sqlite, &records);
        let readers = readers(&place);
        let cursor = readers.cursor().unwrap().unwrap();
        store(&mut sqlite, &[put("key 7", b"w", 9_000)]);
        let changes = readers.changes_since(cursor, limit(10)).unwrap().unwrap();
        assert_eq!(changes.changes.len(), 1);
        assert_eq!(changes.changes[0].record.key, key("key 7"));
        let steps = readers.read(|reader, _| {
            let statement = reader.connection.prepare_cached(BY_NUMBER).unwrap();
            Ok(statement.get_status(rusqlite::StatementStatus::FullscanStep))
        });
        assert_eq!(steps.unwrap(), 0);
    }
}
