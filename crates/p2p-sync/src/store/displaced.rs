//! Ends a store whose files were removed, moved or replaced: nothing more is written, acknowledged writes are moved into
//! the file that they belong to, and the file that now has the store's name is left alone.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::Connection;

use super::directory::size_of;
use super::error::StoreError;
use super::opening::beside;
use super::presence::{Displacement, Needed, Part};
use super::sqlite::SqliteStore;
use super::wal;

/// Why nothing is written to a store any more, for good.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// A file of it is no longer the one that is open.
    Displaced(Displacement),
    /// Its log was damaged, and could not be begun anew.
    LogDamaged {
        /// Everything that was acknowledged is in the store's file.
        is_saved: bool,
    },
}

impl SqliteStore {
    /// Makes sure that the files that are open are those under the store's name.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] when they are not. The store is broken then, and stays so: what is written to it would be lost.
    pub fn check_files(&mut self) -> Result<(), StoreError> {
        if self.end.is_some() {
            return Err(self.ended());
        }
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        match self.presence.check(self.link.as_deref(), &BySqlite(connection)) {
            Ok(()) => Ok(()),
            Err(displacement) => Err(self.end(End::Displaced(displacement))),
        }
    }

    /// Makes sure, before a transaction is begun, that the log still has what it must.
    ///
    /// # Errors
    /// As for [`check_files`](Self::check_files).
    pub(super) fn check_log(&mut self) -> Result<(), StoreError> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        match self.presence.check_log(&BySqlite(connection)) {
            Ok(()) if self.presence.log_is_suspect() => self.check_log_head(),
            Ok(()) => Ok(()),
            Err(displacement) => Err(self.end(End::Displaced(displacement))),
        }
    }

    /// Whether the files were removed, moved or replaced while they were open.
    pub fn is_displaced(&self) -> bool {
        self.end.is_some()
    }

    /// Uses the files no more.
    pub(super) fn end(&mut self, end: End) -> StoreError {
        match end {
            End::Displaced(displacement) => self.give_up(displacement),
            End::LogDamaged { is_saved } => {
                self.end = Some(end);
                self.abandon();
                // Read as far as it is sound, it would lay old pages over the new ones.
                if is_saved && let Some(aside) = self.put_log_aside() {
                    tracing::warn!(log = %aside.display(), "The damaged write-ahead log was moved aside");
                }
                self.ended()
            }
        }
    }

    fn ended(&self) -> StoreError {
        match self.end {
            Some(End::LogDamaged { is_saved }) => StoreError::LogDamaged {
                log: self.wal.clone(),
                is_saved,
            },
            Some(End::Displaced(displacement)) => StoreError::displaced(&self.file, displacement),
            None => StoreError::Misuse("the store has not ended"),
        }
    }

    fn give_up(&mut self, displacement: Displacement) -> StoreError {
        self.end = Some(End::Displaced(displacement));
        self.stop_scan();
        let overwritten = displacement.now == Some(displacement.was);
        // Wherever the file lies now, what is in the log belongs into it. Without emptying the log: if only that was replaced,
        // another program may have written to the new one.
        if !overwritten && let Some(connection) = &self.connection {
            let moved = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
            if let Err(error) = moved {
                tracing::warn!(%error, "Cannot move the contents of the write-ahead log into the store file");
            }
        }
        self.abandon();
        if displacement.part == Part::Store
            && displacement.now.is_some()
            && let Some(aside) = self.put_log_aside()
        {
            tracing::warn!(
                log = %aside.display(),
                "The write-ahead log of the previous store file was moved aside: it would damage the file that \
                 replaced it"
            );
        }
        self.ended()
    }

    /// Moves our log away from a file that is not the one it belongs to.
    fn put_log_aside(&self) -> Option<PathBuf> {
        if !self.presence.is_in_place(Part::Log) || size_of(&self.wal).ok().flatten() == Some(0) {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let aside = beside(
            &self.file,
            &format!(".replaced-{}-wal", now.map_or(0, |now| now.as_secs())),
        );
        match std::fs::rename(&self.wal, &aside) {
            Ok(()) => Some(aside),
            Err(error) => {
                tracing::error!(log = %self.wal.display(), %error, "Cannot move the write-ahead log of the replaced \
                file aside: remove it before the next start");
                None
            }
        }
    }
}

/// What SQLite says of the sizes that the files must have.
struct BySqlite<'a>(&'a Connection);

