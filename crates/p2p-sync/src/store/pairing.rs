//! Whether a log belongs to the file beside it. SQLite does not ask: an older copy of the file that somebody restored beside the log
//! of a node that was killed would be mixed with pages of the newer one.
//!
//! Each time the log begins anew, the store writes down by which number the log is known, which number was written down before,
//! and how far the change sequence had come by then. That row is a page like any other: the file has it as it was before this log,
//! or as it is in the log. Anything else is the file of another time. The first transaction of a log is not covered until the second one, which
//! follows at once.
//!
//! It is looked at before anything else is done with a file that has a log. Where nothing was written down, as by earlier releases
//! or if another program began the log, nothing is refused.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::ops::ControlFlow;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, ToSql};

use super::directory::size_of;
use super::error::{OpenError, StoreError};
use super::frames::{self, Head};
use super::opening::{self, beside};
use super::sequence;
use super::sqlite::SqliteStore;

/// No part of the numbered versions of the file: it says nothing about records, and is made where it is missing.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS log_origin (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        log BLOB NOT NULL,
        before BLOB NOT NULL,
        number INTEGER NOT NULL
    );
    INSERT OR IGNORE INTO log_origin (id, log, before, number) VALUES (1, x'', x'', 0);
";
const KEPT: &str = "SELECT log, before, number FROM log_origin WHERE id = 1";
const KEEP: &str = "UPDATE log_origin SET before = log, log = ?1, number = ?2 WHERE id = 1 AND log <> ?1";
/// The log of before has never had a note: what the file has instead stays the one before.
const AMEND: &str =
    "UPDATE log_origin SET log = ?1, number = (SELECT number FROM change_sequence WHERE id = 1) WHERE id = 1";
const IS_THERE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'log_origin') \
    AND EXISTS (SELECT 1 FROM log_origin WHERE id = 1)";

/// What is written down.
#[derive(Debug, Default, PartialEq, Eq)]
struct Origin {
    log: Vec<u8>,
    before: Vec<u8>,
    /// How far the change sequence had come when the log began, and how far it has now.
    began_at: i64,
    number: i64,
}

/// Makes the table, if it is missing.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    if connection.query_row(IS_THERE, [], |row| row.get(0)).unwrap_or(false) {
        return Ok(());
    }
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {TABLE} COMMIT"))
}

impl SqliteStore {
    /// Writes down that a log has begun, when the change sequence had come so far. If that fails, this log is not known.
    pub(super) fn note_origin(&mut self, head: &Head, began_at: u64) {
        self.keep_origin(KEEP, rusqlite::params![head.salts(), began_at.cast_signed()]);
    }

    /// Writes down that it was the note itself that has begun this log.
    pub(super) fn amend_origin(&mut self, head: &Head) {
        self.keep_origin(AMEND, rusqlite::params![head.salts()]);
    }

    fn keep_origin(&mut self, sql: &str, values: &[&dyn ToSql]) {
        let Ok(connection) = self.connection() else { return };
        let kept = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(values));
        match kept.map_err(|cause| StoreError::sqlite(&self.file, cause)) {
            Ok(_) => {
                self.overwriting.note_committed();
                // The log has grown. What is wrong with the files now is met by the next transaction.
                let _ = self.check_files();
            }
            // That another program dropped the table harms nothing. What is damaged otherwise is met by whoever needs it.
            Err(error @ StoreError::Damaged { .. }) => tracing::debug!("cannot note that the log began anew: {error}"),
            Err(error) => {
                tracing::debug!("cannot note that the log began anew: {error}");
                let _ = self.noted::<()>(Err(error));
            }
        }
    }
}

/// Makes sure that the log beside a file is its own, as far as that is known, and tells if it can no longer be read. A log without a
/// head, of which SQLite would read nothing and say nothing, is moved aside.
///
/// # Errors
/// [`OpenError::LogOfAnother`]; nothing was changed then.
pub(super) fn check(file: &Path) -> Result<(), StoreError> {
    let log = beside(file, "-wal");
    let Ok(opened) = File::open(&log) else { return Ok(()) };
    let Ok(Some(bytes)) = Head::read(&opened) else {
        return Ok(());
    };
    let Some(head) = Head::of(bytes) else {
        return put_aside_unless_blank(file, &log);
    };
    tell_of_damage(&log, &opened, &head);
    let (Some(through), Some(alone)) = (through_log(file), alone(file)) else {
        return Ok(());
    };
    if through.log != head.salts() {
        return Ok(());
    }
    let is_of_before_or_of_this_log = alone.log == through.before || alone.log == through.log;
    if is_of_before_or_of_this_log && (through.began_at..=through.number).contains(&alone.number) {
        return Ok(());
    }
    let file = file.to_owned();
    Err(OpenError::LogOfAnother { file, log }.into())
}

