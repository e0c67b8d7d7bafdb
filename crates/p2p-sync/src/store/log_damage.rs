//! Whether the log of an open store still holds what was written to it. Another program can damage it where it lies: a tool that
//! overwrites its head, or punches a hole into it. SQLite goes on then as if nothing had happened, for it knows the log by its index
//! in memory; but after a crash it would read the log as far as it is sound, and everything behind that would be lost in silence.
//!
//! So damage is looked for, and what it threatens is moved into the file at once: the log begins anew, nothing is lost, and the store
//! is used on. If a page was damaged that is nowhere else, the file is rescued as a damaged one, provided that its structure
//! can be read with what the log holds. If not, or if the log cannot be begun anew, since another program reads it, the store ends.
//!
//! # What it costs, and what it cannot see
//! After each commit, before anybody is told of it, the head of the log is read: half a microsecond. All of the log is read when
//! the head has changed into another one than that of a log begun anew; when its file takes less of the disk than before, as
//! after a hole was made, once a second at most; and every few seconds if it was written to. A page that is overwritten is noticed
//! at the last of these only. If SQLite has moved it into the file meanwhile, that is damage like any other there.

use std::fs::{self, File};
use std::time::{Duration, Instant, SystemTime};

use super::directory::size_of;
use super::displaced::End;
use super::error::StoreError;
use super::frames::{self, HEAD_BYTES, Head, Soundness};
use super::opening;
use super::others;
use super::sqlite::SqliteStore;
use super::wal::{self, Checkpoint};

/// How often all of the log is read at most because of how much of the disk it takes: on some file systems that is no sure sign.
const HINT_PAUSE: Duration = Duration::from_secs(1);
/// Other programs may begin the log anew while it is read. After so many attempts that is left to the next look.
const ATTEMPTS: u32 = 3;

/// What is known of the log of an open store.
#[derive(Debug, Default)]
pub(super) struct LogWatch {
    log: Option<File>,
    /// What stood at its head when all of it was last found sound.
    head: Option<[u8; HEAD_BYTES]>,
    /// When all of it was last read because of a hint.
    hinted: Option<Instant>,
    /// When it had last been changed, when all of it was last read.
    modified: Option<SystemTime>,
    /// It may have begun anew without being noticed at once.
    is_unsure: bool,
}

/// What one look at the log came to.
enum Look {
    Sound,
    Damaged(Soundness),
    /// Another program is writing to it.
    Unknown,
}

impl SqliteStore {
    /// Begins to watch the log of a store that was just opened. SQLite holds no lock on the log that closing it could take away.
    pub(super) fn watch_log(&mut self) {
        let log = File::open(&self.wal).ok();
        self.log_watch = LogWatch {
            // One that another program keeps from being emptied has begun earlier.
            head: log.as_ref().and_then(|log| Head::read(log).ok()?),
            log,
            ..LogWatch::default()
        };
    }

    /// Makes sure that the log can be read from its start, if nothing hints at damage elsewhere. To be asked outside a transaction.
    ///
    /// # Errors
    /// When it is damaged and not all of it could be saved: [`StoreError::Damaged`] if the file is to be rescued, otherwise
    /// [`StoreError::LogDamaged`], and the store is broken for good.
    pub(super) fn check_log_head(&mut self) -> Result<(), StoreError> {
        let Some(log) = &self.log_watch.log else {
            return Ok(());
        };
        let Ok(head) = Head::read(log) else {
            // What cannot be read now is no sign of anything.
            self.log_watch.is_unsure = true;
            return Ok(());
        };
        let before = self.log_watch.head;
        let is_hinted = self.is_hinted();
        if head == before && !is_hinted {
            return Ok(());
        }
        if !is_hinted && has_begun_anew(before, head) {
            self.log_watch.head = head;
        } else {
            self.check_whole_log()?;
        }
        self.note_log_began(before);
        Ok(())
    }

    /// Writes down which log this is, if it has just begun.
    fn note_log_began(&mut self, before: Option<[u8; HEAD_BYTES]>) {
        let head = self.log_watch.head.filter(|head| Some(*head) != before);
        let is_unsure = self.log_watch.is_unsure;
        self.log_watch.is_unsure = is_unsure && head.is_none();
        if let Some(head) = head.and_then(Head::of)
            && !is_unsure
        {
            // Of the transaction that was just committed, the numbers are not counted yet.
            self.note_origin(&head, self.numbers.committed_number());
            self.follow_note(&head);
        }
    }

