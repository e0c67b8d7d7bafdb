//! A small file next to the store that only reserves space: it is given up when the volume is full, so that deletions and
//! other writes that need no extra space still succeed, and recreated as soon as there is space for it. The node decides
//! what may be written meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::directory::size_of;
use super::error::StoreError;
use super::files;
use super::opening::beside;
use super::sqlite::SqliteStore;

/// Its size, as a part of the volume, in bytes: enough for the log of many deletions, from which the next ones go into the same
/// room.
const PART_OF_VOLUME: u64 = 64;
const BYTES_MIN: u64 = 256 << 10;
const BYTES_MAX: u64 = 4 << 20;
const BLOCK_BYTES: usize = 64 << 10;

/// The reserve of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reserve {
    /// None was asked for, or it cannot be made for another reason than want of room.
    #[default]
    None,
    InPlace,
    /// It was given up, or there is no room for it.
    GivenUp,
}

fn bytes(total: u64) -> u64 {
    if total == 0 {
        BYTES_MAX
    } else {
        (total / PART_OF_VOLUME).clamp(BYTES_MIN, BYTES_MAX)
    }
}

fn path(store: &Path) -> PathBuf {
    beside(store, ".reserve")
}

/// Gives the room of a reserve that an earlier run has left back. Tells whether there was one.
pub(super) fn give_up(store: &Path) -> bool {
    let file = path(store);
    size_of(&file).is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes > 0)) && files::remove(&file).is_ok()
}

impl SqliteStore {
    /// Makes the reserve, if it is not there and there is room for it.
    pub fn keep_reserve(&mut self) {
        match self.make_reserve() {
            Ok(reserve) => self.reserve = reserve,
            Err(error) => {
                tracing::debug!("cannot create the reserve file: {error}");
                self.reserve = Reserve::None;
            }
        }
    }

    fn make_reserve(&self) -> Result<Reserve, StoreError> {
        let file = path(&self.file);
        let volume = fs4::statvfs(&self.file).map_err(StoreError::io("query the free space around", &self.file))?;
        let wanted = bytes(volume.total_space());
        if size_of(&file)? >= Some(wanted / 2) {
            return Ok(Reserve::InPlace);
        }
        files::remove(&file)?;
        // Some file systems do not tell, and say that they have no byte at all.
        let room = match volume.total_space() {
            0 => wanted,
            _ => volume.available_space().saturating_sub(BLOCK_BYTES as u64).min(wanted),
        };
        // Half of it will do, where it was itself all that was left.
        if room < wanted / 2 {
            return Ok(Reserve::GivenUp);
        }
        match fill(&file, room) {
            Ok(()) => Ok(Reserve::InPlace),
            Err(cause) => {
                let error = StoreError::io("write", &file)(cause);
                files::remove(&file)?;
                if error.is_full() {
                    Ok(Reserve::GivenUp)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Gives the room of the reserve to whatever is written next. False when there is none.
    pub fn give_reserve_up(&mut self) -> bool {
        let given = give_up(&self.file);
        if given || self.reserve == Reserve::InPlace {
            self.reserve = Reserve::GivenUp;
        }
        given
    }

    /// That there is no room for a write.
    pub fn full(&self) -> StoreError {
        StoreError::Full {
            file: self.file.clone(),
        }
    }

    /// Whether the reserve is still to be made again: until then only what leaves no less room than before is to be written.
    pub fn lacks_reserve(&self) -> bool {
        self.reserve == Reserve::GivenUp
    }
}

/// Not with zeros: a file system that compresses would keep no room for them.
fn fill(file: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened: File = options.open(file)?;
    let mut block = vec![0; BLOCK_BYTES];
    let (mut state, mut left) = (0x9e37_79b9_7f4a_7c15_u64, usize::try_from(bytes).unwrap_or(usize::MAX));
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let part = block.get(..left.min(BLOCK_BYTES)).unwrap_or(&block);
        opened.write_all(part)?;
        left -= part.len();
    }
    opened.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::Place;

    #[test]
    fn it_is_small_and_never_nothing() {
        assert_eq!(bytes(0), BYTES_MAX);
        assert_eq!(bytes(24 << 20), 384 << 10);
        assert_eq!(bytes(1), BYTES_MIN);
        assert_eq!(bytes(u64::MAX), BYTES_MAX);
    }

    #[test]
    fn it_is_made_given_up_and_made_again() {
        let place = Place::new();
        let mut sqlite = place.open();
        assert!(
            !sqlite.lacks_reserve() && !sqlite.give_reserve_up(),
            "none was asked for"
        );
        for _ in 0..2 {
            sqlite.keep_reserve();
            assert!(size_of(&path(&place.file)).unwrap().unwrap() >= BYTES_MIN / 2 && !sqlite.lacks_reserve());
            assert!(sqlite.give_reserve_up() && sqlite.lacks_reserve());
            assert!(!sqlite.give_reserve_up() && sqlite.lacks_reserve(), "once");
            assert_eq!(size_of(&path(&place.file)).unwrap(), None);
        }
    }
}
