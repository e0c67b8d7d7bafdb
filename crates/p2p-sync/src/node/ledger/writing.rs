//! Local writes, even over a damaged row and on a full disk. `merging` handles remote records.

use std::time::Instant;

use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::membership::Standing;
use p2p_sync_core::replica::{WriteError, Written};
use p2p_sync_core::store::Store;
use p2p_sync_core::{Content, Key, NodeId, Record, Timestamp, Value, Via};

use super::entry::{Change, Committed, Condition, Dating, Done, Settled, Terms, Write};
use super::{Ledger, NodeError, Open};
use crate::store::{RowId, SqliteStore, StoreError};
use crate::system::Now;

/// A guess at what is written beside a local write: pages of the table and the indexes that are changed with it, in bytes.
const PAGES_BYTES: u64 = 64 << 10;
/// Attempts to write what leaves no less room than before on a full disk: with the log emptied, and with the reserve given up.
const FULL_DISK_TRIES: usize = 2;

impl Open<'_> {
    /// Stores a local write. None when a key to delete was not there.
    pub(super) fn write(
        &mut self,
        key: &Key,
        content: &Content,
        (Terms { dating, condition }, now): (Terms, Now),
        committed: &mut Committed,
    ) -> Result<Option<Record>, NodeError> {
        self.check_permitted()?;
        self.check(key, condition)?;
        if self.store.lacks_reserve() {
            self.store.keep_reserve();
        }
        // What is left of the disk is for what makes room.
        if (self.store.lacks_reserve() || !self.has_local_room(content)) && !leaves_room(&mut self.store, key, content)?
        {
            return Err(self.store.full().into());
        }
        // What is dated ahead may be a deletion that nobody else has heard of.
        if *content == Content::Deleted && (dating == Dating::AfterHeld || !self.is_ahead(key, now)?) {
            match self.replica.delete(&mut self.store, key.clone(), now.time) {
                Err(WriteError::Store(error)) if error.damaged_row().is_some() => {}
                // What others have of it is to be deleted all the same.
                Ok(None) if self.store.is_set_aside(key)? => {}
                deleted => return Ok(deleted.map_err(failed)?.map(|written| settle(written, committed))),
            }
        }
        let written = self.write_over_damage(key, content, (dating, now))?;
        Ok(Some(settle(written, committed)))
    }

    /// Makes all of these writes. If one fails, so does the transaction: nothing is left of those before it.
    pub(super) fn write_all(
        &mut self,
        writes: &[Write],
        now: Now,
        committed: &mut Committed,
    ) -> Result<Result<Done, NodeError>, NodeError> {
        let mut written = Vec::with_capacity(writes.len());
        for (index, Write { key, content, terms }) in writes.iter().enumerate() {
            let record = self.write(key, content, (*terms, now), committed);
            let record = record.map_err(|error| NodeError::OfWrites {
                index,
                error: Box::new(error),
            })?;
            committed.changes.extend(record.iter().map(|record| Change {
                via: Via::Local,
                record: record.clone(),
            }));
            written.push(record);
        }
        Ok(Ok(Done::WrittenAll(written)))
    }

    /// Makes those of these writes whose condition holds. If one fails for another reason, so does the transaction.
    pub(super) fn write_due(
        &mut self,
        writes: &[Write],
        now: Now,
        committed: &mut Committed,
    ) -> Result<Result<Done, NodeError>, NodeError> {
        let mut written = 0;
        for (index, Write { key, content, terms }) in writes.iter().enumerate() {
            match self.write(key, content, (*terms, now), committed) {
                Ok(None) | Err(NodeError::Changed { .. }) => {}
                Ok(Some(record)) => {
                    let via = Via::Local;
                    committed.changes.push(Change { via, record });
                    written += 1;
                }
                Err(error) => {
                    let error = Box::new(error);
                    return Err(NodeError::OfWrites { index, error });
                }
            }
        }
        Ok(Ok(Done::WrittenDue(written)))
    }

    /// Stores a content, a deletion included, whatever is held of the key.
    fn write_over_damage(
        &mut self,
        key: &Key,
        content: &Content,
        (dating, now): (Dating, Now),
    ) -> Result<Written, NodeError> {
        self.over_damage(|open| {
            let (store, key, content) = (&mut open.store, key.clone(), content.clone());
            let written = match dating {
                Dating::AfterHeld => open.replica.write(store, key, content, now.time),
                Dating::Now => open.replica.write_now(store, key, content, now.time),
            };
            written.map_err(failed)
        })
    }

    /// Whether this device may write in its private network; in an open one everybody may.
    fn check_permitted(&self) -> Result<(), NodeError> {
        match self.store.roster().map(|roster| roster.author(&self.replica.id())) {
            None | Some(Standing::Counts) => Ok(()),
            Some(Standing::MayNotWrite | Standing::Unknown) => Err(NodeError::NotPermitted),
        }
    }

    /// Whether what is held of a key is as a write has it for a condition.
    fn check(&mut self, key: &Key, condition: Condition) -> Result<(), NodeError> {
        if condition == Condition::None {
            return Ok(());
        }
        let held = self.over_damage(|open| Ok(open.store.versions(key)?))?;
        if condition.holds(&held) {
            return Ok(());
        }
        let live = held.winner().filter(|winner| winner.content.value().is_some());
        Err(NodeError::Changed {
            written_at: live.map(|live| live.timestamp),
        })
    }

    /// Whether what is held of a key is dated further ahead than other nodes accept.
    fn is_ahead(&mut self, key: &Key, now: Now) -> Result<bool, NodeError> {
        let held = self.over_damage(|open| Ok(open.store.versions(key)?))?;
        Ok(held.latest() > Some(now.time.saturating_add(FUTURE_MAX)))
    }

    /// Dates the value of a key now. None when it is not dated ahead.
    pub(super) fn redate(
        &mut self,
        key: &Key,
        now: Now,
        committed: &mut Committed,
    ) -> Result<Option<Record>, NodeError> {
        self.check_permitted()?;
        let redated = self.over_damage(|open| {
            let redated = open.replica.redate(&mut open.store, key.clone(), now.time);
            redated.map_err(failed)
        })?;
        Ok(redated.map(|written| settle(written, committed)))
    }

    /// Does some work, and does it again in place of the damaged row that it met.
    pub(super) fn over_damage<T>(
        &mut self,
        mut work: impl FnMut(&mut Self) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        match work(self) {
            Err(error) => match error.damaged_row() {
                Some(row) => {
                    self.set_aside(row)?;
                    work(self)
                }
                None => Err(error),
            },
            done => done,
        }
    }

    /// Takes a damaged row out, to come back from another node. False when it is not damaged, or no longer.
    pub(super) fn set_aside(&mut self, row: RowId) -> Result<bool, NodeError> {
        let aside = self.store.set_aside(row)?;
        if aside {
            self.store.note_damaged_record();
            self.aside.pending += 1;
        }
        Ok(aside)
    }

    /// Writes the content of one of the versions of a key anew, in place of all of them. None when the key is not in conflict, or
    /// has no such version.
    pub(super) fn resolve(
        &mut self,
        key: &Key,
        timestamp: Option<Timestamp>,
        when: (Dating, Now),
        committed: &mut Committed,
    ) -> Result<Option<Record>, NodeError> {
        self.check_permitted()?;
        let held = self.over_damage(|open| Ok(open.store.versions(key)?))?;
        if held.shown().next().is_none() {
            return Ok(None);
        }
        let mut from_the_newest = held.all().iter().rev();
        let chosen = from_the_newest.find(|version| timestamp.is_none_or(|at| version.timestamp == at));
        let Some(chosen) = chosen else { return Ok(None) };
        let written = self.write_over_damage(key, &chosen.content, when)?;
        Ok(Some(settle(written, committed)))
    }

    /// Whether there is room for a local write beside the others of the transaction. The system is asked once for all of them.
    fn has_local_room(&mut self, content: &Content) -> bool {
        let Some(value) = content.value() else { return true };
        let bytes = value.as_bytes().len() as u64;
        let left = *self.local_bytes.get_or_insert_with(|| self.store.local_bytes());
        self.local_bytes = Some(left.saturating_sub(bytes));
        left > bytes
    }
}

