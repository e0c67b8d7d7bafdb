//! One JSON object a line: `{"key":…,"value":…}`, with `value_b64` for what is not UTF-8, `"deleted":true`, and the time and the author
//! of the write. It is what `export` and `list --json` print.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

use super::scan::{RECORD_BYTES_MAX, Scan};
use super::{Bad, Each, Finding, Found};
use crate::report::{Dumped, Failure, Items, read as read_json};

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut scan = Scan::new(input);
    let mut records = 0;
    while scan.peek()?.is_some() {
        let line = scan.line();
        let text = scan.rest_of_line()?;
        if text.trim_ascii().is_empty() {
            continue;
        }
        if let Some(found) = finding(&text, line, &mut records)
            && each(found) == ControlFlow::Break(())
        {
            break;
        }
    }
    Ok(())
}

/// What a line says; none if it is the end of a list, and that is complete.
fn finding(text: &[u8], line: u64, records: &mut u64) -> Option<Finding> {
    if text.len() > RECORD_BYTES_MAX {
        return Some(Err(Bad::one(line, "the line is too long for a record")));
    }
    let Ok(text) = std::str::from_utf8(text) else {
        return Some(Err(Bad::one(line, "it is not UTF-8")));
    };
    match read_json::<Dumped<'_>>(text) {
        Ok(dumped) => {
            *records += 1;
            Some(found(dumped, line))
        }
        Err(_) if text.starts_with("{\"items\":") => {
            let told = read_json::<Items>(text).ok()?.items;
            let why = format!("the file had {told} records, and {records} are left: it is incomplete");
            (told != *records).then(|| Err(Bad::one(line, why)))
        }
        Err(error) => {
            let failure = read_json::<Failure>(text).ok();
            let why = failure.map_or_else(
                || error.to_string(),
                |failure| format!("whatever wrote the file failed here ({})", failure.error),
            );
            Some(Err(Bad::one(line, why)))
        }
    }
}

fn found(dumped: Dumped<'_>, line: u64) -> Finding {
    let value = dumped.content();
    let value = value.map_err(|why| Bad::one(line, format!("{}: {why}", dumped.key)))?;
    Ok(Found {
        line,
        key: dumped.key.into_owned().into_bytes(),
        value,
        timestamp: dumped.timestamp.map(Into::into),
    })
}
