//! Each fault brings its line, and nothing else does.

use super::files::Files;
use super::findings;
use crate::report::{
    Closed, Finding, Multicast, MulticastWay, NodeOnLan, PeerClock, Status, Surroundings, Way, Ways, examples, read,
};

/// A node with which all is well.
const WELL: &str = r#"{"peer_id":"12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj","name":"desk","network":"","port":4002,
"addresses":[],"keys":1,"deleted":0,"peers":[],"known_peers":0,"mesh":0,"messages":{"sent":0,"received":0,"unheard":0},"dropped":[],
"sync":{"ready":true,"peers":[],"refused":[],"ahead":{"records":0,"first":[]},"conflicts":0,"repaired":0,"state":"no_peers","full":false},
"version":"0.1.0","uptime_seconds":100,"data_dir":"/d","store":{"bytes":4096,"log_bytes":0,"free_bytes":10000000000},"troubles":[],
"multicast":"heard","multicast_heard_seconds_ago":1,"not_listening":[]}"#;

fn well() -> Status {
    let mut status: Status = read(&WELL.replace('\n', " ")).unwrap();
    status.peers = examples::peers();
    status
}

fn alone() -> Status {
    Status {
        peers: Vec::new(),
        ..well()
    }
}

fn files() -> Files {
    Files {
        descriptors: Some(4_096),
        descriptors_open: Some(100),
        ..Files::default()
    }
}

fn all(status: &Status, around: &Surroundings) -> Vec<Finding> {
    findings(status, around, &files())
}

/// The words of what is found.
fn found_around(status: &Status, around: &Surroundings) -> Vec<String> {
    all(status, around).into_iter().map(|finding| finding.finding).collect()
}

fn found(status: &Status) -> Vec<String> {
    found_around(status, &examples::surroundings())
}

/// A peer that syncs.
fn peer(name: &str, state: &str) -> crate::report::SyncPeer {
    let text = format!(
        r#"{{"peer_id":"{}","name":"{name}","display_name":"{name}","state":"{state}","ahead":0,"behind":0,"waiting":3,"last":null,"clock_ahead_seconds":0.0}}"#,
        examples::PEER
    );
    read(&text).unwrap()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(&well()), Vec::<String>::new());
    // Whoever shares the port does no harm, and a kill none that lasts.
    let around = Surroundings {
        responders: vec!["10.0.0.1".to_owned()],
        closed: Closed::Killed,
        ..examples::surroundings()
    };
    assert_eq!(found_around(&well(), &around), Vec::<String>::new());
    // Without the LAN there is nothing to be heard there.
    let around = Surroundings {
        looked_around: false,
        interfaces: Vec::new(),
        nodes: Vec::new(),
        heard_others: false,
        ..examples::surroundings()
    };
    assert_eq!(found_around(&alone(), &around), Vec::<String>::new());
}

fn nobody_on_the_lan() -> Surroundings {
    Surroundings {
        nodes: Vec::new(),
        ways: Vec::new(),
        clocks: Vec::new(),
        heard_others: false,
        ..examples::surroundings()
    }
}

#[test]
fn what_keeps_multicast_from_getting_through_is_told_by_its_cause() {
    let with = |ipv4, ipv6| {
        let mut around = nobody_on_the_lan();
        around.interfaces[0].ipv4 = ipv4;
        around.interfaces[0].ipv6 = ipv6;
        found_around(&alone(), &around)
    };
    let (works, lost) = (Some(MulticastWay::Works), Some(MulticastWay::Lost));
    let taken = Some(MulticastWay::PortTaken);
    assert_eq!(with(works, works), ["multicast_silent"]);
    assert_eq!(with(lost, works), ["multicast_silent"], "one family is enough");
    assert_eq!(with(lost, lost), ["multicast_blocked"]);
    assert_eq!(with(lost, None), ["multicast_blocked"]);
    assert_eq!(with(taken, taken), ["multicast_deaf"]);
    assert_eq!(with(None, None), ["no_interface"]);
    let mut around = nobody_on_the_lan();
    around.interfaces[0].ipv4 = taken;
    around.interfaces[0].reason = Some("Address in use".to_owned());
    let text = &all(&alone(), &around)[0].text;
    assert!(
        text.contains("is held by avahi-daemon (process 12), which does not share it (Address in use)"),
        "{text}"
    );
    around = nobody_on_the_lan();
    assert!(
        found_around(&well(), &around).is_empty(),
        "peers are connected all the same"
    );
    around.heard_others = true;
    assert_eq!(found_around(&alone(), &around), ["no_nodes"]);
    let unknown = Status {
        multicast: Multicast::Unknown,
        ..alone()
    };
    around.interfaces = Vec::new();
    assert_eq!(found_around(&unknown, &around), ["multicast_deaf"]);
}

