//! Another store in the place of the one that a watcher knows: an old copy of it, what was rescued of it, or a copy elsewhere. A cursor
//! that is not of its past is answered with `reset`, and the watcher ends up with what `list` shows.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicUsize;

use p2p_sync_testbed::{Node, tempfile};

use super::client::{Door, PATIENCE, launch};
use super::{LINES, Picture, list, live, program, until_ready, write};

fn door(node: &Node) -> Door {
    p2p_sync_testbed::poll(PATIENCE, || {
        Door::of(node.data_dir()).filter(|door| door.try_connect().is_ok())
    })
    .unwrap()
}

/// Follows up to the moment of asking; returns the cursor, and whether there was a `reset`.
fn catch_up(node: &Node, since: Option<&str>, picture: &mut Picture) -> (String, bool) {
    let since = since.map_or_else(String::new, |since| format!("?since={since}"));
    until_ready(&mut door(node).follow(&format!("/v1/watch{since}"), &[LINES]), picture)
}

fn add_many(node: &Node, name: &str) {
    write(node.data_dir(), name, 500, 200, &AtomicUsize::new(0));
}

#[track_caller]
fn assert_as_listed(node: &Node, picture: &Picture) {
    assert_eq!(live(picture), list(node.data_dir(), &[]));
}

/// Copies the store of a node that does not run.
fn copy_store(from: &Path, to: &Path) {
    let log = fs::metadata(from.join("store.db-wal"));
    assert!(
        log.map_or(0, |log| log.len()) == 0,
        "a clean stop leaves nothing in the log"
    );
    fs::copy(from.join("store.db"), to.join("store.db")).unwrap();
}

#[test]
fn an_old_copy_in_its_place_is_told_anew() {
    let node = launch("node").start();
    add_many(&node, "before");
    let mut early = Picture::new();
    let (early_cursor, _) = catch_up(&node, None, &mut early);
    let aside = tempfile::tempdir().unwrap();
    let state = aside.path().join("state");
    fs::write(&state, &early_cursor).unwrap();
    node.stop();
    copy_store(node.data_dir(), aside.path());
    node.restart();
    add_many(&node, "lost");
    let mut late = early.clone();
    let (late_cursor, is_reset) = catch_up(&node, Some(&early_cursor), &mut late);
    assert!(!is_reset);
    assert_as_listed(&node, &late);
    node.stop();
    copy_store(aside.path(), node.data_dir());
    node.restart();
    // As many changes as there were before: by their numbers alone, they would be the same.
    add_many(&node, "other");

    let (_, is_reset) = catch_up(&node, Some(&late_cursor), &mut late);
    assert!(is_reset, "{late_cursor} is of a past that this store does not have");
    assert_as_listed(&node, &late);
    // A cursor from before the copy is in the past of both.
    let (_, is_reset) = catch_up(&node, Some(&early_cursor), &mut early);
    assert!(!is_reset);
    assert_as_listed(&node, &early);
    // The same by the program, which says so.
    fs::write(&state, &late_cursor).unwrap();
    let words = ["watch", "--json", "--state", state.to_str().unwrap()];
    let mut watching = program(node.data_dir(), &words).spawn().unwrap();
    let told = watching.stdout.take().unwrap();
    let first = std::io::BufRead::lines(std::io::BufReader::new(told)).next();
    assert_eq!(first.unwrap().unwrap(), r#"{"event":"reset"}"#);
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_rescued_store_is_told_anew() {
    let node = launch("node").start();
    for _ in 0..4 {
        add_many(&node, "some");
    }
    for number in 0..400 {
        node.add(&format!("large/{number}"), &"x".repeat(400));
    }
    let mut picture = Picture::new();
    let (cursor, _) = catch_up(&node, None, &mut picture);
    node.stop();
    damage(&node.data_dir().join("store.db"));
    node.restart();
    node.command("verify");
    node.wait_log(0, "The store was rescued", PATIENCE);
    add_many(&node, "after");
    let (_, is_reset) = catch_up(&node, Some(&cursor), &mut picture);
    assert!(is_reset);
    assert_as_listed(&node, &picture);
}

/// Overwrites a tenth of the pages, in the middle of the file.
fn damage(file: &Path) {
    let mut file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut head = [0; 18];
    file.read_exact(&mut head).unwrap();
    let page = u64::from(u16::from_be_bytes([head[16], head[17]]));
    let pages = file.metadata().unwrap().len() / page;
    file.seek(SeekFrom::Start(pages / 2 * page)).unwrap();
    let junk = vec![0xa5; usize::try_from(pages.div_ceil(10) * page).unwrap()];
    file.write_all(&junk).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_copy_elsewhere_is_another_store_from_then_on() {
    let node = launch("node").start();
    add_many(&node, "before");
    let mut early = Picture::new();
    let (early_cursor, _) = catch_up(&node, None, &mut early);
    let directory = tempfile::tempdir().unwrap();
    node.stop();
    copy_store(node.data_dir(), directory.path());
    node.restart();
    add_many(&node, "here");
    let mut late = early.clone();
    let (late_cursor, _) = catch_up(&node, Some(&early_cursor), &mut late);

    let copy = launch("copy")
        .data_dir(directory.path())
        .argument("--new-identity")
        .start();
    add_many(&copy, "elsewhere");
    let (_, is_reset) = catch_up(&copy, Some(&late_cursor), &mut late);
    assert!(
        is_reset,
        "what the other store has stored since is nothing to go on behind"
    );
    assert_as_listed(&copy, &late);
    // What both have in common is.
    catch_up(&copy, Some(&early_cursor), &mut early);
    assert_as_listed(&copy, &early);
    assert_ne!(list(node.data_dir(), &[]), list(copy.data_dir(), &[]));
}

/// The copy that SQLite makes of the store of a running node.
#[test]
fn a_copy_of_a_running_store_is_told_anew() {
    if !p2p_sync_testbed::has_programs(&["sqlite3"]) {
        return;
    }
    let node = launch("node").start();
    add_many(&node, "before");
    let directory = tempfile::tempdir().unwrap();
    let copied = Command::new("sqlite3")
        .arg(node.data_dir().join("store.db"))
        .arg(format!(".backup '{}'", directory.path().join("store.db").display()))
        .status();
    assert!(copied.unwrap().success());
    // The same run of the store goes on.
    add_many(&node, "here");
    let mut picture = Picture::new();
    let (cursor, _) = catch_up(&node, None, &mut picture);
    let copy = launch("copy")
        .data_dir(directory.path())
        .argument("--new-identity")
        .start();
    add_many(&copy, "elsewhere");
    let (_, is_reset) = catch_up(&copy, Some(&cursor), &mut picture);
    assert!(is_reset);
    assert_as_listed(&copy, &picture);
}

/// As by `cp`, in the place of the file of a node that goes on running.
#[test]
fn a_copy_written_over_the_file_of_a_running_node_is_told_anew() {
    let node = launch("node").start();
    add_many(&node, "before");
    node.stop();
    let aside = tempfile::tempdir().unwrap();
    copy_store(node.data_dir(), aside.path());
    node.restart();
    add_many(&node, "lost");
    let mut picture = Picture::new();
    let (cursor, _) = catch_up(&node, None, &mut picture);
    fs::copy(aside.path().join("store.db"), node.data_dir().join("store.db")).unwrap();
    // Until it is noticed, what is stored goes on behind that cursor.
    node.add("after", "v");
    node.wait_log(0, "The file of the store was changed by a program", PATIENCE);
    node.add("behind", "v");
    let (_, is_reset) = catch_up(&node, Some(&cursor), &mut picture);
    assert!(is_reset);
}
