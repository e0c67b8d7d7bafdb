//! Nodes, keys, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use p2p_sync_core::Timestamp;
use p2p_sync_core::membership::{
    Entries, Entry, EntryId, Inserted, KeepList, Lists, MemberName, Members, NextSecret, PublicKey, Refused, Role,
    SIGNATURE_BYTES, SecretKey, ShortId, Statement,
};

use crate::model::{self, Model};
use crate::support::Random;

const KEYS: usize = 14;
const RECOVERY: usize = 0;
const FOUNDER: usize = 1;

/// Keys are slow to make, and whose they are does not matter.
fn keys() -> &'static [PublicKey] {
    static KEYS_ONCE: OnceLock<Vec<PublicKey>> = OnceLock::new();
    KEYS_ONCE.get_or_init(|| {
        let seeds = (1..=u8::try_from(KEYS).unwrap()).map(|seed| [seed; 32]);
        seeds.map(|seed| SecretKey::from_seed(seed).public()).collect()
    })
}

/// Stands for a signature: as good as one where nobody but the world signs, and a hundred times as fast.
fn sign(key: &PublicKey, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
    let mut signature = [0; SIGNATURE_BYTES];
    let mut hasher = blake3::Hasher::new();
    hasher
        .update(key.as_bytes())
        .update(message)
        .finalize_xof()
        .fill(&mut signature);
    signature
}

/// What happened, so that worlds in which nothing did are noticed.
#[derive(Debug, Default)]
pub(crate) struct Tally(pub(crate) BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, times: u64) {
        *self.0.entry(what).or_default() += times;
    }
}

