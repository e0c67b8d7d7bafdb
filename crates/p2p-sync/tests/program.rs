//! The program as a user of one machine meets it: what it prints, letter by letter, how it refuses, and how
//! it ends. Needs neither root nor a network: everything is on loopback and without discovery.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::process::Command;
use std::time::Duration;

use p2p_sync_testbed::{Launch, Node, Process, Stdin, Value, json, tempfile};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);
/// The promise about how soon a node stops that is asked to.
#[cfg(unix)]
const STOP: Duration = Duration::from_secs(2);

/// Stands for the lines of all addresses in a transcript.
const ADDRESSES: &str = "Listening on <ADDRESSES>";

/// A node by itself: no discovery, any free port.
fn launch(label: &str) -> Launch {
    Launch::new(PROGRAM).label(label).no_lan()
}

fn text(node: &Node) -> Vec<String> {
    let lines = node.stdout().lines_from(1);
    lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
}

/// Feeds the lines that begin with `> ` to a node by a pipe, all at once, and compares everything that it
/// prints with the other lines. `<PEER ID>` stands for its peer id, `<TIME>` for any time, and one
/// `Listening on <ADDRESSES>` for one such line an address.
#[track_caller]
fn assert_transcript(transcript: &str) {
    let node = launch("node").start();
    let peer_id = node.peer_id();
    let mut expected = Vec::new();
    for line in transcript.lines() {
        match line.strip_prefix('>') {
            Some(input) => node.send(format!("{}\n", input.strip_prefix(' ').unwrap_or(input)).as_bytes()),
            None => expected.push(line.replace("<PEER ID>", &peer_id)),
        }
    }
    node.stop();
    let mut printed: Vec<String> = Vec::new();
    for line in text(&node) {
        if !line.starts_with("Listening on /ip") {
            printed.push(without_time(&line));
        } else if printed.last().is_none_or(|last| last != ADDRESSES) {
            printed.push(ADDRESSES.to_owned());
        }
    }
    assert_eq!(printed, expected, "printed on the left, expected on the right");
}

/// `line` with the time in `"timestamp":"2025-01-04T08:30:15.123Z"` replaced by a placeholder.
fn without_time(line: &str) -> String {
    const BEFORE: &str = "\"timestamp\":\"";
    let Some((before, rest)) = line.split_once(BEFORE) else {
        return line.to_owned();
    };
    let (time, after) = rest.split_once('"').unwrap();
    let digits = time.trim_start_matches(|c: char| c.is_ascii_digit() || "-T:.".contains(c));
    assert_eq!(digits, "Z", "{time} is a time in UTC");
    assert!(time.starts_with("20") && time.len() >= 20, "{time}");
    format!("{before}{BEFORE}<TIME>\"{after}")
}

#[test]
fn the_first_transcript_holds_to_the_letter() {
    assert_transcript(include_str!("transcripts/first.txt"));
}

#[test]
fn words_spaces_quotes_and_prefixes_hold_to_the_letter() {
    assert_transcript(include_str!("transcripts/words.txt"));
}

#[test]
fn json_replies_hold_to_the_letter() {
    assert_transcript(include_str!("transcripts/json.txt"));
}

