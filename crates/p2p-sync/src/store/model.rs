//! The store beside the one in memory: whatever is merged, written, rolled back, cut off by a crash or changed by another program,
//! both hold the same versions, and everything that is read from the tables agrees with them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::replica::Replica;
use p2p_sync_core::store::{MemoryStore, Store, Transaction as _};
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::PageLimit;
use p2p_sync_core::{Clock, Content, Key, Record, Seen, Value, Versions};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::testing::{Place, at, deleted, id, key, put};
use super::{Depth, Readers, SqliteStore, StoreError};

const NAMES: [&str; 4] = ["a", "a b", "b", "c"];
const ME: u16 = 1;

/// A version that comes from somewhere.
#[derive(Debug, Clone)]
struct Incoming {
    key: usize,
    author: u16,
    /// None: a deletion.
    value: Option<u8>,
    nanos: i64,
    saw: Saw,
}

#[derive(Debug, Clone, Copy)]
enum Saw {
    Nothing,
    AllOlder,
    /// What is held.
    Held,
}

#[derive(Debug, Clone)]
enum Deed {
    Merge { incoming: Vec<Incoming>, commits: bool },
    Write { key: usize, value: Option<u8>, nanos: i64 },
    Crash { incoming: Vec<Incoming> },
    Restart,
    Stop,
    Foreign(usize),
    Scan { thorough: bool },
}

/// What another program may do, with the order of the store restored by the next scan.
const FOREIGN: [&str; 12] = [
    "DELETE FROM kv_conflict",
    "DELETE FROM kv_store WHERE key = 'a'",
    "DELETE FROM kv_store",
    "UPDATE kv_store SET timestamp = 1, digest = NULL, key_hash = NULL, seen = NULL, deleted_at = NULL, value = 'foreign' WHERE key = 'b'",
    "INSERT OR REPLACE INTO kv_store (key, value, timestamp, author) SELECT 'a', 'foreign', MAX(timestamp) + 1, author FROM kv_store WHERE 1 GROUP BY author LIMIT 1",
    "INSERT INTO kv_conflict (key, value, timestamp, author) SELECT 'a', 'foreign', 4, author FROM kv_store LIMIT 1",
    "INSERT INTO kv_conflict (key, value, timestamp, author) SELECT 'new', 'foreign', 4, author FROM kv_store LIMIT 1",
    "INSERT INTO kv_conflict (key, value, timestamp, author) SELECT 'a b', 'foreign', 900, author FROM kv_store LIMIT 1",
    "INSERT INTO kv_conflict (key, value, timestamp, author, deleted_at, key_hash, digest, seen) \
        SELECT key, value, timestamp, author, deleted_at, key_hash, digest, seen FROM kv_conflict",
    "INSERT INTO kv_conflict (key, value, timestamp, author, deleted_at, key_hash, digest, seen) \
        SELECT key, value, timestamp, author, deleted_at, key_hash, digest, seen FROM kv_store",
    "INSERT INTO kv_conflict SELECT * FROM kv_store WHERE sequence NOT IN (SELECT sequence FROM kv_conflict)",
    "UPDATE kv_conflict SET value = 'rotten' WHERE deleted_at IS NULL",
];

fn incoming() -> impl Strategy<Value = Incoming> {
    let saw = prop_oneof![4 => Just(Saw::Nothing), 1 => Just(Saw::AllOlder), 1 => Just(Saw::Held)];
    let value = prop::option::weighted(0.8, 0..3_u8);
    (0..NAMES.len(), 2..14_u16, value, 1..400_i64, saw).prop_map(|(key, author, value, nanos, saw)| Incoming {
        key,
        author,
        value,
        nanos,
        saw,
    })
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let some = || prop::collection::vec(incoming(), 1..12);
    let deed = prop_oneof![
        8 => (some(), prop::bool::weighted(0.8)).prop_map(|(incoming, commits)| Deed::Merge { incoming, commits }),
        3 => (0..NAMES.len(), prop::option::weighted(0.8, 0..3_u8), 1..400_i64)
            .prop_map(|(key, value, nanos)| Deed::Write { key, value, nanos }),
        1 => some().prop_map(|incoming| Deed::Crash { incoming }),
        1 => Just(Deed::Restart),
        1 => Just(Deed::Stop),
        2 => (0..FOREIGN.len()).prop_map(Deed::Foreign),
        1 => any::<bool>().prop_map(|thorough| Deed::Scan { thorough }),
    ];
    prop::collection::vec(deed, 1..24)
}

