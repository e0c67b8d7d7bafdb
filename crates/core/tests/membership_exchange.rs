//! Members that make each other equal over links that break off at any moment: frames, bytes and all.
//!
//! In the end all hold the same entries, lists and secret, know that they are equal, and fall silent.
//! `P2P_SYNC_MEMBERS_SEED=7` runs just that seed, `P2P_SYNC_MEMBERS_SEEDS` so many.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use data_encoding::HEXLOWER;
use p2p_sync_core::Timestamp;
use p2p_sync_core::membership::exchange::{Breach, Exchange, Frame, FrameBuffer, Root};
use p2p_sync_core::membership::{
    Entry, EntryId, KeepList, MemberName, NextSecret, PublicKey, Role, Roster, SIGNATURE_BYTES, SecretKey, ShortId,
    Statement,
};
use p2p_sync_core::sync::InvalidFrame;
use support::Random;

const KEYS: usize = 40;

fn keys() -> &'static [PublicKey] {
    static KEYS_ONCE: OnceLock<Vec<PublicKey>> = OnceLock::new();
    KEYS_ONCE.get_or_init(|| {
        let seeds = (1..=u8::try_from(KEYS).unwrap()).map(|seed| [seed; 32]);
        seeds.map(|seed| SecretKey::from_seed(seed).public()).collect()
    })
}

/// Stands for a signature.
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

fn verify(key: &PublicKey, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
    sign(key, message) == *signature
}

fn signed(network: EntryId, signer: usize, nanos: i64, statement: Statement) -> Entry {
    let time = Timestamp::from_nanos(nanos).unwrap();
    let key = keys()[signer];
    Entry::signed_with(network, key, time, statement, |message| sign(&key, message)).unwrap()
}

fn genesis() -> Entry {
    let statement = Statement::Genesis {
        recovery: keys()[0],
        secret: *blake3::hash(&[1; 32]).as_bytes(),
        nonce: [2; 16],
        name: "home".parse().unwrap(),
    };
    signed(EntryId([0; 32]), 1, 1, statement)
}

/// One direction of a link: bytes on their way, and what came of them.
#[derive(Default)]
struct Way {
    bytes: VecDeque<u8>,
    buffer: FrameBuffer,
}

struct World {
    random: Random,
    rosters: Vec<Roster>,
    /// By who speaks and to whom.
    exchanges: BTreeMap<(usize, usize), Exchange>,
    ways: BTreeMap<(usize, usize), Way>,
    clock: i64,
    bytes: u64,
}

impl World {
    fn new(seed: u64, nodes: usize) -> Self {
        let mut roster = Roster::verified_with(genesis(), verify).unwrap();
        let first = roster.entries().genesis().id();
        let mut world = Self {
            random: Random::new(seed),
            rosters: vec![roster.clone(); nodes],
            exchanges: BTreeMap::new(),
            ways: BTreeMap::new(),
            clock: 1,
            bytes: 0,
        };
        assert!(roster.add_secret(first, [1; 32]));
        world.rosters[0] = roster;
        for one in 0..nodes {
            for other in 0..one {
                world.connect(one, other);
            }
        }
        world
    }

    /// A new stream: nothing of the old one is left.
    fn connect(&mut self, one: usize, other: usize) {
        for pair in [(one, other), (other, one)] {
            self.exchanges.insert(pair, Exchange::new());
            self.ways.insert(pair, Way::default());
        }
    }

    fn store(&mut self, node: usize, new: &[Entry], from: Option<usize>) {
        for ((speaker, listener), exchange) in &mut self.exchanges {
            if *speaker == node && Some(*listener) != from {
                exchange.pass_on(new);
            }
        }
    }

