//! How much space there is for data from other nodes. Local writes skip this check: they may fill the disk to its last
//! byte, because the writer gets an error when a write does not fit.

use rusqlite::Connection;

use super::directory::size_of;
use super::error::StoreError;
use super::sqlite::SqliteStore;

/// What is left free on the volume, in percent of it, but never more than [`RESERVE_BYTES_MAX`].
const RESERVE_PERCENT: u64 = 5;
/// The most that is left free on the volume, in bytes: enough for others who need the disk, for a long time.
const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// Places of the file at which a record is written or its old version taken out, each as random as the others: the indexes of keys and
/// items, and the old row.
const INDEXES: u64 = 3;
const PAGE_BYTES: u64 = 4_096;
/// A guess at the pages that are changed with a local write, in bytes.
const LOCAL_PAGES_BYTES: u64 = 64 << 10;

/// Does not read the summary itself.
const SUMMARY_BYTES: &str = "SELECT COALESCE(SUM(LENGTH(bytes)), 0) FROM summary";

/// How far what other nodes send may fill the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capacity {
    /// Until 5 % of the volume are left free, or 1 GiB if that is less. What deletions have freed within the store counts as
    /// free.
    #[default]
    Volume,
    /// Until the store has this many bytes, without those that deletions have freed, and without the summary that a clean stop
    /// leaves in it.
    Bytes(u64),
}

/// What there is room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Anything.
    Enough,
    /// What takes no more room than the version that it replaces. A full store would keep for ever what others delete to
    /// make room, if it did not take that.
    ForReplacements,
}

/// A transaction of received records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// How many.
    pub records: u64,
    /// About what they take in the file, in bytes.
    pub bytes: u64,
}

impl Load {
    /// What it takes in the log at most: each record changes a page of each index.
    fn most(self) -> u64 {
        self.records
            .saturating_mul(INDEXES * PAGE_BYTES)
            .saturating_add(self.bytes.saturating_mul(2))
    }

    /// The same, knowing that there are no more pages than there are.
    pub(super) fn in_log(self, pages: &Pages) -> u64 {
        let indexes = self.records.saturating_mul(INDEXES * PAGE_BYTES);
        indexes
            .min(pages.used_bytes)
            .saturating_add(self.bytes.saturating_mul(2))
    }
}

impl SqliteStore {
    /// What there is room for of a transaction of what others send.
    ///
    /// # Errors
    /// When the size of the store or of its volume cannot be told.
    pub fn room(&self, capacity: Capacity, load: Load) -> Result<Room, StoreError> {
        if let Capacity::Bytes(most) = capacity {
            let has_room = self.pages()?.used_bytes.saturating_add(load.bytes) < most;
            return Ok(if has_room { Room::Enough } else { Room::ForReplacements });
        }
        let (total, available) = self.space()?;
        // Some file systems do not tell, and say that they have no byte at all.
        if total == 0 {
            return Ok(Room::Enough);
        }
        // What is in the write-ahead log takes as much again when it is moved into the file, before it can be emptied.
        let left = |wal: u64, takes: u64, freed: u64| {
            available
                .saturating_sub(wal)
                .saturating_sub(takes)
                .saturating_add(freed)
                > reserve(total)
        };
        if left(self.wal_size.bytes(), load.most(), 0) {
            return Ok(Room::Enough);
        }
        // That was a guess.
        let pages = self.pages()?;
        let wal = size_of(&self.wal)?.unwrap_or_default();
        // The log itself does not go into pages that were freed.
        let has_room = left(wal, load.in_log(&pages), 0)
            || (available.saturating_sub(wal) > load.in_log(&pages) && left(wal, load.bytes, pages.freed_bytes));
        Ok(if has_room { Room::Enough } else { Room::ForReplacements })
    }

    /// About how many bytes local writes may take so that there is still room to move the log into the file. Where that cannot be
    /// told, the disk itself will say so.
    pub fn local_bytes(&self) -> u64 {
        let Ok((total, available)) = self.space() else {
            return u64::MAX;
        };
        let left = |wal: u64| available.saturating_sub(wal).saturating_sub(LOCAL_PAGES_BYTES);
        match left(self.wal_size.bytes()) {
            _ if total == 0 => u64::MAX,
            // That may be due to the guess.
            0 => left(size_of(&self.wal).ok().flatten().unwrap_or_default()),
            left => left,
        }
    }

    /// The bytes of the volume, and those of them that are free.
    pub(super) fn space(&self) -> Result<(u64, u64), StoreError> {
        let volume = fs4::statvfs(&self.file).map_err(StoreError::io("query the free space around", &self.file))?;
        Ok((volume.total_space(), volume.available_space()))
    }

