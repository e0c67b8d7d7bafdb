//! Files in the data directory that only their owner may read: writing them in one step, and telling whether others may know what they
//! hold.

use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::opening::beside;

/// Writes a file that only its owner can read. Under its name there is either what was there before, or all of this.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = beside(file, ".new");
    // One left behind by a crash is worthless, and may have wider permissions.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write(&fresh, bytes).and_then(|()| fs::rename(&fresh, file));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(file)?;
    opened.write_all(bytes)?;
    opened.sync_all()
}

/// In what way others may know the content of a file, or could have placed it; none: they do not.
#[cfg(unix)]
pub fn exposure(file: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    let me = rustix::process::geteuid().as_raw();
    if file.uid() != me {
        return Some(format!("belongs to user {}, and this is user {me}", file.uid()));
    }
    let mode = file.mode() & 0o777;
    (mode & 0o077 != 0).then(|| format!("can be used by other users (its mode is {mode:03o}, it must be 600)"))
}

/// Elsewhere the user's own directories are closed to others.
#[cfg(not(unix))]
pub fn exposure(_: &Metadata) -> Option<String> {
    None
}
