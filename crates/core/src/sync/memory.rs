//! Records in memory as sync sees them: the reference implementation of a [`SyncStore`], used by simulators.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use super::page::cost;
use super::store::{Applied, Page, PageLimit, SyncStore};
use super::wire::StoreId;
use crate::item::{Item, KeyHash};
use crate::membership::{Roster, Standing};
use crate::record::{Key, Record};
use crate::sequence::{Cursor, Epoch, Epochs, Sequence};
use crate::summary::Summary;
use crate::versions::{Merged, Versions};

/// Records with the indexes that sync needs. Nothing survives the process.
#[derive(Debug, Clone)]
pub struct MemorySyncStore {
    id: StoreId,
    versions: BTreeMap<Key, Versions>,
    by_hash: BTreeMap<KeyHash, BTreeSet<Key>>,
    /// The number of each version, and the versions by their numbers.
    numbers: BTreeMap<Item, u64>,
    by_number: BTreeMap<u64, Record>,
    sequence: Sequence,
    positions: BTreeMap<StoreId, Cursor>,
    summary: Summary,
    roster: Option<Arc<Roster>>,
    /// What does not count, as long as it does not.
    aside: Vec<Record>,
}

impl MemorySyncStore {
    /// An empty store of this name, in its first run. The epoch of that is the same for all stores of the name.
    pub fn new(id: StoreId) -> Self {
        Self {
            id,
            versions: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            numbers: BTreeMap::new(),
            by_number: BTreeMap::new(),
            sequence: Sequence::resume(Epochs::default(), 0, Epoch(id.0)),
            positions: BTreeMap::new(),
            summary: Summary::new(),
            roster: None,
            aside: Vec::new(),
        }
    }

    /// Begins another run with its own epoch, like a process that opens the store again.
    pub fn restart(&mut self, drawn: Epoch) {
        self.sequence.restart(drawn);
    }

    /// The value of a key, or its deletion.
    pub fn get(&self, key: &Key) -> Option<&Record> {
        self.versions.get(key).and_then(Versions::winner)
    }

    /// All versions of every key, in key order.
    pub fn versions(&self) -> &BTreeMap<Key, Versions> {
        &self.versions
    }

    /// Every version held, in the order of keys and versions.
    pub fn all(&self) -> impl Iterator<Item = &Record> {
        self.versions.values().flat_map(Versions::all)
    }

    /// Replaces the summary: to install a damaged one, or to correct it.
    pub fn set_summary(&mut self, summary: Summary) {
        self.summary = summary;
    }

    /// The records that do not count by the roster, though they did when they came, in no order.
    pub fn aside(&self) -> &[Record] {
        &self.aside
    }

    /// Who may write has changed: records that do not count any longer are set aside, and those that count again return, as far as
    /// nothing covers them. Gives the keys of which another version is held now than before, or none.
    pub fn recount(&mut self, roster: Arc<Roster>) -> BTreeSet<Key> {
        let counts = |record: &Record| roster.record(record) == Standing::Counts;
        let mut changed = BTreeSet::new();
        for (key, before) in self.versions.clone() {
            let (stay, go): (Vec<Record>, Vec<Record>) = before.all().iter().cloned().partition(counts);
            if !go.is_empty() {
                self.replace(&key, &before, Versions::of(stay));
                self.aside.extend(go);
                changed.insert(key);
            }
        }
        let (back, aside): (Vec<Record>, Vec<Record>) = self.aside.drain(..).partition(counts);
        self.aside = aside;
        for record in back {
            self.merge(&record);
            changed.insert(record.key);
        }
        self.roster = Some(roster);
        changed
    }

    /// Merges one record.
    pub fn merge(&mut self, record: &Record) -> Merged {
        let before = self.versions.get(&record.key).cloned().unwrap_or_default();
        let mut after = before.clone();
        let merged = after.merge(record);
        if merged.merge.stores_incoming() {
            self.replace(&record.key, &before, after);
        }
        merged
    }

    /// Holds the versions `after` of a key in place of `before`; none, if there are none.
    pub fn replace(&mut self, key: &Key, before: &Versions, after: Versions) {
        for gone in before.all().iter().filter(|version| !after.all().contains(version)) {
            let item = Item::of(gone);
            self.summary.removed(&item);
            if let Some(number) = self.numbers.remove(&item) {
                self.by_number.remove(&number);
            }
        }
        for new in after.all().iter().filter(|version| !before.all().contains(version)) {
            let item = Item::of(new);
            self.summary.inserted(&item);
            // There are more numbers than a process can take.
            let number = self.sequence.take().unwrap_or(u64::MAX);
            self.sequence.committed();
            self.numbers.insert(item, number);
            self.by_number.insert(number, new.clone());
        }
        if after == Versions::NONE {
            self.versions.remove(key);
            return;
        }
        self.by_hash.entry(KeyHash::of(key)).or_default().insert(key.clone());
        self.versions.insert(key.clone(), after);
    }
}

impl SyncStore for MemorySyncStore {
    type Error = Infallible;

    fn id(&self) -> StoreId {
        self.id
    }

    fn summary(&self) -> &Summary {
        &self.summary
    }

    fn roster(&self) -> Option<&Roster> {
        self.roster.as_deref()
    }

    fn items(&mut self) -> Result<Vec<Item>, Infallible> {
        Ok(self.by_number.values().map(Item::of).collect())
    }

    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, Infallible> {
        let keys = self.by_hash.get(&key_hash).into_iter().flatten();
        let versions = keys.filter_map(|key| self.versions.get(key)).flat_map(Versions::all);
        Ok(versions.take(limit).cloned().collect())
    }

    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, Infallible> {
        let after = after.filter(|after| self.sequence.knows(*after));
        let start = Bound::Excluded(after.map_or(0, |after| after.number));
        let (mut records, mut reached) = (Vec::new(), None);
        let mut bytes = 0;
        for (number, record) in self.by_number.range((start, Bound::Unbounded)) {
            bytes += cost(record);
            if records.len() >= limit.records.max(1) || (bytes > limit.bytes && !records.is_empty()) {
                break;
            }
            records.push(record.clone());
            reached = Some(self.sequence.cursor(*number));
        }
        Ok(Page { records, reached })
    }

    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, Infallible> {
        Ok(self.positions.get(&source).copied())
    }

    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, Infallible> {
        let changed = records
            .iter()
            .filter(|record| self.merge(record).merge.stores_incoming());
        let changed = changed.count() as u64;
        if let Some((source, position)) = progress {
            self.positions.insert(source, position);
        }
        let held = records.iter().map(|record| &record.key).collect::<BTreeSet<_>>();
        let held = held.into_iter().filter_map(|key| self.versions.get(key));
        Ok(Applied {
            changed,
            refused: 0,
            survived: held.flat_map(|held| held.survivors(records)).collect(),
        })
    }
}