    /// About how many bytes can be written without the file growing: those that deletions have freed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn freed_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.pages()?.freed_bytes)
    }

    pub(super) fn pages(&self) -> Result<Pages, StoreError> {
        Pages::of(self.connection()?).map_err(|cause| StoreError::sqlite(&self.file, cause))
    }
}

/// What is left free of a volume with so many bytes.
pub(super) fn reserve(total: u64) -> u64 {
    (total / 100 * RESERVE_PERCENT).min(RESERVE_BYTES_MAX)
}

/// The pages of the file, in bytes.
pub(super) struct Pages {
    used_bytes: u64,
    /// Those that deletions have freed: they are used again before the file grows.
    freed_bytes: u64,
}

impl Pages {
    fn of(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |pragma: &str| {
            let mut statement = connection.prepare_cached(pragma)?;
            statement.query_row([], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))
        };
        let (pages, freed) = (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?);
        let page_bytes = number("PRAGMA page_size")?;
        // Else a store that is full after a restart might not have been before.
        let kept = number(SUMMARY_BYTES)?;
        Ok(Self {
            used_bytes: pages
                .saturating_sub(freed)
                .saturating_mul(page_bytes)
                .saturating_sub(kept),
            freed_bytes: freed.saturating_mul(page_bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, at, deleted, put, store};
    use p2p_sync_core::store::Store;

    #[test]
    fn a_part_of_the_volume_is_left_free_but_not_a_large_one() {
        assert_eq!(reserve(0), 0);
        assert_eq!(reserve(100_000), 5_000);
        assert_eq!(reserve(u64::MAX), RESERVE_BYTES_MAX);
    }

    #[test]
    fn a_store_grows_up_to_the_size_that_was_set_and_again_after_deletions() {
        let place = Place::new();
        let mut held = place.open();
        let empty = held.pages().unwrap().used_bytes;
        let most = Capacity::Bytes(empty + 100_000);
        let fill = |held: &mut SqliteStore, from: i64| {
            let mut written = 0;
            while held.room(most, Load::default()).unwrap() == Room::Enough {
                store(held, &[put(&format!("key {written}"), &[0; 10_000], from)]);
                written += 1;
                assert!(written < 20, "it never fills");
            }
            written
        };
        let written = fill(&mut held, 1);
        assert!(written >= 8, "{written}");
        assert_eq!(held.room(most, Load::default()).unwrap(), Room::ForReplacements);
        assert_eq!(
            held.room(Capacity::Volume, Load::default()).unwrap(),
            Room::Enough,
            "tests need room, too"
        );
        store(&mut held, &[deleted("key 0", 2), deleted("key 1", 2)]);
        assert!(held.pages().unwrap().freed_bytes >= 16_000);
        assert_eq!(
            held.room(most, Load::default()).unwrap(),
            Room::Enough,
            "what was freed is room"
        );
        fill(&mut held, 3);
    }

    #[test]
    fn a_clean_stop_does_not_fill_a_store() {
        let place = Place::new();
        let mut held = place.open();
        store(&mut held, &[put("a", b"1", 1)]);
        let used = held.pages().unwrap().used_bytes;
        held.close().unwrap();
        let after = place.open().pages().unwrap().used_bytes;
        assert!(after < used + 50_000, "{used} bytes, and {after} after the stop");
    }

    #[test]
    fn deletions_make_room_whether_values_are_large_or_small() {
        for value_bytes in [300, 1_000, 3_000, 16_000] {
            let place = Place::new();
            let mut held = place.open();
            let value = vec![b'v'; value_bytes];
            let records: Vec<_> = (0..1_000).map(|n| put(&format!("key {n}"), &value, 1)).collect();
            store(&mut held, &records);
            let used = |held: &SqliteStore| held.pages().unwrap().used_bytes;
            let full = used(&held);
            let most: Vec<_> = (0..1_000)
                .filter(|n| n % 10 != 0)
                .map(|n| deleted(&format!("key {n}"), 2))
                .collect();
            store(&mut held, &most);
            let freed = full.saturating_sub(used(&held));
            assert!(
                freed * 2 >= value_bytes as u64 * 900,
                "{freed} bytes of {value_bytes} each"
            );
            let mut all = [records, most].concat();
            all.retain(|record| record.timestamp == at(2) || record.key.as_str().ends_with('0'));
            all.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(held.scan("", None, 2_000).unwrap(), all);
        }
    }
}
