//! The signatures in a live change of a private network. They are read by themselves, of a message that proved to be one: what an
//! open network ignores cannot make it read anything differently.

use std::fmt;
use std::marker::PhantomData;

use data_encoding::BASE64;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::incoming::{Object, Tag, Text};
use super::{InvalidMessage, malformed};
use crate::signature::SIGNATURE_BYTES;

/// Characters of a signature: 64 bytes in base64, padded.
const TEXT_BYTES: usize = SIGNATURE_BYTES.div_ceil(3) * 4;

/// The signatures of the changes of a message, in the order of the changes.
pub(super) fn read(text: &str) -> Result<Vec<[u8; SIGNATURE_BYTES]>, InvalidMessage> {
    let found: Found<'_> = serde_json::from_str(text).map_err(|error| malformed(&error.to_string()))?;
    let mut signatures = Vec::new();
    for signature in found.0 {
        let signature = signature.ok_or_else(|| malformed("a change without a signature"))?;
        signatures.push(decode(&signature.0).ok_or_else(|| malformed("sig is not 64 bytes of base64"))?);
    }
    Ok(signatures)
}

fn decode(text: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    if text.len() != TEXT_BYTES {
        return None;
    }
    // Several padded texts in a row would make fewer bytes.
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// What stands in `sig` of each change; none: nothing.
struct Found<'a>(Vec<Option<Text<'a>>>);

#[derive(Deserialize)]
struct Signed<'a> {
    #[serde(borrow)]
    sig: Option<Text<'a>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Found<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FoundVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for FoundVisitor<'a> {
            type Value = Found<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with Put, Delete or Batch")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'a>, A::Error> {
                let mut found = Vec::new();
                while let Some(tag) = map.next_key::<Tag>()? {
                    match tag {
                        Tag::Put | Tag::Delete => found.push(map.next_value::<Object<Signed<'a>>>()?.0.sig),
                        // Batches inside of batches were refused before.
                        Tag::Batch => {
                            found.extend(map.next_value::<Vec<Found<'a>>>()?.into_iter().flat_map(|one| one.0))
                        }
                        Tag::Unknown => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Found(found))
            }
        }
        deserializer.deserialize_map(FoundVisitor(PhantomData))
    }
}