#[test]
fn nodes_of_other_networks_and_versions_matter_to_a_node_that_is_alone() {
    let with = |status: &Status, node: NodeOnLan| {
        let around = Surroundings {
            nodes: vec![node],
            heard_others: true,
            ..nobody_on_the_lan()
        };
        found_around(status, &around)
    };
    let node = examples::surroundings().nodes.remove(0);
    assert!(with(&alone(), node.clone()).is_empty(), "it may just have come");
    let other = NodeOnLan {
        same_network: false,
        ..node.clone()
    };
    assert_eq!(with(&alone(), other.clone()), ["another_network"]);
    assert!(with(&well(), other.clone()).is_empty(), "it is a network of its own");
    let newer = NodeOnLan {
        version: "2".to_owned(),
        peer_id: None,
        ..other
    };
    assert_eq!(with(&alone(), newer.clone()), ["version"]);
    assert!(with(&well(), newer.clone()).is_empty());
    let ours = NodeOnLan {
        same_network: true,
        ..newer
    };
    assert_eq!(with(&well(), ours), ["version"]);
    let here = NodeOnLan { here: true, ..node };
    assert_eq!(with(&alone(), here), ["no_nodes"]);
}

#[test]
fn without_a_node_that_is_the_first_finding_and_a_copy_that_runs_the_second() {
    let mut around = Surroundings {
        running: false,
        ..examples::surroundings()
    };
    assert_eq!(found_around(&alone(), &around), ["not_running"]);
    around.nodes[0].peer_id = Some(examples::ME.to_owned());
    assert_eq!(found_around(&alone(), &around), ["not_running", "same_identity"]);
}

#[test]
fn each_way_that_is_closed_has_its_line() {
    use Way::{NoAnswer as No, NotTried as Un, Through as Yes};
    let with = |connected: bool, [tcp_to, udp_to, tcp_from, udp_from]: [Way; 4]| {
        let mut around = examples::surroundings();
        around.ways = vec![Ways {
            connected,
            tcp_to,
            udp_to,
            tcp_from,
            udp_from,
            ..around.ways.remove(0)
        }];
        let all = all(&well(), &around);
        all.into_iter()
            .map(|finding| (finding.finding, finding.text))
            .collect::<Vec<_>>()
    };
    for (connected, ways, word, start) in [
        (
            false,
            [No, No, Un, Un],
            "unreachable",
            "kitchen is on the LAN, but cannot be reached by TCP or UDP at 10.0.0.2 port 4002",
        ),
        (
            true,
            [No, No, Yes, Yes],
            "one_way",
            "kitchen reaches this node, but this node does not reach kitchen",
        ),
        (true, [No, No, Un, Un], "one_way", "kitchen reaches this node"),
        (
            true,
            [Yes, Yes, No, No],
            "one_way",
            "This node reaches kitchen, but kitchen does not reach this node",
        ),
        (
            true,
            [No, Yes, No, Yes],
            "tcp_blocked",
            "kitchen and this node do not reach each other by TCP: no answer. They sync by UDP",
        ),
        (
            true,
            [Yes, No, Yes, No],
            "udp_blocked",
            "kitchen and this node do not reach each other by UDP",
        ),
        (
            true,
            [No, Yes, Un, Un],
            "tcp_blocked",
            "kitchen cannot be reached by TCP at 10.0.0.2 port 4002: no answer",
        ),
        (
            true,
            [Yes, Yes, Yes, No],
            "udp_blocked",
            "kitchen does not reach this node by UDP: no answer",
        ),
        (true, [No, No, No, No], "unreachable", "kitchen is connected, but"),
        (
            true,
            [Way::Refused, Yes, Un, Un],
            "tcp_blocked",
            "kitchen cannot be reached by TCP at 10.0.0.2 port 4002: connection refused",
        ),
    ] {
        let told = with(connected, ways);
        assert_eq!(told.len(), 1, "{ways:?}: {told:?}");
        assert_eq!(told[0].0, word, "{ways:?}");
        assert!(told[0].1.starts_with(start), "{ways:?}: {told:?}");
    }
    for ways in [[Yes, Yes, Un, Un], [Un, Un, Un, Un], [Yes, Yes, Yes, Yes]] {
        assert!(with(true, ways).is_empty(), "{ways:?}");
    }
}

