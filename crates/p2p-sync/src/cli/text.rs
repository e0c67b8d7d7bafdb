//! Replies as text for people. What others have written is shown in full but escaped, so that it can neither move the
//! cursor nor pass for something else.

use std::io::{self, IsTerminal};

use p2p_sync_core::text::printable;
use unicode_width::UnicodeWidthStr;

mod diagnosis;
mod facts;
pub(super) mod sync;
pub(super) mod troubles;

use crate::command::{CommandError, Look, Reply};
use crate::report::{CommandHelp, Deleted, Peer, Record, Status, Version};

/// So much of a value is shown on a terminal by whatever is not `get`.
const VALUE_BYTES_SHOWN: usize = 1_000;

pub(super) fn error(error: &CommandError) -> String {
    format!("✗ {error}\n")
}

/// What came of a command. Of a list the items of its page only.
pub(super) fn reply(reply: &Reply) -> String {
    match reply {
        Reply::Added(added) => format!(
            "✓ Added: {}\n{}",
            pair(&added.record),
            ahead(added.accepted_from.as_deref())
        ),
        Reply::Found(found) => format!(
            "✓ {} = {}\n",
            shown(&found.record.key),
            whole_value(&found.record.version)
        ),
        Reply::Deleted(deletions) => deletions
            .iter()
            .map(|deletion| deletion.as_ref().map_or_else(error, deleted))
            .collect(),
        Reply::DeletedAll(deleted) => match deleted.deleted_keys {
            1 => "✓ Deleted: 1 key\n".to_owned(),
            keys => format!("✓ Deleted: {keys} keys\n"),
        },
        Reply::Counted(items) => format!("{}\n", items.items),
        Reply::Listed(page) => page
            .records
            .iter()
            .map(|record| list_item(record, Look::default()))
            .collect(),
        Reply::Status(one) => status(one),
        Reply::Peers(all) => peers(all),
        Reply::Peer(one) => peer_in_full(one),
        Reply::Pinged(pinged) => format!("✓ {} answered in {:.2} ms\n", pinged.display_name, pinged.rtt_ms),
        Reply::Synced(all) => sync::synced(all),
        Reply::Verified(found) => sync::verified(found),
        Reply::Conflicts(list) => sync::conflicts(list),
        Reply::Resolved(resolved) => {
            format!(
                "✓ Resolved: {}\n{}",
                pair(&resolved.record),
                ahead(resolved.accepted_from.as_deref())
            )
        }
        Reply::ResolvedAll(resolved) => match resolved.resolved_keys {
            0 => "✓ Resolved: nothing, no key is in conflict\n".to_owned(),
            1 => "✓ Resolved: 1 key\n".to_owned(),
            keys => format!("✓ Resolved: {keys} keys\n"),
        },
        Reply::ClockRepaired(repaired) => match repaired.repaired_keys {
            0 => "✓ Repaired: nothing, no key is dated too far ahead of this clock\n".to_owned(),
            1 => "✓ Repaired: 1 key is dated now\n".to_owned(),
            keys => format!("✓ Repaired: {keys} keys are dated now\n"),
        },
        Reply::Diagnosis(one) => diagnosis::text(one),
        Reply::BackedUp(made) => format!(
            "✓ Backed up: {} in {}\n",
            sync::count(made.records, "record"),
            printable(made.file.as_bytes())
        ),
        Reply::Help(all) => help(&all.commands),
        Reply::Exit | Reply::UnderWay(_) => String::new(),
    }
}

pub(super) fn deleted(deleted: &Deleted) -> String {
    format!(
        "✓ Deleted: {}\n{}",
        shown(&deleted.key),
        ahead(deleted.accepted_from.as_deref())
    )
}

/// What there is to say of a write that is dated too far ahead.
fn ahead(accepted_from: Option<&str>) -> String {
    accepted_from.map_or_else(String::new, |from| {
        format!(
            "  (dated ahead of this clock: other nodes refuse it until {from}. To date it now: the same with --now, or \
             repair-clock for all keys)\n"
        )
    })
}

pub(super) fn list_head(count: u64) -> String {
    format!("Stored items ({count}):\n")
}

/// One record of a list.
pub(super) fn list_item(record: &Record, look: Look) -> String {
    let shown = if look.keys_only {
        shown(&record.key)
    } else {
        pair(record)
    };
    if look.long {
        let Version { timestamp, author, .. } = &record.version;
        return format!("{shown}  ({timestamp} by {author})\n");
    }
    format!("{shown}\n")
}

