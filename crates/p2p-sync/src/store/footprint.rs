//! How much disk space a node's data uses, for `status`. `room` decides whether there is space for more.

use std::path::{Path, PathBuf};

use super::directory::size_of;
use super::paths::DataPaths;

/// A data directory as it is now. What the operating system does not tell is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// The data directory.
    pub directory: PathBuf,
    /// Bytes of the store's file.
    pub store_bytes: Option<u64>,
    /// Bytes of its write-ahead log, which lies beside it. The newest records are only there.
    pub log_bytes: Option<u64>,
    /// Bytes that this user could still write on the volume.
    pub free_bytes: Option<u64>,
}

impl DataPaths {
    /// Measures what is in it. Opens none of the files.
    pub fn footprint(&self) -> Footprint {
        let store = self.store_file();
        let mut log = store.clone().into_os_string();
        log.push("-wal");
        Footprint {
            directory: self.directory().to_owned(),
            store_bytes: size_of(&store).ok().flatten(),
            // A log that is not there is empty.
            log_bytes: size_of(Path::new(&log)).ok().map(Option::unwrap_or_default),
            free_bytes: fs4::statvfs(self.directory())
                .ok()
                .map(|volume| volume.available_space()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_files_are_measured_as_they_are() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DataPaths::new(parent.path()).unwrap();
        let empty = dir.footprint();
        assert_eq!(empty.directory, parent.path());
        assert_eq!((empty.store_bytes, empty.log_bytes), (None, Some(0)));
        fs::write(dir.store_file(), [0; 4_096]).unwrap();
        fs::write(parent.path().join("store.db-wal"), [0; 100]).unwrap();
        let full = dir.footprint();
        assert_eq!((full.store_bytes, full.log_bytes), (Some(4_096), Some(100)));
        assert!(full.free_bytes.is_some_and(|bytes| bytes > 0));
    }
}