#[test]
fn status_tells_all_that_it_promises() {
    let node = launch("kitchen").start();
    node.add("one", "1");
    node.add("two", "2");
    assert_eq!(node.command("delete two"), "✓ Deleted: two");
    let status = node.status();
    assert_eq!(status["peer_id"], node.peer_id());
    assert_eq!(status["name"], "kitchen");
    assert_eq!(status["network"], "");
    assert_eq!(status["port"], node.port());
    assert_eq!((&status["keys"], &status["deleted"]), (&json!(1), &json!(1)));
    assert_eq!(status["peers"], json!([]));
    assert_eq!(status["mesh"], 0);
    // Nobody was there to hear of the three writes. That is said, and nothing is lost by it.
    assert_eq!(status["messages"]["unheard"], 3, "{status}");
    assert_eq!(status["dropped"], json!([]), "{status}");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["uptime_seconds"].is_u64(), "{status}");
    assert_eq!(status["data_dir"], node.data_dir().to_str().unwrap());
    let of_store = |field: &str| status["store"][field].as_u64();
    let file = std::fs::metadata(node.data_dir().join("store.db")).unwrap().len();
    assert_eq!(of_store("bytes"), Some(file), "{status}");
    assert!(of_store("log_bytes").is_some_and(|bytes| bytes > 0), "{status}");
    assert!(of_store("free_bytes").is_some_and(|bytes| bytes > 0), "{status}");
    assert!(status["known_peers"].is_u64(), "{status}");
    assert!(status["messages"]["sent"].is_u64(), "{status}");
    assert!(status["messages"]["received"].is_u64(), "{status}");
    let listed: Vec<&str> = status["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| address.as_str().unwrap())
        .collect();
    let (tcp, udp) = (format!("/tcp/{}", node.port()), format!("/udp/{}/quic-v1", node.port()));
    assert!(listed.iter().any(|address| address.ends_with(&tcp)), "{status}");
    assert!(listed.iter().any(|address| address.ends_with(&udp)), "{status}");
    // The same in words, and help for all commands.
    assert!(node.lines("status").iter().any(|line| line.contains(&node.peer_id())));
    let help = node.lines("help").join("\n");
    for command in [
        "add",
        "get",
        "delete",
        "list",
        "status",
        "peers",
        "sync",
        "verify",
        "conflicts",
        "resolve",
        "help",
        "exit",
    ] {
        assert!(help.contains(command), "{command} is missing in: {help}");
    }
}

#[test]
fn two_nodes_told_of_each_other_share_what_is_written() {
    let a = launch("a").start();
    let b = launch("b").peer(&format!("/ip4/127.0.0.1/tcp/{}", a.port())).start();
    a.wait_linked(&b, PATIENCE);
    a.add("hello", "world");
    b.wait_value("hello", "world", PATIENCE);
    b.add("answer", "42");
    a.wait_value("answer", "42", PATIENCE);
    let id = a.peer_id();
    b.wait_log(0, &format!("Connection established with peer: {id}"), PATIENCE);
    b.wait_log(0, &format!("Got message from {id}: Put {{ hello = world }}"), PATIENCE);

    let peers = b.lines("peers --json");
    assert_eq!(peers.len(), 2, "{peers:?}");
    assert_eq!(peers[1], r#"{"peers":1}"#);
    let peer: Value = serde_json::from_str(&peers[0]).unwrap();
    assert_eq!(peer["peer_id"], id.as_str());
    assert!(
        peer["address"].as_str().unwrap().starts_with("/ip4/127.0.0.1/"),
        "{peer}"
    );
    assert_eq!((&peer["subscribed"], &peer["connections"]), (&json!(true), &json!(1)));
    assert!(["tcp", "quic"].contains(&peer["transport"].as_str().unwrap()), "{peer}");
    assert!(
        ["inbound", "outbound"].contains(&peer["direction"].as_str().unwrap()),
        "{peer}"
    );
}

#[test]
fn nodes_of_different_networks_share_nothing() {
    let a = launch("a").argument("--network").argument("one").start();
    let address = format!("/ip4/127.0.0.1/tcp/{}", a.port());
    let b = launch("b").argument("--network").argument("one").peer(&address).start();
    let stranger = launch("stranger")
        .argument("--network")
        .argument("two")
        .peer(&address)
        .start();
    a.wait_linked(&b, PATIENCE);
    stranger.add("for two", "only");
    a.add("for one", "only");
    b.wait_value("for one", "only", PATIENCE);
    assert_eq!(stranger.get("for one"), None);
    assert_eq!(a.get("for two"), None);
    assert_eq!(a.status()["network"], "one");

    // And a store belongs to its network.
    let directory = tempfile::tempdir().unwrap();
    launch("c")
        .data_dir(&directory)
        .argument("--network")
        .argument("one")
        .start()
        .stop();
    let other = launch("c")
        .data_dir(&directory)
        .argument("--network")
        .argument("two")
        .spawn();
    assert_eq!(other.wait_exit(PATIENCE).code(), Some(6));
    launch("c")
        .data_dir(&directory)
        .argument("--network")
        .argument("one")
        .start()
        .stop();
}

#[test]
fn a_restart_keeps_the_peer_id_and_the_data() {
    let node = launch("node").start();
    let id = node.peer_id();
    node.add("kept", "by the store");
    assert!(node.command("add --json gone soon").contains("added"));
    assert_eq!(node.command("delete gone"), "✓ Deleted: gone");
    node.stop();
    node.restart();
    assert_eq!(node.peer_id(), id);
    assert_eq!(node.lines("list"), ["Stored items (1):", "  kept = by the store"]);
    node.kill9();
    node.restart();
    assert_eq!(node.peer_id(), id);
    assert_eq!(node.get("kept").as_deref(), Some("by the store"));
    assert_eq!(node.get("gone"), None);
}

#[test]
fn a_port_that_is_taken_is_an_error_and_not_shared() {
    let first = launch("first").start();
    let second = launch("second").port(first.port()).spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(10));
    let errors = second.stderr().tail(20);
    assert!(errors.contains(&first.port().to_string()), "{errors}");
    assert!(errors.contains("--port"), "says what to do next: {errors}");

    // By another program, on one of the two transports only.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let third = launch("third").port(port).spawn();
    assert_eq!(third.wait_exit(PATIENCE).code(), Some(10));
    assert!(first.process().is_running());
}

