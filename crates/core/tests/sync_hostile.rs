//! What a hostile peer can make a session do and hold: no more than was meant for it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;
mod sync_support;

use p2p_sync_core::Timestamp;
use p2p_sync_core::item::KeyHash;
use p2p_sync_core::limits::{SYNC_ORDERED_KEYS_MAX, SYNC_RANGE_MESSAGES_MIN};
use p2p_sync_core::record::Record;
use p2p_sync_core::sketch::Reconciler;
use p2p_sync_core::sync::{
    Frame, MemorySyncStore, Opening, Outcome, Session, SessionError, Slots, State, StoreId, SyncStore, VERSION,
};
use support::{Saw, nanos, put, record};
use sync_support::{Odd, fill, next};

/// To this range every side has another fingerprint: all there is, and a fingerprint of zeros.
const UNLIKE: [u8; 20] = {
    let mut message = [0; 20];
    message[0] = 0x61;
    message[3] = 1;
    message
};

fn now() -> Timestamp {
    nanos(1_000_000_000_000_000_000)
}

/// A store of so many records.
fn filled(count: usize) -> Odd {
    let mut store = MemorySyncStore::new(StoreId(1));
    let one = |number: usize| {
        let at = nanos(number as i64 + 1);
        record(&format!("{number:06}"), put(b"v"), at, 1, Saw::Nothing)
    };
    fill(&mut store, &(0..count).map(one).collect::<Vec<Record>>());
    Odd::new(store)
}

/// The state of a peer that holds so many records, none of them ours.
fn state(count: u64) -> State {
    State {
        version: VERSION,
        now: now(),
        store: StoreId(9),
        count,
        digest: [9; 32],
        changed: 0,
    }
}

fn drain(session: &mut Session, store: &mut Odd) -> Vec<Frame> {
    std::iter::from_fn(|| next(session, store, now())).collect()
}

/// A session that was greeted, with what it answered taken away.
fn greeted(slots: Slots, store: &mut Odd) -> Session {
    let mut session = Session::answer(slots);
    let cells = filled(400).summary().sketch().pieces(64).to_vec();
    let hello = Frame::Hello {
        state: state(400),
        decoded: false,
        cells,
        hints: Vec::new(),
        more: 0,
    };
    session.receive(hello, store, now()).unwrap();
    drain(&mut session, store);
    session
}

/// An asking session that nothing but the ranges is left for, up to its first range message.
fn asking_for_ranges(store: &mut Odd) -> Session {
    let mut session = Session::ask(Opening::Hello, Slots::default(), store, now());
    // About as many as we have, of which few seem to differ, and none can be told.
    let wrong = |store: &Odd, count: usize| {
        let mut cells = store.summary().sketch().pieces(count).to_vec();
        cells.iter_mut().for_each(|cell| cell.checks ^= 1);
        cells
    };
    loop {
        for frame in drain(&mut session, store) {
            let answer = match frame {
                Frame::Hello { .. } => Frame::Hello {
                    state: state(store.summary().count()),
                    decoded: false,
                    cells: wrong(store, 64),
                    hints: Vec::new(),
                    more: 0,
                },
                Frame::CellsWanted { have, count } => Frame::Cells {
                    first: have,
                    count: store.summary().count(),
                    cells: wrong(store, count as usize).split_off(have as usize),
                },
                Frame::Range(message) => {
                    assert_eq!(message, [0x61], "it asks whether there is a hand free");
                    return session;
                }
                other => panic!("{other:?}"),
            };
            session.receive(answer, store, now()).unwrap();
        }
    }
}

#[test]
fn ranges_that_move_nothing_are_answered_so_often_and_no_more() {
    let mut store = filled(500);
    let mut session = greeted(Slots::default(), &mut store);
    let mut answered = 0;
    while session.outcome().is_none() {
        assert!(answered <= SYNC_RANGE_MESSAGES_MIN, "it answers without end");
        session
            .receive(Frame::Range(UNLIKE.to_vec()), &mut store, now())
            .unwrap();
        for frame in drain(&mut session, &mut store) {
            match frame {
                Frame::Range(_) => answered += 1,
                other => assert_eq!(other, Frame::Busy),
            }
        }
    }
    assert_eq!(
        (session.outcome(), answered),
        (Some(Outcome::Busy), SYNC_RANGE_MESSAGES_MIN)
    );
    assert!(session.report().ranges && store.items_read == 1);
}

