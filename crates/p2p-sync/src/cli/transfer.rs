//! What exports and imports have in common: the format of a file, a file that is there whole or not at all, and how far it is.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::runtime::Builder;

use super::{Failure, cannot_begin, output};
use crate::command::{Class, CommandError};
use crate::dump::Format;

/// The name that stands for standard input or output.
pub(super) const STANDARD: &str = "-";

/// The exit code of what Ctrl-C has ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// Does the work of an export or import on this thread, until it is done or Ctrl-C ends it, which the user is told with `interrupted`.
///
/// # Errors
/// Those of the work; with `json` they have been told, as JSON, and only the exit code is left.
pub(super) fn run(
    json: bool,
    interrupted: Option<&str>,
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_begin(&error))?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => {
                interrupted.into_iter().for_each(output::say);
                Ok(ExitCode::from(INTERRUPTED))
            }
        }
    });
    runtime.shutdown_background();
    match done {
        Err(failure) if json => {
            output::say(CommandError::new(failure.class, failure.text).json().trim_end());
            Ok(ExitCode::from(failure.class.code()))
        }
        done => done,
    }
}

/// The format that was named, or that of the file's extension.
///
/// # Errors
/// When neither says it.
pub(super) fn format(named: Option<&str>, file: Option<&Path>) -> Result<Format, Failure> {
    let of_file = || file?.extension()?.to_str().and_then(Format::of_extension);
    // A file `.env` has no extension.
    let is_env = || (file?.file_name()? == ".env").then_some(Format::Env);
    let named = named.and_then(Format::of_name);
    named.or_else(of_file).or_else(is_env).ok_or_else(|| {
        let text = "Which format? Name it with --format: the name of the file does not say. Nothing was done";
        Failure::new(Class::Usage, text)
    })
}

/// A file that gets its name when it is complete.
pub(super) struct WholeFile {
    name: PathBuf,
    /// Where it is meanwhile; none if it is written in place: a device or a pipe.
    beside: Option<PathBuf>,
    file: File,
}

impl WholeFile {
    /// A new one, which only this user can read.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(name: &Path) -> io::Result<Self> {
        // What a link leads to is replaced, not the link.
        let name = fs::canonicalize(name).unwrap_or_else(|_| name.to_owned());
        let is_special = fs::metadata(&name).is_ok_and(|found| !found.is_file());
        let beside = (!is_special).then(|| {
            let mut beside: OsString = name.as_os_str().to_owned();
            beside.push(format!(".{}.part", std::process::id()));
            PathBuf::from(beside)
        });
        let mut options = OpenOptions::new();
        options.write(true);
        if beside.is_some() {
            options.create(true).truncate(true);
        }
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(beside.as_ref().unwrap_or(&name))?;
        Ok(Self { name, beside, file })
    }

    /// Where its content goes.
    ///
    /// # Errors
    /// When the system has no handle left.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Gives it its name, and tells its size.
    ///
    /// # Errors
    /// When it cannot be brought to the disk; it is removed then.
    pub(super) fn complete(mut self) -> io::Result<u64> {
        let bytes = self.file.metadata()?.len();
        if let Some(beside) = &self.beside {
            self.file.sync_all()?;
            fs::rename(beside, &self.name)?;
            self.beside = None;
        }
        Ok(bytes)
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
        }
    }
}

/// How far it is, on standard error if that is a terminal. Of what has no known end, the count.
pub(super) fn progress(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = match total {
        Some(_) => "{percent:>3} % [{bar:40}] {bytes} of {total_bytes}, {eta} left",
        None => "{spinner} {human_pos} records, {per_sec}",
    };
    ProgressStyle::with_template(template).map_or(bar.clone(), |style| bar.with_style(style))
}

/// Says a line on standard error, before anything else is done.
pub(super) fn note(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
}
