//! A peer that only drips: it holds the one slot for a bulk, moves next to nothing, and comes back at once. Whoever waits for the slot
//! must have it soon, and the one that dripped pays. The node's part, a look at the slots once a second, is done by hand here.

use std::time::Duration;

use p2p_sync_core::sync::{
    Asker, Frame, MemorySyncStore, Next, Opening, Outcome, Rights, Session, Slots, State, StoreId, SyncStore, VERSION,
};
use p2p_sync_core::{NodeId, Uptime};

use crate::support::{Saw, nanos, node, put, record};

const NOW: i64 = 1_000_000_000_000_000_000;
/// What the liar moves: 4 kB a second.
const DRIP: u64 = 4_000;

fn at(seconds: u64) -> Uptime {
    Uptime(Duration::from_secs(seconds))
}

/// A session in which this peer offers a bulk to an empty node; none when there is no slot for it.
fn offered(store: &mut MemorySyncStore, rights: &Rights, slots: &Slots, peer: NodeId, seconds: u64) -> Option<Session> {
    let asker = Asker { peer, dialled: false };
    let mut session = Session::answer(rights.slots(asker, slots, at(seconds)));
    let now = nanos(NOW);
    let state = State {
        version: VERSION,
        now,
        store: StoreId(9),
        count: 3_000,
        digest: [9; 32],
        changed: 0,
    };
    session.receive(Frame::Check(state), store, now).unwrap();
    session.receive(Frame::BulkOffered, store, now).unwrap();
    let mut wanted = false;
    while let Next::Frame(frame) = session.next_frame(store, now).unwrap() {
        wanted |= matches!(frame, Frame::BulkWanted { .. });
    }
    wanted.then_some(session)
}

#[test]
fn a_peer_that_drips_keeps_nobody_from_the_bulk_for_long() {
    let (slots, mut rights) = (Slots::default(), Rights::default());
    let mut empty = MemorySyncStore::new(StoreId(1));
    let mut full = MemorySyncStore::new(StoreId(2));
    for number in 0..3_000 {
        let stamp = nanos(NOW - 10_000 + number);
        full.merge(&record(&format!("{number}"), put(b"honest"), stamp, 3, Saw::Nothing));
    }
    let (liar, honest) = (node(7), node(3));
    let mut dripping = offered(&mut empty, &rights, &slots, liar, 0);
    let (mut held_since, mut cut, mut done_at) = (0, 0, None);
    for second in 0..40 {
        if dripping.is_none() {
            held_since = second;
            dripping = offered(&mut empty, &rights, &slots, liar, second);
        }
        let held = dripping.is_some();
        let looked = slots.look(at(second), |peer| {
            if peer == liar && held {
                (second - held_since) * DRIP
            } else {
                0
            }
        });
        if looked.slow.contains(&liar) {
            (dripping, cut) = (None, cut + 1);
            rights.cut_off(liar, at(second));
        }
        if done_at.is_none() && (second == 1 || looked.called.contains(&honest) || second % 3 == 0) {
            let asker = Asker {
                peer: honest,
                dialled: false,
            };
            let now = nanos(NOW);
            let mut asking = Session::ask(Opening::Hello, Slots::default(), &mut full, now);
            let mut answering = Session::answer(rights.slots(asker, &slots, at(second)));
            loop {
                let there = asking.next_frame(&mut full, now).unwrap();
                if let Next::Frame(frame) = &there {
                    answering.receive(frame.clone(), &mut empty, now).unwrap();
                }
                let back = answering.next_frame(&mut empty, now).unwrap();
                if let Next::Frame(frame) = &back {
                    asking.receive(frame.clone(), &mut full, now).unwrap();
                }
                if (&there, &back) == (&Next::Nothing, &Next::Nothing) {
                    break;
                }
            }
            if asking.outcome() == Some(Outcome::Equal) {
                slots.forget(honest);
                done_at = Some(second);
            }
        }
    }
    assert!(done_at.is_some_and(|second| second < 10), "{done_at:?}");
    assert_eq!(empty.summary().digest(), full.summary().digest());
    assert_eq!(cut, 1, "it paid, and was kept from nothing once nobody waited");
    assert!(dripping.is_none(), "it still pays");
    assert!(
        offered(&mut empty, &rights, &slots, liar, 600).is_some(),
        "later it may go on, as a slow link that is honest does"
    );
}
