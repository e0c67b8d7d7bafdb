//! The columns of `kv_store` that give a record's item without reading its content.

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::record::Digest;
use p2p_sync_core::{Record, Timestamp};
use rusqlite::Row;
use rusqlite::types::ValueRef;

/// What is stored beside a record so that its item is known without reading it: the hash of the key, and the first
/// [`DIGEST_BYTES`] of the record's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    key_hash: KeyHash,
    pub(super) digest: [u8; DIGEST_BYTES],
}

/// Bytes of a digest that an item has room for.
const DIGEST_BYTES: usize = 16;

impl Columns {
    /// The key hash as SQLite holds it: its 64 bits as a signed number.
    pub(super) fn key_hash(&self) -> i64 {
        self.key_hash.bits().cast_signed()
    }

    pub(super) fn item(&self, timestamp: Timestamp) -> Item {
        item_from(self.key_hash, timestamp, &self.digest)
    }
}

pub(super) fn columns(record: &Record) -> Columns {
    columns_of(record, &record.digest())
}

/// The same for a record whose digest is known.
pub(super) fn columns_of(record: &Record, bytes: &Digest) -> Columns {
    let mut digest = [0; DIGEST_BYTES];
    for (byte, whole) in digest.iter_mut().zip(bytes) {
        *byte = *whole;
    }
    Columns {
        key_hash: KeyHash::of(&record.key),
        digest,
    }
}

/// Whether what stands in the digest column of a row says nothing against this record. Where nothing stands there, another program
/// wrote the row.
pub(super) fn vouch(digest: ValueRef<'_>, columns: &Columns) -> bool {
    !matches!(digest, ValueRef::Blob(digest) if digest != columns.digest.as_slice())
}

fn item_from(key_hash: KeyHash, timestamp: Timestamp, digest: &[u8; DIGEST_BYTES]) -> Item {
    let [first, second] = digest
        .as_chunks::<8>()
        .0
        .first_chunk::<2>()
        .map_or([[0; 8]; 2], |halves| *halves);
    Item::from_parts(
        key_hash,
        timestamp,
        [u64::from_le_bytes(first), u64::from_le_bytes(second)],
    )
}

/// The item in these columns of a row; none when another program wrote it and left them empty, or filled them with
/// something else.
pub(super) fn item_of(
    row: &Row<'_>,
    key_hash: usize,
    timestamp: usize,
    digest: usize,
) -> rusqlite::Result<Option<Item>> {
    let (ValueRef::Integer(hash), ValueRef::Integer(nanos), ValueRef::Blob(digest)) =
        (row.get_ref(key_hash)?, row.get_ref(timestamp)?, row.get_ref(digest)?)
    else {
        return Ok(None);
    };
    let (Ok(timestamp), Ok(digest)) = (Timestamp::from_nanos(nanos), digest.try_into()) else {
        return Ok(None);
    };
    Ok(Some(item_from(
        KeyHash::from_bits(hash.cast_unsigned()),
        timestamp,
        digest,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{deleted, put};

    #[test]
    fn the_columns_give_the_item() {
        for record in [put("a", b"value", 5), deleted("b", i64::MAX)] {
            let columns = columns(&record);
            assert_eq!(columns.item(record.timestamp), Item::of(&record));
            assert_eq!(columns.digest, record.digest()[..16]);
            let connection = rusqlite::Connection::open_in_memory().unwrap();
            let nanos = record.timestamp.as_nanos();
            let read = |sql: &str| {
                let parameters = rusqlite::params![columns.key_hash(), nanos, columns.digest];
                connection
                    .query_row(sql, parameters, |row| item_of(row, 0, 1, 2))
                    .unwrap()
            };
            assert_eq!(read("SELECT ?1, ?2, ?3"), Some(Item::of(&record)));
            for sql in [
                "SELECT NULL, ?2, ?3 WHERE ?1",
                "SELECT ?1, -?2, ?3",
                "SELECT ?1, ?2, x'00' WHERE ?3 <> ''",
            ] {
                assert_eq!(read(sql), None, "{sql}");
            }
        }
    }
}
