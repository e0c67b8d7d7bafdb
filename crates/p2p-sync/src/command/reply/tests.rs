//! The JSON of every reply: its fields and their order are a promise, and it reads back to the same.

use p2p_sync_core as core;
use p2p_sync_core::{Key, Seen, Timestamp, Value};
use serde::de::DeserializeOwned;

use super::*;
use crate::report::examples::{ME, PEER, peers, trouble};
use crate::report::{
    Ahead, Class, CommandHelp, Conflict, Count, Due, Last, Messages, Multicast, NotListening, Standing, StandingState,
    Store, Sync, SyncPeer, SyncState, read,
};

const LAST: &str = r#"{"at":"2026-01-04T08:30:15Z","bytes_sent":3104,"bytes_received":412,"round_trips":1,"records_sent":2,"records_changed":5}"#;
const QUIC: &str = r#"{"peer_id":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","name":"kit\u0007chen","display_name":"kit\\u{7}chen","address":"/ip4/192.168.11.52/udp/4002/quic-v1","transport":"quic","direction":"outbound","rtt_ms":0.41,"connections":1,"subscribed":true,"in_mesh":true}"#;
const TCP: &str = r#"{"peer_id":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","name":null,"display_name":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","address":"/ip6/fd00::2/tcp/40000","transport":"tcp","direction":"inbound","rtt_ms":null,"connections":2,"subscribed":false,"in_mesh":false}"#;

/// Holds JSON to these bytes, and to reading back to the value that it was made of.
fn assert_json<T>(value: &T, expected: &str)
where
    T: serde::Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let written = line(value);
    assert_eq!(written.trim_end(), expected);
    assert_eq!(&read::<T>(&written).unwrap(), value);
}

fn record(content: core::Content) -> core::Record {
    core::Record {
        key: Key::new("k").unwrap(),
        content,
        timestamp: "2026-01-04T08:30:18Z".parse::<Timestamp>().unwrap(),
        author: PEER.parse().unwrap(),
        seen: Seen::NOTHING,
        signature: None,
    }
}

fn put(bytes: &[u8]) -> core::Record {
    record(core::Content::Put(Value::new(bytes).unwrap()))
}

fn synced(state: StandingState, [ahead, behind, waiting]: [u64; 3], has_last: bool) -> Synced {
    let last = Last {
        at: "2026-01-04T08:30:15Z".to_owned(),
        bytes_sent: 3_104,
        bytes_received: 412,
        round_trips: 1,
        records_sent: 2,
        records_changed: 5,
    };
    Synced {
        peer_id: PEER.to_owned(),
        name: Some("kitchen".to_owned()),
        display_name: "kitchen (…K6MKSyUwa)".to_owned(),
        standing: Standing {
            state,
            ahead,
            behind,
            waiting,
        },
        last: has_last.then_some(last),
    }
}

fn count(cause: &str, count: u64) -> Count {
    (cause.to_owned(), count).into()
}

fn sync() -> Sync {
    let peer = |synced, clock| SyncPeer {
        synced,
        clock_ahead_seconds: Some(clock),
        unequal_seconds: None,
        hindrance: None,
    };
    Sync {
        ready: true,
        peers: vec![
            peer(synced(StandingState::Differs, [3, 1, 0], true), -540.2),
            peer(synced(StandingState::Waiting, [0, 0, 4], false), 0.002),
        ],
        refused: vec![count("too far ahead", 9)],
        ahead: Ahead {
            records: 3,
            first: vec![Due {
                key: "a\u{202e}b".to_owned(),
                due: "2027-01-04T08:30:15Z".to_owned(),
            }],
        },
        conflicts: 2,
        repaired: 1,
        state: SyncState::NoRoom,
        full: true,
        completing: None,
    }
}

