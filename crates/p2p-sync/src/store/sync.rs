//! What a sync asks of the store: the name of the store, records by the hash of their key and in the order of time, items, and how far
//! a bulk from another store has come. Sessions are the core's, and carrying them on the node's.
//!
//! A record whose content does not give the digest that stands beside it is damaged, by the disk or by hand. It is never
//! handed out here, so that damage stays where it is; it is counted, and a [scan](SqliteStore::start_scan) takes it out.

use std::time::{Duration, Instant};

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::sync::{Page, PageLimit, Position, StoreId, cost};
use p2p_sync_core::text::shortened;
use p2p_sync_core::{Record, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::columns;
use super::error::StoreError;
use super::rows::{self, Authors};
use super::sqlite::SqliteStore;

/// Stores of which it is kept how far a bulk came: those that were heard last.
pub const POSITIONS_MAX: usize = 256;
/// Rows looked at for a page, for each record that fits into it, and the same for their bytes: where many are damaged, it is
/// cut short.
const LOOKED_AT_PER_PAGE: usize = 4;
/// How often damaged records are logged at most: nothing of them is new at the next attempt to hand them on.
pub(super) const LOG_INTERVAL: Duration = Duration::from_secs(1);

pub(super) const BY_KEY_HASH: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest \
    FROM kv_store INDEXED BY kv_store_item WHERE key_hash = ?1";
pub(super) const BY_TIME: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest \
    FROM kv_store INDEXED BY kv_store_time_key WHERE (timestamp, key) > (?1, ?2) AND timestamp <= 9223372036854775807 \
    ORDER BY timestamp, key";
pub(super) const ITEMS: &str = "SELECT key_hash, timestamp, digest FROM kv_store INDEXED BY kv_store_item";
const POSITION: &str = "SELECT timestamp, key FROM sync_position WHERE source = ?1";
const KEEP_POSITION: &str = "INSERT OR REPLACE INTO sync_position (source, timestamp, key, updated) \
    VALUES (?1, ?2, ?3, (SELECT COALESCE(MAX(updated), 0) + 1 FROM sync_position))";
const FORGET_POSITIONS: &str = "DELETE FROM sync_position WHERE source NOT IN \
    (SELECT source FROM sync_position ORDER BY updated DESC LIMIT ?1)";
const META: &str = "SELECT value FROM meta WHERE name = ?1";
const KEEP_META: &str = "INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)";
const FORGET_META: &str = "DELETE FROM meta WHERE name = ?1";

const STORE_ID: &str = "store_id";
const UNSHARED_AFTER: &str = "unshared_after";

impl SqliteStore {
    /// The name of this store: drawn when the file was made, and again when it was [rescued](Self::rescue).
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

    /// The records held of all keys with this hash, up to `limit`; without damaged ones.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.sound_records(|connection, records| {
            let mut statement = connection.prepare_cached(BY_KEY_HASH)?;
            let mut rows = statement.query([key_hash.bits().cast_signed()])?;
            while records.sound.len() < limit
                && let Some(row) = rows.next()?
            {
                records.take(row)?;
            }
            Ok(())
        })
    }

    /// The next records behind a position, in the order of (timestamp, key), without damaged ones. There are fewer than the
    /// limit allows, or none, where many are damaged. Rows whose timestamp is no number, or whose key is none, have no place in
    /// that order: they are passed over however many they are.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page_by_time(&mut self, after: Option<&Position>, limit: PageLimit) -> Result<Page, StoreError> {
        let (timestamp, key) = after.map_or((0, ""), |after| (after.timestamp.as_nanos(), after.key.as_str()));
        let mut reached = None;
        let records = self.sound_records(|connection, records| {
            let mut statement = connection.prepare_cached(BY_TIME)?;
            let mut rows = statement.query(params![timestamp, key])?;
            let wanted = limit.records.max(1);
            let (rows_max, bytes_max) = (
                wanted.saturating_mul(LOOKED_AT_PER_PAGE),
                limit.bytes.saturating_mul(LOOKED_AT_PER_PAGE),
            );
            let (mut bytes, mut rows_seen, mut bytes_seen) = (0, 0_usize, 0_usize);
            while records.sound.len() < wanted
                && (reached.is_none() || (rows_seen < rows_max && bytes_seen < bytes_max))
                && let Some(row) = rows.next()?
            {
                rows_seen += 1;
                bytes_seen = bytes_seen.saturating_add(value_bytes(row)?);
                if let Some(record) = records.take(row)? {
                    bytes += cost(record);
                }
                if bytes > limit.bytes && records.sound.len() > 1 {
                    records.sound.pop();
                    break;
                }
                reached = place(row)?.or(reached.take());
                if bytes > limit.bytes {
                    break;
                }
            }
            Ok(())
        })?;
        Ok(Page { records, reached })
    }

    /// The items of all records, in no order that matters. 32 bytes each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn items(&mut self) -> Result<Vec<Item>, StoreError> {
        self.asked(|connection| {
            let mut statement = connection.prepare_cached(ITEMS)?;
            let mut rows = statement.query([])?;
            let mut items = Vec::new();
            while let Some(row) = rows.next()? {
                items.extend(columns::item_of(row, 0, 1, 2)?);
            }
            Ok(items)
        })
    }

    /// How far a bulk from that store came.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn position(&mut self, source: StoreId) -> Result<Option<Position>, StoreError> {
        self.asked(|connection| {
            let mut statement = connection.prepare_cached(POSITION)?;
            let mut rows = statement.query([source.0.cast_signed()])?;
            rows.next()?.map_or(Ok(None), |row| position(row, 0, 1))
        })
    }

    /// Keeps how far a bulk from that store came, and forgets the oldest beyond [`POSITIONS_MAX`]. To be called in the
    /// transaction that writes its records.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must be rolled back then.
    pub fn keep_position(&mut self, source: StoreId, position: &Position) -> Result<(), StoreError> {
        self.transaction()?;
        self.asked(|connection| {
            connection.prepare_cached(KEEP_POSITION)?.execute(params![
                source.0.cast_signed(),
                position.timestamp.as_nanos(),
                position.key.as_str()
            ])?;
            let kept = i64::try_from(POSITIONS_MAX).unwrap_or(i64::MAX);
            connection.prepare_cached(FORGET_POSITIONS)?.execute([kept]).map(drop)
        })
    }

    /// Rows that SQLite passed over in scans to answer what sessions asked, since the file was opened: none, whatever the
    /// number of records, unless all [items](Self::items) were asked for, which does not count here. For benchmarks and tests.
    ///
    /// # Errors
    /// When the store is broken.
    pub fn scan_steps(&mut self) -> Result<i64, StoreError> {
        self.asked(|connection| rows::scan_steps(connection, &[BY_KEY_HASH, BY_TIME, POSITION, KEEP_POSITION]))
    }

    /// The timestamp after which no own write has reached anybody; none when that is not known.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn unshared_after(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.asked(read_unshared_after)
    }

    /// Keeps that timestamp, or forgets it. To be called in a transaction.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must be rolled back then.
    pub fn keep_unshared_after(&mut self, timestamp: Option<Timestamp>) -> Result<(), StoreError> {
        self.transaction()?;
        self.asked(|connection| match timestamp {
            Some(timestamp) => keep_meta(connection, UNSHARED_AFTER, &timestamp.as_nanos().to_string()),
            None => connection
                .prepare_cached(FORGET_META)?
                .execute([UNSHARED_AFTER])
                .map(drop),
        })
    }

    /// Asks the connection, and takes note of a failure.
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
        let (sound, damaged) = (records.sound, records.damaged);
        self.damaged_seen = self.damaged_seen.saturating_add(damaged);
        if let Some((key, why)) = records.first
            && let Some(count) = self.damage_log.count(damaged, Instant::now())
        {
            tracing::warn!(count, key, why, "Damaged records were not handed on");
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
    /// Takes the record of a row with its digest in column 6, unless it is damaged.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<&Record>> {
        let (key, record) = rows::whole(row, self.authors)?;
        let why = match rows::proved(record, row.get_ref(6)?) {
            Ok(record) => {
                self.sound.push(record);
                return Ok(self.sound.last());
            }
            Err(why) => why,
        };
        self.damaged += 1;
        if self.first.is_none() {
            self.first = Some((shortened(key), why));
        }
        Ok(None)
    }
}

