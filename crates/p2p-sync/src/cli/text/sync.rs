//! What the sync has to tell, as text for people: how it stands with each peer, what waits, what was lost.

use super::{shown, table, version};
use crate::command::ConflictList;
use crate::report::{Conflict, Last, Standing, StandingState, Sync, SyncPeer, SyncState, Synced, Verified, Version};

/// A clock that differs by less is as good as right, and the way of a message makes as much.
const CLOCK_SHOWN_SECONDS: f64 = 1.0;
/// A clock that differs by more makes writes wait, or lose to older ones.
const CLOCK_WARNED_SECONDS: f64 = 60.0;

/// What a full disk means to the sync.
const NO_ROOM: &str = "no room for data from other nodes: free space on the volume, or see --max-store";

/// The lines of a status that are about the node itself; so many peers are connected, whether they take part or not.
pub(super) fn facts(sync: &Sync, connected: usize) -> Vec<(&'static str, Vec<String>)> {
    let refused = sync
        .refused
        .iter()
        .map(|refused| format!("{} {}", refused.count, shown(&refused.cause)));
    let mut facts = vec![("Sync", state(sync, connected)), ("Refused", refused.collect())];
    let conflicts = match sync.conflicts {
        0 => Vec::new(),
        count => vec![format!("{count} (to see them: conflicts)")],
    };
    facts.push(("Conflicts", conflicts));
    if sync.ahead.records > 0 {
        facts.push(("Ahead", ahead(sync)));
    }
    if sync.repaired > 0 {
        let repaired = format!("{} (damaged records and wrong summaries)", sync.repaired);
        facts.push(("Repaired", vec![repaired]));
    }
    facts
}

fn state(sync: &Sync, connected: usize) -> Vec<String> {
    let all = |peers: usize| match peers {
        1 => "the one peer".to_owned(),
        peers => format!("all {peers} peers"),
    };
    let (peers, in_sync) = (sync.peers.len(), in_sync(sync));
    let state = match sync.state {
        SyncState::OutOfOrder => "paused: the store has failed and is being retried; see the log".to_owned(),
        SyncState::Rebuilding => "not yet: the summary of all records is being rebuilt".to_owned(),
        SyncState::NoPeers if connected == 0 => "no peers connected".to_owned(),
        SyncState::NoPeers => "no peers: none of the connected ones belongs to this network".to_owned(),
        SyncState::NoRoom => format!("with {}; {NO_ROOM}", count(peers as u64, "peer")),
        SyncState::UnderWay => {
            format!("under way; in sync with {in_sync} of {}", count(peers as u64, "peer"))
        }
        SyncState::Waiting => {
            format!("in sync with {}, except for records that are not due yet", all(peers))
        }
        SyncState::InSync => format!("in sync with {}", all(peers)),
    };
    // What is true beside it.
    let no_room = (sync.full && sync.state != SyncState::NoRoom).then(|| NO_ROOM.to_owned());
    let completing = sync.completing.map(|rows| {
        format!(
            "{} of {} rows that another program added have become records so far",
            rows.done, rows.found
        )
    });
    std::iter::once(state).chain(no_room).chain(completing).collect()
}

/// Peers that had the same records when that was last looked at.
fn in_sync(sync: &Sync) -> usize {
    let is_in_sync = |peer: &&SyncPeer| peer.synced.standing.state == StandingState::InSync;
    sync.peers.iter().filter(is_in_sync).count()
}

fn ahead(sync: &Sync) -> Vec<String> {
    let first = &sync.ahead.first;
    let mut lines = vec![format!(
        "{} of this node dated too far ahead for other nodes to accept yet:",
        count(sync.ahead.records, "record")
    )];
    lines.extend(first.iter().map(|one| format!("{} (due {})", shown(&one.key), one.due)));
    let others = sync.ahead.records.saturating_sub(first.len() as u64);
    if others > 0 && !first.is_empty() {
        lines.push(format!("and {others} more"));
    }
    lines
}

/// How the sync stands with each peer; nothing when there is none.
pub(super) fn peers(peers: &[SyncPeer]) -> String {
    if peers.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = peers.iter().map(peer).collect();
    format!("Sync with peers ({}):\n{}", rows.len(), table(&rows))
}

fn peer(peer: &SyncPeer) -> Vec<String> {
    let last = peer
        .synced
        .last
        .as_ref()
        .map_or_else(|| "-".to_owned(), |last| format!("{}: {}", last.at, session(last)));
    vec![
        peer.synced.display_name.clone(),
        standing(peer.synced.standing),
        last,
        clock(peer.clock_ahead_seconds).unwrap_or_default(),
    ]
}