    fn say(&mut self, node: usize) {
        self.clock += 1;
        let network = self.rosters[node].entries().network();
        let members = self.rosters[node].members();
        let admins: Vec<usize> = (1..KEYS).filter(|key| members.rank(&keys()[*key]).is_some()).collect();
        let signer = *self.random.pick(&admins);
        let device = 1 + self.random.below(KEYS - 1);
        let epoch = members.secret().epoch + 1;
        let secret = [u8::try_from(self.random.below(256)).unwrap(); 32];
        let digests = [[u8::try_from(device).unwrap(); 32], secret];
        let list = KeepList::of(&[7; 16], &digests);
        let device = keys()[device];
        let statement = match self.random.below(8) {
            0..=4 => Statement::Grant {
                device,
                role: *self.random.pick(&[Role::Reader, Role::Writer, Role::Admin]),
                name: MemberName::new("device").unwrap(),
            },
            5..=6 => Statement::Lower {
                device,
                to: Role::Out,
                secret: (device != keys()[signer]).then(|| NextSecret {
                    epoch,
                    hash: *blake3::hash(&secret).as_bytes(),
                }),
                accepted: self.rosters[node]
                    .entries()
                    .iter()
                    .filter(|entry| entry.signer() == device)
                    .map(|entry| entry.id().short())
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect(),
            },
            _ => Statement::Keep {
                device,
                salt: [7; 16],
                count: list.count(),
                list: list.hash(),
            },
        };
        let entry = signed(network, signer, self.clock, statement);
        let new = self.rosters[node].add(vec![entry.clone()]);
        if !new.is_empty() {
            match entry.statement() {
                Statement::Lower { secret: Some(_), .. } => assert!(self.rosters[node].add_secret(entry.id(), secret)),
                Statement::Keep { .. } => assert!(self.rosters[node].add_list(entry.id(), &list.to_bytes())),
                _ => {}
            }
        }
        self.store(node, &new, None);
    }

    /// Some bytes move on one way. Says whether any did.
    fn step(&mut self, pair: (usize, usize)) -> bool {
        let (speaker, listener) = pair;
        let way = self.ways.get_mut(&pair).unwrap();
        let mut moved = false;
        // A stream holds so much; who does not read, holds up nothing but this.
        if way.bytes.len() < 1_000
            && let Some(frame) = self
                .exchanges
                .get_mut(&pair)
                .unwrap()
                .next_frame(&self.rosters[speaker])
        {
            way.bytes.extend(frame.to_bytes());
            moved = true;
        }
        let some = way.bytes.len().min(1 + self.random.below(2_000));
        let some: Vec<u8> = way.bytes.drain(..some).collect();
        moved |= !some.is_empty();
        self.bytes += some.len() as u64;
        way.buffer.push(&some);
        while let Some(frame) = self.ways.get_mut(&pair).unwrap().buffer.next_frame().unwrap() {
            let exchange = self.exchanges.get_mut(&(listener, speaker)).unwrap();
            let new = exchange.receive(frame, &mut self.rosters[listener]).unwrap();
            self.store(listener, &new, Some(speaker));
        }
        moved
    }

    fn run(&mut self) {
        let pairs: Vec<_> = self.ways.keys().copied().collect();
        for _ in 0..200 {
            match self.random.below(100) {
                0..=11 => {
                    let node = self.random.below(self.rosters.len());
                    self.say(node);
                }
                12..=15 => {
                    let (one, other) = *self.random.pick(&pairs);
                    self.connect(one, other);
                }
                _ => {
                    let pair = *self.random.pick(&pairs);
                    self.step(pair);
                }
            }
        }
        self.come_to_rest(&pairs);
        let first = &self.rosters[0];
        for (node, roster) in self.rosters.iter().enumerate() {
            assert_eq!(roster.root(), first.root(), "node {node} holds the same entries");
            assert_eq!(roster.members(), first.members(), "node {node}");
            assert!(
                roster.members().lists_wanted(roster.lists()).is_empty(),
                "node {node} has the lists"
            );
        }
        let secrets: Vec<_> = self.rosters.iter().map(Roster::secret).collect();
        assert!(
            secrets.iter().all(|secret| *secret == secrets[0] && secret.is_some()),
            "{secrets:?}"
        );
        for ((speaker, _), exchange) in &self.exchanges {
            assert!(exchange.is_equal(&self.rosters[*speaker]));
        }
    }

