//! A page of records as bytes.
//!
//! First the authors, each once; then the records, each preceded by its length. A record is: flags, the author's index in
//! that list, its timestamp as the difference from the previous record, its base as the difference from its timestamp, key,
//! value.

use super::codec::{Reader, Writer};
use super::wire::InvalidFrame;
use crate::id::NodeId;
use crate::limits::{SYNC_PAGE_RECORDS_MAX, SYNC_RECORD_OVERHEAD_BYTES};
use crate::record::{Content, Key, Record, Value};
use crate::time::{Base, Timestamp};

/// The record is a deletion, and has no value.
const DELETED: u8 = 1;
/// The record's base: bits 1 and 2.
const BASE_NOTHING: u8 = 1 << 1;
const BASE_VERSION: u8 = 2 << 1;
const BASE_BITS: u8 = 3 << 1;
/// The known flags. A record with any other flag means something that this version cannot know.
const KNOWN_FLAGS: u8 = DELETED | BASE_BITS;

/// The cost of a record against page and credit, in bytes: the same on both sides, and no less than its real size.
pub fn cost(record: &Record) -> usize {
    let value = record.content.value().map_or(0, |value| value.as_bytes().len());
    record.key.as_str().len() + value + SYNC_RECORD_OVERHEAD_BYTES
}

pub(super) fn write(w: &mut Writer, records: &[Record]) {
    let mut authors: Vec<NodeId> = records.iter().map(|record| record.author).collect();
    authors.sort_unstable();
    authors.dedup();
    w.length(authors.len());
    for author in &authors {
        w.bytes(author.as_bytes());
    }
    w.length(records.len());
    let mut before = 0;
    for record in records {
        // The list contains every author, so the index found is the author's.
        let (Ok(place) | Err(place)) = authors.binary_search(&record.author);
        w.bytes(&write_record(record, place, before));
        before = record.timestamp.as_nanos();
    }
}

fn write_record(record: &Record, author: usize, before: i64) -> Vec<u8> {
    let timestamp = record.timestamp.as_nanos();
    let mut w = Writer::new();
    w.byte(
        match &record.content {
            Content::Put(_) => 0,
            Content::Deleted => DELETED,
        } | match record.base {
            Base::Unknown => 0,
            Base::Nothing => BASE_NOTHING,
            Base::Version(_) => BASE_VERSION,
        },
    );
    w.length(author);
    w.signed(timestamp.wrapping_sub(before));
    if let Base::Version(replaced) = record.base {
        w.signed(timestamp.wrapping_sub(replaced.as_nanos()));
    }
    w.bytes(record.key.as_str().as_bytes());
    if let Content::Put(value) = &record.content {
        w.bytes(value.as_bytes());
    }
    w.into_bytes()
}

pub(super) fn read(r: &mut Reader<'_>) -> Result<Vec<Record>, InvalidFrame> {
    let count = r.count(1, SYNC_PAGE_RECORDS_MAX)?;
    let authors = (0..count)
        .map(|_| NodeId::from_bytes(r.bytes()?).map_err(|_| InvalidFrame::Malformed("an invalid author")))
        .collect::<Result<Vec<_>, _>>()?;
    let count = r.count(1, SYNC_PAGE_RECORDS_MAX)?;
    let mut records = Vec::with_capacity(count);
    let mut before = 0;
    for _ in 0..count {
        let record = read_record(&mut Reader::new(r.bytes()?), &authors, before)?;
        before = record.timestamp.as_nanos();
        records.push(record);
    }
    Ok(records)
}

fn read_record(r: &mut Reader<'_>, authors: &[NodeId], before: i64) -> Result<Record, InvalidFrame> {
    let flags = r.byte()?;
    if flags & !KNOWN_FLAGS != 0 {
        return Err(InvalidFrame::Malformed("a record of an unknown kind"));
    }
    let author = usize::try_from(r.number()?).ok().and_then(|place| authors.get(place));
    let timestamp = before.wrapping_add(r.signed()?);
    let base = match flags & BASE_BITS {
        0 => Base::Unknown,
        BASE_NOTHING => Base::Nothing,
        BASE_VERSION => Base::Version(read_timestamp(timestamp.wrapping_sub(r.signed()?).cast_unsigned())?),
        _ => return Err(InvalidFrame::Malformed("a base of an unknown kind")),
    };
    let key = read_key(r.bytes()?)?;
    let content = if flags & DELETED == 0 {
        let value = Value::new(r.bytes()?).map_err(|_| InvalidFrame::Malformed("a value that is too large"))?;
        Content::Put(value)
    } else {
        Content::Deleted
    };
    Ok(Record {
        key,
        content,
        timestamp: read_timestamp(timestamp.cast_unsigned())?,
        author: *author.ok_or(InvalidFrame::Malformed("a record without an author"))?,
        base,
    })
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
