//! Live changes as JSON: decoding and encoding one gossip message. The signature tells who sent it, so the message does
//! not; the [`gate`](crate::gate) decides whether to accept it.
//!
//! ```json
//! {"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","base":"1970-01-01T00:00:00Z"}}
//! {"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z","base":"2025-01-04T08:30:15Z"}}
//! {"Batch":[{"Put":{...}},{"Delete":{...}}]}
//! ```
//!
//! A value that is not UTF-8 travels as `value_b64` (RFC 4648, standard alphabet, padded) in place of `value`. `base` may
//! be missing. Unknown fields are ignored, and `null` is the same as a missing field. A batch contains one or more changes,
//! and no batches; an empty one is malformed. One bad change makes the whole message bad.

use std::io;

use data_encoding::BASE64;
use serde::Serialize;

use crate::id::NodeId;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::record::{Content, InvalidKey, Key, Record, ValueTooLarge};
use crate::text::shortened;
use crate::time::{Base, Timestamp};

mod incoming;

/// Bytes that a batch needs in addition to its changes, plus one more for each change.
pub const BATCH_BYTES: usize = br#"{"Batch":[]}"#.len();

/// One change as a message states it: a record without its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// Its value, or that it was deleted.
    pub content: Content,
    /// When it was written, by its author's clock.
    pub timestamp: Timestamp,
    /// What it replaced there.
    pub base: Base,
}

impl Change {
    /// The record that this change is when `author` signed the message.
    pub fn by(self, author: NodeId) -> Record {
        Record {
            key: self.key,
            content: self.content,
            timestamp: self.timestamp,
            author,
            base: self.base,
        }
    }
}

/// Why some bytes are not a message. If one part of a message is wrong, none of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// It has more than [`MESSAGE_BYTES_MAX`] bytes, and was not parsed.
    #[error("the message has {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLarge {
        /// How many it has.
        bytes: usize,
    },
    /// It is not JSON, or not of the shape above. The text is escaped and short enough for a log.
    #[error("{0}")]
    Malformed(String),
    /// It is well-formed JSON of a kind that this version does not know: a newer one may.
    #[error("the message is of an unknown kind")]
    UnknownKind,
    /// A key breaks a rule.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// A value is too large.
    #[error(transparent)]
    Value(#[from] ValueTooLarge),
}

fn malformed(why: &str) -> InvalidMessage {
    InvalidMessage::Malformed(shortened(why.as_bytes()))
}

/// Decodes a message: one or more changes, in the order in which they appear.
///
/// Uses memory in proportion to the size of `data`, whatever it contains.
///
/// # Errors
/// When it is too large, not of a known shape, or breaks a rule for keys, values or timestamps.
pub fn decode(data: &[u8]) -> Result<Vec<Change>, InvalidMessage> {
    if data.len() > MESSAGE_BYTES_MAX {
        return Err(InvalidMessage::TooLarge { bytes: data.len() });
    }
    // The parser does not check text that it skips, so the whole is checked first.
    let text = std::str::from_utf8(data).map_err(|_| malformed("the message is not UTF-8"))?;
    incoming::read(text)
}

/// Encodes these records, all by one author: a single one as `Put` or `Delete`, several as a `Batch` in the same order.
/// There must be at least one, and together they must fit: see [`encoded_bytes`] and [`BATCH_BYTES`].
pub fn encode(records: &[Record]) -> Vec<u8> {
    let mut data = Vec::new();
    // Writing JSON of strings to memory cannot fail: there is no I/O and no key that is not a string.
    let written = match records {
        [record] => serde_json::to_writer(&mut data, &Outgoing::from(record)),
        _ => serde_json::to_writer(
            &mut data,
            &OutgoingBatch {
                batch: records.iter().map(Outgoing::from).collect(),
            },
        ),
    };
    debug_assert!(written.is_ok(), "{written:?}");
    data
}