#[test]
fn troubles_with_peers_are_told_unless_the_ways_to_them_say_it() {
    for (cause, expected) in [
        ("refused", "unreachable"),
        ("no_answer", "unreachable"),
        ("closed", "unreachable"),
        ("another_network", "another_network"),
        ("version", "version"),
        ("same_identity", "same_identity"),
        ("another_identity", "another_peer"),
        ("ourselves", "ourselves"),
    ] {
        let trouble = crate::report::Trouble {
            cause: cause.to_owned(),
            ..examples::trouble()
        };
        let status = Status {
            troubles: vec![trouble],
            ..well()
        };
        assert_eq!(found(&status), [expected], "{cause}");
    }
    let of_peer = crate::report::Trouble {
        peer_id: Some(examples::PEER.to_owned()),
        ..examples::trouble()
    };
    let status = Status {
        troubles: vec![of_peer],
        ..well()
    };
    assert!(found(&status).is_empty(), "it is connected by now");
    let mut around = examples::surroundings();
    around.ways = vec![Ways {
        connected: false,
        tcp_to: Way::NoAnswer,
        udp_to: Way::NoAnswer,
        ..around.ways.remove(0)
    }];
    assert_eq!(found_around(&status, &around), ["unreachable"], "once");
    let text = super::troubles::findings(
        &Status {
            troubles: vec![examples::trouble()],
            ..well()
        },
        &examples::surroundings(),
    );
    assert!(
        text[0]
            .text
            .contains("/ip4/10.0.0.9/tcp/4002 cannot be reached by TCP: connection refused"),
        "{text:?}"
    );
}

#[test]
fn the_clock_that_is_far_from_most_is_the_wrong_one() {
    let with_error = |clocks: &[f64], within_seconds| {
        let clocks = clocks.iter().enumerate().map(|(at, ahead_seconds)| PeerClock {
            peer_id: examples::PEER.to_owned(),
            display_name: format!("p{at}"),
            ahead_seconds: *ahead_seconds,
            within_seconds,
        });
        let around = Surroundings {
            clocks: clocks.collect(),
            ..examples::surroundings()
        };
        let all = all(&well(), &around);
        all.into_iter()
            .map(|finding| (finding.finding, finding.text))
            .collect::<Vec<_>>()
    };
    let with = |clocks: &[f64]| with_error(clocks, Some(0.01));
    assert!(with(&[]).is_empty());
    assert!(with(&[0.2, -0.3, 1.0]).is_empty());
    assert!(
        with_error(&[100.0], Some(99.0)).is_empty(),
        "that is as good as unknown"
    );
    let one = |clocks: &[f64], word: &str, text: &str| {
        let told = with(clocks);
        assert_eq!(told, [(word.to_owned(), text.to_owned())], "{clocks:?}");
    };
    one(
        &[100.0],
        "clock",
        "Clocks differ, and which of them are wrong is not known: that of p0 is 100 s ahead of this one",
    );
    one(
        &[100.0, 0.0, 100.0],
        "clock",
        "Clocks differ, and which of them are wrong is not known: that of p0 is 100 s ahead of this one, p2 is 100 s ahead of this one",
    );
    one(
        &[0.1, 300.0, -0.2],
        "clock",
        "The clock of p1 is 300 s ahead of those of most nodes",
    );
    one(
        &[0.1, -300.0],
        "clock",
        "The clock of p1 is 300 s behind those of most nodes",
    );
    one(
        &[60.0, 60.1, 59.9],
        "clock_here",
        "The clock of this machine is 60 s behind those of most nodes",
    );
    let mut ahead = well();
    ahead.sync.ahead.records = 2;
    assert_eq!(found(&ahead), ["dated_ahead"]);
}

