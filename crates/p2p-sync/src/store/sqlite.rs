//! The one connection that writes: implements the core's store on an SQLite file. The core compares versions; the node's
//! writer thread decides when to begin and commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use p2p_sync_core::item::Item;
use p2p_sync_core::membership::{Roster, Signer};
use p2p_sync_core::store::Store;
use p2p_sync_core::sync::StoreId;
use p2p_sync_core::{Key, NetworkName, Record, Timestamp, Versions};
use rusqlite::Connection;

use super::authors::Authors;
use super::conflicts;
use super::directory::size_of;
use super::displaced::End;
use super::error::StoreError;
use super::held::Held;
use super::log_damage::LogWatch;
use super::members;
use super::migrations::Observer;
use super::opening::{self, beside};
use super::others::Others;
use super::overwriting::Overwriting;
use super::presence::{self, Presence};
use super::repair::{self, IfUnreadable, Incomplete};
use super::reserve::{self, Reserve};
use super::rows::{self, Which};
use super::sequence::Numbers;
use super::summary::Tracker;
use super::sync;
use super::transaction::Transaction;
use super::wal::{Checkpoint, WalSize};
use crate::throttle::Throttle;

/// How long the writer waits for a lock of another program: longer than a statement typed into a shell takes. All requests
/// to the writer thread wait with it.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same after a timeout, until the lock is gone: further writers must not each wait that long.
const PATIENCE_WHILE_LOCKED: Duration = Duration::from_millis(50);

/// The records of a node in an SQLite file, for the thread that writes them.
///
/// # The writer's loop
/// 1. [`begin`](Store::begin), then [`versions`](Transaction::versions) and [`replace`](Transaction::replace) for everything that is queued,
///    then [`commit`](Transaction::commit). When that returns `Ok`, all of it is on disk: acknowledge.
/// 2. If `versions` fails with an error that [is one record's](StoreError::is_one_record), only that operation fails; the
///    transaction is still good.
/// 3. After any other error, drop the transaction and acknowledge nothing of it.
/// 4. If the store [is broken](SqliteStore::is_broken) then, its connection is closed for good:
///    [`reopen`](SqliteStore::reopen) it, repeatedly until that succeeds. Only then is it known whether the writes of a
///    failed `commit` are there. If the error [means that pages are damaged](StoreError::is_damaged_file),
///    [`rescue`](SqliteStore::rescue) it instead.
/// 5. Whenever [`summary`](SqliteStore::summary) is none, run a [scan](SqliteStore::start_scan).
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) file: PathBuf,
    pub(super) wal: PathBuf,
    pub(super) network: NetworkName,
    /// None once it was broken.
    pub(super) connection: Option<Connection>,
    pub(super) authors: Authors,
    pub(super) wal_size: WalSize,
    pub(super) id: StoreId,
    pub(super) tracker: Tracker,
    /// What other programs did, as far as we have seen it.
    pub(super) others: Others,
    pub(super) numbers: Numbers,
    /// Rows of another program that are still to be completed.
    pub(super) incomplete: Incomplete,
    /// Another program had the lock when we last wanted to write.
    pub(super) locked: bool,
    /// Whether there may be conflicts; none when the table must be asked. Most stores have none, and nothing is read for them then.
    pub(super) has_conflicts: Option<bool>,
    /// Whether the index of items is there, or [deferred](super::deferred); none when the file must be asked.
    pub(super) has_item_index: Option<bool>,
    pub(super) damaged_seen: u64,
    pub(super) damage_log: Throttle<Instant>,
    /// The scan that runs, if one does.
    pub(super) scan: Weak<repair::Hold>,
    pub(super) presence: Presence,
    pub(super) overwriting: Overwriting,
    pub(super) log_watch: LogWatch,
    /// A link under which the file is known as well.
    pub(super) link: Option<PathBuf>,
    /// What became of the files under it. Nothing is written any more.
    pub(super) end: Option<End>,
    pub(super) if_unreadable: IfUnreadable,
    /// It was damaged when it was to be opened.
    was_rescued: bool,
    pub(super) reserve: Reserve,
    pub(super) held: Held,
    /// Who is in, in a private network: as committed, and as the open transaction keeps it.
    pub(super) roster: Option<Arc<Roster>>,
    pub(super) next_roster: Option<Arc<Roster>>,
    pub(super) signer: Option<Signer>,
}

