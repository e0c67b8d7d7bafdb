//! The rules of the table, at chosen moments.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn address(port: usize) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

fn refused(port: usize) -> Vec<(Multiaddr, TroubleCause)> {
    vec![(address(port), TroubleCause::Refused)]
}

fn due(troubles: &mut Troubles, now: Instant) -> Vec<TroubleCause> {
    let due = troubles.take_due(now);
    due.into_iter()
        .map(|(trouble, _)| trouble.attempts[0].cause.clone())
        .collect()
}

#[test]
fn a_warning_comes_when_it_lasts_and_again_after_an_hour_or_for_another_cause() {
    let (whom, start) = (Whom::Address(address(1)), Instant::now());
    let mut troubles = Troubles::new(&[address(1)]);
    let mut warnings = Vec::new();
    for second in 0..7_200 {
        let now = start + second * SECOND;
        let cause = if (10..20).contains(&second) {
            TroubleCause::NoAnswer
        } else {
            TroubleCause::Refused
        };
        troubles.note(whom.clone(), Expected::Perhaps, vec![(address(1), cause)], now);
        warnings.extend(due(&mut troubles, now).into_iter().map(|cause| (second, cause)));
    }
    assert_eq!(
        warnings,
        [
            (5, TroubleCause::Refused),
            (10, TroubleCause::NoAnswer),
            (3_605, TroubleCause::Refused)
        ]
    );
    let all = troubles.all();
    assert_eq!((all.len(), all[0].times, all[0].configured), (1, 7_200, true));
}

#[test]
fn the_end_of_the_grace_needs_no_other_try() {
    let (peer, now) = (Whom::Peer(PeerId::random()), Instant::now());
    let mut troubles = Troubles::new(&[]);
    troubles.note(peer, Expected::Announced, refused(1), now);
    assert_eq!(due(&mut troubles, now + GRACE / 2), []);
    assert_eq!(due(&mut troubles, now + GRACE), [TroubleCause::Refused]);
}

#[test]
fn who_was_there_once_is_shown_and_not_warned_of_but_an_answer_is_told_at_once() {
    let (peer, now) = (PeerId::random(), Instant::now());
    let mut troubles = Troubles::new(&[]);
    troubles.note(Whom::Peer(peer), Expected::Perhaps, refused(1), now);
    assert_eq!(due(&mut troubles, now + 60 * SECOND), []);
    assert_eq!(troubles.all().len(), 1);
    let another = vec![(address(2), TroubleCause::AnotherNetwork)];
    troubles.note(Whom::Peer(peer), Expected::Perhaps, another, now);
    assert_eq!(due(&mut troubles, now), [TroubleCause::AnotherNetwork]);
    assert_eq!(troubles.all()[0].attempts.len(), 2);
}

#[test]
fn an_address_that_changed_hands_is_worth_a_warning_only_if_the_user_named_it() {
    let (peer, other, now) = (PeerId::random(), node_id(&PeerId::random()).unwrap(), Instant::now());
    let named: Multiaddr = format!("{}/p2p/{peer}", address(1)).parse().unwrap();
    for (mut troubles, warned) in [(Troubles::new(&[]), false), (Troubles::new(&[named]), true)] {
        for cause in [TroubleCause::AnotherIdentity(other), TroubleCause::Ourselves] {
            let came = vec![(address(1), cause.clone())];
            troubles.note(Whom::Peer(peer), Expected::Announced, came, now);
            assert_eq!(due(&mut troubles, now + GRACE).contains(&cause), warned, "{cause}");
        }
    }
}

#[test]
fn a_member_that_answers_for_another_is_no_trouble_unless_the_user_meant_that_one() {
    let (old, member, now) = (PeerId::random(), PeerId::random(), Instant::now());
    let named: Multiaddr = format!("{}/p2p/{old}", address(1)).parse().unwrap();
    for (configured, rows) in [(vec![], 0), (vec![address(1)], 0), (vec![named], 1)] {
        let mut troubles = Troubles::new(&configured);
        let cause = TroubleCause::AnotherIdentity(node_id(&member).unwrap());
        troubles.note(Whom::Peer(old), Expected::Perhaps, vec![(address(1), cause)], now);
        troubles.is_member(PeerId::random());
        assert_eq!(troubles.all().len(), 1);
        troubles.is_member(member);
        assert_eq!(troubles.all().len(), rows, "{configured:?}");
    }
}

