//! Stores of private networks: who is in, which records count, and what is set aside.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Recounted;
use crate::store::testing::{Place, at, key, put, store};
use crate::store::{Depth, SqliteStore, StoreError};
use p2p_sync_core::item::Item;
use p2p_sync_core::membership::{
    Entry, EntryId, KeepList, MemberName, PublicKey, Role, Roster, SecretKey, SignedRecords, Signer, Statement,
};
use p2p_sync_core::store::Store;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::PageLimit;
use p2p_sync_core::{Content, NodeId, Record, Versions};

mod model;

const FOUNDER: u8 = 1;
/// An admin by the founder's grace.
const ADMIN: u8 = 2;
const WRITER: u8 = 3;
const OTHER: u8 = 4;
const READER: u8 = 5;
const RECOVERY: u8 = 9;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn public(seed: u8) -> PublicKey {
    secret(seed).public()
}

fn author(seed: u8) -> NodeId {
    public(seed).node_id()
}

fn sign(signer: u8, network: EntryId, statement: Statement) -> Entry {
    Entry::sign(network, &secret(signer), at(1), statement).unwrap()
}

fn genesis() -> Entry {
    let statement = Statement::Genesis {
        recovery: public(RECOVERY),
        secret: [1; 32],
        nonce: [2; 16],
        name: "home".parse().unwrap(),
    };
    sign(FOUNDER, EntryId([0; 32]), statement)
}

fn grant(by: u8, seed: u8, role: Role) -> Entry {
    let (device, name) = (public(seed), MemberName::new(format!("device {seed}")).unwrap());
    sign(by, genesis().id(), Statement::Grant { device, role, name })
}

/// To reader, which needs no new secret.
fn lower(by: u8, seed: u8) -> Entry {
    let statement = Statement::Lower {
        device: public(seed),
        to: Role::Reader,
        secret: None,
        accepted: Vec::new(),
    };
    sign(by, genesis().id(), statement)
}

fn members() -> Roster {
    let mut roster = Roster::new(genesis()).unwrap();
    let grants = [
        (ADMIN, Role::Admin),
        (WRITER, Role::Writer),
        (OTHER, Role::Writer),
        (READER, Role::Reader),
    ];
    let grants = grants.map(|(seed, role)| grant(FOUNDER, seed, role));
    assert_eq!(roster.add(grants.into()).len(), 4);
    roster
}

/// With a list of these records of a device.
fn close(roster: &mut Roster, by: u8, seed: u8, records: &[Record]) {
    let salt = [by; 16];
    let digests: Vec<_> = records.iter().map(Record::digest).collect();
    let list = KeepList::of(&salt, &digests);
    let (count, hash) = (list.count(), list.hash());
    let keep = Statement::Keep {
        device: public(seed),
        salt,
        count,
        list: hash,
    };
    let keep = sign(by, genesis().id(), keep);
    if roster.add(vec![keep.clone()]).len() == 1 {
        assert!(roster.add_list(keep.id(), &list.to_bytes()));
    }
}

fn signed(seed: u8, record: Record) -> Record {
    let mut record = Record {
        author: author(seed),
        signature: None,
        ..record
    };
    record.signature = Some(Signer::new(genesis().id(), secret(seed)).sign(&record));
    record
}

/// A private store with these members.
fn private(place: &Place, roster: &Roster) -> SqliteStore {
    let mut sqlite = place.open();
    keep(&mut sqlite, roster);
    sqlite
}

fn keep(sqlite: &mut SqliteStore, roster: &Roster) -> Recounted {
    let mut transaction = sqlite.begin().unwrap();
    let recounted = transaction.keep_members(Arc::new(roster.clone())).unwrap();
    transaction.commit().unwrap();
    recounted
}

fn same(one: &Roster, other: &Roster) -> bool {
    one.root() == other.root() && one.lists() == other.lists() && one.members() == other.members()
}

/// What is set aside, by digest.
fn aside(place: &Place) -> BTreeSet<String> {
    place
        .rows("SELECT lower(hex(digest)) FROM set_aside")
        .into_iter()
        .collect()
}

fn held(sqlite: &mut SqliteStore) -> Vec<Record> {
    sqlite.page(None, PageLimit::FULL).unwrap().records
}

#[test]
fn who_is_in_is_kept_and_a_store_is_private_for_ever() {
    let place = Place::new();
    let mut sqlite = place.open();
    assert!(sqlite.roster().is_none());
    let mut roster = members();
    close(&mut roster, FOUNDER, WRITER, &[signed(WRITER, put("a", b"1", 5))]);
    assert_eq!(keep(&mut sqlite, &roster), Recounted::default());
    for reopened in [place.crashed().open(), {
        drop(sqlite);
        place.open()
    }] {
        assert!(same(reopened.roster().unwrap(), &roster));
    }
    // Whatever is missing of the members, it does not open as an open one.
    for sql in [
        "DELETE FROM member_entry",
        "DELETE FROM member_entry WHERE id = (SELECT MIN(id) FROM member_entry)",
        "UPDATE member_entry SET entry = x'00'",
        "UPDATE member_list SET items = x'00000000000000000000000000000000'",
        "DELETE FROM meta WHERE name = 'private_network'",
    ] {
        let place = place.crashed();
        place.shell(sql);
        let opened = SqliteStore::open(&place.file, &p2p_sync_core::NetworkName::default());
        match opened {
            Err(StoreError::Damaged { .. }) => {}
            Err(other) => panic!("{sql}: {other}"),
            // One entry less is another set of members, and no other program's business.
            Ok(store) => assert!(store.roster().is_some() && sql.contains("MIN"), "{sql}"),
        }
    }
}

