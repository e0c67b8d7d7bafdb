//! The replica with its store: every version that comes in, from whatever side, goes through here in a transaction, and
//! what is lost by it is kept for the user. It is also what a sync session sees of the records. When to write is left to the
//! writer, what to say to others to the sessions.

use std::time::{Duration, Instant};

use p2p_sync_core::limits::CLOCK_LEAD_MAX;
use p2p_sync_core::record::merge;
use p2p_sync_core::replica::{Received, Replica};
use p2p_sync_core::store::Store;
use p2p_sync_core::sync::cost;
use p2p_sync_core::{Record, Timestamp, Uptime};

use super::NodeError;
use super::change_log::ChangeLog;
use crate::store::{
    Capacity, Depth, Readers, RememberedPeer, Room, Scan, Scanned, SqliteStore, StoreError, Verified as ScanFound,
};
use crate::system::{self, Stopwatch};

mod room;
mod syncing;
mod writing;

use room::RoomWatch;

/// How often the log is told that something received could not be stored.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// The records of a node, with the rules by which they change. A running node has one, on its own thread; benchmarks and tests
/// of whole sessions make theirs without a network.
#[derive(Debug)]
pub struct Holdings {
    replica: Replica,
    store: SqliteStore,
    log: ChangeLog,
    watch: Stopwatch,
    /// Whether somebody may receive what is written now.
    shared: bool,
    /// Pages of the file proved damaged.
    damaged: bool,
    aside: Aside,
    /// What local writes of the open transaction may still take on the volume; none: not asked yet.
    local_bytes: Option<u64>,
    room: RoomWatch,
    refused: Refused,
    /// When the log was last told that something could not be stored.
    complained: Option<Uptime>,
}

/// Damaged records that were set aside.
#[derive(Debug, Default)]
struct Aside {
    /// In the open transaction.
    pending: u64,
    /// In those that were committed, since that was last asked.
    done: u64,
}

/// What came of received records.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// Those that won, and are held now.
    pub(super) stored: Vec<Record>,
    /// Versions that lost without having been seen by their winner's author.
    lost: u64,
    /// Those that were not taken.
    pub(super) refused: Refused,
}

impl Merged {
    fn add(&mut self, more: Self) {
        self.stored.extend(more.stored);
        self.lost += more.lost;
        self.refused.damaged += more.refused.damaged;
        self.refused.no_room += more.refused.no_room;
    }
}

/// How many received records were not taken, by cause. Each comes back by a session when the cause is gone.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Refused {
    /// They met a damaged row, which is still to be taken out.
    pub(super) damaged: u64,
    /// There is no room for them.
    pub(super) no_room: u64,
}

impl Refused {
    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.damaged + self.no_room
    }
}

