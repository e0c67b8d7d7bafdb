//! `watch --state` beside three nodes that write without pause, while it and its node are killed again and again: every key's last
//! version arrives, nothing comes twice behind a cursor that was kept, and no key goes back in time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use p2p_sync_testbed::{Launch, Node, Stdin, Value, poll, tempfile, wait_until};

use super::client::{PATIENCE, PROGRAM};
use super::{Picture, apply, list, live, number, program, time, write};

const KEYS: usize = 2_000;

/// How much is done.
struct Size {
    changes: usize,
    watcher_kills: usize,
    node_kills: usize,
    /// How long the nodes may take to become equal at the end.
    settling: Duration,
}

fn size() -> Size {
    let is_full = std::env::var("P2P_SYNC_FULL").is_ok_and(|value| value == "1");
    if is_full {
        Size {
            changes: 100_000,
            watcher_kills: 50,
            node_kills: 10,
            settling: Duration::from_secs(600),
        }
    } else {
        Size {
            changes: 5_000,
            watcher_kills: 8,
            node_kills: 2,
            settling: Duration::from_secs(60),
        }
    }
}

/// What all watchers have told, one after the other.
#[derive(Default)]
struct Told {
    picture: Picture,
    /// Each place, and what was told there.
    places: BTreeMap<u64, String>,
    /// The newest version that was told of each key within the run of this watcher.
    run: BTreeMap<String, String>,
    /// Up to where this watcher has told, and where it began.
    last: u64,
    events: usize,
    again: usize,
    wrong: Vec<String>,
}

impl Told {
    /// A watcher begins behind this place.
    fn begin(&mut self, kept: u64) {
        // Without one, it is told what there is, and nothing of what was deleted.
        if kept == 0 {
            self.picture.clear();
        }
        self.last = kept;
        self.run.clear();
    }

    fn take(&mut self, line: &str) {
        let Ok(event) = line.parse::<Value>() else {
            // Cut off in the middle by the end of its writer.
            return;
        };
        self.events += 1;
        let what = event["event"].as_str().unwrap().to_owned();
        if what == "reset" {
            self.wrong.push("a cursor was lost".to_owned());
        }
        let cursor = event["cursor"].as_str();
        if let (Some(key), Some(cursor)) = (event["key"].as_str(), cursor) {
            let place = number(cursor);
            if place <= self.last {
                self.wrong.push(format!("told again behind {}: {line}", self.last));
            }
            self.last = place;
            let same = format!("{what} {key} {}", event["timestamp"]);
            match self.places.insert(place, same.clone()) {
                // Told, but not kept before the watcher was killed.
                Some(before) if before == same => self.again += 1,
                // A version that has lost since it was told keeps its place.
                Some(before) if what != "conflict" => self.wrong.push(format!("{place}: {before}, then {same}")),
                _ => {}
            }
        } else if let Some(cursor) = cursor {
            if number(cursor) < self.last {
                self.wrong.push(format!("back from {}: {line}", self.last));
            }
            self.last = number(cursor);
        }
        if let (Some(key), "put" | "delete") = (event["key"].as_str(), what.as_str()) {
            let at = time(event["timestamp"].as_str().unwrap());
            match self.run.insert(key.to_owned(), at.clone()) {
                Some(before) if before >= at => self.wrong.push(format!("{before}, then {line}")),
                _ => {}
            }
        }
        apply(&mut self.picture, &event);
    }
}

/// A watcher, and the thread that reads what it tells.
struct Watcher {
    child: Child,
    reading: JoinHandle<()>,
}

impl Watcher {
    fn start(data_dir: &Path, state: &Path, told: &Arc<Mutex<Told>>) -> Self {
        told.lock()
            .unwrap()
            .begin(kept(state).map_or(0, |cursor| number(&cursor)));
        let words = ["watch", "--json", "--state", state.to_str().unwrap()];
        let mut child = program(data_dir, &words).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let told = Arc::clone(told);
        let reading = thread::spawn(move || {
            for line in lines.lines() {
                told.lock().unwrap().take(&line.unwrap());
            }
        });
        Self { child, reading }
    }

    /// Kills it, and returns when everything that it told has been read.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reading.join().unwrap();
    }
}