/// The end of a list that others have changed since it was counted.
pub(super) fn list_moved(shown: u64) -> String {
    format!("({shown} items were listed; the store changed in the meantime)\n")
}

/// A key and its value, or that there is none any more.
fn pair(record: &Record) -> String {
    version(&record.key, &record.version)
}

fn version(key: &str, version: &Version) -> String {
    match version.content.bytes() {
        Some(value) => format!("{} = {}", shown(key), value_shown(&value)),
        None => format!("{} (deleted)", shown(key)),
    }
}

fn whole_value(version: &Version) -> String {
    printable(&version.content.bytes().unwrap_or_default())
}

/// A value where it is not what was asked for. People at a terminal see of a long one the beginning; programs get all of it.
fn value_shown(value: &[u8]) -> String {
    if value.len() > VALUE_BYTES_SHOWN && (io::stdout().is_terminal() || io::stderr().is_terminal()) {
        beginning(value)
    } else {
        printable(value)
    }
}

/// Of a long value the beginning, and how long it is.
fn beginning(value: &[u8]) -> String {
    if value.len() <= VALUE_BYTES_SHOWN {
        return printable(value);
    }
    // No character is cut in two.
    let is_inside = |at: &usize| value.get(*at).is_some_and(|byte| byte & 0b1100_0000 == 0b1000_0000);
    let end = (VALUE_BYTES_SHOWN - 3..=VALUE_BYTES_SHOWN)
        .rev()
        .find(|at| !is_inside(at));
    let (begins, _) = value.split_at(end.unwrap_or(VALUE_BYTES_SHOWN));
    format!(
        "{}… (the first {} of {} bytes; all of it: get)",
        printable(begins),
        begins.len(),
        value.len()
    )
}

pub(super) fn shown(text: &str) -> String {
    printable(text.as_bytes())
}

pub(super) fn status(status: &Status) -> String {
    let network = match status.network.as_str() {
        "" => "(default)".to_owned(),
        name => format!("{} (a name, not a password)", shown(name)),
    };
    let mut lines = vec![
        ("Name", vec![shown(&status.name)]),
        ("Peer ID", vec![status.peer_id.clone()]),
        ("Version", vec![facts::version(&status.version, status.uptime_seconds)]),
        ("Network", vec![network]),
        ("Port", vec![status.port.to_string()]),
        ("Addresses", facts::addresses(status)),
        ("Data", facts::data(status)),
        ("Keys", vec![format!("{} ({} deleted)", status.keys, status.deleted)]),
        (
            "Peers",
            vec![format!(
                "{} connected, {} known, {} in the mesh",
                status.peers.len(),
                status.known_peers,
                status.mesh
            )],
        ),
        ("Multicast", vec![facts::multicast(status)]),
        ("Messages", facts::messages(status.messages)),
    ];
    lines.push((
        "Dropped",
        status
            .dropped
            .iter()
            .map(|dropped| format!("{} {}", dropped.count, shown(&dropped.cause)))
            .collect(),
    ));
    lines.extend(sync::facts(&status.sync, status.peers.len()));
    let mut text = String::new();
    for (name, values) in lines {
        let values = if values.is_empty() {
            vec!["none".to_owned()]
        } else {
            values
        };
        for (at, value) in values.iter().enumerate() {
            let name = if at == 0 { format!("{name}:") } else { String::new() };
            text.push_str(&format!("{name:<11}{value}\n"));
        }
    }
    if !status.peers.is_empty() {
        text.push_str(&peers(&status.peers));
    }
    text.push_str(&sync::peers(&status.sync.peers));
    text.push_str(&troubles::troubles(&status.troubles));
    text
}

fn peers(peers: &[Peer]) -> String {
    let rows: Vec<_> = peers.iter().map(peer).collect();
    format!("Connected peers ({}):\n{}", rows.len(), table(&rows))
}

fn peer(peer: &Peer) -> Vec<String> {
    vec![
        peer.display_name.clone(),
        peer.transport.to_string(),
        peer.direction.to_string(),
        round_trip(peer),
        gossip(peer),
        shown(&peer.address),
    ]
}

