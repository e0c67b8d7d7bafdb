//! The protocol of Redis (RESP): the commands `SET` and `MSET`, as `redis-cli --pipe` takes them, or one reply of keys and values in turn.

use std::io::{self, BufRead};

use super::scan::{RECORD_BYTES_MAX, Scan};
use super::{Bad, Each, Finding, Found};

/// Strings of a command other than `MSET`.
const WORDS_MAX: usize = 16;

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut scan = Scan::new(input);
    while let Some(byte) = scan.next()? {
        let line = scan.line();
        let count = match byte {
            b'*' | b'%' => number(&scan.rest_of_line()?),
            b'#' => {
                // The log of Redis has such remarks.
                scan.rest_of_line()?;
                continue;
            }
            _ => None,
        };
        let elements = count.map(|count| if byte == b'%' { count.saturating_mul(2) } else { count });
        let read = match elements {
            Some(elements) => list(&mut scan, line, elements, each)?,
            None => Err(Bad::end(
                line,
                "this is not the protocol of Redis: expected a list of strings",
            )),
        };
        match read {
            Ok(true) => {}
            Ok(false) => break,
            Err(bad) => {
                let _ = each(Err(bad));
                break;
            }
        }
    }
    Ok(())
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The next string of a list; none where it is nil.
fn string(scan: &mut Scan<'_>) -> io::Result<Result<Option<Vec<u8>>, Bad>> {
    let line = scan.line();
    let kind = scan.next()?;
    let head = scan.rest_of_line()?;
    let length = match kind {
        Some(b'_') => return Ok(Ok(None)),
        Some(b'$') if head == b"-1" => return Ok(Ok(None)),
        Some(b'$') => number(&head),
        Some(b'+' | b':') => return Ok(Ok(Some(head))),
        None => return Ok(Err(Bad::end(line, "it breaks off in the middle of a list"))),
        _ => None,
    };
    let Some(length) = length else {
        return Ok(Err(Bad::end(line, "expected a string in the protocol of Redis")));
    };
    let text = scan.take(length)?;
    if (text.len() as u64) < length && text.len() <= RECORD_BYTES_MAX {
        return Ok(Err(Bad::end(line, "it breaks off in the middle of a string")));
    }
    scan.rest_of_line()?;
    Ok(Ok(Some(text)))
}

/// A command, or a reply. False: enough was read.
fn list(scan: &mut Scan<'_>, line: u64, elements: u64, each: &mut Each<'_>) -> io::Result<Result<bool, Bad>> {
    if elements == 0 {
        return Ok(Ok(true));
    }
    let first = match string(scan)? {
        Ok(first) => first,
        Err(bad) => return Ok(Err(bad)),
    };
    let is = |name: &[u8]| first.as_ref().is_some_and(|first| first.eq_ignore_ascii_case(name));
    // Keys and values make an even number, and so does this one command.
    if elements.is_multiple_of(2) && !(elements == 2 && is(b"select")) {
        return pairs(scan, (line, Some(first)), elements, each);
    }
    if is(b"mset") {
        return pairs(scan, (line, None), elements - 1, each);
    }
    let mut words = Vec::new();
    for _ in 1..elements {
        match string(scan)? {
            Ok(word) if words.len() < WORDS_MAX => words.push(word.unwrap_or_default()),
            Ok(_) => {}
            Err(bad) => return Ok(Err(bad)),
        }
    }
    let name = String::from_utf8_lossy(first.as_deref().unwrap_or_default()).to_uppercase();
    let finding: Finding = match (name.as_str(), words.as_slice()) {
        ("SELECT", [database]) if database == b"0" => return Ok(Ok(true)),
        ("SELECT", _) => {
            let why = "another database of Redis begins here, and there is one store: import one at a time";
            return Ok(Err(Bad::end(line, why)));
        }
        ("SET", [key, value]) => Ok(Found {
            line,
            key: key.clone(),
            value: Some(value.clone()),
            timestamp: None,
        }),
        ("SET", [key, ..]) => Err(Bad::one(
            line,
            format!(
                "{} was set with options, such as an expiry, which would be lost",
                String::from_utf8_lossy(key)
            ),
        )),
        _ => Err(Bad::one(line, format!("{name} sets no string, and cannot be imported"))),
    };
    Ok(Ok(each(finding).is_continue()))
}

fn pairs(
    scan: &mut Scan<'_>,
    (line, mut first): (u64, Option<Option<Vec<u8>>>),
    elements: u64,
    each: &mut Each<'_>,
) -> io::Result<Result<bool, Bad>> {
    let mut at = line;
    for _ in 0..elements / 2 {
        let key = match first.take() {
            Some(first) => first,
            None => {
                at = scan.line();
                match string(scan)? {
                    Ok(key) => key,
                    Err(bad) => return Ok(Err(bad)),
                }
            }
        };
        let value = match string(scan)? {
            Ok(value) => value,
            Err(bad) => return Ok(Err(bad)),
        };
        let finding = match (key, value) {
            (Some(key), Some(value)) => Ok(Found {
                line: at,
                key,
                value: Some(value),
                timestamp: None,
            }),
            (Some(key), None) => {
                let why = format!("{} has no value (nil)", String::from_utf8_lossy(&key));
                Err(Bad::one(at, why))
            }
            (None, _) => Err(Bad::one(at, "a key is missing (nil)")),
        };
        if each(finding).is_break() {
            return Ok(Ok(false));
        }
    }
    Ok(Ok(true))
}
