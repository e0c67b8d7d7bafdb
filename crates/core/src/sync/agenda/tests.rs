//! Each rule of the agenda, and that whatever happens nobody who is owed a session waits for ever.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::limits::FUTURE_MAX;

const MINE: SetDigestValue = [1; 32];
const OTHER: SetDigestValue = [2; 32];

fn id(number: u8) -> NodeId {
    NodeId::from_bytes(&[number]).unwrap()
}

fn at(millis: u64) -> Uptime {
    Uptime(Duration::from_millis(millis))
}

fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000).unwrap()
}

fn end(outcome: Option<Outcome>, changed: u64, digest: SetDigestValue) -> SessionEnd {
    SessionEnd {
        outcome,
        changed,
        peer_digest: Some(digest),
        settled: None,
        falls_due: None,
    }
}

fn equal() -> SessionEnd {
    end(Some(Outcome::Equal), 0, MINE)
}

fn waiting(falls_due: Option<Timestamp>) -> SessionEnd {
    SessionEnd {
        settled: Some(SETTLED),
        falls_due,
        ..end(Some(Outcome::Waiting), 0, OTHER)
    }
}

const SETTLED: Settled = Settled {
    mine: MINE,
    theirs: OTHER,
    records: 3,
};

/// An agenda being asked every ten milliseconds, and what it opened when.
struct Bench {
    agenda: Agenda,
    mine: SetDigestValue,
    millis: u64,
    opened: Vec<(u64, NodeId, Opening)>,
}

impl Bench {
    /// Node 100, with these peers, of which each has had its first session.
    fn new(seed: u64, peers: impl IntoIterator<Item = u8>) -> Self {
        let mut agenda = Agenda::new(id(100), seed);
        for peer in peers {
            agenda.connected(id(peer), at(0));
            assert_eq!(agenda.asks(id(peer)), Answer::Accept);
            agenda.ended(id(peer), equal(), at(0));
        }
        Self {
            agenda,
            mine: MINE,
            millis: 0,
            opened: Vec::new(),
        }
    }

    /// Goes on to this time; sessions that are opened end at once, as `ends` says.
    fn run(&mut self, until: u64, mut ends: impl FnMut(NodeId) -> Option<SessionEnd>) {
        while self.millis < until {
            self.millis += 10;
            let expected = self.agenda.next_due();
            let due = self.agenda.due(self.mine, wall(1_000), at(self.millis));
            if !due.is_empty() {
                assert!(
                    expected.is_some_and(|when| when <= at(self.millis)),
                    "due before it was said"
                );
            }
            for (peer, opening) in due {
                self.opened.push((self.millis, peer, opening));
                if let Some(end) = ends(peer) {
                    self.agenda.ended(peer, end, at(self.millis));
                }
            }
        }
    }

    fn times(&self) -> Vec<u64> {
        self.opened.iter().map(|(millis, ..)| *millis).collect()
    }

    fn peers(&self) -> BTreeSet<NodeId> {
        self.opened.iter().map(|(_, peer, _)| *peer).collect()
    }
}