impl Holdings {
    /// What was there at the start counts as known to others, unless the last run noted that it is not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn new(mut replica: Replica, mut store: SqliteStore) -> Result<Self, StoreError> {
        let unshared_after = match store.unshared_after()? {
            Some(noted) => noted,
            None => {
                let last = store.last_timestamp()?.unwrap_or(Timestamp::MIN);
                store.begin()?;
                store.keep_unshared_after(Some(last))?;
                store.commit()?;
                last
            }
        };
        replica.set_unshared_after(Some(unshared_after));
        Ok(Self {
            replica,
            store,
            log: ChangeLog::default(),
            watch: Stopwatch::start(),
            shared: false,
            damaged: false,
            aside: Aside::default(),
            local_bytes: None,
            room: RoomWatch::default(),
            refused: Refused::default(),
            complained: None,
        })
    }

    /// Sets how far what others send may fill the disk.
    #[must_use]
    pub fn with_capacity(mut self, capacity: Capacity) -> Self {
        self.room.capacity = capacity;
        self
    }

    /// The same, with or without the values of others in the log.
    pub(super) fn with_logged_values(mut self, values: bool) -> Self {
        self.log.values = values;
        self
    }

    /// The store.
    pub fn store(&mut self) -> &mut SqliteStore {
        &mut self.store
    }

    pub(super) fn is_broken(&self) -> bool {
        self.store.is_broken()
    }

    /// Makes sure that the files of the store are those that it has open; see [`SqliteStore::check_files`].
    pub(super) fn check_files(&mut self) -> Result<(), NodeError> {
        Ok(self.store.check_files()?)
    }

    /// Whether the files of the store were taken away under it: for good.
    pub(super) fn is_displaced(&self) -> bool {
        self.store.is_displaced()
    }

    /// Whether nothing is known that would keep a write from the disk.
    pub(super) fn takes_writes(&self) -> bool {
        !self.store.is_broken() && !self.store.is_locked()
    }

    /// Does some work in one transaction. If it or the commit fails, nothing of it was done.
    pub(super) fn transact<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, NodeError>) -> Result<T, NodeError> {
        self.local_bytes = None;
        let begun = self.begin().map_err(NodeError::from);
        self.noted(begun)?;
        let done = work(self).and_then(|done| {
            self.store.commit()?;
            Ok(done)
        });
        let aside = std::mem::take(&mut self.aside.pending);
        if done.is_err() {
            self.store.rollback();
        } else {
            self.aside.done += aside;
        }
        self.noted(done)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.store.is_broken() {
            self.store.reopen()?;
        }
        self.store.begin()
    }

    /// Begins to read the whole store; see [`SqliteStore::start_scan`].
    pub(super) fn start_scan(&mut self, depth: Depth) -> Result<Scan, NodeError> {
        let scan = self.store.start_scan(depth).map_err(NodeError::from);
        self.noted(scan)
    }

    /// Takes over what a scan found; see [`SqliteStore::finish_scan`].
    pub(super) fn finish_scan(&mut self, scanned: Result<Scanned, StoreError>) -> Result<ScanFound, NodeError> {
        let finished = scanned.and_then(|scanned| self.store.finish_scan(scanned));
        if let Ok(found) = &finished
            && let Some(structure) = &found.structure
        {
            tracing::error!("The file of the store is damaged: {structure}");
            self.damaged = true;
        }
        self.noted(finished.map_err(NodeError::from))
    }

    /// Takes note of damage.
    fn noted<T>(&mut self, result: Result<T, NodeError>) -> Result<T, NodeError> {
        self.damaged |= result.as_ref().is_err_and(NodeError::is_damage);
        result
    }

    /// Whether pages of the file proved damaged, so that it must be rescued.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Somebody else met damage.
    pub(super) fn note_damage(&mut self) {
        self.damaged = true;
    }

    /// Opens a broken store again. If its file is damaged, a new one with everything that can still be read is put in its place;
    /// what is lost comes back from other nodes. Gives about how many records that are.
    pub(super) fn mend(&mut self, readers: &Readers) -> Result<u64, NodeError> {
        if !self.damaged {
            let reopened = self.store.reopen().map_err(NodeError::from);
            return self.noted(reopened).map(|()| 0);
        }
        let rescued = self.store.rescue(readers)?;
        self.damaged = false;
        tracing::warn!(
            "The store is mended: {} records were saved, {} were damaged, and {} places could not be read. What is missing comes back \
             from other nodes. The damaged file is {}",
            rescued.records,
            rescued.damaged,
            rescued.gaps,
            rescued.aside.display()
        );
        Ok(rescued.damaged.saturating_add(rescued.gaps).max(1))
    }

    /// Merges received records and gives those that won. What meets a damaged row is left for the check that takes it out. In a
    /// transaction.
    pub(super) fn merge(&mut self, records: &[Record]) -> Result<Merged, NodeError> {
        let mut merged = Merged::default();
        if records.is_empty() {
            return Ok(merged);
        }
        let room = self.room.ask(&self.store, records, self.watch.uptime());
        for record in records {
            match self.receive(record, room) {
                Ok(None) => merged.refused.no_room += 1,
                Ok(Some(received)) => {
                    if let Some(lost) = received.lost.filter(|_| room == Room::Enough) {
                        self.store.keep_conflict(&lost, system::now())?;
                        merged.lost += 1;
                    }
                    if received.merge.stores_incoming() {
                        merged.stored.push(record.clone());
                    }
                }
                Err(NodeError::Store(error)) if error.is_one_record() => {
                    merged.refused.damaged += 1;
                    self.store.note_damaged_record();
                    tracing::debug!("a change was not stored: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(merged)
    }

    /// Merges one record. None when it wins, and there is no room for it. It takes the place of a damaged one.
    fn receive(&mut self, record: &Record, room: Room) -> Result<Option<Received>, NodeError> {
        match self.receive_once(record, room) {
            Err(error) if error.damaged_row().is_some() => {
                self.set_aside(error.damaged_row())?;
                Ok(self.receive_once(record, room)?)
            }
            other => Ok(other?),
        }
    }

    fn receive_once(&mut self, record: &Record, room: Room) -> Result<Option<Received>, StoreError> {
        if room != Room::Enough {
            let held = self.store.get(&record.key)?;
            let takes_no_more = |held: &Record| cost(record) <= cost(held);
            let fits = held.as_ref().is_some_and(takes_no_more);
            if !fits && merge(held.as_ref(), record).stores_incoming() {
                return Ok(None);
            }
        }
        self.replica.receive(&mut self.store, record).map(Some)
    }

    /// Notes where peers were reached. In a transaction.
    pub(super) fn remember(&mut self, peers: &[RememberedPeer]) -> Result<(), NodeError> {
        if !peers.is_empty() {
            self.store.remember_peers(peers)?;
        }
        Ok(())
    }

    /// Writes beside the store which peers were reached, once that is committed.
    pub(super) fn write_known_peers(&mut self) {
        self.store.allow_replacing();
        if let Err(error) = self.store.write_known_peers() {
            tracing::debug!("the known peers were not written beside the store: {error}");
        }
    }

    /// When [`find_room`](Self::find_room) is to be called at the latest.
    pub(super) fn next_look_for_room(&self) -> Option<Instant> {
        self.room.next_look(&self.store).map(|due| self.watch.instant_at(due))
    }

    /// Looks for room, if there was none and it is time for that. Tells whether there is some again: what was refused may
    /// come then.
    pub(super) fn find_room(&mut self) -> bool {
        self.room.look(&mut self.store, self.watch.uptime());
        self.room.take_returned()
    }

    /// Whether there is no room now for all that others may send.
    pub(super) fn is_full(&mut self) -> bool {
        !self.store.is_broken() && self.room.ask(&self.store, &[], self.watch.uptime()) != Room::Enough
    }

    /// Takes note, once it is committed, of what came from others: counts it, and tells the log.
    pub(super) fn note(&mut self, merged: &Merged) {
        let uptime = self.watch.uptime();
        merged
            .stored
            .iter()
            .for_each(|record| self.log.received(record, uptime));
        self.log.lost(merged.lost, uptime);
        self.refused.damaged += merged.refused.damaged;
        self.refused.no_room += merged.refused.no_room;
    }

    /// Takes note of received records that could not be stored.
    pub(super) fn note_failure(&mut self, records: &[Record], error: &NodeError) {
        self.refused.no_room += no_room(records, error);
        let at = self.watch.uptime();
        if self
            .complained
            .is_none_or(|last| at.saturating_since(last) >= COMPLAINT_INTERVAL)
        {
            self.complained = Some(at);
            tracing::error!("Changes of other nodes were not stored, and come again by sync: {error}");
        }
    }

    /// How many received records were not taken since the start: cause and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Refused { damaged, no_room } = self.refused;
        let causes = [("damaged here", damaged), ("no room", no_room)];
        causes.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Whether there is somebody who may receive what is written here from now on. What is written while there is nobody
    /// cannot have been seen by whoever overwrites it elsewhere.
    pub(super) fn set_shared(&mut self, shared: bool) -> Result<(), NodeError> {
        if self.shared == shared {
            return Ok(());
        }
        let unshared_after = if shared { None } else { Some(self.last_timestamp()?) };
        self.transact(|holdings| Ok(holdings.store.keep_unshared_after(unshared_after)?))?;
        self.replica.set_unshared_after(unshared_after);
        self.shared = shared;
        Ok(())
    }

    /// The latest of all timestamps that own writes were given so far. What a wrong clock once dated far ahead does not count: the
    /// next write will be earlier.
    fn last_timestamp(&mut self) -> Result<Timestamp, NodeError> {
        let last = self.store.last_timestamp().map_err(NodeError::from);
        let last = self.noted(last)?.unwrap_or(Timestamp::MIN);
        Ok(last.min(system::now().saturating_add(CLOCK_LEAD_MAX)))
    }

    /// Closes the store in good order.
    pub(super) fn close(mut self) {
        self.log.summarise();
        if let Err(error) = self.store.close() {
            tracing::warn!("The store was not closed cleanly, which the next start puts right: {error}");
        }
    }
}

/// How many of these records found no room, if that is why they could not be stored.
fn no_room(records: &[Record], error: &NodeError) -> u64 {
    if error.is_full() { records.len() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use p2p_sync_core::sync::{Applied, Position, StoreId, SyncStore};
    use p2p_sync_core::{Base, Clock, Content, Key, NetworkName, NodeId, Value};
    use tempfile::TempDir;

    use super::*;

    fn open(directory: &TempDir) -> Holdings {
        let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
        let me = NodeId::from_bytes(&[9]).unwrap();
        Holdings::new(Replica::new(me, Clock::new(None)), store).unwrap()
    }

    fn key() -> Key {
        Key::new("key").unwrap()
    }

    fn value(text: &str) -> Content {
        Content::Put(Value::new(text.as_bytes()).unwrap())
    }

    fn theirs(text: &str, base: Base) -> Record {
        Record {
            key: key(),
            content: value(text),
            timestamp: system::now(),
            author: NodeId::from_bytes(&[7]).unwrap(),
            base,
        }
    }

    fn write(holdings: &mut Holdings, text: &str) -> Record {
        let written = holdings.transact(|holdings| holdings.write(key(), value(text)));
        written.unwrap().unwrap()
    }

    #[test]
    fn it_keeps_what_a_sync_store_promises() {
        let mut directories = Vec::new();
        p2p_sync_core::sync::conformance(|| {
            directories.push(TempDir::new().unwrap());
            open(directories.last().unwrap())
        });
    }

    #[test]
    fn a_lost_write_can_be_brought_back_and_a_seen_one_is_not_lost() {
        let directory = TempDir::new().unwrap();
        let mut holdings = open(&directory);
        holdings.set_shared(true).unwrap();
        let mine = write(&mut holdings, "mine");
        let winner = theirs("theirs", Base::Nothing);
        assert_eq!(
            holdings.apply(&[winner.clone(), winner.clone()], None).unwrap().changed,
            1
        );
        let seen = theirs("seen", Base::Version(winner.timestamp));
        holdings.apply(std::slice::from_ref(&seen), None).unwrap();
        let conflict = holdings.store.conflict(&key(), None).unwrap().unwrap();
        assert_eq!((conflict.loser, conflict.winner), (mine, winner));

        let restored = holdings
            .transact(|holdings| holdings.restore(&key(), None))
            .unwrap()
            .unwrap();
        assert_eq!(
            (&restored.record.content, restored.replaced),
            (&value("mine"), Some(seen))
        );
        assert_eq!(
            holdings.transact(|holdings| holdings.restore(&key(), None)).unwrap(),
            None
        );
    }

    #[test]
    fn what_was_written_alone_counts_as_lost_even_behind_what_came_between() {
        let directory = TempDir::new().unwrap();
        let mut holdings = open(&directory);
        let mine = write(&mut holdings, "mine");
        // Its base is later than our write, which nobody has received.
        let winner = theirs("theirs", Base::Version(mine.timestamp.next().unwrap()));
        holdings.apply(&[winner], None).unwrap();
        assert_eq!(holdings.store.conflict(&key(), None).unwrap().unwrap().loser, mine);
    }

    fn named(key: &str, content: Content, author: u8) -> Record {
        Record {
            key: Key::new(key).unwrap(),
            content,
            timestamp: system::now(),
            author: NodeId::from_bytes(&[author]).unwrap(),
            base: Base::Nothing,
        }
    }

    fn place(record: &Record) -> Position {
        Position {
            timestamp: record.timestamp,
            key: record.key.clone(),
        }
    }

    const SOURCE: StoreId = StoreId(7);

    /// A page of a bulk.
    fn bulk(holdings: &mut Holdings, page: &[Record]) -> Result<Applied, NodeError> {
        holdings.apply(page, Some((SOURCE, &place(page.last().unwrap()))))
    }

    #[test]
    fn where_there_is_no_room_only_what_takes_no_more_is_stored() {
        let directory = TempDir::new().unwrap();
        let mut holdings = open(&directory);
        let held = ["a", "b", "c", "d"].map(|key| named(key, value("four"), 7));
        holdings.apply(&held, None).unwrap();
        let mine = write(&mut holdings, "mine");
        let mut holdings = holdings.with_capacity(Capacity::Bytes(0));
        let old = Record {
            timestamp: Timestamp::MIN,
            ..named("d", value("a longer one, which loses"), 7)
        };
        let page = [
            named("a", Content::Deleted, 7),
            named("b", value("five!"), 7),
            named("c", value("4444"), 7),
            named("new", value(""), 7),
            named("never was here", Content::Deleted, 7),
            old,
            theirs("not", Base::Nothing),
        ];
        let applied = holdings.apply(&page, None).unwrap();
        assert_eq!((applied.changed, applied.refused), (3, 3));
        let mut now = |record: &Record| holdings.store.get(&record.key).unwrap();
        for (record, taken) in page.iter().zip([true, false, true, false, false, false, true]) {
            assert_eq!(now(record).as_ref() == Some(record), taken, "{record:?}");
        }
        assert_eq!(now(&held[1]).as_ref(), Some(&held[1]));
        let lost = holdings.store.conflict(&mine.key, None).unwrap();
        assert_eq!(lost, None, "there is no room to keep what lost");
        assert_eq!(holdings.refused().collect::<Vec<_>>(), [("no room", 3)]);
        write(&mut holdings, "local writes are stored all the same");
        let before = holdings.store.get(&key()).unwrap();

        let mut holdings = holdings.with_capacity(Capacity::Volume);
        let later = theirs("later", Base::Nothing);
        assert_eq!(holdings.apply(&[later], None).unwrap().changed, 1);
        let lost = holdings.store.conflict(&key(), None).unwrap().unwrap();
        assert_eq!(Some(lost.loser), before);
    }

    #[test]
    fn a_bulk_without_room_brings_what_can_be_taken_and_goes_on_where_it_was_ended() {
        let directory = TempDir::new().unwrap();
        let mut holdings = open(&directory);
        let held = named("held", value("old"), 7);
        bulk(&mut holdings, std::slice::from_ref(&held)).unwrap();
        let mut holdings = holdings.with_capacity(Capacity::Bytes(0));
        let pages: Vec<_> = (0..100)
            .map(|n| {
                [
                    named(&format!("{n}"), value("v"), 7),
                    named(&format!("{n} too"), value("v"), 7),
                ]
            })
            .collect();
        let last = [named("another", value("v"), 7), named("held", Content::Deleted, 7)];
        let mut ended = 0;
        let mut next = 0;
        while let Some(page) = pages.get(next) {
            match bulk(&mut holdings, page) {
                Ok(applied) => assert_eq!((applied.changed, applied.refused), (0, 2)),
                Err(error) => {
                    assert!(matches!(error, NodeError::NoRoom));
                    ended += 1;
                    let begins = holdings.position(SOURCE).unwrap();
                    assert_eq!(begins, Some(place(&page[1])), "behind what came in vain");
                }
            }
            next += 1;
        }
        assert!((2..10).contains(&ended), "{ended} times");
        let applied = bulk(&mut holdings, &last).unwrap();
        assert_eq!((applied.changed, applied.refused), (1, 1));
        assert_eq!(
            holdings.store.position(SOURCE).unwrap(),
            Some(place(&held)),
            "none of it is kept"
        );

        let mut holdings = holdings.with_capacity(Capacity::Volume);
        assert!(!holdings.find_room(), "nobody looked yet");
        holdings.apply(&pages[0], None).unwrap();
        assert!(holdings.find_room() && !holdings.find_room(), "it is told once");
        assert_eq!(
            holdings.position(SOURCE).unwrap(),
            Some(place(&held)),
            "and the bulk brings all"
        );
        bulk(&mut holdings, &pages[1]).unwrap();
        assert_eq!(holdings.position(SOURCE).unwrap(), Some(place(&pages[1][1])));
    }

    #[test]
    fn room_that_came_back_is_found_though_nothing_asks_for_it() {
        let directory = TempDir::new().unwrap();
        let mut holdings = open(&directory).with_capacity(Capacity::Bytes(0));
        assert_eq!(holdings.next_look_for_room(), None, "it has not run out");
        let refused = holdings.apply(&[theirs("theirs", Base::Nothing)], None).unwrap();
        assert_eq!(refused.refused, 1);
        let mut holdings = holdings.with_capacity(Capacity::Volume);
        let due = holdings.next_look_for_room().unwrap();
        while !holdings.find_room() {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(Instant::now() >= due);
        assert!(holdings.next_look_for_room().is_some(), "until the log has heard of it");
    }

    #[test]
    fn what_was_written_before_a_restart_may_be_known_to_others_if_some_were_there() {
        let directory = TempDir::new().unwrap();
        for (shared, lost) in [(true, false), (false, true)] {
            let mut holdings = open(&directory);
            holdings.set_shared(shared).unwrap();
            let mine = write(&mut holdings, &format!("mine {shared}"));
            holdings.close();
            let mut holdings = open(&directory);
            let winner = theirs("theirs", Base::Version(mine.timestamp.next().unwrap()));
            holdings.apply(&[winner], None).unwrap();
            assert_eq!(
                holdings.store.conflict(&key(), Some(mine.timestamp)).unwrap().is_some(),
                lost
            );
        }
    }
}