#[test]
fn a_data_directory_in_use_is_an_error_and_not_shared() {
    let first = launch("first").start();
    let second = launch("second").data_dir(first.data_dir()).spawn();
    assert_eq!(second.wait_exit(PATIENCE).code(), Some(10));
    let errors = second.stderr().tail(20);
    let directory = first.data_dir().to_str().unwrap();
    assert!(errors.contains(directory), "{errors}");
    first.add("still", "mine");
}

/// The program as a user without special rights runs it, started with these arguments; its exit code and what it said.
#[cfg(target_os = "linux")]
fn start_without_rights(data_dir: &std::path::Path, port: u16) -> (Option<i32>, String) {
    // Root without its capabilities may do no more than anybody else.
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", PROGRAM]);
    command.args(["start", "--no-lan", "--port", &port.to_string(), "--data-dir"]);
    command.arg(data_dir);
    let process = Process::spawn("without rights", command, Stdin::Null);
    let code = process.wait_exit(PATIENCE).code();
    (code, process.stderr().tail(20))
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_user_may_not_use_is_told_from_what_is_taken_or_damaged() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let unprivileged = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    let forbidden = unprivileged.trim().parse::<u16>().unwrap().saturating_sub(1);
    // In some containers everybody may use every port.
    if forbidden > 0 {
        let (code, errors) = start_without_rights(directory.path(), forbidden);
        assert_eq!(code, Some(7), "{errors}");
        assert!(
            errors.contains(&format!("not permitted to listen on port {forbidden}")),
            "{errors}"
        );
        assert!(errors.contains("--port"), "says what to do next: {errors}");
    }

    let key = directory.path().join("identity.key");
    std::fs::write(&key, "").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o000)).unwrap();
    let (code, errors) = start_without_rights(directory.path(), 0);
    assert_eq!(code, Some(7), "{errors}");
    assert!(errors.contains("identity.key"), "{errors}");
}

#[test]
fn wrong_usage_is_told_apart_from_failure() {
    for wrong in ["--no-such-flag", "--port=notaport", "--peer=not-a-multiaddress"] {
        let node = launch("node").argument(wrong).spawn();
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(2), "{wrong}");
        assert_ne!(node.stderr().count(0, "error"), 0, "{wrong}");
    }
}

