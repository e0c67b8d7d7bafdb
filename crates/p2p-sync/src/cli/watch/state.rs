//! How far a watch has come, kept in a file for the next one. It is replaced as a whole, so that it always holds one cursor.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use p2p_sync_core::sequence::Cursor;

use super::failed;
use crate::cli::Failure;
use crate::command::Class;

/// Nothing longer is a cursor.
const BYTES_MAX: u64 = 256;

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct State {
    file: PathBuf,
    cursor: Option<String>,
}

impl State {
    /// Reads it, if it is there.
    ///
    /// # Errors
    /// When it cannot be read, or is or holds something else, which must not be overwritten.
    pub(super) fn of(file: PathBuf) -> Result<Self, Failure> {
        // What a link leads to is replaced, not the link.
        let file = fs::canonicalize(&file).unwrap_or(file);
        let text = match fs::metadata(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self { file, cursor: None }),
            // A device such as /dev/null would be replaced, and a pipe never read to its end.
            Ok(found) if !found.is_file() || found.len() > BYTES_MAX => String::from("?"),
            _ => fs::read_to_string(&file).or_else(|error| match error.kind() {
                io::ErrorKind::InvalidData => Ok(String::from("?")),
                _ => Err(failed(format!("Cannot read {}: {error}", file.display()))),
            })?,
        };
        match text.trim() {
            "" => Ok(Self { file, cursor: None }),
            text if text.parse::<Cursor>().is_ok() => Ok(Self {
                cursor: Some(text.to_owned()),
                file,
            }),
            _ => Err(Failure::new(
                Class::Invalid,
                format!(
                    "{} holds something else than the state of a watch, and was left as it is: name another file",
                    file.display()
                ),
            )),
        }
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
        replace(&self.file, cursor).map_err(|error| {
            failed(format!(
                "Cannot write {}: {error}. A watch that is started again tells some changes twice",
                self.file.display()
            ))
        })?;
        self.cursor = Some(cursor.to_owned());
        Ok(())
    }
}

fn replace(file: &Path, cursor: &str) -> io::Result<()> {
    let mut beside: OsString = file.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let written = File::create(&beside).and_then(|mut fresh| {
        writeln!(fresh, "{cursor}")?;
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
        let mut state = State::of(file.clone()).unwrap();
        assert_eq!(state.cursor(), None);
        let cursor = "00000000000000ff-7";
        state.save(cursor).unwrap();
        assert_eq!(State::of(file.clone()).unwrap().cursor(), Some(cursor));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        for other in ["my diary", &"x".repeat(1_000)] {
            fs::write(&file, other).unwrap();
            assert_eq!(State::of(file.clone()).unwrap_err().class, Class::Invalid);
            assert_eq!(fs::read_to_string(&file).unwrap(), other);
        }
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(State::of(file).unwrap_err().class, Class::Invalid);
    }

    #[test]
    #[cfg(unix)]
    fn what_is_no_file_is_left_and_what_a_link_leads_to_is_replaced() {
        for other in ["/dev/null", "/dev/zero", "/"] {
            assert_eq!(State::of(other.into()).unwrap_err().class, Class::Invalid, "{other}");
        }
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("state"), directory.path().join("link"));
        fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let cursor = "00000000000000ff-7";
        State::of(link.clone()).unwrap().save(cursor).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(State::of(file).unwrap().cursor(), Some(cursor));
    }
}
