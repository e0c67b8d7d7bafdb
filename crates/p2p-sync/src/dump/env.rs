//! Variables in the way in which dotenv libraries, systemd and shells agree about them: `NAME=value`, and what holds anything else than
//! letters, digits and `_./:@%+,=-` in quotes. About what is left out here they disagree, so it is refused.

use std::io::{self, BufRead};

use super::scan::{RECORD_BYTES_MAX, Scan};
use super::{Bad, Each, Found};

/// Whether readers agree about this name.
pub(super) fn is_name(key: &str) -> bool {
    let mut characters = key.bytes();
    let first = characters.next();
    first.is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && characters.all(|other| other.is_ascii_alphanumeric() || other == b'_')
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_./:@%+,=-".contains(&byte)
}

/// A value as everybody reads it; none if there is no such way.
pub(super) fn quoted(value: &str) -> Option<String> {
    if value.bytes().all(is_plain) {
        return Some(value.to_owned());
    }
    if !value.contains(['\'', '\\', '\r', '\0']) && !value.contains("${") {
        return Some(format!("'{value}'"));
    }
    let fits = !value.contains(['"', '$', '\\', '`', '\r', '\0']);
    fits.then(|| format!("\"{value}\""))
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut scan = Scan::new(input);
    while let Some(byte) = scan.peek()? {
        let line = scan.line();
        match byte {
            b'\n' | b'\r' | b' ' | b'\t' => {
                scan.next()?;
                continue;
            }
            b'#' => {
                scan.rest_of_line()?;
                continue;
            }
            _ => {}
        }
        let found = variable(&mut scan)?.map_err(|why| Bad { line, ..why });
        let is_end = found.as_ref().is_err_and(|bad| bad.is_end);
        if each(found.map(|found| Found { line, ..found })).is_break() || is_end {
            break;
        }
    }
    Ok(())
}

fn variable(scan: &mut Scan<'_>) -> io::Result<Result<Found, Bad>> {
    let name = scan.take_while(|byte| byte != b'=' && byte != b'\n')?;
    if scan.peek()? != Some(b'=') {
        scan.rest_of_line()?;
        return Ok(Err(Bad::one(0, "it is no variable: expected NAME=value")));
    }
    scan.next()?;
    let name = name.strip_prefix(b"export ").unwrap_or(&name);
    if !std::str::from_utf8(name).is_ok_and(is_name) {
        scan.rest_of_line()?;
        let name = String::from_utf8_lossy(name);
        let why = format!("{name} is no name that all readers of such files know: [A-Za-z_][A-Za-z0-9_]*");
        return Ok(Err(Bad::one(0, why)));
    }
    let value = match scan.peek()? {
        Some(quote @ (b'\'' | b'"')) => between(scan, quote)?,
        _ => unquoted(&scan.rest_of_line()?),
    };
    let of_name = |why: Bad| Bad {
        why: format!("{}: {}", String::from_utf8_lossy(name), why.why),
        ..why
    };
    Ok(value.map_err(of_name).map(|value| Found {
        key: name.to_vec(),
        value: Some(value),
        ..Found::default()
    }))
}

fn unquoted(rest: &[u8]) -> Result<Vec<u8>, Bad> {
    if rest.iter().all(|byte| is_plain(*byte)) {
        return Ok(rest.to_vec());
    }
    let why = "readers of such files disagree about this value: put it into single quotes";
    Err(Bad::one(0, why))
}

/// What stands between quotes, behind which the line must end.
fn between(scan: &mut Scan<'_>, quote: u8) -> io::Result<Result<Vec<u8>, Bad>> {
    scan.next()?;
    let value = scan.take_while(|byte| byte != quote)?;
    if scan.next()?.is_none() {
        return Ok(Err(Bad::end(0, "its quotes do not end")));
    }
    let rest = scan.rest_of_line()?;
    if !rest.is_empty() {
        return Ok(Err(Bad::one(0, "something stands behind its quotes")));
    }
    let text = match String::from_utf8(value) {
        Ok(text) if text.len() <= RECORD_BYTES_MAX => text,
        Ok(_) => return Ok(Err(Bad::one(0, "its value is too large"))),
        Err(_) => return Ok(Err(Bad::one(0, "its value is not UTF-8"))),
    };
    let disputed = if quote == b'\'' {
        text.contains(['\\', '\r', '\0']) || text.contains("${")
    } else {
        text.contains(['$', '\\', '`', '\r', '\0'])
    };
    if disputed {
        let why =
            "readers of such files disagree about a value with $, backslash, backtick or carriage return in quotes";
        return Ok(Err(Bad::one(0, why)));
    }
    Ok(Ok(text.into_bytes()))
}