    /// SQLite moves a large transaction into the file when it ends, and the next one begins the log anew: if that was the note, it
    /// names the log of before.
    fn follow_note(&mut self, noted: &Head) {
        let Some(Ok(now)) = self.log_watch.log.as_ref().map(Head::read) else {
            return;
        };
        if let Some(next) = now.and_then(Head::of).filter(|next| next.follows(noted)) {
            self.log_watch.head = now;
            self.amend_origin(&next);
        }
    }

    fn is_hinted(&mut self) -> bool {
        let paused = |at: Instant| at.elapsed() < HINT_PAUSE;
        if !self.presence.log_is_suspect() || self.log_watch.hinted.is_some_and(paused) {
            return false;
        }
        self.presence.forget_suspicion();
        self.log_watch.hinted = Some(Instant::now());
        true
    }

    /// Makes sure that all of the log is as it was written, if it was changed since this was last asked. To be asked outside a transaction, some times a minute:
    /// takes some milliseconds.
    ///
    /// # Errors
    /// As for a commit that finds the log damaged.
    pub fn check_log_content(&mut self) -> Result<(), StoreError> {
        if self.is_broken() {
            return Ok(());
        }
        let modified = fs::metadata(&self.wal).and_then(|log| log.modified()).ok();
        if modified.is_some() && modified == self.log_watch.modified {
            return Ok(());
        }
        let before = self.log_watch.head;
        self.check_whole_log()?;
        self.note_log_began(before);
        self.log_watch.modified = modified;
        Ok(())
    }

    fn check_whole_log(&mut self) -> Result<(), StoreError> {
        if let Look::Sound = self.look_at_log(None) {
            return Ok(());
        }
        // Until it is known what has become of it.
        self.log_watch.is_unsure = true;
        // Another program may have begun the log anew just now: with its lock in our hands nobody can.
        for _ in 0..ATTEMPTS {
            let before = self.asked(others::version)?;
            let Some(frames) = self.frames() else { return Ok(()) };
            let Ok(connection) = self.connection() else {
                return Ok(());
            };
            let locked = connection.execute_batch("BEGIN IMMEDIATE").is_ok();
            let is_unchanged = others::version(connection).is_ok_and(|now| now == before);
            let look = self.look_at_log(Some(frames));
            if locked {
                self.connection()
                    .and_then(|connection| self.run(connection, "ROLLBACK"))?;
            }
            match look {
                Look::Damaged(soundness) if is_unchanged && (locked || !self.has_head()) => {
                    return self.save_from_log(&soundness);
                }
                Look::Damaged(_) if locked => {}
                Look::Sound | Look::Damaged(_) | Look::Unknown => return Ok(()),
            }
        }
        Ok(())
    }

    fn frames(&self) -> Option<(u64, u64)> {
        wal::frames(self.connection().ok()?).ok()
    }

    fn has_head(&self) -> bool {
        let log = self.log_watch.log.as_ref();
        log.is_some_and(|log| matches!(Head::read(log), Ok(Some(head)) if Head::of(head).is_some()))
    }

    /// Reads so many frames of the log, of which so many are in the file as well.
    fn look_at_log(&mut self, frames: Option<(u64, u64)>) -> Look {
        let (Some(log), Some((frames, moved))) = (&self.log_watch.log, frames.or_else(|| self.frames())) else {
            return Look::Unknown;
        };
        let Ok(bytes) = Head::read(log) else {
            return Look::Unknown;
        };
        if frames == 0 {
            self.log_watch.head = bytes;
            return Look::Sound;
        }
        let head = bytes.and_then(Head::of);
        // The pages may be whole all the same.
        let Some(judge) = head.or_else(|| self.log_watch.head.and_then(Head::of)) else {
            return Look::Damaged(Soundness {
                damaged: Some(1),
                is_content_lost: frames > moved,
            });
        };
        match frames::soundness(log, &judge, frames, moved) {
            Ok(soundness) if head.is_some() && soundness.damaged.is_none() => {
                self.log_watch.head = bytes;
                Look::Sound
            }
            Ok(soundness) => Look::Damaged(soundness),
            Err(_) => Look::Unknown,
        }
    }

