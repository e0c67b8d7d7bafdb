//! Records as the first six versions of the file had them: with the timestamp of the version that they replaced, their *base*, in
//! place of what their author had seen. Conflicts were kept in a table of another shape, with the version that had won.
//!
//! A base proves little. Where it is NULL, the author did not say, and overwrote everything that was older. Otherwise the author
//! had seen one version, nobody knows whose, or none: that is nothing which could be said of anybody's versions.

use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Timestamp, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::store::authors::Authors;
use crate::store::columns::columns;
use crate::store::rows::{self, Why};

const UNINDEXED: &str = "SELECT value, timestamp, author, deleted_at, base, key, rowid FROM kv_store WHERE rowid > ?1 \
    ORDER BY rowid LIMIT 1000";
const INDEX: &str = "UPDATE kv_store SET key_hash = ?2, digest = ?3 WHERE rowid = ?1";

/// Whole digests had this many bytes; beside a row stand the first of them.
type Digest = [u8; 32];

/// A record of before.
pub(in crate::store) struct Based {
    /// What it is now.
    pub(in crate::store) record: Record,
    /// The digest that it had.
    pub(super) digest: Digest,
}

/// What a base comes to.
fn seen(column: ValueRef<'_>, timestamp: Timestamp, _: &NodeId) -> Result<Seen, Why> {
    match column {
        ValueRef::Null => Ok(Seen::everything_before(timestamp)),
        ValueRef::Integer(0..) => Ok(Seen::NOTHING),
        ValueRef::Integer(_) => Err("the base is negative".to_owned()),
        _ => Err("the base is not a number".to_owned()),
    }
}

/// The record in a row whose first columns are value, timestamp, author, deleted_at, base and key.
pub(in crate::store) fn whole(row: &Row<'_>, authors: &mut Authors) -> rusqlite::Result<Result<Based, Why>> {
    let (_, key) = rows::key_of(row, 5)?;
    let base = row.get_ref(4)?;
    let record = key.and_then(|key| rows::record_by(row, authors, key, seen));
    Ok(record.map(|record| based(record, base)))
}

impl Based {
    /// The hash of the key, as its column holds it.
    pub(super) fn key_hash(&self) -> i64 {
        columns(&self.record).key_hash()
    }

    /// The part of the digest that stood beside the row.
    pub(super) fn digest(&self) -> &[u8] {
        self.digest.first_chunk::<16>().map_or(&[], |digest| digest)
    }

    /// Whether what stands in the digest column of its row says nothing against it.
    pub(in crate::store) fn is_vouched_for(&self, digest: ValueRef<'_>) -> bool {
        !matches!(digest, ValueRef::Blob(digest) if digest != self.digest())
    }
}

/// A row that is no record keeps NULL in the new columns, as if another program had written it.
pub(super) fn fill_columns(connection: &Connection) -> rusqlite::Result<()> {
    let mut authors = Authors::default();
    let mut select = connection.prepare(UNINDEXED)?;
    let mut update = connection.prepare(INDEX)?;
    let mut last = i64::MIN;
    loop {
        let mut rows = select.query([last])?;
        let mut page = Vec::new();
        let mut read = false;
        while let Some(row) = rows.next()? {
            (read, last) = (true, row.get(6)?);
            if let Ok(record) = whole(row, &mut authors)? {
                page.push((last, record));
            }
        }
        if !read {
            return Ok(());
        }
        for (rowid, record) in page {
            update.execute(params![rowid, record.key_hash(), record.digest()])?;
        }
    }
}

/// The version that lost, of a row whose first columns are key, and the timestamp, author, base, value and whole digest of that
/// version. None if the row was changed into something else.
pub(in crate::store) fn loser(row: &Row<'_>, authors: &mut Authors) -> rusqlite::Result<Option<Record>> {
    let (_, key) = rows::key_of(row, 0)?;
    let (base, digest) = (row.get_ref(3)?, row.get_ref(5)?);
    let loser = key.ok().zip(rows::timestamp(row.get_ref(1)?).ok());
    let Some(record) = loser.and_then(|(key, timestamp)| version(row, authors, key, timestamp)) else {
        return Ok(None);
    };
    let based = based(record, base);
    // One that was damaged must not be brought back.
    Ok((digest == ValueRef::Blob(&based.digest)).then_some(based.record))
}

fn version(row: &Row<'_>, authors: &mut Authors, key: Key, timestamp: Timestamp) -> Option<Record> {
    let author = match row.get_ref(2).ok()? {
        ValueRef::Text(text) => authors.id(std::str::from_utf8(text).ok()?)?,
        _ => return None,
    };
    let content = match row.get_ref(4).ok()? {
        ValueRef::Null => Content::Deleted,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Content::Put(Value::new(bytes).ok()?),
        _ => return None,
    };
    Some(Record {
        key,
        content,
        timestamp,
        author,
        seen: seen(row.get_ref(3).ok()?, timestamp, &author).ok()?,
        signature: None,
    })
}

/// As it was before: for files of earlier versions in tests.
#[cfg(test)]
pub(in crate::store) fn of(record: &Record, base: Option<i64>) -> Based {
    based(record.clone(), base.map_or(ValueRef::Null, ValueRef::Integer))
}

/// With the digest over every field, each with its length, as it was.
fn based(record: Record, base: ValueRef<'_>) -> Based {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(record.key.as_str().as_bytes());
    match &record.content {
        Content::Put(value) => {
            field(&[1]);
            field(value.as_bytes());
        }
        Content::Deleted => field(&[0]),
    }
    field(&record.timestamp.as_nanos().to_le_bytes());
    field(record.author.as_bytes());
    match base {
        ValueRef::Integer(nanos) => field(&nanos.to_le_bytes()),
        _ => field(&[]),
    }
    let digest = *hasher.finalize().as_bytes();
    Based { record, digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, id, put};

    #[test]
    fn the_digest_is_that_of_before() {
        // Taken from a file of the fifth version.
        let record = put("hello", b"world", 1_735_979_415_000_000_000);
        let hex = |base| blake3::Hash::from_bytes(based(record.clone(), base).digest).to_hex()[..32].to_owned();
        assert_eq!(hex(ValueRef::Null), "948d21c6ce7968592afaafc365ddd963");
        assert_eq!(hex(ValueRef::Integer(0)), "01f920dd2b20b416aa0156bfcad01beb");
        assert_eq!(hex(ValueRef::Integer(7)), "ffcdef64ebc970a44a98421b11d07519");
    }

    #[test]
    fn a_base_proves_little() {
        let seen = |base| seen(base, at(9), &id(1));
        assert_eq!(seen(ValueRef::Null), Ok(Seen::everything_before(at(9))));
        assert_eq!(seen(ValueRef::Integer(0)), Ok(Seen::NOTHING));
        assert_eq!(seen(ValueRef::Integer(8)), Ok(Seen::NOTHING));
        assert!(seen(ValueRef::Integer(-1)).is_err() && seen(ValueRef::Text(b"0")).is_err());
    }
}
