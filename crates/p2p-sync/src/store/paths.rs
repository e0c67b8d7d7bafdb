//! The names of the files in a data directory. Nothing is locked or created here, so these names can also be used without
//! owning the directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::directory::size_of;
use super::error::{OpenError, StoreError};
use super::opening::beside;

/// The names of the files in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPaths {
    directory: PathBuf,
}

impl DataPaths {
    /// Those of this directory, which need not be there.
    ///
    /// # Errors
    /// When the path cannot be made an absolute one, or it or one of its parents is a file ([`OpenError::NotADirectory`]).
    pub fn new(directory: &Path) -> Result<Self, StoreError> {
        let directory = std::path::absolute(directory).map_err(StoreError::io("find", directory))?;
        let is_other = match fs::metadata(&directory) {
            Ok(found) => !found.is_dir(),
            Err(error) => error.kind() == io::ErrorKind::NotADirectory,
        };
        if is_other {
            return Err(OpenError::NotADirectory { path: directory }.into());
        }
        Ok(Self { directory })
    }

    /// The directory itself, as an absolute path.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The SQLite file with the records. If its name in the directory is that of a link, the file that this leads to: SQLite keeps the
    /// log beside that one, and so does everything else of the store lie there.
    pub fn store_file(&self) -> PathBuf {
        let named = self.named_store();
        match self.store_link() {
            // A link to nothing leads nowhere.
            Some(link) => fs::canonicalize(link).unwrap_or(named),
            None => named,
        }
    }

    /// The link in the place of the store, if there is one.
    pub fn store_link(&self) -> Option<PathBuf> {
        let named = self.named_store();
        let is_link = fs::symlink_metadata(&named).is_ok_and(|found| found.is_symlink());
        is_link.then_some(named)
    }

    fn named_store(&self) -> PathBuf {
        self.directory.join("store.db")
    }

    /// The file with the secret key that makes the peer id.
    pub fn identity_file(&self) -> PathBuf {
        self.directory.join("identity.key")
    }

    /// The file that says where the local API of the running node is.
    pub fn running_file(&self) -> PathBuf {
        self.directory.join("node.json")
    }

    /// The file with the secret that the local API asks for.
    pub fn token_file(&self) -> PathBuf {
        self.directory.join("api.token")
    }

    /// The file with the lines typed at the prompt.
    pub fn history_file(&self) -> PathBuf {
        self.directory.join("history")
    }

    /// The file that whoever holds the directory has locked.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// Whether there is a store, sound or not.
    ///
    /// # Errors
    /// When that cannot be told, or what has the name of the store is no file.
    pub fn has_store(&self) -> Result<bool, StoreError> {
        let file = self.store_file();
        for name in ["", "-wal", "-shm", "-journal"] {
            let part = beside(&file, name);
            if fs::metadata(&part).is_ok_and(|found| !found.is_file()) {
                return Err(OpenError::NotAFile { file: part }.into());
            }
            if !name.is_empty() && fs::symlink_metadata(&part).is_ok_and(|found| found.is_symlink()) {
                return Err(OpenError::LinkedPart { file: part }.into());
            }
        }
        if let Some(link) = self.store_link() {
            if size_of(&file)?.is_none() {
                return Err(OpenError::LinkToNothing { file }.into());
            }
            let log = beside(&link, "-wal");
            if size_of(&log)?.is_some_and(|bytes| bytes > 0) {
                let place = beside(&file, "-wal");
                return Err(OpenError::LogBesideLink { log, place }.into());
            }
        }
        for there in [file.clone(), beside(&file, "-wal"), beside(&file, ".rescued")] {
            if size_of(&there)?.is_some_and(|bytes| bytes > 0) {
                return Ok(true);
            }
        }
        // One that was emptied is no new one.
        Ok(size_of(&file)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(parent: &tempfile::TempDir) -> DataPaths {
        DataPaths::new(parent.path()).unwrap()
    }

    #[test]
    fn the_files_lie_in_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let paths = paths(&parent);
        for file in [
            paths.store_file(),
            paths.identity_file(),
            paths.running_file(),
            paths.token_file(),
            paths.history_file(),
            paths.lock_file(),
        ] {
            assert_eq!(file.parent(), Some(parent.path()));
        }
        assert!(DataPaths::new(Path::new("here")).unwrap().directory().is_absolute());
    }

    #[cfg(unix)]
    #[test]
    fn a_log_that_was_left_beside_a_link_is_not_overlooked() {
        let parent = tempfile::tempdir().unwrap();
        let dir = paths(&parent);
        let disk = tempfile::tempdir().unwrap();
        fs::write(disk.path().join("moved.db"), b"x").unwrap();
        std::os::unix::fs::symlink(disk.path().join("moved.db"), parent.path().join("store.db")).unwrap();
        let log = parent.path().join("store.db-wal");
        fs::write(&log, b"").unwrap();
        assert!(dir.has_store().unwrap());
        fs::write(&log, b"acknowledged").unwrap();
        let refused = dir.has_store().unwrap_err().to_string();
        assert!(
            refused.starts_with(&format!("{} lies beside a link", log.display())),
            "{refused}"
        );
        assert!(refused.contains("moved.db-wal"), "{refused}");
    }

    #[test]
    fn what_is_left_of_a_store_is_one() {
        for (name, content, is_store) in [
            ("store.db", &b"x"[..], true),
            ("store.db", b"", true),
            ("store.db-wal", b"x", true),
            ("store.db-wal", b"", false),
            ("store.db.rescued", b"x", true),
            ("store.db.damaged-1", b"x", false),
        ] {
            let parent = tempfile::tempdir().unwrap();
            let dir = paths(&parent);
            assert!(!dir.has_store().unwrap());
            fs::write(parent.path().join(name), content).unwrap();
            assert_eq!(dir.has_store().unwrap(), is_store, "{name}");
        }
    }
}
