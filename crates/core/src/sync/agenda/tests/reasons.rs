//! What leads to a session.

use super::*;

#[test]
fn without_peers_nothing_is_ever_due() {
    let mut bench = Bench::new(1, []);
    bench.agenda.changed(Via::Local, at(0));
    bench.agenda.changed(Via::Session { neighbour: id(3) }, at(0));
    bench.agenda.owe(id(3), at(0));
    assert_eq!(bench.agenda.next_due(), None);
    bench.run(100_000, |_| None);
    assert_eq!((bench.opened.len(), bench.agenda.peers.len()), (0, 0));
}

#[test]
fn new_peers_are_greeted_by_the_smaller_id_at_once_and_by_the_other_if_need_be() {
    let mut bench = Bench::new(1, []);
    bench.agenda.connected(id(101), at(0));
    bench.agenda.connected(id(99), at(0));
    bench.agenda.connected(id(98), at(0));
    assert_eq!(bench.agenda.asks(id(98)), Answer::Accept);
    bench.agenda.ended(id(98), equal(), at(500));
    bench.run(5_000, |_| Some(equal()));
    assert_eq!(
        bench.opened,
        [(10, id(101), Opening::Hello), (2_000, id(99), Opening::Hello)]
    );
}

#[test]
fn a_greeting_that_fails_is_repeated() {
    let mut bench = Bench::new(2, []);
    bench.agenda.connected(id(101), at(0));
    let mut failures = 3;
    bench.run(10_000, |_| {
        failures -= 1;
        Some(if failures >= 0 { SessionEnd::unopened() } else { equal() })
    });
    assert_eq!(bench.opened.len(), 4, "{:?}", bench.opened);
    assert!(bench.opened.iter().all(|(.., opening)| *opening == Opening::Hello));
}

#[test]
fn what_is_owed_is_gathered_for_a_moment() {
    let mut bench = Bench::new(3, [1, 2]);
    bench.run(1_000, |_| None);
    for millis in [1_000, 1_050, 1_190] {
        bench.agenda.owe(id(1), at(millis));
    }
    bench.run(5_000, |_| Some(equal()));
    assert_eq!(bench.opened, [(1_200, id(1), Opening::Check)]);
}

#[test]
fn two_peers_are_checked_behind_the_last_change() {
    let (mut earliest, mut latest, mut picked) = (u64::MAX, 0, BTreeSet::new());
    for seed in 0..200 {
        let mut bench = Bench::new(seed, 1..=9);
        for millis in (0..5_000).step_by(500) {
            let origin = if millis % 1_000 == 0 {
                Via::Local
            } else {
                Via::Gossip {
                    author: id(3),
                    neighbour: id(1),
                }
            };
            bench.agenda.changed(origin, at(millis));
            bench.run(millis + 500, |_| Some(equal()));
        }
        assert!(bench.opened.is_empty(), "not while changes go on");
        bench.run(10_000, |_| Some(equal()));
        assert_eq!((bench.opened.len(), bench.peers().len()), (2, 2));
        earliest = earliest.min(bench.times()[0]);
        latest = latest.max(bench.times()[1]);
        picked.extend(bench.peers());
    }
    assert!(
        earliest >= 4_500 + 1_000 && latest <= 4_510 + 2_000,
        "{earliest} {latest}"
    );
    assert_eq!(picked.len(), 9, "any of them");
}

#[test]
fn one_peer_is_checked_now_and_then_without_a_reason() {
    let mut bench = Bench::new(5, 1..=9);
    bench.run(20 * 60_000, |_| Some(equal()));
    let times = bench.times();
    assert!(
        times
            .windows(2)
            .all(|pair| (29_990..=60_010).contains(&(pair[1] - pair[0]))),
        "{times:?}"
    );
    assert!((20..=40).contains(&times.len()) && bench.peers().len() > 5);
}

#[test]
fn those_in_doubt_are_checked_more_often_but_not_alone() {
    let mut bench = Bench::new(6, 1..=10);
    bench.agenda.asks(id(5));
    bench.agenda.ended(id(5), end(Some(Outcome::Equal), 0, OTHER), at(0));
    let ends = |peer| Some(end(Some(Outcome::Equal), 0, if peer == id(5) { OTHER } else { MINE }));
    bench.run(100 * 60_000, ends);
    let in_doubt = bench.opened.iter().filter(|(_, peer, _)| *peer == id(5)).count();
    let all = bench.opened.len();
    assert!(in_doubt > all * 2 / 5 && in_doubt < all * 7 / 10, "{in_doubt} of {all}");
    assert_eq!(bench.peers().len(), 10);
}

