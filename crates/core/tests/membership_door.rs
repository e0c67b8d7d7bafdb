//! The door of a private network, and its announcements: who is let in, who is told what, and what is written down of the bytes.
//!
//! `P2P_SYNC_DOOR_SEED=7` runs just that seed of the laws, `P2P_SYNC_DOOR_SEEDS` so many.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "which seeds to run comes from the environment")]

#[path = "membership_door/bytes.rs"]
mod bytes;
#[path = "membership_door/laws.rs"]
mod laws;
mod support;

use p2p_sync_core::Timestamp;
use p2p_sync_core::limits::{DOOR_MESSAGE_BYTES_MAX, DOOR_SECRETS_MAX};
use p2p_sync_core::membership::announcement::{open, seal};
use p2p_sync_core::membership::door::{Admitted, Cause, Door, End, Side, Step};
use p2p_sync_core::membership::{
    Entry, EntryId, MemberName, NextSecret, PublicKey, Role, Roster, SecretKey, ShortId, Statement,
};
use support::Random;

/// The recovery key, the founder, and devices.
const RECOVERY: u8 = 1;
const FOUNDER: u8 = 2;
const ADMIN: u8 = 3;
const LAPTOP: u8 = 4;
const PHONE: u8 = 5;
/// The ephemeral keys are no keys here: nobody reads them.
const DIALLER: [u8; 32] = [0xd1; 32];
const LISTENER: [u8; 32] = [0x11; 32];

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn device(seed: u8) -> PublicKey {
    key(seed).public()
}

fn signed(network: EntryId, signer: u8, statement: Statement) -> Entry {
    let time = Timestamp::from_nanos(1_735_979_415_000_000_000).unwrap();
    Entry::sign(network, &key(signer), time, statement).unwrap()
}

/// A network of that nonce, and its first secret.
fn founded(nonce: u8) -> Roster {
    let secret = [nonce; 32];
    let genesis = signed(
        EntryId([0; 32]),
        FOUNDER,
        Statement::Genesis {
            recovery: device(RECOVERY),
            secret: *blake3::hash(&secret).as_bytes(),
            nonce: [nonce; 16],
            name: "home".parse().unwrap(),
        },
    );
    let by = genesis.id();
    let mut roster = Roster::new(genesis).unwrap();
    assert!(roster.add_secret(by, secret));
    roster
}

fn network(roster: &Roster) -> EntryId {
    roster.entries().network()
}

fn grant(roster: &Roster, signer: u8, to: u8, role: Role) -> Entry {
    let name = MemberName::new(format!("device {to}")).unwrap();
    signed(
        network(roster),
        signer,
        Statement::Grant {
            device: device(to),
            role,
            name,
        },
    )
}

fn next_secret(epoch: u64, salt: u8) -> [u8; 32] {
    *blake3::hash(&[&epoch.to_le_bytes()[..], &[salt]].concat()).as_bytes()
}

/// Puts a device out; the secret of the epoch is [`next_secret`].
fn lower(roster: &Roster, signer: u8, who: u8, epoch: u64, accepted: Vec<ShortId>) -> Entry {
    let secret = (signer != who).then(|| NextSecret {
        epoch,
        hash: *blake3::hash(&next_secret(epoch, signer)).as_bytes(),
    });
    signed(
        network(roster),
        signer,
        Statement::Lower {
            device: device(who),
            to: Role::Out,
            secret,
            accepted,
        },
    )
}

/// Takes in a Lower by that signer, and its secret.
fn put_out(roster: &mut Roster, signer: u8, who: u8, epoch: u64) -> Entry {
    let entry = lower(roster, signer, who, epoch, Vec::new());
    roster.add(vec![entry.clone()]);
    assert!(roster.add_secret(entry.id(), next_secret(epoch, signer)));
    entry
}

