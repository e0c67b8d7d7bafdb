//! Honest nodes, nodes that change, and floods.

use super::super::entry::TOLD_INTERVAL_MIN;
use super::super::ours::Said;
use super::*;
use crate::net::libp2p::testing::private;
use libp2p::identity::Keypair;
use p2p_sync_core::membership::SecretKey;
use p2p_sync_core::membership::announcement::seal;

const TAG: &str = "0011223344556677";

fn table() -> Table {
    let mut seed = 0_usize;
    Table::new(TAG.to_owned(), move |below| {
        seed = seed.wrapping_mul(25_214_903_917).wrapping_add(11);
        (seed >> 16) % below
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn source(number: u32) -> IpAddr {
    IpAddr::V4((0x0a00_0000 + number).into())
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn announcement(label: &str, peer: PeerId, address: &str, ttl_s: u32) -> Vec<Piece> {
    let (instance, host) = (format!("{label}._p2p-sync._tcp.local"), format!("{label}.local"));
    vec![
        Piece::Instance {
            instance: instance.clone(),
            ttl_s,
        },
        Piece::Place {
            instance: instance.clone(),
            host: host.clone(),
            port: 4002,
            ttl_s,
        },
        Piece::Text {
            instance,
            said: Said {
                peer: Some(peer),
                network_tag: TAG.to_owned(),
                version: "1".to_owned(),
                sealed: None,
            },
            ttl_s,
        },
        Piece::Address {
            host,
            address: ip(address),
            ttl_s,
            flushes: true,
        },
    ]
}

fn announced(peer: PeerId, addresses: &[&str]) -> News {
    News::Announced {
        peer,
        places: addresses.iter().map(|address| (ip(address), 4002)).collect(),
    }
}

#[test]
fn an_announcement_is_told_at_once_and_its_end_after_its_time_or_a_goodbye() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    let said = |ttl_s| announcement("a", peer, "10.0.0.1", ttl_s);
    assert_eq!(
        table.hear(source(1), said(120), start),
        [announced(peer, &["10.0.0.1"])]
    );
    // The same again is told seldom.
    assert_eq!(table.hear(source(1), said(120), after(start, 1)), []);
    assert_eq!(table.hear(source(1), said(120), after(start, 6)).len(), 1);
    assert_eq!(table.tick(after(start, 125)), []);
    assert_eq!(table.tick(after(start, 126)), [News::Gone { peer }]);

    table.hear(source(1), said(120), after(start, 200));
    assert_eq!(table.hear(source(1), said(0), after(start, 210)), []);
    assert_eq!(table.tick(after(start, 210)), []);
    assert_eq!(table.tick(after(start, 211)), [News::Gone { peer }]);
}

#[test]
fn seventy_years_are_two_minutes() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 70 * 365 * 86_400), start);
    assert_eq!(table.tick(after(start, 120)), [News::Gone { peer }]);
}

#[test]
fn new_addresses_take_the_place_of_those_of_the_same_source_only() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), start);
    let both = announced(peer, &["10.0.0.1", "10.66.66.66"]);
    assert_eq!(
        table.hear(source(66), announcement("a", peer, "10.66.66.66", 120), start),
        [both]
    );
    let moved = announced(peer, &["10.0.0.2", "10.66.66.66"]);
    assert_eq!(
        table.hear(source(1), announcement("a", peer, "10.0.0.2", 120), after(start, 2)),
        [moved]
    );
    // Somebody else's goodbye ends what somebody else has said.
    table.hear(source(66), announcement("a", peer, "10.66.66.66", 0), after(start, 3));
    assert_eq!(table.tick(after(start, 4)), [announced(peer, &["10.0.0.2"])]);
}

