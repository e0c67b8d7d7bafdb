//! Signed records: their bytes, and that nothing passes which its author did not sign, alone or in a batch.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use std::collections::BTreeSet;

use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use data_encoding::HEXLOWER;
use p2p_sync_core::gate::{Arrival, Gate, GateLimits, Refusal, Verdict};
use p2p_sync_core::membership::{
    Entry, EntryId, MemberName, PublicKey, Role, Roster, SIGNATURE_BYTES, SecretKey, SignedRecords, Signer, Standing,
    Statement, Uncounted,
};
use p2p_sync_core::message::encode;
use p2p_sync_core::sync::{FeedReceiver, Frame};
use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Signature, Uptime};
use proptest::prelude::*;
use sha2::{Digest, Sha512};
use support::{nanos, put};

const NETWORK: EntryId = EntryId([0xaa; 32]);

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn signer(seed: u8) -> Signer {
    Signer::new(NETWORK, secret(seed))
}

fn unsigned(author: NodeId, name: &str, value: &[u8], timestamp: i64) -> Record {
    Record {
        key: Key::new(name).unwrap(),
        content: put(value),
        timestamp: nanos(timestamp),
        author,
        seen: Seen::NOTHING,
        signature: None,
    }
}

fn signed(seed: u8, number: i64) -> Record {
    let signer = signer(seed);
    let mut record = unsigned(signer.author(), &format!("key {number}"), b"value", 1 + number);
    // As it arrives.
    record.signature = Some(Signature::claimed(*signer.sign(&record).as_bytes()));
    record
}

fn is_verified(record: &Record) -> bool {
    let digest = record.digest();
    record
        .signature
        .as_ref()
        .is_some_and(|signature| signature.holds_for(&digest))
}

fn rule() -> SignedRecords {
    SignedRecords::of(NETWORK)
}

#[test]
fn what_is_signed_is_pinned() {
    let signer = signer(1);
    let record = unsigned(signer.author(), "hello", b"world", 1_735_979_415_000_000_000);
    let by_hand = [&b"p2p-sync record 1\0"[..], &[0xaa; 32], &record.digest()].concat();
    assert_eq!(by_hand.len(), 82);
    let signature = signer.sign(&record);
    assert_eq!(*signature.as_bytes(), secret(1).sign(&by_hand));
    assert_eq!(
        HEXLOWER.encode(signature.as_bytes()),
        "e89ae25f1089459066d31f670747f3c4f50fcae2dec308adcff0a49f5f89e5391eeba7d9f4d7f26b5dd6509b3daf37cb8ce66b7127e309cb62bd95c258b0160d"
    );
}

#[test]
fn a_signature_says_nothing_about_what_a_record_is() {
    let record = signed(1, 1);
    let bare = Record {
        signature: None,
        ..record.clone()
    };
    assert_eq!(record, bare);
    assert_eq!(record.digest(), bare.digest());
    assert_eq!(BTreeSet::from([record.digest(), bare.digest()]).len(), 1);
}

#[test]
fn what_was_verified_holds_for_that_record_alone() {
    let mut record = signed(1, 1);
    assert!(!is_verified(&record));
    rule().verify(&mut record).unwrap();
    assert!(is_verified(&record));
    let other = Record {
        content: Content::Deleted,
        ..record.clone()
    };
    assert!(!is_verified(&other), "it came along with the fields of another record");
    assert!(rule().verify(&mut other.clone()).is_err());
    // Verified once, it is not looked at again.
    let digest = record.digest();
    record.signature = Some(Signature::verified([7; SIGNATURE_BYTES], digest));
    assert_eq!(rule().verify(&mut record), Ok(()));
}

/// What is done to a record that its author signed.
#[derive(Debug, Clone, Copy)]
enum Forgery {
    None,
    NoSignature,
    FlippedBit(usize),
    OtherValue,
    OtherTime,
    OtherAuthor,
    /// An author with a key of another kind, or none.
    NoKey,
    OtherNetwork,
    OfOtherRecord,
}

fn forgery() -> impl Strategy<Value = Forgery> {
    prop_oneof![
        6 => Just(Forgery::None),
        1 => Just(Forgery::NoSignature),
        2 => (0..512_usize).prop_map(Forgery::FlippedBit),
        1 => Just(Forgery::OtherValue),
        1 => Just(Forgery::OtherTime),
        1 => Just(Forgery::OtherAuthor),
        1 => Just(Forgery::NoKey),
        1 => Just(Forgery::OtherNetwork),
        1 => Just(Forgery::OfOtherRecord),
    ]
}

