//! Replies as text for people. What others have written is shown in full but escaped, so that it can neither move the
//! cursor nor pass for something else.

use p2p_sync_core::text::printable;
use p2p_sync_core::{Key, Record};

mod facts;
pub(super) mod sync;
pub(super) mod troubles;

use crate::command::{CommandError, CommandHelp};
use crate::node::{Direction, PeerStatus, Status, Transport};

pub(super) fn error(error: &CommandError) -> String {
    format!("✗ {error}\n")
}

pub(super) fn added(record: &Record) -> String {
    format!("✓ Added: {}\n", pair(record))
}

pub(super) fn found(record: &Record) -> String {
    format!("✓ {}\n", pair(record))
}

pub(super) fn deleted(key: &Key) -> String {
    format!("✓ Deleted: {}\n", shown(key.as_str()))
}

pub(super) fn list_head(count: u64) -> String {
    format!("Stored items ({count}):\n")
}

pub(super) fn list_item(record: &Record) -> String {
    format!("  {}\n", pair(record))
}

/// The end of a list that others have changed since it was counted.
pub(super) fn list_moved(shown: u64) -> String {
    format!("({shown} items were listed; the store changed in the meantime)\n")
}

fn pair(record: &Record) -> String {
    let value = record
        .content
        .value()
        .map(|value| printable(value.as_bytes()))
        .unwrap_or_default();
    format!("{} = {value}", shown(record.key.as_str()))
}

fn shown(text: &str) -> String {
    printable(text.as_bytes())
}

pub(super) fn status(status: &Status) -> String {
    let network = match status.network.as_str() {
        "" => "(default)".to_owned(),
        name => format!("{} (a name, not a password)", shown(name)),
    };
    let net = &status.net;
    let mut lines = vec![
        ("Name", vec![shown(&status.name)]),
        ("Peer ID", vec![status.id.to_string()]),
        ("Version", vec![facts::version(status.version, status.uptime)]),
        ("Network", vec![network]),
        ("Port", vec![status.port.to_string()]),
        ("Addresses", facts::addresses(net)),
        ("Data", facts::data(&status.footprint)),
        (
            "Keys",
            vec![format!("{} ({} deleted)", status.counts.live, status.counts.deleted)],
        ),
        (
            "Peers",
            vec![format!(
                "{} connected, {} known, {} in the mesh",
                net.peers.len(),
                net.known_peers,
                net.mesh
            )],
        ),
        ("Multicast", vec![facts::multicast(&net.multicast)]),
        ("Messages", facts::messages(net)),
    ];
    lines.push((
        "Dropped",
        net.dropped
            .iter()
            .map(|(cause, count)| format!("{count} {}", shown(cause)))
            .collect(),
    ));
    lines.extend(sync::facts(&status.sync, net.peers.len()));
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
    if !net.peers.is_empty() {
        text.push_str(&peers(&net.peers));
    }
    text.push_str(&sync::peers(&status.sync.peers));
    text.push_str(&troubles::troubles(&net.troubles));
    text
}

pub(super) fn peers(peers: &[PeerStatus]) -> String {
    let rows: Vec<_> = peers.iter().map(peer).collect();
    format!("Connected peers ({}):\n{}", rows.len(), table(&rows))
}

fn peer(peer: &PeerStatus) -> Vec<String> {
    let gossip = match (peer.in_mesh, peer.subscribed) {
        (true, _) => "in the mesh",
        (false, true) => "subscribed",
        (false, false) => "not subscribed",
    };
    let mut gossip = gossip.to_owned();
    if peer.connections != 1 {
        gossip.push_str(&format!(", {} connections", peer.connections));
    }
    vec![
        peer.peer.to_string(),
        transport(peer.transport).to_owned(),
        direction(peer.direction).to_owned(),
        peer.rtt
            .map_or_else(|| "-".to_owned(), |rtt| format!("{:.2} ms", rtt.as_secs_f64() * 1e3)),
        gossip,
        shown(&peer.address),
    ]
}