/// The place of a row of [`BY_TIME`].
fn place(row: &Row<'_>) -> rusqlite::Result<Option<Position>> {
    position(row, 1, 5)
}

/// Bytes of the value of a row of [`BY_TIME`].
fn value_bytes(row: &Row<'_>) -> rusqlite::Result<usize> {
    Ok(match row.get_ref(0)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    })
}

/// The position in two columns; none if another program wrote something else there.
fn position(row: &Row<'_>, timestamp: usize, key: usize) -> rusqlite::Result<Option<Position>> {
    let timestamp = rows::timestamp(row.get_ref(timestamp)?).ok();
    let key = match row.get_ref(key)? {
        ValueRef::Text(bytes) => rows::text_key(bytes).ok(),
        _ => None,
    };
    Ok(timestamp.zip(key).map(|(timestamp, key)| Position { timestamp, key }))
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

pub(super) fn read_unshared_after(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let text = meta(connection, UNSHARED_AFTER)?;
    Ok(text.and_then(|text| Timestamp::from_nanos(text.parse().ok()?).ok()))
}

/// The name of the store; a new one if somebody took it away.
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
    use p2p_sync_core::record;
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;
    use p2p_sync_core::sync::{self as core_sync, Applied, SyncStore};

    use super::*;
    use crate::store::testing::{Place, at, deleted, key, put, store};

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

        fn page(&mut self, after: Option<&Position>, limit: PageLimit) -> Result<Page, StoreError> {
            self.sqlite.page_by_time(after, limit)
        }

        fn position(&mut self, source: StoreId) -> Result<Option<Position>, StoreError> {
            self.sqlite.position(source)
        }

        fn apply(&mut self, records: &[Record], progress: Option<(StoreId, &Position)>) -> Result<Applied, StoreError> {
            self.sqlite.begin()?;
            let mut applied = Applied::default();
            for incoming in records {
                let held = self.sqlite.get(&incoming.key)?;
                if record::merge(held.as_ref(), incoming).stores_incoming() {
                    self.sqlite.put(incoming)?;
                    applied.changed += 1;
                }
            }
            if let Some((source, position)) = progress {
                self.sqlite.keep_position(source, position)?;
            }
            self.sqlite.commit()?;
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
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let first = sqlite.page_by_time(None, limit).unwrap();
        assert_eq!(
            first.records,
            records[3..5],
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
        let after = |n: i64| {
            Some(Position {
                timestamp: at(n),
                key: key(&format!("key {n}")),
            })
        };
        let (mut reached, mut found) = (None, Vec::new());
        for page in 1..=12 {
            let next = sqlite.page_by_time(reached.as_ref(), limit).unwrap();
            assert_eq!(next.reached, after(8 * page), "eight rows at a time, whatever is found");
            (reached, found) = (next.reached, [found, next.records].concat());
        }
        assert_eq!(found, [records[0].clone(), records[59].clone()]);
        assert_eq!(
            sqlite.page_by_time(reached.as_ref(), limit).unwrap().reached,
            after(100)
        );
        let behind = sqlite.page_by_time(after(100).as_ref(), limit).unwrap();
        assert_eq!(behind, Page::default(), "there is nothing more");
        sqlite.note_damaged_record();
        assert_eq!(sqlite.damaged_seen(), 98 + 1);
    }

    #[test]
    fn records_of_one_moment_come_in_pages_too() {
        let place = Place::new();
        let mut sqlite = place.open();
        let records: Vec<_> = (0..300).map(|n| deleted(&format!("key {n:03}"), 5)).collect();
        store(&mut sqlite, &records);
        let after = Position {
            timestamp: at(5),
            key: key("key 100"),
        };
        let limit = PageLimit {
            records: 5,
            ..PageLimit::FULL
        };
        let page = sqlite.page_by_time(Some(&after), limit).unwrap();
        assert_eq!(page.records, records[101..106]);
        let last = Position {
            timestamp: at(5),
            key: key("key 299"),
        };
        assert_eq!(sqlite.page_by_time(Some(&last), limit).unwrap(), Page::default());
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
        let page = sqlite.page_by_time(None, limit).unwrap();
        assert_eq!(page.reached.map(|reached| reached.timestamp), Some(at(6)));
        assert_eq!(page.records, []);
    }

    #[test]
    fn rows_without_a_place_in_the_order_are_passed_over() {
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
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let first = sqlite.page_by_time(None, limit).unwrap();
        assert_eq!(first.records, sound[..1]);
        let second = sqlite.page_by_time(first.reached.as_ref(), limit).unwrap();
        assert_eq!(second.records, sound[1..]);
        let damaged = sqlite.damaged_seen();
        let end = sqlite.page_by_time(second.reached.as_ref(), limit).unwrap();
        assert_eq!(end, Page::default());
        assert_eq!(
            sqlite.damaged_seen(),
            damaged,
            "text is no late time, and is not even read"
        );
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
        let position = |n: u64| Position {
            timestamp: at(n.cast_signed() + 1),
            key: key("k"),
        };
        assert!(
            sqlite.keep_position(StoreId(1), &position(1)).is_err(),
            "only in a transaction"
        );
        sqlite.begin().unwrap();
        for n in 0..300 {
            sqlite.keep_position(StoreId(u64::MAX - n), &position(n)).unwrap();
        }
        // The oldest that is left becomes the newest.
        sqlite.keep_position(StoreId(u64::MAX - 44), &position(500)).unwrap();
        sqlite.keep_position(StoreId(7), &position(7)).unwrap();
        sqlite.commit().unwrap();
        let kept = |sqlite: &mut SqliteStore, id| sqlite.position(StoreId(id)).unwrap();
        assert_eq!(kept(&mut sqlite, u64::MAX - 43), None);
        assert_eq!(kept(&mut sqlite, u64::MAX - 44), Some(position(500)));
        assert_eq!(kept(&mut sqlite, u64::MAX - 45), None);
        assert_eq!(kept(&mut sqlite, u64::MAX - 46), Some(position(46)));
        sqlite.begin().unwrap();
        sqlite.keep_position(StoreId(7), &position(8)).unwrap();
        sqlite.rollback();
        assert_eq!(kept(&mut sqlite, 7), Some(position(7)));
        place.shell("UPDATE sync_position SET key = x'ff' WHERE source = 7");
        assert_eq!(kept(&mut sqlite, 7), None, "what cannot be read is not kept");
    }

    #[test]
    fn what_was_shared_is_remembered() {
        let place = Place::new();
        let mut sqlite = place.open();
        assert_eq!(sqlite.unshared_after().unwrap(), None);
        for value in [Some(at(5)), Some(at(9)), None, Some(at(7))] {
            sqlite.begin().unwrap();
            sqlite.keep_unshared_after(value).unwrap();
            sqlite.commit().unwrap();
            assert_eq!(sqlite.unshared_after().unwrap(), value);
        }
        sqlite.close().unwrap();
        assert_eq!(place.open().unshared_after().unwrap(), Some(at(7)));
    }
}
