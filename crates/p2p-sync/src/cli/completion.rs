//! What the Tab key offers: words of commands, then keys, or names of peers.

use std::sync::Arc;
use std::time::Duration;

use p2p_sync_core::Record;
use p2p_sync_core::text::printable;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::command::{Unclosed, Words, as_word, overview};
use crate::node::{Conflicts, Node};
use crate::report::Peer;

/// Keys, or names, that are offered at once.
const KEYS_MAX: usize = 100;
/// How long a person is made to wait for an offer.
const PATIENCE: Duration = Duration::from_millis(500);

type Keys = Arc<dyn Fn(Candidates, &str) -> Vec<String> + Send + Sync>;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Candidates {
    /// Keys that have a value.
    Stored,
    /// Keys in conflict.
    Conflicting,
    /// Names of connected peers.
    Peers,
}

/// Offers what may stand at the cursor.
#[derive(Clone)]
pub(super) struct Completion {
    commands: Vec<String>,
    keys: Keys,
}

impl Completion {
    /// Asks `node` for keys and names, from a thread that is not one of `runtime`.
    pub(super) fn of(node: Node, runtime: Handle) -> Self {
        Self::new(move |source, prefix| {
            let keys = async {
                match source {
                    Candidates::Stored => node.list(prefix, None, KEYS_MAX).await.map(stored_keys),
                    Candidates::Conflicting => node
                        .conflicts(prefix, None, KEYS_MAX)
                        .await
                        .map(|found| conflicting_keys(&found)),
                    Candidates::Peers => node.status().await.map(|status| names(&status.peers, prefix)),
                }
            };
            let keys = runtime.block_on(async { timeout(PATIENCE, keys).await });
            keys.ok().and_then(Result::ok).unwrap_or_default()
        })
    }

    fn new(keys: impl Fn(Candidates, &str) -> Vec<String> + Send + Sync + 'static) -> Self {
        let commands = overview().into_iter().map(|command| command.name).collect();
        Self {
            commands,
            keys: Arc::new(keys),
        }
    }

    /// Where the word before the cursor starts, and what it could become.
    fn offer(&self, before: &str) -> (usize, Vec<Pair>) {
        let cursor = before.len();
        let Some((earlier, start)) = last_word(before) else {
            return (cursor, Vec::new());
        };
        let typed = before.get(start..).unwrap_or_default();
        let earlier: Vec<&str> = earlier.iter().map(String::as_str).collect();
        match earlier.as_slice() {
            [] | ["help"] => (
                start,
                self.commands
                    .iter()
                    .filter(|name| name.starts_with(typed))
                    .map(|name| pair(name, name.clone()))
                    .collect(),
            ),
            ["add" | "set" | "put" | "get" | "list" | "ls"] | ["delete" | "del" | "rm", ..] => {
                (start, self.keys(Candidates::Stored, typed))
            }
            ["conflicts" | "resolve" | "restore"] => (start, self.keys(Candidates::Conflicting, typed)),
            ["peers" | "ping"] => (start, self.keys(Candidates::Peers, typed)),
            _ => (cursor, Vec::new()),
        }
    }

    fn keys(&self, source: Candidates, typed: &str) -> Vec<Pair> {
        let prefix = typed.strip_prefix(['"', '\'']).unwrap_or(typed);
        let quotes = prefix.len() < typed.len();
        let mut keys = (self.keys)(source, prefix);
        // What could disturb the terminal cannot be edited there either.
        keys.retain(|key| printable(key.as_bytes()) == *key);
        keys.iter().map(|key| pair(key, as_word(key, quotes))).collect()
    }
}

fn stored_keys(records: Vec<Record>) -> Vec<String> {
    records.iter().map(|record| record.key.as_str().to_owned()).collect()
}

fn conflicting_keys(conflicts: &Conflicts) -> Vec<String> {
    let winners = conflicts.keys.iter().filter_map(|versions| versions.winner());
    winners.map(|winner| winner.key.as_str().to_owned()).collect()
}

/// What peers are called, as `peers` understands it: also where two have the same name.
fn names(peers: &[Peer], prefix: &str) -> Vec<String> {
    let names = peers.iter().map(|peer| peer.display_name.clone());
    names.filter(|name| name.starts_with(prefix)).take(KEYS_MAX).collect()
}

