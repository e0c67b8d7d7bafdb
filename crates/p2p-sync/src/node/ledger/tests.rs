//! What the ledger promises to whoever writes, and to the sessions.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::Duration;

use p2p_sync_core::item::KeyHash;
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::sync::{Applied, StoreId, SyncStore};
use p2p_sync_core::{Base, Clock, Content, Key, NetworkName, NodeId, Record, Value};
use tempfile::TempDir;

use super::*;
use crate::system;

fn open(directory: &TempDir) -> Ledger {
    let store = SqliteStore::open(&directory.path().join("store.db"), &NetworkName::default()).unwrap();
    let me = NodeId::from_bytes(&[9]).unwrap();
    Ledger::new(Replica::new(me, Clock::new(None)), store).unwrap()
}

fn key() -> Key {
    Key::new("key").unwrap()
}

fn value(text: &str) -> Content {
    Content::Put(Value::new(text.as_bytes()).unwrap())
}

fn theirs(text: &str, base: Base) -> Record {
    Record {
        key: key(),
        content: value(text),
        timestamp: system::now(),
        author: NodeId::from_bytes(&[7]).unwrap(),
        base,
    }
}

fn now() -> Now {
    Now {
        time: system::now(),
        uptime: Uptime::default(),
    }
}

fn write(ledger: &mut Ledger, text: &str) -> Record {
    let (key, content) = (&key(), &value(text));
    let mut committed = ledger.commit(&[Entry::Write { key, content }], now());
    match committed.done.pop() {
        Some(Ok(Done::Written(Some(record)))) => record,
        other => panic!("{other:?}"),
    }
}

fn neighbour() -> NodeId {
    NodeId::from_bytes(&[7]).unwrap()
}

fn view(ledger: &mut Ledger) -> PeerView<&mut Ledger> {
    PeerView::new(ledger, neighbour(), now())
}

fn apply(ledger: &mut Ledger, records: &[Record]) -> Applied {
    view(ledger).apply(records, None).unwrap()
}

fn restore(ledger: &mut Ledger) -> Option<Restored> {
    let (key, timestamp) = (&key(), None);
    match ledger.commit(&[Entry::Restore { key, timestamp }], now()).done.pop() {
        Some(Ok(Done::Restored(restored))) => restored,
        other => panic!("{other:?}"),
    }
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
fn a_lost_write_can_be_brought_back_and_a_seen_one_is_not_lost() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    ledger.set_shared(true, now()).unwrap();
    let mine = write(&mut ledger, "mine");
    let winner = theirs("theirs", Base::Nothing);
    assert_eq!(apply(&mut ledger, &[winner.clone(), winner.clone()]).changed, 1);
    let seen = theirs("seen", Base::Version(winner.timestamp));
    apply(&mut ledger, std::slice::from_ref(&seen));
    let conflict = ledger.store.conflict(&key(), None).unwrap().unwrap();
    assert_eq!((conflict.loser, conflict.winner), (mine, winner));

    let restored = restore(&mut ledger).unwrap();
    assert_eq!(
        (&restored.record.content, restored.replaced),
        (&value("mine"), Some(seen))
    );
    assert_eq!(restore(&mut ledger), None);
}

#[test]
fn what_was_written_alone_counts_as_lost_even_behind_what_came_between() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let mine = write(&mut ledger, "mine");
    // Its base is later than our write, which nobody has received.
    let winner = theirs("theirs", Base::Version(mine.timestamp.next().unwrap()));
    apply(&mut ledger, &[winner]);
    assert_eq!(ledger.store.conflict(&key(), None).unwrap().unwrap().loser, mine);
}

fn named(key: &str, content: Content, author: u8) -> Record {
    Record {
        key: Key::new(key).unwrap(),
        content,
        timestamp: system::now(),
        author: NodeId::from_bytes(&[author]).unwrap(),
        base: Base::Nothing,
    }
}

/// A place that no other record has.
fn place(record: &Record) -> Cursor {
    let epoch = Epoch(KeyHash::of(&record.key).bits());
    let number = record.timestamp.as_nanos().unsigned_abs();
    let seen = number;
    Cursor { epoch, number, seen }
}

const SOURCE: StoreId = StoreId(7);

/// A page of a bulk.
fn bulk(ledger: &mut Ledger, page: &[Record]) -> Result<Applied, NodeError> {
    view(ledger).apply(page, Some((SOURCE, place(page.last().unwrap()))))
}

