//! The redial table, without a network.

use super::candidates::PER_ADDRESS_MAX;
use super::ip_budget::{ANSWERED_INTERVAL, UNPROVED_INTERVAL};
use super::schedule::{PAUSE_MAX, PAUSE_MIN, RECENT};
use super::*;

/// The chance that makes every factor 1 and takes the one in the middle.
const EVEN: Chance = Chance(|| 0.5);
const SECOND: Duration = Duration::from_secs(1);

fn address(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

/// A smaller and a greater peer id.
fn two_peers() -> (PeerId, PeerId) {
    let (a, b) = (PeerId::random(), PeerId::random());
    if a < b { (a, b) } else { (b, a) }
}

#[test]
fn the_smaller_id_dials_at_once_and_the_greater_after_a_moment() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    assert_eq!(
        dialer.due(now),
        [Order {
            peer: Some(great),
            addresses: vec![address(1)]
        }]
    );

    let mut dialer = Dialer::new(great, EVEN);
    dialer.learn(small, vec![address(1)], Source::Discovered, now);
    assert_eq!(dialer.due(now), []);
    assert_eq!(dialer.next_due(), Some(now + COURTESY));
    assert_eq!(dialer.due(now + COURTESY).len(), 1);
}

#[test]
fn pauses_double_to_their_cap_and_never_end() {
    let ((small, great), mut now) = (two_peers(), Instant::now());
    let start = now;
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Proved, now);
    let mut pauses = Vec::new();
    while now < start + 2 * RECENT {
        let order = dialer.due(now).pop().expect("it falls due for ever");
        dialer.failed(&order, now);
        let next = dialer.next_due().unwrap();
        pauses.push(next - now);
        now = next;
    }
    assert_eq!(pauses.first(), Some(&PAUSE_MIN));
    assert!(pauses.contains(&PAUSE_MAX_RECENT));
    assert_eq!(pauses.last(), Some(&PAUSE_MAX));
}

#[test]
fn where_another_answers_the_other_addresses_are_tried_and_that_one_seldom() {
    let ((small, great), now) = (two_peers(), Instant::now());
    for source in [Source::Configured, Source::Proved, Source::Discovered, Source::Claimed] {
        let mut dialer = Dialer::new(small, EVEN);
        dialer.learn(great, (1..4).map(address).collect(), source, now);
        let order = dialer.due(now).pop().unwrap();
        // That the address is our own is known only later.
        dialer.misled(&order, &address(1).with_p2p(great).unwrap(), small, now);
        assert_eq!(dialer.next_due(), Some(now + PAUSE_MIN), "{source:?}");
        let mut later = now + PAUSE_MIN;
        for wrong in 2..4 {
            let order = dialer.due(later).pop().unwrap();
            assert_eq!(order.addresses, (wrong..4).map(address).collect::<Vec<_>>());
            dialer.misled(&order, &address(wrong), small, later);
            later += SECOND;
        }
        assert_eq!(dialer.next_due(), Some(now + MISLED_PAUSE), "the first is tried again");
        assert_eq!(dialer.due(now + MISLED_PAUSE).pop().unwrap().addresses, [address(1)]);
    }
}

#[test]
fn whoever_answers_in_place_of_another_is_dialled_under_its_own_id() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Proved, now);
    let order = dialer.due(now).pop().unwrap();
    let tenant = PeerId::random();
    dialer.misled(&order, &address(1).with_p2p(tenant).unwrap(), tenant, now);
    let later = now + COURTESY;
    assert_eq!(
        dialer.due(later),
        [Order {
            peer: Some(tenant),
            addresses: vec![address(1)]
        }],
        "and the other one is not dialled there"
    );
    // A third one that answers at each dial cannot make us dial without end.
    for _ in 0..10 * PER_ADDRESS_MAX {
        let order = Order {
            peer: Some(tenant),
            addresses: vec![address(1)],
        };
        dialer.misled(&order, &address(1), PeerId::random(), later);
        let dials = dialer.due(later).len();
        assert!(dials <= 1, "{dials}");
    }
    assert!(dialer.known() <= PER_ADDRESS_MAX + 2);
}

#[test]
fn another_address_or_another_interface_ends_the_pause_of_one_who_was_misled() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Configured, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.misled(&order, &address(1), small, now);
    dialer.learn(great, vec![address(2)], Source::Discovered, now);
    let seen_elsewhere = dialer.due(now).pop().unwrap();
    assert_eq!(seen_elsewhere.addresses, [address(2)]);
    dialer.failed(&seen_elsewhere, now);
    dialer.wake(Subnets::default(), now);
    assert_eq!(dialer.due(now).pop().unwrap().addresses, [address(1), address(2)]);
}

#[test]
fn a_dial_that_fails_beside_an_open_connection_changes_nothing() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.connected(great, None, now);
    dialer.vouch(great);
    dialer.failed(&order, now);
    assert_eq!(dialer.next_due(), None);
    dialer.disconnected(great, now);
    assert_eq!(dialer.due(now), [order]);
}

