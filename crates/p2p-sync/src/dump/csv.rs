//! Comma-separated values (RFC 4180) with a header: `key`, `value`, and `encoding`, which says `text` or `base64`. Without that column all
//! values are text.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};
use data_encoding::BASE64;

use super::{Bad, Each, Finding, Found};

/// The columns.
pub(super) const HEADER: [&str; 3] = ["key", "value", "encoding"];
/// How a value that is text is encoded: not at all.
pub(super) const TEXT: &str = "text";
/// How others are.
pub(super) const ENCODED: &str = "base64";

/// Where lines end, as far as the reader has come. It counts them itself, but where they end in CR and LF, it counts the second one as
/// part of the next record.
#[derive(Default)]
struct LineEnds {
    /// Bytes that were read.
    bytes: u64,
    /// Lines behind which a record was found.
    passed: u64,
    /// The others.
    ahead: VecDeque<u64>,
}

impl LineEnds {
    /// The line of a byte, counted from 1, that is not before the one asked for last. An end of a line that stands there belongs to the
    /// line before.
    fn line_of(&mut self, byte: u64) -> u64 {
        let passed = self.ahead.partition_point(|end| *end <= byte);
        self.ahead.drain(..passed);
        self.passed += passed as u64;
        self.passed + 1
    }
}

struct Noting<'a> {
    input: &'a mut dyn BufRead,
    ends: Rc<RefCell<LineEnds>>,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        let mut ends = self.ends.borrow_mut();
        let begin = ends.bytes;
        let places = (begin..).zip(buffer.iter().take(count));
        ends.ahead
            .extend(places.filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at));
        ends.bytes += count as u64;
        Ok(count)
    }
}

/// Where the columns are.
struct Columns {
    key: usize,
    value: usize,
    encoding: Option<usize>,
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let ends = Rc::new(RefCell::new(LineEnds::default()));
    let input = Noting {
        input,
        ends: Rc::clone(&ends),
    };
    let mut reader = ReaderBuilder::new().from_reader(input);
    let columns = match reader.byte_headers() {
        Ok(header) => columns(header),
        Err(error) => Err(error.to_string()),
    };
    let columns = match columns {
        Ok(columns) => columns,
        Err(why) => {
            let _ = each(Err(Bad::end(1, why)));
            return Ok(());
        }
    };
    let mut record = ByteRecord::new();
    loop {
        let begin = reader.position().byte();
        let finding = match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => finding(&record, &columns),
            Err(error) => match error.kind() {
                csv::ErrorKind::Io(_) => return Err(error.into()),
                csv::ErrorKind::UnequalLengths { expected_len, len, .. } => Err(Bad::one(
                    0,
                    format!("it has {len} fields, and the header {expected_len}"),
                )),
                _ => Err(Bad::one(0, error.to_string())),
            },
        };
        let line = ends.borrow_mut().line_of(begin);
        let finding = finding.map(|found| Found { line, ..found });
        if each(finding.map_err(|bad| Bad { line, ..bad })).is_break() {
            return Ok(());
        }
    }
}

fn columns(header: &ByteRecord) -> Result<Columns, String> {
    let at = |name: &str| header.iter().position(|column| column.trim_ascii() == name.as_bytes());
    let known = |column: &[u8]| HEADER.iter().any(|name| name.as_bytes() == column.trim_ascii());
    if let Some(unknown) = header.iter().find(|column| !known(column)) {
        let unknown = String::from_utf8_lossy(unknown);
        return Err(format!(
            "the header has a column {unknown}: expected key, value and, if need be, encoding"
        ));
    }
    match (at("key"), at("value")) {
        (Some(key), Some(value)) => Ok(Columns {
            key,
            value,
            encoding: at("encoding"),
        }),
        _ => Err("the header has no columns key and value".to_owned()),
    }
}

fn finding(record: &ByteRecord, columns: &Columns) -> Finding {
    let field = |at: usize| record.get(at).unwrap_or_default();
    let value = field(columns.value);
    let value = match columns.encoding.map(field) {
        None => Ok(value.to_vec()),
        Some(encoding) if encoding == TEXT.as_bytes() => Ok(value.to_vec()),
        Some(encoding) if encoding == ENCODED.as_bytes() => BASE64.decode(value).map_err(|_| "its value is not base64"),
        Some(_) => Err("its encoding is neither text nor base64"),
    };
    let key = field(columns.key);
    let value = value.map_err(|why| Bad::one(0, format!("{}: {why}", String::from_utf8_lossy(key))))?;
    Ok(Found {
        key: key.to_vec(),
        value: Some(value),
        ..Found::default()
    })
}
