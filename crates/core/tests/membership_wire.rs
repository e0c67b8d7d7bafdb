//! Entries of a membership as bytes, and the bounds of a set of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use data_encoding::HEXLOWER;
use p2p_sync_core::Timestamp;
use p2p_sync_core::limits::{ENTRIES_PER_KIND_MAX, ENTRY_BYTES_MAX, MEMBERS_MAX, SIGNER_DEVICES_MAX};
use p2p_sync_core::membership::{
    Entries, Entry, EntryId, Inserted, InvalidEntry, KeepList, MemberName, NextSecret, OtherList, PublicKey, Refused,
    Role, SIGNATURE_BYTES, SecretKey, ShortId, Statement,
};
use proptest::prelude::*;
use support::Random;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn device(seed: u8) -> PublicKey {
    key(seed).public()
}

/// 2025-01-04T08:30:15Z.
fn time() -> Timestamp {
    Timestamp::from_nanos(1_735_979_415_000_000_000).unwrap()
}

fn genesis() -> Entry {
    let statement = Statement::Genesis {
        recovery: device(9),
        secret: [0xaa; 32],
        nonce: [0xbb; 16],
        name: "home".parse().unwrap(),
    };
    Entry::sign(EntryId([0; 32]), &key(1), time(), statement).unwrap()
}

fn grant(role: Role) -> Statement {
    Statement::Grant {
        device: device(2),
        role,
        name: MemberName::new("laptop").unwrap(),
    }
}

fn lower() -> Statement {
    Statement::Lower {
        device: device(2),
        to: Role::Out,
        secret: Some(NextSecret {
            epoch: 300,
            hash: [0xcc; 32],
        }),
        accepted: vec![ShortId([1; 16]), ShortId([2; 16])],
    }
}

fn keep() -> Statement {
    Statement::Keep {
        device: device(2),
        salt: [0xdd; 16],
        count: 1_204,
        list: [0xee; 32],
    }
}

fn signed(statement: Statement) -> Entry {
    Entry::sign(genesis().id(), &key(1), time(), statement).unwrap()
}

/// The bytes as PROTOCOL.md describes them, put together by hand.
fn by_hand(kind: u8, network: [u8; 32], fields: &[&[u8]]) -> Vec<u8> {
    let mut body = vec![1, kind];
    body.extend(network);
    body.extend(device(1).as_bytes());
    body.extend(1_735_979_415_000_000_000_i64.to_le_bytes());
    body.extend(fields.concat());
    let signature = key(1).sign(&[b"p2p-sync entry 1\0", &*body].concat());
    body.extend(signature);
    body
}

#[test]
fn each_kind_has_the_bytes_that_are_written_down() {
    let network = genesis().id().0;
    let (recovery, laptop) = (device(9), device(2));
    let (recovery, laptop) = (recovery.as_bytes(), laptop.as_bytes());
    let founded = by_hand(1, [0; 32], &[recovery, &[0xaa; 32], &[0xbb; 16], b"\x04home"]);
    let granted = by_hand(2, network, &[laptop, &[2], b"\x06laptop"]);
    let lowered = [laptop, &[0][..], &[0xac, 0x02], &[0xcc; 32], &[2], &[1; 16], &[2; 16]];
    let lowered = by_hand(3, network, &lowered);
    let kept = by_hand(4, network, &[laptop, &[0xdd; 16], &[0xb4, 0x09], &[0xee; 32]]);
    for (entry, bytes, golden) in [
        (genesis(), founded, GENESIS),
        (signed(grant(Role::Writer)), granted, GRANT),
        (signed(lower()), lowered, LOWER),
        (signed(keep()), kept, KEEP),
    ] {
        assert_eq!(entry.to_bytes(), bytes);
        assert_eq!(HEXLOWER.encode(&bytes), golden);
        let body = &bytes[..bytes.len() - SIGNATURE_BYTES];
        assert_eq!(entry.id().0, *blake3::hash(body).as_bytes());
        assert_eq!(Entry::from_bytes(&bytes), Ok(entry));
    }
}

