//! Each fault brings its line, and nothing else does.

use super::files::Surroundings;
use super::findings;
use crate::report::{Multicast, Status, examples, read};

/// A node with which all is well.
const WELL: &str = r#"{"peer_id":"12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj","name":"desk","network":"","port":4002,
"addresses":[],"keys":1,"deleted":0,"peers":[],"known_peers":0,"mesh":0,"messages":{"sent":0,"received":0,"unheard":0},"dropped":[],
"sync":{"ready":true,"peers":[],"refused":[],"ahead":{"records":0,"first":[]},"conflicts":0,"repaired":0,"state":"no_peers","full":false},
"version":"0.1.0","uptime_seconds":100,"data_dir":"/d","store":{"bytes":4096,"log_bytes":0,"free_bytes":10000000000},"troubles":[],
"multicast":"heard","multicast_heard_seconds_ago":1,"not_listening":[]}"#;

fn well() -> Status {
    read(&WELL.replace('\n', " ")).unwrap()
}

/// The words of what is found.
fn found(status: &Status) -> Vec<String> {
    let surroundings = Surroundings {
        descriptors: Some(4_096),
        ..Surroundings::default()
    };
    findings(status, &surroundings)
        .into_iter()
        .map(|finding| finding.finding)
        .collect()
}

/// A peer that syncs, with its clock.
fn peer(name: &str, state: &str, clock: f64) -> crate::report::SyncPeer {
    let text = format!(
        r#"{{"peer_id":"{}","name":"{name}","display_name":"{name}","state":"{state}","ahead":0,"behind":0,"waiting":3,"last":null,"clock_ahead_seconds":{clock:?}}}"#,
        examples::PEER
    );
    read(&text).unwrap()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(&well()), Vec::<String>::new());
}

#[test]
fn each_fault_of_the_network_has_its_finding() {
    let multicast = |multicast, uptime_seconds| {
        found(&Status {
            multicast,
            uptime_seconds,
            ..well()
        })
    };
    assert_eq!(multicast(Multicast::Unknown, 1), ["multicast_deaf"]);
    assert_eq!(multicast(Multicast::Silent, 100), ["multicast_silent"]);
    assert!(multicast(Multicast::Silent, 3).is_empty(), "that is too early to say");
    assert!(multicast(Multicast::Off, 100).is_empty());
    let with_peers = Status {
        multicast: Multicast::Silent,
        peers: examples::peers(),
        ..well()
    };
    assert!(found(&with_peers).is_empty(), "peers are connected all the same");
    for (cause, expected) in [
        ("refused", "unreachable"),
        ("no_answer", "unreachable"),
        ("closed", "unreachable"),
        ("another_network", "another_network"),
        ("version", "version"),
        ("same_identity", "same_identity"),
        ("another_identity", "another_peer"),
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
    let text = super::network::findings(&Status {
        troubles: vec![examples::trouble()],
        ..well()
    });
    assert!(
        text[0]
            .text
            .contains("/ip4/10.0.0.9/tcp/4002 cannot be reached by TCP: connection refused"),
        "{text:?}"
    );
}

#[test]
fn the_clock_that_is_far_from_most_is_the_wrong_one() {
    let with = |clocks: &[f64]| {
        let mut status = well();
        let peers = clocks.iter().enumerate();
        status.sync.peers = peers
            .map(|(at, clock)| peer(&format!("p{at}"), "in_sync", *clock))
            .collect();
        let all = super::clocks::findings(&status);
        assert_eq!(found(&status).len(), all.len());
        all.into_iter()
            .map(|finding| (finding.finding, finding.text))
            .collect::<Vec<_>>()
    };
    assert!(with(&[0.2, -0.3, 1.0]).is_empty());
    let two = with(&[100.0]);
    assert_eq!(
        two[0].1,
        "The clock of p0 is 100 s ahead of this one, and which of the two is wrong is not known"
    );
    let one = with(&[0.1, 300.0, -0.2]);
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].1, "The clock of p1 is 300 s ahead of those of most nodes");
    let here = with(&[60.0, 60.1, 59.9]);
    assert_eq!(here.len(), 1);
    assert_eq!(here[0].0, "clock_here");
    assert!(
        here[0].1.starts_with("The clock of this machine is 60 s behind"),
        "{here:?}"
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
        with(|status| status.sync.peers = vec![peer("p", "no_room_there", 0.0)]),
        ["no_room_there"]
    );
    assert_eq!(
        with(|status| status.sync.peers = vec![peer("p", "waiting", 0.0)]),
        ["waiting"]
    );
    assert!(with(|status| status.sync.peers = vec![peer("p", "syncing", 0.0)]).is_empty());
}

#[test]
#[cfg(unix)]
fn files_that_others_can_read_are_named() {
    use std::os::unix::fs::PermissionsExt;

    let file = tempfile::NamedTempFile::new().unwrap();
    let found = |mode| {
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let surroundings = Surroundings {
            descriptors: Some(100),
            ..Surroundings::of(&[file.path().to_owned()])
        };
        findings(&well(), &surroundings)
    };
    let words = |mode| {
        found(mode)
            .into_iter()
            .map(|finding| finding.finding)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(0o600), ["descriptors"]);
    assert_eq!(words(0o640), ["permissions", "descriptors"]);
    assert!(found(0o644)[0].advice.starts_with("chmod go= /"));
}
