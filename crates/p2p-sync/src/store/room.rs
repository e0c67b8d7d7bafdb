//! Whether there is room for what other nodes send. What is written at this node is not asked: it may fill the disk to its
//! last byte, because whoever writes is told when it does not fit.

use rusqlite::Connection;

use super::error::StoreError;
use super::sqlite::SqliteStore;

/// What is left free on the volume, in percent of it, but never more than [`RESERVE_BYTES_MAX`].
const RESERVE_PERCENT: u64 = 5;
/// The most that is left free on the volume, in bytes: enough for others who need the disk, for a long time.
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// How far what other nodes send may fill the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capacity {
    /// Until 5 % of the volume are left free, or 1 GiB if that is less.
    #[default]
    Volume,
    /// Until the store has this many bytes.
    Bytes(u64),
}

impl SqliteStore {
    /// Whether there is room for what others send.
    ///
    /// # Errors
    /// When the size of the store or of its volume cannot be told.
    pub fn has_room(&self, capacity: Capacity) -> Result<bool, StoreError> {
        match capacity {
            Capacity::Volume => {
                let volume =
                    fs4::statvfs(&self.file).map_err(StoreError::io("ask for the free space around", &self.file))?;
                // Some file systems do not tell, and say that they have no byte at all.
                let total = volume.total_space();
                Ok(total == 0 || volume.available_space() > reserve(total))
            }
            Capacity::Bytes(most) => {
                let used = used_bytes(self.connection()?).map_err(|cause| StoreError::sqlite(&self.file, cause))?;
                Ok(used < most)
            }
        }
    }
}

/// What is left free of a volume with so many bytes.
fn reserve(total: u64) -> u64 {
    (total / 100 * RESERVE_PERCENT).min(RESERVE_BYTES_MAX)
}

/// Bytes of the pages in use: those that deletions have freed are used again before the file grows.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |pragma: &str| {
        connection
            .prepare_cached(pragma)?
            .query_row([], |row| row.get::<_, i64>(0))
    };
    let pages = number("PRAGMA page_count")?.saturating_sub(number("PRAGMA freelist_count")?);
    Ok(pages.saturating_mul(number("PRAGMA page_size")?).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, put, store};

    #[test]
    fn a_part_of_the_volume_is_left_free_but_not_a_large_one() {
        assert_eq!(reserve(0), 0);
        assert_eq!(reserve(100_000), 5_000);
        assert_eq!(reserve(u64::MAX), RESERVE_BYTES_MAX);
    }

    #[test]
    fn a_store_grows_up_to_the_size_that_was_set() {
        let place = Place::new();
        let mut held = place.open();
        let empty = used_bytes(held.connection().unwrap()).unwrap();
        let most = Capacity::Bytes(empty + 100_000);
        let mut written = 0;
        while held.has_room(most).unwrap() {
            store(&mut held, &[put(&format!("key {written}"), &[0; 10_000], 1)]);
            written += 1;
            assert!(written < 20, "it never fills");
        }
        assert!(written >= 8, "{written}");
        assert!(held.has_room(Capacity::Volume).unwrap(), "tests need room, too");
    }
}