/// What is written down in the file as it is read with its log.
fn through_log(file: &Path) -> Option<Origin> {
    origin(&opening::looking(file).ok()?)
}

/// What is written down in the file itself.
fn alone(file: &Path) -> Option<Origin> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    origin(&Connection::open_with_flags(opening::uri(file, "immutable=1"), flags).ok()?)
}

fn origin(connection: &Connection) -> Option<Origin> {
    let number = i64::try_from(sequence::kept(connection).ok()??.number).ok()?;
    // The table itself may have come with the log.
    let is_there = connection.query_row(IS_THERE, [], |row| row.get(0)).unwrap_or(false);
    let kept = match is_there {
        false => None,
        true => connection
            .query_row(KEPT, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()
            .ok()?,
    };
    let (log, before, began_at) = kept.unwrap_or_default();
    Some(Origin {
        log,
        before,
        began_at,
        number,
    })
}

/// Says so if the log goes on behind a damaged place, where SQLite ends. One transaction there may have been interrupted by a power
/// cut; of two, the first was acknowledged.
fn tell_of_damage(log: &Path, opened: &File, head: &Head) {
    let frames = opened.metadata().map_or(0, |log| head.frames_in(log.len()));
    let (mut is_damaged, mut lost) = (false, 0_u64);
    let walked = frames::walk(opened, head, frames, |frame| {
        is_damaged |= !frame.is_sound;
        lost += u64::from(is_damaged && frame.is_commit && frame.is_sound);
        ControlFlow::Continue(())
    });
    if walked.is_ok() && lost > 1 {
        tracing::error!(
            log = %log.display(), transactions = lost,
            "The write-ahead log was damaged, and the writes behind the damage are lost here. They come back from other \
             nodes that have them"
        );
    }
}

/// Moves a log that has no head away, so that somebody may look for what was in it. One of zeros was never written to: that is what a power cut can leave.
fn put_aside_unless_blank(file: &Path, log: &Path) -> Result<(), StoreError> {
    let blank = |file: File| BufReader::new(file).bytes().all(|byte| matches!(byte, Ok(0)));
    if File::open(log).is_ok_and(blank) {
        return Ok(());
    }
    let aside = free_name(file)?;
    fs::rename(log, &aside).map_err(StoreError::io("move aside", log))?;
    tracing::error!(
        log = %aside.display(),
        "The head of the write-ahead log is damaged, so nothing in it can be read; it was moved aside. Writes that were \
         only there are lost here, and come back from other nodes that have them"
    );
    Ok(())
}

fn free_name(file: &Path) -> Result<std::path::PathBuf, StoreError> {
    let mut number = 1;
    loop {
        let name = beside(file, &format!(".unreadable-{number}-wal"));
        if size_of(&name)?.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use p2p_sync_core::NetworkName;
    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::StoreErrorKind;
    use crate::store::testing::{Place, key, put, store};

    /// Writes so many records, and whether the log was emptied before each.
    fn write(sqlite: &mut SqliteStore, from: i64, count: i64) {
        for n in from..from + count {
            store(sqlite, &[put(&format!("key {n}"), &[7; 300], n + 1)]);
        }
    }

    fn open(place: &Place) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(&place.file, &NetworkName::default())
    }

    #[test]
    fn an_older_or_newer_file_beside_a_log_is_refused_untouched() {
        let place = Place::new();
        let mut sqlite = place.open();
        write(&mut sqlite, 0, 5);
        sqlite.empty_wal().unwrap();
        let mut copies = Vec::new();
        for generation in 1..=4 {
            copies.push(fs::read(&place.file).unwrap());
            write(&mut sqlite, generation * 100, 1 + generation % 3);
            if generation < 4 {
                sqlite.empty_wal().unwrap();
            }
        }
        // The log belongs to the last of them.
        let right = copies.pop().unwrap();
        for older in &copies {
            let crashed = place.crashed();
            fs::write(&crashed.file, older).unwrap();
            let before = crashed.content();
            let error = open(&crashed).unwrap_err();
            assert!(
                matches!(error, StoreError::Open(OpenError::LogOfAnother { .. })),
                "{error}"
            );
            assert_eq!(error.kind(), StoreErrorKind::Damaged);
            let mut after = crashed.content();
            after.remove(&crashed.sibling("-shm"));
            assert!(before == after, "a file was changed");
            // What the message says helps.
            fs::remove_file(crashed.sibling("-wal")).unwrap();
            fs::remove_file(crashed.sibling("-shm")).unwrap();
            open(&crashed).unwrap();
        }
        let crashed = place.crashed();
        fs::write(&crashed.file, right).unwrap();
        assert!(open(&crashed).unwrap().get(&key("key 400")).unwrap().is_some());
        // The old log beside the file that came after it.
        let old = fs::read(place.sibling("-wal")).unwrap();
        sqlite.empty_wal().unwrap();
        write(&mut sqlite, 500, 3);
        sqlite.close().unwrap();
        let newer = place.crashed();
        fs::write(newer.sibling("-wal"), old).unwrap();
        assert!(open(&newer).is_err());
    }

    #[test]
    fn whatever_a_crash_leaves_belongs_together() {
        let place = Place::new();
        let mut sqlite = place.open();
        for round in 0..120 {
            // Of different sizes, so that SQLite begins the log anew by itself now and then, and moves parts of it at other times.
            let size = usize::try_from(round % 7).unwrap() * 9_000;
            let records: Vec<_> = (0..1 + round % 5)
                .map(|n| {
                    put(
                        &format!("key {}", (round * 7 + n) % 90),
                        &vec![7; size],
                        round * 10 + n + 1,
                    )
                })
                .collect();
            store(&mut sqlite, &records);
            match round % 11 {
                3 => place.shell("PRAGMA wal_checkpoint(PASSIVE)"),
                5 => place.shell("CREATE TABLE IF NOT EXISTS theirs (a); INSERT INTO theirs VALUES (zeroblob(20000))"),
                7 => sqlite.empty_wal().unwrap(),
                9 if round > 60 => place.shell("VACUUM"),
                _ => {}
            }
            let mut crashed = open(&place.crashed()).unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(
                crashed.get(&records[0].key).unwrap().as_ref(),
                records.first(),
                "{round}"
            );
        }
    }

    /// SQLite moves such a transaction into the file at its end, and the next one begins the log anew: that may be the note itself.
    #[test]
    fn transactions_that_are_moved_into_the_file_at_once_belong_to_it() {
        let place = Place::new();
        let mut sqlite = place.open();
        let mut older = fs::read(&place.file).unwrap();
        for round in 0_i64..8 {
            let small_ones = round % 3;
            let records: Vec<_> = (0..90)
                .map(|n| put(&format!("key {n}"), &[7; 60_000], round * 10 + 1))
                .collect();
            store(&mut sqlite, &records);
            for small in 0..=small_ones {
                if small > 0 {
                    write(&mut sqlite, round * 10 + small, 1);
                }
                open(&place.crashed()).unwrap_or_else(|error| panic!("round {round}, {small}: {error}"));
            }
            // It is still told apart from the file of another time.
            if small_ones > 0 {
                let crashed = place.crashed();
                fs::write(&crashed.file, &older).unwrap();
                assert!(open(&crashed).is_err(), "round {round}");
            }
            older = fs::read(&place.file).unwrap();
        }
    }

    #[test]
    fn a_log_that_was_cut_behind_what_is_in_the_file_is_refused() {
        let place = Place::new();
        let mut sqlite = place.open();
        write(&mut sqlite, 0, 40);
        place.shell("PRAGMA wal_checkpoint(PASSIVE)");
        let crashed = place.crashed();
        let log = fs::read(crashed.sibling("-wal")).unwrap();
        let mut damaged = log.clone();
        let middle = 32 + 4_120 * 60;
        damaged[middle..middle + 9_000].fill(0);
        fs::write(crashed.sibling("-wal"), damaged).unwrap();
        let error = open(&crashed).unwrap_err();
        assert!(
            matches!(error, StoreError::Open(OpenError::LogOfAnother { .. })),
            "{error}"
        );
    }

    #[test]
    fn a_log_without_a_head_is_moved_aside_unless_it_is_blank() {
        let place = Place::new();
        let mut sqlite = place.open();
        write(&mut sqlite, 0, 5);
        sqlite.empty_wal().unwrap();
        write(&mut sqlite, 10, 5);
        for is_blank in [false, true] {
            let crashed = place.crashed();
            let mut log = fs::read(crashed.sibling("-wal")).unwrap();
            let end = if is_blank { log.len() } else { 32 };
            log[..end].fill(0);
            fs::write(crashed.sibling("-wal"), log).unwrap();
            let mut opened = open(&crashed).unwrap();
            assert!(opened.get(&key("key 4")).unwrap().is_some());
            assert_eq!(crashed.sibling(".unreadable-1-wal").exists(), !is_blank);
        }
    }

    #[test]
    fn a_file_of_an_earlier_release_is_as_good_as_before() {
        let place = Place::new();
        let mut sqlite = place.open();
        write(&mut sqlite, 0, 5);
        place.shell("DROP TABLE log_origin");
        write(&mut sqlite, 10, 5);
        sqlite.empty_wal().unwrap();
        write(&mut sqlite, 20, 5);
        let crashed = place.crashed();
        let mut opened = open(&crashed).unwrap();
        assert!(opened.get(&key("key 24")).unwrap().is_some());
        write(&mut opened, 30, 5);
    }
}
