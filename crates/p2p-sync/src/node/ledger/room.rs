//! Tracks the space for data from other nodes: what to log about it, when to check again, and how far bulks got without
//! space. The store decides how much to leave free.

use std::collections::BTreeMap;
use std::time::Duration;

use bytesize::ByteSize;
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::{StoreId, cost};
use p2p_sync_core::{Record, Uptime};

use super::NodeError;
use super::entry::Merged;
use crate::store::{Capacity, Load, POSITIONS_MAX, Room, SqliteStore};
use crate::throttle::Throttle;

/// While there is no room, it is made and looked for this often: nothing that arrives may ask for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// There is room again when there is some for a page of the largest records: with room for one of them and not for a page, every
/// session would bring what must be refused.
const LARGEST: Load = Load {
    records: 8,
    bytes: 324 << 10,
};
/// Records of a transaction where room is short: what is changed with them goes through the log, which takes room as well.
const PART_RECORDS: usize = 64;
/// A guess at what a record takes in the indexes, in bytes.
const ROW_BYTES: u64 = 256;
/// How often the log is told that there is no room, or some again. At the very edge it may come and go with each record.
const TELL_INTERVAL: Duration = Duration::from_secs(15);
/// Pages of a bulk that bring nothing for want of room, one after the other, after which it is ended: up to 8 MiB in vain.
/// What a full store can take, such as deletions, mostly stands behind what it cannot, because it is newer.
const PAGES_IN_VAIN_MAX: u32 = 32;

/// The room, as it was last seen.
#[derive(Debug)]
pub(super) struct RoomWatch {
    pub(super) capacity: Capacity,
    /// There was not enough.
    full: bool,
    /// The disk itself said so, and is believed until then.
    proved_full: Option<Uptime>,
    /// There is again, and nobody was told yet.
    returned: bool,
    /// When it is looked for next.
    look_at: Uptime,
    /// What the log was told last.
    told_full: bool,
    log: Throttle<Uptime>,
    /// How far bulks came, by the store that they came from, since there was no room for something in them.
    passed: BTreeMap<StoreId, Passed>,
}

impl Default for RoomWatch {
    fn default() -> Self {
        Self {
            capacity: Capacity::default(),
            full: false,
            proved_full: None,
            returned: false,
            look_at: Uptime::default(),
            told_full: false,
            log: Throttle::once(TELL_INTERVAL),
            passed: BTreeMap::new(),
        }
    }
}

pub(super) fn load(records: &[Record]) -> Load {
    Load {
        records: records.len() as u64,
        bytes: records.iter().map(|record| cost(record) as u64 + ROW_BYTES).sum(),
    }
}

#[derive(Debug)]
struct Passed {
    reached: Cursor,
    /// Pages that brought nothing, one after the other.
    in_vain: u32,
}

impl RoomWatch {
    /// How many of these records are to be stored in one transaction.
    pub(super) fn part(&self, store: &SqliteStore, records: &[Record]) -> usize {
        let all = store.room(self.capacity, load(records)).unwrap_or(Room::Enough);
        if all == Room::Enough {
            records.len().max(1)
        } else {
            PART_RECORDS
        }
    }

    /// What there is room for of these records.
    pub(super) fn ask(&mut self, store: &SqliteStore, records: &[Record], at: Uptime) -> Room {
        let mut load = load(records);
        // At the very edge it would come and go with each record.
        if self.full {
            load.bytes = load.bytes.max(LARGEST.bytes);
            load.records = load.records.max(LARGEST.records);
        }
        // Where it cannot be told, the disk itself will say so.
        let mut room = store.room(self.capacity, load).unwrap_or(Room::Enough);
        if self.proved_full.is_some_and(|until| at < until) {
            room = Room::ForReplacements;
        }
        let was_full = std::mem::replace(&mut self.full, room != Room::Enough);
        self.returned |= was_full && !self.full;
        if !was_full {
            self.look_at = at.after(LOOK_INTERVAL);
        }
        self.tell(at);
        room
    }

    /// Makes what room there is to be made, and looks for it, if there was none and it is time for that.
    pub(super) fn look(&mut self, store: &mut SqliteStore, at: Uptime) {
        if self.next_look(store).is_none_or(|due| due > at) || store.is_broken() {
            return;
        }
        if let Err(error) = store.empty_wal() {
            tracing::debug!("cannot empty the write-ahead log: {error}");
        }
        if store.lacks_reserve() {
            store.keep_reserve();
        }
        self.look_at = at.after(LOOK_INTERVAL);
        self.ask(store, &[], at);
    }

    /// The disk itself had no room.
    pub(super) fn prove_full(&mut self, at: Uptime) {
        self.proved_full = Some(at.after(LOOK_INTERVAL));
        if !std::mem::replace(&mut self.full, true) {
            self.look_at = at.after(LOOK_INTERVAL);
        }
        self.tell(at);
    }

    /// When it is to be looked for, if there was none, or the log is still to hear that there is some again.
    pub(super) fn next_look(&self, store: &SqliteStore) -> Option<Uptime> {
        (self.full || self.told_full || store.lacks_reserve()).then_some(self.look_at)
    }

    /// Whether room came back since this was last asked.
    pub(super) fn take_returned(&mut self) -> bool {
        std::mem::take(&mut self.returned)
    }

    fn tell(&mut self, at: Uptime) {
        if self.full == self.told_full || !self.log.allows(at) {
            return;
        }
        self.told_full = self.full;
        if !self.full {
            tracing::info!("There is space again for data from other nodes");
            return;
        }
        let why = match self.capacity {
            Capacity::Volume => "the store's volume is nearly full; free some space, or set --max-store".to_owned(),
            Capacity::Bytes(most) => format!(
                "the store has reached its --max-store of {}",
                ByteSize::b(most).display().si()
            ),
        };
        tracing::warn!(
            "No space for data from other nodes: {why}. Only records that need no extra space, such as deletions, are \
             still stored; refused records are fetched again once there is space. Local writes are still stored"
        );
    }

    /// Where a bulk from this store is to begin, if not where the last one that found room for everything came to.
    pub(super) fn bulk_begins(&mut self, source: StoreId) -> Option<Cursor> {
        if !self.full {
            self.passed.remove(&source);
        }
        let passed = self.passed.get_mut(&source)?;
        passed.in_vain = 0;
        Some(passed.reached)
    }

    /// Whether the position behind a page of a bulk may be kept: not if something before it is still missing.
    pub(super) fn keeps_position(&self, source: StoreId, merged: Merged) -> bool {
        merged.refused.no_room == 0 && !self.passed.contains_key(&source)
    }

    /// Takes note of a page of a bulk. The next bulk goes on behind it while there is no room, so that all of them together
    /// come to the end, and then begin anew.
    ///
    /// # Errors
    /// [`NodeError::NoRoom`] when too much of the bulk came in vain. Nothing of this page was stored then.
    pub(super) fn note_page(&mut self, source: StoreId, place: Cursor, merged: Merged) -> Result<(), NodeError> {
        if self.keeps_position(source, merged) {
            return Ok(());
        }
        if self.passed.len() >= POSITIONS_MAX && !self.passed.contains_key(&source) {
            self.passed.clear();
        }
        let passed = self.passed.entry(source).or_insert(Passed {
            reached: place,
            in_vain: 0,
        });
        passed.reached = place;
        if merged.changed > 0 {
            passed.in_vain = 0;
        } else if merged.refused.no_room > 0 {
            passed.in_vain += 1;
        }
        if passed.in_vain > PAGES_IN_VAIN_MAX {
            return Err(NodeError::NoRoom);
        }
        Ok(())
    }
}
