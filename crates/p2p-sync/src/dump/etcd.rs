//! What `etcdctl get -w json` prints: one document with keys and values in base64. An empty value has no field.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::documents::{self, Told, decoded};
use super::{Bad, Each, Finding, Found};

/// Keys without a value that may come before the first with one: whether they are empty, or only keys were asked for, shows then.
const EMPTY_MAX: usize = 100_000;

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    documents::read(input, each, |document, told| {
        let state = State {
            told,
            empty: Vec::new(),
            has_values: false,
        };
        Answer(state).deserialize(document)
    })
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    value: Option<String>,
    #[serde(default)]
    lease: u64,
}

struct State<'a, 'b, 'c> {
    told: &'a mut Told<'b, 'c>,
    /// Those without a value that came first.
    empty: Vec<Found>,
    has_values: bool,
}

impl State<'_, '_, '_> {
    fn entry<E: Error>(&mut self, entry: Entry) -> Result<(), E> {
        let line = self.told.line();
        let has_value = entry.value.is_some();
        let finding = finding(entry, line);
        if has_value {
            self.has_values = true;
            for found in std::mem::take(&mut self.empty) {
                self.told.tell(Ok(found))?;
            }
        } else if !self.has_values
            && let Ok(found) = finding
        {
            self.empty.push(found);
            return if self.empty.len() > EMPTY_MAX {
                Err(E::custom(NO_VALUES))
            } else {
                Ok(())
            };
        }
        self.told.tell(finding)
    }
}

const NO_VALUES: &str = "no key has a value. Ask for the values, too: etcdctl get -w json --prefix \"\", without --keys-only. Nothing of it was imported";

fn finding(entry: Entry, line: u64) -> Finding {
    let key = decoded(&entry.key, line)?;
    if entry.lease != 0 {
        let key = String::from_utf8_lossy(&key);
        let why = format!("{key} has a lease: it would end there, and not here");
        return Err(Bad::one(line, why));
    }
    Ok(Found {
        line,
        key,
        value: Some(decoded(entry.value.as_deref().unwrap_or_default(), line)?),
        timestamp: None,
    })
}

struct Answer<'a, 'b, 'c>(State<'a, 'b, 'c>);

impl<'de> DeserializeSeed<'de> for Answer<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answer<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of etcd")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut is_etcd = false;
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "kvs" => map.next_value_seed(Entries(&mut self.0))?,
                "more" if map.next_value::<bool>()? => {
                    let why = "etcd had more keys than --limit let it tell: the file is incomplete";
                    self.0.told.tell(Err(Bad::one(self.0.told.line(), why)))?;
                }
                "more" => {}
                "header" => {
                    is_etcd = true;
                    map.next_value::<IgnoredAny>()?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if !is_etcd {
            return Err(A::Error::custom("this is no answer of etcd"));
        }
        if !self.0.empty.is_empty() {
            return Err(A::Error::custom(NO_VALUES));
        }
        Ok(())
    }
}

struct Entries<'s, 'a, 'b, 'c>(&'s mut State<'a, 'b, 'c>);

impl<'de> DeserializeSeed<'de> for Entries<'_, '_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            self.0.entry(entry)?;
        }
        Ok(())
    }
}