/// One fact a line, among them those for which the table has no place.
fn peer_in_full(peer: &Peer) -> String {
    let name = match &peer.name {
        Some(name) => shown(name),
        None => "not told".to_owned(),
    };
    format!(
        "Name:       {name}\nPeer ID:    {}\nConnection: {}, {}, round trip {}\nAddress:    {}\nGossip:     {}\n",
        peer.peer_id,
        peer.transport,
        peer.direction,
        round_trip(peer),
        shown(&peer.address),
        gossip(peer),
    )
}

fn round_trip(peer: &Peer) -> String {
    peer.rtt_ms.map_or_else(|| "-".to_owned(), |rtt| format!("{rtt:.2} ms"))
}

fn gossip(peer: &Peer) -> String {
    let gossip = match (peer.in_mesh, peer.subscribed) {
        (true, _) => "in the mesh",
        (false, true) => "subscribed",
        (false, false) => "not subscribed",
    };
    let mut gossip = gossip.to_owned();
    if peer.connections != 1 {
        gossip.push_str(&format!(", {} connections", peer.connections));
    }
    gossip
}

fn help(commands: &[CommandHelp]) -> String {
    if let [command] = commands {
        let arguments: Vec<_> = command
            .arguments
            .iter()
            .map(|argument| vec![argument.name.clone(), argument.about.clone()])
            .collect();
        let details: String = command.details.iter().map(|line| format!("{line}\n")).collect();
        return format!("{}\n{}.\n{details}{}", command.usage, command.about, table(&arguments));
    }
    let rows: Vec<_> = commands
        .iter()
        .map(|command| vec![command.usage.clone(), command.about.clone()])
        .collect();
    format!(
        "{}--json replies in JSON, one object per line. Details: help COMMAND\n",
        table(&rows)
    )
}

