//! The shapes of incoming live changes. Strict where an ambiguity could make two nodes read one message differently (a
//! field given twice, two kinds at once, an array in place of an object), lenient about anything unknown.
//!
//! The parser borrows strings from the input where it can. An element takes at least 50 bytes of JSON and a few hundred
//! bytes of memory, so memory stays within a small multiple of the largest message.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use data_encoding::BASE64;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Change, FLOOR, InvalidMessage, malformed};
use crate::id::NodeId;
use crate::limits::SEEN_AUTHORS_MAX;
use crate::record::{Content, Key, Value};
use crate::seen::{InvalidSeen, Seen};
use crate::time::Timestamp;

/// Reads and checks the changes of one message.
pub(super) fn read(text: &str) -> Result<Vec<Change>, InvalidMessage> {
    let message: Tagged<'_> = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
    match message {
        Tagged::Put(put) => Ok(vec![put.check()?]),
        Tagged::Delete(delete) => Ok(vec![delete.check()?]),
        Tagged::Batch(changes) if changes.is_empty() => Err(malformed("the batch is empty")),
        Tagged::Batch(changes) => changes.into_iter().map(InBatch::check).collect(),
        Tagged::Unknown => Err(InvalidMessage::UnknownKind),
    }
}

/// An object with one field that says what it is. The others are ignored, unless there is none that is known.
enum Tagged<'a> {
    Put(Put<'a>),
    Delete(Delete<'a>),
    Batch(Vec<InBatch<'a>>),
    Unknown,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
pub(super) enum Tag {
    Put,
    Delete,
    Batch,
    #[serde(other)]
    Unknown,
}

impl<'de: 'a, 'a> Deserialize<'de> for Tagged<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TaggedVisitor {
            in_batch: false,
            lifetime: PhantomData,
        })
    }
}

/// What a batch may contain: anything but a batch. That is checked before the inner one is read, so nothing recurses.
struct InBatch<'a>(Tagged<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for InBatch<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_map(TaggedVisitor {
                in_batch: true,
                lifetime: PhantomData,
            })
            .map(Self)
    }
}

impl InBatch<'_> {
    fn check(self) -> Result<Change, InvalidMessage> {
        match self.0 {
            Tagged::Put(put) => put.check(),
            Tagged::Delete(delete) => delete.check(),
            Tagged::Batch(_) => Err(malformed("a batch inside a batch")),
            Tagged::Unknown => Err(InvalidMessage::UnknownKind),
        }
    }
}

struct TaggedVisitor<'a> {
    in_batch: bool,
    lifetime: PhantomData<&'a ()>,
}

impl<'de: 'a, 'a> Visitor<'de> for TaggedVisitor<'a> {
    type Value = Tagged<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.in_batch {
            "an object with Put or Delete"
        } else {
            "an object with Put, Delete or Batch"
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(tag) = map.next_key::<Tag>()? {
            let value = match tag {
                Tag::Put => Tagged::Put(map.next_value::<Object<Put<'a>>>()?.0),
                Tag::Delete => Tagged::Delete(map.next_value::<Object<Delete<'a>>>()?.0),
                Tag::Batch if self.in_batch => return Err(A::Error::custom("a batch inside a batch")),
                Tag::Batch => Tagged::Batch(map.next_value()?),
                Tag::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    found.get_or_insert(Tagged::Unknown);
                    continue;
                }
            };
            if found
                .replace(value)
                .is_some_and(|earlier| !matches!(earlier, Tagged::Unknown))
            {
                return Err(A::Error::custom("more than one of Put, Delete and Batch"));
            }
        }
        found.ok_or_else(|| A::Error::custom("neither Put nor Delete nor Batch"))
    }
}

#[derive(Deserialize)]
struct Put<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    value_b64: Option<Text<'a>>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    seen: Option<Object<SeenFields>>,
}

#[derive(Deserialize)]
struct Delete<'a> {
    #[serde(borrow)]
    key: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    seen: Option<Object<SeenFields>>,
}

impl Put<'_> {
    fn check(self) -> Result<Change, InvalidMessage> {
        let value = match (self.value, self.value_b64) {
            (Some(text), None) => Value::new(text.0.as_bytes())?,
            (None, Some(text)) => decode_base64(&text.0)?,
            (Some(_), Some(_)) => return Err(malformed("both value and value_b64")),
            (None, None) => return Err(malformed("neither value nor value_b64")),
        };
        check_change(&self.key, Content::Put(value), &self.timestamp, self.seen)
    }
}

impl Delete<'_> {
    fn check(self) -> Result<Change, InvalidMessage> {
        check_change(&self.key, Content::Deleted, &self.timestamp, self.seen)
    }
}

fn check_change(
    key: &Text<'_>,
    content: Content,
    timestamp: &Text<'_>,
    seen: Option<Object<SeenFields>>,
) -> Result<Change, InvalidMessage> {
    let key = Key::new(key.0.as_ref())?;
    let timestamp: Timestamp = timestamp
        .0
        .parse()
        .map_err(|_| malformed("the timestamp is not RFC 3339 with at most nine digits, from 1970 to 2262"))?;
    let seen = match seen {
        Some(Object(fields)) => {
            Seen::new(fields.floor, fields.others).map_err(|error| malformed(&error.to_string()))?
        }
        None => Seen::everything_before(timestamp),
    };
    if !seen.is_before(timestamp) {
        return Err(malformed("what its author had seen is not earlier than the change"));
    }
    Ok(Change {
        key,
        content,
        timestamp,
        seen,
        signature: None,
    })
}

/// What was seen: a floor, and timestamps by peer id. Reading ends with the first one too many.
#[derive(Default)]
struct SeenFields {
    floor: Option<Timestamp>,
    others: Vec<(NodeId, Timestamp)>,
}

impl<'de> Deserialize<'de> for SeenFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeenVisitor;
        impl<'de> Visitor<'de> for SeenVisitor {
            type Value = SeenFields;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of timestamps")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SeenFields, A::Error> {
                let mut seen = SeenFields::default();
                while let Some((name, text)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    let timestamp = text.0.parse().map_err(A::Error::custom)?;
                    if name.0 == FLOOR {
                        if seen.floor.replace(timestamp).is_some() {
                            return Err(A::Error::duplicate_field(FLOOR));
                        }
                    } else {
                        let author = name.0.parse().map_err(A::Error::custom)?;
                        seen.others.push((author, timestamp));
                    }
                    if seen.others.len() > SEEN_AUTHORS_MAX {
                        return Err(A::Error::custom(InvalidSeen));
                    }
                }
                Ok(seen)
            }
        }
        deserializer.deserialize_map(SeenVisitor)
    }
}

fn decode_base64(text: &str) -> Result<Value, InvalidMessage> {
    let padding = text.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
    let size = (text.len() / 4 * 3).saturating_sub(padding);
    // The decoder also accepts several padded texts in a row, so that many texts would stand for one value.
    match BASE64.decode(text.as_bytes()) {
        Ok(bytes) if bytes.len() == size => Ok(Value::new(bytes)?),
        _ => Err(malformed("value_b64 is not base64")),
    }
}

/// A string, borrowed from the input unless it contains an escape.
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A struct that is read from an object only: derived code would also accept an array of its fields.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = T;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}
