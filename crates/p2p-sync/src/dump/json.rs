//! One JSON object: its names are the keys. A value is a string, or, where it is not UTF-8, `{"value_b64":"…"}`.

use std::fmt;
use std::io::{self, BufRead};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::documents::{self, Told, decoded};
use super::{Bad, Each, Found};

/// The name of what stands for bytes.
pub(super) const BYTES: &str = "value_b64";

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    documents::read(input, each, |document, told| Object(told).deserialize(document))
}

struct Object<'a, 'b, 'c>(&'a mut Told<'b, 'c>);

impl<'de> DeserializeSeed<'de> for Object<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with keys and values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let line = self.0.line();
            let finding = match map.next_value_seed(AnyValue)? {
                Read::Text(text) => Ok(text.into_bytes()),
                Read::Encoded(text) => decoded(&text, line),
                Read::Other(what) => Err(Bad::one(line, format!("the value of {key} is {what}, and no string"))),
            };
            self.0.tell(finding.map(|value| Found {
                line,
                key: key.into_bytes(),
                value: Some(value),
                timestamp: None,
            }))?;
        }
        Ok(())
    }
}

enum Read {
    Text(String),
    Encoded(String),
    Other(&'static str),
}

struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Read;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Read, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Read;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Read, E> {
        Ok(Read::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Read, E> {
        Ok(Read::Text(text))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Read, E> {
        Ok(Read::Other("true or false"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Read, E> {
        Ok(Read::Other("a number"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Read, E> {
        Ok(Read::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Read, E> {
        Ok(Read::Other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Read, E> {
        Ok(Read::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Read, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Read::Other("a list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Read, A::Error> {
        let mut found = Read::Other("an object");
        let mut fields = 0;
        while let Some(name) = map.next_key::<String>()? {
            fields += 1;
            match map.next_value_seed(AnyText)? {
                Some(text) if name == BYTES && fields == 1 => found = Read::Encoded(text),
                _ => found = Read::Other("an object"),
            }
        }
        Ok(found)
    }
}

/// A string, or none where it is something else.
struct AnyText;

impl<'de> DeserializeSeed<'de> for AnyText {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Ok(match AnyValue.deserialize(deserializer)? {
            Read::Text(text) => Some(text),
            Read::Encoded(_) | Read::Other(_) => None,
        })
    }
}