#[test]
fn what_comes_in_pieces_is_asked_for_and_put_together() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    let mut pieces = announcement("a", peer, "10.0.0.1", 120);
    let address = pieces.pop().unwrap();
    let rest = pieces.split_off(1);
    assert_eq!(table.hear(source(1), pieces, start), []);
    assert_eq!(table.take_missing(start).instances, ["a._p2p-sync._tcp.local"]);
    assert_eq!(table.hear(source(1), rest, start), []);
    assert_eq!(table.take_missing(start).hosts, ["a.local"]);
    assert_eq!(
        table.hear(source(1), vec![address], start),
        [announced(peer, &["10.0.0.1"])]
    );
    assert_eq!(table.take_missing(start), Missing::default());
}

#[test]
fn what_would_soon_be_forgotten_is_asked_for_a_few_times() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), start);
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(table.take_missing(at(104)), Missing::default());
    for _ in 0..3 {
        assert_eq!(table.take_missing(at(105)).instances, ["a._p2p-sync._tcp.local"]);
    }
    assert_eq!(table.take_missing(at(106)), Missing::default(), "enough");
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), at(107));
    assert_eq!(table.take_missing(at(107)), Missing::default());
    assert!(!table.take_missing(at(212)).instances.is_empty());
    table.hear(source(2), announcement("a", peer, "10.0.0.1", 120), at(213));
    assert_eq!(
        table.take_missing(at(213)),
        Missing::default(),
        "another source tells of it"
    );
}

#[test]
fn a_question_of_another_node_serves_if_all_that_it_lists_and_itself_are_known() {
    let (mut table, start) = (table(), Instant::now());
    for (number, name) in [(1, "a"), (2, "b")] {
        let pieces = announcement(name, PeerId::random(), &format!("10.0.0.{number}"), 120);
        table.hear(source(number), pieces, start);
    }
    let listed = |names: &[&str]| -> Vec<String> {
        names
            .iter()
            .map(|name| format!("{name}._p2p-sync._tcp.local"))
            .collect()
    };
    assert!(table.is_served(source(1), &[], start));
    assert!(table.is_served(source(1), &listed(&["b"]), start));
    assert!(
        !table.is_served(source(1), &listed(&["b", "c"]), start),
        "c does not answer, and is unknown"
    );
    assert!(
        !table.is_served(source(3), &[], start),
        "the asker does not answer itself"
    );
    assert!(!table.is_served(source(1), &[], start + Duration::from_secs(61)), "old");
}

#[test]
fn nodes_of_other_networks_are_known_and_never_told() {
    let (mut table, start) = (table(), Instant::now());
    let mut pieces = announcement("a", PeerId::random(), "10.0.0.1", 120);
    for piece in &mut pieces {
        if let Piece::Text { said, .. } = piece {
            said.network_tag.clear();
        }
    }
    assert_eq!(table.hear(source(1), pieces, start), []);
    assert_eq!(table.tick(after(start, 500)), []);
}

#[test]
fn a_node_of_a_private_network_is_told_of_once_its_port_is_known() {
    let (device, secret) = (
        PeerId::from(Keypair::ed25519_from_bytes([4; 32]).unwrap().public()),
        [7; 32],
    );
    let (private, _keep) = private::home(4);
    let (mut members, mut open, start) = (Table::new(Ours::Private(private), |_| 0), table(), Instant::now());
    let key = SecretKey::from_seed([4; 32]).public();
    let text = |port, secret| Piece::Text {
        instance: "a._p2p-sync._tcp.local".to_owned(),
        said: Said {
            peer: None,
            network_tag: String::new(),
            version: "2".to_owned(),
            sealed: Some(seal(&key, secret, port, [1; 8])),
        },
        ttl_s: 120,
    };
    let pieces = |label: &str, port, secret| {
        let mut pieces = announcement(label, PeerId::random(), "10.0.0.1", 120);
        pieces[2] = text(port, secret);
        pieces
    };
    // First what it says, and then where it is.
    let mut all = pieces("a", 4002, &secret);
    all.swap(1, 2);
    assert_eq!(open.hear(source(1), all.clone(), start), []);
    assert_eq!(members.hear(source(1), all, start), [announced(device, &["10.0.0.1"])]);
    // Another port than it says, another network's secret, and an open node.
    for other in [pieces("b", 4003, &secret), pieces("b", 4002, &[8; 32])] {
        assert_eq!(members.hear(source(2), other, start), []);
    }
    let own_tag = announcement("b", device, "10.0.0.1", 120);
    assert_eq!(members.hear(source(3), own_tag, start), []);
}