#[test]
fn what_came_by_a_session_is_passed_on_to_those_who_may_lack_it() {
    for seed in 0..100 {
        let mut bench = Bench::new(seed, 1..=5);
        bench.agenda.asks(id(1));
        bench.agenda.ended(id(1), end(Some(Outcome::Equal), 7, MINE), at(0));
        // Peers 2 and 3 are known to hold the same already; 4 and 5 had something else.
        for peer in [4, 5] {
            bench.agenda.asks(id(peer));
            bench.agenda.ended(id(peer), end(Some(Outcome::Equal), 0, OTHER), at(0));
        }
        bench.agenda.changed(Via::Session { neighbour: id(1) }, at(0));
        bench.run(10_000, |_| Some(equal()));
        assert_eq!(bench.peers(), [id(4), id(5)].into());
        assert_eq!(bench.opened.len(), 2);
        assert!(bench.times().iter().all(|millis| (200..=1_010).contains(millis)));
    }
}

#[test]
fn a_session_that_compared_an_older_moment_does_not_stand_for_what_came_since() {
    let newer = [3; 32];
    for seed in 0..100 {
        let mut bench = Bench::new(seed, [1, 2]);
        bench.agenda.owe(id(2), at(0));
        bench.run(1_000, |_| None);
        // Both sides have told their digests when something comes from another peer.
        bench.mine = newer;
        bench.agenda.changed(Via::Session { neighbour: id(1) }, at(1_000));
        bench.agenda.ended(id(2), equal(), at(1_050));
        bench.run(5_000, |_| Some(end(Some(Outcome::Equal), 0, newer)));
        let peers: Vec<NodeId> = bench.opened.iter().map(|(_, peer, _)| *peer).collect();
        assert_eq!(peers, [id(2), id(2)], "seed {seed}");
    }
}

#[test]
fn a_stream_of_changes_is_passed_on_in_rounds_of_eight() {
    let mut bench = Bench::new(7, 1..=30);
    bench.mine = [3; 32];
    let mut told = BTreeSet::new();
    for millis in (0..12_000).step_by(50) {
        bench.agenda.changed(Via::Session { neighbour: id(1) }, at(millis));
        // No peer ever says that it holds the same.
        bench.run(millis + 50, |_| Some(end(Some(Outcome::Equal), 0, OTHER)));
    }
    let mut rounds: Vec<u64> = bench.times();
    rounds.dedup();
    assert!(
        rounds.len() >= 5 && rounds.windows(2).all(|pair| pair[1] - pair[0] >= 2_000),
        "{rounds:?}"
    );
    for round in &rounds {
        let peers = bench.opened.iter().filter(|(millis, ..)| millis == round);
        let peers: Vec<NodeId> = peers.map(|(_, peer, _)| *peer).collect();
        assert!(peers.len() <= 8);
        told.extend(peers);
    }
    assert!(told.len() >= 20, "{}", told.len());
    // And when the stream ends, none of the others is forgotten.
    bench.run(24_000, |_| Some(end(Some(Outcome::Equal), 0, [3; 32])));
    assert_eq!(bench.peers().len(), 29, "all but the one that it came from");
}

/// What waits for room is not looked at before there is some; then it is, though the peer opens a session meanwhile.
#[test]
fn room_that_came_back_ends_the_waiting() {
    let mut bench = Bench::new(7, [1]);
    let settled = Settled {
        mine: [1; 32],
        theirs: [2; 32],
        records: 9,
    };
    let waiting = || SessionEnd {
        outcome: Some(Outcome::Waiting),
        settled: Some(settled),
        falls_due: Some(Timestamp::MAX),
        ..SessionEnd::unopened()
    };
    assert_eq!(bench.agenda.asks(id(1)), Answer::Accept);
    bench.agenda.ended(id(1), waiting(), at(0));
    bench.agenda.owe(id(1), at(1_000));
    bench.run(2_000, |_| Some(waiting()));
    assert_eq!(
        bench.opened,
        [(1_200, id(1), Opening::Recheck(settled))],
        "nothing changed"
    );
    bench.agenda.has_room_again(at(2_000));
    assert_eq!(bench.agenda.asks(id(1)), Answer::Accept);
    bench.agenda.ended(id(1), waiting(), at(2_100));
    bench.run(3_000, |_| Some(equal()));
    assert_eq!((bench.opened.len(), bench.opened[1].2), (2, Opening::Check));
}
