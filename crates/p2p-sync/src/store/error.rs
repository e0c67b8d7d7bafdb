//! What can go wrong with the data directory and the store, in words for the user: what happened, what became of the data,
//! what to do next. `cli` maps kinds to exit codes.

mod open;
mod sqlite;

use std::path::{Path, PathBuf};
use std::{fs, io};

use rusqlite::ErrorCode;

use crate::system;

use super::displaced::{advice, advice_on_log, fate, ids};
use super::opening::beside;
use super::presence::Displacement;
use super::table::RowId;

pub use open::OpenError;
pub use sqlite::SqliteError;

/// A failure of the data directory or the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is not a database, or its structure is damaged. It was not changed.
    #[error("{} is damaged ({why}) and was left untouched: restore a copy, and remove its -wal and -shm files, \
         which would damage the copy; or move it away together with the files beside it whose names begin with its name, \
         and the data comes back from other nodes", file.display())]
    Damaged {
        /// The store file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The file exists, but has been emptied. It was not changed.
    #[error("{} is empty: something emptied it. Restore a copy; or move it away and start again, and the data comes \
         back from other nodes", file.display())]
    Emptied {
        /// The store file.
        file: PathBuf,
    },
    /// The content of one row does not match its digest. Other rows can be read, and the transaction is still good.
    #[error("the record of key {key} in {} is damaged: {why}; it is being moved to the table damaged_row, and a good \
         copy comes back if another node has one", file.display())]
    DamagedRecord {
        /// The store file.
        file: PathBuf,
        /// The key, made printable.
        key: String,
        /// The row.
        row: RowId,
        /// What is wrong with it.
        why: String,
    },
    /// A record was found damaged before, and no other node has sent it back yet.
    #[error("the record of key {key} in {} was damaged and is now in the table damaged_row; a good copy comes back if \
         another node has one", file.display())]
    SetAside {
        /// The store file.
        file: PathBuf,
        /// The key, made printable.
        key: String,
    },
    /// Another program wrote a row that is not a valid record. Other rows can be read, and the transaction is still good.
    #[error("the row of key {key} in {} was written by another program and is not a valid record: {why}; correct or \
         delete it with an SQLite shell", file.display())]
    NoRecord {
        /// The store file.
        file: PathBuf,
        /// The key, made printable.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk or the quota is full. The transaction must be rolled back; earlier commits are safe.
    #[error("no space left for {}: the write was not stored; free some space and try again. You can still delete \
         keys", file.display())]
    Full {
        /// The file that could not grow.
        file: PathBuf,
    },
    /// The file, its directory or the disk cannot be read, or is read-only.
    #[error("{} cannot be read and written: nothing was stored; check the permissions of the file and its directory, \
         and that the disk is writable", file.display())]
    ReadOnly {
        /// The store file.
        file: PathBuf,
    },
    /// The file was removed or renamed while it was open.
    #[error("{} was removed or moved while it was open, and later writes are lost; put it back, or start again", file.display())]
    Gone {
        /// The store file.
        file: PathBuf,
    },
    /// A file of the store was removed, moved, replaced or overwritten while it was open. Nothing more is written.
    #[error("{} was {} while it was open ({}): {}", path.display(), fate(.displacement), ids(.displacement), advice(.displacement))]
    Displaced {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        displacement: Displacement,
    },
    /// The log of the store was damaged while it was open, and could not be begun anew. Nothing more is written.
    #[error("{} was damaged by another program while it was open: nothing more is stored, and unacknowledged writes may be \
         lost. {}", log.display(), advice_on_log(*.is_saved))]
    LogDamaged {
        /// The log.
        log: PathBuf,
        /// Whether everything that was acknowledged is in the store's file.
        is_saved: bool,
    },
    /// Another program holds a lock.
    #[error("{} is locked by another program, such as an SQLite shell: nothing was stored; close that program and try again", file.display())]
    Locked {
        /// The store file.
        file: PathBuf,
    },
    /// Every reader was in use for too long.
    #[error("too many reads of {} at once: try again", file.display())]
    ReadersBusy {
        /// The store file.
        file: PathBuf,
    },
    /// A scan was stopped before it was finished.
    #[error("the check of {} was stopped", file.display())]
    Stopped {
        /// The store file.
        file: PathBuf,
    },
    /// The operating system refused something outside SQLite.
    #[error("cannot {doing} {}: {cause}{}", path.display(), system::what_to_do(cause))]
    Io {
        /// What was tried, as in "cannot … PATH".
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Its answer.
        cause: io::Error,
    },
    /// The disk failed under SQLite. Whether a transaction that was being committed is stored becomes clear when the store
    /// is reopened.
    #[error("disk error on {} ({cause}): the last write may or may not be stored; check the disk", file.display())]
    Disk {
        /// The store file.
        file: PathBuf,
        /// What SQLite says.
        cause: SqliteError,
    },
    /// The store was closed after a disk failure and has not been reopened.
    #[error("{} was closed after a failure: nothing was stored. p2p-sync keeps trying to reopen it; the log says what happened", file.display())]
    Broken {
        /// The store file.
        file: PathBuf,
    },
    /// The store was used in the wrong order, which is a bug of this program. Nothing was changed.
    #[error("bug in p2p-sync, the store was misused: {0}")]
    Misuse(&'static str),
    /// Anything else that SQLite refuses.
    #[error("SQLite failed on {}: {cause}", file.display())]
    Sqlite {
        /// The store file.
        file: PathBuf,
        /// What SQLite says.
        cause: SqliteError,
    },
}

/// The kinds of failure that users and scripts tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Another process has the data directory.
    InUse,
    /// The store belongs to another network.
    OtherNetwork,
    /// The store was written by a newer release.
    Newer,
    /// p2p-sync cannot work with the library, the file system or the file.
    Unsupported,
    /// The file or a row of it is damaged.
    Damaged,
    /// No space is left.
    Full,
    /// No permission to read or write a file or directory.
    NotPermitted,
    /// The disk or the operating system failed.
    Io,
    /// Another program holds a lock, or all readers are in use; it may work later.
    Busy,
    /// A bug of this program.
    Internal,
}

impl StoreError {
    /// The kind of failure.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Open(error) => error.kind(),
            Self::Damaged { .. }
            | Self::Emptied { .. }
            | Self::DamagedRecord { .. }
            | Self::SetAside { .. }
            | Self::NoRecord { .. } => StoreErrorKind::Damaged,
            Self::Full { .. } => StoreErrorKind::Full,
            Self::ReadOnly { .. } => StoreErrorKind::NotPermitted,
            Self::Locked { .. } | Self::ReadersBusy { .. } | Self::Stopped { .. } => StoreErrorKind::Busy,
            Self::Gone { .. }
            | Self::Displaced { .. }
            | Self::LogDamaged { .. }
            | Self::Disk { .. }
            | Self::Broken { .. } => StoreErrorKind::Io,
            Self::Io { cause, .. } if system::is_out_of_files(cause) => StoreErrorKind::Busy,
            Self::Io { cause, .. } => match cause.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::NotPermitted,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
                _ => StoreErrorKind::Io,
            },
            Self::Misuse(_) | Self::Sqlite { .. } => StoreErrorKind::Internal,
        }
    }

    /// Whether there was no space.
    pub fn is_full(&self) -> bool {
        self.kind() == StoreErrorKind::Full
    }

    /// Whether only one row is affected, so that the transaction may go on without it.
    pub fn is_one_record(&self) -> bool {
        matches!(self, Self::DamagedRecord { .. } | Self::NoRecord { .. })
    }

    /// The damaged row, to be [set aside](super::Transaction::set_aside).
    pub fn damaged_row(&self) -> Option<RowId> {
        match self {
            Self::DamagedRecord { row, .. } => Some(*row),
            _ => None,
        }
    }

    /// Whether it may be due to one of several pieces of work in a transaction, so that the others can succeed without
    /// that. Failures caused by another program or the whole disk would affect all of them.
    pub fn may_be_of_one_piece(&self) -> bool {
        // On a full disk, a deletion may still fit where a large value does not.
        matches!(
            self,
            Self::DamagedRecord { .. }
                | Self::NoRecord { .. }
                | Self::Full { .. }
                | Self::Misuse(_)
                | Self::Sqlite { .. }
        )
    }

    /// Whether pages of the file are damaged, so that it must be rescued.
    pub fn is_damaged_file(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }

    /// Whether the connection that met this must not be used again: after a sync that failed, the system may count pages
    /// as written that are not, and a second sync of the same pages would succeed without writing them.
    pub(super) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Disk { .. } | Self::Damaged { .. } | Self::Gone { .. })
    }

    /// What SQLite reports about a file.
    pub(super) fn sqlite(file: &Path, cause: rusqlite::Error) -> Self {
        let file = file.to_owned();
        // The index of the log cannot grow.
        if cause
            .sqlite_error()
            .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Self::Full { file };
        }
        match cause.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full { file },
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) => match out_of_files(&file) {
                Some(cause) => Self::Io {
                    doing: "open",
                    path: file,
                    cause,
                },
                None => Self::Disk {
                    file,
                    cause: SqliteError(cause),
                },
            },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                file,
                why: cause.to_string(),
            },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::ReadOnly { file },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { file },
            _ if is_about_shape(&cause) => Self::Damaged {
                file,
                why: cause.to_string(),
            },
            _ => Self::Sqlite {
                file,
                cause: SqliteError(cause),
            },
        }
    }

    /// SQLite does not say why it could not open a file; the system does. Only for a file that this process does not have
    /// open: closing it releases all locks that the process has on it.
    pub(super) fn or_forbidden(self) -> Self {
        let Self::Disk { file, cause } = self else { return self };
        if cause.0.sqlite_error_code() == Some(ErrorCode::CannotOpen)
            && file.as_os_str().len() > open::SQLITE_PATH_BYTES_MAX
        {
            return OpenError::PathTooLong { file }.into();
        }
        let is_forbidden = |file: &PathBuf| {
            let opened = fs::OpenOptions::new().read(true).write(true).open(file);
            opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        };
        let parts = [file.clone(), beside(&file, "-wal"), beside(&file, "-shm")];
        match parts.into_iter().find(is_forbidden) {
            Some(file) if cause.0.sqlite_error_code() == Some(ErrorCode::CannotOpen) => Self::ReadOnly { file },
            _ => Self::Disk { file, cause },
        }
    }

    /// A file of the store is no longer the one that is open.
    pub(super) fn displaced(file: &Path, displacement: Displacement) -> Self {
        Self::Displaced {
            path: displacement.part.path(file),
            displacement,
        }
    }

    /// Whether the store's files were taken away or damaged, so that it must not be used any more.
    pub fn is_displaced(&self) -> bool {
        matches!(self, Self::Displaced { .. } | Self::LogDamaged { .. })
    }

    /// What the operating system reports about a path; `doing` as in "cannot … PATH".
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Io {
            doing,
            path: path.to_owned(),
            cause,
        }
    }
}