fn standing(standing: Standing) -> String {
    let Standing {
        state,
        ahead,
        behind,
        waiting,
    } = standing;
    match state {
        StandingState::Unknown => "not compared yet".to_owned(),
        StandingState::Syncing => "syncing".to_owned(),
        StandingState::InSync => "in sync".to_owned(),
        StandingState::Waiting => format!("in sync, {waiting} not due yet"),
        StandingState::NoRoomHere => format!("{waiting} behind: no room for them here"),
        StandingState::NoRoomThere => format!("{waiting} ahead: no room for them there"),
        StandingState::Differs => match (ahead, behind) {
            (0, 0) => "differs".to_owned(),
            (ahead, 0) => format!("{ahead} ahead"),
            (0, behind) => format!("{behind} behind"),
            (ahead, behind) => format!("{ahead} ahead, {behind} behind"),
        },
    }
}

fn session(last: &Last) -> String {
    format!(
        "{} sent, {} new; {} B out, {} B in, {}",
        count(last.records_sent, "record"),
        last.records_changed,
        last.bytes_sent,
        last.bytes_received,
        count(last.round_trips, "round trip")
    )
}

/// What there is to say about a peer's clock.
fn clock(ahead_seconds: Option<f64>) -> Option<String> {
    let seconds = ahead_seconds?;
    if seconds.abs() < CLOCK_SHOWN_SECONDS {
        return None;
    }
    let direction = if seconds > 0.0 { "ahead of" } else { "behind" };
    let text = format!("its clock is {:.1} s {direction} this one", seconds.abs());
    Some(if seconds.abs() > CLOCK_WARNED_SECONDS {
        format!("! {text}: correct the wrong one")
    } else {
        text
    })
}

pub(super) fn synced(peers: &[Synced]) -> String {
    if peers.is_empty() {
        return "✗ No connected peer takes part in sync. Try: peers\n".to_owned();
    }
    let rows: Vec<_> = peers
        .iter()
        .map(|synced| {
            let last = synced.last.as_ref();
            vec![
                synced.display_name.clone(),
                standing(synced.standing),
                last.map_or_else(|| "interrupted; will be retried".to_owned(), session),
            ]
        })
        .collect();
    format!("✓ Compared with peers ({}):\n{}", rows.len(), table(&rows))
}

pub(super) fn verified(verified: &Verified) -> String {
    let records = count(verified.records, "record");
    let mut text = match verified.damaged {
        0 => format!("✓ Verified: {records}, all intact\n"),
        damaged => format!(
            "✗ Damaged: {damaged} of {records}. They were set aside and come back from other nodes that have them.\n"
        ),
    };
    if !verified.summary_was_right {
        text.push_str("✗ The summary of all records was wrong. It has been rebuilt.\n");
    }
    text
}

pub(super) fn conflicts(list: &ConflictList) -> String {
    let shown = list.keys.len();
    let mut text = match (list.total, list.more) {
        (Some(total), true) => format!("Keys in conflict ({shown} of {total}):\n"),
        (None, true) => format!("Keys in conflict ({shown}, there are more):\n"),
        (_, false) => format!("Keys in conflict ({shown}):\n"),
    };
    for Conflict { key, versions } in &list.keys {
        for (place, one) in versions.iter().enumerate() {
            let note = if place == 0 { " (the current state)" } else { "" };
            let (indent, written) = (if place == 0 { "  " } else { "    " }, version(key, one));
            text.push_str(&format!(
                "{indent}{written}{note}\n{indent}  written {} by {}\n",
                one.timestamp,
                author(one)
            ));
        }
    }
    if shown > 0 {
        text.push_str(
            "To keep the current state: resolve KEY, or resolve --all. To choose another one: resolve KEY TIMESTAMP\n",
        );
    }
    text
}

/// Who wrote a version.
fn author(version: &Version) -> &str {
    version.author_display_name.as_deref().unwrap_or(&version.author)
}

