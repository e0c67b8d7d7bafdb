//! The laws that a sync keeps for all inputs: both sides end with the same records, those that win, at a cost that
//! depends on what differs; whatever else happens is said in the outcome.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;
mod sync_support;

use std::time::Duration;

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::limits::{FUTURE_MAX, SYNC_CREDIT_BYTES, SYNC_LOOKUPS_MAX, SYNC_PAGE_RECORDS_MAX};
use p2p_sync_core::record::Record;
use p2p_sync_core::sequence::{Cursor, Epoch};
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{
    Frame, MemorySyncStore, Next, Opening, Outcome, Report, Session, SessionError, Slots, StoreId, SyncStore, cost,
};
use p2p_sync_core::{Content, Seen, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{Random, Saw, held, nanos, put, record};
use sync_support::{Odd, fill, next, run, run_with_clocks};

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::with_cases(count)
    }
}

fn now() -> Timestamp {
    nanos(1_000_000_000_000_000_000)
}

fn store(id: u64, records: &[Record]) -> MemorySyncStore {
    let mut store = MemorySyncStore::new(StoreId(id));
    fill(&mut store, records);
    store
}

/// `count` records under keys of their own, from `first` on.
fn records(first: usize, count: usize) -> Vec<Record> {
    let mut random = Random::new(first as u64);
    let mut one = |number: usize| {
        let stamp = nanos(1_700_000_000_000_000_000 / 2 + i64::try_from(random.below(1 << 40)).unwrap());
        record(
            &format!("records/{number:09}"),
            put(&random.bytes(100)),
            stamp,
            1,
            Saw::Nothing,
        )
    };
    (first..first + count).map(&mut one).collect()
}

fn assert_same(a: &MemorySyncStore, b: &MemorySyncStore, expected: &[&[Record]]) {
    let expected = held(expected.iter().copied().flatten());
    let expected: Vec<&Record> = expected.values().flatten().collect();
    assert!(
        a.all().eq(expected.iter().copied()),
        "the first has what is not covered"
    );
    assert!(b.all().eq(expected), "and so has the second");
}

