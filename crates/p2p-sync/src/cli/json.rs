//! Replies as JSON for programs: one object a line, fields in a fixed order and with names that stay. Strings are what
//! was stored; characters that could disturb a terminal stand in them as escapes, which decode to the same.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

use data_encoding::BASE64;
use p2p_sync_core::Record;
use p2p_sync_core::text::printable;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::text;
use crate::command::{CommandError, CommandHelp};
use crate::node::{Multicast, PeerStatus, Status};

pub(super) mod sync;
mod troubles;

#[derive(Serialize)]
struct Version<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted: Option<bool>,
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_b64: Option<String>,
    timestamp: String,
    author: String,
}

/// A value as text, or in base64 where it is none.
fn value_of(record: &Record) -> (Option<&str>, Option<String>) {
    let value = record.content.value();
    let text = value.and_then(|value| value.as_text());
    let encoded = value.filter(|_| text.is_none());
    (text, encoded.map(|value| BASE64.encode(value.as_bytes())))
}

impl<'a> Version<'a> {
    fn of(record: &'a Record) -> Self {
        let (value, value_b64) = value_of(record);
        Self {
            added: None,
            deleted: None,
            key: record.key.as_str(),
            value,
            value_b64,
            timestamp: record.timestamp.to_string(),
            author: record.author.to_string(),
        }
    }
}

pub(super) fn error(error: &CommandError) -> String {
    #[derive(Serialize)]
    struct Error {
        error: String,
        code: u8,
    }
    line(&Error {
        error: error.to_string(),
        code: error.class.code(),
    })
}

pub(super) fn added(record: &Record) -> String {
    line(&Version {
        added: Some(true),
        ..Version::of(record)
    })
}

pub(super) fn found(record: &Record) -> String {
    line(&Version::of(record))
}

pub(super) fn deleted(record: &Record) -> String {
    line(&Version {
        deleted: Some(true),
        ..Version::of(record)
    })
}

pub(super) fn list_end(items: u64) -> String {
    #[derive(Serialize)]
    struct End {
        items: u64,
    }
    line(&End { items })
}

pub(super) fn status(status: &Status) -> String {
    #[derive(Serialize)]
    struct Dropped<'a> {
        cause: &'a str,
        count: u64,
    }
    #[derive(Serialize)]
    struct Messages {
        sent: u64,
        received: u64,
        unheard: u64,
    }
    #[derive(Serialize)]
    struct Store {
        bytes: Option<u64>,
        log_bytes: Option<u64>,
        free_bytes: Option<u64>,
    }
    #[derive(Serialize)]
    struct NotListening<'a> {
        address: &'a str,
        reason: &'a str,
    }
    #[derive(Serialize)]
    struct Whole<'a> {
        peer_id: String,
        name: &'a str,
        network: &'a str,
        port: u16,
        addresses: &'a [String],
        keys: u64,
        deleted: u64,
        peers: Vec<Peer<'a>>,
        known_peers: usize,
        mesh: usize,
        messages: Messages,
        dropped: Vec<Dropped<'a>>,
        sync: sync::Sync<'a>,
        version: &'a str,
        uptime_seconds: u64,
        data_dir: Cow<'a, str>,
        store: Store,
        troubles: Vec<troubles::Trouble<'a>>,
        multicast: &'static str,
        multicast_heard_seconds_ago: Option<u64>,
        not_listening: Vec<NotListening<'a>>,
    }
    let net = &status.net;
    line(&Whole {
        peer_id: status.id.to_string(),
        name: &status.name,
        network: status.network.as_str(),
        port: status.port,
        addresses: &net.addresses,
        keys: status.counts.live,
        deleted: status.counts.deleted,
        peers: net.peers.iter().map(Peer::of).collect(),
        known_peers: net.known_peers,
        mesh: net.mesh,
        messages: Messages {
            sent: net.sent,
            received: net.received,
            unheard: net.unheard,
        },
        dropped: net
            .dropped
            .iter()
            .map(|(cause, count)| Dropped { cause, count: *count })
            .collect(),
        sync: sync::Sync::of(&status.sync),
        version: status.version,
        uptime_seconds: status.uptime.as_secs(),
        data_dir: status.footprint.directory.to_string_lossy(),
        store: Store {
            bytes: status.footprint.store_bytes,
            log_bytes: status.footprint.log_bytes,
            free_bytes: status.footprint.free_bytes,
        },
        troubles: net.troubles.iter().map(troubles::Trouble::of).collect(),
        multicast: match net.multicast {
            Multicast::Off => "off",
            Multicast::Unknown { .. } => "unknown",
            Multicast::Silent => "silent",
            Multicast::Heard { .. } => "heard",
        },
        multicast_heard_seconds_ago: match net.multicast {
            Multicast::Heard { ago } => Some(ago.as_secs()),
            _ => None,
        },
        not_listening: net
            .not_listening
            .iter()
            .map(|not| NotListening {
                address: &not.address,
                reason: &not.reason,
            })
            .collect(),
    })
}

#[derive(Serialize)]
struct Peer<'a> {
    peer_id: String,
    address: &'a str,
    transport: &'static str,
    direction: &'static str,
    rtt_ms: Option<f64>,
    connections: usize,
    subscribed: bool,
    in_mesh: bool,
}