#[test]
fn what_was_stored_found_deleted_and_resolved() {
    let tail = format!(r#""timestamp":"2026-01-04T08:30:18Z","author":"{PEER}"}}"#);
    let (text, bytes, deletion) = (put(b"x\x07y"), put(b"\xff\xfe"), record(core::Content::Deleted));
    assert_json(
        &Added::from(&text),
        &format!(r#"{{"added":true,"key":"k","value":"x\u0007y",{tail}"#),
    );
    assert_json(
        &Added::from(&bytes),
        &format!(r#"{{"added":true,"key":"k","value_b64":"//4=",{tail}"#),
    );
    assert_json(
        &crate::report::Record::from(&text),
        &format!(r#"{{"key":"k","value":"x\u0007y",{tail}"#),
    );
    let found = Found {
        record: (&put(b"")).into(),
        conflicts: 2,
    };
    let expected = format!(r#"{{"key":"k","value":"",{tail}"#);
    assert_json(&found, &expected.replace("\"}", "\",\"conflicts\":2}"));
    assert_json(
        &Deleted::from(&deletion),
        &format!(r#"{{"deleted":true,"key":"k",{tail}"#),
    );
    assert_json(
        &Resolved::from(&deletion),
        &format!(r#"{{"resolved":true,"key":"k","deleted":true,{tail}"#),
    );
    let conflict = Conflict {
        key: "k".to_owned(),
        versions: vec![(&bytes).into(), (&deletion).into()],
    };
    let expected = format!(r#"{{"key":"k","versions":[{{"value_b64":"//4=",{tail},{{"deleted":true,{tail}]}}"#);
    assert_json(&conflict, &expected);
    let all = Reply::Conflicts(ConflictList {
        keys: vec![conflict],
        total: Some(7),
        more: true,
    });
    assert_eq!(all.json(), expected + "\n{\"conflicts\":7,\"more\":true}\n");
    assert_json(
        &Conflicts {
            conflicts: 0,
            more: false,
        },
        r#"{"conflicts":0}"#,
    );
    assert_json(&crate::report::Items { items: 3 }, r#"{"items":3}"#);
}

#[test]
fn a_status_in_full() {
    let status = Status {
        peer_id: ME.to_owned(),
        name: "a\u{202e}b".to_owned(),
        network: "lab".to_owned(),
        port: 4002,
        addresses: vec!["/ip4/192.168.11.34/tcp/4002".to_owned()],
        keys: 7,
        deleted: 2,
        peers: peers(),
        known_peers: 3,
        mesh: 1,
        messages: Messages {
            sent: 4,
            received: 5,
            unheard: 8,
        },
        dropped: vec![count("rate limited", 6)],
        sync: sync(),
        version: "1.2.3".to_owned(),
        uptime_seconds: 90_061,
        data_dir: "/var/lib/p2p-sync".to_owned(),
        store: Store {
            bytes: Some(1_230_000),
            log_bytes: None,
            free_bytes: Some(20_300_000_000),
        },
        troubles: vec![trouble()],
        multicast: Multicast::Heard,
        multicast_heard_seconds_ago: Some(7),
        multicast_failure: None,
        not_listening: vec![NotListening {
            address: "/ip6/::/tcp/4002".to_owned(),
            reason: "in\u{7}use".to_owned(),
        }],
    };
    let sync = format!(
        r#"{{"ready":true,"peers":[{{"peer_id":"{PEER}","name":"kitchen","display_name":"kitchen (…K6MKSyUwa)","state":"differs","ahead":3,"behind":1,"waiting":0,"last":{LAST},"clock_ahead_seconds":-540.2}},{{"peer_id":"{PEER}","name":"kitchen","display_name":"kitchen (…K6MKSyUwa)","state":"waiting","ahead":0,"behind":0,"waiting":4,"last":null,"clock_ahead_seconds":0.002}}],"refused":[{{"cause":"too far ahead","count":9}}],"ahead":{{"records":3,"first":[{{"key":"a\u202eb","due":"2027-01-04T08:30:15Z"}}]}},"conflicts":2,"repaired":1,"state":"no_room","full":true}}"#
    );
    let trouble = r#"{"peer_id":null,"name":null,"display_name":null,"configured":true,"cause":"refused","since":"2027-01-15T08:00:00Z","last":"2027-01-15T08:00:07Z","times":12,"attempts":[{"address":"/ip4/10.0.0.9/tcp/4002","cause":"refused","text":"connection refused","at":"2027-01-15T08:00:07Z"}]}"#;
    let expected = format!(
        r#"{{"peer_id":"{ME}","name":"a\u202eb","network":"lab","port":4002,"addresses":["/ip4/192.168.11.34/tcp/4002"],"keys":7,"deleted":2,"peers":[{QUIC},{TCP}],"known_peers":3,"mesh":1,"messages":{{"sent":4,"received":5,"unheard":8}},"dropped":[{{"cause":"rate limited","count":6}}],"sync":{sync},"version":"1.2.3","uptime_seconds":90061,"data_dir":"/var/lib/p2p-sync","store":{{"bytes":1230000,"log_bytes":null,"free_bytes":20300000000}},"troubles":[{trouble}],"multicast":"heard","multicast_heard_seconds_ago":7,"not_listening":[{{"address":"/ip6/::/tcp/4002","reason":"in\u0007use"}}]}}"#
    );
    assert_json(&status, &expected);
    assert_eq!(Reply::Status(Box::new(status)).json(), expected + "\n");
}

#[test]
fn peers_and_comparisons_come_one_a_line_and_then_their_number() {
    assert_eq!(
        Reply::Peers(peers()).json(),
        format!("{QUIC}\n{TCP}\n{{\"peers\":2}}\n")
    );
    for one in peers() {
        assert_eq!(read::<Peer>(&line(&one)).unwrap(), one);
    }
    let one = synced(StandingState::InSync, [0, 0, 0], true);
    let expected = format!(
        r#"{{"peer_id":"{PEER}","name":"kitchen","display_name":"kitchen (…K6MKSyUwa)","state":"in_sync","ahead":0,"behind":0,"waiting":0,"last":{LAST}}}"#
    );
    assert_json(&one, &expected);
    assert_eq!(Reply::Synced(vec![one]).json(), expected + "\n{\"peers\":1}\n");
    assert_eq!(Reply::Synced(vec![]).json(), "{\"peers\":0}\n");
}

#[test]
fn what_is_left() {
    let verified = Verified {
        records: 10,
        damaged: 1,
        summary_was_right: false,
    };
    assert_json(&verified, r#"{"records":10,"damaged":1,"summary_was_right":false}"#);
    let help = Help {
        commands: vec![CommandHelp {
            name: "exit".to_owned(),
            usage: "exit [--json]".to_owned(),
            about: "Stops this node".to_owned(),
            details: Vec::new(),
            arguments: Vec::new(),
        }],
    };
    assert_json(
        &help,
        r#"{"commands":[{"name":"exit","usage":"exit [--json]","about":"Stops this node"}]}"#,
    );
    assert_json(&Exiting { exiting: true }, r#"{"exiting":true}"#);
    let failure = Failure {
        error: "Not found: k".to_owned(),
        code: Class::NotFound,
    };
    assert_json(&failure, r#"{"error":"Not found: k","code":3}"#);
    assert!(read::<Failure>(r#"{"error":"","code":11}"#).is_err());
}
