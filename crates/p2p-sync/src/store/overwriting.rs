//! Whether the store's file was written to past SQLite, as by `cp copy store.db`: it keeps its inode then, and need not be shorter.
//! SQLite itself changes the file only by moving there what the log holds, so a change without that is somebody else's. What is
//! done about it is left to the node: nobody can tell what of the file is still what it was.
//!
//! It is a guess: a file that is overwritten in the moments in which SQLite moved something into it is not noticed here, and one
//! that was merely touched is.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::time::SystemTime;

use super::others;
use super::sqlite::SqliteStore;
use super::wal;

/// So many pages the log has at least when SQLite begins to move them into the file by itself, at the end of a transaction.
const PAGES_BEFORE_MOVE: u64 = 1_000;
const PAGE_BYTES_MIN: u64 = 4_096;

/// What was last seen of the file.
#[derive(Debug, Default)]
pub(super) struct Overwriting {
    seen: Option<Seen>,
    /// How often this connection has moved the whole log into the file, and committed to the log.
    settled: u64,
    commits: u64,
}

#[derive(Debug, Clone)]
struct Seen {
    modified: SystemTime,
    /// How often this connection has moved the whole log into the file.
    settled: u64,
    log: Log,
}

/// The log, by which it can be told whether SQLite has moved pages from there into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Log {
    /// Its head has other salts each time it begins anew, which it does only when all of it is in the file.
    Begun {
        head: [u8; HEAD_BYTES],
        /// Pages that are in the file as well.
        moved: u64,
        /// It was once as long as it must be to be moved.
        was_long: bool,
    },
    /// Whatever was committed before is in the file: so often here, and by others as this number says.
    Empty { commits: u64, version: i64 },
}

const HEAD_BYTES: usize = wal::HEADER_BYTES as usize;

impl Seen {
    /// Whether SQLite may have changed the file since it was seen so.
    fn may_have_moved_until(&self, now: &Self) -> bool {
        self.settled != now.settled
            || match (&self.log, &now.log) {
                // It does not shrink when it begins anew.
                (Log::Empty { .. }, Log::Begun { moved, was_long, .. }) => *moved > 0 || *was_long,
                (Log::Begun { head, moved, .. }, Log::Begun { head: h, moved: m, .. }) => (head, moved) != (h, m),
                (before, now) => before != now,
            }
    }
}

impl Overwriting {
    /// The whole log is about to be moved into the file.
    pub(super) fn note_settled(&mut self) {
        self.settled = self.settled.wrapping_add(1);
    }

    pub(super) fn note_committed(&mut self) {
        self.commits = self.commits.wrapping_add(1);
    }
}

impl SqliteStore {
    /// Whether the file was changed past SQLite since this was last asked, or since it was opened. To be asked outside a
    /// transaction, some times a minute: see `presence` for what looking at times costs.
    pub fn was_overwritten(&mut self) -> bool {
        let Some(now) = self.look_at_changes() else {
            return false;
        };
        let before = self.overwriting.seen.replace(now.clone());
        before.is_some_and(|before| before.modified != now.modified && !before.may_have_moved_until(&now))
    }

    /// The first look at a file that was just opened.
    pub(super) fn watch_overwriting(&mut self) {
        self.overwriting.seen = self.look_at_changes();
    }

    fn look_at_changes(&self) -> Option<Seen> {
        let connection = self.connection.as_ref()?;
        let modified = fs::metadata(&self.file).and_then(|file| file.modified()).ok()?;
        let log = match head(&self.wal) {
            Some((head, bytes)) => Log::Begun {
                head,
                moved: wal::frames(connection).ok()?.1,
                was_long: bytes >= PAGES_BEFORE_MOVE * PAGE_BYTES_MIN,
            },
            None => Log::Empty {
                commits: self.overwriting.commits,
                version: others::version(connection).ok()?,
            },
        };
        Some(Seen {
            modified,
            settled: self.overwriting.settled,
            log,
        })
    }
}

/// The head of the log, and its size in bytes; none while it is empty. SQLite holds no lock on the log that closing it could take
/// away.
fn head(log: &Path) -> Option<([u8; HEAD_BYTES], u64)> {
    let mut head = [0; HEAD_BYTES];
    let mut log = File::open(log).ok()?;
    log.read_exact(&mut head).ok()?;
    Some((head, log.metadata().ok()?.len()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::thread;
    use std::time::Duration;

    use crate::store::testing::{Place, put, shell, store};

    /// Longer than the grain of a file system's times.
    fn pause() {
        thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn what_sqlite_does_is_no_overwriting() {
        let place = Place::new();
        let mut sqlite = place.open();
        for round in 1..=3 {
            // So much that SQLite moves it by itself.
            for n in 0..60 {
                store(&mut sqlite, &[put(&format!("much {n}"), &[7; 60_000], round)]);
            }
            pause();
            assert!(!sqlite.was_overwritten(), "much");
            store(&mut sqlite, &[put("a", b"1", round)]);
            pause();
            assert!(!sqlite.was_overwritten(), "a write");
            sqlite.empty_wal().unwrap();
            pause();
            assert!(!sqlite.was_overwritten(), "its own checkpoint");
            store(&mut sqlite, &[put("b", &[7; 9_000], round)]);
            shell(&place.file, "PRAGMA wal_checkpoint(TRUNCATE)");
            pause();
            assert!(!sqlite.was_overwritten(), "the checkpoint of another program");
            store(&mut sqlite, &[put("b", &[8; 9_000], round + 10)]);
            shell(&place.file, "VACUUM; PRAGMA wal_checkpoint(PASSIVE)");
            pause();
            assert!(!sqlite.was_overwritten(), "a VACUUM");
        }
    }

    #[test]
    fn a_copy_that_is_written_over_the_file_is_noticed_whatever_its_size() {
        for (records, others) in [(1, 300), (300, 1), (1, 1)] {
            let fill = |count| {
                (0..count)
                    .map(|n| put(&format!("k{n}"), &[7; 500], n + 1))
                    .collect::<Vec<_>>()
            };
            let theirs = Place::new();
            store(&mut theirs.open(), &fill(others));
            shell(&theirs.file, "PRAGMA wal_checkpoint(TRUNCATE)");
            let place = Place::new();
            let mut sqlite = place.open();
            store(&mut sqlite, &fill(records));
            for empties in [false, true] {
                if empties {
                    sqlite.empty_wal().unwrap();
                }
                sqlite.was_overwritten();
                if empties {
                    // To begin a log is not to move it.
                    store(&mut sqlite, &[put("k0", b"", 1_000)]);
                }
                pause();
                fs::copy(&theirs.file, &place.file).unwrap();
                assert!(sqlite.was_overwritten(), "{records} {others} {empties}");
                assert!(!sqlite.was_overwritten(), "once");
            }
        }
    }
}