    fn come_to_rest(&mut self, pairs: &[(usize, usize)]) {
        for round in 0.. {
            assert!(round < 2_000, "falls silent");
            let mut moved = false;
            for pair in pairs {
                moved |= self.step(*pair);
            }
            if !moved {
                break;
            }
        }
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("P2P_SYNC_MEMBERS_SEED={} cargo test --test membership_exchange", self.0);
        }
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "which seeds to run is the caller's choice")]
fn members_become_equal_whatever_breaks_off() {
    let from_environment = |name| {
        std::env::var(name)
            .ok()
            .map(|text: String| text.parse::<u64>().unwrap())
    };
    let seeds = match from_environment("P2P_SYNC_MEMBERS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_environment("P2P_SYNC_MEMBERS_SEEDS").unwrap_or(300).min(100_000),
    };
    for seed in seeds {
        let _named = Named(seed);
        let nodes = 2 + Random::new(seed).below(3);
        World::new(seed, nodes).run();
    }
}

#[test]
fn equal_members_say_their_root_and_no_more() {
    let mut world = World::new(0, 2);
    world.rosters[1] = world.rosters[0].clone();
    world.come_to_rest(&[(0, 1), (1, 0)]);
    assert!(world.bytes < 100, "{} bytes", world.bytes);
}

/// Frames go back and forth at once, until there are none.
fn talk(one: &mut Roster, other: &mut Roster) -> usize {
    let (mut ones, mut others) = (Exchange::new(), Exchange::new());
    for frames in 0..1_000 {
        let (said, heard) = (ones.next_frame(one), others.next_frame(other));
        if said.is_none() && heard.is_none() {
            assert!(ones.is_equal(one) && others.is_equal(other));
            return frames;
        }
        said.map(|frame| others.receive(frame, other).unwrap());
        heard.map(|frame| ones.receive(frame, one).unwrap());
    }
    panic!("fall silent");
}

/// More ids than a frame has, and a list of more items: both come in parts.
#[test]
fn what_does_not_fit_a_frame_comes_in_several() {
    let network = genesis().id();
    let statement = |device, role| Statement::Grant {
        device,
        role,
        name: MemberName::new("device").unwrap(),
    };
    let admins = (2..7).map(|admin| signed(network, 1, 1, statement(keys()[admin], Role::Admin)));
    let mut entries: Vec<Entry> = admins.collect();
    for number in 0..1_000_u64 {
        let device = SecretKey::from_seed(*blake3::hash(&number.to_le_bytes()).as_bytes()).public();
        let all = (2..7).flat_map(|signer| (1..5).map(move |nanos| (signer, nanos)));
        entries.extend(all.map(|(signer, nanos)| signed(network, signer, nanos, statement(device, Role::Writer))));
    }
    let digests: Vec<[u8; 32]> = (0..40_000_u32)
        .map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes())
        .collect();
    let list = KeepList::of(&[7; 16], &digests);
    let lower = Statement::Lower {
        device: keys()[2],
        to: Role::Reader,
        secret: None,
        accepted: vec![],
    };
    let keep = Statement::Keep {
        device: keys()[2],
        salt: [7; 16],
        count: list.count(),
        list: list.hash(),
    };
    let keep = signed(network, 1, 1, keep);
    entries.extend([signed(network, 1, 1, lower), keep.clone()]);
    let mut one = Roster::verified_with(genesis(), verify).unwrap();
    assert_eq!(one.add(entries.clone()).len(), entries.len());
    assert!(one.add_list(keep.id(), &list.to_bytes()));
    // The other has every third one already, and something of its own.
    let mut other = Roster::verified_with(genesis(), verify).unwrap();
    let own = signed(network, 1, 2, statement(keys()[30], Role::Reader));
    other.add(entries.into_iter().step_by(3).chain([own]).collect());
    let frames = talk(&mut one, &mut other);
    assert_eq!((one.root(), one.entries().len()), (other.root(), other.entries().len()));
    assert_eq!(other.lists().get(&keep.id()), Some(&list));
    assert!(frames < 60, "{frames} frames");
    assert_eq!(talk(&mut one, &mut other), 1, "a root each");
}