fn kept(state: &Path) -> Option<String> {
    let text = fs::read_to_string(state).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Ends the observing, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Looks at the state all the time: it never goes back, and is never half of one.
fn observe(state: &Path, is_over: &AtomicBool) -> usize {
    let (mut last, mut seen) = (0, 0);
    while !is_over.load(Ordering::SeqCst) {
        if let Some(cursor) = kept(state) {
            let place = number(&cursor);
            assert!(place >= last, "the state went back from {last} to {cursor}");
            seen += usize::from(place > last);
            last = place;
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    seen
}

fn all(node: &Node) -> Picture {
    let mut picture = list(node.data_dir(), &[]);
    picture.extend(list(node.data_dir(), &["--deleted"]));
    picture
}

#[test]
fn whoever_is_killed_misses_nothing_and_hears_nothing_twice_behind_what_was_kept() {
    let begun = Instant::now();
    let size = size();
    let launch = |name: &str| Launch::new(PROGRAM).label(name).no_lan().stdin(Stdin::Pipe);
    let at = |node: &Node| format!("/ip4/127.0.0.1/tcp/{}", node.port());
    let first = launch("first").start();
    let second = launch("second").peer(&at(&first)).start();
    let third = launch("third").peer(&at(&first)).peer(&at(&second)).start();
    let nodes = [&first, &second, &third];
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let told = Arc::new(Mutex::new(Told::default()));
    let (written, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));

    let (places, writing) = thread::scope(|scope| {
        let over = Over(&is_over);
        let observing = scope.spawn(|| observe(&state, &is_over));
        let mut watcher = Watcher::start(first.data_dir(), &state, &told);
        for node in nodes {
            let written = &written;
            scope.spawn(move || write(node.data_dir(), node.label(), size.changes / 3, KEYS, written));
        }
        // Kills fall evenly into the time of the writing, by how much has been written.
        let kills = size.watcher_kills + size.node_kills;
        let every = kills / size.node_kills;
        let mut node_kills = 0;
        for kill in 1..=kills {
            let due = kill * size.changes / (kills + 1);
            wait_until("more is written", PATIENCE, || written.load(Ordering::SeqCst) >= due);
            if kill % every == 0 && node_kills < size.node_kills {
                node_kills += 1;
                first.kill9();
                first.restart();
            } else {
                let before = told.lock().unwrap().last;
                watcher.kill();
                let cursor = kept(&state).map_or(0, |cursor| number(&cursor));
                let last = told.lock().unwrap().last;
                assert!(cursor <= last.max(before), "{cursor} was kept, {last} was told");
                watcher = Watcher::start(first.data_dir(), &state, &told);
            }
        }
        let end = size.changes / 3 * 3;
        let writing = poll(size.settling, || {
            (written.load(Ordering::SeqCst) >= end).then(|| begun.elapsed())
        });
        wait_until("all nodes are equal", size.settling, || {
            let known = all(&first);
            all(&second) == known && all(&third) == known
        });
        let known = all(&first);
        // What was deleted before anybody watched is not in a snapshot.
        let equal = poll(PATIENCE, || (told.lock().unwrap().picture == known).then_some(()));
        if equal.is_none() {
            let told = told.lock().unwrap();
            assert_eq!(live(&told.picture), live(&known));
            let differ = |key: &&String| told.picture.get(*key).is_some_and(|version| *version != known[*key]);
            let wrong: Vec<&String> = known.keys().filter(differ).collect();
            assert!(wrong.is_empty(), "{wrong:?}");
        }
        watcher.kill();
        drop(over);
        (observing.join().unwrap(), writing)
    });
    let told = told.lock().unwrap();
    println!(
        "{} changes written in {writing:?}, {} events told, {} of them again, {places} states seen, {:?} in all",
        written.load(Ordering::SeqCst),
        told.events,
        told.again,
        begun.elapsed()
    );
    assert!(
        told.wrong.is_empty(),
        "{}: {:#?}",
        told.wrong.len(),
        &told.wrong[..told.wrong.len().min(20)]
    );
    assert!(kept(&state).map_or(0, |cursor| number(&cursor)) > 0);
}