const GENESIS: &str = "010100000000000000000000000000000000000000000000000000000000000000008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0026779014701718fd1724385aa0c75b64fb78cd602fa1d991fdebf76b13c58ed702eac835e9f618aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb04686f6d6553b7e0d60bed603bf32a63420105f51185fb64926521bf91cd6f50e98f2ff56782d2da531bee8033bff1e76008c86b39edca69c6c5a50fb2ff06d99cc3e88d0c";
const GRANT: &str = "010264b407602fda9b1b1ffcafb928150c3af5a52c846308852aa35987e126e164178a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c00267790147017188139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39402066c6170746f70ca94ca17f873667a8e1d5275810cdbd10dfc257689874124190edebac941d2f5541f085d339eba02008d81478cb057d9610d571484b606026028bd470c9f0308";
const LOWER: &str = "010364b407602fda9b1b1ffcafb928150c3af5a52c846308852aa35987e126e164178a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c00267790147017188139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39400ac02cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc020101010101010101010101010101010102020202020202020202020202020202de00aae205e7b389f9645a66718b48b102530b7b43657cdc839f2c0361c940324f41de531375d17bec656fde4a5dbe659c5bf2cb47320c7c959f9f7a6aa3f403";
const KEEP: &str = "010464b407602fda9b1b1ffcafb928150c3af5a52c846308852aa35987e126e164178a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c00267790147017188139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394ddddddddddddddddddddddddddddddddb409eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee9cca54f64ff8d2481257f9d3d6d62dbfd6d950c134366444904cf1e60de3237b00ca5895d4ba4a647e6ae2fb31bb49b0f5c2c50172ea54a3b7875858d85a5e0b";

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    for entry in [genesis(), signed(grant(Role::Admin)), signed(lower()), signed(keep())] {
        let bytes = entry.to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Entry::from_bytes(&flipped).is_err(), "bit {bit} of {entry:?}");
        }
        for length in 0..bytes.len() {
            assert!(
                Entry::from_bytes(&bytes[..length]).is_err(),
                "{length} bytes of {entry:?}"
            );
        }
    }
}

#[test]
fn what_breaks_the_rules_of_its_form_is_neither_signed_nor_read() {
    let network = genesis().id();
    let malformed = |statement: Statement| {
        let unsigned = Entry::sign(network, &key(1), time(), statement);
        matches!(unsigned, Err(InvalidEntry::Malformed(_)))
    };
    let secret = Some(NextSecret {
        epoch: 1,
        hash: [1; 32],
    });
    let lower = |who: u8, to, secret, accepted| Statement::Lower {
        device: device(who),
        to,
        secret,
        accepted,
    };
    assert!(malformed(grant(Role::Out)));
    assert!(malformed(lower(2, Role::Admin, None, vec![])));
    assert!(
        malformed(lower(2, Role::Out, None, vec![])),
        "a removal changes the secret"
    );
    assert!(malformed(lower(2, Role::Reader, secret, vec![])), "nothing else does");
    assert!(
        malformed(lower(1, Role::Out, secret, vec![])),
        "whoever leaves would know it"
    );
    let first = Some(NextSecret {
        epoch: 0,
        hash: [1; 32],
    });
    assert!(malformed(lower(2, Role::Out, first, vec![])));
    let (one, two) = (ShortId([1; 16]), ShortId([2; 16]));
    assert!(malformed(lower(2, Role::Out, secret, vec![two, one])));
    assert!(malformed(lower(2, Role::Out, secret, vec![one, one])));
    assert!(!malformed(lower(2, Role::Out, secret, vec![one, two])));
    let too_many = (0..1_300_u64).map(|number| ShortId(u128::from(number).to_be_bytes()));
    let too_long = Entry::sign(
        network,
        &key(1),
        time(),
        lower(2, Role::Out, secret, too_many.collect()),
    );
    assert!(matches!(too_long, Err(InvalidEntry::TooLong { .. })));
    // Written by hand: a role that there is not, a longer number than necessary, bytes behind the end, no name.
    let (network, laptop) = (network.0, device(2));
    let laptop = laptop.as_bytes();
    for (kind, fields) in [
        (2, [laptop, &[4][..], b"\x06laptop"].concat()),
        (2, [laptop, &[0][..], b"\x06laptop"].concat()),
        (2, [laptop, &[2][..], b"\x86\0laptop"].concat()),
        (2, [laptop, &[2][..], b"\x06laptop!"].concat()),
        (2, [laptop, &[2][..], b"\0"].concat()),
        (2, [&[0; 32][..], &[2][..], b"\x06laptop"].concat()),
        (3, [laptop, &[1, 0][..], &[1; 32], &[0]].concat()),
        (5, laptop.to_vec()),
    ] {
        let bytes = by_hand(kind, network, &[&fields]);
        assert!(
            matches!(Entry::from_bytes(&bytes), Err(InvalidEntry::Malformed(_))),
            "{fields:?}"
        );
    }
    let long = vec![1; ENTRY_BYTES_MAX + 1];
    assert!(matches!(Entry::from_bytes(&long), Err(InvalidEntry::TooLong { .. })));
}

