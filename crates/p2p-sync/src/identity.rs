//! The key pair that identifies a node across restarts: created at its first start and kept forever in a file that only its
//! owner can read. The caller must hold the lock of the data directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use libp2p::identity::Keypair;

use crate::system;

/// More than any key file has. A larger one is damaged, and is not read completely.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The key pair can neither be read nor created. An existing file is left untouched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file exists but does not contain a key pair.
    #[error(
        "{} is damaged: {why}. It was left untouched. Restore it from a copy to remain the same peer; or move it away \
         and start once with --new-identity to become a new peer that keeps the data",
        file.display()
    )]
    Damaged {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file is missing, though this node had one.
    #[error(
        "{} is missing, but there is a store beside it. Restore it from a copy to remain the same peer; or start once \
         with --new-identity to become a new peer that keeps the data",
        file.display()
    )]
    Missing {
        /// Which file.
        file: PathBuf,
    },
    /// The file cannot be read or written.
    #[error("cannot use {}: {source}{}", file.display(), system::what_to_do(source))]
    Io {
        /// Which file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl IdentityError {
    /// Whether the operating system denied this user the file.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// What to do if there is no key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// Create one: the node is new, or should become a new one.
    Create,
    /// Fail: the node had one.
    Refuse,
}

/// Reads the key pair from `file`. If there is no such file, creates an Ed25519 key pair and stores it there, or refuses
/// to. The file contains libp2p's protobuf encoding, and is complete or absent, whenever the process ends.
///
/// # Errors
/// If the file is damaged or missing, or cannot be read or written. A damaged file is never overwritten.
pub fn load_or_create(file: &Path, if_missing: IfMissing) -> Result<Keypair, IdentityError> {
    // Opening a pipe would block until somebody writes to it.
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        return Err(IdentityError::Damaged {
            file: file.to_owned(),
            why: "it is not a file".to_owned(),
        });
    }
    match File::open(file) {
        Ok(opened) => load(file, opened),
        Err(error) if error.kind() == io::ErrorKind::NotFound => match if_missing {
            IfMissing::Create => create(file),
            IfMissing::Refuse => Err(IdentityError::Missing { file: file.to_owned() }),
        },
        Err(source) => Err(IdentityError::Io {
            file: file.to_owned(),
            source,
        }),
    }
}

fn load(file: &Path, opened: File) -> Result<Keypair, IdentityError> {
    let io_error = |source| IdentityError::Io {
        file: file.to_owned(),
        source,
    };
    if let Err(error) = restrict(&opened) {
        // Some file systems have no permissions; the key still works.
        tracing::warn!("Other users may be able to read {}: {error}", file.display());
    }
    let mut bytes = Vec::new();
    opened.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(io_error)?;
    // The library's error is about formats and features, which does not help the user.
    let why = if bytes.is_empty() {
        "it is empty"
    } else {
        "it does not contain a key pair"
    };
    Keypair::from_protobuf_encoding(&bytes).map_err(|_| IdentityError::Damaged {
        file: file.to_owned(),
        why: why.to_owned(),
    })
}

fn create(file: &Path) -> Result<Keypair, IdentityError> {
    let keys = Keypair::generate_ed25519();
    let bytes = keys.to_protobuf_encoding().map_err(|error| IdentityError::Io {
        file: file.to_owned(),
        source: io::Error::other(error),
    })?;
    write_whole(file, &bytes).map_err(|source| IdentityError::Io {
        file: file.to_owned(),
        source,
    })?;
    Ok(keys)
}

/// Stores a key pair that was read elsewhere, unless there is one.
///
/// # Errors
/// If there is one, it is none, or it cannot be written.
pub(crate) fn put(file: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let io_error = |source| IdentityError::Io {
        file: file.to_owned(),
        source,
    };
    if file.exists() {
        return Err(io_error(io::ErrorKind::AlreadyExists.into()));
    }
    Keypair::from_protobuf_encoding(bytes).map_err(|_| IdentityError::Damaged {
        file: file.to_owned(),
        why: "it does not contain a key pair".to_owned(),
    })?;
    write_whole(file, bytes).map_err(io_error)
}