/// The founder, an admin, and two devices: the laptop by grace of the admin, the phone by the founder's.
fn home() -> Roster {
    let mut roster = founded(7);
    let entries = vec![
        grant(&roster, FOUNDER, ADMIN, Role::Admin),
        grant(&roster, ADMIN, LAPTOP, Role::Writer),
        grant(&roster, FOUNDER, PHONE, Role::Reader),
    ];
    assert_eq!(roster.add(entries).len(), 3);
    roster
}

/// The home as a device knows it that heard of nobody but those by whom it is in.
fn home_alone(who: u8) -> Roster {
    let all = home();
    let mut roster = founded(7);
    roster.add(all.chain_of(&device(who)).unwrap());
    roster
}

/// Who knocks, with what it knows, and who listens.
struct Pair<'a> {
    dialler: (&'a Roster, u8),
    listener: (&'a Roster, u8),
    /// The ephemeral keys by which each side knows the connection, its own first.
    keys: [[[u8; 32]; 2]; 2],
}

impl<'a> Pair<'a> {
    fn new(dialler: (&'a Roster, u8), listener: (&'a Roster, u8)) -> Self {
        Self {
            dialler,
            listener,
            keys: [[DIALLER, LISTENER], [LISTENER, DIALLER]],
        }
    }

    /// Has both talk until nobody has anything more to say. `tamper` sees each message, by its number, before it arrives, and each
    /// arrives in pieces of that many bytes.
    fn talk(&self, piece: usize, mut tamper: impl FnMut(usize, &mut Vec<u8>)) -> Talk {
        let keys = [key(self.dialler.1), key(self.listener.1)];
        let side = |index: usize, roster| Side {
            roster,
            device: &keys[index],
            ours: self.keys[index][0],
            theirs: self.keys[index][1],
        };
        let (dialler, first) = Door::dial(side(0, self.dialler.0), [0x0d; 16]);
        let listener = Door::listen(side(1, self.listener.0), [0x01; 16]);
        let mut talk = Talk {
            ends: [first.end, None],
            said: Vec::new(),
        };
        let (mut doors, mut speaks, mut send) = ([dialler, listener], 0, first.send);
        while !send.is_empty() {
            let hears = 1 - speaks;
            talk.said.push((speaks, send.clone()));
            tamper(talk.said.len() - 1, &mut send);
            let mut answer = Vec::new();
            for part in send.chunks(piece) {
                let step = doors[hears].receive(part);
                answer.extend(step.send);
                if step.end.is_some() {
                    assert_eq!(talk.ends[hears], None, "an end comes once");
                    talk.ends[hears] = step.end;
                }
                if talk.ends[hears].is_some() {
                    break;
                }
            }
            (speaks, send) = (hears, answer);
        }
        talk
    }

    fn meet(&self) -> Talk {
        let talk = self.talk(usize::MAX, |_, _| {});
        assert_eq!(self.talk(1, |_, _| {}).ends, talk.ends, "however it is cut up");
        talk
    }
}

struct Talk {
    /// The dialler's and the listener's.
    ends: [Option<End>; 2],
    /// What was said, and by whom: 0 the dialler, 1 the listener.
    said: Vec<(usize, Vec<u8>)>,
}

impl Talk {
    fn admitted(&self) -> Option<[&Admitted; 2]> {
        match &self.ends {
            [Some(End::Admitted(one)), Some(End::Admitted(other))] => Some([one, other]),
            _ => None,
        }
    }

    /// What people, names and keys a listener on the side could read out of what one said.
    fn tells(&self, speaker: usize, what: &[u8]) -> bool {
        let of = self.said.iter().filter(|(by, _)| *by == speaker);
        of.map(|(_, bytes)| bytes)
            .any(|bytes| bytes.windows(what.len()).any(|part| part == what))
    }

    fn tells_who(&self, speaker: usize, who: u8) -> bool {
        self.tells(speaker, device(who).as_bytes()) || self.tells(speaker, b"device ")
    }
}

fn who_refuses(talk: &Talk) -> [Option<Cause>; 2] {
    [0, 1].map(|side| match &talk.ends[side] {
        Some(End::Refused(cause)) => Some(*cause),
        _ => None,
    })
}

#[test]
fn members_let_each_other_in_and_learn_who_they_are() {
    let roster = home();
    for one in [FOUNDER, ADMIN, LAPTOP, PHONE] {
        for other in [FOUNDER, ADMIN, LAPTOP, PHONE] {
            let talk = Pair::new((&roster, one), (&roster, other)).meet();
            let [theirs, ours] = talk.admitted().unwrap();
            assert_eq!([theirs.device, ours.device], [device(other), device(one)]);
            assert_eq!([theirs.root, ours.root], [roster.root(); 2]);
            assert!(theirs.entries.is_empty() && ours.entries.is_empty());
        }
    }
}

#[test]
fn a_device_that_nobody_heard_of_is_let_in_by_the_grants_that_it_brings() {
    let (laptop, phone) = (home_alone(LAPTOP), home_alone(PHONE));
    assert!(!phone.members().is_member(&device(LAPTOP)) && !laptop.members().is_member(&device(PHONE)));
    let talk = Pair::new((&laptop, LAPTOP), (&phone, PHONE)).meet();
    let [theirs, ours] = talk.admitted().unwrap();
    assert_eq!([theirs.entries.len(), ours.entries.len()], [1, 2]);
    for (mut roster, brought) in [(laptop, theirs), (phone, ours)] {
        roster.add(brought.entries.clone());
        assert_eq!(roster.root(), home().root());
    }
}

#[test]
fn the_longest_chain_has_three_grants() {
    let mut roster = founded(7);
    roster.add(vec![
        grant(&roster, RECOVERY, PHONE, Role::Admin),
        grant(&roster, PHONE, ADMIN, Role::Admin),
        grant(&roster, ADMIN, LAPTOP, Role::Writer),
        // Turning in circles would never end.
        grant(&roster, ADMIN, PHONE, Role::Writer),
        grant(&roster, PHONE, FOUNDER, Role::Admin),
        grant(&roster, FOUNDER, PHONE, Role::Admin),
    ]);
    let chain = roster.chain_of(&device(LAPTOP)).unwrap();
    let signers: Vec<_> = chain.iter().map(Entry::signer).collect();
    assert_eq!(signers, [device(RECOVERY), device(PHONE), device(ADMIN)]);
    let talk = Pair::new((&roster, LAPTOP), (&founded(7), FOUNDER)).meet();
    let [_, ours] = talk.admitted().unwrap();
    assert_eq!(ours.entries, chain);
    assert_eq!(roster.chain_of(&device(99)), None);
}

#[test]
fn strangers_learn_nothing_and_neither_does_a_network_of_equal_name() {
    let (ours, other) = (home(), founded(8));
    let talk = Pair::new((&other, FOUNDER), (&ours, LAPTOP)).meet();
    assert_eq!(who_refuses(&talk), [None, Some(Cause::Secret)]);
    assert_eq!(talk.said.len(), 1, "the listener does not say a word");
    let mut mute = Roster::new(Entry::clone(ours.entries().genesis())).unwrap();
    mute.add(ours.chain_of(&device(PHONE)).unwrap());
    let talk = Pair::new((&mute, PHONE), (&ours, LAPTOP)).meet();
    assert_eq!(who_refuses(&talk), [Some(Cause::NoSecret), None]);
    assert!(talk.said.is_empty());
    // A dialler that meets somebody else than it hoped says only noise.
    let keys = key(LAPTOP);
    let side = Side {
        roster: &ours,
        device: &keys,
        ours: DIALLER,
        theirs: LISTENER,
    };
    for answer in [
        &b"\x13/multistream/1.0.0\n"[..],
        b"\x22\x02",
        b"HTTP/1.1 400 Bad Request",
        &[0; 64],
        &[0xff; 64],
    ] {
        let (mut door, knock) = Door::dial(side, [9; 16]);
        assert_eq!(knock.send.len(), 2 + 1 + 16 + 64 * 16);
        let step = door.receive(answer);
        let is_over = matches!(step.end, Some(End::Refused(Cause::Malformed(_))));
        assert!(step.send.is_empty() && (is_over || answer.len() < 35), "{step:?}");
        let mut door = Door::listen(side, [9; 16]);
        let step = door.receive(answer);
        assert!(
            step.send.is_empty() && matches!(step.end, Some(End::Refused(Cause::Malformed(_)))),
            "{step:?}"
        );
    }
}

#[test]
fn grants_that_somebody_made_for_himself_let_nobody_in() {
    let ours = home();
    // Has the secret, and signs whatever it likes.
    let forged = |entries: Vec<Entry>| {
        let mut roster = Roster::verified_with(Entry::clone(ours.entries().genesis()), |_, _, _| true).unwrap();
        roster.add_secret(network(&ours), [7; 32]);
        roster.add(entries);
        roster
    };
    let by_itself = signed(
        network(&ours),
        66,
        Statement::Grant {
            device: device(66),
            role: Role::Admin,
            name: MemberName::new("mallory").unwrap(),
        },
    );
    // The founder's Grant, by another's signature.
    let time = Timestamp::from_nanos(1).unwrap();
    let in_its_name = Entry::signed_with(
        network(&ours),
        device(FOUNDER),
        time,
        by_itself.statement().clone(),
        |message| key(66).sign(message),
    );
    for (entries, cause) in [
        (vec![by_itself], Cause::Stranger),
        (
            vec![in_its_name.unwrap()],
            Cause::Malformed("an entry that is none, or wrongly signed"),
        ),
        // A device that may not grant anything.
        (
            vec![
                grant(&ours, FOUNDER, PHONE, Role::Reader),
                grant(&ours, PHONE, 66, Role::Writer),
            ],
            Cause::Stranger,
        ),
        (Vec::new(), Cause::Stranger),
    ] {
        let roster = forged(entries);
        let talk = Pair::new((&roster, 66), (&ours, LAPTOP)).meet();
        assert_eq!(who_refuses(&talk)[1], Some(cause));
        assert!(!talk.tells_who(1, LAPTOP));
    }
}

#[test]
fn another_device_than_it_says_is_refused() {
    let ours = home();
    // The key 66 signs, the device of the laptop is named: as if its roster said so.
    let talk = Pair::new((&ours, 66), (&ours, PHONE)).talk(usize::MAX, |number, bytes| {
        if number == 2 {
            let at = bytes
                .windows(32)
                .position(|part| part == device(66).as_bytes())
                .unwrap();
            bytes[at..at + 32].copy_from_slice(device(LAPTOP).as_bytes());
        }
    });
    assert_eq!(who_refuses(&talk), [None, Some(Cause::Signature)]);
}

#[test]
fn whoever_has_other_secrets_is_let_in_and_never_told_first_who_is_there() {
    // One has heard of removals that the other has not, and both have met removals in a split network.
    let old = home();
    let (mut newer, mut split) = (home(), home());
    for epoch in 1..=3 {
        put_out(&mut newer, FOUNDER, 90 + u8::try_from(epoch).unwrap(), epoch);
    }
    put_out(&mut split, ADMIN, 90, 1);
    for (dialler, listener, listener_first) in [
        (&old, &old, false),
        (&old, &newer, false),
        (&newer, &old, true),
        (&newer, &newer, false),
        (&newer, &split, false),
        (&split, &newer, false),
    ] {
        let talk = Pair::new((dialler, LAPTOP), (listener, PHONE)).meet();
        talk.admitted().unwrap();
        let first = talk
            .said
            .iter()
            .find(|(by, _)| talk.tells_who(*by, if *by == 0 { LAPTOP } else { PHONE }));
        assert!(first.is_some());
        let speakers: Vec<usize> = talk.said.iter().map(|(by, _)| *by).collect();
        // Listener first: knock, hear and who, who, come in.
        assert_eq!(speakers.len(), if listener_first { 4 } else { 5 });
    }
}

#[test]
fn so_many_secrets_are_understood_and_no_more() {
    let old = home();
    let mut newer = home();
    for epoch in 1..DOOR_SECRETS_MAX as u64 {
        put_out(&mut newer, FOUNDER, u8::try_from(epoch).unwrap() + 100, epoch);
    }
    assert_eq!(newer.newest_secrets().len(), DOOR_SECRETS_MAX);
    for (one, other) in [(&old, &newer), (&newer, &old)] {
        Pair::new((one, LAPTOP), (other, PHONE)).meet().admitted().unwrap();
    }
    put_out(&mut newer, FOUNDER, 99, DOOR_SECRETS_MAX as u64);
    assert_eq!(newer.newest_secrets()[0], next_secret(DOOR_SECRETS_MAX as u64, FOUNDER));
    for (one, other) in [(&old, &newer), (&newer, &old)] {
        let talk = Pair::new((one, LAPTOP), (other, PHONE)).meet();
        assert!(who_refuses(&talk).contains(&Some(Cause::Secret)));
    }
}

#[test]
fn a_device_that_was_removed_is_told_and_learns_nothing_else() {
    let before = home();
    let mut after = home();
    let out = put_out(&mut after, FOUNDER, LAPTOP, 1);
    for laptop_dials in [true, false] {
        let talk = if laptop_dials {
            Pair::new((&before, LAPTOP), (&after, PHONE)).meet()
        } else {
            Pair::new((&after, PHONE), (&before, LAPTOP)).meet()
        };
        let (laptop, phone) = if laptop_dials { (0, 1) } else { (1, 0) };
        assert_eq!(talk.ends[laptop], Some(End::Removed(vec![out.clone()])));
        assert_eq!(talk.ends[phone], Some(End::Refused(Cause::Out(device(LAPTOP)))));
        assert!(!talk.tells(phone, device(PHONE).as_bytes()));
        let mut roster = before.clone();
        roster.add(vec![out.clone()]);
        assert!(!roster.members().is_member(&device(LAPTOP)));
    }
    // Nobody who has not heard of it keeps it out.
    Pair::new((&before, LAPTOP), (&before, PHONE))
        .meet()
        .admitted()
        .unwrap();
}

#[test]
fn whoever_is_in_by_grace_of_a_removed_admin_is_told_too_unless_it_was_accepted() {
    let before = home();
    let by_admin = before.chain_of(&device(LAPTOP)).unwrap()[1].id().short();
    for accepted in [Vec::new(), vec![by_admin]] {
        let mut after = home_alone(PHONE);
        after.add(before.chain_of(&device(ADMIN)).unwrap());
        let out = lower(&after, FOUNDER, ADMIN, 1, accepted.clone());
        after.add(vec![out.clone()]);
        let talk = Pair::new((&before, LAPTOP), (&after, PHONE)).meet();
        if accepted.is_empty() {
            assert_eq!(talk.ends[0], Some(End::Removed(vec![out])));
        } else {
            talk.admitted().unwrap();
        }
    }
}

#[test]
fn whoever_removes_by_a_chain_of_its_own_is_believed() {
    // The admin is not known to the laptop, which was let in by the founder.
    let mut after = founded(7);
    after.add(vec![
        grant(&after, FOUNDER, LAPTOP, Role::Writer),
        grant(&after, FOUNDER, ADMIN, Role::Admin),
    ]);
    let mut before = founded(7);
    before.add(after.chain_of(&device(LAPTOP)).unwrap());
    let out = put_out(&mut after, ADMIN, LAPTOP, 1);
    let talk = Pair::new((&before, LAPTOP), (&after, ADMIN)).meet();
    let Some(End::Removed(entries)) = &talk.ends[0] else {
        panic!("{:?}", talk.ends);
    };
    assert_eq!(entries.last(), Some(&out));
    before.add(entries.clone());
    assert!(!before.members().is_member(&device(LAPTOP)));
}
