//! What `consul kv export` prints: a list of objects with a key, flags, and the value in base64.

use std::fmt;
use std::io::{self, BufRead};

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};

use super::documents::{self, Told, decoded};
use super::{Bad, Each, Finding, Found};

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    documents::read(input, each, |document, told| document.deserialize_seq(Entries(told)))
}

#[derive(Deserialize)]
struct Entry {
    key: String,
    #[serde(default)]
    flags: u64,
    value: String,
}

struct Entries<'a, 'b, 'c>(&'a mut Told<'b, 'c>);

impl<'de> Visitor<'de> for Entries<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys, as consul kv export prints it")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            let line = self.0.line();
            self.0.tell(finding(entry, line))?;
        }
        Ok(())
    }
}

fn finding(entry: Entry, line: u64) -> Finding {
    if entry.flags != 0 {
        let why = format!("{} has flags, which would be lost: it may be a lock", entry.key);
        return Err(Bad::one(line, why));
    }
    Ok(Found {
        line,
        value: Some(decoded(&entry.value, line)?),
        key: entry.key.into_bytes(),
        timestamp: None,
    })
}
