//! The store of a private network beside one in memory, whatever becomes of the members and of the process.

use p2p_sync_core::sync::{MemorySyncStore, StoreId};
use p2p_sync_core::{Seen, Value};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone, Copy)]
enum Change {
    /// An admin lowers a writer.
    AdminLowers,
    /// The founder does.
    FounderLowers,
    /// A list is made of what is held of the writer, or of each second record.
    AdminCloses {
        half: bool,
    },
    FounderCloses {
        half: bool,
    },
    /// The admin is lowered, so that nothing it said counts: what it had closed returns.
    AdminIsLowered,
    /// The founder is, and with it everybody.
    FounderIsLowered,
    /// The recovery key makes the others writers.
    Recovers,
}

#[derive(Debug, Clone)]
enum Deed {
    /// By an author, of a key, a value or none, so late, having seen what is held or not.
    Merge(Vec<(u8, usize, Option<u8>, i64, bool)>),
    Change(Change),
    /// The change is begun, and the process killed or the transaction rolled back.
    Broken {
        change: Change,
        crash: bool,
    },
    Restart,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::AdminLowers),
        2 => Just(Change::FounderLowers),
        3 => any::<bool>().prop_map(|half| Change::AdminCloses { half }),
        2 => any::<bool>().prop_map(|half| Change::FounderCloses { half }),
        2 => Just(Change::AdminIsLowered),
        1 => Just(Change::FounderIsLowered),
        1 => Just(Change::Recovers),
    ]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let one = (
        FOUNDER..=READER + 1,
        0..NAMES.len(),
        prop::option::weighted(0.8, 0..3_u8),
        1..400_i64,
        any::<bool>(),
    );
    let deed = prop_oneof![
        6 => prop::collection::vec(one, 1..10).prop_map(Deed::Merge),
        4 => change().prop_map(Deed::Change),
        1 => (change(), any::<bool>()).prop_map(|(change, crash)| Deed::Broken { change, crash }),
        1 => Just(Deed::Restart),
    ];
    prop::collection::vec(deed, 1..24)
}

struct World {
    place: Place,
    sqlite: Option<SqliteStore>,
    memory: MemorySyncStore,
    roster: Roster,
}

impl World {
    fn new() -> Self {
        let (place, roster) = (Place::new(), members());
        let sqlite = private(&place, &roster);
        let mut memory = MemorySyncStore::new(StoreId(1));
        memory.recount(Arc::new(roster.clone()));
        Self {
            place,
            sqlite: Some(sqlite),
            memory,
            roster,
        }
    }

    fn sqlite(&mut self) -> &mut SqliteStore {
        self.sqlite.as_mut().unwrap()
    }

    fn merge(&mut self, incoming: &[(u8, usize, Option<u8>, i64, bool)]) {
        let mut records: Vec<Record> = incoming
            .iter()
            .map(|(seed, name, value, nanos, saw)| {
                let key = key(NAMES[*name]);
                let held = self.memory.versions().get(&key).cloned().unwrap_or_default();
                let content = value.map_or(Content::Deleted, |value| Content::Put(Value::new([value]).unwrap()));
                let author = author(*seed);
                let seen = if *saw {
                    Seen::by(&author, held.all()).before(at(*nanos))
                } else {
                    Seen::NOTHING
                };
                signed(
                    *seed,
                    Record {
                        key,
                        content,
                        timestamp: at(*nanos),
                        author,
                        seen,
                        signature: None,
                    },
                )
            })
            .collect();
        self.roster.admit(&mut records).unwrap();
        let mut transaction = self.sqlite.as_mut().unwrap().begin().unwrap();
        for record in &records {
            let before = transaction.versions(&record.key).unwrap();
            let mut after = before.clone();
            if after.merge(record).merge.stores_incoming() {
                transaction.replace(&before, &after).unwrap();
            }
            self.memory.merge(record);
        }
        transaction.commit().unwrap();
    }

    fn changed(&self, change: Change) -> Roster {
        let mut roster = self.roster.clone();
        let of_writer = |half: bool| -> Vec<Record> {
            let records = self.memory.all().chain(self.memory.aside());
            let records = records.filter(|record| record.author == author(WRITER)).cloned();
            records
                .enumerate()
                .filter(|(at, _)| !half || at % 2 == 0)
                .map(|(_, record)| record)
                .collect()
        };
        match change {
            Change::AdminLowers => drop(roster.add(vec![lower(ADMIN, WRITER)])),
            Change::FounderLowers => drop(roster.add(vec![lower(FOUNDER, WRITER)])),
            Change::AdminCloses { half } => close(&mut roster, ADMIN, WRITER, &of_writer(half)),
            Change::FounderCloses { half } => close(&mut roster, FOUNDER, WRITER, &of_writer(half)),
            Change::AdminIsLowered => drop(roster.add(vec![lower(FOUNDER, ADMIN)])),
            Change::FounderIsLowered => drop(roster.add(vec![lower(RECOVERY, FOUNDER)])),
            Change::Recovers => {
                let grants = [WRITER, OTHER].map(|seed| grant(RECOVERY, seed, Role::Writer));
                roster.add(grants.into());
            }
        }
        roster
    }

    fn happen(&mut self, deed: &Deed) {
        match deed {
            Deed::Merge(incoming) => self.merge(incoming),
            Deed::Change(change) => {
                let roster = self.changed(*change);
                keep(self.sqlite(), &roster);
                self.memory.recount(Arc::new(roster.clone()));
                self.roster = roster;
            }
            Deed::Broken { change, crash } => {
                let roster = self.changed(*change);
                let mut transaction = self.sqlite.as_mut().unwrap().begin().unwrap();
                transaction.keep_members(Arc::new(roster)).unwrap();
                if *crash {
                    let crashed = self.place.crashed();
                    drop(transaction);
                    self.sqlite = Some(crashed.open());
                    self.place = crashed;
                }
            }
            Deed::Restart => {
                self.sqlite.take().unwrap().close().unwrap();
                self.sqlite = Some(self.place.open());
            }
        }
    }

    fn check(&mut self) {
        let roster = self.roster.clone();
        assert!(same(self.sqlite().roster().unwrap(), &roster));
        for name in NAMES {
            let expected = self.memory.versions().get(&key(name)).cloned().unwrap_or_default();
            let found = self.sqlite().versions(&key(name)).unwrap();
            assert_eq!(found, expected, "{name}");
            for record in found.all() {
                let message = [&b"p2p-sync record 1\0"[..], &genesis().id().0, &record.digest()].concat();
                let signature = record.signature.as_ref().unwrap();
                assert!(
                    PublicKey::of(&record.author)
                        .unwrap()
                        .verifies(&message, signature.as_bytes())
                );
            }
        }
        let hex = |record: &Record| data_encoding::HEXLOWER.encode(&record.digest()[..16]);
        let expected: BTreeSet<String> = self.memory.aside().iter().map(hex).collect();
        assert_eq!(aside(&self.place), expected);
        let items: BTreeSet<Item> = self.sqlite().items().unwrap().into_iter().collect();
        assert_eq!(items, self.memory.all().map(Item::of).collect());
        if let Some(summary) = self.sqlite().summary() {
            assert!(*summary == Summary::of(items), "the summary is that of other records");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_counts_is_held_and_the_rest_is_aside_as_in_memory(deeds in deeds()) {
        let mut world = World::new();
        for deed in &deeds {
            world.happen(deed);
            world.check();
        }
    }
}
