//! How far a watch has come, kept in a file for the next one: a line with the cursor and, unless all keys are watched, one with their
//! prefix as a JSON string. It is replaced as a whole, so that it always holds one cursor. Another watch needs a file of its own: with
//! the cursor of this one, it would pass over changes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use p2p_sync_core::sequence::Cursor;

use super::failed;
use crate::cli::Failure;
use crate::command::Class;
use crate::report::{line, read};

/// Nothing longer is a state.
const BYTES_MAX: u64 = 4 * 1024;

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct State {
    file: PathBuf,
    prefix: String,
    cursor: Option<String>,
}

impl State {
    /// Reads it, if it is there, for a watch of the keys with this prefix.
    ///
    /// # Errors
    /// When it cannot be read, or is or holds something else, or the state of another watch, which must not be overwritten.
    pub(super) fn of(file: PathBuf, prefix: &str) -> Result<Self, Failure> {
        let state = |file, cursor| Self {
            file,
            prefix: prefix.to_owned(),
            cursor,
        };
        // What a link leads to is replaced, not the link.
        let file = fs::canonicalize(&file).unwrap_or(file);
        let text = match fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state(file, None)),
            // A device such as /dev/null would be replaced, and a pipe never read to its end.
            Ok(found) if !found.is_file() || found.len() > BYTES_MAX => String::from("?"),
            _ => fs::read_to_string(&file).or_else(|error| match error.kind() {
                io::ErrorKind::InvalidData => Ok(String::from("?")),
                _ => Err(failed(format!("Cannot read {}: {error}", file.display()))),
            })?,
        };
        if text.trim().is_empty() {
            return Ok(state(file, None));
        }
        let Some((cursor, watched)) = parts(&text) else {
            return Err(Failure::new(
                Class::Invalid,
                format!(
                    "{} holds something else than the state of a watch, and was left as it is: name another file",
                    file.display()
                ),
            ));
        };
        if watched != prefix {
            return Err(Failure::new(
                Class::Conflict,
                format!(
                    "{} is the state of another watch, of the keys that begin with {watched:?}: name another file",
                    file.display()
                ),
            ));
        }
        Ok(state(file, Some(cursor)))
    }

    /// From where to go on; none: from the beginning.
    pub(super) fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Keeps this cursor in place of the one before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn save(&mut self, cursor: &str) -> Result<(), Failure> {
        if self.cursor() == Some(cursor) {
            return Ok(());
        }
        replace(&self.file, &text(cursor, &self.prefix)).map_err(|error| {
            failed(format!(
                "Cannot write {}: {error}. A watch that is started again tells some changes twice",
                self.file.display()
            ))
        })?;
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }
}

fn text(cursor: &str, prefix: &str) -> String {
    let prefix = if prefix.is_empty() {
        String::new()
    } else {
        line(&prefix)
    };
    format!("{cursor}\n{prefix}")
}

/// The cursor and the prefix.
fn parts(text: &str) -> Option<(String, String)> {
    let mut lines = text.lines();
    let cursor = lines.next().filter(|line| line.parse::<Cursor>().is_ok())?;
    let prefix = lines.next().map_or(Ok(String::new()), read).ok()?;
    lines.next().is_none().then(|| (cursor.to_owned(), prefix))
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut beside: OsString = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = File::create(&beside).and_then(|mut fresh| {
        fresh.write_all(text.as_bytes())?;
        fresh.sync_data()
    });
    let replaced = written.and_then(|()| fs::rename(&beside, file));
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_kept_and_nothing_else_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("state");
        let mut state = State::of(file.clone(), "light/").unwrap();
        assert_eq!(state.cursor(), None);
        let cursor = "00000000000000ff-7";
        state.save(cursor).unwrap();
        assert_eq!(State::of(file.clone(), "light/").unwrap().cursor(), Some(cursor));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{cursor}\n\"light/\"\n"));
        for other in ["", "li"] {
            let another = State::of(file.clone(), other).unwrap_err();
            assert_eq!(another.class, Class::Conflict);
            assert!(another.text.contains("\"light/\""), "{another}");
        }
        for other in ["my diary", &"x".repeat(1_000)] {
            fs::write(&file, other).unwrap();
            assert_eq!(State::of(file.clone(), "light/").unwrap_err().class, Class::Invalid);
            assert_eq!(fs::read_to_string(&file).unwrap(), other);
        }
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(State::of(file, "light/").unwrap_err().class, Class::Invalid);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_left_and_what_a_link_leads_to_is_replaced() {
        for other in ["/dev/null", "/dev/zero", "/"] {
            assert_eq!(
                State::of(other.into(), "light/").unwrap_err().class,
                Class::Invalid,
                "{other}"
            );
        }
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("state"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let cursor = "00000000000000ff-7";
        State::of(link.clone(), "light/").unwrap().save(cursor).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(State::of(file, "light/").unwrap().cursor(), Some(cursor));
    }
}
