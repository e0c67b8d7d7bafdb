//! Talking to a node: commands in, replies out, and the questions that tests ask most.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::launch::Stdin;
use crate::node::{Node, contains, lock};
use crate::wait::{poll, wait_until};

/// How long a reply may take on a machine that is busy with other tests.
const REPLY_DEADLINE: Duration = Duration::from_secs(60);

impl Node {
    /// Sends bytes to its standard input as they are, without waiting for an answer.
    #[track_caller]
    pub fn send(&self, bytes: &[u8]) {
        self.process().send(bytes);
    }

    /// Sends a command line and returns the line that answers it, as text.
    #[track_caller]
    pub fn command(&self, line: &str) -> String {
        String::from_utf8_lossy(&self.command_bytes(line.as_bytes())).into_owned()
    }

    /// Sends a command line of any bytes (but a line end) and returns the line that answers it.
    ///
    /// # Panics
    ///
    /// When no answer comes.
    #[track_caller]
    pub fn command_bytes(&self, line: &[u8]) -> Vec<u8> {
        let _one = lock(&self.one_command);
        let mark = self.stdout.mark();
        self.send_line(line);
        let answer = self.stdout.wait_line(mark, REPLY_DEADLINE, |line| {
            // An address may come up while the node runs.
            !line.starts_with(b"Listening on ")
        });
        match answer {
            Some((_, answer)) => {
                self.schemas().check(line, &answer);
                answer
            }
            None => panic!("{}: no answer to {}", self.label(), shown(line)),
        }
    }

    /// Sends a command line whose answer has any number of lines and returns them.
    #[track_caller]
    pub fn lines(&self, line: &str) -> Vec<String> {
        let _one = lock(&self.one_command);
        let mark = self.stdout.mark();
        // The answer to a question about a key that nobody has ends the answer before it.
        let number = self.markers.fetch_add(1, Ordering::SeqCst);
        let marker = format!("end-of-answer-{number}");
        self.send_line(line.as_bytes());
        self.send_line(format!("get --json {marker}").as_bytes());
        let end = self
            .stdout
            .wait_line(mark, REPLY_DEADLINE, |line| {
                line.starts_with(b"{") && contains(line, marker.as_bytes())
            })
            .map(|(number, _)| number);
        let Some(end) = end else {
            panic!("{}: no end of the answer to {}", self.label(), shown(line.as_bytes()));
        };
        let count = usize::try_from(end - mark).expect("fewer lines than are kept");
        let lines = self.stdout.lines_from(mark);
        lines
            .iter()
            .take(count)
            .filter(|line| !line.starts_with(b"Listening on "))
            .inspect(|answer| self.schemas().check(line.as_bytes(), answer))
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    }

    /// Sends a command line with `--json` in it and returns the object that answers it.
    ///
    /// # Panics
    ///
    /// When the answer is not one JSON object.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        self.json_bytes(line.as_bytes())
    }

    /// [`Node::json`] for a command line of any bytes.
    #[track_caller]
    pub fn json_bytes(&self, line: &[u8]) -> Value {
        let answer = self.command_bytes(line);
        match serde_json::from_slice::<Value>(&answer) {
            Ok(value) if value.is_object() => value,
            _ => panic!(
                "{}: the answer to {} is no JSON object: {}",
                self.label(),
                shown(line),
                shown(&answer)
            ),
        }
    }

    /// Writes `key` = `value`; both without quotes, control characters and outer spaces.
    ///
    /// # Panics
    ///
    /// When the write is not acknowledged.
    #[track_caller]
    pub fn add(&self, key: &str, value: &str) {
        let answer = self.command(&format!("add \"{key}\" {value}"));
        let expected = format!("✓ Added: {key} = {value}");
        assert_eq!(answer, expected, "{}: write not acknowledged", self.label());
    }

    /// The value of `key` as text, if there is one.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<String> {
        let answer = self.json(&format!("get --json \"{key}\""));
        if answer.get("code").and_then(Value::as_u64) == Some(3) {
            return None;
        }
        match answer.get("value").and_then(Value::as_str) {
            Some(value) => Some(value.to_owned()),
            None => panic!("{}: no value in {answer}", self.label()),
        }
    }

    /// Waits until `key` has `value` here and returns how long that took.
    #[track_caller]
    pub fn wait_value(&self, key: &str, value: &str, deadline: Duration) -> Duration {
        let start = Instant::now();
        let mut last = None;
        let found = poll(deadline, || {
            last = self.get(key);
            (last.as_deref() == Some(value)).then_some(())
        });
        let last = last.unwrap_or_else(|| "nothing".to_owned());
        assert!(
            found.is_some(),
            "{}: after {deadline:?} {key} is {last} and not {value}",
            self.label()
        );
        start.elapsed()
    }

    /// The object that `status --json` prints.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.json("status --json")
    }

    /// The keys in conflict as `conflicts --json` lists them: the versions of each, the value first.
    ///
    /// # Panics
    ///
    /// When the listing is not complete, or a key is listed twice.
    #[track_caller]
    pub fn conflicts(&self) -> BTreeMap<String, Vec<Value>> {
        let label = self.label();
        let lines = self.lines("conflicts --json --limit=60000");
        let mut listed: Vec<Value> = lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{label}: no JSON: {line}")))
            .collect();
        let end = listed.pop().unwrap_or_default();
        assert_eq!(end, serde_json::json!({ "conflicts": listed.len() }), "{label}");
        let mut conflicts = BTreeMap::new();
        for one in listed {
            let (Some(key), Some(versions)) = (
                one.get("key").and_then(Value::as_str),
                one.get("versions").and_then(Value::as_array),
            ) else {
                panic!("{label}: no key with versions: {one}");
            };
            let twice = conflicts.insert(key.to_owned(), versions.clone());
            assert_eq!(twice, None, "{label} lists {key} twice");
        }
        conflicts
    }

    /// The connected peer `id` as `status --json` shows it.
    #[track_caller]
    pub fn peer(&self, id: &str) -> Option<Value> {
        let status = self.status();
        let Some(peers) = status.get("peers").and_then(Value::as_array) else {
            panic!("{}: no peers in {status}", self.label());
        };
        peers
            .iter()
            .find(|peer| peer.get("peer_id").and_then(Value::as_str) == Some(id))
            .cloned()
    }

    /// True when `id` is connected and hears our live changes.
    #[track_caller]
    pub fn is_subscribed(&self, id: &str) -> bool {
        self.peer(id)
            .is_some_and(|peer| peer.get("subscribed") == Some(&Value::Bool(true)))
    }

    /// Waits until this node and `other` are connected and both hear the live changes of the other; returns
    /// how long that took.
    #[track_caller]
    pub fn wait_linked(&self, other: &Self, deadline: Duration) -> Duration {
        let (mine, theirs) = (self.peer_id(), other.peer_id());
        let what = format!("{} and {} are linked", self.label(), other.label());
        wait_until(&what, deadline, || {
            self.is_subscribed(&theirs) && other.is_subscribed(&mine)
        })
    }

    #[track_caller]
    fn send_line(&self, line: &[u8]) {
        let end: &[u8] = match self.launch.stdin {
            // What the Enter key sends.
            Stdin::Terminal => b"\r",
            _ => b"\n",
        };
        self.send(&[line, end].concat());
    }
}

fn shown(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    text.escape_debug().to_string()
}