    /// Moves what the damaged log holds into the file, and begins the log anew.
    fn save_from_log(&mut self, soundness: &Soundness) -> Result<(), StoreError> {
        let is_content_lost = soundness.is_content_lost;
        // It reads the log, and would keep it from beginning anew.
        self.end_scan();
        if is_content_lost && opening::reader(&self.file).is_err() {
            // Nobody could read the file any more with these pages in it. It is better off without them.
            return Err(self.end(End::LogDamaged { is_saved: false }));
        }
        let settled = self.settle();
        (self.log_watch.head, self.log_watch.modified) = (None, None);
        let is_moved = matches!(settled, Ok(Checkpoint::Complete));
        let is_empty = matches!(size_of(&self.wal), Ok(None | Some(0)));
        if !(is_moved && is_empty) {
            let is_saved = is_moved && !is_content_lost;
            return Err(self.end(End::LogDamaged { is_saved }));
        }
        if is_content_lost {
            return self.noted(Err(StoreError::Damaged {
                file: self.file.clone(),
                why: "another program damaged its write-ahead log, and pages that were only there are lost".to_owned(),
            }));
        }
        tracing::error!(
            log = %self.wal.display(),
            "Another program damaged the write-ahead log of the store while it was open. Nothing is lost: everything \
             was moved into the store file, and the log begins anew. Leave the files beside the store alone while \
             p2p-sync is running"
        );
        Ok(())
    }
}

