//! How sessions follow each other, and who gives way to whom.

use super::*;

#[test]
fn sessions_that_end_unequal_are_followed_up_with_growing_pauses() {
    let mut bench = Bench::new(8, [1]);
    bench.agenda.owe(id(1), at(0));
    bench.run(5_000, |_| Some(end(Some(Outcome::Delivered), 1, OTHER)));
    let pauses: Vec<u64> = bench.times().windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| (200..=510).contains(pause)), "{pauses:?}");
    for outcome in [Some(Outcome::Delivered), Some(Outcome::Busy), None] {
        let mut bench = Bench::new(9, [1]);
        bench.agenda.owe(id(1), at(0));
        bench.run(300_000, |_| Some(end(outcome, 0, OTHER)));
        let pauses: Vec<u64> = bench.times().windows(2).map(|pair| pair[1] - pair[0]).collect();
        let (mut least, mut most) = (375, 510);
        for (number, pause) in pauses.iter().enumerate().take(6) {
            assert!((least..=most).contains(pause), "pause {number}: {pauses:?}");
            (least, most) = (least * 2 - 10, most * 2);
        }
        assert!(
            pauses.iter().all(|pause| *pause <= 30_010) && pauses.len() >= 12,
            "{pauses:?}"
        );
    }
}

#[test]
fn a_new_reason_waits_two_seconds_for_a_peer_that_fails() {
    let mut bench = Bench::new(10, [1]);
    bench.agenda.owe(id(1), at(0));
    bench.run(60_000, |_| Some(end(None, 0, OTHER)));
    let last = *bench.times().last().unwrap();
    bench.agenda.owe(id(1), at(bench.millis));
    bench.run(bench.millis + 2_300, |_| Some(equal()));
    let next = *bench.times().last().unwrap();
    assert!(next > last && next >= last + 2_000, "{last} {next}");
}

#[test]
fn what_falls_due_during_a_session_is_done_behind_it() {
    let mut bench = Bench::new(11, [1, 2]);
    bench.agenda.owe(id(1), at(0));
    bench.run(1_000, |_| None);
    assert_eq!(bench.opened.len(), 1);
    bench.agenda.owe(id(1), at(1_000));
    bench.run(20_000, |_| None);
    assert_eq!(bench.opened.len(), 1, "one at a time");
    bench.agenda.ended(id(1), equal(), at(20_000));
    bench.run(20_500, |_| Some(equal()));
    assert_eq!(bench.times(), [200, 20_200]);
}

#[test]
fn a_session_of_the_peer_serves_what_was_owed_before_it() {
    let mut bench = Bench::new(12, [1]);
    bench.agenda.owe(id(1), at(0));
    assert_eq!(bench.agenda.asks(id(1)), Answer::Accept);
    bench.agenda.ended(id(1), equal(), at(100));
    bench.run(10_000, |_| Some(equal()));
    assert_eq!(bench.opened, []);
    // One that breaks off does not.
    bench.agenda.owe(id(1), at(10_000));
    bench.agenda.asks(id(1));
    bench.agenda.ended(id(1), SessionEnd::unopened(), at(10_100));
    bench.run(12_000, |_| Some(equal()));
    assert_eq!(bench.opened.len(), 1);
}

#[test]
fn of_two_sessions_opened_at_once_that_of_the_smaller_id_goes_on() {
    let mut bench = Bench::new(13, [99, 101]);
    bench.agenda.owe(id(99), at(0));
    bench.agenda.owe(id(101), at(0));
    bench.run(500, |_| None);
    assert_eq!(bench.agenda.asks(id(101)), Answer::Refuse);
    assert_eq!(bench.agenda.asks(id(99)), Answer::AcceptInsteadOfOurs);
    // Each of them gave up what it had before.
    assert_eq!(bench.agenda.asks(id(99)), Answer::AcceptInsteadOfOurs);
    bench.agenda.ended(id(99), equal(), at(500));
    assert_eq!(bench.agenda.asks(id(99)), Answer::Accept);
    bench.run(10_000, |_| None);
    assert_eq!(bench.opened.len(), 2);
}

