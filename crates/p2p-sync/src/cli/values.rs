//! Reads a value that stands elsewhere: in a file, or in what another program writes. It is taken byte for byte.

use std::fs::File;
use std::io::{self, Read};

use p2p_sync_core::limits::VALUE_BYTES_MAX;
use p2p_sync_core::text::printable;

use crate::command::{Add, Class, CommandError, ValueSource, as_word};

/// The command with its value in it; `input` is standard input.
///
/// # Errors
/// When the value cannot be read, or is too large.
pub(super) fn filled(add: Add, input: &mut dyn Read) -> Result<Add, CommandError> {
    let value = match add.source() {
        ValueSource::Given => return Ok(add),
        ValueSource::Words(_) => return Err(in_words(&add)),
        ValueSource::Input => read(input).map_err(|error| unreadable("standard input", &error))?,
        ValueSource::File(path) => File::open(path)
            .and_then(|mut file| read(&mut file))
            .map_err(|error| unreadable(&path.display().to_string(), &error))?,
    };
    if value.len() > VALUE_BYTES_MAX {
        let text = format!("Value too large: at most {VALUE_BYTES_MAX} bytes are allowed. Nothing was stored.");
        return Err(CommandError::new(Class::Invalid, text));
    }
    Ok(add.with_value(&value))
}

/// All there is, up to one byte more than a value may have.
fn read(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut value = Vec::new();
    from.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value)?;
    Ok(value)
}

fn unreadable(what: &str, error: &io::Error) -> CommandError {
    let class = match error.kind() {
        io::ErrorKind::NotFound => Class::NotFound,
        io::ErrorKind::PermissionDenied => Class::NotPermitted,
        _ => Class::Failed,
    };
    CommandError::new(class, format!("Cannot read {what}: {error}. Nothing was stored."))
}

/// Nobody can tell what stood between words that a shell has split.
fn in_words(add: &Add) -> CommandError {
    let words: Vec<String> = add.words().map(|word| word.to_string_lossy().into_owned()).collect();
    let (key, value) = words
        .split_first()
        .map_or((String::new(), String::new()), |(key, value)| {
            (as_word(key, false), as_word(&value.join(" "), true))
        });
    let text = format!(
        "The value is {} words, but must be one: quote it. Nothing was stored. Did you mean: p2p-sync add {} {}",
        words.len().saturating_sub(1),
        printable(key.as_bytes()),
        printable(value.as_bytes())
    );
    CommandError::new(Class::Usage, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::command::{Command, parse_line};

    #[test]
    fn a_file_is_taken_byte_for_byte() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("value");
        let add = || match parse_line(format!("add --file {} k", file.display()).as_bytes()) {
            Ok(Some(Command::Add(add))) => add,
            other => panic!("{other:?}"),
        };
        assert_eq!(filled(add(), &mut io::empty()).unwrap_err().class, Class::NotFound);
        std::fs::write(&file, b"a\r\n\0\xff \n").unwrap();
        assert!(
            Command::Add(filled(add(), &mut io::empty()).unwrap())
                .sent()
                .unwrap()
                .contains("value_b64")
        );
        std::fs::write(&file, vec![0; VALUE_BYTES_MAX + 1]).unwrap();
        assert_eq!(filled(add(), &mut io::empty()).unwrap_err().class, Class::Invalid);
    }
}
