//! Writes records in a format, and refuses what that format cannot say.

use std::io::{self, Write};

use ::csv::{QuoteStyle, Terminator, WriterBuilder};
use data_encoding::BASE64;

use super::Format;
use super::csv::{ENCODED, HEADER, TEXT};
use super::env;
use super::json::BYTES;
use crate::report::{Dumped, line};

/// Why a record is not in the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotExported {
    /// The format cannot say it.
    #[error("{0}")]
    Inexpressible(String),
    /// It could not be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Writes records.
pub(crate) struct Writer<W: Write> {
    into: Into<W>,
    records: u64,
}

enum Into<W: Write> {
    Lines(W),
    Object(W),
    Table(Box<::csv::Writer<W>>),
    Variables(W),
}

impl<W: Write> Writer<W> {
    /// In a format that is [written](Format::names_of_written).
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn new(format: Format, mut out: W) -> io::Result<Self> {
        let into = match format {
            Format::Json => {
                out.write_all(b"{")?;
                Into::Object(out)
            }
            Format::Csv => {
                let mut builder = WriterBuilder::new();
                builder.quote_style(QuoteStyle::Always).terminator(Terminator::CRLF);
                let mut table = builder.from_writer(out);
                table.write_record(HEADER)?;
                Into::Table(Box::new(table))
            }
            Format::Env => Into::Variables(out),
            _ => Into::Lines(out),
        };
        Ok(Self { into, records: 0 })
    }

    /// How many records were written.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Writes a record.
    ///
    /// # Errors
    /// When the format cannot say it, or it cannot be written.
    pub(crate) fn record(&mut self, record: &Dumped<'_>) -> Result<(), NotExported> {
        let key = record.key.as_ref();
        let refused = |why: &str| NotExported::Inexpressible(format!("{key}: {why}"));
        match &mut self.into {
            Into::Lines(out) => out.write_all(line(record).as_bytes())?,
            Into::Object(out) => {
                let value = match (&record.value, &record.value_b64) {
                    (Some(text), _) => line(text),
                    (None, Some(encoded)) => format!("{{\"{BYTES}\":\"{encoded}\"}}"),
                    (None, None) => return Err(refused("a deletion cannot be told in this format")),
                };
                let comma = if self.records > 0 { "," } else { "" };
                write!(out, "{comma}\n{}:{}", line(&key).trim_end(), value.trim_end())?;
            }
            Into::Table(table) => {
                let encoded = |text: &str| BASE64.encode(text.as_bytes());
                let row = match (&record.value, &record.value_b64) {
                    // Readers cut the one off, and turn the other into the end of a line.
                    (Some(text), _) if text.contains(['\0', '\r']) => [key, &encoded(text), ENCODED],
                    (Some(text), _) => [key, text, TEXT],
                    (None, Some(encoded)) => [key, encoded, ENCODED],
                    (None, None) => return Err(refused("a deletion cannot be told in this format")),
                };
                table.write_record(row).map_err(io::Error::from)?;
            }
            Into::Variables(out) => {
                if !env::is_name(key) {
                    return Err(refused(
                        "this is no name that all readers of .env files know: [A-Za-z_][A-Za-z0-9_]*",
                    ));
                }
                let quoted = record.value.as_deref().and_then(env::quoted);
                let Some(quoted) = quoted else {
                    return Err(refused(
                        "readers of .env files disagree about such a value, in any quotes",
                    ));
                };
                writeln!(out, "{key}={quoted}")?;
            }
        }
        self.records += 1;
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn end(self) -> io::Result<W> {
        match self.into {
            Into::Lines(out) | Into::Variables(out) => Ok(out),
            Into::Object(mut out) => {
                let end: &[u8] = if self.records > 0 { b"\n}\n" } else { b"}\n" };
                out.write_all(end)?;
                Ok(out)
            }
            Into::Table(table) => table.into_inner().map_err(|error| error.into_error()),
        }
    }
}