pub(super) fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Quic => "quic",
        Transport::Tcp => "tcp",
    }
}

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

pub(super) fn help(commands: &[CommandHelp]) -> String {
    if let [command] = commands {
        let arguments: Vec<_> = command
            .arguments
            .iter()
            .map(|(name, meaning)| vec![name.clone(), meaning.clone()])
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

/// Rows whose columns begin below each other.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!(" {cell:<width$} "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::node::{Counts, Footprint, Multicast, NetStatus, NotListening};

    const ME: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";
    pub(super) const PEER: &str = "12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa";

    pub(in crate::cli) fn some_peers() -> Vec<PeerStatus> {
        let quic = PeerStatus {
            peer: PEER.parse().unwrap(),
            address: "/ip4/192.168.11.52/udp/4002/quic-v1".to_owned(),
            transport: Transport::Quic,
            direction: Direction::Outbound,
            rtt: Some(Duration::from_nanos(412_345)),
            connections: 1,
            subscribed: true,
            in_mesh: true,
        };
        let tcp = PeerStatus {
            address: "/ip6/fd00::2/tcp/40000".to_owned(),
            transport: Transport::Tcp,
            direction: Direction::Inbound,
            rtt: None,
            connections: 2,
            subscribed: false,
            in_mesh: false,
            ..quic.clone()
        };
        vec![quic, tcp]
    }

    pub(in crate::cli) fn some_status() -> Status {
        Status {
            id: ME.parse().unwrap(),
            name: "a\u{202e}b".to_owned(),
            network: "lab".parse().unwrap(),
            port: 4002,
            version: "1.2.3",
            uptime: Duration::from_millis(90_061_500),
            footprint: Footprint {
                directory: "/var/lib/p2p-sync".into(),
                store_bytes: Some(1_230_000),
                log_bytes: Some(4_120),
                free_bytes: Some(20_300_000_000),
            },
            counts: Counts { live: 7, deleted: 2 },
            sync: sync::tests::some_sync(),
            net: NetStatus {
                addresses: vec![
                    "/ip4/192.168.11.34/tcp/4002".to_owned(),
                    "/ip4/192.168.11.34/udp/4002/quic-v1".to_owned(),
                ],
                not_listening: vec![NotListening {
                    address: "/ip6/::/tcp/4002".to_owned(),
                    reason: "in\u{7}use".to_owned(),
                }],
                peers: some_peers(),
                known_peers: 3,
                mesh: 1,
                multicast: Multicast::Heard {
                    ago: Duration::from_secs(7),
                },
                sent: 4,
                unheard: 8,
                received: 5,
                dropped: vec![("rate limited".to_owned(), 6), ("invalid message".to_owned(), 1)],
                troubles: troubles::tests::some_troubles(),
                ..NetStatus::default()
            },
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
  {PEER}  quic  outbound  0.41 ms  in the mesh                    /ip4/192.168.11.52/udp/4002/quic-v1
  {PEER}  tcp   inbound   -        not subscribed, 2 connections  /ip6/fd00::2/tcp/40000
{}{}",
            sync::peers(&some_status().sync.peers),
            troubles::troubles(&troubles::tests::some_troubles())
        );
        assert_eq!(status(&some_status()), expected);
    }

    #[test]
    fn a_lonely_node_says_so() {
        let lonely = Status {
            net: NetStatus::default(),
            sync: crate::node::SyncStatus::default(),
            network: "".parse().unwrap(),
            ..some_status()
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
    fn help_is_a_table_or_a_page() {
        let all = crate::command::overview();
        let text = help(&all);
        assert_eq!(text.lines().count(), all.len() + 1);
        assert!(
            text.contains("\n  get [--json] KEY                       Shows the value of a key\n"),
            "{text}"
        );
        let page = help(&all[..1]);
        assert!(
            page.starts_with("add [--json] [--empty] KEY [VALUE...]\nStores a value under a key.\n"),
            "{page}"
        );
        assert!(page.contains("\n  KEY                 1 to 256 bytes"), "{page}");
    }
}