pub(crate) struct World {
    random: Random,
    genesis: Entry,
    nodes: Vec<Entries>,
    members: Vec<Members>,
    /// On which side of a partition each node is.
    sides: Vec<usize>,
    /// Everything that was ever signed, also what nobody took.
    signed: Vec<Entry>,
    tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let genesis = Statement::Genesis {
            recovery: keys()[RECOVERY],
            secret: [1; 32],
            nonce: [2; 16],
            name: "home".parse().unwrap(),
        };
        let genesis = signed(&mut random, EntryId([0; 32]), FOUNDER, genesis);
        let entries = Entries::new(genesis.clone()).unwrap();
        let count = 2 + random.below(4);
        Self {
            members: vec![entries.members(); count],
            nodes: vec![entries; count],
            sides: vec![0; count],
            signed: Vec::new(),
            tally: Tally::default(),
            genesis,
            random,
        }
    }

    pub(crate) fn run(mut self) -> Tally {
        for _ in 0..10 + self.random.below(50) {
            let node = self.random.below(self.nodes.len());
            match self.random.below(10) {
                0..=5 => self.say(node),
                6..=8 => self.exchange(node),
                _ => {
                    let partitioned = self.random.percent(60);
                    for at in 0..self.sides.len() {
                        self.sides[at] = if partitioned { self.random.below(2) } else { 0 };
                    }
                }
            }
        }
        self.heal();
        self.tally
    }

    /// Somebody says something at a node: mostly an admin, by what this node knows.
    fn say(&mut self, node: usize) {
        let ranked: Vec<usize> = (0..KEYS)
            .filter(|key| self.members[node].rank(&keys()[*key]).is_some())
            .collect();
        let signer = match self.random.below(20) {
            0..=14 => *self.random.pick(&ranked),
            15..=17 => self.random.below(KEYS),
            18 => FOUNDER,
            _ => RECOVERY,
        };
        let statement = self.statement(node, signer);
        let entry = signed(&mut self.random, self.genesis.id(), signer, statement);
        self.signed.push(entry.clone());
        if self.random.percent(95) {
            self.offer(node, vec![entry]);
        }
    }

    fn statement(&mut self, node: usize, signer: usize) -> Statement {
        let device = if self.random.percent(8) {
            signer
        } else {
            self.random.below(KEYS)
        };
        let device_key = keys()[device];
        match self.random.below(20) {
            0..=9 => Statement::Grant {
                device: device_key,
                role: *self
                    .random
                    .pick(&[Role::Reader, Role::Writer, Role::Admin, Role::Admin]),
                name: MemberName::new(format!("device-{device}")).unwrap(),
            },
            10..=17 => {
                let to = *self.random.pick(&[Role::Out, Role::Out, Role::Reader, Role::Writer]);
                let secret = NextSecret {
                    epoch: self.members[node].secret().epoch + 1,
                    hash: [u8::try_from(self.random.below(256)).unwrap(); 32],
                };
                Statement::Lower {
                    device: device_key,
                    to,
                    secret: (to == Role::Out && device != signer).then_some(secret),
                    accepted: self.accepted(node, device_key),
                }
            }
            _ => Statement::Keep {
                device: device_key,
                salt: [u8::try_from(self.random.below(256)).unwrap(); 16],
                count: 1,
                list: [3; 32],
            },
        }
    }

    /// Some of what a node holds by a device.
    fn accepted(&mut self, node: usize, device: PublicKey) -> Vec<ShortId> {
        let share = *self.random.pick(&[0, 50, 100]);
        let by_device = self.nodes[node].iter().filter(|entry| entry.signer() == device);
        let mut accepted: Vec<_> = by_device.map(|entry| entry.id().short()).collect();
        accepted.retain(|_| self.random.percent(share));
        accepted.sort();
        accepted
    }

    /// A node sends some of what it holds to another that it reaches, in any order, and some of it twice.
    fn exchange(&mut self, from: usize) {
        let to = self.random.below(self.nodes.len());
        if self.sides[from] != self.sides[to] {
            return;
        }
        let mut entries: Vec<Entry> = self.nodes[from].iter().map(|entry| (**entry).clone()).collect();
        let lost = *self.random.pick(&[0, 0, 30]);
        entries.retain(|_| !self.random.percent(lost));
        let again: Vec<Entry> = entries.iter().filter(|_| self.random.percent(10)).cloned().collect();
        entries.extend(again);
        self.random.shuffle(&mut entries);
        self.offer(to, entries);
    }

    /// Offers entries to a node, and holds its new members to what may be.
    fn offer(&mut self, node: usize, entries: Vec<Entry>) {
        let before = self.nodes[node].root();
        for entry in entries {
            let entry = if self.random.percent(5) {
                over_the_wire(&entry)
            } else {
                entry
            };
            let about = match self.nodes[node].insert(entry) {
                Ok(Inserted::New) => "new",
                Ok(Inserted::Known) => "known",
                Ok(Inserted::Crowded) => "crowded",
                Err(Refused::NoChain) => "without a chain",
                Err(Refused::OtherNetwork) => panic!("there is one network"),
            };
            self.tally.add(about, 1);
        }
        if self.nodes[node].root() == before {
            return;
        }
        let members = self.nodes[node].members();
        self.check(node, &members);
        let old = std::mem::replace(&mut self.members[node], members);
        self.check_returns(node, &old);
    }

    fn check(&mut self, node: usize, members: &Members) {
        let held: Vec<Entry> = self.nodes[node].iter().map(|entry| (**entry).clone()).collect();
        let model = Model::of(&self.genesis, &held);
        for key in keys() {
            assert_eq!(members.rank(key), model.rank(key), "rank of {key:?}");
            assert_eq!(
                members.granted_role(key),
                model.granted(key),
                "what {key:?} was granted"
            );
            assert_eq!(members.role(key), model.role(key), "role of {key:?}");
            assert_eq!(
                members.keeps(key).collect::<Vec<_>>(),
                model.keeps(key),
                "Keeps for {key:?}"
            );
            self.check_records(members, &model, key);
        }
        for entry in &held {
            assert_eq!(
                members.counts(&entry.id()),
                model.counts(entry.id()),
                "whether it counts: {entry:?}"
            );
            if members.counts(&entry.id()) {
                check_counted(members, entry);
            }
        }
    }

    /// A record of a device, with some lists here and others not.
    fn check_records(&mut self, members: &Members, model: &Model, author: &PublicKey) {
        let (digest, other) = ([7; 32], [8; 32]);
        let (mut lists, mut names) = (Lists::new(), None);
        for id in model.keeps(author) {
            if self.random.percent(50) {
                let named = self.random.percent(50);
                names = names.or(Some(named));
                lists.insert(id, KeepList::of(&[1; 16], [if named { &digest } else { &other }]));
            }
        }
        let could = model.granted(author).is_some_and(|role| role >= Role::Writer);
        let may = model.role(author).is_some_and(|role| role >= Role::Writer);
        let expected = could && (may || names.unwrap_or(true));
        assert_eq!(members.record_counts(author, &digest, &lists), expected);
        if could && !may && names == Some(false) {
            self.tally.add("records closed", 1);
        }
    }

    /// Nothing that was taken from a key returns to it, unless whoever took it lost its say, or the key came to stand above it.
    fn check_returns(&mut self, node: usize, old: &Members) {
        let new = &self.members[node];
        for entry in self.nodes[node].iter() {
            let Statement::Lower { device, to, .. } = entry.statement() else {
                continue;
            };
            if !old.counts(&entry.id()) || new.role(device).is_none_or(|role| role <= *to) {
                continue;
            }
            assert!(!new.counts(&entry.id()), "returned in spite of {entry:?}");
            let signer = entry.signer();
            let lost_say = self.nodes[node].iter().any(|other| {
                matches!(other.statement(), Statement::Lower { device, accepted, .. }
                    if *device == signer && !accepted.contains(&entry.id().short()))
                    && new.counts(&other.id())
                    && !old.counts(&other.id())
            });
            let risen = new.rank(device) < new.rank(&signer) && new.rank(device).is_some();
            let fallen = new.rank(&signer) != old.rank(&signer);
            assert!(lost_say || risen || fallen, "returned without a reason: {entry:?}");
            self.tally.add("returned with a reason", 1);
        }
    }

    /// Everybody hears everything, also what liars kept to themselves, until nothing changes: then all are equal.
    fn heal(&mut self) {
        let nodes = self.nodes.len();
        for round in 0.. {
            assert!(round < 8, "comes to rest");
            let roots: BTreeSet<_> = self.nodes.iter().map(Entries::root).collect();
            let mut all = self.signed.clone();
            self.random.shuffle(&mut all);
            for node in 0..nodes {
                self.offer(node, all.clone());
            }
            let after: BTreeSet<_> = self.nodes.iter().map(Entries::root).collect();
            if after == roots && after.len() == 1 {
                break;
            }
        }
        let expected = model::held(&self.genesis, &self.signed);
        for node in 0..nodes {
            assert_eq!(self.nodes[node].ids(), expected, "holds what it should");
            assert_eq!(self.members[node], self.members[0], "one fold");
        }
        self.count();
    }

    fn count(&mut self) {
        let members = &self.members[0];
        let keys = keys();
        let out = keys.iter().filter(|key| members.role(key) == Some(Role::Out)).count();
        let second = keys.iter().filter(|key| members.rank(key) == Some(1)).count();
        let held = self.nodes[0].iter().collect::<Vec<_>>();
        let is_lower = |entry: &Entry| matches!(entry.statement(), Statement::Lower { .. });
        let void = held.iter().filter(|entry| !members.counts(&entry.id())).count();
        let lowers: Vec<_> = held
            .iter()
            .filter(|entry| is_lower(entry) && members.counts(&entry.id()))
            .collect();
        let answers = |one: &Entry, other: &Entry| {
            one.signer() != other.signer()
                && other.statement().device() == Some(one.signer())
                && one.statement().device() == Some(other.signer())
        };
        let mutual = lowers
            .iter()
            .filter(|one| lowers.iter().any(|other| answers(one, other)));
        let mutual = mutual.count();
        let leaves = lowers
            .iter()
            .filter(|one| one.statement().device() == Some(one.signer()))
            .count();
        for (what, times) in [
            ("out", out),
            ("second admins", second),
            ("void", void),
            ("mutual removals", mutual),
            ("leaves", leaves),
        ] {
            self.tally.add(what, times as u64);
        }
    }
}