fn forged(seed: u8, number: i64, forgery: Forgery) -> Record {
    let mut record = signed(seed, number);
    let mut bytes = *record.signature.clone().unwrap().as_bytes();
    match forgery {
        Forgery::None | Forgery::NoSignature => {}
        Forgery::FlippedBit(bit) => bytes[bit / 8] ^= 1 << (bit % 8),
        Forgery::OtherValue => record.content = put(b"forged"),
        Forgery::OtherTime => record.timestamp = nanos(record.timestamp.as_nanos() + 1),
        Forgery::OtherAuthor => record.author = signer(seed + 100).author(),
        Forgery::NoKey => record.author = NodeId::from_bytes(&[seed; 34]).unwrap(),
        Forgery::OtherNetwork => {
            let elsewhere = Signer::new(EntryId([0xab; 32]), secret(seed));
            bytes = *elsewhere.sign(&record).as_bytes();
        }
        Forgery::OfOtherRecord => bytes = *signed(seed, number + 1).signature.unwrap().as_bytes(),
    }
    record.signature = (!matches!(forgery, Forgery::NoSignature)).then(|| Signature::claimed(bytes));
    record
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_batch_names_just_what_its_authors_did_not_sign(
        page in prop::collection::vec((0..4_u8, forgery()), 0..40),
    ) {
        let mut records: Vec<Record> =
            (0..).zip(&page).map(|(number, (seed, forgery))| forged(*seed, number, *forgery)).collect();
        let wrong: Vec<usize> = page.iter().enumerate()
            .filter(|(_, (_, forgery))| !matches!(forgery, Forgery::None))
            .map(|(place, _)| place).collect();
        // One by one.
        for (place, record) in records.clone().iter_mut().enumerate() {
            prop_assert_eq!(rule().verify(record).is_err(), wrong.contains(&place));
            prop_assert_eq!(is_verified(record), !wrong.contains(&place));
        }
        // And all at once.
        let before = records.clone();
        let verified = rule().verify_all(&mut records);
        prop_assert_eq!(verified.err().map(|error| error.places).unwrap_or_default(), wrong.clone());
        prop_assert_eq!(&records, &before);
        for (place, record) in records.iter().enumerate() {
            prop_assert_eq!(is_verified(record), !wrong.contains(&place));
        }
        // The same again gives the same.
        prop_assert_eq!(rule().verify_all(&mut records).err().map(|error| error.places).unwrap_or_default(), wrong);
    }
}

/// A signature whose R has a part of small order, which whoever holds the key can make: single checks that do not multiply by the
/// cofactor refuse it, and batches that do accept it. Here both accept it.
fn with_torsion(secret: Scalar, torsion: usize, message: &[u8], key: &[u8; 32]) -> [u8; SIGNATURE_BYTES] {
    let nonce = Scalar::from(1_234_567_u64);
    let r = (nonce * ED25519_BASEPOINT_POINT + EIGHT_TORSION[torsion])
        .compress()
        .to_bytes();
    let hash: [u8; 64] = Sha512::new()
        .chain_update(r)
        .chain_update(key)
        .chain_update(message)
        .finalize()
        .into();
    let s = nonce + Scalar::from_bytes_mod_order_wide(&hash) * secret;
    [r, s.to_bytes()].concat().try_into().unwrap()
}

#[test]
fn single_checks_and_batches_agree_on_signatures_that_others_disagree_about() {
    let mut together = vec![signed(1, 1), signed(2, 2)];
    for torsion in 0..8 {
        for (of_key, part) in EIGHT_TORSION.iter().enumerate() {
            let secret = Scalar::from(7_654_321_u64);
            // A key with a part of small order is none of small order, and anybody can have one.
            let key = (secret * ED25519_BASEPOINT_POINT + part).compress().to_bytes();
            let author = PublicKey::from_bytes(key).unwrap().node_id();
            let mut record = unsigned(author, &format!("{torsion} {of_key}"), b"", 5);
            let message = [&b"p2p-sync record 1\0"[..], &[0xaa; 32], &record.digest()].concat();
            let signature = with_torsion(secret, torsion, &message, &key);
            record.signature = Some(Signature::claimed(signature));
            assert_eq!(rule().verify(&mut record.clone()), Ok(()));
            together.push(record.clone());
            // A scalar that is not below the order of the group is no other way to write one that is.
            let mut other = signature;
            other[63] |= 0xe0;
            record.signature = Some(Signature::claimed(other));
            assert!(rule().verify(&mut record.clone()).is_err());
            assert!(rule().verify_all(&mut [record.clone(), signed(1, 1)]).is_err());
        }
    }
    assert_eq!(rule().verify_all(&mut together), Ok(()));
}

