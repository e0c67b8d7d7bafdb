//! Replies as JSON for programs: one object a line, fields in a fixed order and with names that stay. Strings are what
//! was stored; characters that could disturb a terminal stand in them as escapes, which decode to the same.

use std::fmt::Write as _;
use std::io;

use data_encoding::BASE64;
use p2p_sync_core::text::printable;
use p2p_sync_core::Record;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use super::text;
use crate::command::{CommandError, CommandHelp};
use crate::node::{PeerStatus, Status};

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

impl<'a> Version<'a> {
    fn of(record: &'a Record) -> Self {
        let value = record.content.value();
        let text = value.and_then(|value| value.as_text());
        Self {
            added: None,
            deleted: None,
            key: record.key.as_str(),
            value: text,
            value_b64: if text.is_some() { None } else { value.map(|value| BASE64.encode(value.as_bytes())) },
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
    line(&Error { error: error.to_string(), code: error.class.code() })
}

pub(super) fn added(record: &Record) -> String {
    line(&Version { added: Some(true), ..Version::of(record) })
}

pub(super) fn found(record: &Record) -> String {
    line(&Version::of(record))
}

pub(super) fn deleted(record: &Record) -> String {
    line(&Version { deleted: Some(true), ..Version::of(record) })
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
        messages: Messages { sent: net.sent, received: net.received },
        dropped: net.dropped.iter().map(|(cause, count)| Dropped { cause, count: *count }).collect(),
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