#[test]
fn a_store_with_records_of_an_open_network_does_not_become_private() {
    let place = Place::new();
    let mut sqlite = place.open();
    store(&mut sqlite, &[put("a", b"1", 5)]);
    let mut transaction = sqlite.begin().unwrap();
    let kept = transaction.keep_members(Arc::new(members()));
    assert!(matches!(kept, Err(StoreError::Misuse(_))), "{kept:?}");
    drop(transaction);
    assert!(
        sqlite.roster().is_none()
            && place
                .rows("SELECT hex(signature) FROM kv_store WHERE signature IS NOT NULL")
                .is_empty()
    );
}

#[test]
fn what_nobody_verified_is_not_written() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    let record = signed(WRITER, put("a", b"1", 5));
    let bare = Record {
        signature: None,
        ..record.clone()
    };
    let other = Record {
        content: Content::Deleted,
        ..record.clone()
    };
    let claimed = p2p_sync_core::Signature::claimed(*record.signature.as_ref().unwrap().as_bytes());
    let claimed = Record {
        signature: Some(claimed),
        ..record.clone()
    };
    for wrong in [bare, other, claimed] {
        let mut transaction = sqlite.begin().unwrap();
        assert!(
            matches!(transaction.put(&wrong), Err(StoreError::Misuse(_))),
            "{wrong:?}"
        );
        assert!(
            matches!(transaction.insert(&wrong), Err(StoreError::Misuse(_))),
            "{wrong:?}"
        );
        let held = Versions::of([wrong]);
        assert!(matches!(
            transaction.replace(&Versions::NONE, &held),
            Err(StoreError::Misuse(_))
        ));
    }
    store(&mut sqlite, std::slice::from_ref(&record));
    drop(sqlite);
    let found = held(&mut place.open());
    assert_eq!(found, std::slice::from_ref(&record));
    assert_eq!(
        found[0].signature.as_ref().unwrap().as_bytes(),
        record.signature.as_ref().unwrap().as_bytes(),
        "it comes back with the record"
    );
}

#[test]
fn until_the_commit_everything_is_as_before_and_after_it_all_is_moved() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    let records: Vec<Record> = (0..40)
        .map(|n| {
            signed(
                if n % 2 == 0 { WRITER } else { OTHER },
                put(&format!("key {n}"), b"v", 1 + n),
            )
        })
        .collect();
    store(&mut sqlite, &records);
    let before = held(&mut sqlite);
    let mut roster = members();
    roster.add(vec![lower(FOUNDER, WRITER)]);
    close(&mut roster, FOUNDER, WRITER, &records[..4]);
    let mut transaction = sqlite.begin().unwrap();
    let recounted = transaction.keep_members(Arc::new(roster.clone())).unwrap();
    assert_eq!(recounted, Recounted { aside: 18, back: 0 });
    // Killed before it is committed, and rolled back.
    let crashed = place.crashed();
    let mut other = crashed.open();
    assert!(held(&mut other) == before && aside(&crashed).is_empty() && same(other.roster().unwrap(), &members()));
    drop(transaction);
    assert!(held(&mut sqlite) == before && same(sqlite.roster().unwrap(), &members()));
    assert_eq!(sqlite.summary(), Some(&Summary::of(before.iter().map(Item::of))));
    // And after.
    assert_eq!(keep(&mut sqlite, &roster), recounted);
    let crashed = place.crashed();
    let mut other = crashed.open();
    for (place, sqlite) in [(&place, &mut sqlite), (&crashed, &mut other)] {
        let left = held(sqlite);
        assert_eq!(left.len(), 22);
        assert_eq!(aside(place).len(), 18);
        assert!(same(sqlite.roster().unwrap(), &roster));
    }
    let left = held(&mut sqlite);
    assert_eq!(sqlite.summary(), Some(&Summary::of(left.iter().map(Item::of))));
}

#[test]
fn cursors_are_lost_where_a_key_is_gone() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    store(
        &mut sqlite,
        &[signed(WRITER, put("a", b"1", 5)), signed(OTHER, put("b", b"1", 6))],
    );
    let reached = sqlite.page(None, PageLimit::FULL).unwrap().reached;
    assert_eq!(sqlite.page(reached, PageLimit::FULL).unwrap().records, []);
    let mut roster = members();
    roster.add(vec![lower(FOUNDER, WRITER)]);
    close(&mut roster, FOUNDER, WRITER, &[]);
    keep(&mut sqlite, &roster);
    let again = sqlite.page(reached, PageLimit::FULL).unwrap().records;
    assert_eq!(again.len(), 1, "whoever goes on behind it begins anew");
}

