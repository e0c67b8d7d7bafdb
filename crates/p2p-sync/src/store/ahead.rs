//! Records that are dated ahead of a time: read by the index of items, or without it while that is [deferred].

use p2p_sync_core::{Key, Timestamp};
use rusqlite::Connection;

use super::deferred;
use super::rows;
use super::sequence;

/// By an index that holds the timestamps, which are few where this is asked. Text and blobs are greater than any number.
pub(super) const AHEAD: &str = "SELECT key, timestamp FROM kv_store INDEXED BY kv_store_item \
    WHERE timestamp > ?1 AND timestamp <= 9223372036854775807 ORDER BY timestamp, key LIMIT ?2";
pub(super) const AHEAD_COUNT: &str = "SELECT COUNT(*) FROM kv_store INDEXED BY kv_store_item \
    WHERE timestamp > ?1 AND timestamp <= 9223372036854775807";
/// The same while that index is [deferred].
const AHEAD_UNINDEXED: &str = "SELECT key, timestamp FROM kv_store \
    WHERE timestamp > ?1 AND timestamp <= 9223372036854775807 ORDER BY timestamp, key LIMIT ?2";
const AHEAD_COUNT_UNINDEXED: &str = "SELECT COUNT(*) FROM kv_store \
    WHERE timestamp > ?1 AND timestamp <= 9223372036854775807";

/// How many records are dated later than `after`, and up to `limit` of their keys, the earliest first. Rows that are dated, and
/// are no records, count, and are left out of the list. Where none can be, nothing is read; otherwise a whole index is.
pub(super) fn ahead(
    connection: &Connection,
    after: Timestamp,
    limit: usize,
) -> rusqlite::Result<(u64, Vec<(Key, Timestamp)>)> {
    // The index is there, or not, for all of this.
    let _moment = connection.unchecked_transaction()?;
    let latest = sequence::kept(connection)?.map_or(Some(Timestamp::MAX), |kept| kept.latest);
    if latest <= Some(after) {
        return Ok((0, Vec::new()));
    }
    let (count, first) = if deferred::is_there(connection)? {
        (AHEAD_COUNT, AHEAD)
    } else {
        (AHEAD_COUNT_UNINDEXED, AHEAD_UNINDEXED)
    };
    let count: i64 = connection
        .prepare_cached(count)?
        .query_row([after.as_nanos()], |row| row.get(0))?;
    let mut statement = connection.prepare_cached(first)?;
    let mut rows = statement.query([after.as_nanos(), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut ahead = Vec::new();
    while let Some(row) = rows.next()? {
        let (_, key) = rows::key_of(row, 0)?;
        ahead.extend(key.ok().zip(rows::timestamp(row.get_ref(1)?).ok()));
    }
    Ok((count.unsigned_abs(), ahead))
}
