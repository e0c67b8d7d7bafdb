//! What a sync asks of the store: the name of the store, records by the hash of their key and in the order of the change
//! sequence, items, and how far a bulk from another store has come. Sessions are the core's, and carrying them on the node's.
//!
//! A record whose content does not give the digest that stands beside it is damaged, by the disk or by hand. It is never
//! handed out here, so that damage stays where it is; it is counted, and a [scan](SqliteStore::start_scan) takes it out.

use std::time::{Duration, Instant};

use p2p_sync_core::Record;
use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::sync::{Page, PageLimit, StoreId};
use p2p_sync_core::text::shortened;
use rusqlite::{Connection, OptionalExtension, Row};

use super::authors::Authors;
use super::changes::{self, BY_NUMBER};
use super::columns;
use super::error::StoreError;
use super::members;
use super::rows;
use super::sqlite::SqliteStore;

/// Stores for which bulk positions are kept: the most recent ones.
pub const POSITIONS_MAX: usize = 256;
/// How often damaged records are logged at most: nothing of them is new at the next attempt to hand them on.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The index that leads from a key hash to the records, and holds all items.
pub(super) const ITEM_INDEX: &str = "kv_store_item";
pub(super) const BY_KEY_HASH: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, signature \
    FROM kv_store INDEXED BY kv_store_item WHERE key_hash = ?1";
pub(super) const CONFLICTS_BY_KEY_HASH: &str = "SELECT value, timestamp, author, deleted_at, seen, key, digest, signature \
    FROM kv_conflict INDEXED BY kv_conflict_item WHERE key_hash = ?1 AND digest IS NOT NULL";
pub(super) const ITEMS: &str = "SELECT key_hash, timestamp, digest FROM kv_store INDEXED BY kv_store_item";
const ITEMS_OF_CONFLICTS: &str = "SELECT key_hash, timestamp, digest FROM kv_conflict INDEXED BY kv_conflict_item";
const POSITION: &str = "SELECT epoch, number, seen FROM sync_position WHERE source = ?1";
const KEEP_POSITION: &str = "INSERT OR REPLACE INTO sync_position (source, epoch, number, seen, updated) \
    VALUES (?1, ?2, ?3, ?4, (SELECT COALESCE(MAX(updated), 0) + 1 FROM sync_position))";
const FORGET_POSITIONS: &str = "DELETE FROM sync_position WHERE source NOT IN \
    (SELECT source FROM sync_position ORDER BY updated DESC LIMIT ?1)";
const META: &str = "SELECT value FROM meta WHERE name = ?1";
const KEEP_META: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";

const STORE_ID: &str = "store_id";

impl SqliteStore {
    /// The name of this store: chosen at random when the file was created, and again when it was [rescued](Self::rescue).
    pub fn id(&self) -> StoreId {
        self.id
    }

    /// How many damaged records were met and left out since the store was opened.
    pub fn damaged_seen(&self) -> u64 {
        self.damaged_seen
    }

    /// Counts a damaged record that was met elsewhere, such as by [`get`](p2p_sync_core::store::Store::get).
    pub fn note_damaged_record(&mut self) {
        self.damaged_seen = self.damaged_seen.saturating_add(1);
    }

