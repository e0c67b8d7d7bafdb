//! Live changes as JSON: decoding and encoding one gossip message. The signature tells who sent it, so the message does
//! not; the [`gate`](crate::gate) decides whether to accept it.
//!
//! ```json
//! {"Put":{"key":"hello","value":"world","timestamp":"2025-01-04T08:30:15Z","seen":{}}}
//! {"Delete":{"key":"hello","timestamp":"2025-01-04T08:30:16.000000001Z","seen":{"12D3Koo…":"2025-01-04T08:30:15Z"}}}
//! {"Batch":[{"Put":{...}},{"Delete":{...}}]}
//! ```
//!
//! A value that is not UTF-8 travels as `value_b64` (RFC 4648, standard alphabet, padded) in place of `value`. `seen` says
//! what the author had seen of the key (see [`Seen`]): `floor`, and the latest timestamp of other authors by peer id. If it
//! is missing, the change overwrites everything older. In a private network, `sig` is the author's signature over the
//! record, 64 bytes in base64; in an open one it is unknown. Unknown fields are ignored, and `null` is the same as a missing
//! field. A batch contains one or more changes, and no batches; an empty one is malformed. One bad change makes the whole
//! message bad.

use std::io;

use data_encoding::BASE64;
use serde::{Serialize, Serializer};

use crate::id::NodeId;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::record::{Content, InvalidKey, Key, Record, ValueTooLarge};
use crate::seen::Seen;
use crate::signature::{SIGNATURE_BYTES, Signature};
use crate::text::shortened;
use crate::time::Timestamp;

mod incoming;
mod signatures;

/// The field of `seen` that is no peer id.
const FLOOR: &str = "floor";

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
    /// What its author had seen of the key; an entry for the author itself means nothing.
    pub seen: Seen,
    /// In a private network, the author's signature over the record; nothing is known about it yet.
    pub signature: Option<[u8; SIGNATURE_BYTES]>,
}

impl Change {
    /// The record that this change is when `author` signed the message.
    pub fn by(self, author: NodeId) -> Record {
        Record {
            key: self.key,
            content: self.content,
            timestamp: self.timestamp,
            author,
            seen: self.seen.without(&author),
            signature: self.signature.map(Signature::claimed),
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

/// Decodes a message of a private network, in which every change carries a signature: `sig`, 64 bytes in base64 (RFC 4648, standard
/// alphabet, padded). Otherwise as [`decode`], which ignores such a field.
///
/// # Errors
/// As for [`decode`], and when a change has no signature, or something else in its place.
pub fn decode_signed(data: &[u8]) -> Result<Vec<Change>, InvalidMessage> {
    let mut changes = decode(data)?;
    let text = std::str::from_utf8(data).map_err(|_| malformed("the message is not UTF-8"))?;
    let signatures = signatures::read(text)?;
    if signatures.len() != changes.len() {
        return Err(malformed("not every change is signed"));
    }
    for (change, signature) in changes.iter_mut().zip(signatures) {
        change.signature = Some(signature);
    }
    Ok(changes)
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
        seen: Option<OutgoingSeen<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sig: Option<String>,
    },
    Delete {
        key: &'a str,
        timestamp: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        seen: Option<OutgoingSeen<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        sig: Option<String>,
    },
}

#[derive(Serialize)]
struct OutgoingBatch<'a> {
    #[serde(rename = "Batch")]
    batch: Vec<Outgoing<'a>>,
}

/// What was seen, as an object: the floor first, then the others in the order of their ids.
struct OutgoingSeen<'a>(&'a Seen);

impl<'a> OutgoingSeen<'a> {
    /// None where nothing need be said.
    fn of(record: &'a Record) -> Option<Self> {
        let says_nothing = record.seen == Seen::everything_before(record.timestamp);
        (!says_nothing).then_some(Self(&record.seen))
    }
}

impl Serialize for OutgoingSeen<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let floor = self.0.floor().map(|floor| (FLOOR.to_owned(), floor.to_string()));
        let others = self.0.others().iter();
        let others = others.map(|(author, timestamp)| (author.to_string(), timestamp.to_string()));
        serializer.collect_map(floor.into_iter().chain(others))
    }
}

impl<'a> From<&'a Record> for Outgoing<'a> {
    fn from(record: &'a Record) -> Self {
        let key = record.key.as_str();
        let timestamp = record.timestamp.to_string();
        let seen = OutgoingSeen::of(record);
        let sig = record
            .signature
            .as_ref()
            .map(|signature| BASE64.encode(signature.as_bytes()));
        match &record.content {
            Content::Put(bytes) => {
                let value = bytes.as_text();
                let value_b64 = value.is_none().then(|| BASE64.encode(bytes.as_bytes()));
                Self::Put {
                    key,
                    value,
                    value_b64,
                    timestamp,
                    seen,
                    sig,
                }
            }
            Content::Deleted => Self::Delete {
                key,
                timestamp,
                seen,
                sig,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::VALUE_BYTES_MAX;
    use crate::record::Value;

    fn record(content: Content, seen: Seen) -> Record {
        let author = NodeId::from_bytes(&[7; 38]).unwrap();
        Record {
            key: Key::new("a \"key\"").unwrap(),
            content,
            timestamp: Timestamp::from_nanos(1_735_979_415_000_000_001).unwrap(),
            author,
            seen,
            signature: None,
        }
    }

    fn records() -> Vec<Record> {
        let bytes = |bytes: &[u8]| Content::Put(Value::new(bytes).unwrap());
        let now = Timestamp::from_nanos(1_735_979_415_000_000_001).unwrap();
        let other = |number: u8| (NodeId::from_bytes(&[number; 38]).unwrap(), now.previous().unwrap());
        let others: Vec<_> = (10..26).map(other).collect();
        vec![
            record(bytes(b"world"), Seen::NOTHING),
            record(bytes(b""), Seen::everything_before(now)),
            record(
                bytes(b"\xff\x00\x01"),
                Seen::everything_before(Timestamp::MIN.next().unwrap()),
            ),
            record(bytes(&[0; VALUE_BYTES_MAX]), Seen::new(None, others.clone()).unwrap()),
            record(Content::Deleted, Seen::new(Some(Timestamp::MIN), others).unwrap()),
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