impl BySqlite<'_> {
    fn number(&self, pragma: &str) -> Option<u64> {
        let number = self.0.query_row(pragma, [], |row| row.get::<_, i64>(0)).ok()?;
        u64::try_from(number).ok()
    }
}

impl Needed for BySqlite<'_> {
    fn of_store(&self) -> Option<u64> {
        self.number("PRAGMA page_count")?
            .checked_mul(self.number("PRAGMA page_size")?)
    }

    fn of_log(&self) -> Option<u64> {
        let (frames, moved) = wal::frames(self.0).ok()?;
        if frames == moved {
            // All of it is in the file.
            return Some(0);
        }
        let page = self.number("PRAGMA page_size")?;
        frames
            .checked_mul(page.checked_add(wal::FRAME_HEADER_BYTES)?)?
            .checked_add(wal::HEADER_BYTES)
    }
}

/// What became of the data of a damaged log, and what to do next.
pub(super) fn advice_on_log(is_saved: bool) -> &'static str {
    if is_saved {
        "Everything acknowledged is in the store: start again, and leave the files beside it alone while p2p-sync is \
         running"
    } else {
        "The newest of the earlier writes, which were only in this file, are lost here: start again, and they come back \
         from other nodes that have them. Leave the files beside the store alone while p2p-sync is running"
    }
}

/// What happened to the file.
pub(super) fn fate(displacement: &Displacement) -> &'static str {
    match displacement.now {
        None => "removed or moved",
        Some(now) if now == displacement.was => "overwritten",
        Some(_) => "replaced by another file",
    }
}

/// By which numbers that was noticed.
pub(super) fn ids(displacement: &Displacement) -> String {
    let was = displacement.was;
    match displacement.now {
        None => format!("it was {was}"),
        Some(now) if now == was => format!("{was}, and it is shorter than the data stored in it"),
        Some(now) => format!("it was {was}, and is now {now}"),
    }
}