#[test]
fn whoever_asks_does_not_follow_answers_without_end_either() {
    let mut store = filled(500);
    let mut session = asking_for_ranges(&mut store);
    session.receive(Frame::Range(vec![0x61]), &mut store, now()).unwrap();
    let mut asked = 0;
    while session.outcome().is_none() {
        assert!(asked <= SYNC_RANGE_MESSAGES_MIN + 1, "it asks without end");
        for frame in drain(&mut session, &mut store) {
            match frame {
                Frame::Range(_) => asked += 1,
                other => assert_eq!(other, Frame::End { waiting: 0 }),
            }
        }
        session
            .receive(Frame::Range(UNLIKE.to_vec()), &mut store, now())
            .unwrap();
    }
    assert_eq!(
        (session.outcome(), asked),
        (Some(Outcome::Busy), SYNC_RANGE_MESSAGES_MIN + 1)
    );
}

#[test]
fn a_busy_peer_costs_no_reading_of_all_records() {
    let mut store = filled(500);
    let mut session = asking_for_ranges(&mut store);
    session.receive(Frame::Busy, &mut store, now()).unwrap();
    assert_eq!((session.outcome(), store.items_read), (Some(Outcome::Busy), 0));
    assert!(!session.report().ranges);
}

/// A session that has asked, and its Hello.
fn asking(store: &mut Odd) -> (Session, Frame) {
    let mut session = Session::ask(Opening::Hello, Slots::default(), store, now());
    let hello = drain(&mut session, store).remove(0);
    (session, hello)
}

/// An answer to a Hello that announces so many further cells.
fn announcing(theirs: &Odd, more: u32, decoded: bool) -> Frame {
    Frame::Hello {
        state: state(theirs.summary().count()),
        decoded,
        cells: theirs.summary().sketch().pieces(64).to_vec(),
        hints: Vec::new(),
        more,
    }
}

/// These cells of a store.
fn cells(theirs: &Odd, places: std::ops::Range<usize>) -> Frame {
    Frame::Cells {
        first: places.start as u32,
        count: theirs.summary().count(),
        cells: theirs.summary().sketch().pieces(places.end)[places.start..].to_vec(),
    }
}

#[test]
fn announced_cells_come_as_they_were_announced_or_not_at_all() {
    let (mut store, theirs) = (filled(500), filled(900));
    let cases = [
        ("more than announced", vec![cells(&theirs, 64..1_025)]),
        ("again from the first", vec![cells(&theirs, 0..500)]),
        ("with a gap", vec![cells(&theirs, 64..500), cells(&theirs, 501..1_024)]),
        ("twice", vec![cells(&theirs, 64..500), cells(&theirs, 64..500)]),
        (
            "anew in the middle",
            vec![cells(&theirs, 64..500), cells(&theirs, 0..500)],
        ),
        ("none", vec![cells(&theirs, 64..64)]),
        ("something else", vec![Frame::Done]),
        ("another Hello", vec![announcing(&theirs, 960, false)]),
        ("a request", vec![Frame::CellsWanted { have: 0, count: 64 }]),
    ];
    for (case, frames) in cases {
        let (mut session, _) = asking(&mut store);
        session
            .receive(announcing(&theirs, 960, false), &mut store, now())
            .unwrap();
        assert_eq!(drain(&mut session, &mut store), [], "{case}: it waits");
        let results = frames
            .into_iter()
            .map(|frame| session.receive(frame, &mut store, now()));
        let last = results.last().unwrap();
        assert!(matches!(last, Err(SessionError::Violation(_))), "{case}: {last:?}");
        assert!(session.held_bytes() < 65_536 * 48, "{case}");
    }
    let (mut session, _) = asking(&mut store);
    let superfluous = session.receive(announcing(&theirs, 960, true), &mut store, now());
    assert!(matches!(superfluous, Err(SessionError::Violation(_))));

    let (mut session, _) = asking(&mut store);
    session
        .receive(announcing(&theirs, 960, false), &mut store, now())
        .unwrap();
    session.receive(cells(&theirs, 64..500), &mut store, now()).unwrap();
    session.receive(cells(&theirs, 500..1_024), &mut store, now()).unwrap();
    let wanted = drain(&mut session, &mut store);
    assert!(matches!(&wanted[0], Frame::RecordsWanted { keys, last: true } if keys.len() == 400));
}

