//! Watchers survive what happens to them: their own death, that of the node, another store in the place of the old one, their own
//! slowness, and writers that do not wait. Real processes on loopback, without discovery.
//!
//! `P2P_SYNC_FULL=1` runs `killed` in its whole size.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

// Each test uses a part of it.
#[allow(dead_code)]
#[path = "../api/client.rs"]
mod client;
mod joined;
mod killed;
mod replaced;
mod slow;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use client::{Door, Lines, PROGRAM};
use p2p_sync_testbed::{Value, json};

const LINES: (&str, &str) = ("Accept", "application/x-ndjson");

/// A small generator (xorshift64*).
struct Chance(u64);

impl Chance {
    fn of(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below as u64;
        usize::try_from(drawn).unwrap()
    }
}

/// A command about this data directory.
fn program(data_dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("P2P_SYNC_") {
            command.env_remove(&name);
        }
    }
    command.env("P2P_SYNC_DATA_DIR", data_dir).args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// A version of a key: when it was written, by whom, and its value, none for a deletion.
type Version = (String, String, Option<String>);
/// What somebody knows: the version of each key.
type Picture = BTreeMap<String, Version>;

fn version(told: &Value) -> Version {
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    (
        time(told["timestamp"].as_str().unwrap()),
        text("author").unwrap(),
        text("value"),
    )
}

/// A time in UTC with all of its nine digits, so that text order is time order.
fn time(text: &str) -> String {
    let (seconds, fraction) = text.strip_suffix('Z').unwrap().split_once('.').unwrap_or((text, ""));
    format!("{:.19}.{fraction:0<9}", seconds.trim_end_matches('Z'))
}

/// What `list` shows; with `--deleted` in the words, of the deletions.
fn list(data_dir: &Path, words: &[&str]) -> Picture {
    let words = [&["list", "--json"], words].concat();
    let listed = program(data_dir, &words).output().unwrap();
    assert!(listed.status.success(), "{words:?}: {listed:?}");
    let lines = String::from_utf8(listed.stdout).unwrap();
    let lines = lines.lines().map(|line| line.parse::<Value>().unwrap());
    let records = lines.filter_map(|line| Some((line["key"].as_str()?.to_owned(), version(&line))));
    records.collect()
}

/// Only what has a value.
fn live(picture: &Picture) -> Picture {
    let live = picture.iter().filter(|(_, (_, _, value))| value.is_some());
    live.map(|(key, version)| (key.clone(), version.clone())).collect()
}

/// What one event means for what its reader knows.
fn apply(picture: &mut Picture, event: &Value) {
    match event["event"].as_str().unwrap() {
        "put" | "delete" => {
            picture.insert(event["key"].as_str().unwrap().to_owned(), version(event));
        }
        "reset" => picture.clear(),
        "ready" | "conflict" | "heartbeat" => {}
        _ => panic!("{event}"),
    }
}

/// Reads up to `ready`; returns its cursor, and whether there was a `reset`.
fn until_ready(lines: &mut Lines, picture: &mut Picture) -> (String, bool) {
    let mut is_reset = false;
    loop {
        let event: Value = lines.next().expect("the watch goes on").parse().unwrap();
        apply(picture, &event);
        is_reset |= event["event"] == "reset";
        if event["event"] == "ready" {
            return (event["cursor"].as_str().unwrap().to_owned(), is_reset);
        }
    }
}

/// The number in a cursor: places of one store are in its order.
fn number(cursor: &str) -> u64 {
    cursor.split('-').nth(1).unwrap().parse().unwrap()
}

/// Operations that are sent together.
const BATCH: usize = 20;

/// Writes `changes` times to the node of this directory, as fast as it answers, to keys that others write too, and counts what has been
/// answered. A node that is away is asked again: what it may have stored already is written once more.
fn write(data_dir: &Path, name: &str, changes: usize, keys: usize, written: &AtomicUsize) {
    let mut chance = Chance::of(name.bytes().map(u64::from).sum());
    for batch in 0..changes.div_ceil(BATCH) {
        let first = batch * BATCH;
        let operations: Vec<Value> = (first..changes.min(first + BATCH))
            .map(|number| {
                let key = format!("key/{}", chance.next(keys));
                if chance.next(10) == 0 {
                    json!({"delete": {"key": key}})
                } else {
                    json!({"put": {"key": key, "value": format!("{name} {number}")}})
                }
            })
            .collect();
        let body = json!({ "operations": operations }).to_string();
        p2p_sync_testbed::poll(client::PATIENCE, || {
            let headers = [("Content-Type", "application/json")];
            let answer = Door::of(data_dir)?.try_send("POST", "/v1/batch", &headers, body.as_bytes())?;
            // One that is stopping says so.
            (answer.status == 200).then_some(())
        })
        .unwrap_or_else(|| panic!("{name}: the node does not come back"));
        written.fetch_add(operations.len(), Ordering::SeqCst);
    }
}
