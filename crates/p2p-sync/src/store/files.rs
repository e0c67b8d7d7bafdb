//! Operations on whole files: remove, rename, sync.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::error::StoreError;
use super::opening::beside;

/// What SQLite keeps beside a file.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Removes a database with what is beside it, if it is there.
pub(super) fn remove_all(file: &Path) -> Result<(), StoreError> {
    for suffix in COMPANIONS {
        remove(&beside(file, suffix))?;
    }
    remove(file)
}

pub(super) fn remove(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", file)(error)),
        _ => Ok(()),
    }
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("rename", from))
}

pub(super) fn rename_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("rename", from)(error)),
        _ => Ok(()),
    }
}

pub(super) fn sync_file(file: &Path) -> Result<(), StoreError> {
    // Windows syncs only what may be written.
    File::options()
        .write(true)
        .open(file)
        .and_then(|open| open.sync_all())
        .map_err(StoreError::io("sync", file))
}

/// Makes renamed files survive a power cut.
pub(super) fn sync_directory(file: &Path) -> Result<(), StoreError> {
    #[cfg(unix)]
    if let Some(directory) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(directory)
            .and_then(|open| open.sync_all())
            .map_err(StoreError::io("sync", directory))?;
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::Place;

    /// Windows refuses to sync a file that was opened to be read only.
    #[test]
    fn files_and_directories_are_synced() {
        let place = Place::new();
        fs::write(&place.file, b"content").unwrap();
        sync_file(&place.file).unwrap();
        sync_directory(&place.file).unwrap();
        assert_eq!(fs::read(&place.file).unwrap(), b"content");
        let missing = place.dir.path().join("missing");
        assert_eq!(sync_file(&missing).unwrap_err().kind(), StoreErrorKind::Io);
        assert!(!missing.exists());
    }
}