/// A network of a founder (1), a writer (2) and a reader (3).
fn roster() -> Roster {
    let sign = |network, statement| Entry::sign(network, &secret(1), nanos(1), statement).unwrap();
    let genesis = Statement::Genesis {
        recovery: secret(9).public(),
        secret: [0; 32],
        nonce: [0; 16],
        name: "home".parse().unwrap(),
    };
    let genesis = sign(EntryId([0; 32]), genesis);
    let mut roster = Roster::new(genesis.clone()).unwrap();
    let grants = [(2, Role::Writer), (3, Role::Reader)].map(|(seed, role)| {
        let (device, name) = (secret(seed).public(), MemberName::new("device").unwrap());
        sign(genesis.id(), Statement::Grant { device, role, name })
    });
    assert_eq!(roster.add(grants.into()).len(), 2);
    roster
}

/// A record in that network, as it arrives.
fn arrived(seed: u8, number: i64) -> Record {
    let signer = Signer::new(roster().network(), secret(seed));
    let mut record = unsigned(signer.author(), &format!("key {number}"), b"v", 1 + number);
    record.signature = Some(Signature::claimed(*signer.sign(&record).as_bytes()));
    record
}

#[test]
fn of_what_is_signed_only_what_writers_wrote_is_admitted() {
    let roster = roster();
    let standings = [
        (1, Standing::Counts),
        (2, Standing::Counts),
        (3, Standing::MayNotWrite),
        (4, Standing::Unknown),
    ];
    for (seed, standing) in standings {
        assert_eq!(roster.record(&arrived(seed, 1)), standing);
    }
    let mut page: Vec<Record> = (1..=4).map(|seed| arrived(seed, 1)).collect();
    let uncounted = Uncounted {
        not_permitted: 1,
        unknown: 1,
    };
    assert_eq!(roster.admit(&mut page), Ok(uncounted));
    assert_eq!(page, [arrived(1, 1), arrived(2, 1)]);
    assert!(page.iter().all(is_verified));
    // One that nobody signed spoils the page, whoever it names.
    for seed in 1..=4_u8 {
        let mut page: Vec<Record> = (1..=4).map(|seed| arrived(seed, 1)).collect();
        page[usize::from(seed) - 1].content = Content::Deleted;
        let before = page.clone();
        assert!(roster.admit(&mut page).is_err());
        assert_eq!(page, before);
    }
}

#[test]
fn the_gate_lets_signed_messages_of_writers_in() {
    let roster = roster();
    let mut gate = Gate::new(GateLimits::default());
    let mut sequence = 0;
    let mut judge = |seed: u8, record: &Record| {
        sequence += 1;
        let author = signer(seed).author();
        let data = encode(std::slice::from_ref(record));
        let arrival = Arrival {
            author,
            neighbour: author,
            sequence: Some(sequence),
            data: &data,
        };
        gate.judge_in(Some(&roster), arrival, nanos(100), Uptime::default())
    };
    match judge(2, &arrived(2, 1)) {
        Verdict::Accept(records) => assert!(records.iter().all(is_verified)),
        other => panic!("{other:?}"),
    }
    assert_eq!(judge(3, &arrived(3, 1)), Verdict::Ignore(Refusal::NotPermitted));
    assert_eq!(judge(4, &arrived(4, 1)), Verdict::Ignore(Refusal::UnknownAuthor));
    let bare = Record {
        signature: None,
        ..arrived(2, 2)
    };
    assert!(matches!(judge(2, &bare), Verdict::Reject(Refusal::Malformed(_))));
    let forged = Record {
        content: Content::Deleted,
        ..arrived(2, 2)
    };
    assert_eq!(judge(2, &forged), Verdict::Reject(Refusal::WrongSignature));
    // What another signed is not the author's.
    assert_eq!(judge(1, &arrived(2, 1)), Verdict::Reject(Refusal::WrongSignature));
}

#[test]
fn a_feed_ends_with_the_first_record_that_its_author_did_not_sign() {
    let page = |records| Frame::Records { bulk: None, records };
    let mut feed = FeedReceiver::of_network(SignedRecords::of(roster().network()));
    let (taken, _) = feed
        .receive(page(vec![arrived(2, 1), arrived(4, 2)]), nanos(100))
        .unwrap();
    assert!(
        taken.len() == 2 && taken.iter().all(is_verified),
        "who may write is decided where they are merged"
    );
    let forged = Record {
        content: Content::Deleted,
        ..arrived(2, 3)
    };
    assert!(feed.receive(page(vec![arrived(2, 4), forged]), nanos(100)).is_err());
}