/// What holds of everything that counts, whatever the rest of the set is.
fn check_counted(members: &Members, entry: &Entry) {
    let rank = members.rank(&entry.signer());
    match entry.statement() {
        Statement::Genesis { .. } => {}
        Statement::Grant { role, .. } => {
            assert!(rank.is_some_and(|rank| rank <= 0 || *role < Role::Admin), "{entry:?}");
        }
        Statement::Lower { device, to, .. } => {
            assert!(members.role(device).is_none_or(|role| role <= *to), "{entry:?}");
            let own = *device == entry.signer();
            let senior = members
                .rank(device)
                .is_none_or(|of| rank.is_some_and(|rank| rank <= of));
            assert!(own || rank.is_some() && senior, "a junior lowered a senior: {entry:?}");
        }
        Statement::Keep { .. } => assert!(rank.is_some(), "{entry:?}"),
    }
}

fn signed(random: &mut Random, network: EntryId, signer: usize, statement: Statement) -> Entry {
    // Clocks say anything.
    let time = Timestamp::from_nanos(1 + i64::try_from(random.bits() >> 2).unwrap()).unwrap();
    let key = keys()[signer];
    Entry::signed_with(network, key, time, statement, |message| sign(&key, message)).unwrap()
}

fn over_the_wire(entry: &Entry) -> Entry {
    let verify = |key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_BYTES]| sign(key, message) == *signature;
    let read = Entry::verified_with(&entry.to_bytes(), verify).unwrap();
    assert_eq!(read, *entry);
    read
}