/// The exact size of a message with only this record. A batch takes that for each of its records, one more byte to separate
/// them, and [`BATCH_BYTES`].
pub fn encoded_bytes(record: &Record) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, data: &[u8]) -> io::Result<usize> {
            self.0 += data.len();
            Ok(data.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    let written = serde_json::to_writer(&mut counter, &Outgoing::from(record));
    debug_assert!(written.is_ok(), "{written:?}");
    counter.0
}

/// An outgoing message. The fields are in wire order.
#[derive(Serialize)]
enum Outgoing<'a> {
    Put {
        key: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        value: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        value_b64: Option<String>,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
    Delete {
        key: &'a str,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        base: Option<String>,
    },
}

#[derive(Serialize)]
struct OutgoingBatch<'a> {
    #[serde(rename = "Batch")]
    batch: Vec<Outgoing<'a>>,
}

impl<'a> From<&'a Record> for Outgoing<'a> {
    fn from(record: &'a Record) -> Self {
        let key = record.key.as_str();
        let timestamp = record.timestamp.to_string();
        let base = record.base.to_text();
        match &record.content {
            Content::Put(bytes) => {
                let value = bytes.as_text();
                let value_b64 = value.is_none().then(|| BASE64.encode(bytes.as_bytes()));
                Self::Put {
                    key,
                    value,
                    value_b64,
                    timestamp,
                    base,
                }
            }
            Content::Deleted => Self::Delete { key, timestamp, base },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VALUE_BYTES_MAX;
    use crate::record::Value;

    fn record(content: Content, base: Base) -> Record {
        let author = NodeId::from_bytes(&[7; 38]).unwrap();
        Record {
            key: Key::new("a \"key\"").unwrap(),
            content,
            timestamp: Timestamp::from_nanos(1_735_979_415_000_000_001).unwrap(),
            author,
            base,
        }
    }

    fn records() -> Vec<Record> {
        let bytes = |bytes: &[u8]| Content::Put(Value::new(bytes).unwrap());
        vec![
            record(bytes(b"world"), Base::Unknown),
            record(bytes(b""), Base::Nothing),
            record(bytes(b"\xff\x00\x01"), Base::Version(Timestamp::MIN)),
            record(bytes(&[0; VALUE_BYTES_MAX]), Base::Version(Timestamp::MAX)),
            record(Content::Deleted, Base::Nothing),
        ]
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_and_has_the_size_foretold() {
        for record in records() {
            let data = encode(std::slice::from_ref(&record));
            assert_eq!(data.len(), encoded_bytes(&record));
            let changes = decode(&data).unwrap();
            assert_eq!(
                changes
                    .into_iter()
                    .map(|change| change.by(record.author))
                    .collect::<Vec<_>>(),
                [record]
            );
        }
        let data = encode(&records());
        assert_eq!(
            data.len(),
            BATCH_BYTES + records().iter().map(|record| encoded_bytes(record) + 1).sum::<usize>() - 1
        );
        assert_eq!(
            decode(&data)
                .unwrap()
                .into_iter()
                .map(|change| change.by(records()[0].author))
                .collect::<Vec<_>>(),
            records()
        );
    }

    #[test]
    fn the_reason_for_a_refusal_is_short_and_harmless() {
        let nasty = format!(r#"{{"Put":"{}\u001b[2J"}}"#, "x".repeat(100_000));
        let Err(InvalidMessage::Malformed(why)) = decode(nasty.as_bytes()) else {
            panic!("accepted")
        };
        assert!(why.len() < 200 && !why.contains('\u{1b}'), "{why}");
    }

    #[test]
    fn a_kind_of_message_to_come_is_told_from_nonsense() {
        assert_eq!(
            decode(br#"{"Rename":{"from":"a","to":"b"}}"#),
            Err(InvalidMessage::UnknownKind)
        );
        assert_eq!(decode(br#"{"Batch":[{"Rename":1}]}"#), Err(InvalidMessage::UnknownKind));
        assert!(matches!(decode(b"{}"), Err(InvalidMessage::Malformed(_))));
    }
}
