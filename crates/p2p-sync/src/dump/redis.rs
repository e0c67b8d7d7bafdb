//! What `redis-cli --csv` and `redis-cli --no-raw` print of a reply of keys and values in turn, such as those of `HGETALL` and of a
//! script. Both escape strings as C does. Plain output does not: it cannot tell an empty value from none, or one line from two.

use std::io::{self, BufRead};

use super::scan::{RECORD_BYTES_MAX, Scan};
use super::{Bad, Each, Finding, Found};

enum Token {
    Text(Vec<u8>),
    Nil,
    /// The place of an element in a list.
    Place,
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut scan = Scan::new(input);
    let mut key: Option<(u64, Vec<u8>)> = None;
    let mut was_place = false;
    loop {
        let (line, token) = match token(&mut scan)? {
            Ok(Some(token)) => token,
            Ok(None) => break,
            Err(bad) => {
                let _ = each(Err(bad));
                return Ok(());
            }
        };
        let is_place = matches!(token, Token::Place);
        if is_place && was_place {
            let _ = each(Err(Bad::end(
                line,
                "a list within a list is not keys and values in turn",
            )));
            return Ok(());
        }
        was_place = is_place;
        let text = match token {
            Token::Place => continue,
            Token::Text(text) => Some(text),
            Token::Nil => None,
        };
        let finding: Finding = match (key.take(), text) {
            (None, Some(text)) => {
                key = Some((line, text));
                continue;
            }
            (None, None) => Err(Bad::one(line, "a key is missing (nil)")),
            (Some((line, key)), None) => {
                let why = format!("{} has no value (nil)", String::from_utf8_lossy(&key));
                Err(Bad::one(line, why))
            }
            (Some((line, key)), Some(value)) => Ok(Found {
                line,
                key,
                value: Some(value),
                timestamp: None,
            }),
        };
        if each(finding).is_break() {
            return Ok(());
        }
    }
    if let Some((line, key)) = key {
        let why = format!("the last key, {}, has no value", String::from_utf8_lossy(&key));
        let _ = each(Err(Bad::end(line, why)));
    }
    Ok(())
}

/// The next token with its line; none at the end.
fn token(scan: &mut Scan<'_>) -> io::Result<Result<Option<(u64, Token)>, Bad>> {
    loop {
        let line = scan.line();
        let Some(byte) = scan.peek()? else { return Ok(Ok(None)) };
        let token = match byte {
            b' ' | b'\n' | b'\r' | b',' => {
                scan.next()?;
                continue;
            }
            b'"' => string(scan)?.map(Token::Text),
            b'0'..=b'9' | b'-' => {
                let digits = scan.take_while(|byte| byte.is_ascii_digit() || byte == b'-')?;
                match scan.peek()? {
                    Some(b')' | b'#' | b'~') => {
                        scan.next()?;
                        Ok(Token::Place)
                    }
                    _ => Ok(Token::Text(digits)),
                }
            }
            b'=' => {
                scan.take_while(|byte| matches!(byte, b'=' | b'>'))?;
                continue;
            }
            b'(' => match scan.take_while(|byte| byte != b')' && byte != b'\n')?.as_slice() {
                b"(nil" => {
                    scan.next()?;
                    Ok(Token::Nil)
                }
                b"(integer" => {
                    scan.next()?;
                    scan.next()?;
                    Ok(Token::Text(scan.rest_of_line()?))
                }
                b"(empty array" | b"(empty list or set" | b"(empty hash" | b"(empty set" => {
                    scan.next()?;
                    continue;
                }
                b"(error" => Err(error(line, &scan.rest_of_line()?)),
                _ => Err(foreign(line)),
            },
            b'N' => match scan.take_while(|byte| byte.is_ascii_alphabetic())?.as_slice() {
                b"NULL" => Ok(Token::Nil),
                _ => Err(foreign(line)),
            },
            b'E' => match scan.take_while(|byte| byte.is_ascii_alphabetic())?.as_slice() {
                b"ERROR" => Err(error(line, &scan.rest_of_line()?)),
                _ => Err(foreign(line)),
            },
            _ => Err(foreign(line)),
        };
        return Ok(token
            .map(|token| Some((line, token)))
            .map_err(|bad| Bad { line, ..bad }));
    }
}

fn error(line: u64, rest: &[u8]) -> Bad {
    Bad::end(line, format!("Redis has failed: {}", String::from_utf8_lossy(rest)))
}

fn foreign(line: u64) -> Bad {
    Bad::end(
        line,
        "this is not what redis-cli --csv or redis-cli --no-raw print; its plain output loses what values look like",
    )
}

/// A string in quotes.
fn string(scan: &mut Scan<'_>) -> io::Result<Result<Vec<u8>, Bad>> {
    scan.next()?;
    let mut text = Vec::new();
    loop {
        let byte = match scan.next()? {
            None => return Ok(Err(Bad::end(0, "a string does not end"))),
            Some(b'"') => return Ok(Ok(text)),
            Some(b'\\') => match escape(scan)? {
                Some(byte) => byte,
                None => return Ok(Err(Bad::end(0, "an escape that redis-cli does not print"))),
            },
            Some(byte) => byte,
        };
        if text.len() <= RECORD_BYTES_MAX {
            text.push(byte);
        }
    }
}

fn escape(scan: &mut Scan<'_>) -> io::Result<Option<u8>> {
    Ok(match scan.next()? {
        Some(byte @ (b'\\' | b'"')) => Some(byte),
        Some(b'n') => Some(b'\n'),
        Some(b'r') => Some(b'\r'),
        Some(b't') => Some(b'\t'),
        Some(b'a') => Some(7),
        Some(b'b') => Some(8),
        Some(b'x') => {
            let digits = [scan.next()?, scan.next()?];
            let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
            let [high, low] = digits.map(digit);
            high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
        }
        _ => None,
    })
}