impl SqliteStore {
    /// Opens the store of a network, and creates it if there is none. The caller must hold the [data
    /// directory](super::DataDir). A file with damaged pages is [rescued](Self::rescue) first.
    ///
    /// # Errors
    /// If the file is not a store of that network and of a version that this program knows, if it is damaged, or if it
    /// cannot be stored safely where it is. A refused file is not changed.
    pub fn open(file: &Path, network: &NetworkName) -> Result<Self, StoreError> {
        Self::open_or(file, network, IfUnreadable::Refuse, &mut |_| {})
    }

    /// Opens the store of a network as [`open`](Self::open) does, and says what is done with a file in which nothing can be read, and
    /// who is told when a file of an earlier version is brought into the shape of this one: some seconds for a million records, on
    /// this thread. If the process ends meanwhile, the file is as it was.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_or(
        file: &Path,
        network: &NetworkName,
        if_unreadable: IfUnreadable,
        observe: Observer<'_>,
    ) -> Result<Self, StoreError> {
        let mut is_damaged = false;
        let mut store = match Self::connect(file, network, observe) {
            Err(damage @ StoreError::Damaged { .. }) => {
                is_damaged = true;
                repair::at_start(file, network, damage, if_unreadable)?;
                Self::connect(file, network, observe)?
            }
            // Even to be opened it takes some room.
            Err(error) if error.is_full() && reserve::give_up(file) => Self::connect(file, network, observe)?,
            other => other.map_err(StoreError::or_forbidden)?,
        };
        store.if_unreadable = if_unreadable;
        store.was_rescued |= is_damaged;
        // What a crash left in the WAL may be in the memory of the system only. Neither another program that reads just now
        // nor a full disk keeps us from starting.
        match store.settle() {
            Err(error) if !error.is_full() => Err(error),
            _ => {
                store.set_patience(store.patience());
                store.watch_log();
                store.note_sequence();
                store.watch_overwriting();
                Ok(store)
            }
        }
    }

    fn connect(file: &Path, network: &NetworkName, observe: Observer<'_>) -> Result<Self, StoreError> {
        let was_rescued = repair::finish(file)?.is_some();
        let before = presence::id_of(file);
        let connection = opening::writer(file, network, observe)?;
        let presence = Presence::note(file, before)?;
        let (id, tracker, others, numbers) = look_in(&connection).map_err(|cause| StoreError::sqlite(file, cause))?;
        let roster = members::load(&connection, file)?;
        Ok(Self {
            file: file.to_owned(),
            wal: beside(file, "-wal"),
            network: network.clone(),
            connection: Some(connection),
            authors: Authors::default(),
            wal_size: WalSize::on_volume_of(file),
            id,
            tracker,
            others,
            numbers,
            incomplete: Incomplete::default(),
            locked: false,
            has_conflicts: None,
            has_item_index: None,
            damaged_seen: 0,
            damage_log: Throttle::once(sync::LOG_INTERVAL),
            scan: Weak::new(),
            presence,
            overwriting: Overwriting::default(),
            log_watch: LogWatch::default(),
            link: None,
            end: None,
            if_unreadable: IfUnreadable::Refuse,
            was_rescued,
            reserve: Reserve::default(),
            held: Held::default(),
            roster,
            next_roster: None,
            signer: None,
        })
    }

    /// Whether it was damaged when it was opened, and what could be read was copied into a new file.
    pub fn was_rescued(&self) -> bool {
        self.was_rescued
    }

    /// The file has been opened through this link, which is to lead to it for as long as it is open.
    pub fn linked_from(&mut self, link: PathBuf) {
        self.link = Some(link);
    }

    /// The path of the file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Whether the connection was closed after a failure, so that every call fails until [`reopen`](Self::reopen) succeeds.
    pub fn is_broken(&self) -> bool {
        self.connection.is_none()
    }

    /// Reopens the file with a new connection. An open transaction is discarded. After success, everything that can be read
    /// is on disk, whatever the failed sync left behind.
    ///
    /// # Errors
    /// As for [`open`](Self::open), or when the file is gone or another one: none is made in its place. The store is broken then,
    /// and this may be tried again.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        self.check_files()?;
        self.abandon();
        self.open_again()
    }

    /// Opens the file that has the store's name.
    pub(super) fn open_again(&mut self) -> Result<(), StoreError> {
        repair::finish(&self.file)?;
        if size_of(&self.file)?.is_none() {
            return Err(StoreError::Gone {
                file: self.file.clone(),
            });
        }
        let before = presence::id_of(&self.file);
        let connection = opening::writer(&self.file, &self.network, &mut |_| {})?;
        self.presence = Presence::note(&self.file, before)?;
        let looked = look_in(&connection).map_err(|cause| StoreError::sqlite(&self.file, cause));
        let roster = members::load(&connection, &self.file);
        self.connection = Some(connection);
        (self.id, self.tracker, self.others, self.numbers) = self.noted(looked)?;
        self.roster = self.noted(roster)?;
        self.wal_size = WalSize::on_volume_of(&self.file);
        self.set_patience(self.patience());
        match self.settle()? {
            Checkpoint::Complete => {
                self.watch_log();
                self.note_sequence();
                self.watch_overwriting();
                Ok(())
            }
            Checkpoint::Hindered => {
                self.abandon();
                self.locked = true;
                Err(StoreError::Locked {
                    file: self.file.clone(),
                })
            }
        }
    }

    /// Closes the file cleanly: once all [readers](super::Readers) are gone too, the store is a single file again. Dropping
    /// the store does the same but ignores failures.
    ///
    /// # Errors
    /// If the WAL could not be moved into the file. Nothing is lost then: the next start does it.
    pub fn close(mut self) -> Result<(), StoreError> {
        self.end_scan();
        if let Err(error) = self.make_index() {
            tracing::debug!(%error, "Cannot make the index of items; the next start does it");
        }
        if let Err(error) = self.release() {
            tracing::warn!(%error, "Some of what another node sent could not be stored; sync fetches it again");
        }
        // Without it the next start reads the records, and that is all.
        // That of a file that was overwritten is another one's.
        if !self.is_broken()
            && !self.was_overwritten()
            && let Err(error) = self.keep_summary()
        {
            tracing::warn!(%error, "Cannot save the summary of the records; no data is lost, the next start rebuilds it");
        }
        // What is damaged there must not be moved into the file unseen.
        let settled = self.check_log_content().and_then(|()| self.settle()).map(drop);
        self.log_watch = LogWatch::default();
        match self.connection.take().map(Connection::close) {
            Some(Err((_, cause))) => settled.and(Err(StoreError::sqlite(&self.file, cause))),
            _ => settled,
        }
    }

    /// Whether another program had the lock when this store last wanted to write. What is written then fails soon.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// How long to wait for a lock of another program.
    pub(super) fn patience(&self) -> Duration {
        if self.locked { PATIENCE_WHILE_LOCKED } else { PATIENCE }
    }

    /// The connection, outside a transaction or in one.
    pub(super) fn connection(&self) -> Result<&Connection, StoreError> {
        self.connection.as_ref().ok_or_else(|| StoreError::Broken {
            file: self.file.clone(),
        })
    }

    /// Handles a failure: closes the connection if it must not be used again.
    pub(super) fn noted<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.as_ref().is_err_and(StoreError::breaks_connection) {
            self.abandon();
        }
        result
    }

    /// Closes the connection and leaves the files as they are.
    pub(super) fn abandon(&mut self) {
        self.stop_scan();
        self.incomplete = Incomplete::default();
        self.held.disconnected();
        self.tracker.forget_pending();
        self.tracker.lose();
        self.has_conflicts = None;
        self.has_item_index = None;
        self.log_watch = LogWatch::default();
        if let Some(connection) = self.connection.take() {
            // Should this fail, closing moves the WAL into the file, which no reader of either can tell.
            let _ = opening::checkpoint_on_close(&connection, false);
        }
    }

    /// The version held of a key, and its item as it stands beside it.
    pub(super) fn get_with_item(&mut self, key: &Key) -> Result<Option<(Record, Option<Item>)>, StoreError> {
        let Some(connection) = &self.connection else {
            return self.connection().map(|_| None);
        };
        let result = rows::get_with_item(connection, &mut self.authors, &self.file, key);
        self.noted(result)
    }

    /// Whether there may be conflicts.
    pub(super) fn may_have_conflicts(&mut self) -> Result<bool, StoreError> {
        match self.has_conflicts {
            Some(known) => Ok(known),
            None => {
                let any = self.asked(conflicts::are_there)?;
                self.has_conflicts = Some(any);
                Ok(any)
            }
        }
    }

    pub(super) fn run(&self, connection: &Connection, sql: &str) -> Result<(), StoreError> {
        let done = connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]));
        done.map(drop).map_err(|cause| StoreError::sqlite(&self.file, cause))
    }
}