#[test]
fn each_fault_of_the_store_has_its_finding() {
    let with = |change: fn(&mut Status)| {
        let mut status = well();
        change(&mut status);
        found(&status)
    };
    assert_eq!(with(|status| status.sync.repaired = 1), ["repaired"]);
    assert_eq!(with(|status| status.sync.full = true), ["no_room"]);
    assert_eq!(with(|status| status.store.free_bytes = Some(1)), ["little_room"]);
    assert_eq!(with(|status| status.store.log_bytes = Some(1 << 30)), ["log"]);
    assert_eq!(
        with(|status| status.sync.state = crate::report::SyncState::OutOfOrder),
        ["out_of_order"]
    );
    assert_eq!(
        with(|status| status.sync.peers = vec![peer("p", "no_room_there")]),
        ["no_room_there"]
    );
    assert_eq!(
        with(|status| status.sync.peers = vec![peer("p", "waiting")]),
        ["waiting"]
    );
    assert!(with(|status| status.sync.peers = vec![peer("p", "syncing")]).is_empty());
    let around = Surroundings {
        closed: Closed::Rescued,
        ..examples::surroundings()
    };
    assert_eq!(found_around(&well(), &around), ["rescued"]);
}

#[test]
fn two_nodes_that_differ_for_long_with_nothing_moving_are_told_with_how_many_and_why() {
    let with = |seconds, hindrance: Option<&str>| {
        let mut status = well();
        let mut peer = peer("kitchen", "differs");
        peer.synced.standing.ahead = 1;
        peer.synced.standing.behind = 20;
        peer.unequal_seconds = Some(seconds);
        peer.hindrance = hindrance.map(str::to_owned);
        status.sync.peers = vec![peer];
        all(&status, &examples::surroundings())
    };
    assert!(with(10, Some("broken_off")).is_empty(), "that passes");
    let told = with(240, Some("broken_off"));
    assert_eq!(told.len(), 1);
    assert_eq!(
        told[0].text,
        "kitchen lacks 1 record, and this node 20 records of kitchen, for 4 min: their sessions break off"
    );
    for (hindrance, why) in [
        (Some("busy"), "no free place"),
        (Some("refused"), "broke the rules"),
        (Some("slow"), "too slow"),
        (None, "nothing was exchanged"),
    ] {
        let told = with(240, hindrance);
        assert!(told[0].text.contains(why), "{told:?}");
    }
}

#[test]
#[cfg(unix)]
fn files_that_others_can_read_are_named() {
    use std::os::unix::fs::PermissionsExt;

    let file = tempfile::NamedTempFile::new().unwrap();
    let found = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let files = Files {
            descriptors: Some(100),
            descriptors_open: Some(95),
            ..Files::of(&[file.path().to_owned()])
        };
        findings(&well(), &examples::surroundings(), &files)
    };
    let words = |mode| {
        found(mode)
            .into_iter()
            .map(|finding| finding.finding)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(0o600), ["descriptors", "descriptors_used"]);
    assert_eq!(words(0o640), ["permissions", "descriptors", "descriptors_used"]);
    assert!(found(0o644)[0].advice.starts_with("chmod go= /"));
}