impl<'a> Peer<'a> {
    fn of(peer: &'a PeerStatus) -> Self {
        Self {
            peer_id: peer.peer.to_string(),
            address: &peer.address,
            transport: text::transport(peer.transport),
            direction: text::direction(peer.direction),
            rtt_ms: peer.rtt.map(|rtt| (rtt.as_secs_f64() * 1e5).round() / 1e2),
            connections: peer.connections,
            subscribed: peer.subscribed,
            in_mesh: peer.in_mesh,
        }
    }
}

pub(super) fn peers(peers: &[PeerStatus]) -> String {
    #[derive(Serialize)]
    struct End {
        peers: usize,
    }
    let mut lines: String = peers.iter().map(|peer| line(&Peer::of(peer))).collect();
    lines.push_str(&line(&End { peers: peers.len() }));
    lines
}

pub(super) fn help(commands: &[CommandHelp]) -> String {
    #[derive(Serialize)]
    struct One<'a> {
        name: &'a str,
        usage: &'a str,
        about: &'a str,
    }
    #[derive(Serialize)]
    struct All<'a> {
        commands: Vec<One<'a>>,
    }
    let mut all = Vec::new();
    for CommandHelp { name, usage, about, .. } in commands {
        all.push(One { name, usage, about });
    }
    line(&All { commands: all })
}

pub(super) fn exit() -> String {
    #[derive(Serialize)]
    struct Exit {
        exiting: bool,
    }
    line(&Exit { exiting: true })
}

fn line(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    value
        .serialize(&mut Serializer::with_formatter(&mut bytes, Quiet))
        .expect("the values above have string keys and finite numbers, and memory takes every byte");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("JSON is UTF-8")
}

/// Escapes what a terminal would not show as it is.
struct Quiet;

impl Formatter for Quiet {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_control()) {
            return CompactFormatter.write_string_fragment(writer, fragment);
        }
        let mut escaped = String::with_capacity(fragment.len());
        let mut character = [0; 4];
        let mut units = [0; 2];
        for c in fragment.chars() {
            let plain = c.encode_utf8(&mut character);
            if printable(plain.as_bytes()) == *plain {
                escaped.push(c);
                continue;
            }
            for unit in c.encode_utf16(&mut units) {
                write!(escaped, "\\u{unit:04x}").map_err(io::Error::other)?;
            }
        }
        writer.write_all(escaped.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{some_peers, some_status};
    use super::*;

    const PEERS: [&str; 2] = [
        r#"{"peer_id":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","address":"/ip4/192.168.11.52/udp/4002/quic-v1","transport":"quic","direction":"outbound","rtt_ms":0.41,"connections":1,"subscribed":true,"in_mesh":true}"#,
        r#"{"peer_id":"12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa","address":"/ip6/fd00::2/tcp/40000","transport":"tcp","direction":"inbound","rtt_ms":null,"connections":2,"subscribed":false,"in_mesh":false}"#,
    ];

    #[test]
    fn the_fields_of_a_status_and_their_order_stay() {
        let [quic, tcp] = PEERS;
        let head = r#"{"peer_id":"12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj","name":"a\u202eb","network":"lab","port":4002,"addresses":["/ip4/192.168.11.34/tcp/4002","/ip4/192.168.11.34/udp/4002/quic-v1"],"keys":7,"deleted":2,"peers":["#;
        let tail = r#"],"known_peers":3,"mesh":1,"messages":{"sent":4,"received":5,"unheard":8},"dropped":[{"cause":"rate limited","count":6},{"cause":"invalid message","count":1}],"sync":"#;
        let sync = line(&sync::Sync::of(&some_status().sync));
        let added = r#","version":"1.2.3","uptime_seconds":90061,"data_dir":"/var/lib/p2p-sync","store":{"bytes":1230000,"log_bytes":4120,"free_bytes":20300000000},"troubles":["#;
        let multicast = r#""multicast":"heard","multicast_heard_seconds_ago":7,"not_listening":[{"address":"/ip6/::/tcp/4002","reason":"in\u0007use"}]"#;
        let troubles = some_status().net.troubles;
        let troubles: Vec<String> = troubles
            .iter()
            .map(|trouble| line(&troubles::Trouble::of(trouble)).trim_end().to_owned())
            .collect();
        let expected = format!(
            "{head}{quic},{tcp}{tail}{}{added}{}],{multicast}}}\n",
            sync.trim_end(),
            troubles.join(",")
        );
        assert_eq!(status(&some_status()), expected);
    }

    #[test]
    fn peers_come_one_a_line_and_then_their_number() {
        let [quic, tcp] = PEERS;
        assert_eq!(peers(&some_peers()), format!("{quic}\n{tcp}\n{{\"peers\":2}}\n"));
    }

    #[test]
    fn what_could_disturb_a_terminal_is_escaped_and_decodes_to_the_same() {
        for text in [
            "\u{1b}[2J",
            "\u{7f}",
            "\u{9b}31m",
            "\u{202e}abc",
            "a\u{200b}b",
            "\u{e0041}",
            "plain ü 🌍 \" \\ /",
        ] {
            let written = line(&text);
            assert_eq!(serde_json::from_str::<String>(&written).ok().as_deref(), Some(text));
            let shown = written.trim_end_matches('\n');
            assert_eq!(printable(shown.as_bytes()), shown, "{text:?}");
        }
    }
}