/// What is remembered of a file that was just opened.
fn look_in(connection: &Connection) -> rusqlite::Result<(StoreId, Tracker, Others, Numbers)> {
    let others = Others::see(connection)?;
    let numbers = Numbers::load(connection, others.number())?;
    Ok((sync::store_id(connection)?, Tracker::load(connection)?, others, numbers))
}

impl Store for SqliteStore {
    type Error = StoreError;
    type Transaction<'a> = Transaction<'a>;

    fn get(&mut self, key: &Key) -> Result<Option<Record>, StoreError> {
        Ok(self.get_with_item(key)?.map(|(record, _)| record))
    }

    fn versions(&mut self, key: &Key) -> Result<Versions, StoreError> {
        let winner = self.get(key)?;
        let Some(connection) = &self.connection else {
            return self.connection().map(|_| Versions::NONE);
        };
        let conflicts = conflicts::of_key(connection, &mut self.authors, &self.file, key);
        Ok(conflicts::stored(winner, self.noted(conflicts)?))
    }

    fn scan(&mut self, prefix: &str, after: Option<&Key>, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(connection) = &self.connection else {
            return self.connection().map(|_| Vec::new());
        };
        let result = rows::page(
            connection,
            &mut self.authors,
            &self.file,
            Which::All,
            (prefix, after),
            limit,
        );
        self.noted(result)
    }

