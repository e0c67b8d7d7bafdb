//! Whether the files that SQLite has open are still the ones under the store's name. A file that was removed, moved or
//! replaced still accepts writes, and each sync of it succeeds: only its device and inode number show it. `displaced`
//! handles the consequences.
//!
//! # What it costs, and what it cannot see
//! It is asked after each commit, before anybody is told of it: three calls of about a microsecond, and a fourth before each transaction. They ask the system for no
//! times. Linux 6.13 and later dates the next change of a file exactly once somebody has looked at its times, and has that to
//! write at the next sync, which took a fifth of the rate of single writes.
//!
//! A write is acknowledged only if its file was in place after the write was on the disk. A file that is overwritten where it
//! lies (`cp copy store.db`) keeps its number: that is noticed here only while it is shorter than what it must hold, and otherwise
//! by `overwriting`, or by the digests of the records. The log is looked at before each transaction as well, because the next write
//! makes a log that was cut as long as it was, with a hole in it. Where files cannot be removed while they are open, as on Windows, there is nothing to ask.

#![cfg_attr(not(unix), allow(dead_code, reason = "there is nothing to ask there"))]

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::opening::beside;

/// What the operating system knows a file by, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    device: (u32, u32),
    inode: u64,
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.device;
        write!(f, "device {major}:{minor}, inode {}", self.inode)
    }
}

/// Which of the store's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The one with the records.
    Store,
    /// The write-ahead log beside it.
    Log,
    /// The index of that log.
    Index,
}

impl Part {
    const ALL: [Self; 3] = [Self::Store, Self::Log, Self::Index];

    pub(super) fn path(self, file: &Path) -> PathBuf {
        match self {
            Self::Store => file.to_owned(),
            Self::Log => beside(file, "-wal"),
            Self::Index => beside(file, "-shm"),
        }
    }
}

/// A file of the store is no longer the one that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Displacement {
    /// Which one.
    pub part: Part,
    /// The one that is open.
    pub was: FileId,
    /// What lies under its name now; none: nothing. The same as before: it was overwritten where it lies.
    pub now: Option<FileId>,
}

/// A file as it lies under a name.
#[derive(Debug, Clone, Copy)]
struct Seen {
    id: FileId,
    bytes: u64,
    /// How much of the disk it takes, in units of 512 bytes.
    blocks: u64,
}

/// The sizes that the files must have for what they hold, in bytes. They are asked for only where a file has shrunk.
pub(super) trait Needed {
    fn of_store(&self) -> Option<u64>;
    fn of_log(&self) -> Option<u64>;
}

/// The files of an open store, as they were when it was opened.
#[derive(Debug, Default)]
pub(super) struct Presence {
    parts: Vec<(Part, PathBuf, FileId)>,
    /// A size that the store's file had since then: it never shrinks by itself.
    bytes: u64,
    /// The same of the log, which shrinks only once its content is in the store's file.
    log_bytes: u64,
    /// How much of the disk the log took when it was last seen. Less is a sign of a hole in it.
    log_blocks: u64,
    log_is_suspect: bool,
}

impl Presence {
    /// Takes note of the files of a store that was just opened. `before` is what lay under its name when that began.
    ///
    /// # Errors
    /// When another file took its place meanwhile.
    pub(super) fn note(file: &Path, before: Option<FileId>) -> Result<Self, StoreError> {
        let mut presence = Self::default();
        for part in Part::ALL {
            let path = part.path(file);
            if let Look::Seen(seen) = look(&path) {
                presence.parts.push((part, path, seen.id));
            }
        }
        match (before, presence.of(Part::Store)) {
            (Some(was), now) if now != Some(was) => Err(StoreError::displaced(
                file,
                Displacement {
                    part: Part::Store,
                    was,
                    now,
                },
            )),
            _ => Ok(presence),
        }
    }

    fn of(&self, part: Part) -> Option<FileId> {
        self.parts.iter().find(|(of, ..)| *of == part).map(|(_, _, id)| *id)
    }