#[test]
fn refusals_have_their_code_and_the_prompt_goes_on() {
    let node = launch("node").start();
    let long_key = "k".repeat(257);
    let long_value = "v".repeat(65_537);
    let refused: [(&str, Vec<u8>); 6] = [
        ("a key over the limit", format!("add --json {long_key} v").into_bytes()),
        (
            "a value over the limit",
            format!("add --json k {long_value}").into_bytes(),
        ),
        ("an empty key", b"add --json \"\" v".to_vec()),
        ("a key that is not UTF-8", b"add --json \xff\xfe v".to_vec()),
        ("a question that is not UTF-8", b"get --json \xff".to_vec()),
        ("a key with a control character", b"add --json \"a\x07b\" v".to_vec()),
    ];
    for (what, line) in &refused {
        let answer = node.json_bytes(line);
        assert_eq!(answer["code"], 8, "{what}: {answer}");
        assert!(answer["error"].is_string(), "{what}: {answer}");
    }
    // The same without --json: one line, on standard output, in words.
    let answer = node.command(&format!("add {long_key} v"));
    assert!(answer.starts_with("✗ "), "{answer}");
    let answer = node.command_bytes(b"\xff\xfe\xfd");
    assert!(answer.starts_with("✗ ".as_bytes()), "{answer:?}");
    let answer = node.command("frobnicate");
    assert!(answer.starts_with("✗ ") && answer.contains("help"), "{answer}");

    let huge = [b"add --json k ".as_slice(), &vec![b'v'; 10 << 20]].concat();
    let answer = String::from_utf8(node.command_bytes(&huge)).unwrap();
    assert!(answer.starts_with("✗ ") || answer.contains("\"code\":8"), "{answer}");

    assert_eq!(node.lines("list"), ["Stored items (0):"]);
    node.add("still", "here");
    node.stop();
}

/// The limits themselves are allowed; and any bytes are a value.
#[test]
fn the_largest_key_and_value_are_taken_byte_for_byte() {
    let node = launch("node").start();
    let key = "ключ 🦀/".repeat(18);
    assert!(key.len() <= 256);
    let key = format!("{key}{}", "/".repeat(256 - key.len()));
    let value = "v".repeat(65_536);
    let answer = node.json(&format!("add --json \"{key}\" {value}"));
    assert_eq!((&answer["key"], &answer["value"]), (&json!(key), &json!(value)));
    assert_eq!(node.get(&key), Some(value));

    let answer = node.json_bytes(b"add --json bytes \xff\x00\x1b[31m\xfe");
    assert_eq!(answer["value_b64"], "/wAbWzMxbf4=", "{answer}");
    assert!(answer.get("value").is_none(), "{answer}");
    assert_eq!(node.command("get bytes"), "✓ bytes = \\xFF\\u{0}\\u{1b}[31m\\xFE");
    let answer = node.json("add --json empty \"\"");
    let quotes = answer["value"].as_str().unwrap().to_owned();
    assert_eq!(quotes, "\"\"", "the rest of the line is the value as it stands");
}

#[test]
fn the_environment_is_heard_and_flags_win() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["start", "--name", "by flag"])
        .env("P2P_SYNC_DATA_DIR", directory.path())
        .env("P2P_SYNC_PORT", "0")
        .env("P2P_SYNC_NAME", "by environment")
        .env("P2P_SYNC_NETWORK", "by environment")
        .env("P2P_SYNC_NO_LAN", "true");
    let process = Process::spawn("node", command, Stdin::Pipe);
    process.send(b"status --json\n");
    let status = process.wait_json(0, "status", PATIENCE, |_| true);
    assert_eq!(
        (&status["name"], &status["network"]),
        (&json!("by flag"), &json!("by environment"))
    );
    assert!(directory.path().join("store.db").exists());
    process.close_stdin();
    assert!(process.wait_exit(PATIENCE).success());
}

#[test]
fn a_pipe_is_read_to_its_end_and_then_the_node_stops() {
    let node = launch("node").start();
    // Without an end of line after the last one, as `printf` leaves it.
    node.send(b"add first 1\nadd last 2");
    node.stop();
    let printed = text(&node);
    assert!(
        printed.ends_with(&["✓ Added: first = 1".to_owned(), "✓ Added: last = 2".to_owned()]),
        "{printed:?}"
    );
    // What comes after `exit` is not obeyed.
    node.restart();
    let mark = node.stderr().mark();
    node.send(b"exit\nadd late 3\n");
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(0));
    node.wait_log(mark, "stopping: an exit command was read", PATIENCE);
    node.restart();
    assert_eq!(node.get("late"), None);
    assert_eq!(node.get("last").as_deref(), Some("2"));
}