    /// The held versions of all keys with this hash, conflicts included, up to `limit`, without damaged ones.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.make_index()?;
        let conflicts = self.may_have_conflicts()?.then_some(CONFLICTS_BY_KEY_HASH);
        self.sound_records(|connection, records| {
            for sql in [Some(BY_KEY_HASH), conflicts].into_iter().flatten() {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query([key_hash.bits().cast_signed()])?;
                while records.sound.len() < limit
                    && let Some(row) = rows.next()?
                {
                    records.take(row)?;
                }
            }
            Ok(())
        })
    }

    /// The next records after a place, in the order of the change sequence, without damaged ones; from the first one if no
    /// place is given, or one that this store does not know. There are fewer than the limit allows, or none, if many are
    /// damaged.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, StoreError> {
        let range = self.numbers.behind(after);
        let mut reached = None;
        let records = self.sound_records(|connection, records| {
            let read = changes::read(connection, records.authors, range, limit)?;
            reached = read.reached;
            records.sound = read.records.into_iter().map(|found| found.record).collect();
            (records.damaged, records.first) = (read.damaged, read.first);
            Ok(())
        })?;
        Ok(Page {
            records,
            reached: reached.map(|number| self.numbers.cursor(number)),
        })
    }

    /// The items of all records in any order, 32 bytes each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn items(&mut self) -> Result<Vec<Item>, StoreError> {
        self.make_index()?;
        self.asked(|connection| {
            let mut items = Vec::new();
            for sql in [ITEMS, ITEMS_OF_CONFLICTS] {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    items.extend(columns::item_of(row, 0, 1, 2)?);
                }
            }
            Ok(items)
        })
    }

    /// How far a bulk from that store has come.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, StoreError> {
        self.asked(|connection| {
            let mut statement = connection.prepare_cached(POSITION)?;
            let found = statement.query_row([source.0.cast_signed()], |row| {
                let (epoch, number, seen): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Cursor {
                    epoch: Epoch(epoch.cast_unsigned()),
                    number: number.cast_unsigned(),
                    seen: seen.cast_unsigned(),
                })
            });
            found.optional()
        })
    }

    /// Rows that SQLite passed over in scans to answer what sessions asked, since the file was opened: none, whatever the
    /// number of records, unless all [items](Self::items) were asked for, which does not count here. For benchmarks and tests.
    ///
    /// # Errors
    /// When the store is broken.
    pub fn scan_steps(&mut self) -> Result<i64, StoreError> {
        self.make_index()?;
        self.asked(|connection| {
            rows::scan_steps(
                connection,
                &[BY_KEY_HASH, CONFLICTS_BY_KEY_HASH, BY_NUMBER, POSITION, KEEP_POSITION],
            )
        })
    }

    /// Queries the connection, and handles a failure.
    pub(super) fn asked<T>(&mut self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let result = self
            .connection()
            .and_then(|connection| ask(connection).map_err(|cause| StoreError::sqlite(self.file(), cause)));
        self.noted(result)
    }

    fn sound_records(
        &mut self,
        read: impl FnOnce(&Connection, &mut Sound<'_>) -> rusqlite::Result<()>,
    ) -> Result<Vec<Record>, StoreError> {
        let Some(connection) = &self.connection else {
            return self.connection().map(|_| Vec::new());
        };
        let mut records = Sound {
            authors: &mut self.authors,
            sound: Vec::new(),
            damaged: 0,
            first: None,
        };
        let result = read(connection, &mut records).map_err(|cause| StoreError::sqlite(&self.file, cause));
        let (mut sound, mut damaged) = (records.sound, records.damaged);
        if let Some(roster) = &self.roster {
            damaged += members::leave_out_unsigned(roster, &mut sound);
        } else {
            // Another program may have put anything there.
            sound.iter_mut().for_each(|record| record.signature = None);
        }
        self.damaged_seen = self.damaged_seen.saturating_add(damaged);
        if let Some((key, why)) = records.first
            && let Some(count) = self.damage_log.count(damaged, Instant::now())
        {
            tracing::warn!(count, key, why, "Damaged records were not sent");
        }
        self.noted(result)?;
        Ok(sound)
    }
}

/// Records that proved sound, of rows that were read.
struct Sound<'a> {
    authors: &'a mut Authors,
    sound: Vec<Record>,
    damaged: u64,
    /// The key of the first damaged one, made printable, and what is wrong with it.
    first: Option<(String, rows::Why)>,
}

impl Sound<'_> {
    /// Adds the record of a row with its digest in column 6, unless it is damaged.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<()> {
        let (key, record) = rows::whole(row, self.authors)?;
        let why = match rows::proved(record, row.get_ref(6)?) {
            Ok(record) => {
                self.sound.push(record);
                return Ok(());
            }
            Err(why) => why,
        };
        self.damaged += 1;
        if self.first.is_none() {
            self.first = Some((shortened(key), why));
        }
        Ok(())
    }
}

pub(super) fn keep_position(connection: &Connection, source: StoreId, position: Cursor) -> rusqlite::Result<()> {
    connection.prepare_cached(KEEP_POSITION)?.execute([
        source.0.cast_signed(),
        position.epoch.0.cast_signed(),
        position.number.cast_signed(),
        position.seen.cast_signed(),
    ])?;
    let kept = i64::try_from(POSITIONS_MAX).unwrap_or(i64::MAX);
    connection.prepare_cached(FORGET_POSITIONS)?.execute([kept]).map(drop)
}

pub(super) fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(META)?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn keep_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(KEEP_META)?.execute([name, value]).map(drop)
}