#[test]
fn a_new_address_ends_the_pause_and_a_repeated_one_does_not() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Proved, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.failed(&order, now);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    assert_eq!(dialer.next_due(), Some(now + PAUSE_MIN));
    dialer.learn(great, vec![host(1)], Source::Discovered, now);
    assert_eq!(
        dialer.due(now),
        [Order {
            peer: Some(great),
            addresses: vec![address(1), host(1)]
        }]
    );
}

#[test]
fn an_address_without_a_peer_is_dialled_until_somebody_answers_and_again_after_that() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.configure(address(1), now);
    let order = dialer.due(now).pop().unwrap();
    assert_eq!(order.peer, None);
    dialer.failed(&order, now);
    assert_eq!(dialer.due(now + SECOND).pop().unwrap(), order);
    dialer.connected(great, Some(&address(1)), now + SECOND);
    assert_eq!(dialer.next_due(), None);
    dialer.disconnected(great, now + SECOND);
    assert_eq!(dialer.due(now + SECOND).pop().unwrap().peer, Some(great));
    assert_eq!(
        dialer.due(now + 10 * SECOND).pop().unwrap().peer,
        None,
        "another peer may answer there now"
    );
}

/// The address of some host.
fn host(n: usize) -> Multiaddr {
    format!("/ip4/10.{}.{}.{}/tcp/1", n / 40_000, n / 200 % 200, 1 + n % 200)
        .parse()
        .unwrap()
}

/// What a table of this kind of hearsay is after any number of strangers, each with an address of its own or all with one.
fn crowded(source: Source, one_host: bool) -> (Dialer, PeerId, Instant) {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, Chance(rand::random));
    let known = address(1);
    dialer.learn(great, vec![known], Source::Proved, now);
    for n in 0..5_000 {
        let place = if one_host { host(0) } else { host(n) };
        dialer.learn(PeerId::random(), vec![place], source, now);
    }
    (dialer, great, now)
}

#[test]
fn strangers_fill_their_own_places_and_displace_no_one_who_is_better_known() {
    for (source, rank) in [(Source::Discovered, Rank::Heard), (Source::Claimed, Rank::Visitor)] {
        let (mut dialer, great, now) = crowded(source, false);
        assert_eq!(dialer.known(), rank.places() + 1, "{source:?}");
        dialer.learn(great, (0..99).map(address).collect(), source, now);
        let orders = dialer.due(now);
        let first = orders.first().unwrap();
        assert_eq!((first.peer, first.addresses.first()), (Some(great), Some(&address(1))));
        // And a newcomer of another kind finds its place.
        let (other, other_source) = match source {
            Source::Discovered => (PeerId::random(), Source::Claimed),
            _ => (PeerId::random(), Source::Discovered),
        };
        dialer.learn(other, vec![host(9_000)], other_source, now);
        assert!(dialer.candidates.get(&other).is_some());
    }
}

#[test]
fn one_host_has_its_share_whatever_it_says_of_itself() {
    for source in [Source::Discovered, Source::Claimed, Source::Proved] {
        let (dialer, great, _) = crowded(source, true);
        assert_eq!(dialer.known(), PER_ADDRESS_MAX + 1, "{source:?}");
        assert!(dialer.candidates.get(&great).is_some());
    }
    // This machine itself costs nobody anything.
    let mut dialer = Dialer::new(PeerId::random(), EVEN);
    for port in 0..2 * PER_ADDRESS_MAX {
        let address = format!("/ip4/127.0.0.1/tcp/{}", port + 1).parse().unwrap();
        dialer.learn(PeerId::random(), vec![address], Source::Discovered, Instant::now());
    }
    assert_eq!(dialer.known(), 2 * PER_ADDRESS_MAX);
}

#[test]
fn neither_the_first_nor_the_last_of_a_crowd_is_sure_of_a_place() {
    let now = Instant::now();
    let peers: Vec<PeerId> = (0..2_000).map(|_| PeerId::random()).collect();
    let mut dialer = Dialer::new(PeerId::random(), Chance(rand::random));
    for (n, peer) in peers.iter().enumerate() {
        dialer.learn(*peer, vec![host(n)], Source::Discovered, now);
    }
    let places = Rank::Heard.places();
    let kept = |peers: &[PeerId]| {
        peers
            .iter()
            .filter(|peer| dialer.candidates.get(peer).is_some())
            .count()
    };
    // Of those that came last, two thirds stay; of those that came first, hardly any.
    let (first, last) = (kept(&peers[..places]), kept(&peers[peers.len() - places..]));
    assert!(
        first < places / 4 && last > places / 3 && last < places,
        "{first} and {last}"
    );
}