#[cfg(unix)]
#[test]
fn without_a_standard_input_it_is_a_service_until_it_is_told_to_stop() {
    for stdin in [Stdin::Null, Stdin::Closed] {
        for signal in ["TERM", "INT"] {
            let node = launch("service").stdin(stdin).start();
            let process = node.process();
            assert_idle(&process, stdin);
            process.signal(signal);
            assert_eq!(process.wait_exit(STOP).code(), Some(0), "{stdin:?} {signal}");
        }
    }
}

/// It neither ends nor spins: a closed input that is read again and again costs a core.
#[cfg(unix)]
fn assert_idle(process: &Process, stdin: Stdin) {
    const WATCHED: Duration = Duration::from_secs(2);
    let before = cpu_ticks(process.pid());
    std::thread::sleep(WATCHED);
    assert!(process.is_running(), "{stdin:?}");
    if let (Some(before), Some(after)) = (before, cpu_ticks(process.pid())) {
        // Of the 200 ticks that a core has in that time.
        assert!(
            after - before < 30,
            "{stdin:?}: {} ticks in {WATCHED:?}",
            after - before
        );
    }
}

/// User and system time of a process in ticks of 10 ms, where `/proc` tells.
#[cfg(unix)]
fn cpu_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11).map(|field| field.parse::<u64>().unwrap());
    Some(times.next()? + times.next()?)
}

#[cfg(unix)]
#[test]
fn a_signal_stops_it_within_two_seconds_with_a_pipe_open_and_a_peer_connected() {
    for signal in ["TERM", "INT"] {
        let a = launch("a").start();
        let b = launch("b").peer(&format!("/ip4/127.0.0.1/tcp/{}", a.port())).start();
        a.wait_linked(&b, PATIENCE);
        a.add("last", "words");
        let process = a.process();
        process.signal(signal);
        assert_eq!(process.wait_exit(STOP).code(), Some(0), "{signal}");
        a.restart();
        assert_eq!(a.get("last").as_deref(), Some("words"));
    }
}

/// Exit code, standard output and standard error of `p2p-sync schema`.
fn schema(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(PROGRAM).arg("schema").args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn schemas_come_by_name_and_a_wrong_name_is_answered_with_the_nearest() {
    let (code, names, _) = schema(&[]);
    assert_eq!(code, Some(0));
    assert!(
        names.starts_with("add\nget\n")
            && names.contains("\nexit\nwatch\n")
            && names.ends_with("\nconfig\npaths\nerror\n"),
        "{names}"
    );
    for name in names.lines() {
        let (code, text, _) = schema(&[name]);
        let schema: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((code, &schema["title"]), (Some(0), &json!(name)));
    }
    let (code, text, errors) = schema(&["statsu"]);
    assert_eq!((code, text.as_str()), (Some(2), ""));
    assert!(errors.contains("similar") && errors.contains("'status'"), "{errors}");
}

#[test]
fn schemas_require_what_is_always_there_and_allow_what_may_be_added() {
    let (_, text, _) = schema(&["get"]);
    let get: Value = serde_json::from_str(&text).unwrap();
    let get = jsonschema::validator_for(&get).unwrap();
    let record =
        json!({ "key": "k", "value": "v", "timestamp": "2026-01-04T08:30:18Z", "author": "A", "conflicts": 1 });
    let with = |field: &str, value: Value| {
        let mut changed = record.clone();
        changed[field] = value;
        changed
    };
    let without = |field: &str| {
        let mut changed = record.clone();
        changed.as_object_mut().unwrap().remove(field);
        changed
    };
    assert!(get.is_valid(&record));
    assert!(get.is_valid(&with("from a later version", json!(1))));
    assert!(get.is_valid(&json!({ "error": "Not found: k", "code": 3 })));
    for wrong in [
        without("key"),
        without("value"),
        without("timestamp"),
        without("author"),
        without("conflicts"),
        with("conflicts", json!("1")),
        with("value", json!(5)),
        json!({ "error": "Not found: k", "code": "3" }),
        json!({ "items": 3 }),
    ] {
        assert!(!get.is_valid(&wrong), "{wrong}");
    }
}
