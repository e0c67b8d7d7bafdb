//! Whatever befalls an agenda.

use proptest::prelude::*;

use super::*;

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
                Event::Local => agenda.changed(Via::Local, at(millis)),
                Event::Sync(peer) => agenda.changed(Via::Session { neighbour: id(peer) }, at(millis)),
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
