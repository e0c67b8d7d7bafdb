//! `watch`: what it tells, that it goes on where it was, and what it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command};

use p2p_sync_testbed::Node;

use super::{PATIENCE, command, directory, exit_of, shell, start, until};

fn add(directory: &Path, key: &str, value: &str) {
    let added = shell(directory, &["add", "--", key, value]);
    assert_eq!(added.code, 0, "{added:?}");
}

/// A watch and its lines.
struct Watching {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watching {
    fn with(directory: &Path, words: &[&str]) -> Self {
        let words: Vec<&str> = ["watch"].into_iter().chain(words.iter().copied()).collect();
        let mut child = command(directory, &words).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn stop(node: &Node) {
    node.process().signal("TERM");
    assert!(node.wait_exit(PATIENCE).success());
}

#[test]
fn changes_are_lines_and_ctrl_c_is_130() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    add(&directory, "light/1", "on");
    let mut watching = Watching::with(&directory, &["light/"]);
    assert_eq!(watching.line(), "put\tlight/1\ton");
    add(&directory, "door", "open");
    add(&directory, "light/2", "a\tb");
    assert_eq!(watching.line(), "put\tlight/2\ta\\tb");
    assert_eq!(shell(&directory, &["delete", "light/1"]).code, 0);
    assert_eq!(watching.line(), "delete\tlight/1");
    watching.signal("INT");
    assert_eq!(exit_of(&mut watching.child).code(), Some(130));
}

#[test]
fn json_events_have_cursors_to_go_on_from() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    add(&directory, "before", "1");
    let mut watching = Watching::with(&directory, &["--new", "--json"]);
    let ready = watching.line();
    assert!(ready.starts_with("{\"event\":\"ready\",\"cursor\":\""), "{ready}");
    add(&directory, "after", "2");
    let put = watching.line();
    assert!(
        put.starts_with("{\"event\":\"put\",\"key\":\"after\",\"value\":\"2\""),
        "{put}"
    );
    let cursor = ready.split('"').nth(7).unwrap();
    let mut again = Watching::with(&directory, &["--since", cursor, "--json", "--keys-only"]);
    let told = again.line();
    assert!(
        told.starts_with("{\"event\":\"put\",\"key\":\"after\",\"timestamp\""),
        "{told}"
    );
}

#[test]
fn a_watch_outlives_its_node() {
    let (_parent, directory) = directory();
    let mut watching = Watching::with(&directory, &[]);
    let node = start(&directory);
    add(&directory, "a", "1");
    assert_eq!(watching.line(), "put\ta\t1");
    stop(&node);
    // Without a node: told by the next one.
    add(&directory, "b", "2");
    let node = start(&directory);
    assert_eq!(watching.line(), "put\tb\t2");
    node.kill9();
    let _node = start(&directory);
    add(&directory, "c", "3");
    assert_eq!(watching.line(), "put\tc\t3");
}

#[test]
fn a_watch_that_was_killed_goes_on_where_it_was() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    let file = directory.with_extension("state");
    let state = file.to_str().unwrap();
    add(&directory, "a", "1");
    let mut watching = Watching::with(&directory, &["--state", state]);
    assert_eq!(watching.line(), "put\ta\t1");
    add(&directory, "b", "2");
    assert_eq!(watching.line(), "put\tb\t2");
    let cursor = || fs::read_to_string(&file).unwrap_or_default();
    until("the state is kept", || cursor().contains('-'));
    let first = cursor();
    add(&directory, "c", "3");
    assert_eq!(watching.line(), "put\tc\t3");
    until("the state has moved on", || cursor() != first);
    watching.child.kill().unwrap();
    drop(watching);
    add(&directory, "d", "4");
    let mut again = Watching::with(&directory, &["--state", state]);
    assert_eq!(
        again.line(),
        "put\td\t4",
        "nothing before that, and nothing is left out"
    );
    drop(again);
    fs::write(&file, "my diary").unwrap();
    let refused = shell(&directory, &["watch", "--state", state]);
    assert_eq!(refused.code, 8, "{refused:?}");
    assert_eq!(cursor(), "my diary");
}