#[test]
fn without_peers_nothing_is_ever_due() {
    let mut bench = Bench::new(1, []);
    bench.agenda.changed(Origin::Local, at(0));
    bench.agenda.changed(Origin::Sync { from: id(3) }, at(0));
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
                Origin::Local
            } else {
                Origin::Gossip
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
        bench.agenda.changed(Origin::Sync { from: id(1) }, at(0));
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
        bench.agenda.changed(Origin::Sync { from: id(1) }, at(1_000));
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
        bench.agenda.changed(Origin::Sync { from: id(1) }, at(millis));
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

#[test]
fn what_waits_for_its_time_is_due_by_the_wall_clock() {
    let mut agenda = Bench::new(16, [1]).agenda;
    agenda.owe(id(1), at(0));
    let mut now = wall(1_000);
    assert_eq!(agenda.due(MINE, now, at(1_000)).len(), 1);
    let due = wall(1_000).saturating_add(FUTURE_MAX);
    agenda.ended(id(1), waiting(Some(due)), at(1_000));
    let ask = |agenda: &mut Agenda, now: Timestamp, millis| {
        let due = agenda.due(MINE, now, at(millis));
        for (peer, opening) in &due {
            let in_an_hour = now.saturating_add(Duration::from_secs(3_600));
            let falls_due = (*opening == Opening::Check).then_some(in_an_hour);
            agenda.ended(*peer, waiting(falls_due), at(millis));
        }
        due
    };
    assert_eq!(agenda.next_due(), Some(at(2_000)), "the clock may step at any time");
    assert_eq!(ask(&mut agenda, now, 1_500), []);
    // Owed meanwhile: as cheap as between equals.
    agenda.owe(id(1), at(2_000));
    assert_eq!(ask(&mut agenda, now, 3_000), [(id(1), Opening::Recheck(SETTLED))]);
    assert_eq!(ask(&mut agenda, now, 4_000), []);
    // The clock steps to where it is due, far ahead of the time that went by.
    now = due;
    assert_eq!(ask(&mut agenda, now, 5_000), [(id(1), Opening::Check)]);
    assert_eq!(ask(&mut agenda, now, 6_000), []);
    // Back, and nothing happens; nor is a settled difference believed for ever.
    assert_eq!(ask(&mut agenda, wall(1), 20_000), []);
    let later = ask(&mut agenda, wall(1), 5_000 + 600_000);
    assert_eq!(later, [(id(1), Opening::Check)]);
}

#[test]
fn a_side_that_did_not_see_what_waits_looks_for_itself() {
    let mut bench = Bench::new(17, [1]);
    bench.agenda.asks(id(1));
    bench.agenda.ended(id(1), waiting(None), at(0));
    bench.run(29_900, |_| Some(waiting(Some(wall(2_000)))));
    assert_eq!(bench.opened.len(), 1);
    assert_eq!(bench.opened[0].2, Opening::Check);
}

/// What may befall an agenda.
#[derive(Debug, Clone)]
enum Event {
    Connected(u8),
    Disconnected(u8),
    Owed(u8),
    Local,
    Sync(u8),
    Asked(u8),
    /// All sessions under way end like this.
    End(usize, u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (1..=20_u8).prop_map(Event::Connected),
        1 => (1..=20_u8).prop_map(Event::Disconnected),
        3 => (1..=20_u8).prop_map(Event::Owed),
        1 => Just(Event::Local),
        2 => (1..=20_u8).prop_map(Event::Sync),
        2 => (1..=20_u8).prop_map(Event::Asked),
        4 => (0..5_usize, 0..2_u64).prop_map(|(outcome, changed)| Event::End(outcome, changed)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whoever_is_owed_gets_a_session_and_nobody_is_pestered(
        seed in any::<u64>(),
        events in prop::collection::vec((event(), 0..3_000_u64), 1..150),
    ) {
        let mut agenda = Agenda::new(id(10), seed);
        let mut millis = 0;
        let mut under_way = BTreeSet::new();
        let mut connected = BTreeSet::new();
        // Whom a session is owed since when, and when the last one with a peer was over.
        let mut owed = std::collections::BTreeMap::new();
        let mut over = std::collections::BTreeMap::new();
        let outcomes = [Some(Outcome::Equal), Some(Outcome::Waiting), Some(Outcome::Delivered), Some(Outcome::Busy), None];
        // Behind what was drawn, time to work everything off, without any other event.
        let calm = (0..200).map(|_| (Event::End(0, 0), 500));
        for (event, pause) in events.into_iter().chain(calm) {
            match event {
                Event::Connected(peer) => {
                    agenda.connected(id(peer), at(millis));
                    if connected.insert(id(peer)) {
                        owed.entry(id(peer)).or_insert(millis);
                        if !under_way.contains(&id(peer)) {
                            over.remove(&id(peer));
                        }
                    }
                }
                Event::Disconnected(peer) => {
                    agenda.disconnected(id(peer));
                    connected.remove(&id(peer));
                    under_way.remove(&id(peer));
                    owed.remove(&id(peer));
                    over.remove(&id(peer));
                }
                Event::Owed(peer) => {
                    agenda.owe(id(peer), at(millis));
                    if connected.contains(&id(peer)) {
                        owed.insert(id(peer), millis);
                    }
                }
                Event::Local => agenda.changed(Origin::Local, at(millis)),
                Event::Sync(peer) => agenda.changed(Origin::Sync { from: id(peer) }, at(millis)),
                Event::Asked(peer) => match agenda.asks(id(peer)) {
                    Answer::Refuse => prop_assert!(under_way.contains(&id(peer)) && id(peer) > id(10)),
                    Answer::Accept => prop_assert!(under_way.insert(id(peer))),
                    Answer::AcceptInsteadOfOurs => prop_assert!(under_way.contains(&id(peer))),
                },
                Event::End(outcome, changed) => {
                    for peer in std::mem::take(&mut under_way) {
                        agenda.ended(peer, end(outcomes[outcome], changed, OTHER), at(millis));
                        over.insert(peer, millis);
                        if outcome == 0 {
                            owed.remove(&peer);
                        }
                    }
                }
            }
            let until = millis + pause;
            while millis < until {
                millis = agenda.next_due().map_or(until, |when| {
                    u64::try_from(when.0.as_micros().div_ceil(1_000)).unwrap().clamp(millis + 1, until)
                });
                for (peer, _) in agenda.due(MINE, wall(1), at(millis)) {
                    prop_assert!(connected.contains(&peer), "nobody is asked who is not there");
                    prop_assert!(under_way.insert(peer), "one session with a peer at a time");
                    if let Some(over) = over.get(&peer) {
                        prop_assert!(millis >= over + 200, "asked again after {} ms", millis - over);
                    }
                }
                prop_assert!(agenda.own_sessions().count() <= 32);
                prop_assert!(agenda.peers.len() <= connected.len() + under_way.len());
            }
        }
        prop_assert!(owed.is_empty(), "still owed: {owed:?}");
    }
}