/// Puts the file in place in one step: other names and contents never appear under its name, even if power fails.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension("key.new");
    // One left behind by a crash is worthless, and may have wider permissions.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(&unfinished)?;
    opened.write_all(bytes)?;
    opened.sync_all()?;
    drop(opened);
    fs::rename(&unfinished, file)?;
    sync_directory(file)
}

/// Makes the new name durable, not only the contents.
#[cfg(unix)]
fn sync_directory(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(not(unix))]
fn sync_directory(_file: &Path) -> io::Result<()> {
    Ok(())
}

/// Revokes other users' permission to read the file, for example after it was copied by hand.
#[cfg(unix)]
fn restrict(opened: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = opened.metadata()?.permissions().mode();
    if mode & 0o077 == 0 {
        Ok(())
    } else {
        opened.set_permissions(fs::Permissions::from_mode(mode & 0o700))
    }
}

#[cfg(not(unix))]
fn restrict(_opened: &File) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_is_made_once_and_stays() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity.key");
        let first = load_or_create(&file, IfMissing::Create).unwrap().public().to_peer_id();
        let bytes = fs::read(&file).unwrap();
        assert_eq!(
            load_or_create(&file, IfMissing::Create).unwrap().public().to_peer_id(),
            first
        );
        assert_eq!(fs::read(&file).unwrap(), bytes);
        assert_eq!(names(directory.path()), ["identity.key"], "no temporary file is left");
        let other = load_or_create(&directory.path().join("other.key"), IfMissing::Create)
            .unwrap()
            .public()
            .to_peer_id();
        assert_ne!(other, first);
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity.key");
        let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        load_or_create(&file, IfMissing::Create).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        load_or_create(&file, IfMissing::Create).unwrap();
        assert_eq!(mode(), 0o600, "taken back from the others");
    }

    #[test]
    fn a_damaged_file_is_refused_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity.key");
        load_or_create(&file, IfMissing::Create).unwrap();
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        flipped[40] ^= 1;
        for bad in [&b""[..], b"nonsense", &good[..good.len() - 1], &flipped, &[0; 100_000]] {
            fs::write(&file, bad).unwrap();
            let error = load_or_create(&file, IfMissing::Create).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{error}");
            assert!(error.to_string().contains("identity.key"), "{error}");
            assert_eq!(fs::read(&file).unwrap(), bad);
        }
    }

    #[test]
    fn what_a_crash_left_behind_is_not_taken_for_a_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity.key");
        fs::write(directory.path().join("identity.key.new"), b"half a k").unwrap();
        let made = load_or_create(&file, IfMissing::Create).unwrap().public().to_peer_id();
        assert_eq!(
            load_or_create(&file, IfMissing::Create).unwrap().public().to_peer_id(),
            made
        );
        assert_eq!(names(directory.path()), ["identity.key"]);
    }

    #[test]
    fn none_is_made_where_one_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("identity.key");
        let error = load_or_create(&file, IfMissing::Refuse).unwrap_err();
        assert!(matches!(error, IdentityError::Missing { .. }), "{error}");
        assert!(error.to_string().contains("--new-identity"), "{error}");
        assert_eq!(names(directory.path()), [""; 0]);
        load_or_create(&file, IfMissing::Create).unwrap();
        load_or_create(&file, IfMissing::Refuse).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_an_error_that_names_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let error = load_or_create(
            &directory.path().join("missing").join("identity.key"),
            IfMissing::Create,
        )
        .unwrap_err();
        assert!(matches!(error, IdentityError::Io { .. }));
        assert!(error.to_string().contains("identity.key"), "{error}");
    }
}
