//! Packets as this program and others write them.

use super::*;

const TAG: &str = "0011223344556677";

fn names() -> (PeerId, OwnNames) {
    let peer = PeerId::random();
    (peer, OwnNames::new("Kitchen-abcd", &peer, TAG, 4002))
}

/// What a browser asks.
pub(in super::super) fn browsing() -> Query {
    let (_, own) = names();
    match own.read(&browse(std::iter::empty()).unwrap()) {
        Some(Message::Query(query)) => query,
        other => panic!("{other:?}"),
    }
}

fn pieces(bytes: &[u8]) -> Vec<Piece> {
    match names().1.read(bytes) {
        Some(Message::Response(pieces)) => pieces,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_one_node_announces_another_understands() {
    let (peer, own) = names();
    let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
    let instance = "kitchen-abcd._p2p-sync._tcp.local".to_owned();
    let host = "kitchen-abcd.local".to_owned();
    let heard = pieces(&own.response(&addresses, true, Purpose::Announce).unwrap());
    let address = |address| Piece::Address {
        host: host.clone(),
        address,
        ttl_s: 120,
        flushes: true,
    };
    assert_eq!(
        heard,
        [
            Piece::Instance {
                instance: instance.clone(),
                ttl_s: 4_500
            },
            Piece::Place {
                instance: instance.clone(),
                host: host.clone(),
                port: 4002,
                ttl_s: 120
            },
            Piece::Text {
                instance: instance.clone(),
                said: Said {
                    peer: Some(peer),
                    network_tag: TAG.to_owned(),
                    version: "1".to_owned(),
                    sealed: None,
                },
                ttl_s: 4_500
            },
            address(addresses[0]),
            address(addresses[1]),
        ]
    );
    let heard = pieces(&own.response(&addresses, false, Purpose::Withdraw).unwrap());
    assert_eq!(heard[0], Piece::Instance { instance, ttl_s: 0 });
}

fn text(strings: &[&str]) -> Piece {
    let mut text = TXT::new();
    for string in strings {
        text.add_string(string).unwrap();
    }
    let mut packet = Packet::new_reply(0);
    let name = Name::new("other._p2p-sync._tcp.local").unwrap();
    packet
        .answers
        .push(ResourceRecord::new(name, CLASS::IN, 10, RData::TXT(text)));
    pieces(&packet.build_bytes_vec().unwrap()).remove(0)
}

#[test]
fn empty_strings_and_strings_without_a_key_are_passed_over() {
    let id = PeerId::random();
    let with_id = format!("ID={id}");
    let net = format!("net={TAG}");
    let expected = |peer| Piece::Text {
        instance: "other._p2p-sync._tcp.local".to_owned(),
        said: Said {
            peer,
            network_tag: TAG.to_owned(),
            version: String::new(),
            sealed: None,
        },
        ttl_s: 10,
    };
    assert_eq!(text(&["", "=nothing", "flag", &with_id, "", &net]), expected(Some(id)));
    // The first counts.
    let later = format!("id={}", PeerId::random());
    assert_eq!(text(&[&with_id, &later, &net, "net=other"]), expected(Some(id)));
    assert_eq!(text(&["id=nonsense", &with_id, &net]), expected(None));
    assert!(matches!(text(&[&with_id]), Piece::Text { said, .. } if said.network_tag.is_empty()));
}

#[test]
fn a_node_of_a_private_network_says_nothing_but_its_port_and_what_is_sealed() {
    let own = OwnNames::sealed("p2p-sync-a2b3c4d5", Some("c2VhbGVk"), 4002);
    let packet = own
        .response(&["10.0.0.1".parse().unwrap()], false, Purpose::Announce)
        .unwrap();
    let heard = pieces(&packet);
    let said = heard.iter().find_map(|piece| match piece {
        Piece::Text { instance, said, .. } => Some((instance.as_str(), said.clone())),
        _ => None,
    });
    let expected = Said {
        peer: None,
        network_tag: String::new(),
        version: "2".to_owned(),
        sealed: Some("c2VhbGVk".to_owned()),
    };
    assert_eq!(said, Some(("p2p-sync-a2b3c4d5._p2p-sync._tcp.local", expected)));
    let texts: Vec<&[u8]> = packet
        .split(|byte| !byte.is_ascii_graphic())
        .filter(|text| text.len() > 3)
        .collect();
    let known: [&[u8]; 5] = [b"_p2p-sync", b"_tcp", b"local", b"p2p-sync-a2b3c4d5", b"x=c2VhbGVk"];
    for text in texts {
        assert!(
            known.iter().any(|known| text.ends_with(known)),
            "{}",
            text.escape_ascii()
        );
    }
    // Another version may mean something else by it.
    let of = |strings: &[&str]| match text(strings) {
        Piece::Text { said, .. } => said.sealed,
        other => panic!("{other:?}"),
    };
    assert_eq!(of(&["v=2", "x=c2VhbGVk"]).as_deref(), Some("c2VhbGVk"));
    assert_eq!(of(&["v=3", "x=c2VhbGVk"]), None);
    assert_eq!(of(&["x=c2VhbGVk"]), None);
}

fn ask(name: &str, kind: TYPE, known: Option<u32>) -> Option<Query> {
    let (_, own) = names();
    let mut packet = Packet::new_query(7);
    packet.questions.push(question(Name::new(name).unwrap(), kind));
    if let Some(ttl_s) = known {
        let instance = RData::PTR(PTR(Name::new("KITCHEN-abcd._p2p-sync._tcp.local").unwrap()));
        let service = Name::new(SERVICE).unwrap();
        packet
            .answers
            .push(ResourceRecord::new(service, CLASS::IN, ttl_s, instance));
    }
    match own.read(&packet.build_bytes_vec().unwrap()) {
        Some(Message::Query(query)) => Some(query).filter(|query| query.wants_us),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

#[test]
fn questions_for_us_are_told_from_others() {
    assert!(ask("_P2P-SYNC._tcp.local", TYPE::PTR, None).is_some());
    assert!(ask("_http._tcp.local", TYPE::PTR, None).is_none());
    assert!(ask("_p2p-sync._tcp.local", TYPE::SRV, None).is_none());
    assert!(ask("other._p2p-sync._tcp.local", TYPE::SRV, None).is_none());
    assert!(ask("Kitchen-abcd.local", TYPE::AAAA, None).unwrap().is_for_us_alone);
    assert!(
        ask("Kitchen-abcd._p2p-sync._tcp.local", TYPE::TXT, None)
            .unwrap()
            .is_for_us_alone
    );
    assert!(
        ask("_services._dns-sd._udp.local", TYPE::PTR, None)
            .unwrap()
            .of_all_services
    );
    // Who knows us for half its time at least is not answered.
    assert!(ask("_p2p-sync._tcp.local", TYPE::PTR, Some(2_250)).is_none());
    assert!(ask("_p2p-sync._tcp.local", TYPE::PTR, Some(2_249)).is_some());
}

#[test]
fn a_single_resolver_gets_its_question_back_and_nothing_for_long() {
    let (_, own) = names();
    let query = ask("_p2p-sync._tcp.local", TYPE::PTR, None).unwrap();
    let bytes = own.legacy_response(&query, &["10.0.0.1".parse().unwrap()]).unwrap();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.id(), packet.questions.len()), (7, 1));
    assert_eq!((packet.answers.len(), packet.additional_records.len()), (1, 3));
    let all = packet.answers.iter().chain(&packet.additional_records);
    assert!(all.clone().all(|record| record.ttl <= 10 && !record.cache_flush));
}

#[test]
fn what_is_known_is_said_and_what_is_missing_is_asked() {
    let bytes = browse(["a._p2p-sync._tcp.local"].into_iter()).unwrap();
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.questions.len(), packet.answers.len()), (1, 1));
    let bytes = resolve(["a._p2p-sync._tcp.local"].into_iter(), ["a.local"].into_iter()).unwrap();
    assert_eq!(Packet::parse(&bytes).unwrap().questions.len(), 4);
    assert!(resolve(std::iter::empty(), std::iter::empty()).is_none());
}