#[test]
fn a_session_that_comes_before_the_connection_is_told_counts() {
    let mut bench = Bench::new(14, []);
    assert_eq!(bench.agenda.asks(id(99)), Answer::Accept);
    bench.agenda.connected(id(99), at(0));
    bench.agenda.ended(id(99), equal(), at(100));
    // One that never connects leaves nothing behind.
    assert_eq!(bench.agenda.asks(id(98)), Answer::Accept);
    bench.agenda.ended(id(98), SessionEnd::unopened(), at(100));
    bench.run(10_000, |_| None);
    assert_eq!((bench.opened.len(), bench.agenda.peers.len()), (0, 1));
    bench.agenda.disconnected(id(99));
    assert_eq!((bench.agenda.next_due(), bench.agenda.peers.len()), (None, 0));
}

#[test]
fn eight_sessions_are_held_at_a_time() {
    let mut bench = Bench::new(15, 1..=30);
    for peer in 1..=30 {
        bench.agenda.owe(id(peer), at(0));
    }
    bench.run(1_000, |_| None);
    assert_eq!(bench.peers().len(), 8);
    let first = bench.opened.clone();
    for (_, peer, _) in first {
        bench.agenda.ended(peer, equal(), at(bench.millis));
    }
    bench.run(2_000, |_| Some(equal()));
    assert_eq!((bench.peers().len(), bench.opened.len()), (30, 30));
}

#[test]
fn sessions_that_take_their_time_keep_others_waiting_for_a_moment_only() {
    let mut bench = Bench::new(15, 1..=60);
    for peer in 1..=60 {
        bench.agenda.owe(id(peer), at(0));
    }
    bench.run(60_000, |_| None);
    let times: Vec<u64> = [200, 2_200, 4_200, 6_200]
        .into_iter()
        .flat_map(|millis| [millis; 8])
        .collect();
    assert_eq!(bench.times(), times, "eight at once, 32 in all");
    assert_eq!(
        bench.agenda.next_due().filter(|due| *due < at(bench.millis)),
        None,
        "it would never sleep"
    );
}

/// So many peers open their sessions and let them drip until they are cut off. When an honest one that came last was first
/// served, and how long it waited at most for each session that it was owed after that, in seconds.
fn served_among(dripping: u8) -> (u64, u64) {
    const CUT_OFF_MS: u64 = 45_000;
    let honest = id(255);
    let mut bench = Bench::new(19, []);
    for peer in 101..101 + dripping {
        bench.agenda.connected(id(peer), at(0));
    }
    bench.agenda.connected(honest, at(10));
    let (mut under_way, mut owed, mut waits) = (Vec::new(), 10, Vec::new());
    while bench.millis < 1_200_000 {
        let before = bench.opened.len();
        bench.run(bench.millis + 10, |peer| (peer == honest).then(equal));
        let opened = &bench.opened[before..];
        if bench.millis >= owed && opened.iter().any(|(_, peer, _)| *peer == honest) {
            waits.push((bench.millis - owed) / 1_000);
            owed = bench.millis + 60_000;
        }
        under_way.extend(opened.iter().filter(|(_, peer, _)| *peer != honest).cloned());
        if bench.millis == owed {
            bench.agenda.owe(honest, at(owed));
        }
        while under_way
            .first()
            .is_some_and(|(since, ..)| since + CUT_OFF_MS <= bench.millis)
        {
            let (_, peer, _) = under_way.remove(0);
            bench.agenda.ended(peer, end(None, 1, OTHER), at(bench.millis));
        }
    }
    (waits[0], waits[1..].iter().copied().max().unwrap())
}

#[test]
fn peers_that_let_their_sessions_drip_keep_nobody_waiting_for_long() {
    let (first, later) = served_among(8);
    assert!(first <= 2 && later <= 2, "{first} {later}");
    let (first, later) = served_among(40);
    assert!(first <= 60 && later <= 45, "{first} {later}");
    let (first, later) = served_among(100);
    assert!(first <= 150 && later <= 45, "{first} {later}");
}