#[test]
fn each_frame_has_the_bytes_that_are_written_down() {
    let (one, two) = (ShortId([1; 16]), ShortId([2; 16]));
    let (a, b) = ("01".repeat(16), "02".repeat(16));
    let root = Root {
        root: [3; 32],
        has_secret: true,
        lists: vec![one, two],
    };
    let entry = signed(
        EntryId([9; 32]),
        1,
        1,
        Statement::Keep {
            device: keys()[2],
            salt: [0; 16],
            count: 0,
            list: [0; 32],
        },
    );
    let bytes = entry.to_bytes();
    let length = |length: usize| format!("{:02x}{:02x}", length % 128 + 128, length / 128);
    for (frame, golden) in [
        (Frame::Root(root), format!("4301{}0102{a}{b}", "03".repeat(32))),
        (
            Frame::Ids {
                ids: vec![one, two],
                last: true,
            },
            format!("23020102{a}{b}"),
        ),
        (
            Frame::Entries(vec![bytes.clone()]),
            format!(
                "{}0301{}{}",
                length(bytes.len() + 4),
                length(bytes.len()),
                HEXLOWER.encode(&bytes)
            ),
        ),
        (Frame::ListWanted { keep: one, from: 300 }, format!("1304{a}ac02")),
        (
            Frame::ListPart {
                keep: one,
                items: vec![2; 16],
            },
            format!("2205{a}10{b}"),
        ),
        (
            Frame::Secret {
                by: two,
                secret: [3; 32],
            },
            format!("3106{b}{}", "03".repeat(32)),
        ),
    ] {
        assert_eq!(HEXLOWER.encode(&frame.to_bytes()), golden, "{frame:?}");
        let mut buffer = FrameBuffer::default();
        // A frame of a later version is passed over.
        buffer.push(&[2, 77, 1]);
        for byte in frame.to_bytes() {
            assert_eq!(buffer.next_frame(), Ok(None));
            buffer.push(&[byte]);
        }
        assert_eq!(buffer.next_frame(), Ok(Some(frame)));
    }
}

#[test]
fn whoever_lies_is_found_out_and_nothing_is_taken_in() {
    let mut roster = Roster::verified_with(genesis(), verify).unwrap();
    let network = roster.entries().network();
    let grant = Statement::Grant {
        device: keys()[2],
        role: Role::Writer,
        name: MemberName::new("device").unwrap(),
    };
    let good = signed(network, 1, 1, grant).to_bytes();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    let mut exchange = Exchange::new();
    let mut receive = |frame| exchange.receive(frame, &mut roster);
    assert!(matches!(
        receive(Frame::Entries(vec![good, bad])),
        Err(Breach::Entry(_))
    ));
    let (one, two) = (ShortId([1; 16]), ShortId([2; 16]));
    receive(Frame::Ids {
        ids: vec![two],
        last: false,
    })
    .unwrap();
    assert_eq!(
        receive(Frame::Ids {
            ids: vec![one],
            last: true
        }),
        Err(Breach::Order)
    );
    let part = Frame::ListPart {
        keep: one,
        items: vec![],
    };
    assert_eq!(receive(part), Err(Breach::List), "nobody asked");
    let by = genesis().id().short();
    assert_eq!(receive(Frame::Secret { by, secret: [2; 32] }), Err(Breach::Secret));
    assert_eq!(receive(Frame::Secret { by, secret: [1; 32] }), Ok(vec![]));
    assert_eq!(roster.entries().len(), 1);
    let mut buffer = FrameBuffer::default();
    buffer.push(&[0xff, 0xff, 0xff, 0x7f]);
    assert!(
        matches!(buffer.next_frame(), Err(InvalidFrame::Malformed(_))),
        "too long"
    );
}