#[test]
fn a_long_list_of_known_nodes_is_cut_and_says_so() {
    let (_, own) = names();
    // The longest that a node calls itself.
    let known: Vec<String> = (10..30)
        .map(|number| format!("{}-{number}abcdef.{SERVICE}", "x".repeat(50)))
        .collect();
    for (count, cut) in [(KNOWN_MAX, false), (KNOWN_MAX + 1, true)] {
        let bytes = browse(known.iter().take(count).map(String::as_str)).unwrap();
        assert!(bytes.len() <= 1_400, "{} bytes", bytes.len());
        assert_eq!(Packet::parse(&bytes).unwrap().answers.len(), KNOWN_MAX);
        assert!(matches!(own.read(&bytes), Some(Message::Query(query)) if query.knows_more == cut));
    }
}

#[test]
fn questions_about_long_names_fit_into_one_packet() {
    // No two have an end in common that could be left out.
    let long: Vec<String> = (10..26)
        .map(|number| format!("{0}.{0}.{0}.{0}", format!("{number}").repeat(30)))
        .collect();
    let instances: Vec<String> = (10..26)
        .map(|number| format!("{}{number}.{SERVICE}", "x".repeat(60)))
        .collect();
    let all = |names: &[String]| resolve(names.iter().map(String::as_str), long.iter().map(String::as_str)).unwrap();
    for bytes in [all(&instances), all(&[])] {
        assert!((1_000..=1_400).contains(&bytes.len()), "{} bytes", bytes.len());
        assert!(Packet::parse(&bytes).unwrap().questions.len() >= 10);
    }
}

#[test]
fn no_packet_makes_it_panic_or_take_much_memory() {
    let (_, own) = names();
    let good = own
        .response(&["10.0.0.1".parse().unwrap()], true, Purpose::Announce)
        .unwrap();
    let mut seed = 1_u64;
    let mut next = |below: usize| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..30_000 {
        let mut bytes = good.clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            bytes[at] = u8::try_from(next(256)).unwrap();
        }
        bytes.truncate(1 + next(bytes.len()));
        let _ = own.read(&bytes);
    }
    // Records are promised that are not there.
    assert!(own.read(&[0, 0, 0x84, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]).is_none());
    assert!(own.read(&[]).is_none());
}

#[test]
fn other_kinds_of_messages_errors_and_classes_are_passed_over() {
    let (_, own) = names();
    let announced = own
        .response(&["10.0.0.1".parse().unwrap()], false, Purpose::Announce)
        .unwrap();
    let asked = browse(std::iter::empty()).unwrap();
    for packet in [&announced, &asked] {
        assert!(own.read(packet).is_some());
        // Opcode 1 and 15, then rcode 3.
        for (place, bits) in [(2, 0x08), (2, 0x78), (3, 0x03)] {
            let mut other = packet.clone();
            other[place] |= bits;
            assert!(own.read(&other).is_none(), "byte {place}: {bits:#x}");
        }
    }
    let mut chaos = Packet::new_reply(0);
    chaos.answers = own.records(&["10.0.0.1".parse().unwrap()], false).unwrap();
    chaos.answers.iter_mut().for_each(|record| record.class = CLASS::CH);
    assert!(own.read(&chaos.build_bytes_vec_compressed().unwrap()).is_none());
}
