//! The data directory of a node: made with its owner's permissions only, held by one process at a time. What the files
//! in it contain is left to those who write them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::opening::beside;

/// A data directory that this process holds. It is free again when this value is dropped, or when the process ends
/// in whatever way.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Locked by the operating system as long as it is open.
    _lock: File,
}

impl DataDir {
    /// Makes the directory, if need be with those above it, and takes its lock.
    ///
    /// # Errors
    /// When another process holds it ([`StoreError::InUse`]), or when it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io("find", path))?;
        create(&path)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is, as an absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The SQLite file with the records.
    pub fn store_file(&self) -> PathBuf {
        self.path.join("store.db")
    }

    /// Whether there is a store, sound or not.
    ///
    /// # Errors
    /// When that cannot be told, or what has the name of the store is no file.
    pub fn has_store(&self) -> Result<bool, StoreError> {
        let file = self.store_file();
        for name in ["", "-wal", "-shm"] {
            let part = beside(&file, name);
            if fs::metadata(&part).is_ok_and(|found| !found.is_file()) {
                return Err(StoreError::NotAFile { file: part });
            }
        }
        let is_link = fs::symlink_metadata(&file).is_ok_and(|found| found.is_symlink());
        if is_link && size_of(&file)?.is_none() {
            return Err(StoreError::LinkToNothing { file });
        }
        for there in [file.clone(), beside(&file, "-wal"), beside(&file, ".rescued")] {
            if size_of(&there)?.is_some_and(|bytes| bytes > 0) {
                return Ok(true);
            }
        }
        // One that was emptied is no new one.
        Ok(size_of(&file)?.is_some())
    }

    /// The file with the secret key that makes the peer id.
    pub fn identity_file(&self) -> PathBuf {
        self.path.join("identity.key")
    }

    /// The file with the lines typed at the prompt.
    pub fn history_file(&self) -> PathBuf {
        self.path.join("history")
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    let missing: Vec<&Path> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .recursive(true)
        .create(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                StoreError::NotADirectory { path: path.to_owned() }
            }
            _ => StoreError::io("make the data directory", path)(error),
        })?;
    // A new directory survives a power cut only when the one above it has been synced.
    #[cfg(unix)]
    for parent in missing.iter().filter_map(|new| new.parent()) {
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(StoreError::io("sync", parent))?;
    }
    #[cfg(not(unix))]
    drop(missing);
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = path.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.open(&file).map_err(StoreError::io("write", &file))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(StoreError::InUse {
                path: path.to_owned(),
                holder: holder(&mut lock),
            });
        }
        Err(TryLockError::Error(cause)) => {
            return Err(StoreError::Io {
                doing: "lock",
                path: file,
                cause,
            });
        }
    }
    // The number serves the message of a second process only, so a full disk must not keep this one from starting.
    let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
    Ok(lock)
}

/// The process that holds the lock, where the system lets others read a locked file.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Makes an empty file that only its owner may read, unless it is there.
pub(super) fn create_private(file: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    // A file that is there must not even be opened: closing it again would take away the locks that SQLite holds on it in
    // this process, by the rules of POSIX.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(file) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => Err(StoreError::io("make", file)(cause)),
        _ => Ok(()),
    }
}

/// The size in bytes; none when there is no such file.
pub(super) fn size_of(file: &Path) -> Result<Option<u64>, StoreError> {
    match fs::metadata(file) {
        // It has a length, which is 0 on Windows: as a file it would be taken for one that was emptied.
        Ok(metadata) if metadata.is_dir() => Err(StoreError::io("read", file)(io::ErrorKind::IsADirectory.into())),
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", file)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreErrorKind;

    #[test]
    fn a_second_holder_is_refused_until_the_first_lets_go() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/er");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::InUse);
        #[cfg(unix)]
        assert!(
            refused.to_string().contains(&format!("process {}", std::process::id())),
            "{refused}"
        );
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_named_and_left() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("taken");
        fs::write(&file, "mine").unwrap();
        let mut places = vec![file.clone()];
        if cfg!(unix) {
            places.push(file.join("below"));
        }
        for place in places {
            let refused = DataDir::open(&place).unwrap_err();
            assert!(
                matches!(&refused, StoreError::NotADirectory { path } if *path == place),
                "{refused}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn the_files_lie_in_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let dir = DataDir::open(parent.path()).unwrap();
        for file in [dir.store_file(), dir.identity_file(), dir.history_file()] {
            assert_eq!(file.parent(), Some(parent.path()));
        }
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
            let dir = DataDir::open(parent.path()).unwrap();
            assert!(!dir.has_store().unwrap());
            fs::write(parent.path().join(name), content).unwrap();
            assert_eq!(dir.has_store().unwrap(), is_store, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_look_in() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let _dir = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(path.join("lock")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