/// The words before the one that is being typed, options left out, and where that one starts.
fn last_word(before: &str) -> Option<(Vec<String>, usize)> {
    let mut earlier = Vec::new();
    let mut words = Words::new(before.as_bytes());
    loop {
        match words.next() {
            Ok(Some(word)) if words.position() == before.len() && !word.quoted => return Some((earlier, word.start)),
            Ok(Some(word)) if word.is_option() => {}
            Ok(Some(word)) => earlier.push(String::from_utf8_lossy(&word.text).into_owned()),
            Ok(None) => return Some((earlier, before.len())),
            Err(Unclosed { start }) => return Some((earlier, start)),
        }
    }
}

fn pair(display: &str, replacement: String) -> Pair {
    Pair {
        display: display.to_owned(),
        replacement: replacement + " ",
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(self.offer(line.get(..cursor).unwrap_or_default()))
    }
}

impl Helper for Completion {}
impl Highlighter for Completion {}
impl Hinter for Completion {
    type Hint = String;
}
impl Validator for Completion {}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use p2p_sync_core::{Key, Value};

    use super::*;
    use crate::report::examples;

    const KEYS: [&str; 7] = [
        "hello",
        "help me",
        "host/a",
        "-dash",
        "it's",
        "\"quoted\" $x `y` \\z",
        "evil\u{202e}",
    ];

    fn offered(before: &str) -> (usize, Vec<String>) {
        let keys = |source, prefix: &str| {
            match source {
                Candidates::Conflicting => return vec!["lost".to_owned()],
                Candidates::Peers => return names(&examples::peers(), prefix),
                Candidates::Stored => {}
            }
            KEYS.iter()
                .filter(|key| key.starts_with(prefix))
                .map(|key| (*key).to_owned())
                .collect()
        };
        let (start, pairs) = Completion::new(keys).offer(before);
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(offered("ge"), (0, vec!["get ".to_owned()]));
        assert_eq!(offered("  de"), (2, vec!["delete ".to_owned()]));
        assert_eq!(offered("").1.len(), 16);
        assert_eq!(offered("help pe"), (5, vec!["peers ".to_owned()]));
        assert!(offered("x").1.is_empty());
    }

    #[test]
    fn keys_come_where_a_key_stands() {
        assert_eq!(
            offered("get hel"),
            (4, vec!["hello ".to_owned(), "\"help me\" ".to_owned()])
        );
        assert_eq!(offered("get --json ho"), (11, vec!["host/a ".to_owned()]));
        assert_eq!(offered("delete hello ho"), (13, vec!["host/a ".to_owned()]));
        assert_eq!(offered("get \"help "), (4, vec!["\"help me\" ".to_owned()]));
        assert_eq!(
            offered("get 'hel"),
            (4, vec!["\"hello\" ".to_owned(), "\"help me\" ".to_owned()])
        );
        for before in ["conflicts ", "restore --json l"] {
            assert_eq!(offered(before).1, ["lost "], "{before}");
        }
        for before in ["get hello h", "add hello h", "status h", "list a h"] {
            assert!(offered(before).1.is_empty(), "{before}");
        }
    }

    #[test]
    fn peers_come_where_a_peer_stands() {
        assert_eq!(offered("peers k"), (6, vec!["kit\\u{7}chen ".to_owned()]));
        assert_eq!(offered("peers --json 12D3").1, [format!("{} ", examples::PEER)]);
        assert!(offered("peers x").1.is_empty() && offered("peers kitchen k").1.is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn keys_come_from_the_node() {
        let (node, _directory) = crate::cli::execute::tests::node().await;
        for key in ["apple", "apricot", "banana"] {
            node.put(Key::new(key).unwrap(), Value::new(*b"v").unwrap())
                .await
                .unwrap();
        }
        let completion = Completion::of(node.clone(), Handle::current());
        // The editor has a thread of its own.
        let offered = std::thread::spawn(move || completion.offer("get ap"));
        let (start, pairs) = tokio::task::spawn_blocking(|| offered.join().unwrap()).await.unwrap();
        let shown: Vec<_> = pairs.iter().map(|pair| pair.display.as_str()).collect();
        assert_eq!((start, shown), (4, vec!["apple", "apricot"]));
        node.stop().await;
    }

    #[test]
    fn a_key_is_offered_as_the_parser_reads_it_or_not_at_all() {
        let (_, all) = offered("get ");
        assert_eq!(
            all.len(),
            KEYS.len() - 1,
            "the one that turns the text round is left out"
        );
        for (line, key) in all.iter().zip(KEYS) {
            let word = Words::new(line.as_bytes()).next().unwrap().unwrap();
            assert_eq!(word.text.as_ref(), key.as_bytes());
            assert!(!word.is_option());
        }
    }
}
