//! The demonstration: it shows what it says, and nothing is left of it, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use p2p_sync_testbed::tempfile;

use super::{command, end, exit_of};

fn left(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("demo")).collect()
}

#[test]
fn every_step_is_shown_and_nothing_is_left() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = command(place.path(), &["demo", "--json"]);
    demo.env("TMPDIR", place.path());
    let shown = end(demo, b"");
    assert_eq!(shown.code, 0, "{shown:?}");
    let text = shown.text();
    let steps: Vec<&str> = text.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(
        steps,
        [
            "started", "arrived", "arrived", "apart", "together", "conflict", "resolved", "ended"
        ],
        "{text}"
    );
    assert!(text.contains(r#""key":"price","value":"12","kept":"10""#), "{text}");
    assert!(text.contains(r#""keys":1022,"#), "{text}");
    assert!(!text.contains(r#""bytes_received":0,"#), "{text}");
    assert_eq!(left(place.path()), Vec::<String>::new());
    assert!(shown.took < Duration::from_secs(30), "{:?}", shown.took);
}

#[test]
fn an_interrupt_leaves_nothing_either() {
    let place = tempfile::tempdir().unwrap();
    let mut demo = command(place.path(), &["demo"]);
    demo.env("TMPDIR", place.path());
    let mut child = demo.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("Three nodes on this machine"), "{first}");
    assert_eq!(left(place.path()).len(), 1);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(exit_of(&mut child).code(), Some(130));
    assert_eq!(left(place.path()), Vec::<String>::new());
}
