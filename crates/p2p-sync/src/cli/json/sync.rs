//! What the sync has to tell, as JSON for programs.

use p2p_sync_core::{Content, Record};
use serde::Serialize;

use super::{line, value_of};
use crate::cli::text::sync::seconds;
use crate::command::ConflictList;
use crate::node::{LastSync, PeerSync, Restored, Standing, SyncState, SyncStatus, Synced, Verified};

/// The part of a status that is about the sync.
#[derive(Serialize)]
pub(super) struct Sync<'a> {
    ready: bool,
    peers: Vec<Peer>,
    refused: Vec<Refused<'a>>,
    ahead: Ahead<'a>,
    conflicts: u64,
    repaired: u64,
    state: &'static str,
    full: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    completing: Option<Completing>,
}

/// Rows that another program added, while they are made records.
#[derive(Serialize)]
struct Completing {
    done: u64,
    found: u64,
}

#[derive(Serialize)]
struct Refused<'a> {
    cause: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Ahead<'a> {
    records: u64,
    first: Vec<Due<'a>>,
}

#[derive(Serialize)]
struct Due<'a> {
    key: &'a str,
    due: String,
}

#[derive(Serialize)]
struct Peer {
    #[serde(flatten)]
    difference: Difference,
    clock_ahead_seconds: Option<f64>,
}

/// How the sync stands with a peer.
#[derive(Serialize)]
struct Difference {
    peer_id: String,
    state: &'static str,
    ahead: u64,
    behind: u64,
    waiting: u64,
    last: Option<Last>,
}

#[derive(Serialize)]
struct Last {
    at: String,
    bytes_sent: u64,
    bytes_received: u64,
    round_trips: u64,
    records_sent: u64,
    records_changed: u64,
}

impl<'a> Sync<'a> {
    pub(super) fn of(sync: &'a SyncStatus) -> Self {
        let refused = |(cause, count): &'a (String, u64)| Refused { cause, count: *count };
        let due = |(key, due): &'a (p2p_sync_core::Key, p2p_sync_core::Timestamp)| Due {
            key: key.as_str(),
            due: due.to_string(),
        };
        Self {
            ready: sync.ready,
            peers: sync.peers.iter().map(Peer::of).collect(),
            refused: sync.refused.iter().map(refused).collect(),
            ahead: Ahead {
                records: sync.ahead.records,
                first: sync.ahead.first.iter().map(due).collect(),
            },
            conflicts: sync.conflicts,
            repaired: sync.repaired,
            state: state(sync.state()),
            full: sync.is_full,
            completing: sync.completing.map(|rows| Completing {
                done: rows.done,
                found: rows.found,
            }),
        }
    }
}

fn state(state: SyncState) -> &'static str {
    match state {
        SyncState::OutOfOrder => "out_of_order",
        SyncState::Rebuilding => "rebuilding",
        SyncState::NoPeers => "no_peers",
        SyncState::NoRoom => "no_room",
        SyncState::UnderWay { .. } => "under_way",
        SyncState::Waiting { .. } => "waiting",
        SyncState::InSync { .. } => "in_sync",
    }
}

impl Peer {
    fn of(peer: &PeerSync) -> Self {
        Self {
            difference: Difference::of(peer.peer.to_string(), peer.standing, peer.last.as_ref()),
            clock_ahead_seconds: peer.clock_ahead_nanos.map(seconds),
        }
    }
}

impl Difference {
    fn of(peer_id: String, standing: Standing, last: Option<&LastSync>) -> Self {
        let (state, ahead, behind, waiting) = match standing {
            Standing::Unknown => ("unknown", 0, 0, 0),
            Standing::Syncing => ("syncing", 0, 0, 0),
            Standing::InSync => ("in_sync", 0, 0, 0),
            Standing::Waiting { records } => ("waiting", 0, 0, records),
            Standing::NoRoom { records, here: true } => ("no_room_here", 0, 0, records),
            Standing::NoRoom { records, here: false } => ("no_room_there", 0, 0, records),
            Standing::Differs { ahead, behind } => ("differs", ahead, behind, 0),
        };
        Self {
            peer_id,
            state,
            ahead,
            behind,
            waiting,
            last: last.map(Last::of),
        }
    }
}

impl Last {
    fn of(last: &LastSync) -> Self {
        Self {
            at: last.at.to_string(),
            bytes_sent: last.bytes_sent,
            bytes_received: last.bytes_received,
            round_trips: last.round_trips,
            records_sent: last.records_sent,
            records_changed: last.records_changed,
        }
    }
}

pub(in crate::cli) fn synced(peers: &[Synced]) -> String {
    #[derive(Serialize)]
    struct End {
        peers: usize,
    }
    let one = |synced: &Synced| {
        line(&Difference::of(
            synced.peer.to_string(),
            synced.standing,
            synced.last.as_ref(),
        ))
    };
    let mut lines: String = peers.iter().map(one).collect();
    lines.push_str(&line(&End { peers: peers.len() }));
    lines
}

pub(in crate::cli) fn verified(verified: &Verified) -> String {
    #[derive(Serialize)]
    struct Found {
        records: u64,
        damaged: u64,
        summary_was_right: bool,
    }
    line(&Found {
        records: verified.records,
        damaged: verified.damaged,
        summary_was_right: verified.summary_was_right,
    })
}

