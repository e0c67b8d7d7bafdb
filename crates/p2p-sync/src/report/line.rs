//! Data as one line of JSON. Characters that could disturb a terminal are written as escapes, which decode to the same string.

use std::fmt::Write as _;
use std::io;

use p2p_sync_core::text::printable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

/// The value as one line of JSON, newline included.
///
/// # Panics
/// If JSON cannot express the value, such as a map whose keys are not strings. No type in this module has one.
pub fn line(value: &impl Serialize) -> String {
    try_line(value).expect("the values above have string keys and finite numbers, and memory takes every byte")
}

/// Appends the value as one line of JSON.
///
/// # Panics
/// As for [`line`].
pub(super) fn append_line(lines: &mut Vec<u8>, value: &impl Serialize) {
    value
        .serialize(&mut Serializer::with_formatter(&mut *lines, Quiet))
        .expect("the values above have string keys and finite numbers, and memory takes every byte");
    lines.push(b'\n');
}

/// The same for a value that JSON may be unable to express.
///
/// # Errors
/// If it is.
pub fn try_line(value: &impl Serialize) -> Result<String, InvalidLine> {
    let mut bytes = Vec::new();
    value.serialize(&mut Serializer::with_formatter(&mut bytes, Quiet))?;
    bytes.push(b'\n');
    Ok(String::from_utf8(bytes).expect("JSON is UTF-8"))
}

/// Any bytes as the inside of a JSON string, so without its quotes. A byte that is no part of UTF-8 is written as `\xHH`, which
/// cannot be confused with anything else, because a backslash itself is written as two.
pub fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let quoted = line(&chunk.valid());
        text.push_str(
            quoted
                .trim_end()
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .unwrap_or_default(),
        );
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// Reads a value back from its line of JSON.
///
/// # Errors
/// If the line is not JSON, or not that of a `T`.
pub fn read<T: DeserializeOwned>(line: &str) -> Result<T, InvalidLine> {
    Ok(serde_json::from_str(line)?)
}

/// A line that is not the JSON of the expected type.
#[derive(Debug, thiserror::Error)]
#[error("unexpected JSON: {0}")]
pub struct InvalidLine(#[from] serde_json::Error);

/// Escapes characters that a terminal might act on or hide.
struct Quiet;

impl Formatter for Quiet {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control()) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        let mut escaped = String::with_capacity(fragment.len());
        let mut character = [0; 4];
        let mut units = [0; 2];
        for c in fragment.chars() {
            let plain = c.encode_utf8(&mut character);
            if printable(plain.as_bytes()) == *plain {
                escaped.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(escaped, "\\u{unit:04x}").map_err(io::Error::other)?;
            }
        }
        writer.write_all(escaped.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_disturb_a_terminal_is_escaped_and_decodes_to_the_same() {
        for text in [
            "\u{1b}[2J",
            "\u{7f}",
            "\u{9b}31m",
            "\u{202e}abc",
            "a\u{200b}b",
            "\u{e0041}",
            "plain ü 🌍 \" \\ /",
        ] {
            let written = line(&text);
            assert_eq!(serde_json::from_str::<String>(&written).ok().as_deref(), Some(text));
            let shown = written.trim_end_matches('\n');
            assert_eq!(printable(shown.as_bytes()), shown, "{text:?}");
        }
    }
}