/// The name of the store; a new one if another program removed it.
pub(super) fn store_id(connection: &Connection) -> rusqlite::Result<StoreId> {
    if let Some(id) = meta(connection, STORE_ID)?.and_then(|text| text.parse().ok()) {
        return Ok(StoreId(id));
    }
    let id = rand::random::<u64>();
    keep_meta(connection, STORE_ID, &id.to_string())?;
    Ok(StoreId(id))
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;
    use p2p_sync_core::sync::{self as core_sync, Applied, SyncStore};

    use super::*;
    use crate::store::testing::{Place, key, put, store};

    /// The least that makes the store one that the core can sync.
    struct Synced {
        sqlite: SqliteStore,
        _place: Place,
    }

    impl SyncStore for Synced {
        type Error = StoreError;

        fn id(&self) -> StoreId {
            self.sqlite.id()
        }

        fn summary(&self) -> &Summary {
            self.sqlite.summary().unwrap()
        }

        fn items(&mut self) -> Result<Vec<Item>, StoreError> {
            self.sqlite.items()
        }

        fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, StoreError> {
            self.sqlite.by_key_hash(key_hash, limit)
        }

        fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, StoreError> {
            self.sqlite.page(after, limit)
        }

        fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, StoreError> {
            self.sqlite.position(source)
        }

        fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, StoreError> {
            let mut transaction = self.sqlite.begin()?;
            let mut applied = Applied::default();
            for incoming in records {
                let before = transaction.versions(&incoming.key)?;
                let mut held = before.clone();
                if held.merge(incoming).merge.stores_incoming() {
                    transaction.replace(&before, &held)?;
                    applied.changed += 1;
                }
            }
            for incoming in records {
                let held = transaction.versions(&incoming.key)?;
                applied.survived.extend(held.survivors(records));
            }
            applied.survived.sort_unstable();
            applied.survived.dedup();
            if let Some((source, position)) = progress {
                transaction.keep_position(source, position)?;
            }
            transaction.commit()?;
            Ok(applied)
        }
    }

    #[test]
    fn it_keeps_what_a_sync_store_promises() {
        core_sync::conformance(|| {
            let place = Place::new();
            Synced {
                sqlite: place.open(),
                _place: place,
            }
        });
    }

    #[test]
    fn the_name_is_drawn_once_and_survives() {
        let place = Place::new();
        let first = place.open();
        let name = first.id();
        first.close().unwrap();
        assert_eq!(place.open().id(), name);
        assert_ne!(Place::new().open().id(), name);
        place.shell("DELETE FROM meta WHERE name = 'store_id'");
        let anew = place.open().id();
        assert_eq!(place.open().id(), anew);
    }

    #[test]
    fn damage_is_counted_and_not_handed_on() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (1..8).map(|n| put(&format!("key {n}"), b"value", n)).collect();
        store(&mut sqlite, &records);
        place.shell(
            "UPDATE kv_store SET value = 'rot' WHERE key IN ('key 1', 'key 2');
            UPDATE kv_store SET author = '0' WHERE key = 'key 3';
            UPDATE kv_store SET key_hash = NULL, digest = NULL WHERE key = 'key 4'",
        );
        sqlite.look_for_others().unwrap();
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let first = sqlite.page(None, limit).unwrap();
        assert_eq!(
            first.records,
            records[4..6],
            "a page is not empty for what is left out of it"
        );
        assert_eq!(sqlite.damaged_seen(), 3);
        let found = |sqlite: &mut SqliteStore, name: &str| sqlite.by_key_hash(KeyHash::of(&key(name)), 9).unwrap();
        assert_eq!(found(&mut sqlite, "key 1"), []);
        assert_eq!(sqlite.damaged_seen(), 4);
        assert_eq!(found(&mut sqlite, "key 5"), records[4..5]);
        assert_eq!(sqlite.damaged_seen(), 4);
    }

    #[test]
    fn a_page_is_cut_short_where_many_records_are_damaged() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (1..101).map(|n| put(&format!("key {n}"), b"value", n)).collect();
        store(&mut sqlite, &records);
        place.shell("UPDATE kv_store SET value = 'rot' WHERE timestamp <> 1 AND timestamp <> 60");
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let first = sqlite.page(None, PageLimit::FULL).unwrap().reached.unwrap();
        let after = |number: u64| Some(Cursor { number, ..first });
        let seen = sqlite.damaged_seen();
        let (mut reached, mut found) = (None, Vec::new());
        for page in 1..=12 {
            let next = sqlite.page(reached, limit).unwrap();
            assert_eq!(next.reached, after(8 * page), "eight rows at a time, whatever is found");
            (reached, found) = (next.reached, [found, next.records].concat());
        }
        assert_eq!(found, [records[0].clone(), records[59].clone()]);
        assert_eq!(sqlite.page(reached, limit).unwrap().reached, after(100));
        let behind = sqlite.page(after(100), limit).unwrap();
        assert_eq!(behind, Page::default(), "there is nothing more");
        sqlite.note_damaged_record();
        assert_eq!(sqlite.damaged_seen() - seen, 98 + 1);
    }

    #[test]
    fn large_damaged_rows_are_looked_at_a_few_at_a_time() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (1..31).map(|n| put(&format!("key {n}"), &[b'v'; 10_000], n)).collect();
        store(&mut sqlite, &records);
        place.shell("UPDATE kv_store SET digest = zeroblob(16)");
        let limit = PageLimit {
            records: 1_000,
            bytes: 15_000,
        };
        let page = sqlite.page(None, limit).unwrap();
        assert_eq!(page.reached.map(|reached| reached.number), Some(7));
        assert_eq!(page.records, []);
    }

    #[test]
    fn rows_of_other_programs_are_passed_over_until_they_are_completed() {
        let place = Place::new();
        let mut sqlite = place.open();
        let sound = [put("a", b"1", 5), put("z", b"1", 9)];
        store(&mut sqlite, &sound);
        let foreign = |key: &str, timestamp: &str| {
            format!("INSERT INTO kv_store (key, value, timestamp, author) VALUES ({key}, 'v', {timestamp}, 'me');")
        };
        let mut sql: String = (0..20).map(|n| foreign(&format!("x'{n:02x}'"), "7")).collect();
        sql += &(0..20)
            .map(|n| foreign(&format!("'k{n}'"), "'soon'"))
            .collect::<String>();
        place.shell(&sql);
        let last = put("last", b"1", 10);
        store(&mut sqlite, std::slice::from_ref(&last));
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let (mut reached, mut found, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = sqlite.page(reached, limit).unwrap();
            found.extend(page.records);
            if page.reached.is_none() {
                break;
            }
            (reached, pages) = (page.reached, pages + 1);
        }
        assert_eq!(found, [&sound[..], &[last]].concat());
        assert_eq!(pages, 7, "no more of them at a time than of others");
        assert_eq!(sqlite.damaged_seen(), 0);
    }

    #[test]
    fn keys_of_one_hash_are_told_apart_by_the_caller() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"", 1), put("b", b"", 2), put("c", b"", 3)]);
        place.shell("UPDATE kv_store SET key_hash = 5");
        assert_eq!(sqlite.by_key_hash(KeyHash::from_bits(5), 2).unwrap().len(), 2);
        assert_eq!(sqlite.by_key_hash(KeyHash::from_bits(5), 9).unwrap().len(), 3);
        assert_eq!(sqlite.by_key_hash(KeyHash::from_bits(6), 9).unwrap(), []);
    }

    #[test]
    fn positions_are_bounded_and_go_with_their_transaction() {
        let place = Place::new();
        let mut sqlite = place.open();
        let position = |number: u64| Cursor {
            epoch: Epoch(u64::MAX - number),
            number,
            seen: number + 1,
        };
        let mut transaction = sqlite.begin().unwrap();
        for n in 0..300 {
            transaction.keep_position(StoreId(u64::MAX - n), position(n)).unwrap();
        }
        // The oldest that is left becomes the newest.
        transaction
            .keep_position(StoreId(u64::MAX - 44), position(500))
            .unwrap();
        transaction.keep_position(StoreId(7), position(7)).unwrap();
        transaction.commit().unwrap();
        let kept = |sqlite: &mut SqliteStore, id| sqlite.position(StoreId(id)).unwrap();
        assert_eq!(kept(&mut sqlite, u64::MAX - 43), None);
        assert_eq!(kept(&mut sqlite, u64::MAX - 44), Some(position(500)));
        assert_eq!(kept(&mut sqlite, u64::MAX - 45), None);
        assert_eq!(kept(&mut sqlite, u64::MAX - 46), Some(position(46)));
        let mut transaction = sqlite.begin().unwrap();
        transaction.keep_position(StoreId(7), position(8)).unwrap();
        drop(transaction);
        assert_eq!(kept(&mut sqlite, 7), Some(position(7)));
    }
}