#[test]
fn another_key_or_network_does_not_pass() {
    let entry = signed(grant(Role::Writer));
    let mut bytes = entry.to_bytes();
    let at = bytes.len() - SIGNATURE_BYTES;
    let signature = key(3).sign(&[b"p2p-sync entry 1\0", &bytes[..at]].concat());
    bytes[at..].copy_from_slice(&signature);
    assert_eq!(Entry::from_bytes(&bytes), Err(InvalidEntry::Signature));
    // A signature for another purpose is none for this one.
    let signature = key(1).sign(&bytes[..at]);
    bytes[at..].copy_from_slice(&signature);
    assert_eq!(Entry::from_bytes(&bytes), Err(InvalidEntry::Signature));
    let mut entries = Entries::new(genesis()).unwrap();
    let elsewhere = Entry::sign(EntryId([7; 32]), &key(1), time(), grant(Role::Writer)).unwrap();
    assert_eq!(entries.insert(elsewhere), Err(Refused::OtherNetwork));
    assert_eq!(entries.insert(genesis()), Ok(Inserted::Known));
    assert!(Entries::new(entry).is_err(), "begins with its Genesis");
}

fn statements() -> impl Strategy<Value = Statement> {
    let devices = (2..9_u8).prop_map(device).boxed();
    let names = "[^\\p{Cc}]{1,16}".prop_map(|name| MemberName::new(name).unwrap());
    let roles = prop::sample::select(vec![Role::Reader, Role::Writer, Role::Admin]);
    let grants =
        (devices.clone(), roles, names).prop_map(|(device, role, name)| Statement::Grant { device, role, name });
    let ids = prop::collection::btree_set(any::<[u8; 16]>().prop_map(ShortId), 0..20);
    let lowers = (devices.clone(), 0..3_u8, 1..u64::MAX, any::<[u8; 32]>(), ids);
    let lowers = lowers.prop_map(|(device, to, epoch, hash, accepted)| Statement::Lower {
        device,
        to: Role::from_number(to).unwrap(),
        secret: (to == 0).then_some(NextSecret { epoch, hash }),
        accepted: accepted.into_iter().collect(),
    });
    let keeps = (devices, any::<[u8; 16]>(), any::<u64>(), any::<[u8; 32]>());
    let keeps = keeps.prop_map(|(device, salt, count, list)| Statement::Keep {
        device,
        salt,
        count,
        list,
    });
    prop_oneof![grants, lowers, keeps]
}

proptest! {
    #[test]
    fn what_is_signed_comes_back_as_it_was(statement in statements(), nanos in 1..i64::MAX) {
        let time = Timestamp::from_nanos(nanos).unwrap();
        let entry = Entry::sign(genesis().id(), &key(1), time, statement.clone()).unwrap();
        let read = Entry::from_bytes(&entry.to_bytes()).unwrap();
        prop_assert_eq!(read.statement(), &statement);
        prop_assert_eq!((read.time(), read.signer(), read.network()), (time, device(1), genesis().id()));
        prop_assert_eq!(read, entry);
    }
}

#[test]
fn a_list_is_the_one_that_its_keep_stands_for() {
    let digests: Vec<[u8; 32]> = (0..100).map(|number| [number; 32]).collect();
    let list = KeepList::of(&[5; 16], &digests[..50]);
    let keep = |count, hash| Statement::Keep {
        device: device(2),
        salt: [5; 16],
        count,
        list: hash,
    };
    let statement = keep(50, list.hash());
    let bytes = list.to_bytes();
    assert_eq!(KeepList::from_bytes(&statement, &bytes), Ok(list.clone()));
    assert!(digests[..50].iter().all(|digest| list.names(digest)));
    assert!(!digests[50..].iter().any(|digest| list.names(digest)));
    // The item, put together by hand.
    let key = *blake3::hash(&[5; 16]).as_bytes();
    let item = blake3::keyed_hash(&key, &digests[0]);
    assert!(bytes.chunks(16).any(|chunk| chunk == &item.as_bytes()[..16]));
    let mut reversed: Vec<u8> = bytes.chunks(16).rev().flatten().copied().collect();
    let hash = *blake3::hash(&reversed).as_bytes();
    assert_eq!(
        KeepList::from_bytes(&keep(50, hash), &reversed),
        Err(OtherList),
        "out of order"
    );
    assert_eq!(KeepList::from_bytes(&keep(49, list.hash()), &bytes), Err(OtherList));
    assert_eq!(KeepList::from_bytes(&lower(), &bytes), Err(OtherList));
    reversed.pop();
    assert_eq!(KeepList::from_bytes(&statement, &reversed), Err(OtherList));
    let empty = KeepList::of(&[5; 16], []);
    assert_eq!(KeepList::from_bytes(&keep(0, empty.hash()), &[]), Ok(empty));
}

/// Entries whose signatures nobody looks at: these tests need thousands.
fn unsigned(signer: PublicKey, at: u64, statement: Statement) -> Entry {
    let time = Timestamp::from_nanos(1 + i64::try_from(at).unwrap()).unwrap();
    Entry::signed_with(genesis().id(), signer, time, statement, |_| [0; SIGNATURE_BYTES]).unwrap()
}

