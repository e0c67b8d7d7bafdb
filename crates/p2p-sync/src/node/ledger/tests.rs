//! What the ledger promises to whoever writes, and to the sessions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use p2p_sync_core::item::KeyHash;
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::store::Store;
use p2p_sync_core::sync::{Applied, StoreId, SyncStore};
use p2p_sync_core::{Clock, Content, Key, NetworkName, NodeId, Record, Seen, Timestamp, Value, Versions};
use tempfile::TempDir;

use super::*;
use crate::system;

mod members;
mod room;

pub(super) fn open(directory: &TempDir) -> Ledger {
    let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
    let me = NodeId::from_bytes(&[9]).unwrap();
    Ledger::new(Replica::new(me, Clock::new(None)), store)
}

fn key() -> Key {
    Key::new("key").unwrap()
}

pub(super) fn value(text: &str) -> Content {
    Content::Put(Value::new(text.as_bytes()).unwrap())
}

/// Of somebody who had seen nothing of ours.
fn theirs(text: &str) -> Record {
    Record {
        key: key(),
        content: value(text),
        timestamp: system::now(),
        author: NodeId::from_bytes(&[7]).unwrap(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

pub(super) fn now() -> Now {
    Now {
        time: system::now(),
        uptime: Uptime::default(),
    }
}

pub(super) fn write(ledger: &mut Ledger, text: &str) -> Record {
    let (key, content) = (&key(), &value(text));
    let mut committed = ledger.commit(
        &[Entry::Write {
            key,
            content,
            terms: Terms::default(),
        }],
        now(),
    );
    match committed.done.pop() {
        Some(Ok(Done::Written(Some(record)))) => record,
        other => panic!("{other:?}"),
    }
}

fn neighbour() -> NodeId {
    NodeId::from_bytes(&[7]).unwrap()
}

pub(super) fn view(ledger: &mut Ledger) -> PeerView<&mut Ledger> {
    PeerView::new(ledger, neighbour(), now())
}

fn apply(ledger: &mut Ledger, records: &[Record]) -> Applied {
    view(ledger).apply(records, None).unwrap()
}

fn resolve(ledger: &mut Ledger, timestamp: Option<Timestamp>) -> (Option<Record>, Vec<Settled>) {
    let key = &key();
    let mut committed = ledger.commit(
        &[Entry::Resolve {
            key,
            timestamp,
            dating: Dating::AfterHeld,
        }],
        now(),
    );
    match committed.done.pop() {
        Some(Ok(Done::Resolved(record))) => (record, committed.settled),
        other => panic!("{other:?}"),
    }
}

fn held(ledger: &mut Ledger) -> Versions {
    ledger.store.versions(&key()).unwrap()
}

#[test]
fn it_keeps_what_a_sync_store_promises() {
    let mut directories = Vec::new();
    p2p_sync_core::sync::conformance(|| {
        directories.push(TempDir::new().unwrap());
        PeerView::new(open(directories.last().unwrap()), neighbour(), now())
    });
}

#[test]
fn a_write_that_was_not_seen_is_kept_until_somebody_chooses() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let mine = write(&mut ledger, "mine");
    let theirs = theirs("theirs");
    let applied = apply(&mut ledger, &[theirs.clone(), theirs.clone()]);
    assert_eq!(applied.changed, 1);
    assert_eq!(
        applied.survived,
        [p2p_sync_core::item::Item::of(&mine)],
        "their node may lack it"
    );
    assert_eq!(ledger.take_committed().conflicts, 1);
    assert_eq!(held(&mut ledger).all(), [mine.clone(), theirs.clone()]);
    let before = resolve(&mut ledger, Some(Timestamp::MIN));
    assert_eq!(before, (None, vec![]), "no version was written then");

    let (chosen, settled) = resolve(&mut ledger, Some(mine.timestamp));
    let chosen = chosen.unwrap();
    assert_eq!(chosen.content, value("mine"));
    let [settled] = settled.as_slice() else {
        panic!("{settled:?}")
    };
    assert_eq!(
        settled.dropped,
        std::slice::from_ref(&theirs),
        "the one that lost was chosen, and the value was not"
    );
    assert_eq!(held(&mut ledger).all(), std::slice::from_ref(&chosen));
    assert!(chosen.covers(&mine) && chosen.covers(&theirs));
    assert_eq!(
        resolve(&mut ledger, None),
        (None, vec![]),
        "there is nothing left to choose"
    );
    assert_eq!(
        apply(&mut ledger, &[mine, theirs]).changed,
        0,
        "and it does not come back"
    );
}

#[test]
fn a_write_of_a_node_that_holds_a_conflict_settles_it_and_says_so() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let mine = write(&mut ledger, "mine");
    let theirs = theirs("theirs");
    apply(&mut ledger, std::slice::from_ref(&theirs));
    let (key, content) = (&key(), &value("both"));
    let committed = ledger.commit(
        &[Entry::Write {
            key,
            content,
            terms: Terms::default(),
        }],
        now(),
    );
    assert_eq!(committed.settled.len(), 1);
    assert_eq!(committed.settled[0].dropped, [theirs, mine]);
    assert_eq!(held(&mut ledger).all().len(), 1);
    let (chosen, _) = resolve(&mut ledger, None);
    assert_eq!(chosen, None);
}

#[test]
fn the_same_edit_on_both_sides_is_nothing_to_choose() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    write(&mut ledger, "same");
    apply(&mut ledger, &[theirs("same")]);
    assert_eq!(held(&mut ledger).all().len(), 2, "both are versions");
    assert_eq!(ledger.take_committed().conflicts, 0);
    assert_eq!(resolve(&mut ledger, None), (None, vec![]));
}