/// What is told is kept a moment later; whoever is asked to end does it first.
#[test]
fn ctrl_c_keeps_what_was_told() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    let file = directory.with_extension("state");
    let mut watching = Watching::with(&directory, &["--json", "--state", file.to_str().unwrap()]);
    assert!(watching.line().contains("\"ready\""));
    add(&directory, "a", "1");
    let told = watching.line();
    watching.signal("INT");
    assert_eq!(exit_of(&mut watching.child).code(), Some(130));
    let kept = fs::read_to_string(&file).unwrap();
    assert!(
        told.contains(&format!("\"cursor\":\"{}\"", kept.trim())),
        "{kept}, {told}"
    );
}

#[test]
fn a_program_is_run_for_each_change() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    let parent = directory.parent().unwrap();
    let (log, state) = (parent.join("log"), parent.join("state"));
    let script = "value=$(cat); echo \"$P2P_SYNC_EVENT $P2P_SYNC_KEY=$value\" >> \"$0\"; test \"$value\" != bad";
    let words = [
        "--state",
        state.to_str().unwrap(),
        "--exec",
        "sh",
        "-c",
        script,
        log.to_str().unwrap(),
    ];
    let evil = "$(touch pwned);`id`";
    add(&directory, evil, evil);
    let mut watching = Watching::with(&directory, &words);
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    until("the program has run", || !logged().is_empty());
    assert_eq!(logged(), format!("put {evil}={evil}\n"));
    for value in ["1", "bad", "3", "4", "5"] {
        add(&directory, "k", value);
    }
    assert_eq!(shell(&directory, &["delete", "k"]).code, 0);
    until("all is handled", || logged().contains("delete k=\n"));
    let values: Vec<String> = logged().lines().skip(1).map(str::to_owned).collect();
    let mut sorted = values.clone();
    sorted.sort_by_key(|line| line.starts_with("delete"));
    assert_eq!(values, sorted, "changes of one key are handled in their order");
    let before = logged();
    watching.signal("INT");
    assert_eq!(exit_of(&mut watching.child).code(), Some(130));
    add(&directory, "after", "x");
    let _again = Watching::with(&directory, &words);
    until("it goes on", || logged() == format!("{before}put after=x\n"));
    assert!(!parent.join("pwned").exists());
}

/// What had not been handled when the watcher died is handled again.
#[test]
fn a_change_whose_program_was_cut_off_is_handled_again() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    let parent = directory.parent().unwrap();
    let (log, state) = (parent.join("log"), parent.join("state"));
    let script = "echo \"$P2P_SYNC_KEY\" >> \"$0\"; test \"$P2P_SYNC_KEY\" != slow || exec sleep 2";
    let words = [
        "--new",
        "--state",
        state.to_str().unwrap(),
        "--exec",
        "sh",
        "-c",
        script,
        log.to_str().unwrap(),
    ];
    let mut watching = Watching::with(&directory, &words);
    let logged = || fs::read_to_string(&log).unwrap_or_default();
    until("it is ready", || state.exists());
    add(&directory, "slow", "1");
    until("the program runs", || logged() == "slow\n");
    add(&directory, "quick", "2");
    until("another key does not wait", || logged() == "slow\nquick\n");
    watching.child.kill().unwrap();
    drop(watching);
    let _again = Watching::with(&directory, &words);
    until("both are handled again", || logged().lines().count() == 4);
}

#[test]
fn a_program_that_cannot_be_run_ends_the_watch() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    add(&directory, "k", "v");
    let ended = shell(&directory, &["watch", "--exec", "/nowhere/program"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.stderr.contains("/nowhere/program") && ended.stderr.contains("has not been handled"),
        "{ended:?}"
    );
}

#[test]
fn whoever_closes_the_pipe_has_seen_enough() {
    let (_parent, directory) = directory();
    let _node = start(&directory);
    add(&directory, "k", "v");
    let mut child = command(&directory, &["watch"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "put\tk\tv\n");
    drop(lines);
    add(&directory, "l", "w");
    assert!(exit_of(&mut child).success());
}