/// Whether a header is that of the log which SQLite begins after that one.
fn has_begun_anew(before: Option<[u8; HEAD_BYTES]>, now: Option<[u8; HEAD_BYTES]>) -> bool {
    let (before, now) = (before.and_then(Head::of), now.and_then(Head::of));
    before.zip(now).is_some_and(|(before, now)| now.follows(&before))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{Seek, SeekFrom, Write};

    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::testing::{Place, key, put, store};
    use crate::store::{Readers, StoreErrorKind};

    fn overwrite(place: &Place, at: u64, bytes: &[u8]) {
        let mut log = OpenOptions::new().write(true).open(place.sibling("-wal")).unwrap();
        log.seek(SeekFrom::Start(at)).unwrap();
        log.write_all(bytes).unwrap();
    }

    /// A store whose log holds some records.
    fn place() -> (Place, SqliteStore) {
        let place = Place::new();
        let mut sqlite = place.open();
        for n in 0..20 {
            store(&mut sqlite, &[put(&format!("key {n}"), &[7; 3_000], n + 1)]);
        }
        (place, sqlite)
    }

    /// What a crash at this moment leaves has all of them, and this one.
    #[track_caller]
    fn assert_all_after_a_crash(place: &Place, last: &str) {
        let mut crashed = place.crashed().open();
        assert_eq!(crashed.scan("", None, 100).unwrap().len(), 21);
        assert!(crashed.get(&key(last)).unwrap().is_some());
    }

    #[test]
    fn the_head_of_a_log_that_sqlite_began_anew_is_known_as_such() {
        let (place, mut sqlite) = place();
        let head = || Head::read(&File::open(place.sibling("-wal")).unwrap()).unwrap();
        let first = head();
        place.shell("PRAGMA wal_checkpoint(RESTART)");
        store(&mut sqlite, &[put("a", b"1", 100)]);
        let second = head();
        assert!(has_begun_anew(first, second));
        for (before, now) in [
            (first, first),
            (second, first),
            (None, second),
            (first, None),
            (first, Some([0; HEAD_BYTES])),
        ] {
            assert!(!has_begun_anew(before, now));
        }
    }

    #[test]
    fn a_head_that_was_overwritten_costs_nothing() {
        for content in [&[0; 32][..], &[0x5a; 7], &[0; 4]] {
            let (place, mut sqlite) = place();
            overwrite(&place, 0, content);
            store(&mut sqlite, &[put("late", b"1", 99)]);
            assert_all_after_a_crash(&place, "late");
            // It is used on.
            store(&mut sqlite, &[put("later", b"1", 100)]);
            assert_eq!(place.crashed().open().scan("", None, 100).unwrap().len(), 22);
        }
    }

    #[test]
    fn a_head_that_was_overwritten_is_noticed_while_nothing_is_written() {
        let (place, mut sqlite) = place();
        sqlite.check_log_content().unwrap();
        overwrite(&place, 0, &[0; 32]);
        sqlite.check_log_content().unwrap();
        assert_eq!(size_of(&sqlite.wal).unwrap(), Some(0), "all of it is in the file");
        assert_eq!(place.crashed().open().scan("", None, 100).unwrap().len(), 20);
    }

    #[test]
    fn a_page_that_is_nowhere_else_is_damage_of_the_file() {
        let (place, mut sqlite) = place();
        let readers = Readers::open(&place.file, 1).unwrap();
        // All but the head and the end of the log.
        let bytes = fs::metadata(&sqlite.wal).unwrap().len();
        let from = 32 + 4_120 * 40;
        overwrite(
            &place,
            from,
            &vec![0; usize::try_from(bytes - from - 4_120 * 20).unwrap()],
        );
        let error = sqlite.check_log_content().unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
        assert!(sqlite.is_broken() && !sqlite.is_displaced());
        sqlite.rescue(&readers).unwrap();
        let saved = sqlite.scan("", None, 100).unwrap().len();
        assert!((5..20).contains(&saved), "{saved}");
    }

    #[test]
    fn a_file_is_not_destroyed_with_what_is_left_of_its_log() {
        for byte in [0, 0x5a] {
            let (place, mut sqlite) = place();
            sqlite.empty_wal().unwrap();
            let many: Vec<_> = (0..50)
                .map(|n| put(&format!("late {n}"), &[7; 3_000], 100 + n))
                .collect();
            store(&mut sqlite, &many);
            let bytes = fs::metadata(&sqlite.wal).unwrap().len();
            overwrite(&place, 0, &vec![byte; usize::try_from(bytes).unwrap()]);
            let error = sqlite.check_log_content().unwrap_err();
            assert!(
                error.is_displaced() && error.to_string().contains("are lost here"),
                "{error}"
            );
            drop(sqlite);
            assert_eq!(
                place.open().scan("", None, 100).unwrap().len(),
                20,
                "what was in the file"
            );
        }
    }

    #[test]
    fn a_log_that_another_program_reads_cannot_begin_anew() {
        let (place, mut sqlite) = place();
        let other = rusqlite::Connection::open(&place.file).unwrap();
        other.execute_batch("BEGIN; SELECT * FROM kv_store").unwrap();
        overwrite(&place, 0, &[0; 32]);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("late", b"1", 99)).unwrap();
        let error = transaction.commit().unwrap_err();
        assert!(error.is_displaced() && sqlite.is_displaced(), "{error}");
        assert!(sqlite.begin().is_err() && sqlite.reopen().is_err());
        drop(sqlite);
    }

    #[test]
    fn what_other_programs_do_to_the_log_is_no_damage() {
        let (place, mut sqlite) = place();
        for round in 0..5 {
            place.shell("PRAGMA wal_checkpoint(TRUNCATE)");
            sqlite.check_log_content().unwrap();
            place.shell(&format!(
                "CREATE TABLE theirs{round} (a); INSERT INTO theirs{round} VALUES (zeroblob(100000))"
            ));
            sqlite.check_log_content().unwrap();
            store(&mut sqlite, &[put("mine", &[7; 5_000], 100 + round)]);
            place.shell("PRAGMA wal_checkpoint(RESTART)");
            store(&mut sqlite, &[put("mine", &[8; 5_000], 200 + round)]);
            sqlite.check_log_content().unwrap();
            let theirs = rusqlite::Connection::open(&place.file).unwrap();
            theirs
                .execute_batch("PRAGMA cache_size = 1; BEGIN IMMEDIATE; INSERT INTO theirs0 SELECT zeroblob(9000)")
                .unwrap();
            sqlite.check_log_content().unwrap();
        }
        assert!(!sqlite.is_broken());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_hole_is_noticed_before_the_next_write() {
        use rustix::fs::{FallocateFlags, fallocate};
        let (place, mut sqlite) = place();
        let readers = Readers::open(&place.file, 1).unwrap();
        let log = OpenOptions::new().write(true).open(place.sibling("-wal")).unwrap();
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&log, hole, 16 * 4_096, 2 * 4_096).is_err() {
            return; // Not every file system can do that.
        }
        let error = sqlite.begin().map(drop).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged, "{error}");
        sqlite.rescue(&readers).unwrap();
        store(&mut sqlite, &[put("late", b"1", 99)]);
        let mut crashed = place.crashed().open();
        assert!(crashed.get(&key("late")).unwrap().is_some());
        let saved = crashed.scan("", None, 100).unwrap().len();
        assert!(saved >= 10, "{saved}");
    }
}