    fn last_timestamp(&mut self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.numbers.latest())
    }

    fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        Transaction::begin(self)
    }
}

#[cfg(test)]
mod tests {
    #[cfg(unix)]
    use std::fs;
    use std::time::Instant;

    use super::*;
    use crate::store::testing::{Place, deleted, key, put, store};
    use crate::store::{Readers, StoreErrorKind};

    #[test]
    fn it_keeps_what_a_store_promises() {
        let mut places = Vec::new();
        p2p_sync_core::store::conformance(|| {
            let place = Place::new();
            let store = place.open();
            places.push(place);
            store
        });
    }

    #[test]
    fn what_was_committed_is_there_after_a_crash_and_nothing_else() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5), deleted("b", 6)]);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"2", 7)).unwrap();
        transaction.put(&put("c", b"1", 8)).unwrap();
        let expected = [put("a", b"1", 5), deleted("b", 6)];
        assert_eq!(place.crashed().open().scan("", None, 10).unwrap(), expected);

        std::mem::forget(transaction);
        drop(sqlite);
        let mut sqlite = place.open();
        assert_eq!(
            sqlite.scan("", None, 10).unwrap(),
            expected,
            "dropping forgets an open transaction"
        );
        assert_eq!(sqlite.last_timestamp().unwrap(), Some(expected[1].timestamp));
    }

    #[test]
    fn what_a_crash_left_in_the_wal_is_in_the_file_after_opening() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let crashed = place.crashed();
        let wal = beside(&crashed.file, "-wal");
        assert!(size_of(&wal).unwrap().unwrap() > 0);
        let opened = crashed.open();
        assert_eq!(size_of(&wal).unwrap(), Some(0));
        drop(opened);
    }

    #[test]
    fn a_closed_store_is_one_file() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 2).unwrap();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("b", b"1", 5)).unwrap();
        drop(readers);
        drop(transaction);
        sqlite.close().unwrap();
        assert!(place.content().keys().eq([&place.file]), "no WAL is left behind");
        assert_eq!(place.open().scan("", None, 10).unwrap(), [put("a", b"1", 5)]);
    }

    #[test]
    fn calls_out_of_order_are_refused() {
        let place = Place::new();
        let mut sqlite = place.open();
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"1", 5)).unwrap();
        assert_eq!(transaction.begin().unwrap_err().kind(), StoreErrorKind::Internal);
        let held = transaction.get(&key("a")).unwrap();
        assert_eq!(held, None, "none is open after a begin that failed");
        let refused = [
            transaction.put(&put("a", b"1", 5)),
            transaction.remember_peers(&[]),
            transaction.commit(),
        ];
        for error in refused {
            assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Internal);
        }
        assert!(!sqlite.is_broken());
        store(&mut sqlite, &[put("a", b"1", 5)]);
    }

    #[test]
    fn a_full_disk_is_told_and_survived() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let limit = |sqlite: &SqliteStore, pages: i64| {
            let connection = sqlite.connection().unwrap();
            connection
                .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0))
                .unwrap();
        };
        limit(&sqlite, 20);
        let mut transaction = sqlite.begin().unwrap();
        let error = (0..100)
            .find_map(|n| transaction.put(&put(&format!("big {n}"), &[0; 65_536], 6)).err())
            .unwrap();
        assert!(error.is_full(), "{error}");
        drop(transaction);
        assert!(!sqlite.is_broken());
        assert_eq!(sqlite.scan("", None, 10).unwrap(), [put("a", b"1", 5)]);
        limit(&sqlite, 1_000_000);
        store(&mut sqlite, &[put("b", &[0; 65_536], 7)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_commit_that_met_a_broken_disk_is_not_tried_again_on_the_same_connection() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        sqlite.close().unwrap();
        // A pipe can be opened, but neither written at a position nor cut, as opening in full would do.
        let wal = beside(&place.file, "-wal");
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&wal)
                .status()
                .unwrap()
                .success()
        );
        let mut sqlite = SqliteStore::connect(&place.file, &NetworkName::default(), &mut |_| {}).unwrap();
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("b", b"1", 6)).unwrap();
        let error = transaction.commit().unwrap_err();
        assert!(matches!(error, StoreError::Disk { .. }), "{error}");
        assert!(sqlite.is_broken());
        let refused = [sqlite.begin().map(drop), sqlite.get(&key("a")).map(drop)];
        assert!(
            refused
                .iter()
                .all(|result| matches!(result, Err(StoreError::Broken { .. })))
        );
        fs::remove_file(&wal).unwrap();
        sqlite.reopen().unwrap();
        assert!(!sqlite.is_broken());
        assert_eq!(sqlite.scan("", None, 10).unwrap(), [put("a", b"1", 5)]);
        store(&mut sqlite, &[put("b", b"2", 7)]);
        assert_eq!(place.crashed().open().get(&key("b")).unwrap(), Some(put("b", b"2", 7)));
    }

    #[test]
    fn reopening_forgets_an_open_transaction() {
        let place = Place::new();
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 1).unwrap();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"2", 6)).unwrap();
        transaction.reopen().unwrap();
        assert_eq!(transaction.get(&key("a")).unwrap(), Some(put("a", b"1", 5)));
        assert!(transaction.put(&put("a", b"2", 6)).is_err(), "none is open");
        drop(transaction);
        store(&mut sqlite, &[put("a", b"3", 7)]);
        assert_eq!(
            readers.get(&key("a")).unwrap(),
            Some(put("a", b"3", 7)),
            "readers stay open meanwhile"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_was_removed_is_noticed_and_not_made_anew() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        for file in place.content().keys() {
            fs::remove_file(file).unwrap();
        }
        let mut transaction = sqlite.begin().unwrap();
        transaction.put(&put("a", b"2", 6)).unwrap();
        assert!(matches!(transaction.commit(), Err(StoreError::Displaced { .. })));
        assert!(sqlite.is_broken());
        assert!(matches!(sqlite.reopen(), Err(StoreError::Displaced { .. })));
        assert!(!place.file.exists());
    }

    #[test]
    fn a_lock_of_another_program_is_told_and_waited_out_later() {
        let place = Place::new();
        let mut sqlite = place.open();
        let other = rusqlite::Connection::open(&place.file).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        sqlite.set_patience(Duration::ZERO);
        let error = sqlite.begin().unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        other.execute_batch("COMMIT").unwrap();
        store(&mut sqlite, &[put("a", b"1", 5)]);
    }

    #[test]
    fn a_lock_is_waited_for_once_and_not_by_everybody() {
        let place = Place::new();
        let mut sqlite = place.open();
        let other = rusqlite::Connection::open(&place.file).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let since = Instant::now();
        for _ in 0..20 {
            assert!(matches!(sqlite.begin(), Err(StoreError::Locked { .. })));
        }
        assert!(since.elapsed() < PATIENCE * 5, "{:?}", since.elapsed());
        assert!(sqlite.is_locked() && !sqlite.is_broken());
        other.execute_batch("COMMIT").unwrap();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        assert_eq!((sqlite.is_locked(), sqlite.patience()), (false, PATIENCE));
        let patience: i64 = sqlite
            .asked(|connection| connection.pragma_query_value(None, "busy_timeout", |row| row.get(0)))
            .unwrap();
        assert_eq!(
            u128::try_from(patience).unwrap(),
            PATIENCE.as_millis(),
            "the next lock is waited for"
        );
    }

    #[test]
    fn an_edit_by_hand_is_seen_at_once() {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        assert_eq!(sqlite.get(&key("a")).unwrap(), Some(put("a", b"1", 5)));
        place.shell("UPDATE kv_store SET value = 'other'");
        let error = sqlite.get(&key("a")).unwrap_err();
        assert!(
            error.damaged_row().is_some(),
            "its digest is that of another value: {error}"
        );
        place.shell("UPDATE kv_store SET digest = NULL");
        assert_eq!(sqlite.get(&key("a")).unwrap(), Some(put("a", b"other", 5)));
    }
}