/// What a version says: a value, or that there is none any more.
#[derive(Serialize)]
struct Version<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    timestamp: String,
    author: String,
}

impl<'a> Version<'a> {
    fn of(record: &'a Record) -> Self {
        let (value, value_b64) = value_of(record);
        Self {
            value,
            value_b64,
            deleted: matches!(record.content, Content::Deleted).then_some(true),
            timestamp: record.timestamp.to_string(),
            author: record.author.to_string(),
        }
    }
}

pub(in crate::cli) fn conflicts(list: &ConflictList) -> String {
    #[derive(Serialize)]
    struct Conflict<'a> {
        key: &'a str,
        lost: Version<'a>,
        won: Version<'a>,
        noticed: String,
    }
    #[derive(Serialize)]
    struct End {
        conflicts: u64,
        /// Left out when all are shown.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        more: bool,
    }
    let mut lines = String::new();
    for conflict in &list.newest {
        lines.push_str(&line(&Conflict {
            key: conflict.loser.key.as_str(),
            lost: Version::of(&conflict.loser),
            won: Version::of(&conflict.winner),
            noticed: conflict.noticed.to_string(),
        }));
    }
    lines.push_str(&line(&End {
        conflicts: list.total.unwrap_or(list.newest.len() as u64),
        more: list.more,
    }));
    lines
}

pub(in crate::cli) fn restored(restored: &Restored) -> String {
    #[derive(Serialize)]
    struct Whole<'a> {
        restored: bool,
        key: &'a str,
        #[serde(flatten)]
        version: Version<'a>,
    }
    line(&Whole {
        restored: true,
        key: restored.record.key.as_str(),
        version: Version::of(&restored.record),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::sync::tests::{some_conflicts, some_restored, some_sync, some_synced};

    const PEER: &str = "12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa";
    const ME: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
    const LAST: &str = r#"{"at":"2026-01-04T08:30:15Z","bytes_sent":3104,"bytes_received":412,"round_trips":1,"records_sent":2,"records_changed":5}"#;

    #[test]
    fn the_fields_of_the_sync_in_a_status_and_their_order_stay() {
        let expected = format!(
            r#"{{"ready":true,"peers":[{{"peer_id":"{PEER}","state":"differs","ahead":3,"behind":1,"waiting":0,"last":{LAST},"clock_ahead_seconds":-540.2}},{{"peer_id":"{PEER}","state":"waiting","ahead":0,"behind":0,"waiting":4,"last":null,"clock_ahead_seconds":0.002}}],"refused":[{{"cause":"too far ahead","count":9}}],"ahead":{{"records":3,"first":[{{"key":"a\u202eb","due":"2027-01-04T08:30:15Z"}}]}},"conflicts":2,"repaired":1,"state":"no_room","full":true}}"#
        );
        assert_eq!(line(&Sync::of(&some_sync())), format!("{expected}\n"));
    }

    #[test]
    fn every_peer_of_a_comparison_has_a_line_and_then_comes_their_number() {
        let expected = format!(
            r#"{{"peer_id":"{PEER}","state":"in_sync","ahead":0,"behind":0,"waiting":0,"last":{LAST}}}
{{"peer_id":"{ME}","state":"unknown","ahead":0,"behind":0,"waiting":0,"last":null}}
{{"peers":2}}
"#
        );
        assert_eq!(synced(&some_synced()), expected);
        assert_eq!(synced(&[]), "{\"peers\":0}\n");
    }

    #[test]
    fn the_fields_of_a_check_stay() {
        let found = Verified {
            records: 10,
            damaged: 1,
            summary_was_right: false,
        };
        let expected = r#"{"records":10,"damaged":1,"summary_was_right":false}"#;
        assert_eq!(verified(&found), format!("{expected}\n"));
    }

    #[test]
    fn lost_values_and_lost_deletions_are_told_apart() {
        let version =
            |what: &str, second| format!(r#"{{{what},"timestamp":"2026-01-04T08:30:{second}Z","author":"{PEER}"}}"#);
        let conflict = |lost: &str, won: &str| {
            let (lost, won) = (version(lost, 15), version(won, 16));
            format!(r#"{{"key":"k","lost":{lost},"won":{won},"noticed":"2026-01-04T08:30:17Z"}}"#)
        };
        let expected = [
            conflict(r#""value":"a\u001b[2Jb""#, r#""value_b64":"/w==""#),
            conflict(r#""deleted":true"#, r#""value":"v""#),
            conflict(r#""value":"""#, r#""deleted":true"#),
            r#"{"conflicts":7,"more":true}"#.to_owned(),
        ];
        assert_eq!(conflicts(&some_conflicts()), expected.join("\n") + "\n");
        let none = ConflictList {
            newest: Vec::new(),
            total: Some(0),
            more: false,
        };
        assert_eq!(conflicts(&none), "{\"conflicts\":0}\n");
    }

    #[test]
    fn what_was_restored_is_told_like_a_write() {
        let tail = format!(r#""timestamp":"2026-01-04T08:30:18Z","author":"{PEER}"}}"#);
        let expected = [
            format!(r#"{{"restored":true,"key":"k","value":"x\u0007y",{tail}"#) + "\n",
            format!(r#"{{"restored":true,"key":"k","deleted":true,{tail}"#) + "\n",
        ];
        assert_eq!(some_restored().map(|one| restored(&one)), expected);
    }
}
