//! What a shell offers at the Tab key: besides commands and options, the keys and the peers of the running node. Shells put an offer into
//! the line as it is. Keys come from other nodes, so only those are offered that no shell takes for anything but a word.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Command as Grammar;
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use tokio::runtime::Builder;
use tokio::time::timeout;

use super::{NAME, VARIABLE};
use crate::cli::{grammar, output};
use crate::client::Client;
use crate::command::{Class, Reply, parse_words};
use crate::config;
use crate::node::DataPaths;

/// Keys, or names, that are offered at once.
const OFFERS_MAX: &str = "100";
/// How long a person is made to wait for an offer.
const PATIENCE: Duration = Duration::from_millis(500);

/// A command and one of its arguments.
type Place = (&'static str, &'static str);
/// What could become of what was typed.
type Offer = fn(&OsStr) -> Vec<CompletionCandidate>;

/// Where a key stands.
const KEYS: &[Place] = &[
    ("add", "key"),
    ("get", "key"),
    ("delete", "keys"),
    ("delete", "prefix"),
    ("list", "prefix"),
    ("list", "after"),
    ("watch", "prefix"),
    ("export", "prefix"),
    ("wait", "key"),
];
/// Where a key in conflict stands.
const CONFLICTS: &[Place] = &[("conflicts", "prefix"), ("resolve", "key")];
/// Where a peer stands.
const PEERS: &[Place] = &[("peers", "peer"), ("ping", "peer")];

/// Answers a shell that asks what could stand at the cursor; none if that is not what was asked for.
pub(in crate::cli) fn complete() -> Option<ExitCode> {
    env::var_os(VARIABLE)?;
    let completed = CompleteEnv::with_factory(with_offers)
        .var(VARIABLE)
        .bin(NAME)
        .try_complete(env::args_os(), env::current_dir().ok().as_deref());
    match completed {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(error) => {
            output::say(error.to_string().trim_end());
            Some(ExitCode::from(Class::Usage.code()))
        }
    }
}

/// The grammar, which knows what could stand where.
fn with_offers() -> Grammar {
    let offers: [(&[Place], Offer); 3] = [(KEYS, keys), (CONFLICTS, conflicts), (PEERS, peers)];
    let mut grammar = grammar();
    for (places, offer) in offers {
        for (command, argument) in places {
            grammar = grammar.mut_subcommand(*command, |command| {
                in_order(command, |command| {
                    command.mut_arg(*argument, |argument| argument.add(ArgValueCompleter::new(offer)))
                })
            });
        }
    }
    grammar
}

/// Changes a command, and puts its words back in their order: a change of one of them moves it to the end.
fn in_order(command: Grammar, change: impl FnOnce(Grammar) -> Grammar) -> Grammar {
    let words: Vec<_> = command.get_positionals().map(|word| word.get_id().clone()).collect();
    let numbered = words.into_iter().enumerate();
    numbered.fold(change(command), |command, (at, word)| {
        command.mut_arg(word, |word| word.index(at + 1))
    })
}

fn keys(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, &["list", "--limit", OFFERS_MAX], |reply| match reply {
        Reply::Listed(page) => page.records.into_iter().map(|record| record.key).collect(),
        _ => Vec::new(),
    })
}

fn conflicts(typed: &OsStr) -> Vec<CompletionCandidate> {
    offered(typed, &["conflicts", "--limit", OFFERS_MAX], |reply| match reply {
        Reply::Conflicts(list) => list.keys.into_iter().map(|conflict| conflict.key).collect(),
        _ => Vec::new(),
    })
}

fn peers(typed: &OsStr) -> Vec<CompletionCandidate> {
    let names = |reply| match reply {
        Reply::Peers(peers) => peers.into_iter().map(|peer| peer.display_name).collect(),
        _ => Vec::new(),
    };
    let typed = typed.to_str().unwrap_or_default();
    let found = ask(&["peers"], names).unwrap_or_default();
    let found = found.into_iter().filter(|name| name.starts_with(typed));
    found
        .filter(|name| is_plain(name))
        .map(CompletionCandidate::new)
        .collect()
}

fn offered(typed: &OsStr, words: &[&str], texts: fn(Reply) -> Vec<String>) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else {
        return Vec::new();
    };
    let words: Vec<&str> = words.iter().copied().chain(["--", typed]).collect();
    let found = ask(&words, texts).unwrap_or_default();
    let plain = found.into_iter().filter(|text| is_plain(text));
    plain.map(CompletionCandidate::new).collect()
}

/// What the running node says; nothing if there is none, or if it takes long.
fn ask(words: &[&str], texts: fn(Reply) -> Vec<String>) -> Option<Vec<String>> {
    let command = parse_words(words).ok()?;
    let paths = DataPaths::new(&data_dir(env::args_os())?).ok()?;
    let client = Client::of(&paths).ok()??;
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let asked = async {
        let mut replies = client.command(&command).await.ok()?;
        replies.next().await.ok()??.ok()
    };
    let reply = runtime.block_on(async { timeout(PATIENCE, asked).await });
    runtime.shutdown_background();
    reply.ok()?.map(texts)
}

/// The data directory that the line at the cursor names, or the usual one.
fn data_dir(arguments: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut words = arguments.skip_while(|word| *word != "--").skip(1);
    while let Some(word) = words.next() {
        if word == "--data-dir" {
            return words.next().map(PathBuf::from);
        }
        if let Some(directory) = word.to_str().and_then(|word| word.strip_prefix("--data-dir=")) {
            return Some(directory.into());
        }
    }
    let named = env::var_os("P2P_SYNC_DATA_DIR").map(PathBuf::from);
    named.or_else(config::default_data_dir)
}

/// Whether every shell takes the text for one word that means itself.
fn is_plain(text: &str) -> bool {
    let may_begin = |first: char| first.is_alphanumeric() || matches!(first, '/' | '_' | '.');
    text.chars().next().is_some_and(may_begin)
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '/' | '_' | '.' | '-' | '+' | ':' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_offer_does_anything_in_a_shell() {
        for text in ["light/1", "a.b-c_d", "Küche", "電灯", "user@host:1", "./x"] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "",
            "$(reboot)",
            "`x`",
            "a b",
            "a;b",
            "-rf",
            "~root",
            "*",
            "a'b",
            "a\"b",
            "!x",
            "#x",
            "a|b",
            "a>b",
            "a&b",
            "{a,b}",
            "a=b",
            "%1",
            "[x]",
            "a\\b",
            "(x)",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }

    #[test]
    fn every_offer_has_its_place() {
        with_offers().debug_assert();
    }

    #[test]
    fn the_line_at_the_cursor_says_which_node_is_asked() {
        let line = |words: &str| words.split(' ').map(OsString::from).collect::<Vec<_>>().into_iter();
        let named = data_dir(line("p2p-sync -- p2p-sync --data-dir /x get a"));
        assert_eq!(named, Some("/x".into()));
        assert_eq!(
            data_dir(line("p2p-sync -- p2p-sync get --data-dir=/y a")),
            Some("/y".into())
        );
    }
}