#[test]
fn who_is_looked_for_no_more_is_not_missed_where_another_answers() {
    let (old, now) = (PeerId::random(), Instant::now());
    let mut troubles = Troubles::new(&[]);
    let cause = TroubleCause::AnotherIdentity(node_id(&PeerId::random()).unwrap());
    let came = vec![(address(1), cause), (address(2), TroubleCause::NoAnswer)];
    troubles.note(Whom::Peer(old), Expected::Perhaps, came, now);
    troubles.keep_sought(|peer| *peer == old);
    assert_eq!(troubles.all()[0].attempts.len(), 2);
    troubles.keep_sought(|_| false);
    assert_eq!(troubles.all()[0].attempts.len(), 1);
}

#[test]
fn a_connection_ends_what_did_not_answer_and_only_acceptance_the_rest() {
    let (peer, now) = (PeerId::random(), Instant::now());
    let whom = Whom::Peer(peer);
    let mut troubles = Troubles::new(&[]);
    troubles.note(whom.clone(), Expected::Announced, refused(1), now);
    troubles.connected(peer, None);
    assert_eq!(troubles.all(), []);
    troubles.note(
        whom.clone(),
        Expected::Announced,
        vec![(address(1), TroubleCause::NotANode)],
        now,
    );
    assert_eq!(due(&mut troubles, now), [TroubleCause::NotANode]);
    troubles.connected(peer, None);
    assert_eq!(troubles.all().len(), 1, "who answers is still the wrong one");
    troubles.resolved(peer);
    assert_eq!(troubles.all(), []);
    // It comes and goes.
    troubles.note(
        whom,
        Expected::Announced,
        vec![(address(1), TroubleCause::NotANode)],
        now + SECOND,
    );
    assert_eq!(due(&mut troubles, now + SECOND), [], "that was told");
    assert_eq!((troubles.all().len(), troubles.all()[0].times), (1, 1));
}

#[test]
fn whoever_answers_at_an_address_that_the_user_named_has_no_row_of_its_own() {
    let now = Instant::now();
    let mut troubles = Troubles::new(&[address(1)]);
    for _ in 0..1_000 {
        let came = vec![(address(1), TroubleCause::NotANode)];
        troubles.note(Whom::Peer(PeerId::random()), Expected::Perhaps, came, now);
    }
    assert_eq!((troubles.rows.len(), troubles.take_due(now).len()), (1, 1));
    let right = PeerId::random();
    troubles.connected(right, Some(&address(1)));
    assert!(troubles.all()[0].configured);
    troubles.resolved(right);
    assert_eq!(troubles.all(), []);
}

#[test]
fn many_rows_take_bounded_memory_and_log_and_leave_alone_what_the_user_named() {
    let start = Instant::now();
    let named: Vec<Multiaddr> = (0..1_000).map(address).collect();
    let mut troubles = Troubles::new(&named);
    for port in 0..1_000 {
        troubles.note(Whom::Address(address(port)), Expected::Perhaps, refused(port), start);
    }
    let mut warnings = 0;
    for number in 0..10_000 {
        let now = start + number * SECOND / 20;
        let others = refused(2_000 + number as usize);
        troubles.note(Whom::Peer(PeerId::random()), Expected::Announced, others, now);
        warnings += troubles.take_due(now).len();
    }
    assert_eq!(troubles.rows.len(), named.len() + ROWS_MAX);
    assert_eq!(warnings, named.len() + BUDGET as usize);
    assert!(troubles.take_left_out() > 1_000);
    assert_eq!(
        troubles.all().iter().filter(|trouble| trouble.configured).count(),
        1_000
    );
    assert_eq!(troubles.take_left_out(), 0);
}

#[test]
fn few_addresses_are_kept_of_a_peer_and_nothing_for_ever() {
    let (whom, now) = (Whom::Peer(PeerId::random()), Instant::now());
    let mut troubles = Troubles::new(&[]);
    for port in 0..100 {
        troubles.note(whom.clone(), Expected::Perhaps, refused(port), now);
    }
    assert_eq!(troubles.all()[0].attempts.len(), ATTEMPTS_MAX);
    troubles.forget_address(&whom, &address(99));
    assert_eq!(troubles.all()[0].attempts.len(), ATTEMPTS_MAX - 1);
    troubles.take_due(now + FORGET_AFTER);
    assert!(troubles.rows.is_empty());
}