fn content(value: Option<u8>) -> Content {
    value.map_or(Content::Deleted, |value| Content::Put(Value::new([value]).unwrap()))
}

impl Incoming {
    fn record(&self, held: &Versions) -> Record {
        let bare = match self.value {
            Some(value) => put(NAMES[self.key], &[value], self.nanos),
            None => deleted(NAMES[self.key], self.nanos),
        };
        let author = id(self.author);
        let seen = match self.saw {
            Saw::Nothing => Seen::NOTHING,
            Saw::AllOlder => Seen::everything_before(bare.timestamp),
            Saw::Held => Seen::by(&author, held.all()).before(bare.timestamp),
        };
        Record { author, seen, ..bare }
    }
}

/// Merges them one after the other.
fn merge<S: p2p_sync_core::store::Transaction>(transaction: &mut S, incoming: &[Incoming]) {
    for one in incoming {
        let before = transaction.versions(&key(NAMES[one.key])).ok().unwrap();
        let mut after = before.clone();
        if after.merge(&one.record(&before)).merge.stores_incoming() {
            transaction.replace(&before, &after).ok().unwrap();
        }
    }
}

struct World {
    place: Place,
    sqlite: SqliteStore,
    memory: MemoryStore,
    replicas: [Replica; 2],
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let replica = Replica::new(id(ME), Clock::new(None));
        Self {
            sqlite: place.open(),
            place,
            memory: MemoryStore::new(),
            replicas: [replica.clone(), replica],
        }
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Merge { incoming, commits } => {
                let mut transaction = self.sqlite.begin().unwrap();
                merge(&mut transaction, &incoming);
                if commits {
                    transaction.commit().unwrap();
                    let mut transaction = self.memory.begin().unwrap();
                    merge(&mut transaction, &incoming);
                    transaction.commit().unwrap();
                }
            }
            Deed::Write {
                key: name,
                value,
                nanos,
            } => {
                let (key, content, now) = (key(NAMES[name]), content(value), at(nanos));
                let [ours, model] = &mut self.replicas;
                let mut transaction = self.sqlite.begin().unwrap();
                let written = ours.write(&mut transaction, key.clone(), content.clone(), now).unwrap();
                transaction.commit().unwrap();
                let mut transaction = self.memory.begin().unwrap();
                let expected = model.write(&mut transaction, key, content, now).unwrap();
                transaction.commit().unwrap();
                assert_eq!(written, expected);
            }
            Deed::Crash { incoming } => {
                let mut transaction = self.sqlite.begin().unwrap();
                merge(&mut transaction, &incoming);
                let crashed = Place::crashed_in(self.place.dir.path());
                drop(transaction);
                self.open(crashed);
            }
            Deed::Restart => {
                let crashed = self.place.crashed();
                self.open(crashed);
            }
            Deed::Stop => {
                let place = Place::new();
                let old = std::mem::replace(&mut self.sqlite, place.open());
                old.close().unwrap();
                self.sqlite = self.place.open();
            }
            Deed::Foreign(number) => self.foreign(FOREIGN[number]),
            Deed::Scan { thorough: true } => self.scan(Depth::Records),
            Deed::Scan { thorough: false } => self.scan(Depth::Items),
        }
    }

    fn open(&mut self, place: Place) {
        self.sqlite = place.open();
        self.place = place;
    }

    fn scan(&mut self, depth: Depth) {
        let scanned = self.sqlite.start_scan(depth).unwrap().run().unwrap();
        self.sqlite.finish_scan(scanned).unwrap();
        while self.sqlite.completing().is_some() {
            self.sqlite.complete_some().unwrap();
        }
    }

    /// Another program changes something; then what is held is whatever is in good order.
    fn foreign(&mut self, sql: &str) {
        self.place.shell(sql);
        self.sqlite.look_for_others().unwrap();
        for _ in 0..2 {
            self.scan(Depth::Records);
        }
        self.memory = MemoryStore::new();
        let mut transaction = self.memory.begin().unwrap();
        for name in NAMES.into_iter().chain(["new"]) {
            let held = self.sqlite.versions(&key(name)).unwrap();
            assert_eq!(held, Versions::of(held.all().iter().cloned()), "in good order");
            if held != Versions::NONE {
                transaction.replace(&Versions::NONE, &held).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    /// Everything that is read agrees with the model.
    fn check(&mut self) {
        let all: Vec<Record> = self.memory.all().cloned().collect();
        let readers = Readers::open(&self.place.file, 1).unwrap();
        for name in NAMES.into_iter().chain(["new"]) {
            let key = key(name);
            let expected = self.memory.versions(&key).unwrap();
            assert_eq!(self.sqlite.versions(&key).unwrap(), expected, "{name}");
            match readers.versions(&key) {
                Err(StoreError::SetAside { .. }) => assert_eq!(expected, Versions::NONE),
                held => assert_eq!(held.unwrap(), expected, "{name}"),
            }
            assert_eq!(self.sqlite.get(&key).unwrap().as_ref(), expected.winner(), "{name}");
            let mut found = self.sqlite.by_key_hash(KeyHash::of(&key), 99).unwrap();
            found.sort_by(Record::precedence);
            assert_eq!(found, expected.all());
        }
        let winners: Vec<_> = self.memory.records().cloned().collect();
        assert_eq!(self.sqlite.scan("", None, 99).unwrap(), winners);
        let mut items = self.sqlite.items().unwrap();
        let mut expected: Vec<Item> = all.iter().map(Item::of).collect();
        items.sort_unstable();
        expected.sort_unstable();
        assert_eq!(items, expected);
        if let Some(summary) = self.sqlite.summary() {
            assert_eq!(summary, &Summary::of(expected.clone()));
        }
        self.check_conflicts(&readers);
        self.check_sequence(&readers, &expected);
    }

    fn check_conflicts(&mut self, readers: &Readers) {
        let mut shown = Vec::new();
        for name in NAMES.into_iter().chain(["new"]) {
            let held = self.memory.versions(&key(name)).unwrap();
            shown.extend(held.shown().next().map(|_| held.clone()));
        }
        assert_eq!(readers.conflict_count().unwrap(), shown.len() as u64);
        let (mut found, mut after): (Vec<Versions>, Option<Key>) = (Vec::new(), None);
        loop {
            let conflicts = readers.conflicts("", after.as_ref(), 1).unwrap();
            found.extend(conflicts.keys);
            match conflicts.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, shown);
    }

    /// Pages bring each version once.
    fn check_sequence(&mut self, readers: &Readers, expected: &[Item]) {
        let limit = PageLimit {
            records: 2,
            ..PageLimit::FULL
        };
        let (mut after, mut read) = (None, Vec::new());
        loop {
            let page = self.sqlite.page(after, limit).unwrap();
            read.extend(page.records.iter().map(Item::of));
            match page.reached {
                Some(reached) => after = Some(reached),
                None => break,
            }
        }
        let distinct: BTreeSet<Item> = read.iter().copied().collect();
        assert_eq!((distinct.len(), read.len()), (expected.len(), expected.len()));
        assert!(distinct.iter().eq(expected));
        let Some(end) = readers.cursor().unwrap() else { return };
        assert_eq!(
            readers.changes_since(end, limit).unwrap().map(|none| none.changes),
            Some(Vec::new())
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_holds_what_the_one_in_memory_holds_whatever_happens(deeds in deeds()) {
        let mut world = World::new();
        for deed in deeds {
            world.act(deed);
            world.check();
        }
    }
}