/// Whether a table, a column or an index is missing: all statements are ours, so another program has removed it.
fn is_about_shape(cause: &rusqlite::Error) -> bool {
    let (rusqlite::Error::SqliteFailure(_, Some(words)) | rusqlite::Error::SqlInputError { msg: words, .. }) = cause
    else {
        return false;
    };
    [
        "no such table",
        "no such column",
        "no such index",
        "no column named",
        "no query solution",
    ]
    .iter()
    .any(|missing| words.contains(missing))
}

/// The system's error if this process may open no more files, which SQLite does not distinguish from a failing disk. The
/// directory can be opened without harm to any lock on the file.
fn out_of_files(file: &Path) -> Option<io::Error> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty())?;
    fs::File::open(directory).err().filter(system::is_out_of_files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_code(code: i32) -> StoreError {
        StoreError::sqlite(
            Path::new("store.db"),
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None),
        )
    }

    #[test]
    fn failures_of_sqlite_are_told_apart() {
        use rusqlite::ffi;
        for (code, kind, breaks, of_one_piece) in [
            (ffi::SQLITE_FULL, StoreErrorKind::Full, false, true),
            (ffi::SQLITE_IOERR_FSYNC, StoreErrorKind::Io, true, false),
            (ffi::SQLITE_IOERR_WRITE, StoreErrorKind::Io, true, false),
            (ffi::SQLITE_CANTOPEN, StoreErrorKind::Io, true, false),
            (ffi::SQLITE_CORRUPT, StoreErrorKind::Damaged, true, false),
            (ffi::SQLITE_NOTADB, StoreErrorKind::Damaged, true, false),
            (ffi::SQLITE_READONLY, StoreErrorKind::NotPermitted, false, false),
            (ffi::SQLITE_BUSY, StoreErrorKind::Busy, false, false),
            (ffi::SQLITE_ERROR, StoreErrorKind::Internal, false, true),
        ] {
            let error = of_code(code);
            assert_eq!((error.kind(), error.breaks_connection()), (kind, breaks), "{error}");
            assert_eq!(error.may_be_of_one_piece(), of_one_piece, "{error}");
            assert!(error.to_string().contains("store.db"), "{error}");
        }
    }

    #[test]
    fn failures_of_the_system_are_told_apart() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, StoreErrorKind::Full),
            (io::ErrorKind::PermissionDenied, StoreErrorKind::NotPermitted),
            (io::ErrorKind::NotFound, StoreErrorKind::Io),
        ] {
            assert_eq!(StoreError::io("create", Path::new("x"))(kind.into()).kind(), expected);
        }
    }
}