/// Rows whose columns begin below each other, also where characters take the place of two or of none.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell: &String| cell.width())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            let padding = width.saturating_sub(cell.width());
            line.push_str(&format!(" {cell}{:padding$} ", ""));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use super::*;
    use crate::report::examples::{self, ME, PEER};
    use crate::report::{Count, Messages, Multicast, NotListening, Store};

    pub(super) fn some_status() -> Status {
        let count = |cause: &str, count| Count {
            cause: cause.to_owned(),
            count,
        };
        Status {
            peer_id: ME.to_owned(),
            name: "a\u{202e}b".to_owned(),
            network: "lab".to_owned(),
            port: 4002,
            addresses: vec![
                "/ip4/192.168.11.34/tcp/4002".to_owned(),
                "/ip4/192.168.11.34/udp/4002/quic-v1".to_owned(),
            ],
            keys: 7,
            deleted: 2,
            peers: examples::peers(),
            known_peers: 3,
            mesh: 1,
            messages: Messages {
                sent: 4,
                received: 5,
                unheard: 8,
            },
            dropped: vec![count("rate limited", 6), count("invalid message", 1)],
            sync: sync::tests::some_sync(),
            version: "1.2.3".to_owned(),
            uptime_seconds: 90_061,
            data_dir: "/var/lib/p2p-sync".to_owned(),
            store: Store {
                bytes: Some(1_230_000),
                log_bytes: Some(4_120),
                free_bytes: Some(20_300_000_000),
            },
            troubles: troubles::tests::some_troubles(),
            multicast: Multicast::Heard,
            multicast_heard_seconds_ago: Some(7),
            multicast_failure: None,
            not_listening: vec![NotListening {
                address: "/ip6/::/tcp/4002".to_owned(),
                reason: "in\u{7}use".to_owned(),
            }],
        }
    }

    #[test]
    fn a_status_is_one_fact_a_line_with_the_peers_below() {
        let expected = format!(
            "\
Name:      a\\u{{202e}}b
Peer ID:   {ME}
Version:   1.2.3, up 1 day 1 h
Network:   lab (a name, not a password)
Port:      4002
Addresses: /ip4/192.168.11.34/tcp/4002
           /ip4/192.168.11.34/udp/4002/quic-v1
           cannot listen on /ip6/::/tcp/4002: in\\u{{7}}use
Data:      /var/lib/p2p-sync
           store 1.2 MB, its log 4.1 kB; 20.3 GB free on the volume
Keys:      7 (2 deleted)
Peers:     2 connected, 3 known, 1 in the mesh
Multicast: heard 7 s ago
Messages:  4 sent, 5 received
           8 changes were made with no peer listening; sync delivers them
Dropped:   6 rate limited
           1 invalid message
Sync:      with 2 peers; no room for data from other nodes: free space on the volume, or see --max-store
Refused:   9 too far ahead
Conflicts: 2 (to see them: conflicts)
Ahead:     3 records of this node dated too far ahead for other nodes to accept yet:
           a\\u{{202e}}b (due 2027-01-04T08:30:15Z)
           and 2 more
Repaired:  1 (damaged records and wrong summaries)
Connected peers (2):
  kit\\u{{7}}chen                                          quic  outbound  0.41 ms  in the mesh                    /ip4/192.168.11.52/udp/4002/quic-v1
  {PEER}  tcp   inbound   -        not subscribed, 2 connections  /ip6/fd00::2/tcp/40000
{}{}",
            sync::peers(&some_status().sync.peers),
            troubles::troubles(&troubles::tests::some_troubles())
        );
        assert_eq!(status(&some_status()), expected);
    }

    #[test]
    fn of_a_long_value_the_beginning_is_shown_and_its_length() {
        assert_eq!(beginning(&[b'x'; 1_000]), "x".repeat(1_000));
        let told =
            |end: &str, shown: usize, all: usize| format!("{end}… (the first {shown} of {all} bytes; all of it: get)");
        assert_eq!(beginning(&[b'x'; 65_536]), told(&"x".repeat(1_000), 1_000, 65_536));
        let euros = "€".repeat(400);
        assert_eq!(beginning(euros.as_bytes()), told(&"€".repeat(333), 999, 1_200));
        assert_eq!(
            beginning(&[0x80; 1_001]),
            told(&"\\x80".repeat(1_000), 1_000, 1_001),
            "no text at all"
        );
    }

    #[test]
    fn a_lonely_node_says_so() {
        let some = some_status();
        let lonely = Status {
            network: String::new(),
            addresses: Vec::new(),
            peers: Vec::new(),
            messages: Messages::default(),
            dropped: Vec::new(),
            sync: crate::report::Sync {
                ready: false,
                peers: Vec::new(),
                refused: Vec::new(),
                ahead: crate::report::Ahead::default(),
                conflicts: 0,
                repaired: 0,
                state: crate::report::SyncState::Rebuilding,
                full: false,
                completing: None,
            },
            troubles: Vec::new(),
            not_listening: Vec::new(),
            ..some
        };
        let text = status(&lonely);
        assert!(text.contains("Network:   (default)\n"), "{text}");
        assert!(text.contains("Addresses: none\n"), "{text}");
        assert!(
            text.contains("Messages:  0 sent, 0 received\nDropped:   none\nSync:      not yet")
                && text.ends_with("Refused:   none\nConflicts: none\n"),
            "{text}"
        );
        assert_eq!(peers(&[]), "Connected peers (0):\n");
    }

    #[test]
    fn a_peer_in_full_has_its_id_beside_its_name() {
        let [named, nameless] = examples::peers().try_into().unwrap();
        assert_eq!(
            peer_in_full(&named),
            format!(
                "\
Name:       kit\\u{{7}}chen
Peer ID:    {PEER}
Connection: quic, outbound, round trip 0.41 ms
Address:    /ip4/192.168.11.52/udp/4002/quic-v1
Gossip:     in the mesh
"
            )
        );
        assert!(peer_in_full(&nameless).starts_with("Name:       not told\n"));
    }

    #[test]
    fn columns_begin_below_each_other_whatever_a_character_takes() {
        let row = |name: &str| vec![name.to_owned(), "x".to_owned()];
        let text = table(&[row("台所"), row("kitchen"), row("e\u{301}")]);
        assert_eq!(text, "  台所     x\n  kitchen  x\n  e\u{301}        x\n");
    }

    #[test]
    fn help_is_a_table_or_a_page() {
        let all = crate::command::overview();
        let text = help(&all);
        assert_eq!(text.lines().count(), all.len() + 1);
        assert!(
            text.contains("\n  get [--json] KEY                            Shows the value of a key\n"),
            "{text}"
        );
        let page = help(&all[..1]);
        assert!(
            page.starts_with("add [--json] [--empty] KEY [VALUE...]\nStores a value under a key.\n"),
            "{page}"
        );
        assert!(page.contains("\n  KEY                       1 to 256 bytes"), "{page}");
    }
}