fn any_record() -> impl Strategy<Value = Record> {
    let content = prop_oneof![
        Just(Content::Deleted),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| put(&bytes))
    ];
    // Half of the authors are other programs, whose writes overwrite all that is older.
    (0..120_u8, content, 1..40_i64, 0..4_u8).prop_map(|(name, content, stamp, author)| {
        let saw = if author % 2 == 0 { Saw::AllOlder } else { Saw::Nothing };
        record(&format!("k{name}"), content, nanos(stamp), author, saw)
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    prop_oneof![Just(Opening::Check), Just(Opening::Hello)]
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn any_two_stores_end_equal(
        common in prop::collection::vec(any_record(), 0..300),
        mine in prop::collection::vec(any_record(), 0..60),
        theirs in prop::collection::vec(any_record(), 0..60),
        opening in opening(),
    ) {
        let (mut a, mut b) = (store(1, &common), store(2, &common));
        fill(&mut a, &mine);
        fill(&mut b, &theirs);
        let ended = run(opening, &mut a, &mut b, now());
        prop_assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
        prop_assert_eq!(ended.asked.equal_digest, Some(a.summary().digest()));
        assert_same(&a, &b, &[&common, &mine, &theirs]);
    }
}

#[test]
fn ten_differences_cost_one_round_trip_and_eight_kilobytes() {
    let common = records(0, 20_000);
    let equal = store(1, &common);
    let mut one_trip = 0;
    for seed in 0..20 {
        let (mut a, mut b) = (equal.clone(), equal.clone());
        let mut random = Random::new(seed);
        let mut change = |store: &mut MemorySyncStore, count: usize| {
            for _ in 0..count {
                let old = random.pick(&common).clone();
                let new = Record {
                    timestamp: old.timestamp.next().unwrap(),
                    content: put(&random.bytes(100)),
                    seen: Seen::NOTHING,
                    ..old
                };
                fill(store, &[new]);
            }
        };
        change(&mut a, 3);
        change(&mut b, 2);
        fill(&mut a, &records(30_000, 3));
        fill(&mut b, &records(40_000, 2));
        let ended = run(Opening::Hello, &mut a, &mut b, now());
        assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
        assert_eq!(a.versions(), b.versions());
        assert!(ended.bytes.0 + ended.bytes.1 <= 8_192, "{ended:?}");
        one_trip += u64::from(ended.asked.round_trips == 1);
    }
    assert!(one_trip >= 19, "{one_trip} of 20");
}

#[test]
fn equal_stores_take_a_hundred_bytes_each_way() {
    let common = records(0, 2_000);
    let (mut a, mut b) = (store(1, &common), store(2, &common));
    let ended = run(Opening::Check, &mut a, &mut b, now());
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert!(ended.bytes.0 <= 100 && ended.bytes.1 <= 100, "{:?}", ended.bytes);
}

#[test]
fn hundreds_of_differences_take_the_cells_they_need() {
    let common = records(0, 5_000);
    let (mut a, mut b) = (store(1, &common), store(2, &common));
    let (mine, theirs) = (records(10_000, 150), records(20_000, 250));
    fill(&mut a, &mine);
    fill(&mut b, &theirs);
    let ended = run(Opening::Hello, &mut a, &mut b, now());
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert!(!ended.asked.bulk && !ended.asked.ranges, "{ended:?}");
    assert_eq!((ended.answered.changed, ended.asked.changed), (150, 250));
    assert_eq!(ended.asked.round_trips, 2, "{ended:?}");
    // What the records take, and 48 bytes for each, and a quarter more.
    assert!(
        ended.bytes.0 + ended.bytes.1 < 400 * (134 + 48) * 5 / 4,
        "{:?}",
        ended.bytes
    );
    assert_same(&a, &b, &[&common, &mine, &theirs]);
}

/// The cells behind those of a Hello, asked for because there was no slot to send them at once: they go on where the Hello ended,
/// unless the records have changed since.
#[test]
fn cells_that_are_asked_for_go_on_where_the_hello_ended() {
    for changes in [false, true] {
        let common = records(0, 3_000);
        let (mut a, mut b) = (store(1, &common), store(2, &common));
        let (mine, theirs, late) = (records(10_000, 100), records(20_000, 100), records(30_000, 1));
        fill(&mut a, &mine);
        fill(&mut b, &theirs);
        let slots = Slots::new(1, 1, 1);
        let [mut other, mut answering] = [(); 2].map(|()| Session::answer(slots.clone()));
        let mut asking = Session::ask(Opening::Hello, Slots::default(), &mut a, now());
        let hello = next(&mut asking, &mut a, now()).unwrap();
        other.receive(hello.clone(), &mut b, now()).unwrap();
        answering.receive(hello, &mut b, now()).unwrap();
        drop(other);
        let hello = next(&mut answering, &mut b, now()).unwrap();
        assert!(matches!(hello, Frame::Hello { more: 0, .. }));
        asking.receive(hello, &mut a, now()).unwrap();
        if changes {
            fill(&mut b, &late);
        }
        let wanted = next(&mut asking, &mut a, now()).unwrap();
        assert!(matches!(wanted, Frame::CellsWanted { have: 64, .. }), "{wanted:?}");
        answering.receive(wanted, &mut b, now()).unwrap();
        let cells = next(&mut answering, &mut b, now()).unwrap();
        let Frame::Cells { first, .. } = &cells else {
            panic!("{cells:?}")
        };
        assert_eq!(*first, if changes { 0 } else { 64 });
        asking.receive(cells, &mut a, now()).unwrap();
        while asking.outcome().is_none() {
            while let Some(frame) = next(&mut asking, &mut a, now()) {
                answering.receive(frame, &mut b, now()).unwrap();
            }
            while let Some(frame) = next(&mut answering, &mut b, now()) {
                asking.receive(frame, &mut a, now()).unwrap();
            }
        }
        assert_eq!(
            (asking.outcome(), asking.report().round_trips),
            (Some(Outcome::Equal), 3)
        );
        let late = if changes { &late[..] } else { &[] };
        assert_same(&a, &b, &[&common, &mine, &theirs, late]);
    }
}

#[test]
fn bulks_in_both_directions_do_not_send_back_what_came_in() {
    let common = records(0, 200);
    let newer = |second: u8, author: u8| -> Vec<Record> {
        let versions = records(1_000, 5_000).into_iter().enumerate().map(|(number, old)| {
            let at = nanos(old.timestamp.as_nanos() + i64::from(second) + number as i64);
            record(old.key.as_str(), put(&[second; 100]), at, author, Saw::Nothing)
        });
        versions.collect()
    };
    let (mine, theirs) = (newer(1, 1), newer(2, 2));
    let (mut a, mut b) = (store(1, &common), store(2, &common));
    fill(&mut a, &mine);
    fill(&mut b, &theirs);
    let ended = run(Opening::Hello, &mut a, &mut b, now());
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert!(ended.asked.bulk && ended.asked.rounds == 1, "{ended:?}");
    // The last page of each may hold some of what came in.
    let most = 5_200 + SYNC_PAGE_RECORDS_MAX as u64;
    assert!(ended.asked.sent <= most && ended.answered.sent <= most, "{ended:?}");
    assert_same(&a, &b, &[&common, &mine, &theirs]);
}

#[test]
fn a_bulk_in_one_direction_catches_up_with_what_changes_meanwhile() {
    let (all, late) = (records(0, 5_000), records(10_000, 3_000));
    let (mut source, mut target) = (store(1, &all), store(2, &[]));
    let mut asking = Session::ask(Opening::Hello, Slots::default(), &mut target, now());
    let mut answering = Session::answer(Slots::default());
    let mut late = Some(late);
    while asking.outcome().is_none() {
        while let Some(frame) = next(&mut asking, &mut target, now()) {
            answering.receive(frame, &mut source, now()).unwrap();
        }
        if let Some(frame) = next(&mut answering, &mut source, now()) {
            if matches!(frame, Frame::Records { .. })
                && let Some(late) = late.take()
            {
                fill(&mut source, &late);
            }
            asking.receive(frame, &mut target, now()).unwrap();
        }
    }
    let report = asking.report();
    assert_eq!(
        (asking.outcome(), report.rounds),
        (Some(Outcome::Equal), 1),
        "{report:?}"
    );
    assert_eq!(report.received, 8_000);
}

#[test]
fn an_empty_store_is_filled_in_bulk_from_either_side() {
    let all = records(0, 7_000);
    for filled_asks in [false, true] {
        let (mut filled, mut empty) = (store(1, &all), store(2, &[]));
        let ended = if filled_asks {
            run(Opening::Check, &mut filled, &mut empty, now())
        } else {
            run(Opening::Check, &mut empty, &mut filled, now())
        };
        assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
        assert!(ended.asked.bulk && ended.answered.bulk);
        assert!(ended.held_bytes_max < SYNC_CREDIT_BYTES, "{ended:?}");
        assert_same(&filled, &empty, &[&all]);
    }
}

#[test]
fn strangers_exchange_all_they_have() {
    let (mine, theirs) = (records(0, 3_000), records(5_000, 2_500));
    let (mut a, mut b) = (store(1, &mine), store(2, &theirs));
    let ended = run(Opening::Hello, &mut a, &mut b, now());
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert_same(&a, &b, &[&mine, &theirs]);
}

#[test]
fn a_bulk_goes_on_where_it_broke_off() {
    let all = records(0, 9_000);
    let (mut source, mut target) = (store(1, &all), store(2, &[]));
    for session in 1..=3 {
        let report = break_off(&mut target, &mut source, 2);
        assert!(report.bulk && report.received > 500, "{report:?}");
        assert_eq!(
            report.changed, report.received,
            "nothing travels twice, session {session}"
        );
    }
    let ended = run(Opening::Hello, &mut target, &mut source, now());
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert_same(&source, &target, &[&all]);
}

/// Runs a session until `frames` frames came back, and drops it. Gives what the side that asked knows of it.
fn break_off(asks: &mut MemorySyncStore, answers: &mut MemorySyncStore, frames: usize) -> Report {
    let mut asking = Session::ask(Opening::Hello, Slots::default(), asks, now());
    let mut answering = Session::answer(Slots::default());
    for _ in 0..frames {
        while let Some(frame) = next(&mut asking, asks, now()) {
            answering.receive(frame, answers, now()).unwrap();
        }
        if let Some(frame) = next(&mut answering, answers, now()) {
            asking.receive(frame, asks, now()).unwrap();
        }
    }
    asking.report().clone()
}

#[test]
fn records_of_one_instant_all_travel_in_a_bulk() {
    let all: Vec<Record> = (0..2_500)
        .map(|n| record(&format!("{n}"), put(b""), nanos(7), 1, Saw::Nothing))
        .collect();
    let (mut source, mut target) = (store(1, &all), store(2, &[]));
    let ended = run(Opening::Hello, &mut target, &mut source, now());
    assert_eq!(
        (ended.asking, ended.asked.rounds, ended.asked.bulk),
        (Outcome::Equal, 1, true)
    );
    assert_same(&source, &target, &[&all]);
}

#[test]
fn what_is_ahead_of_the_receivers_clock_waits() {
    let common = records(0, 100);
    let (mut a, mut b) = (store(1, &common), store(2, &common));
    let far = now().saturating_add(FUTURE_MAX + Duration::from_secs(1));
    let ahead = record("records/000000001", put(b"ahead"), far, 1, Saw::AllOlder);
    let punctual = record("punctual", put(b"now"), now(), 1, Saw::AllOlder);
    fill(&mut a, &[ahead.clone(), punctual]);
    for (asks, answers) in [(true, "a"), (false, "b")] {
        let ended = if asks {
            run(Opening::Hello, &mut a, &mut b, now())
        } else {
            run(Opening::Hello, &mut b, &mut a, now())
        };
        assert_eq!(
            (ended.asking, ended.answering),
            (Outcome::Waiting, Outcome::Waiting),
            "{answers}"
        );
        assert_eq!((ended.asked.waiting, ended.answered.waiting), (1, 1));
        assert_eq!(ended.asked.earliest_waiting, Some(far));
        assert_eq!(
            ended.asked.ahead_of_clock + ended.answered.ahead_of_clock,
            0,
            "it was not even sent"
        );
    }
    assert_eq!(b.versions().len(), a.versions().len());
    // As long as nothing changes, it takes a hundred bytes to say so again, from either side.
    let first = run(Opening::Hello, &mut a, &mut b, now());
    for (settled, a_asks) in [(first.asked.settled, true), (first.answered.settled, false)] {
        let opening = Opening::Recheck(settled.unwrap());
        let again = if a_asks {
            run(opening, &mut a, &mut b, now())
        } else {
            run(opening, &mut b, &mut a, now())
        };
        assert_eq!((again.asking, again.answering), (Outcome::Waiting, Outcome::Waiting));
        assert!(again.bytes.0 <= 100 && again.bytes.1 <= 100, "{again:?}");
    }
    // A second later it is due.
    let later = now().saturating_add(Duration::from_secs(1));
    let ended = run(Opening::Hello, &mut b, &mut a, later);
    assert_eq!((ended.asking, ended.answering), (Outcome::Equal, Outcome::Equal));
    assert_eq!(b.get(&ahead.key), Some(&ahead));
}

#[test]
fn a_clock_that_is_behind_gets_what_it_may_have_and_learns_its_offset() {
    let (mut a, mut b) = (store(1, &records(0, 50)), store(2, &[]));
    let ended = run_with_clocks(Opening::Hello, (&mut b, nanos(1)), (&mut a, now()));
    assert_eq!(ended.asking, Outcome::Waiting);
    assert_eq!(ended.asked.peer_ahead_nanos, now().as_nanos() - 1);
    assert_eq!(b.versions().len(), 0);
}

#[test]
fn a_sketch_that_went_wrong_hides_nothing_for_ever() {
    let common = records(0, 500);
    let hidden = records(1_000, 3);
    for confused_asks in [true, false] {
        let mut b = store(2, &common);
        let mut confused = store(1, &common);
        fill(&mut confused, &hidden);
        let summary = Summary::of(common.iter().chain(&records(2_000, 2)).map(Item::of));
        let mut a = Odd::new(confused);
        a.summary = Some(summary);
        let ended = if confused_asks {
            run(Opening::Hello, &mut a, &mut b, now())
        } else {
            run(Opening::Hello, &mut b, &mut a, now())
        };
        assert!(ended.asked.ranges, "{ended:?}");
        assert_eq!(
            (ended.asking, ended.answering),
            (Outcome::Delivered, Outcome::Delivered)
        );
        assert_same(&a.store, &b, &[&common, &hidden]);
    }
}

#[test]
fn a_change_in_the_middle_is_owed_a_session() {
    let common = records(0, 200);
    let (mut a, mut b) = (store(1, &common), store(2, &common));
    fill(&mut a, &records(1_000, 2));
    let mut asking = Session::ask(Opening::Hello, Slots::default(), &mut a, now());
    let mut answering = Session::answer(Slots::default());
    let hello = next(&mut asking, &mut a, now()).unwrap();
    answering.receive(hello, &mut b, now()).unwrap();
    fill(&mut b, &records(2_000, 1));
    while asking.outcome().is_none() {
        while let Some(frame) = next(&mut answering, &mut b, now()) {
            asking.receive(frame, &mut a, now()).unwrap();
        }
        while let Some(frame) = next(&mut asking, &mut a, now()) {
            answering.receive(frame, &mut b, now()).unwrap();
        }
    }
    assert_eq!(
        (asking.outcome(), answering.outcome()),
        (Some(Outcome::Delivered), Some(Outcome::Delivered))
    );
    assert_eq!(run(Opening::Hello, &mut a, &mut b, now()).asking, Outcome::Equal);
}

#[test]
fn what_is_taken_is_said_to_be_busy() {
    let (mut a, mut b) = (store(1, &records(0, 300)), store(2, &[]));
    let none = Slots::new(0, 0, 0);
    let mut asking = Session::ask(Opening::Hello, Slots::default(), &mut a, now());
    let mut answering = Session::answer(none);
    while asking.outcome().is_none() || answering.outcome().is_none() {
        while let Some(frame) = next(&mut asking, &mut a, now()) {
            answering.receive(frame, &mut b, now()).unwrap();
        }
        while let Some(frame) = next(&mut answering, &mut b, now()) {
            asking.receive(frame, &mut a, now()).unwrap();
        }
    }
    assert_eq!(
        (asking.outcome(), answering.outcome()),
        (Some(Outcome::Busy), Some(Outcome::Busy))
    );
}

#[test]
fn a_full_store_gives_what_it_has_and_is_not_searched_for_a_reason() {
    let (common, theirs) = (records(0, 500), records(1_000, 3));
    for (full_asks, gives) in [(true, 3), (false, 3), (true, 0), (false, 0)] {
        let (mut a, mut b) = (Odd::new(store(1, &common)), store(2, &common));
        let mine = records(2_000, gives);
        fill(&mut a, &mine);
        fill(&mut b, &theirs);
        a.full = true;
        let ended = if full_asks {
            run(Opening::Hello, &mut a, &mut b, now())
        } else {
            run(Opening::Hello, &mut b, &mut a, now())
        };
        let outcome = if full_asks { Outcome::Delivered } else { Outcome::Busy };
        assert_eq!((ended.asking, ended.answering), (outcome, outcome));
        assert_eq!((ended.asked.rounds, ended.asked.ranges), (1, false));
        let full = if full_asks { &ended.asked } else { &ended.answered };
        assert_eq!((full.refused, full.changed, full.sent), (3, 0, gives as u64));
        assert_same(&b, &b, &[&common, &theirs, &mine]);
    }
}

#[test]
fn a_bulk_goes_on_behind_what_cannot_be_handed_on() {
    let mut held = records(0, 3_000);
    held.sort_by_key(|record| record.timestamp);
    let mut store = Odd::new(store(1, &held));
    store.sound_from = held[2_500].timestamp;
    let mut session = Session::answer(Slots::default());
    session
        .receive(Frame::BulkWanted { after: None }, &mut store, now())
        .unwrap();
    let again = |session: &mut Session, store: &mut Odd| session.next_frame(store, now()).unwrap();
    for _ in 0..2 {
        assert_eq!(again(&mut session, &mut store), Next::Again, "others get their turn");
    }
    let mut found = Vec::new();
    while let Some(frame) = next(&mut session, &mut store, now()) {
        match frame {
            Frame::Records { records, .. } => found.extend(records),
            frame => assert_eq!(frame, Frame::Done),
        }
    }
    assert_eq!(found, held[2_500..]);
}

#[test]
fn no_order_keeps_the_store_busy_for_long() {
    let held = records(0, 3_000);
    let mut store = Odd::new(store(1, &held));
    let mut session = Session::answer(Slots::default());
    let mut random = Random::new(3);
    let unknown = (0..8_192).map(|_| KeyHash::from_bits(random.bits())).collect();
    let held = held.iter().map(|record| KeyHash::of(&record.key)).collect();
    for keys in [(0..20).map(KeyHash::from_bits).collect(), unknown, held] {
        let wanted = Frame::RecordsWanted { keys, last: true };
        session.receive(wanted, &mut store, now()).unwrap();
    }
    let (mut pages, mut again, mut done) = (Vec::new(), 0, 0);
    loop {
        let before = store.lookups;
        let next = session.next_frame(&mut store, now()).unwrap();
        assert!(
            store.lookups - before <= SYNC_LOOKUPS_MAX,
            "{} look-ups in one call",
            store.lookups - before
        );
        assert!(session.held_bytes() < 3_000_000, "{}", session.held_bytes());
        match next {
            Next::Frame(Frame::Records { records, .. }) => pages.push(records.len()),
            Next::Frame(frame) => done += usize::from(frame == Frame::Done),
            Next::Again => again += 1,
            Next::Nothing => break,
        }
    }
    assert_eq!((pages, done), (vec![1_000; 3], 3), "and pages are full all the same");
    assert!(again >= 8_192 / SYNC_LOOKUPS_MAX, "{again}");
}

#[test]
fn rules_are_enforced() {
    let broken = |frame: Frame| {
        let mut b = store(2, &records(0, 10));
        let mut answering = Session::answer(Slots::default());
        matches!(answering.receive(frame, &mut b, now()), Err(SessionError::Violation(_)))
    };
    assert!(
        broken(Frame::Records {
            bulk: Some(Cursor {
                epoch: Epoch(1),
                number: 1,
                seen: 1
            }),
            records: records(0, 1)
        }),
        "a bulk that was not asked for"
    );
    assert!(
        broken(Frame::Cells {
            first: 0,
            count: 0,
            cells: vec![]
        }),
        "cells that were not asked for"
    );
    assert!(
        broken(Frame::Range(vec![0x61, 2, 9, 9])),
        "a range message without sense"
    );

    let mut b = store(2, &[]);
    let mut answering = Session::answer(Slots::default());
    let wanted = || Frame::RecordsWanted {
        keys: vec![KeyHash::from_bits(1); 8_192],
        last: false,
    };
    let mut orders = (0..200).map(|_| answering.receive(wanted(), &mut b, now()));
    assert!(
        orders.any(|result| result.is_err()),
        "a peer that does not read cannot order for ever"
    );
    assert!(answering.held_bytes() < 3 * 1024 * 1024);
}

#[test]
fn credit_is_given_back_to_whoever_waits_for_it_and_kept_from_whoever_does_not() {
    let large = record("large", put(&[0; 65_536]), nanos(5), 1, Saw::AllOlder);
    let page = || Frame::Records {
        bulk: None,
        records: vec![large.clone(); 7],
    };
    for reads in [true, false] {
        let mut b = store(2, &[]);
        let mut answering = Session::answer(Slots::default());
        let mut credit = SYNC_CREDIT_BYTES;
        let refused = (0..50).any(|_| {
            if credit < 7 * cost(&large) {
                return false;
            }
            credit -= if reads { 7 * cost(&large) } else { 0 };
            let refused = answering.receive(page(), &mut b, now()).is_err();
            if reads {
                while let Some(frame) = next(&mut answering, &mut b, now()) {
                    if let Frame::Credit { bytes, .. } = frame {
                        credit += bytes as usize;
                    }
                }
                assert!(credit >= 7 * cost(&large), "nobody waits for ever");
            }
            refused
        });
        assert_eq!(refused, !reads);
    }
}

#[test]
fn records_ahead_of_our_clock_are_left_out_whoever_sends_them() {
    let mut b = store(2, &[]);
    let mut answering = Session::answer(Slots::default());
    let at = |nanos| Timestamp::from_nanos(nanos).unwrap();
    let due = now().saturating_add(FUTURE_MAX);
    let records = vec![
        record("due", put(b""), due, 1, Saw::AllOlder),
        record("ahead", put(b""), at(due.as_nanos() + 1), 1, Saw::AllOlder),
    ];
    answering
        .receive(Frame::Records { bulk: None, records }, &mut b, now())
        .unwrap();
    assert_eq!(b.versions().keys().map(|key| key.as_str()).collect::<Vec<_>>(), ["due"]);
    assert_eq!(answering.report().ahead_of_clock, 1);
}

/// Whoever asks, and whether little or much differs: it is told, gets what replaces something, and then no more until something
/// changes.
#[test]
fn a_full_peer_is_not_sent_in_vain_what_it_cannot_take() {
    for (lacking, full_asks) in [
        (5, false),
        (5, true),
        (300, false),
        (300, true),
        (5_000, false),
        (5_000, true),
    ] {
        let old = records(0, 200);
        let newer: Vec<Record> = (0..3)
            .map(|number| Record {
                timestamp: old[number].timestamp.next().unwrap(),
                ..old[number].clone()
            })
            .collect();
        let mut has = store(1, &[old.clone(), records(1_000, lacking), newer.clone()].concat());
        let mut full = Odd {
            full: true,
            tells: true,
            ..Odd::new(store(2, &old))
        };
        let case = format!("{lacking} are lacking, the full one asks: {full_asks}");
        let session = |opening, has: &mut MemorySyncStore, full: &mut Odd| {
            let ended = if full_asks {
                run(opening, full, has, now())
            } else {
                run(opening, has, full, now())
            };
            let (of_has, of_full) = if full_asks {
                (ended.answered.clone(), ended.asked.clone())
            } else {
                (ended.asked.clone(), ended.answered.clone())
            };
            assert!(of_has.peer_full && of_full.told_full, "{case}");
            (ended, of_has)
        };
        let mut last = session(Opening::Hello, &mut has, &mut full);
        for _ in 0..3 {
            if last.0.asking != Outcome::Waiting {
                last = session(Opening::Hello, &mut has, &mut full);
            }
        }
        assert_eq!(
            (last.0.asking, last.0.answering),
            (Outcome::Waiting, Outcome::Waiting),
            "{case}"
        );
        for newer in &newer {
            assert_eq!(
                full.store.get(&newer.key),
                Some(newer),
                "{case}: what replaces something is taken"
            );
        }
        assert!(last.1.waiting > 0, "{case}");
        let opening = Opening::Recheck(last.0.asked.settled.unwrap());
        let (ended, of_has) = session(opening, &mut has, &mut full);
        assert_eq!((ended.asking, of_has.sent), (Outcome::Waiting, 0), "{case}");
        assert!(ended.bytes.0 + ended.bytes.1 < 200, "{case}: {:?}", ended.bytes);
        if lacking == 5 {
            assert!(last.1.sent <= 3, "{case}: it is known what the peer lacks");
        }

        full.full = false;
        let ended = run(Opening::Hello, &mut full, &mut has, now());
        assert!(ended.asked.changed > 0 || lacking > 1_000, "{case}: with room it comes");
    }
}
