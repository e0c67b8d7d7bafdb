//! Files that are one JSON document, read one element at a time, with the line that the reader has come to.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use data_encoding::BASE64;
use serde::de::Error;
use serde_json::Deserializer;
use serde_json::de::IoRead;

use super::{Bad, Each, Finding};

/// Where the reader of a document is, and who is told of what it finds.
pub(super) struct Told<'a, 'b> {
    line: Rc<Cell<u64>>,
    each: &'a mut Each<'b>,
    /// Nobody wants to hear more.
    has_enough: bool,
}

impl Told<'_, '_> {
    /// The line that was reached, counted from 1.
    pub(super) fn line(&self) -> u64 {
        self.line.get()
    }

    /// Tells of something.
    ///
    /// # Errors
    /// When that was enough.
    pub(super) fn tell<E: Error>(&mut self, finding: Finding) -> Result<(), E> {
        match (self.each)(finding) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                self.has_enough = true;
                Err(E::custom("enough"))
            }
        }
    }
}

/// Counts lines as they are read.
pub(super) struct Counting<'a> {
    input: &'a mut dyn BufRead,
    line: Rc<Cell<u64>>,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let read = buffer.get(..count).unwrap_or_default();
        let lines = read.iter().filter(|byte| **byte == b'\n').count() as u64;
        self.line.set(self.line.get() + lines);
        Ok(count)
    }
}

/// A document that is being read.
pub(super) type Document<'a> = Deserializer<IoRead<Counting<'a>>>;

/// Reads a document with `parse`, and tells of it if it is none.
pub(super) fn read(
    input: &mut dyn BufRead,
    each: &mut Each<'_>,
    parse: impl FnOnce(&mut Document<'_>, &mut Told<'_, '_>) -> Result<(), serde_json::Error>,
) -> io::Result<()> {
    let line = Rc::new(Cell::new(1));
    let mut told = Told {
        line: Rc::clone(&line),
        each,
        has_enough: false,
    };
    let counting = Counting {
        input,
        line: Rc::clone(&line),
    };
    let mut document = Deserializer::from_reader(counting);
    let read = parse(&mut document, &mut told).and_then(|()| document.end());
    match read {
        Ok(()) => Ok(()),
        Err(_) if told.has_enough => Ok(()),
        Err(error) if error.is_io() => Err(error.into()),
        Err(error) => {
            let _ = (told.each)(Err(Bad::end(line.get(), format!("unexpected JSON: {error}"))));
            Ok(())
        }
    }
}

/// Base64 as other programs write it.
pub(super) fn decoded(text: &str, line: u64) -> Result<Vec<u8>, Bad> {
    let bytes = BASE64.decode(text.as_bytes());
    bytes.map_err(|_| Bad::one(line, "what should be base64 is not"))
}
