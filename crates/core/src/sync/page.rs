//! A page of records as bytes.
//!
//! First the authors, each once, including those that records name as seen; then the records, each preceded by its length. A
//! record is: flags, the author's index in that list, its timestamp as the difference from the previous record; what its
//! author had seen, if anything: the floor as the distance below its timestamp, and the number of other authors, each with
//! its index in the list and the distance below the record's timestamp; key, value. The least distance is one nanosecond,
//! and is written as zero. In a private network the author's signature stands behind that, 64 bytes.

use super::codec::{Reader, Writer};
use super::wire::InvalidFrame;
use crate::id::NodeId;
use crate::limits::{SEEN_AUTHORS_MAX, SYNC_PAGE_RECORDS_MAX, SYNC_RECORD_OVERHEAD_BYTES, SYNC_SEEN_COST_BYTES};
use crate::record::{Content, Key, Record, Value};
use crate::seen::Seen;
use crate::signature::Signature;
use crate::time::Timestamp;

/// The record is a deletion, and has no value.
const DELETED: u8 = 1;
/// The record has a floor.
const FLOOR: u8 = 1 << 1;
/// The record names other authors as seen.
const OTHERS: u8 = 1 << 2;
/// The known flags. A record with any other flag means something that this version cannot know.
const KNOWN_FLAGS: u8 = DELETED | FLOOR | OTHERS;

/// The cost of a record against page and credit, in bytes: the same on both sides, and no less than its real size without a
/// signature.
pub fn cost(record: &Record) -> usize {
    let value = record.content.value().map_or(0, |value| value.as_bytes().len());
    let seen = record.seen.others().len() * SYNC_SEEN_COST_BYTES;
    record.key.as_str().len() + value + seen + SYNC_RECORD_OVERHEAD_BYTES
}

pub(super) fn write(w: &mut Writer, records: &[Record]) {
    let mut authors: Vec<NodeId> = records.iter().map(|record| record.author).collect();
    authors.extend(
        records
            .iter()
            .flat_map(|record| record.seen.others())
            .map(|(author, _)| *author),
    );
    authors.sort_unstable();
    authors.dedup();
    w.length(authors.len());
    for author in &authors {
        w.bytes(author.as_bytes());
    }
    w.length(records.len());
    let mut before = 0;
    for record in records {
        w.bytes(&write_record(record, &authors, before));
        before = record.timestamp.as_nanos();
    }
}

fn write_record(record: &Record, authors: &[NodeId], before: i64) -> Vec<u8> {
    // The list holds every author, so the place found is the author's.
    let place = |author: &NodeId| authors.binary_search(author).unwrap_or_else(|place| place);
    let timestamp = record.timestamp.as_nanos();
    let distance = |seen: Timestamp| timestamp.wrapping_sub(seen.as_nanos()).wrapping_sub(1).cast_unsigned();
    let (floor, others) = (record.seen.floor(), record.seen.others());
    let mut w = Writer::new();
    let mut flags = 0;
    for (flag, is_so) in [
        (DELETED, record.content == Content::Deleted),
        (FLOOR, floor.is_some()),
        (OTHERS, !others.is_empty()),
    ] {
        flags |= if is_so { flag } else { 0 };
    }
    w.byte(flags);
    w.length(place(&record.author));
    w.signed(timestamp.wrapping_sub(before));
    if let Some(floor) = floor {
        w.number(distance(floor));
    }
    if !others.is_empty() {
        w.length(others.len());
        for (author, seen) in others {
            w.length(place(author));
            w.number(distance(*seen));
        }
    }
    w.bytes(record.key.as_str().as_bytes());
    if let Content::Put(value) = &record.content {
        w.bytes(value.as_bytes());
    }
    if let Some(signature) = &record.signature {
        w.fixed(signature.as_bytes());
    }
    w.into_bytes()
}

