//! The windows are exact: no interval holds more messages than it may, wherever it starts, and what a node paces, another
//! lets in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod support;

use std::time::Duration;

use p2p_sync_core::gate::{Arrival, Gate, GateLimits, Verdict};
use p2p_sync_core::limiter::{Limiter, Tag};
use p2p_sync_core::limits::{MESSAGE_BYTES_MAX, PACED_BACKLOG_RECORDS_MAX, PACED_MESSAGES_MAX, PACING_WINDOW};
use p2p_sync_core::message::encode;
use p2p_sync_core::pacer::{Pace, Pacer};
use p2p_sync_core::{Record, Uptime};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{Saw, nanos, node, put, record};

/// Inputs that once failed are kept beside this file, to be committed and tried first ever after.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::with_cases(count)
    }
}

fn write(number: usize) -> Record {
    let timestamp = nanos(i64::try_from(number).unwrap() + 1);
    record("k", put(&number.to_le_bytes()), timestamp, 1, Saw::AllOlder)
}

/// Pauses between writes: none, short, about the distance of paced messages, long; in nanoseconds.
fn pauses() -> impl Strategy<Value = Vec<u64>> {
    let pause = prop_oneof![
        6 => Just(0),
        6 => 0..100_000_000_u64,
        6 => 0..3_000_000_000_u64,
        1 => 0..100_000_000_000_u64
    ];
    prop::collection::vec((pause, 1..30_usize), 1..60).prop_map(|runs| {
        runs.into_iter()
            .flat_map(|(pause, count)| std::iter::repeat_n(pause, count))
            .collect()
    })
}

/// Longest time that a write may wait while the backlog is small: the other half of the budget, spread over a window.
const WAIT_MAX: Duration = Duration::from_millis(1_380);

struct Published {
    at: Uptime,
    records: Vec<Record>,
}

/// Publishes what is due before `until`, as a caller does that always comes in time.
fn drain(pacer: &mut Pacer, mut now: Uptime, until: Uptime, published: &mut Vec<Published>) {
    loop {
        match pacer.next(now) {
            Pace::Publish(records) => published.push(Published { at: now, records }),
            Pace::Wait(later) if later >= until => return,
            Pace::Wait(later) => {
                assert!(later > now, "to wait means to get on");
                now = later;
            }
            Pace::Idle => return,
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn every_write_is_published_once_in_order_soon_and_within_the_budget(pauses in pauses()) {
        let (mut pacer, mut now, mut published, mut pushed) = (Pacer::new(), Uptime::default(), Vec::new(), Vec::new());
        for (number, pause) in pauses.into_iter().enumerate() {
            let next = now.after(Duration::from_nanos(pause));
            drain(&mut pacer, now, next, &mut published);
            now = next;
            pacer.push(write(number)).unwrap();
            pushed.push((now, write(number)));
        }
        drain(&mut pacer, now, Uptime(Duration::MAX), &mut published);

        let out: Vec<_> = published.iter().flat_map(|message| message.records.iter().map(|record| (message.at, record))).collect();
        prop_assert_eq!(out.len(), pushed.len());
        for ((out_at, out), (pushed_at, pushed)) in out.iter().zip(&pushed) {
            prop_assert_eq!(*out, pushed);
            let waited = out_at.saturating_since(*pushed_at);
            prop_assert!(waited <= WAIT_MAX, "{waited:?}");
        }
        // Closed intervals: the message that starts one and the message that ends it both count.
        for (first, message) in published.iter().enumerate() {
            let end = message.at.after(PACING_WINDOW);
            let inside = published[first..].iter().take_while(|message| message.at <= end).count();
            prop_assert!(inside <= PACED_MESSAGES_MAX, "{inside} from {:?} on", message.at);
        }
    }

    #[test]
    fn what_a_node_paces_a_peer_lets_in_even_when_delays_vary_by_two_seconds(
        pauses in pauses(),
        delays in prop::collection::vec(0..2_000_000_000_u64, 50),
    ) {
        let (mut pacer, mut now, mut published) = (Pacer::new(), Uptime::default(), Vec::new());
        for (number, pause) in pauses.into_iter().enumerate() {
            let next = now.after(Duration::from_nanos(pause));
            drain(&mut pacer, now, next, &mut published);
            now = next;
            pacer.push(write(number)).unwrap();
        }
        drain(&mut pacer, now, Uptime(Duration::MAX), &mut published);
        let mut arrivals: Vec<_> = published.iter().zip(delays.iter().cycle()).enumerate()
            .map(|(sequence, (message, delay))| (message.at.after(Duration::from_nanos(*delay)), sequence, encode(&message.records)))
            .collect();
        arrivals.sort();
        let mut gate = Gate::new(GateLimits::default());
        for (at, sequence, data) in arrivals {
            let sequence = u64::try_from(sequence).ok();
            let verdict = gate.judge(Arrival { author: node(1), neighbour: node(1), sequence, data: &data }, nanos(1), at);
            prop_assert!(matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
        }
    }

    #[test]
    fn no_window_of_a_peer_holds_more_than_its_limit(
        messages_max in 1..6_usize,
        attempts in prop::collection::vec((0..40_u64, 0..3_u8, prop::bool::weighted(0.1)), 0..200),
    ) {
        let window = Duration::from_nanos(60);
        let mut limiter = Limiter::new(messages_max, window, 8);
        let mut now = Uptime::default();
        let mut charged: Vec<(u8, Uptime)> = Vec::new();
        for (pause, peer, refund) in attempts {
            now = now.after(Duration::from_nanos(pause));
            let in_window = |charged: &[(u8, Uptime)]| {
                charged.iter().filter(|(charged, at)| *charged == peer && now.saturating_since(*at) <= window).count()
            };
            let had_room = in_window(&charged) < messages_max;
            prop_assert_eq!(limiter.charge(node(peer), Tag(7), now), had_room);
            if had_room {
                charged.push((peer, now));
            }
            prop_assert!(in_window(&charged) <= messages_max);
            if refund && had_room {
                prop_assert!(limiter.refund(node(peer), Tag(7)));
                charged.pop();
            }
        }
    }
}

/// The worst that can wait: everything leaves within a minute.
#[test]
fn a_full_backlog_is_gone_within_a_minute() {
    let mut pacer = Pacer::new();
    for number in 0..PACED_MESSAGES_MAX / 2 {
        pacer.push(write(number)).unwrap();
        assert!(matches!(pacer.next(Uptime::default()), Pace::Publish(_)));
    }
    // As JSON a NUL takes six bytes, so that few of these fit into one message.
    let large = record("k", put(&[0; 60_000]), nanos(1), 1, Saw::AllOlder);
    let mut pushed = 0;
    while pacer.push(large.clone()).is_ok() {
        pushed += 1;
    }
    let small = record("k", put(b""), nanos(1), 1, Saw::AllOlder);
    while pacer.push(small.clone()).is_ok() {
        pushed += 1;
    }
    assert!(pushed <= PACED_BACKLOG_RECORDS_MAX);
    let mut published = Vec::new();
    drain(&mut pacer, Uptime::default(), Uptime(Duration::MAX), &mut published);
    assert_eq!(
        published.iter().map(|message| message.records.len()).sum::<usize>(),
        pushed
    );
    assert!(
        published
            .iter()
            .all(|message| encode(&message.records).len() <= MESSAGE_BYTES_MAX)
    );
    assert!(
        published.last().unwrap().at < Uptime(Duration::from_secs(60)),
        "{:?}",
        published.last().unwrap().at
    );
}