fn many_devices(count: usize, first: u64) -> Vec<PublicKey> {
    let seeds = (first..).map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes());
    seeds
        .map(|seed| SecretKey::from_seed(seed).public())
        .take(count)
        .collect()
}

fn admin(device: PublicKey, role: Role) -> Statement {
    let name = MemberName::new("x").unwrap();
    Statement::Grant { device, role, name }
}

#[test]
fn an_admin_that_floods_fills_its_own_room_alone_and_the_same_everywhere() {
    let (flooder, other) = (device(2), device(3));
    let devices = many_devices(SIGNER_DEVICES_MAX + 40, 0);
    let mut flood: Vec<Entry> = devices
        .iter()
        .map(|one| unsigned(flooder, 0, admin(*one, Role::Reader)))
        .collect();
    flood.extend((0..20).map(|at| unsigned(flooder, at, admin(devices[0], Role::Writer))));
    let first = [flooder, other].map(|who| unsigned(device(1), 0, admin(who, Role::Admin)));
    let mut roots = Vec::new();
    for seed in 0..4 {
        Random::new(seed).shuffle(&mut flood);
        let mut entries = Entries::new(genesis()).unwrap();
        let offered = first.iter().chain(&flood);
        let crowded = offered
            .filter(|entry| entries.insert((*entry).clone()) == Ok(Inserted::Crowded))
            .count();
        assert!(crowded > 0);
        assert!(
            entries.len() <= 3 + SIGNER_DEVICES_MAX + ENTRIES_PER_KIND_MAX,
            "{}",
            entries.len()
        );
        let lower = Statement::Lower {
            device: flooder,
            to: Role::Writer,
            secret: None,
            accepted: vec![],
        };
        assert_eq!(
            entries.insert(unsigned(other, 0, lower)),
            Ok(Inserted::New),
            "others have room"
        );
        let members = entries.members();
        assert_eq!(members.role(&flooder), Some(Role::Writer));
        roots.push((entries.root(), members));
    }
    assert!(roots.iter().all(|root| *root == roots[0]), "whatever the order");
    let mut kept = devices.clone();
    kept.sort();
    assert!(!roots[0].1.is_member(&kept[SIGNER_DEVICES_MAX]));
}

#[test]
fn what_a_signer_took_is_not_crowded_out_by_what_it_takes_less() {
    let mut entries = Entries::new(genesis()).unwrap();
    entries
        .insert(unsigned(device(1), 0, admin(device(2), Role::Writer)))
        .unwrap();
    let lower = |to, at| {
        let secret = (to == Role::Out).then_some(NextSecret {
            epoch: 1,
            hash: [1; 32],
        });
        let statement = Statement::Lower {
            device: device(2),
            to,
            secret,
            accepted: vec![],
        };
        unsigned(device(1), at, statement)
    };
    entries.insert(lower(Role::Out, 0)).unwrap();
    for at in 0..200 {
        entries.insert(lower(Role::Reader, at)).unwrap();
    }
    assert_eq!(entries.len(), 2 + ENTRIES_PER_KIND_MAX);
    assert_eq!(entries.members().role(&device(2)), Some(Role::Out));
}

#[test]
fn when_there_are_more_members_than_may_be_the_signers_take_turns() {
    let (flooder, other) = (device(2), device(3));
    let mut entries = Entries::new(genesis()).unwrap();
    for who in [flooder, other] {
        entries.insert(unsigned(device(1), 0, admin(who, Role::Admin))).unwrap();
    }
    let (many, few) = (many_devices(SIGNER_DEVICES_MAX, 0), many_devices(20, 1 << 40));
    for one in &many {
        entries.insert(unsigned(flooder, 0, admin(*one, Role::Writer))).unwrap();
    }
    for one in &few {
        entries.insert(unsigned(other, 0, admin(*one, Role::Writer))).unwrap();
    }
    let members = entries.members();
    assert_eq!(members.members().count(), MEMBERS_MAX);
    assert!([device(1), flooder, other].iter().all(|who| members.is_member(who)));
    assert!(
        few.iter().all(|who| members.is_member(who)),
        "nobody fills another's room"
    );
    assert_eq!(many.iter().filter(|who| members.role(who).is_none()).count(), 23);
}

#[test]
fn the_root_is_the_hash_of_the_sorted_ids() {
    let mut entries = Entries::new(genesis()).unwrap();
    for statement in [grant(Role::Admin), lower(), keep()] {
        entries.insert(signed(statement)).unwrap();
    }
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id()).collect();
    ids.sort();
    assert_eq!(entries.ids(), ids);
    let all: Vec<u8> = ids.iter().flat_map(|id| id.0).collect();
    assert_eq!(entries.root(), *blake3::hash(&all).as_bytes());
    assert_eq!(entries.members().secret().epoch, 300);
}
