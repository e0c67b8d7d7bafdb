//! What is stored where there is no room for data from other nodes, and that room which came back is found.

use super::*;

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
        theirs("mi"),
    ];
    let applied = apply(&mut ledger, &page);
    assert_eq!((applied.changed, applied.refused), (2, 4));
    let mut now = |record: &Record| ledger.store.get(&record.key).unwrap();
    for (record, taken) in page.iter().zip([true, false, true, false, false, false, false]) {
        assert_eq!(now(record).as_ref() == Some(record), taken, "{record:?}");
    }
    assert_eq!(now(&held[1]).as_ref(), Some(&held[1]));
    assert_eq!(now(&mine), Some(mine), "there is no room for a conflict");
    assert_eq!(ledger.refused().collect::<Vec<_>>(), [("no room", 4)]);
    write(&mut ledger, "local writes are stored all the same");

    let mut ledger = ledger.with_capacity(Capacity::Volume);
    assert_eq!(apply(&mut ledger, &[theirs("later")]).changed, 1);
    assert_eq!(self::held(&mut ledger).conflicts().len(), 1);
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
    let refused = apply(&mut ledger, &[theirs("theirs")]);
    assert_eq!(refused.refused, 1);
    let mut ledger = ledger.with_capacity(Capacity::Volume);
    let due = ledger.next_look_for_room().unwrap();
    let at = |uptime| Now { uptime, ..now() };
    let before = Uptime(due.0 - Duration::from_nanos(1));
    assert!(!ledger.find_room(at(before)), "nobody looks all the time");
    assert!(ledger.find_room(at(due)));
    assert!(ledger.next_look_for_room().is_some(), "until the log has heard of it");
}