#[test]
fn where_there_is_no_room_only_what_takes_no_more_is_stored() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let held = ["a", "b", "c", "d"].map(|key| named(key, value("four"), 7));
    apply(&mut ledger, &held);
    let mine = write(&mut ledger, "mine");
    let mut ledger = ledger.with_capacity(Capacity::Bytes(0));
    let old = Record {
        timestamp: Timestamp::MIN,
        ..named("d", value("a longer one, which loses"), 7)
    };
    let page = [
        named("a", Content::Deleted, 7),
        named("b", value("five!"), 7),
        named("c", value("4444"), 7),
        named("new", value(""), 7),
        named("never was here", Content::Deleted, 7),
        old,
        theirs("not", Base::Nothing),
    ];
    let applied = apply(&mut ledger, &page);
    assert_eq!((applied.changed, applied.refused), (3, 3));
    let mut now = |record: &Record| ledger.store.get(&record.key).unwrap();
    for (record, taken) in page.iter().zip([true, false, true, false, false, false, true]) {
        assert_eq!(now(record).as_ref() == Some(record), taken, "{record:?}");
    }
    assert_eq!(now(&held[1]).as_ref(), Some(&held[1]));
    let lost = ledger.store.conflict(&mine.key, None).unwrap();
    assert_eq!(lost, None, "there is no room to keep what lost");
    assert_eq!(ledger.refused().collect::<Vec<_>>(), [("no room", 3)]);
    write(&mut ledger, "local writes are stored all the same");
    let before = ledger.store.get(&key()).unwrap();

    let mut ledger = ledger.with_capacity(Capacity::Volume);
    let later = theirs("later", Base::Nothing);
    assert_eq!(apply(&mut ledger, &[later]).changed, 1);
    let lost = ledger.store.conflict(&key(), None).unwrap().unwrap();
    assert_eq!(Some(lost.loser), before);
}

#[test]
fn a_bulk_without_room_brings_what_can_be_taken_and_goes_on_where_it_was_ended() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let held = named("held", value("old"), 7);
    bulk(&mut ledger, std::slice::from_ref(&held)).unwrap();
    let mut ledger = ledger.with_capacity(Capacity::Bytes(0));
    let pages: Vec<_> = (0..100)
        .map(|n| {
            [
                named(&format!("{n}"), value("v"), 7),
                named(&format!("{n} too"), value("v"), 7),
            ]
        })
        .collect();
    let last = [named("another", value("v"), 7), named("held", Content::Deleted, 7)];
    let mut ended = 0;
    let mut next = 0;
    while let Some(page) = pages.get(next) {
        match bulk(&mut ledger, page) {
            Ok(applied) => assert_eq!((applied.changed, applied.refused), (0, 2)),
            Err(error) => {
                assert!(matches!(error, NodeError::NoRoom));
                ended += 1;
                let begins = view(&mut ledger).position(SOURCE).unwrap();
                assert_eq!(begins, Some(place(&page[1])), "behind what came in vain");
            }
        }
        next += 1;
    }
    assert!((2..10).contains(&ended), "{ended} times");
    let applied = bulk(&mut ledger, &last).unwrap();
    assert_eq!((applied.changed, applied.refused), (1, 1));
    assert_eq!(
        ledger.store.position(SOURCE).unwrap(),
        Some(place(&held)),
        "none of it is kept"
    );

    let mut ledger = ledger.with_capacity(Capacity::Volume);
    assert!(!ledger.find_room(now()), "nobody looked yet");
    apply(&mut ledger, &pages[0]);
    assert!(ledger.find_room(now()) && !ledger.find_room(now()), "it is told once");
    assert_eq!(
        view(&mut ledger).position(SOURCE).unwrap(),
        Some(place(&held)),
        "and the bulk brings all"
    );
    bulk(&mut ledger, &pages[1]).unwrap();
    assert_eq!(view(&mut ledger).position(SOURCE).unwrap(), Some(place(&pages[1][1])));
}

#[test]
fn room_that_came_back_is_found_though_nothing_asks_for_it() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory).with_capacity(Capacity::Bytes(0));
    assert_eq!(ledger.next_look_for_room(), None, "it has not run out");
    let refused = apply(&mut ledger, &[theirs("theirs", Base::Nothing)]);
    assert_eq!(refused.refused, 1);
    let mut ledger = ledger.with_capacity(Capacity::Volume);
    let due = ledger.next_look_for_room().unwrap();
    let at = |uptime| Now { uptime, ..now() };
    let before = Uptime(due.0 - Duration::from_nanos(1));
    assert!(!ledger.find_room(at(before)), "nobody looks all the time");
    assert!(ledger.find_room(at(due)));
    assert!(ledger.next_look_for_room().is_some(), "until the log has heard of it");
}

#[test]
fn what_was_written_before_a_restart_may_be_known_to_others_if_some_were_there() {
    let directory = TempDir::new().unwrap();
    for (shared, lost) in [(true, false), (false, true)] {
        let mut ledger = open(&directory);
        ledger.set_shared(shared, now()).unwrap();
        let mine = write(&mut ledger, &format!("mine {shared}"));
        ledger.close();
        let mut ledger = open(&directory);
        let winner = theirs("theirs", Base::Version(mine.timestamp.next().unwrap()));
        apply(&mut ledger, &[winner]);
        assert_eq!(
            ledger.store.conflict(&key(), Some(mine.timestamp)).unwrap().is_some(),
            lost
        );
    }
}