/// What became of the data, and what to do next. The failure may meet a write or nobody's.
pub(super) fn advice(displacement: &Displacement) -> &'static str {
    match (displacement.part, displacement.now) {
        (Part::Store, None) => {
            "nothing more is stored, and unacknowledged writes are lost. Earlier writes are in the missing file: put \
             it back and start again. Or move away the files whose names begin with its name and start again; the \
             data then comes back from other nodes"
        }
        (Part::Store, Some(_)) => {
            "nothing more is stored, and unacknowledged writes are lost. The file that is there now was left \
             untouched: start again to use it. Stop p2p-sync before you restore a copy"
        }
        (Part::Log, Some(now)) if now == displacement.was => {
            "nothing more is stored, and unacknowledged writes are lost. So are the newest of the earlier writes, which \
             were still in this file: start again, and they come back from other nodes that have them. Leave the files \
             beside the store alone while p2p-sync is running"
        }
        (Part::Log | Part::Index, _) => {
            "nothing more is stored, and unacknowledged writes may be lost. Earlier writes are in the store: start \
             again, and leave the files beside it alone while p2p-sync is running"
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::testing::{Place, key, put, store};
    use crate::store::{Depth, Readers, StoreErrorKind};

    /// A store that holds `a`, and another one's file.
    fn place() -> (Place, SqliteStore, Vec<u8>) {
        let other = Place::new();
        let mut theirs = other.open();
        store(&mut theirs, &[put("theirs", b"1", 5)]);
        // A clean stop would add the summary.
        theirs.empty_wal().unwrap();
        let copy = fs::read(&other.file).unwrap();
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        (place, sqlite, copy)
    }

    /// A write after that is refused, and so is everything later.
    fn refused(sqlite: &mut SqliteStore) -> StoreError {
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("late", b"1", 9)).unwrap();
        let error = transaction.commit().unwrap_err();
        assert!(
            error.is_displaced() && sqlite.is_broken() && sqlite.is_displaced(),
            "{error}"
        );
        assert_eq!(error.kind(), StoreErrorKind::Io);
        let words = error.to_string();
        assert!(
            words.contains("nothing more is stored") && !words.contains("  "),
            "{words}"
        );
        assert!(sqlite.begin().is_err() && sqlite.start_scan(Depth::Items).is_err());
        for again in [sqlite.reopen().unwrap_err(), sqlite.check_files().unwrap_err()] {
            assert_eq!(again.to_string(), error.to_string());
        }
        error
    }

    fn replace(place: &Place, file: &Path, content: &[u8]) {
        let fresh = place.dir.path().join("fresh");
        fs::write(&fresh, content).unwrap();
        fs::rename(fresh, file).unwrap();
    }

    #[test]
    fn a_file_that_was_moved_has_all_that_was_acknowledged() {
        let (place, mut sqlite, _) = place();
        let elsewhere = place.dir.path().join("elsewhere");
        fs::rename(&place.file, &elsewhere).unwrap();
        let was = presence_text(&elsewhere);
        let error = refused(&mut sqlite);
        assert!(error.to_string().contains(&was), "{error}: {was}");
        drop(sqlite);
        assert!(!place.file.exists());
        fs::remove_file(place.sibling("-wal")).unwrap();
        fs::rename(&elsewhere, &place.file).unwrap();
        assert_eq!(place.open().get(&key("a")).unwrap(), Some(put("a", b"1", 5)));
    }

    #[test]
    fn a_file_that_took_its_place_is_left_alone_and_spared_the_old_log() {
        let (place, mut sqlite, theirs) = place();
        let readers = Readers::open(&place.file, 2).unwrap();
        replace(&place, &place.file, &theirs);
        let now = presence_text(&place.file);
        let error = refused(&mut sqlite);
        assert!(error.to_string().contains(&format!("is now {now}")), "{error}");
        drop((sqlite, readers));
        assert!(fs::read(&place.file).unwrap() == theirs);
        let names: Vec<_> = place.content().into_keys().collect();
        let asides = names
            .iter()
            .filter(|name| name.to_string_lossy().contains(".replaced-"));
        assert_eq!(asides.count(), 1, "{names:?}");
        let mut opened = place.open();
        assert_eq!(opened.get(&key("theirs")).unwrap(), Some(put("theirs", b"1", 5)));
        assert_eq!(opened.get(&key("a")).unwrap(), None);
    }

    #[test]
    fn a_file_that_was_overwritten_with_less_is_left_alone() {
        let (place, mut sqlite, theirs) = place();
        let large: Vec<_> = (0..20).map(|n| put(&format!("large {n}"), &[7; 60_000], 6)).collect();
        store(&mut sqlite, &large);
        sqlite.empty_wal().unwrap();
        store(&mut sqlite, &[put("b", b"1", 7)]);
        fs::write(&place.file, &theirs).unwrap();
        let error = refused(&mut sqlite);
        assert!(
            error.to_string().contains("was overwritten while it was open"),
            "{error}"
        );
        drop(sqlite);
        assert!(fs::read(&place.file).unwrap() == theirs);
        assert_eq!(place.open().get(&key("theirs")).unwrap(), Some(put("theirs", b"1", 5)));
    }

    #[test]
    fn without_its_log_or_index_nothing_is_lost() {
        for suffix in ["-wal", "-shm"] {
            for replaced in [false, true] {
                let (place, mut sqlite, _) = place();
                let part = place.sibling(suffix);
                if replaced {
                    replace(&place, &part, b"");
                } else {
                    fs::remove_file(&part).unwrap();
                }
                let error = refused(&mut sqlite);
                assert!(
                    error.to_string().contains(&format!("store.db{suffix} was re")),
                    "{error}"
                );
                drop(sqlite);
                assert_eq!(
                    place.open().get(&key("a")).unwrap(),
                    Some(put("a", b"1", 5)),
                    "{suffix}"
                );
            }
        }
    }

    #[test]
    fn what_is_noticed_while_nothing_is_written() {
        let (place, mut sqlite, theirs) = place();
        sqlite.check_files().unwrap();
        replace(&place, &place.file, &theirs);
        assert!(
            sqlite.start_scan(Depth::Items).unwrap_err().is_displaced(),
            "not a scan of another file"
        );
        assert!(sqlite.is_broken());
    }

    #[test]
    fn a_program_that_makes_the_file_smaller_does_not_end_the_store() {
        let place = Place::new();
        let mut sqlite = place.open();
        let many: Vec<_> = (0..200).map(|n| put(&format!("key {n}"), &[7; 4_000], 5)).collect();
        store(&mut sqlite, &many);
        sqlite.empty_wal().unwrap();
        sqlite.check_files().unwrap();
        place.shell("DELETE FROM kv_store WHERE key <> 'key 0'; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
        store(&mut sqlite, &[put("a", b"1", 5)]);
        sqlite.check_files().unwrap();
    }

    fn presence_text(file: &Path) -> String {
        super::super::presence::id_of(file).unwrap().to_string()
    }
}
