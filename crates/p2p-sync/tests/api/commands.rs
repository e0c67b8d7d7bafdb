//! Commands as the shell sends them.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use p2p_sync_testbed::{Value, json, wait_until};

use super::client::{Answer, Api, PATIENCE, PROGRAM};

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_command_is_answered_with_lines_of_results() {
    let api = Api::start();
    let run = |command: Value| {
        let answer = api.post("/v1/command", &command).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/x-ndjson"));
        lines(&answer)
    };
    let added = run(json!({"add": {"key": "hello", "value": "world"}}));
    assert_eq!(added[0]["Ok"]["added"]["value"], "world");
    let found = run(json!({"get": {"key": "hello"}}));
    assert_eq!(found[0]["Ok"]["found"]["value"], "world");
    let missing = run(json!({"get": {"key": "other"}}));
    assert_eq!(missing, [json!({"Err": {"error": "Not found: other", "code": 3}})]);
    let status = run(json!({"status": {}}));
    assert_eq!(status[0]["Ok"]["status"]["keys"], 1);
    let refused = run(json!({"exit": {}}));
    assert_eq!(refused[0]["Err"]["code"], 2);
    assert!(api.node.process().is_running());
}

#[test]
fn what_is_wrong_is_told_and_what_was_looked_at() {
    let api = Api::start();
    let told = api.get("/v1/doctor").expect(200).json();
    assert_eq!(told["findings"], json!([]), "{told}");
    let examined = &told["examined"];
    assert_eq!(examined["findings"], 0);
    assert_eq!(
        (&examined["running"], &examined["looked_around"]),
        (&json!(true), &json!(false))
    );
    // Whoever asks at the same time gets the same.
    thread::scope(|scope| {
        let all = [(); 4].map(|()| scope.spawn(|| api.get("/v1/doctor").expect(200).json()));
        for one in all {
            assert_eq!(one.join().unwrap()["findings"], json!([]));
        }
    });
}

/// Adds so many keys, `k0000` and so on.
fn fill(api: &Api, keys: usize, value: &str) {
    for batch in 0..keys / 500 {
        let operations: Vec<_> = (0..500)
            .map(|number| json!({"put": {"key": format!("k{:04}", batch * 500 + number), "value": value}}))
            .collect();
        api.post("/v1/batch", &json!({ "operations": operations })).expect(200);
    }
}

fn program(api: &Api, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--data-dir").arg(api.node.data_dir()).args(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(api: &Api, words: &[&str]) -> String {
    let output = program(api, words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Through the node, and on the store itself.
#[test]
fn a_deletion_of_many_keys_that_is_interrupted_says_how_many() {
    for runs in [true, false] {
        // A quick machine deletes few keys before it can be interrupted.
        let is_told = [9_500, 40_000, 160_000]
            .into_iter()
            .any(|keys| interrupted_deletion_is_told(runs, keys));
        assert!(is_told, "all deletions were over before they were interrupted");
    }
}

/// False: it was over too soon.
fn interrupted_deletion_is_told(runs: bool, keys: usize) -> bool {
    let api = Api::start();
    fill(&api, keys, "v");
    if !runs {
        api.node.stop();
    }
    let store = api.node.data_dir().join("store.db");
    let deleted = || -> rusqlite::Result<i64> {
        let store = rusqlite::Connection::open_with_flags(&store, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        store.query_row("SELECT COUNT(*) FROM kv_store WHERE value IS NULL", [], |row| {
            row.get(0)
        })
    };
    let has_begun = || match runs {
        true => api.get("/v1/status").json()["keys"].as_u64() < Some(keys as u64),
        // A hundred are under way at a time, so those before them have been counted.
        false => deleted().is_ok_and(|deleted| deleted > 100),
    };
    let mut deleting = program(&api, &["delete", "--prefix", "k", "--yes"]).spawn().unwrap();
    wait_until("something is deleted", PATIENCE, || {
        has_begun() || deleting.try_wait().unwrap().is_some()
    });
    // The node says how far it is twice a second.
    thread::sleep(Duration::from_millis(if runs { 1_000 } else { 0 }));
    let _ = Command::new("kill").args(["-INT", &deleting.id().to_string()]).status();
    let ended = deleting.wait_with_output().unwrap();
    if ended.status.success() {
        return false;
    }
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    let told = told
        .strip_prefix("✗ Interrupted: at least ")
        .unwrap_or_else(|| panic!("{told}"));
    let least: usize = told.split_once(" keys were deleted").unwrap().0.parse().unwrap();
    let left: usize = output(&api, &["list", "--count"]).trim().parse().unwrap();
    assert!(0 < least && least <= keys - left, "{least} of {keys}, {left} are left");
    true
}

/// Somebody reads a list in a pager, and takes his time.
#[test]
fn a_list_that_nobody_reads_on_does_not_keep_the_directory() {
    let api = Api::start();
    fill(&api, 2_000, &"v".repeat(400));
    api.node.stop();
    let mut listing = program(&api, &["list", "--json"]).spawn().unwrap();
    let mut listed = listing.stdout.take().unwrap();
    let mut first = [0; 10];
    listed.read_exact(&mut first).unwrap();
    thread::sleep(Duration::from_secs(2));
    output(&api, &["add", "k9", "while it was open"]);
    let mut rest = String::new();
    listed.read_to_string(&mut rest).unwrap();
    assert!(listing.wait().unwrap().success());
    let text = String::from_utf8(first.to_vec()).unwrap() + &rest;
    let lines: Vec<Value> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(lines.last().unwrap(), &json!({"items": 2_001}));
    let keys: Vec<_> = lines.iter().filter_map(|line| line["key"].as_str()).collect();
    assert_eq!(keys.len(), 2_001);
    assert!(keys.is_sorted() && keys.last() == Some(&"k9"));
}

#[test]
fn a_long_list_comes_in_pages() {
    let api = Api::start();
    fill(&api, 1_500, "v");
    let pages = lines(&api.post("/v1/command", &json!({"list": {"prefix": "k"}})).expect(200));
    assert!(pages.len() >= 3, "{}", pages.len());
    assert_eq!(pages[0]["Ok"]["listed"]["total"], 1_500);
    let keys: Vec<_> = pages
        .iter()
        .flat_map(|page| page["Ok"]["listed"]["records"].as_array().unwrap())
        .map(|record| record["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        keys,
        (0..1_500).map(|number| format!("k{number:04}")).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_no_command_is_refused() {
    let api = Api::start();
    for command in [
        json!({"dance": {}}),
        json!({"get": {}}),
        json!({"get": {"key": "k", "x": 1}}),
        json!([]),
    ] {
        api.post("/v1/command", &command).expect(400);
    }
    let get = br#"{"get":{"key":"k"}}"#;
    api.send("POST", "/v1/command", &[], get).expect(415);
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        api.send("POST", "/v1/command", &[("Content-Type", kind)], get)
            .expect(415);
    }
    let kind = ("Content-Type", "application/json; charset=utf-8");
    api.send("POST", "/v1/command", &[kind], get).expect(200);
    api.send("POST", "/v1/command", &[kind, ("Content-Encoding", "gzip")], get)
        .expect(415);
    api.send("POST", "/v1/command", &[kind], b"\xff").expect(400);
    api.send("POST", "/v1/command", &[kind], &vec![b' '; (1 << 20) + 1])
        .expect(413);
    api.get("/v1/command").expect(405);
}