pub(super) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(in crate::cli) mod tests {
    use p2p_sync_core::{Content, Key, NodeId, Record, Seen, Timestamp, Value, Versions};

    use super::*;
    use crate::names::{Name, Names};
    use crate::node::{self, Ahead, LastSync, PeerSync, Standing, SyncStatus};
    use crate::report::examples::{ME, PEER};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn peer_id() -> NodeId {
        PEER.parse().unwrap()
    }

    /// The names that two nodes told.
    fn names() -> Names {
        let name = Name::new("kit\u{7}chen").unwrap();
        Names::new(ME.parse().unwrap(), "desk", [(peer_id(), name)])
    }

    fn last() -> LastSync {
        LastSync {
            at: at("2026-01-04T08:30:15Z"),
            bytes_sent: 3_104,
            bytes_received: 412,
            round_trips: 1,
            records_sent: 2,
            records_changed: 5,
        }
    }

    fn a_peer(standing: Standing, clock_ahead_nanos: Option<i64>) -> PeerSync {
        PeerSync {
            unequal_for: None,
            hindrance: None,
            peer: peer_id(),
            standing,
            last: None,
            clock_ahead_nanos,
        }
    }

    pub(in crate::cli) fn some_sync() -> Sync {
        let status = SyncStatus {
            ready: true,
            is_out_of_order: false,
            is_full: true,
            peers: vec![
                PeerSync {
                    last: Some(last()),
                    ..a_peer(Standing::Differs { ahead: 3, behind: 1 }, Some(-540_200_000_000))
                },
                a_peer(Standing::Waiting { records: 4 }, Some(2_500_000)),
            ],
            refused: vec![("too far ahead".to_owned(), 9)],
            ahead: Ahead {
                records: 3,
                first: vec![(Key::new("a\u{202e}b").unwrap(), at("2027-01-04T08:30:15Z"))],
            },
            conflicts: 2,
            repaired: 1,
            completing: None,
        };
        status.report(&names())
    }

    pub(in crate::cli) fn some_synced() -> Vec<Synced> {
        let all = [
            node::Synced {
                peer: peer_id(),
                standing: Standing::InSync,
                last: Some(last()),
            },
            node::Synced {
                peer: ME.parse().unwrap(),
                standing: Standing::Unknown,
                last: None,
            },
        ];
        all.iter().map(|one| one.report(&names())).collect()
    }

    fn record(content: Content, timestamp: &str) -> Record {
        Record {
            key: Key::new("k").unwrap(),
            content,
            timestamp: at(timestamp),
            author: peer_id(),
            seen: Seen::NOTHING,
            signature: None,
        }
    }

    fn value(bytes: &[u8]) -> Content {
        Content::Put(Value::new(bytes).unwrap())
    }

    pub(super) fn some_conflicts() -> ConflictList {
        let conflict = |contents: Vec<Content>| {
            let records = contents.into_iter().enumerate();
            let records = records.map(|(place, content)| record(content, &format!("2026-01-04T08:30:{}Z", 19 - place)));
            let versions = records.rev().collect::<Vec<_>>();
            let (winner, conflicts) = versions.split_last().unwrap();
            node::conflict(&Versions::from_stored(conflicts.to_vec(), winner.clone()), &names())
        };
        ConflictList {
            keys: vec![
                conflict(vec![value(b"a\x1b[2Jb"), value(b"\xff"), Content::Deleted]),
                conflict(vec![Content::Deleted, value(b"")]),
            ],
            total: Some(7),
            more: true,
        }
    }

    #[test]
    fn the_status_of_the_sync_is_told_in_full() {
        let facts = facts(&some_sync(), 2);
        let told = |name| {
            facts
                .iter()
                .find(|(fact, _)| *fact == name)
                .map(|(_, lines)| lines.join("|"))
        };
        assert_eq!(
            told("Sync").as_deref(),
            Some("with 2 peers; no room for data from other nodes: free space on the volume, or see --max-store")
        );
        assert_eq!(told("Refused").as_deref(), Some("9 too far ahead"));
        assert_eq!(told("Conflicts").as_deref(), Some("2 (to see them: conflicts)"));
        assert_eq!(
            told("Ahead").as_deref(),
            Some(
                "3 records of this node dated too far ahead for other nodes to accept yet:|a\\u{202e}b (due 2027-01-04T08:30:15Z)|and 2 more"
            )
        );
        assert_eq!(
            told("Repaired").as_deref(),
            Some("1 (damaged records and wrong summaries)")
        );
        let expected = "\
Sync with peers (2):
  kit\\u{7}chen  3 ahead, 1 behind       2026-01-04T08:30:15Z: 2 records sent, 5 new; 3104 B out, 412 B in, 1 \
      round trip  ! its clock is 540.2 s behind this one: correct the wrong one
  kit\\u{7}chen  in sync, 4 not due yet  -
";
        assert_eq!(
            peers(&some_sync().peers),
            expected.replace("1 behind                   ", "1 behind                  ")
        );
        assert_eq!(peers(&[]), "");
    }

    #[test]
    fn a_node_that_has_nothing_to_tell_says_only_whether_it_is_ready() {
        let lines = |ready| {
            let sync = SyncStatus {
                ready,
                ..SyncStatus::default()
            };
            facts(&sync.report(&names()), 0)
        };
        let quiet = [("Refused", vec![]), ("Conflicts", vec![])];
        assert_eq!(
            lines(true),
            [&[("Sync", vec!["no peers connected".to_owned()])][..], &quiet].concat()
        );
        assert!(lines(false)[0].1[0].contains("being rebuilt"));
    }

    #[test]
    fn what_the_sync_does_is_told_by_what_is_known_of_its_peers() {
        let told = |standings: &[Standing], connected| {
            let sync = SyncStatus {
                ready: true,
                peers: standings.iter().map(|standing| a_peer(*standing, None)).collect(),
                ..SyncStatus::default()
            };
            state(&sync.report(&names()), connected).join("|")
        };
        let waiting = Standing::Waiting { records: 1 };
        for (standings, connected, words) in [
            (&[][..], 0, "no peers connected"),
            (&[], 1, "no peers: none of the connected ones belongs to this network"),
            (&[Standing::InSync], 1, "in sync with the one peer"),
            (&[Standing::InSync; 3], 4, "in sync with all 3 peers"),
            (
                &[waiting],
                1,
                "in sync with the one peer, except for records that are not due yet",
            ),
            (
                &[Standing::Syncing, Standing::InSync],
                2,
                "under way; in sync with 1 of 2 peers",
            ),
        ] {
            assert_eq!(told(standings, connected), words);
        }
        let full = SyncStatus {
            ready: true,
            is_full: true,
            ..SyncStatus::default()
        };
        assert_eq!(state(&full.report(&names()), 0), ["no peers connected", NO_ROOM]);
    }

    #[test]
    fn every_standing_has_its_words() {
        for (one, words) in [
            (Standing::Unknown, "not compared yet"),
            (Standing::Syncing, "syncing"),
            (Standing::InSync, "in sync"),
            (Standing::Differs { ahead: 2, behind: 0 }, "2 ahead"),
            (Standing::Differs { ahead: 0, behind: 2 }, "2 behind"),
            (Standing::Differs { ahead: 0, behind: 0 }, "differs"),
        ] {
            assert_eq!(standing(one.into()), words);
        }
    }

    #[test]
    fn a_clock_is_worth_a_word_from_a_second_and_a_warning_from_a_minute_on() {
        let told = |seconds: f64| clock(Some(seconds)).unwrap_or_default();
        assert_eq!(clock(None), None);
        assert_eq!(told(0.9), "");
        assert_eq!(told(-0.9), "");
        assert_eq!(told(1.5), "its clock is 1.5 s ahead of this one");
        assert_eq!(told(-59.0), "its clock is 59.0 s behind this one");
        assert_eq!(
            told(110.0),
            "! its clock is 110.0 s ahead of this one: correct the wrong one"
        );
    }

    #[test]
    fn what_came_of_a_comparison_is_told_by_peer() {
        let expected = "\
✓ Compared with peers (2):
  kit\\u{7}chen  in sync           2 records sent, 5 new; 3104 B out, 412 B in, 1 round trip
  desk          not compared yet  interrupted; will be retried
";
        assert_eq!(synced(&some_synced()), expected);
        assert!(synced(&[]).starts_with("✗ No connected peer"));
    }

    #[test]
    fn a_check_tells_what_it_found() {
        let told = |damaged, summary_was_right| {
            verified(&Verified {
                records: 10,
                damaged,
                summary_was_right,
            })
        };
        assert_eq!(told(0, true), "✓ Verified: 10 records, all intact\n");
        assert!(told(1, true).starts_with("✗ Damaged: 1 of 10 records"));
        assert_eq!(told(0, false).lines().count(), 2);
    }

    #[test]
    fn all_versions_of_a_key_in_conflict_are_shown_and_escaped() {
        let expected = "\
Keys in conflict (2 of 7):
  k = a\\u{1b}[2Jb (the current state)
    written 2026-01-04T08:30:19Z by kit\\u{7}chen
    k = \\xFF
      written 2026-01-04T08:30:18Z by kit\\u{7}chen
    k (deleted)
      written 2026-01-04T08:30:17Z by kit\\u{7}chen
  k (deleted) (the current state)
    written 2026-01-04T08:30:19Z by kit\\u{7}chen
    k = 
      written 2026-01-04T08:30:18Z by kit\\u{7}chen
To keep the current state: resolve KEY, or resolve --all. To choose another one: resolve KEY TIMESTAMP
";
        assert_eq!(conflicts(&some_conflicts()), expected);
        let list = |total, more| {
            conflicts(&ConflictList {
                keys: Vec::new(),
                total,
                more,
            })
        };
        assert_eq!(list(Some(0), false), "Keys in conflict (0):\n");
        assert_eq!(list(None, true), "Keys in conflict (0, there are more):\n");
    }
}
