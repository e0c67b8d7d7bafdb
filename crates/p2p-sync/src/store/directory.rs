//! Owns a data directory: creates it with permissions for its owner only, and locks it, so that only one process uses it at
//! a time. `paths` names the files; other modules write them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;

use super::error::{OpenError, StoreError};
use super::paths::DataPaths;

/// A data directory that this process holds. It is free again when this value is dropped, or when the process ends
/// in whatever way.
#[derive(Debug)]
pub struct DataDir {
    paths: DataPaths,
    /// Locked by the operating system as long as it is open.
    _lock: File,
    /// The directory itself, locked as well where that is possible: somebody may remove the file.
    _directory: Option<File>,
}

impl DataDir {
    /// Makes the directory, if need be with those above it, and takes its lock.
    ///
    /// # Errors
    /// When another process holds it ([`OpenError::InUse`]), or when it cannot be made or written.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let paths = DataPaths::new(path)?;
        create(paths.directory())?;
        let lock = lock(&paths)?;
        let directory = lock_directory(&paths)?;
        Ok(Self {
            paths,
            _lock: lock,
            _directory: directory,
        })
    }

    /// Takes the lock of the directory if there is one that has ever been used; none, and nothing is made, if not.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_if_used(path: &Path) -> Result<Option<Self>, StoreError> {
        let paths = DataPaths::new(path)?;
        for file in [paths.lock_file(), paths.store_file()] {
            if size_of(&file)?.is_some() {
                return Self::open(path).map(Some);
            }
        }
        Ok(None)
    }

    /// Whether some process holds the directory.
    pub fn is_held(paths: &DataPaths) -> bool {
        // The locks that this takes are let go at once.
        let is_locked = |path: &Path| {
            let found = File::open(path);
            found.is_ok_and(|found| matches!(found.try_lock_shared(), Err(TryLockError::WouldBlock)))
        };
        is_locked(&paths.lock_file()) || (cfg!(unix) && is_locked(paths.directory()))
    }

    /// What lies where in it.
    pub fn paths(&self) -> &DataPaths {
        &self.paths
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
                OpenError::NotADirectory { path: path.to_owned() }.into()
            }
            _ => StoreError::io("create the data directory", path)(error),
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

fn lock(paths: &DataPaths) -> Result<File, StoreError> {
    let file = paths.lock_file();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut lock = options.open(&file).map_err(StoreError::io("write", &file))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::InUse {
                path: paths.directory().to_owned(),
                holder: holder(&mut lock),
            }
            .into());
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

#[cfg(unix)]
fn lock_directory(paths: &DataPaths) -> Result<Option<File>, StoreError> {
    // Not every file system can do it, and then there is the file.
    let Ok(directory) = File::open(paths.directory()) else {
        return Ok(None);
    };
    match directory.try_lock() {
        Ok(()) => Ok(Some(directory)),
        // Whoever holds it wrote its number into a file that is gone.
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: paths.directory().to_owned(),
            holder: None,
        }
        .into()),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Where a file that is open cannot be removed, the file is enough.
#[cfg(not(unix))]
fn lock_directory(_: &DataPaths) -> Result<Option<File>, StoreError> {
    Ok(None)
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
        assert!(DataDir::is_held(first.paths()));
        let paths = first.paths().clone();
        drop(first);
        assert!(!DataDir::is_held(&paths));
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
                matches!(&refused, StoreError::Open(OpenError::NotADirectory { path }) if *path == place),
                "{refused}"
            );
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine");
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