#[test]
fn who_says_to_be_somebody_else_now_is_no_longer_told_as_before() {
    let (mut table, peer, other, start) = (table(), PeerId::random(), PeerId::random(), Instant::now());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), start);
    let news = table.hear(source(1), announcement("a", other, "10.0.0.1", 120), after(start, 1));
    assert_eq!(news, [News::Gone { peer }, announced(other, &["10.0.0.1"])]);
}

#[test]
fn a_flood_from_one_source_leaves_the_others_alone() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), start);
    let mut told = 0;
    for number in 0..20_000_u32 {
        let now = start + Duration::from_millis(1) * number;
        let said = announcement(&format!("fake{number}"), PeerId::random(), "10.66.0.1", u32::MAX);
        told += table.hear(source(66), said, now).len();
    }
    assert!(told < 1_000, "{told} things told");
    assert_eq!(table.entries.len(), INSTANCES_PER_SOURCE_MAX + 1);
    let honest = PeerId::random();
    let news = table.hear(source(2), announcement("b", honest, "10.0.0.2", 120), after(start, 20));
    assert_eq!(news, [announced(honest, &["10.0.0.2"])]);
}

#[test]
fn a_flood_from_everywhere_has_a_bound_and_honest_news_gets_in() {
    let (mut table, start) = (table(), Instant::now());
    for number in 0..3_000_u32 {
        let said = announcement(&format!("fake{number}"), PeerId::random(), "10.66.0.1", u32::MAX);
        table.hear(source(number), said, start);
    }
    assert_eq!(
        (table.entries.len(), table.allowances.len()),
        (INSTANCES_MAX, SOURCES_MAX)
    );
    let honest = PeerId::random();
    let news = table.hear(
        source(77_777),
        announcement("b", honest, "10.0.0.2", 120),
        after(start, 1),
    );
    assert!(news.contains(&announced(honest, &["10.0.0.2"])), "{news:?}");
    // Afterwards nothing is left of it.
    table.tick(after(start, 130));
    assert!(table.entries.is_empty());
}

#[test]
fn of_hundreds_of_addresses_in_one_packet_the_first_are_looked_at() {
    let (mut table, now, peer) = (table(), Instant::now(), PeerId::random());
    table.hear(source(1), announcement("a", peer, "10.0.0.1", 120), now);
    let address = |number: u32, ttl_s| Piece::Address {
        host: "a.local".to_owned(),
        address: source(number),
        ttl_s,
        flushes: true,
    };
    // As many as an instance may have are taken back, and as many are new.
    let (over, new) = (
        (100..132).map(|number| address(number, 0)),
        (200..232).map(|number| address(number, 120)),
    );
    let beyond = (0..448).map(|_| address(200, 0));
    let later = now + TOLD_INTERVAL_MIN;
    let news = table.hear(source(1), over.chain(new).chain(beyond).collect(), later);
    let places = (200..232).map(|number| (source(number), 4002)).collect();
    assert_eq!(news, [News::Announced { peer, places }]);
}

#[test]
fn who_is_looked_for_again_and_says_goodbye_is_gone() {
    let (mut table, peer, start) = (table(), PeerId::random(), Instant::now());
    let said = |ttl_s| announcement("a", peer, "10.0.0.1", ttl_s);
    table.hear(source(1), said(120), start);
    // Asked for again, it is told again when it answers, however soon that is; not when it does not.
    table.tell_again();
    assert_eq!(table.tick(after(start, 1)), []);
    assert_eq!(table.hear(source(1), said(120), after(start, 1)).len(), 1);
    assert_eq!(table.hear(source(1), said(120), after(start, 2)), []);
    assert_eq!(table.hear(source(1), said(0), after(start, 3)), []);
    table.tell_again();
    assert_eq!(table.tick(after(start, 4)), [News::Gone { peer }]);
}