#[test]
fn rows_of_other_programs_are_signed_where_they_are_ours_and_set_aside_where_not() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    sqlite.sign_with(Signer::new(genesis().id(), secret(WRITER)));
    store(&mut sqlite, &[signed(OTHER, put("held", b"v", 5))]);
    let row = |name: &str, nanos: i64, author: NodeId| {
        place.shell(&format!(
            "INSERT OR REPLACE INTO kv_store (key, value, timestamp, author) VALUES ('{name}', 'foreign', {nanos}, '{author}')"
        ));
    };
    row("ours", 6, author(WRITER));
    row("theirs", 7, author(OTHER));
    row("stranger", 8, author(77));
    sqlite.look_for_others().unwrap();
    let scanned = sqlite.start_scan(Depth::Items).unwrap().run().unwrap();
    sqlite.finish_scan(scanned).unwrap();
    while sqlite.completing().is_some() {
        sqlite.complete_some().unwrap();
    }
    let mut found = held(&mut sqlite);
    found.sort_by_key(|record| record.timestamp);
    let names: Vec<&str> = found.iter().map(|record| record.key.as_str()).collect();
    assert_eq!(names, ["held", "ours"]);
    SignedRecords::of(genesis().id()).verify(&mut found[1]).unwrap();
    assert_eq!(
        place.rows("SELECT key FROM set_aside ORDER BY key"),
        ["stranger", "theirs"]
    );
    assert_eq!(sqlite.summary(), Some(&Summary::of(found.iter().map(Item::of))));
    // What meets such a row first deals with it: nobody's write fails for it.
    row("ours", 20, author(WRITER));
    row("held", 21, author(OTHER));
    let mut transaction = sqlite.begin().unwrap();
    for (name, expected) in [("ours", Some(author(WRITER))), ("held", None)] {
        let held = transaction.versions(&key(name)).unwrap();
        assert_eq!(held.winner().map(|winner| winner.author), expected, "{name}");
        assert!(held.all().iter().all(|version| version.signature.is_some()));
    }
    transaction.commit().unwrap();
    // They never come back, whoever may write.
    let mut roster = members();
    roster.add(vec![lower(FOUNDER, OTHER)]);
    assert_eq!(keep(&mut sqlite, &roster).back, 0);
}

/// The digest beside a record says nothing about its signature.
#[test]
fn a_signature_that_was_damaged_is_never_sent_and_made_again_where_it_is_ours() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    sqlite.sign_with(Signer::new(genesis().id(), secret(WRITER)));
    let [ours, theirs, other] =
        [(WRITER, "ours"), (OTHER, "theirs"), (OTHER, "other")].map(|(seed, name)| signed(seed, put(name, b"v", 5)));
    store(&mut sqlite, &[ours.clone(), theirs, other.clone()]);
    sqlite.close().unwrap();
    // The last byte of the scalar.
    place.shell("UPDATE kv_store SET signature = CAST(substr(signature, 1, 63) || x'ff' AS BLOB) WHERE key <> 'other'");
    let mut sqlite = place.open();
    sqlite.sign_with(Signer::new(genesis().id(), secret(WRITER)));
    assert_eq!(held(&mut sqlite), std::slice::from_ref(&other));
    assert_eq!(sqlite.damaged_seen(), 2);
    let scanned = sqlite.start_scan(Depth::Records).unwrap().run().unwrap();
    let found = sqlite.finish_scan(scanned).unwrap();
    assert_eq!(found.removed, ["theirs"]);
    assert_eq!(place.rows("SELECT key FROM damaged_row"), ["theirs"]);
    let mut left = held(&mut sqlite);
    left.sort_by_key(|record| record.key.clone());
    assert_eq!(left, [other, ours]);
    SignedRecords::of(genesis().id()).verify_all(&mut left).unwrap();
    let scanned = sqlite.start_scan(Depth::Records).unwrap().run().unwrap();
    assert!(sqlite.finish_scan(scanned).unwrap().removed.is_empty());
}

#[test]
fn a_rescue_keeps_members_signatures_and_what_is_set_aside() {
    let place = Place::new();
    let mut sqlite = private(&place, &members());
    let records: Vec<Record> = (0..20)
        .map(|n| signed(WRITER, put(&format!("key {n}"), b"v", 1 + n)))
        .collect();
    store(&mut sqlite, &records);
    let mut roster = members();
    roster.add(vec![lower(FOUNDER, WRITER)]);
    close(&mut roster, FOUNDER, WRITER, &records[..12]);
    keep(&mut sqlite, &roster);
    let readers = crate::store::Readers::open(&place.file, 1).unwrap();
    sqlite.rescue(&readers).unwrap();
    assert!(same(sqlite.roster().unwrap(), &roster));
    let mut found = held(&mut sqlite);
    assert_eq!(found.len(), 12);
    SignedRecords::of(genesis().id()).verify_all(&mut found).unwrap();
    assert_eq!(aside(&place).len(), 8);
    assert_eq!(sqlite.aside().unwrap(), 8);
}