#[test]
fn an_address_that_never_answered_is_dialled_once_a_minute_under_whatever_ids() {
    let mut now = Instant::now();
    let end = now + 10 * UNPROVED_INTERVAL;
    let mut dialer = Dialer::new(PeerId::random(), Chance(rand::random));
    let mut dials = Vec::new();
    while now < end {
        for _ in 0..20 {
            dialer.learn(PeerId::random(), vec![address(2)], Source::Discovered, now);
        }
        for order in dialer.due(now) {
            dials.push(now);
            dialer.failed(&order, now);
        }
        now += SECOND;
    }
    assert_eq!(dials.len(), 10);
    assert!(dials.is_sorted_by(|one, next| *next >= *one + UNPROVED_INTERVAL));
}

#[test]
fn where_somebody_answered_another_node_is_dialled_soon() {
    let (mut dialer, now) = (Dialer::new(PeerId::random(), EVEN), Instant::now());
    let (one, other) = (PeerId::random(), PeerId::random());
    dialer.learn(one, vec![address(1)], Source::Discovered, now);
    let later = now + SECOND;
    assert_eq!(dialer.due(later).len(), 1);
    dialer.learn(other, vec![address(2)], Source::Discovered, now);
    assert_eq!(dialer.next_due(), Some(later + UNPROVED_INTERVAL));
    dialer.connected(one, Some(&address(1)), later);
    assert_eq!(dialer.next_due(), Some(later + ANSWERED_INTERVAL));
}

#[test]
fn a_newcomer_has_its_turn_within_ten_seconds_of_a_flood() {
    let mut now = Instant::now();
    let mut dialer = Dialer::new(PeerId::random(), Chance(rand::random));
    for n in 0..5_000 {
        dialer.learn(PeerId::random(), vec![host(n)], Source::Discovered, now);
    }
    let honest = PeerId::random();
    dialer.learn(honest, vec![address(1)], Source::Discovered, now);
    let (start, mut under_way) = (now, Vec::new());
    'until_its_turn: loop {
        for order in dialer.due(now) {
            if order.peer == Some(honest) {
                break 'until_its_turn;
            }
            under_way.push((now + 4 * SECOND, order));
        }
        now += Duration::from_millis(20);
        under_way.retain(|(gives_up, order)| {
            let waits = *gives_up > now;
            if !waits {
                dialer.failed(order, now);
            }
            waits
        });
        assert!(under_way.len() <= Rank::Heard.dials());
    }
    assert!(now - start <= 11 * SECOND, "{:?}", now - start);
}

#[test]
fn a_visitor_is_neither_remembered_nor_trusted_until_it_held_a_session() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.connected(great, None, now);
    assert_eq!(dialer.known(), 1);
    assert_eq!(
        dialer.vouch(great),
        Vec::<Multiaddr>::new(),
        "it has not said where it listens"
    );
    dialer.learn(great, vec![address(1)], Source::Claimed, now);
    assert_eq!(dialer.next_due(), None, "it is connected");
    dialer.disconnected(great, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.failed(&order, now);
    assert_eq!(dialer.next_due(), Some(now + UNPROVED_INTERVAL), "a mere visitor");

    dialer.connected(great, None, now);
    assert_eq!(dialer.vouch(great), [address(1)]);
    assert_eq!(dialer.vouch(great), Vec::<Multiaddr>::new(), "it was told before");
    dialer.disconnected(great, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.failed(&order, now);
    assert_eq!(dialer.next_due(), Some(now + PAUSE_MIN));
}

#[test]
fn a_peer_that_dialled_us_is_not_dialled_while_it_is_connected() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.connected(great, None, now);
    dialer.learn(great, vec![address(1)], Source::Proved, now);
    assert_eq!(dialer.next_due(), None);
    dialer.disconnected(great, now);
    assert_eq!(dialer.due(now).len(), 1);
}

#[test]
fn a_peer_that_was_reached_is_redialled_whatever_discovery_says() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    let order = dialer.due(now).pop().unwrap();
    dialer.connected(great, order.addresses.first(), now);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    dialer.unlearn(great);
    dialer.disconnected(great, now);
    assert_eq!(dialer.due(now), [order]);
}

#[test]
fn a_peer_that_was_only_heard_of_is_forgotten_with_its_announcement() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    dialer.learn(great, vec![address(1)], Source::Discovered, now);
    dialer.unlearn(great);
    assert_eq!(dialer.known(), 0);
}

#[test]
fn a_peer_announces_itself_until_it_is_lost_or_says_goodbye() {
    let ((small, great), now) = (two_peers(), Instant::now());
    let mut dialer = Dialer::new(small, EVEN);
    let announce = |dialer: &mut Dialer| dialer.learn(great, vec![address(1)], Source::Discovered, now);
    // Whether its address is known in a better way or not.
    for _ in 0..2 {
        announce(&mut dialer);
        assert!(dialer.is_announced(&great));
        dialer.connected(great, Some(&address(1)), now);
        dialer.disconnected(great, now);
        assert!(!dialer.is_announced(&great), "it may be off");
        announce(&mut dialer);
        assert!(dialer.is_announced(&great));
        dialer.unlearn(great);
        assert!(!dialer.is_announced(&great));
    }
}
