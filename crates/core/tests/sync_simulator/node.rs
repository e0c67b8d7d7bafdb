//! One node: a store that watches itself, a clock that may be wrong, and what it owes to whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::membership::Roster;
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::set_digest::SetDigestValue;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{Agenda, Applied, MemorySyncStore, Page, PageLimit, Rights, Slots, StoreId, SyncStore, cost};
use p2p_sync_core::versions::Merge;
use p2p_sync_core::{Clock, Key, Record, Timestamp, Versions};

use crate::connections::peer_id;
use crate::liar::Lie;
use crate::support::{Random, fallen};

/// A version's place in the order, spelt out apart from the code under test.
pub(crate) type Rank = (i64, Vec<u8>, [u8; 32]);

pub(crate) fn rank(record: &Record) -> Rank {
    (
        record.timestamp.as_nanos(),
        record.author.as_bytes().to_vec(),
        record.digest(),
    )
}

/// Pages of a bulk that bring nothing for want of room, one after the other, after which it is ended. Fewer than a node takes:
/// bulks are short here.
const PAGES_IN_VAIN_MAX: u32 = 0;

/// A bulk ends where the disk does.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A store that notices when a version goes down.
#[derive(Clone)]
pub(crate) struct Watched {
    pub(crate) store: MemorySyncStore,
    /// There is no room for what others send, but in place of what takes as much.
    pub(crate) full: bool,
    /// How far bulks came although there was no room, and how many pages in a row were in vain.
    passed: BTreeMap<StoreId, (Cursor, u32)>,
    /// Nothing later is to come in from anywhere else.
    pub(crate) horizon: Timestamp,
    highest: BTreeMap<Key, Rank>,
    /// What it counted: versions that fell to the bound of a key, or that a folded floor alone covers.
    pub(crate) counted: BTreeSet<Rank>,
    /// How many times it was the latter.
    pub(crate) folded: u64,
}

impl Watched {
    pub(crate) fn new(id: u64) -> Self {
        Self {
            store: MemorySyncStore::new(StoreId(id)),
            full: false,
            passed: BTreeMap::new(),
            horizon: Timestamp::MAX,
            highest: BTreeMap::new(),
            counted: BTreeSet::new(),
            folded: 0,
        }
    }

    /// Holds a write of this node in place of the versions that it has seen.
    pub(crate) fn write(&mut self, record: &Record) {
        let before = self.store.versions().get(&record.key).cloned().unwrap_or_default();
        let after = Versions::from_stored(Vec::new(), record.clone());
        self.store.replace(&record.key, &before, after);
        self.watch(record);
    }

    /// Merges a record of another node, and takes note of what is counted.
    pub(crate) fn merge(&mut self, record: &Record) -> Merge {
        let before = self.store.versions().get(&record.key).cloned().unwrap_or_default();
        let merged = self.store.merge(record);
        self.watch(record);
        let fallen = fallen(&before, record, &self.store.versions()[&record.key]);
        let beyond_bound = merged.dropped + usize::from(merged.merge == Merge::BeyondBound);
        assert_eq!(fallen.len(), beyond_bound, "what falls to the bound is counted");
        self.folded += merged.folded.len() as u64;
        self.counted.extend(fallen.iter().chain(&merged.folded).map(rank));
        merged.merge
    }

    /// A key never goes back.
    fn watch(&mut self, record: &Record) {
        let held = rank(self.store.get(&record.key).expect("a merged key is there"));
        let highest = self.highest.entry(record.key.clone()).or_insert_with(|| held.clone());
        assert!(held >= *highest, "the version of {} went down", record.key);
        *highest = held;
    }

    /// Who may write has changed. This is the one reason for which a key goes back.
    pub(crate) fn recount(&mut self, roster: Arc<Roster>) {
        for key in self.store.recount(roster) {
            self.highest.remove(&key);
            if let Some(held) = self.store.get(&key) {
                self.highest.insert(key, rank(held));
            }
        }
    }

    /// Takes out what does not count, of what came by gossip or a feed. None: some of it was not signed by its author.
    pub(crate) fn admit(&self, mut records: Vec<Record>) -> Option<Vec<Record>> {
        if let Some(roster) = self.store.roster() {
            roster.admit(&mut records).ok()?;
        }
        Some(records)
    }

    /// Merges a record as a node does. None: it wins, and there is no room for it.
    pub(crate) fn take(&mut self, record: &Record) -> Option<Merge> {
        let fits = !self.full || self.leaves_room(record);
        fits.then(|| self.merge(record))
    }

    /// Whether the versions of a key take no more room than before when this one was merged.
    fn leaves_room(&self, record: &Record) -> bool {
        let before = self.store.versions().get(&record.key).cloned().unwrap_or_default();
        let mut after = before.clone();
        after.merge(record);
        let takes = |versions: &Versions| versions.all().iter().map(cost).sum::<usize>();
        after == before || takes(&after) <= takes(&before)
    }

