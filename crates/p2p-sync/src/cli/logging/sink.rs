//! Where log lines end up.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
use super::Print;
use crate::cli::Failure;
use crate::command::Class;

/// The place, and the way to it.
pub(super) enum Sink {
    StandardError,
    File {
        path: PathBuf,
        file: File,
    },
    #[cfg(test)]
    Other(Print),
}

impl Sink {
    /// A file, which is made if there is none, and appended to otherwise.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        match open(&path) {
            Ok(file) => Ok(Self::File { path, file }),
            Err(error) => Err(Failure::new(
                Class::Failed,
                format!(
                    "Cannot open the log file {}: {error}. Nothing was started",
                    path.display()
                ),
            )),
        }
    }

    pub(super) fn is_standard_error(&self) -> bool {
        !matches!(self, Self::File { .. })
    }

    /// Writes whole lines. What cannot be written is gone; the node lives on.
    pub(super) fn print(&mut self, text: String) {
        match self {
            Self::StandardError => drop(io::stderr().write_all(text.as_bytes())),
            Self::File { file, .. } => drop(file.write_all(text.as_bytes())),
            #[cfg(test)]
            Self::Other(print) => drop(print(text)),
        }
    }

    /// Opens the file again under its name. If that fails, the log goes on in the file that is open.
    pub(super) fn reopen(&mut self) {
        match self {
            Self::File { path, file } => match open(path) {
                Ok(new) => {
                    *file = new;
                    tracing::info!("Got SIGHUP; opened the log file {} again", path.display());
                }
                Err(error) => tracing::warn!(
                    "Got SIGHUP; cannot open the log file {}: {error}. The log goes on in the file that was open",
                    path.display()
                ),
            },
            _ => tracing::info!("Got SIGHUP; ignored: there is nothing to reload, and the log goes to standard error"),
        }
    }
}

/// Only its owner may read it: a log names keys.
fn open(path: &Path) -> io::Result<File> {
    // To open a pipe would wait for whoever reads it.
    #[cfg(unix)]
    if std::fs::metadata(path).is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type())) {
        return Err(io::Error::other("it is a pipe, not a file"));
    }
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