    /// What became of the files since they were noted. The store's file may have another name as well: a link that leads to it.
    pub(super) fn check(&mut self, link: Option<&Path>, needed: &impl Needed) -> Result<(), Displacement> {
        let mut log = None;
        for (part, path, was) in &self.parts {
            let displaced = |now| Displacement {
                part: *part,
                was: *was,
                now,
            };
            match look(path) {
                Look::Seen(seen) if seen.id != *was => return Err(displaced(Some(seen.id))),
                Look::Nothing => return Err(displaced(None)),
                Look::Seen(seen) if *part == Part::Store => {
                    if seen.bytes < self.bytes && needed.of_store().is_some_and(|needed| seen.bytes < needed) {
                        return Err(displaced(Some(seen.id)));
                    }
                    self.bytes = seen.bytes;
                    if let Some(link) = link {
                        match id_behind(link) {
                            Some(now) if now == *was => {}
                            now => return Err(displaced(now)),
                        }
                    }
                }
                Look::Seen(seen) if *part == Part::Log => log = Some(seen),
                Look::Seen(_) | Look::Unknown => {}
            }
        }
        log.map_or(Ok(()), |seen| self.check_log_size(seen, needed))
    }

    /// Whether the log still holds what it must. To be asked outside a transaction, and before one writes to it.
    pub(super) fn check_log(&mut self, needed: &impl Needed) -> Result<(), Displacement> {
        let Some((_, path, was)) = self.parts.iter().find(|(part, ..)| *part == Part::Log) else {
            return Ok(());
        };
        // Another file in its place is the business of the check behind the transaction.
        let Look::Seen(seen) = look(path) else { return Ok(()) };
        if seen.id == *was {
            self.check_log_size(seen, needed)
        } else {
            Ok(())
        }
    }

    fn check_log_size(&mut self, seen: Seen, needed: &impl Needed) -> Result<(), Displacement> {
        if seen.bytes < self.log_bytes && needed.of_log().is_some_and(|needed| seen.bytes < needed) {
            return Err(Displacement {
                part: Part::Log,
                was: seen.id,
                now: Some(seen.id),
            });
        }
        self.log_bytes = seen.bytes;
        self.log_is_suspect |= seen.blocks < self.log_blocks;
        self.log_blocks = seen.blocks;
        Ok(())
    }

    /// Whether the log takes less of the disk than it did, since that was last forgotten.
    pub(super) fn log_is_suspect(&self) -> bool {
        self.log_is_suspect
    }

    pub(super) fn forget_suspicion(&mut self) {
        self.log_is_suspect = false;
    }

    /// Whether the file of this part is still in place.
    pub(super) fn is_in_place(&self, part: Part) -> bool {
        self.parts
            .iter()
            .any(|(of, path, was)| *of == part && matches!(look(path), Look::Seen(seen) if seen.id == *was))
    }
}

/// What a name leads to.
enum Look {
    Seen(Seen),
    Nothing,
    /// It cannot be told.
    Unknown,
}

/// What the file of this name is known by.
pub(super) fn id_of(file: &Path) -> Option<FileId> {
    match look(file) {
        Look::Seen(seen) => Some(seen.id),
        Look::Nothing | Look::Unknown => None,
    }
}

/// What the file that this name leads to is known by.
fn id_behind(link: &Path) -> Option<FileId> {
    // The answer is the same where the name is no link.
    std::fs::canonicalize(link).ok().and_then(|file| id_of(&file))
}

/// Without following a link: SQLite follows it once, when it opens the file, and gives the log the name of what it leads to.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn look(path: &Path) -> Look {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    let wanted = StatxFlags::INO | StatxFlags::SIZE | StatxFlags::BLOCKS;
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(found) => Look::Seen(Seen {
            id: FileId {
                device: (found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
            },
            bytes: found.stx_size,
            blocks: found.stx_blocks,
        }),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Look::Nothing,
        // Old kernels and some sandboxes know no such call.
        Err(_) => look_with_times(path),
    }
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn look(path: &Path) -> Look {
    look_with_times(path)
}

#[cfg(unix)]
fn look_with_times(path: &Path) -> Look {
    use std::io::ErrorKind;
    use std::os::unix::fs::MetadataExt;
    match std::fs::symlink_metadata(path) {
        Ok(found) => Look::Seen(Seen {
            id: FileId {
                device: device(found.dev()),
                inode: found.ino(),
            },
            bytes: found.len(),
            blocks: found.blocks(),
        }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Look::Nothing,
        Err(_) => Look::Unknown,
    }
}

/// The number of a device in its two parts, as people write it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn device(number: u64) -> (u32, u32) {
    (rustix::fs::major(number), rustix::fs::minor(number))
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn device(number: u64) -> (u32, u32) {
    // How it is taken apart differs from system to system.
    (
        u32::try_from(number >> 24).unwrap_or(u32::MAX),
        (number & 0xff_ffff) as u32,
    )
}

#[cfg(not(unix))]
fn look(_path: &Path) -> Look {
    Look::Unknown
}