    /// A disk that tells something else than what it holds: the summary is that of other records.
    pub(crate) fn damage(&mut self, random: &mut Random) {
        let mut summary = self.store.summary().clone();
        match random.below(3) {
            // A record too many.
            0 => summary.inserted(&Item::from_bytes(random.bytes(32).as_slice().try_into().unwrap())),
            // One that is taken for another.
            1 => {
                if let Some(record) = self.store.all().next() {
                    let other = Item::from_bytes(random.bytes(32).as_slice().try_into().unwrap());
                    summary.replaced(&Item::of(record), &other);
                }
            }
            // Cells that make no sense.
            _ => {
                let mut bytes = summary.to_bytes();
                let content = bytes.len() - 32;
                for _ in 0..20 {
                    // Behind the version, anywhere.
                    let place = 1 + random.below(content - 1);
                    bytes[place] ^= 0xa5;
                }
                let checksum = blake3::hash(&bytes[..content]);
                bytes[content..].copy_from_slice(checksum.as_bytes());
                summary = Summary::from_bytes(&bytes).unwrap();
            }
        }
        self.store.set_summary(summary);
    }

    /// Makes the summary anew from the records; whether it was wrong.
    pub(crate) fn verify(&mut self) -> bool {
        let right = Summary::of(self.store.all().map(Item::of));
        let wrong = *self.store.summary() != right;
        self.store.set_summary(right);
        wrong
    }

    /// At the end: nothing fell behind the watcher's back.
    pub(crate) fn check(&self) {
        for (key, highest) in &self.highest {
            assert!(
                self.store.get(key).is_some_and(|record| rank(record) >= *highest),
                "{key} went down"
            );
        }
    }
}

impl SyncStore for Watched {
    type Error = NoRoom;
    fn id(&self) -> StoreId {
        self.store.id()
    }
    fn summary(&self) -> &Summary {
        self.store.summary()
    }
    fn roster(&self) -> Option<&Roster> {
        self.store.roster()
    }
    fn items(&mut self) -> Result<Vec<Item>, NoRoom> {
        Ok(self.store.items().unwrap())
    }
    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, NoRoom> {
        Ok(self.store.by_key_hash(key_hash, limit).unwrap())
    }
    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, NoRoom> {
        Ok(self.store.page(after, limit).unwrap())
    }
    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, NoRoom> {
        if !self.full {
            self.passed.remove(&source);
        }
        if let Some((reached, in_vain)) = self.passed.get_mut(&source) {
            *in_vain = 0;
            return Ok(Some(*reached));
        }
        Ok(self.store.position(source).unwrap())
    }
    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, NoRoom> {
        let ahead = records.iter().find(|record| record.timestamp > self.horizon);
        assert_eq!(ahead, None, "ahead of the clock");
        let mut applied = Applied::default();
        for record in records {
            match self.take(record) {
                Some(merge) => applied.changed += u64::from(merge.stores_incoming()),
                None => applied.refused += 1,
            }
        }
        let keys: BTreeSet<&Key> = records.iter().map(|record| &record.key).collect();
        let held = keys.into_iter().filter_map(|key| self.store.versions().get(key));
        applied.survived = held.flat_map(|held| held.survivors(records)).collect();
        let Some((source, position)) = progress else {
            return Ok(applied);
        };
        if applied.refused == 0 && !self.passed.contains_key(&source) {
            self.store.apply(&[], progress).unwrap();
            return Ok(applied);
        }
        let (reached, in_vain) = self.passed.entry(source).or_insert((position, 0));
        *reached = position;
        match &applied {
            Applied {
                changed: 0, refused: 0, ..
            } => {}
            Applied { changed: 0, .. } => *in_vain += 1,
            _ => *in_vain = 0,
        }
        if *in_vain > PAGES_IN_VAIN_MAX {
            return Err(NoRoom);
        }
        Ok(applied)
    }
}

pub(crate) struct Node {
    pub(crate) store: Watched,
    pub(crate) clock: Clock,
    /// How far the node's wall clock is ahead of the world's, in nanoseconds.
    pub(crate) skew: i64,
    pub(crate) alive: bool,
    pub(crate) slots: Slots,
    pub(crate) rights: Rights,
    /// When and with whom it holds sessions, and when it is to look next.
    pub(crate) agenda: Agenda,
    pub(crate) wake: Option<u64>,
    /// Came by gossip, and is not committed yet.
    pub(crate) arrived: Vec<Record>,
    pub(crate) lie: Option<Lie>,
    /// An old copy of the store, for a disk that is put back.
    pub(crate) backup: Option<Watched>,
    /// For each digest that the node ever had: until when; none while it has it.
    digests: HashMap<SetDigestValue, Option<u64>>,
    digest: SetDigestValue,
}

impl Node {
    pub(crate) fn new(number: usize, seed: u64) -> Self {
        let store = Watched::new(number as u64);
        let digest = store.summary().digest();
        Self {
            store,
            clock: Clock::new(None),
            skew: 0,
            alive: true,
            slots: Slots::default(),
            rights: Rights::default(),
            agenda: Agenda::new(peer_id(number), seed),
            wake: None,
            arrived: Vec::new(),
            lie: None,
            backup: None,
            digests: HashMap::from([(digest, None)]),
            digest,
        }
    }

    /// Takes note of the digest, after anything that may have changed it.
    pub(crate) fn note_digest(&mut self, time: u64) {
        let digest = self.store.summary().digest();
        if digest != self.digest {
            self.digests.insert(self.digest, Some(time));
            self.digests.insert(digest, None);
            self.digest = digest;
        }
    }

    /// Whether the node had this digest at some time since then.
    pub(crate) fn had_digest_since(&self, digest: &SetDigestValue, since: u64) -> bool {
        self.digests
            .get(digest)
            .is_some_and(|until| until.is_none_or(|until| until >= since))
    }
}