#[test]
fn a_value_that_is_dated_anew_ends_no_conflict() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let (key, content) = (&key(), &value("mine"));
    let ahead = Now {
        time: system::now().saturating_add(Duration::from_secs(1_000_000)),
        ..now()
    };
    let terms = Terms::default();
    ledger.commit(&[Entry::Write { key, content, terms }], ahead);
    apply(&mut ledger, &[theirs("unseen")]);
    let committed = ledger.commit(&[Entry::Redate { key }], now());
    assert!(matches!(committed.done[..], [Ok(Done::Redated(Some(_)))]));
    assert_eq!(committed.settled, []);
    let held = held(&mut ledger);
    let contents: Vec<_> = held.all().iter().map(|version| version.content.clone()).collect();
    assert_eq!(contents, [value("unseen"), value("mine")]);
}

#[test]
fn what_falls_to_the_bound_is_counted() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let versions: Vec<Record> = (1..=12)
        .map(|author| named("key", value(&author.to_string()), author))
        .collect();
    apply(&mut ledger, &versions);
    assert_eq!(held(&mut ledger).all(), &versions[4..]);
    apply(&mut ledger, &versions[..2]);
    let refused: Vec<_> = ledger.refused().collect();
    assert_eq!(refused, [("too many conflicts of a key", 6)]);
    let committed = ledger.take_committed();
    assert_eq!(
        (committed.refused.beyond_bound, committed.crowded),
        (6, Some(key())),
        "it is told"
    );
}

#[test]
fn what_a_folded_floor_covers_is_counted_and_told() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let old: Vec<Record> = (1..=3).map(|author| named("key", value("old"), author)).collect();
    let newer = Record {
        timestamp: system::now().saturating_add(Duration::from_secs(1)),
        seen: Seen::new(Some(old[2].timestamp), vec![]).unwrap(),
        ..named("key", value("newer"), 4)
    };
    apply(&mut ledger, &old[..2]);
    apply(&mut ledger, std::slice::from_ref(&newer));
    assert_eq!(held(&mut ledger).all(), [newer]);
    let committed = ledger.take_committed();
    assert_eq!(
        (committed.refused.folded, committed.folded),
        (2, Some(old[1].clone())),
        "held ones"
    );
    apply(&mut ledger, &old[2..]);
    let committed = ledger.take_committed();
    assert_eq!(
        (committed.refused.folded, committed.folded),
        (1, Some(old[2].clone())),
        "one that comes later"
    );
    assert_eq!(
        ledger.refused().collect::<Vec<_>>(),
        [("overwritten perhaps unseen", 3)]
    );
    // An own write has seen all that it replaces.
    write(&mut ledger, "mine");
    assert_eq!(ledger.refused().count(), 1);
}

pub(super) fn named(key: &str, content: Content, author: u8) -> Record {
    Record {
        key: Key::new(key).unwrap(),
        content,
        timestamp: system::now(),
        author: NodeId::from_bytes(&[author]).unwrap(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

/// A place that no other record has.
pub(super) fn place(record: &Record) -> Cursor {
    let epoch = Epoch(KeyHash::of(&record.key).bits());
    let number = record.timestamp.as_nanos().unsigned_abs();
    let seen = number;
    Cursor { epoch, number, seen }
}

pub(super) const SOURCE: StoreId = StoreId(7);

/// A page of a bulk.
pub(super) fn bulk(ledger: &mut Ledger, page: &[Record]) -> Result<Applied, NodeError> {
    view(ledger).apply(page, Some((SOURCE, place(page.last().unwrap()))))
}

#[test]
fn writes_that_belong_together_are_made_together_and_do_not_concern_others() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let put = |name: &str, condition| Write {
        key: Key::new(name).unwrap(),
        content: value("v"),
        terms: Terms {
            condition,
            ..Terms::default()
        },
    };
    let good = [put("a", Condition::None), put("b", Condition::Absent)];
    // The last one contradicts the first.
    let bad = [
        put("c", Condition::None),
        put("d", Condition::None),
        put("c", Condition::Absent),
    ];
    let (key, content) = (&key(), &value("alone"));
    let alone = Entry::Write {
        key,
        content,
        terms: Terms::default(),
    };
    let committed = ledger.commit(&[Entry::WriteAll(&good), Entry::WriteAll(&bad), alone], now());
    assert!(matches!(&committed.done[0], Ok(Done::WrittenAll(records)) if records.len() == 2));
    assert!(matches!(&committed.done[1], Err(NodeError::OfWrites { index: 2, .. })));
    assert!(matches!(&committed.done[2], Ok(Done::Written(Some(_)))));
    let told: Vec<_> = committed
        .changes
        .iter()
        .map(|change| change.record.key.as_str())
        .collect();
    assert_eq!(told, ["a", "b", "key"]);
    let mut is_held = |name: &str| ledger.store().get(&Key::new(name).unwrap()).unwrap().is_some();
    assert_eq!(
        ["a", "b", "c", "d", "key"].map(&mut is_held),
        [true, true, false, false, true]
    );
}