#[test]
fn whoever_lies_about_the_cells_that_it_has_is_no_trouble() {
    for (have, count) in [(64, 64), (65, 64), (65_536, 65_536), (0, 0)] {
        let mut store = filled(500);
        let mut session = greeted(Slots::default(), &mut store);
        let refused = session.receive(Frame::CellsWanted { have, count }, &mut store, now());
        assert!(matches!(refused, Err(SessionError::Violation(_))), "{have} of {count}");
    }
    let mut store = filled(500);
    let mut session = greeted(Slots::default(), &mut store);
    let all_but_one = Frame::CellsWanted {
        have: 65_535,
        count: 65_536,
    };
    session.receive(all_but_one, &mut store, now()).unwrap();
    let sent = drain(&mut session, &mut store);
    assert!(matches!(&sent[..], [Frame::Cells { first: 65_535, cells, .. }] if cells.len() == 1));
    // Before any Hello there is nothing that it could have.
    let mut session = Session::answer(Slots::default());
    let wanted = Frame::CellsWanted { have: 64, count: 65 };
    session.receive(wanted, &mut store, now()).unwrap();
    let sent = drain(&mut session, &mut store);
    assert!(matches!(&sent[..], [Frame::Cells { first: 0, cells, .. }] if cells.len() == 65));
}

#[test]
fn cells_are_announced_as_far_as_there_is_a_slot_and_no_more_than_twice() {
    let (mut store, mut theirs) = (filled(500), filled(600));
    let (_, hello) = asking(&mut theirs);
    let announced = |session: &mut Session, store: &mut Odd| {
        session.receive(hello.clone(), store, now()).unwrap();
        match session.next_frame(store, now()).unwrap().frame() {
            Some(Frame::Hello { more, hints, .. }) => {
                assert_eq!(hints.is_empty(), more > 0, "the peer decides knowing as much");
                more
            }
            other => panic!("{other:?}"),
        }
    };
    let mut none_free = Session::answer(Slots::new(0, 0, 0));
    assert_eq!(announced(&mut none_free, &mut store), 0);

    let slots = Slots::new(1, 1, 1);
    let [mut first, mut second] = [(); 2].map(|()| Session::answer(slots.clone()));
    assert!(announced(&mut first, &mut store) > 64);
    assert!(first.held_bytes() < 65_536 * 48);
    assert_eq!(announced(&mut second, &mut store), 0, "the first has not taken its own");
    let impatient = first.receive(hello.clone(), &mut store, now());
    assert!(matches!(impatient, Err(SessionError::Violation(_))), "{impatient:?}");

    let mut patient = Session::answer(Slots::default());
    for repeat in 0..6 {
        assert_eq!(announced(&mut patient, &mut store) > 0, repeat < 2);
        drain(&mut patient, &mut store);
    }
}

#[test]
fn a_session_holds_one_copy_of_the_sketch_at_most() {
    let (slots, mut store) = (Slots::default(), filled(500));
    let cells_wanted = || Frame::CellsWanted { have: 0, count: 65_536 };
    let mut greedy = greeted(slots.clone(), &mut store);
    greedy.receive(cells_wanted(), &mut store, now()).unwrap();
    // Not all of them have been taken.
    assert!(next(&mut greedy, &mut store, now()).is_some());
    let again = greedy.receive(cells_wanted(), &mut store, now());
    assert!(matches!(again, Err(SessionError::Violation(_))), "{again:?}");

    let mut patient = greeted(slots, &mut store);
    for _ in 0..3 {
        patient.receive(cells_wanted(), &mut store, now()).unwrap();
        assert_eq!(
            drain(&mut patient, &mut store).len(),
            16,
            "it has those that it asked for"
        );
    }
}

#[test]
fn the_keys_that_wait_for_a_peer_are_bounded_in_all_its_orders_together() {
    let mut store = filled(0);
    let mut session = Session::answer(Slots::default());
    let mut wanted = |count: usize| {
        let keys = vec![KeyHash::from_bits(1); count];
        session.receive(Frame::RecordsWanted { keys, last: false }, &mut store, now())
    };
    for _ in 0..SYNC_ORDERED_KEYS_MAX / 8_192 {
        wanted(8_192).unwrap();
    }
    assert!(matches!(wanted(1), Err(SessionError::Violation(_))));
    assert!(session.held_bytes() <= 600_000, "{}", session.held_bytes());
}
