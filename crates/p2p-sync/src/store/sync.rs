//! What a sync asks of the store: the name of the store, records by the hash of their key and in the order of time, items, and how far
//! a bulk from another store has come. Sessions are the core's, and carrying them on the node's.
//!
//! A record whose content does not give the digest that stands beside it is damaged, by the disk or by hand. It is never
//! handed out here, so that damage stays where it is; it is counted, and a [scan](SqliteStore::start_scan) takes it out.

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::sync::{PageLimit, Position, StoreId, cost};
use p2p_sync_core::text::shortened;
use p2p_sync_core::{Record, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::StoreError;
use super::rows::{self, Authors};
use super::sqlite::SqliteStore;

/// Stores of which it is kept how far a bulk came: those that were heard last.
pub const POSITIONS_MAX: usize = 256;

pub(super) const BY_KEY_HASH: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest \
    FROM kv_store INDEXED BY kv_store_item WHERE key_hash = ?1";
pub(super) const BY_TIME: &str = "SELECT value, timestamp, author, deleted_at, base, key, digest \
    FROM kv_store INDEXED BY kv_store_time_key WHERE (timestamp, key) > (?1, ?2) ORDER BY timestamp, key";
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

    /// The next records behind a position, in the order of (timestamp, key), without damaged ones; none only when there
    /// are no more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn page_by_time(&mut self, after: Option<&Position>, limit: PageLimit) -> Result<Vec<Record>, StoreError> {
        let (timestamp, key) = after.map_or((0, ""), |after| (after.timestamp.as_nanos(), after.key.as_str()));
        self.sound_records(|connection, records| {
            let mut statement = connection.prepare_cached(BY_TIME)?;
            let mut rows = statement.query(params![timestamp, key])?;
            let mut bytes = 0;
            while records.sound.len() < limit.records.max(1)
                && let Some(row) = rows.next()?
            {
                if let Some(record) = records.take(row)? {
                    bytes += cost(record);
                }
                if bytes > limit.bytes {
                    if records.sound.len() > 1 {
                        records.sound.pop();
                    }
                    break;
                }
            }
            Ok(())
        })
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
                items.extend(rows::item_of(row, 0, 1, 2)?);
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
            rows.next()?.map_or(Ok(None), position)
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
        let text = self.asked(|connection| meta(connection, UNSHARED_AFTER))?;
        Ok(text.and_then(|text| Timestamp::from_nanos(text.parse().ok()?).ok()))
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
        };
        let result = read(connection, &mut records).map_err(|cause| StoreError::sqlite(&self.file, cause));
        let (sound, damaged) = (records.sound, records.damaged);
        self.damaged_seen = self.damaged_seen.saturating_add(damaged);
        self.noted(result)?;
        Ok(sound)
    }
}

/// Records that proved sound, of rows that were read.
struct Sound<'a> {
    authors: &'a mut Authors,
    sound: Vec<Record>,
    damaged: u64,
}

impl Sound<'_> {
    /// Takes the record of a row with its digest in column 6, unless it is damaged.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<Option<&Record>> {
        let (key, record) = rows::whole(row, self.authors)?;
        let why = match record {
            Ok(record) => match row.get_ref(6)? {
                ValueRef::Blob(digest) if digest != rows::columns(&record).digest.as_slice() => {
                    "its digest is another one".to_owned()
                }
                _ => {
                    self.sound.push(record);
                    return Ok(self.sound.last());
                }
            },
            Err(why) => why,
        };
        self.damaged += 1;
        tracing::warn!(key = shortened(key), why, "A damaged record was not handed on");
        Ok(None)
    }
}

fn position(row: &Row<'_>) -> rusqlite::Result<Option<Position>> {
    let timestamp = rows::timestamp(row.get_ref(0)?).ok();
    let key = match row.get_ref(1)? {
        ValueRef::Text(bytes) => rows::text_key(bytes).ok(),
        _ => None,
    };
    Ok(timestamp.zip(key).map(|(timestamp, key)| Position { timestamp, key }))
}

fn meta(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(META)?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn keep_meta(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(KEEP_META)?.execute([name, value]).map(drop)
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
