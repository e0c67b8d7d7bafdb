//! Wall clocks that are wrong: by libfaketime, told by a file that the process looks into whenever it asks for the time.
//! Clocks for intervals stay right, as on a machine whose date is set wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::launch::Launch;

/// Where the package `libfaketime` puts its library, under a directory for the machine's kind.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// The wall clock of one process or of several, to be set while they run.
pub struct FakeClock {
    directory: TempDir,
}

impl FakeClock {
    /// A clock that is right.
    ///
    /// # Panics
    ///
    /// Without libfaketime.
    #[track_caller]
    #[expect(
        clippy::new_without_default,
        reason = "it makes things on the machine, which a default should not"
    )]
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("the system's temporary directory is writable");
        let clock = Self { directory };
        clock.set_ahead(0.0);
        clock
    }

    /// Sets it `seconds` ahead of the right time; behind it, if that is negative.
    pub fn set_ahead(&self, seconds: f64) {
        // Moved into place as a whole: a process may look at any moment.
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{seconds:+.3}\n")).expect("the directory is ours");
        fs::rename(new, self.file()).expect("the directory is ours");
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }
}

impl Launch {
    /// Gives it this wall clock.
    #[must_use]
    #[track_caller]
    pub fn clock(self, clock: &FakeClock) -> Self {
        let path = |path: &Path| path.to_str().expect("a path of ASCII characters").to_owned();
        self.env("LD_PRELOAD", &path(&library()))
            .env("FAKETIME_TIMESTAMP_FILE", &path(&clock.file()))
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    }
}

#[track_caller]
fn library() -> PathBuf {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories
        .map(|directory| directory.path().join(LIBRARY))
        .find(|library| library.exists())
        .expect("needs the package libfaketime")
}
