//! What the author of a version had seen, as the column `seen` holds it: nothing is an empty blob. NULL means everything that
//! is older, which is also what a row of another program says, since it cannot say more.
//!
//! Otherwise: eight bytes of the floor, zero for none; then for each other author the length of its id in one byte, the id, and
//! eight bytes of the timestamp. Numbers are little-endian.

use p2p_sync_core::{NodeId, Record, Seen, Timestamp};
use rusqlite::types::ValueRef;

use super::rows::Why;

/// What stands in the column for this version.
pub(super) fn column(record: &Record) -> Option<Vec<u8>> {
    let seen = &record.seen;
    if *seen == Seen::NOTHING {
        // Of the earliest of all timestamps both are the same.
        return Some(Vec::new());
    }
    if *seen == Seen::everything_before(record.timestamp) {
        return None;
    }
    let mut bytes = seen.floor().map_or(0, Timestamp::as_nanos).to_le_bytes().to_vec();
    for (author, timestamp) in seen.others() {
        let author = author.as_bytes();
        bytes.push(u8::try_from(author.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(author);
        bytes.extend_from_slice(&timestamp.as_nanos().to_le_bytes());
    }
    Some(bytes)
}

/// What the column says of a version with this timestamp and author.
pub(super) fn read(column: ValueRef<'_>, timestamp: Timestamp, author: &NodeId) -> Result<Seen, Why> {
    let seen = match column {
        ValueRef::Null => return Ok(Seen::everything_before(timestamp)),
        ValueRef::Blob([]) => return Ok(Seen::NOTHING),
        ValueRef::Blob(bytes) => decode(bytes),
        _ => None,
    };
    seen.filter(|seen| seen.is_before(timestamp) && !seen.names(author))
        .ok_or_else(|| "what its author had seen is invalid".to_owned())
}

fn decode(bytes: &[u8]) -> Option<Seen> {
    let (floor, mut rest) = bytes.split_first_chunk::<8>()?;
    let floor = match i64::from_le_bytes(*floor) {
        0 => None,
        nanos => Some(Timestamp::from_nanos(nanos).ok()?),
    };
    let mut others = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (author, after) = after.split_at_checked(usize::from(*length))?;
        let (timestamp, after) = after.split_first_chunk::<8>()?;
        let timestamp = Timestamp::from_nanos(i64::from_le_bytes(*timestamp)).ok()?;
        others.push((NodeId::from_bytes(author).ok()?, timestamp));
        rest = after;
    }
    Seen::new(floor, others).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{at, id, put};
    use p2p_sync_core::limits::SEEN_AUTHORS_MAX;

    fn seen(floor: Option<i64>, others: &[(u16, i64)]) -> Seen {
        let others = others.iter().map(|(author, nanos)| (id(*author), at(*nanos)));
        Seen::new(floor.map(at), others.collect()).unwrap()
    }

    fn stored(record: &Record) -> Option<Vec<u8>> {
        column(record)
    }

    #[test]
    fn what_was_seen_is_read_as_it_was_written() {
        let full: Vec<(u16, i64)> = (2..2 + SEEN_AUTHORS_MAX as u16).map(|author| (author, 90)).collect();
        for what in [
            Seen::NOTHING,
            Seen::everything_before(at(100)),
            seen(Some(5), &[]),
            seen(None, &[(2, 7)]),
            seen(Some(5), &[(2, 7), (3, 99)]),
            seen(Some(5), &full),
        ] {
            let record = Record {
                seen: what.clone(),
                ..put("a", b"1", 100)
            };
            let column = stored(&record);
            let value = column.as_deref().map_or(ValueRef::Null, ValueRef::Blob);
            assert_eq!(read(value, at(100), &id(1)), Ok(what));
        }
        let plain = Record {
            seen: Seen::NOTHING,
            ..put("a", b"1", 100)
        };
        assert_eq!(stored(&plain), Some(vec![]), "most keys have nothing to say");
    }

    #[test]
    fn what_nobody_can_have_seen_is_refused() {
        let of = |seen: Seen| {
            let record = Record {
                seen,
                ..put("a", b"1", 1_000)
            };
            stored(&record).unwrap()
        };
        let late = of(seen(None, &[(2, 200)]));
        let own = of(seen(None, &[(1, 7)]));
        let mut cut = of(seen(Some(5), &[(2, 7)]));
        cut.pop();
        for (bytes, what) in [
            (late, "later than the version"),
            (own, "of its own author"),
            (cut, "cut off"),
            (vec![1], "too short"),
            ((-5_i64).to_le_bytes().to_vec(), "before the epoch"),
        ] {
            assert!(read(ValueRef::Blob(&bytes), at(100), &id(1)).is_err(), "{what}");
        }
        assert!(read(ValueRef::Integer(5), at(100), &id(1)).is_err());
    }
}