impl Ledger {
    /// The author of local writes: this node.
    pub(in crate::node) fn id(&self) -> NodeId {
        self.replica.id()
    }

    /// How many damaged records were set aside since this was last asked.
    pub(in crate::node) fn take_set_aside(&mut self) -> u64 {
        std::mem::take(&mut self.aside.done)
    }

    /// Does some work in one transaction that, on a full disk, does no more than what leaves no less room than before: then room is made for it.
    pub(super) fn transact_in_room<T>(
        &mut self,
        work: &mut dyn FnMut(&mut Open<'_>) -> Result<T, NodeError>,
        now: Now,
    ) -> Result<T, NodeError> {
        let mut done = self.transact(&mut *work);
        for _ in 0..FULL_DISK_TRIES {
            if !done.as_ref().is_err_and(NodeError::is_full) {
                break;
            }
            self.room.prove_full(now.uptime);
            if !self.make_room() {
                break;
            }
            done = self.transact(&mut *work);
        }
        done
    }

    /// Makes room on a full disk for what leaves no less than before. False when there is none to be made.
    fn make_room(&mut self) -> bool {
        if self.store.is_broken() {
            return false;
        }
        let emptied = self.store.empty_wal();
        if let Err(error) = &emptied {
            tracing::debug!("cannot empty the write-ahead log: {error}");
        }
        let given_up = self.store.give_reserve_up();
        if given_up {
            // Each of them may need the reserve once more.
            if self.full_log.allows(Instant::now()) {
                tracing::warn!(
                    "The disk is full: only writes that need no extra space, such as deletions, are still stored"
                );
            }
            // What the log holds may have needed that to be moved.
            let _ = self.store.empty_wal();
        }
        given_up || emptied.is_ok()
    }

    /// Keeps a little room for deletions on a disk that fills up.
    pub(in crate::node) fn keep_reserve(&mut self) {
        self.store.keep_reserve();
    }
}

/// Whether a local write leaves about as much room as before.
pub(super) fn leaves_room(store: &mut SqliteStore, key: &Key, content: &Content) -> Result<bool, NodeError> {
    let Some(value) = content.value() else { return Ok(true) };
    let bytes = |value: &Value| value.as_bytes().len();
    let held = match store.get(key) {
        // What is left of it is kept aside.
        Err(error) if error.is_one_record() => None,
        held => held?,
    };
    let held = held.as_ref().and_then(|held| held.content.value());
    if held.is_some_and(|held| bytes(value) <= bytes(held)) {
        return Ok(true);
    }
    Ok(store.freed_bytes()? > bytes(value) as u64 + PAGES_BYTES)
}

/// Takes note of the conflicts that a local write has ended.
fn settle(written: Written, committed: &mut Committed) -> Record {
    let Written { record, replaced } = written;
    if replaced.shown().next().is_some() {
        let is_dropped = |old: &&Record| old.content != record.content;
        committed.settled.push(Settled {
            key: record.key.clone(),
            dropped: replaced.all().iter().rev().filter(is_dropped).cloned().collect(),
        });
    }
    record
}

fn failed(error: WriteError<StoreError>) -> NodeError {
    match error {
        WriteError::Clock(error) => error.into(),
        WriteError::Store(error) => error.into(),
    }
}