/// Reads a page; of a private network, if its records are to be `signed`.
pub(super) fn read(r: &mut Reader<'_>, signed: bool) -> Result<Vec<Record>, InvalidFrame> {
    let count = r.count(1, SYNC_PAGE_RECORDS_MAX * (1 + SEEN_AUTHORS_MAX))?;
    let authors = (0..count)
        .map(|_| NodeId::from_bytes(r.bytes()?).map_err(|_| InvalidFrame::Malformed("an invalid author")))
        .collect::<Result<Vec<_>, _>>()?;
    let count = r.count(1, SYNC_PAGE_RECORDS_MAX)?;
    let mut records = Vec::with_capacity(count);
    let mut before = 0;
    for _ in 0..count {
        let record = read_record(&mut Reader::new(r.bytes()?), &authors, before, signed)?;
        before = record.timestamp.as_nanos();
        records.push(record);
    }
    Ok(records)
}

fn read_record(r: &mut Reader<'_>, authors: &[NodeId], before: i64, signed: bool) -> Result<Record, InvalidFrame> {
    let flags = r.byte()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(InvalidFrame::Malformed("a record of an unknown kind"));
    }
    let author = read_author(r, authors)?;
    let timestamp = read_timestamp(before.wrapping_add(r.signed()?).cast_unsigned())?;
    let seen = read_seen(r, flags, authors, timestamp)?;
    if seen.names(&author) {
        return Err(InvalidFrame::Malformed("an author that names itself as seen"));
    }
    let key = read_key(r.bytes()?)?;
    let content = if flags & DELETED == 0 {
        let value = Value::new(r.bytes()?).map_err(|_| InvalidFrame::Malformed("a value that is too large"))?;
        Content::Put(value)
    } else {
        Content::Deleted
    };
    let signature = if signed {
        let unsigned = |_| InvalidFrame::Malformed("a record without a signature");
        Some(Signature::claimed(r.array().map_err(unsigned)?))
    } else {
        None
    };
    Ok(Record {
        key,
        content,
        timestamp,
        author,
        seen,
        signature,
    })
}

fn read_author(r: &mut Reader<'_>, authors: &[NodeId]) -> Result<NodeId, InvalidFrame> {
    let place = usize::try_from(r.number()?).ok();
    let author = place.and_then(|place| authors.get(place)).copied();
    author.ok_or(InvalidFrame::Malformed("a record without an author"))
}

/// What the author of a version of this timestamp had seen. Distances make it earlier, whatever they say.
fn read_seen(r: &mut Reader<'_>, flags: u8, authors: &[NodeId], timestamp: Timestamp) -> Result<Seen, InvalidFrame> {
    let earlier = |distance: u64| {
        let nanos = timestamp
            .as_nanos()
            .unsigned_abs()
            .checked_sub(distance)
            .and_then(|nanos| nanos.checked_sub(1));
        read_timestamp(nanos.unwrap_or(0))
    };
    let floor = match flags & FLOOR {
        0 => None,
        _ => Some(earlier(r.number()?)?),
    };
    let mut others = Vec::new();
    if flags & OTHERS != 0 {
        for _ in 0..r.count(2, SEEN_AUTHORS_MAX)? {
            others.push((read_author(r, authors)?, earlier(r.number()?)?));
        }
    }
    Seen::new(floor, others).map_err(|_| InvalidFrame::Malformed("what was seen is not in its one valid form"))
}

pub(super) fn read_timestamp(nanos: u64) -> Result<Timestamp, InvalidFrame> {
    let nanos = i64::try_from(nanos).ok();
    nanos
        .and_then(|nanos| Timestamp::from_nanos(nanos).ok())
        .ok_or(InvalidFrame::Malformed("an invalid timestamp"))
}

pub(super) fn read_key(bytes: &[u8]) -> Result<Key, InvalidFrame> {
    let text = std::str::from_utf8(bytes).map_err(|_| InvalidFrame::Malformed("a key that is not UTF-8"))?;
    Key::new(text).map_err(|_| InvalidFrame::Malformed("an invalid key"))
}
