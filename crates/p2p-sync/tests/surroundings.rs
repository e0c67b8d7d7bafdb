//! The program in its surroundings: the environment that it is started with, the signals that it gets, the log that it leaves.
//! Runs on any machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[cfg(unix)]
use p2p_sync_testbed::Process;
use p2p_sync_testbed::{Launch, Node, Stdin, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_p2p-sync");
const PATIENCE: Duration = Duration::from_secs(30);

fn launch(label: &str) -> Launch {
    Launch::new(PROGRAM).label(label).no_lan()
}

/// Exit code and words of a start that is refused.
fn refused(launch: Launch) -> (Option<i32>, String) {
    let node = launch.stdin(Stdin::Null).spawn();
    let code = node.wait_exit(PATIENCE).code();
    (code, node.stderr().tail(20))
}

#[test]
fn an_empty_variable_is_an_unset_one() {
    let mut launch = launch("node");
    for name in [
        "PORT",
        "DATA_DIR",
        "NAME",
        "NETWORK",
        "PEER",
        "NO_LAN",
        "MAX_STORE",
        "PROMPT",
        "VERBOSE",
        "LOG_VALUES",
    ] {
        launch = launch.env(&format!("P2P_SYNC_{name}"), "");
    }
    let node = launch.env("RUST_LOG", "").start();
    node.add("hello", "world");
    node.stop();
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value) in [
        ("P2P_SYNC_NO_LAN", "banana"),
        ("P2P_SYNC_MAX_STORE", "lots"),
        ("P2P_SYNC_PEER", "nowhere"),
        ("P2P_SYNC_NETWORK", "a\nb"),
        ("P2P_SYNC_PROMPT", "maybe"),
    ] {
        let (code, errors) = refused(Launch::new(PROGRAM).env(name, value));
        assert_eq!(code, Some(2), "{name}: {errors}");
        assert!(errors.contains(name), "{name}: {errors}");
        assert!(
            name != "P2P_SYNC_NO_LAN" || errors.contains("expected true or false"),
            "{errors}"
        );
    }
    // A flag that is wrong is not blamed on the environment.
    let (code, errors) = refused(
        launch("node")
            .env("P2P_SYNC_PROMPT", "never")
            .argument("--prompt=maybe"),
    );
    assert_eq!(code, Some(2));
    assert!(!errors.contains("comes from the environment"), "{errors}");
}

#[test]
fn blanks_round_the_commas_between_peers_are_no_part_of_them() {
    let a = launch("a").start();
    let peers = format!(" /ip4/127.0.0.1/tcp/1 , /ip4/127.0.0.1/tcp/{} ,", a.port());
    let b = launch("b").env("P2P_SYNC_PEER", &peers).start();
    a.wait_linked(&b, PATIENCE);
}

#[cfg(unix)]
#[test]
fn signals_stop_it_in_order_or_ask_it_something() {
    for signal in ["QUIT", "TERM", "INT"] {
        let node = launch("service").stdin(Stdin::Null).start();
        let id = node.peer_id();
        node.process().signal("HUP");
        node.wait_log(0, "Got SIGHUP", PATIENCE);
        node.process().signal("USR1");
        node.wait_log(0, &format!("Status: Peer ID:   {id}"), PATIENCE);
        assert!(node.process().is_running());
        node.process().signal(signal);
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(0), "{signal}");
        node.wait_log(0, " stopping: ", PATIENCE);
    }
}

#[cfg(unix)]
#[test]
fn a_hang_up_of_its_terminal_stops_it_in_order_unless_it_was_told_to_ignore_that() {
    use std::process::Command;

    use p2p_sync_testbed::tempfile;

    // `script` of its own: a terminal that closes while a node runs in its background.
    const SCRIPT: &str = r#"
import os, pty, subprocess, sys, time
ignore, program, log = sys.argv[1] == "ignore", sys.argv[2], sys.argv[3]
pid, terminal = pty.fork()
if pid == 0:
    import signal
    signal.signal(signal.SIGHUP, signal.SIG_IGN if ignore else signal.SIG_DFL)
    with open(log, "w") as errors, open(log + ".out", "w") as out:
        node = subprocess.Popen(sys.argv[2:3] + sys.argv[4:], stdin=subprocess.DEVNULL, stdout=out, stderr=errors, restore_signals=False)
    with open(log + ".pid", "w") as file:
        file.write(str(node.pid))
    while True:
        time.sleep(60)
while "Commands" not in (open(log + ".out").read() if os.path.exists(log + ".out") else ""):
    time.sleep(0.05)
os.close(terminal)
os.waitpid(pid, os.WNOHANG)
"#;
    for ignore in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let mut command = Command::new("python3");
        command.args(["-c", SCRIPT, if ignore { "ignore" } else { "default" }, PROGRAM]);
        command
            .arg(&log)
            .args(["start", "--no-lan", "--port", "0", "--data-dir"]);
        command.arg(directory.path().join("data"));
        let process = Process::spawn("terminal", command, Stdin::Null);
        process.wait_exit(PATIENCE);
        let pid = std::fs::read_to_string(directory.path().join("log.pid")).unwrap();
        let running = || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z")
        };
        if ignore {
            std::thread::sleep(Duration::from_secs(1));
            assert!(running(), "it was told to live on");
            assert!(
                Command::new("kill")
                    .args(["-s", "TERM", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
        }
        p2p_sync_testbed::wait_until("it has ended", PATIENCE, || !running());
        let text = std::fs::read_to_string(&log).unwrap();
        let why = if ignore {
            "asked to terminate"
        } else {
            "the terminal was closed"
        };
        assert!(text.contains(&format!("stopping: {why}")), "{text}");
    }
}

fn log_of(node: &Node) -> String {
    node.stderr().tail(100)
}

#[test]
fn a_log_that_is_kept_has_dates_the_version_and_no_values() {
    let version = env!("CARGO_PKG_VERSION");
    let a = launch("a").env("P2P_SYNC_LOG_VALUES", "").start();
    let b = launch("b").peer(&format!("/ip4/127.0.0.1/tcp/{}", a.port())).start();
    a.wait_linked(&b, PATIENCE);
    b.add("key", "secret");
    a.wait_value("key", "secret", PATIENCE);
    a.wait_log(0, "Put { key }", PATIENCE);
    a.stop();
    let log = log_of(&a);
    assert!(!log.contains("secret"), "{log}");
    for text in [
        format!("p2p-sync {version} started: peer id {}, name a, process ", a.peer_id()),
        format!("p2p-sync {version} stopping: standard input has ended"),
    ] {
        assert!(log.contains(&text), "{text} is missing: {log}");
    }
    let dated = |line: &&str| line.trim_start().starts_with("20") && line.contains("T");
    assert!(
        log.lines()
            .filter(|line| line.contains(" INFO "))
            .all(|line| dated(&line)),
        "{log}"
    );

    // The other one was asked to show them.
    a.restart();
    a.wait_linked(&b, PATIENCE);
    a.add("shown", "value");
    b.wait_log(0, "Put { shown = value }", PATIENCE);
}

#[test]
fn a_mistake_in_rust_log_is_told_and_verbose_is_ours_alone() {
    for wrong in ["banana", "p2p-sync=debug", "p2p_sync=loud"] {
        let node = launch("node").env("RUST_LOG", wrong).start();
        node.stop();
        assert_ne!(node.stderr().count(0, "RUST_LOG"), 0, "{wrong}: {}", log_of(&node));
        assert_ne!(node.stderr().count(0, "started"), 0, "{wrong}: {}", log_of(&node));
    }
    let a = launch("a").argument("-v").start();
    let b = launch("b").peer(&format!("/ip4/127.0.0.1/tcp/{}", a.port())).start();
    a.wait_linked(&b, PATIENCE);
    a.stop();
    let log = log_of(&a);
    assert_ne!(a.stderr().count(0, " DEBUG "), 0, "{log}");
    assert!(!log.contains("libp2p") && !log.contains("DEBUG yamux"), "{log}");
}

/// What the program says that gets these lines from a pipe, which then ends.
fn piped(lines: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command
        .args(["start", "--no-lan", "--port", "0", "--data-dir"])
        .arg(directory.path());
    command.args(arguments);
    let streams = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = streams.spawn().unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// A pipe would be waited for, and a link whose disk is not mounted would be replaced by an empty store.
#[cfg(unix)]
#[test]
fn neither_a_pipe_nor_a_link_to_nothing_takes_the_place_of_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("identity.key");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (code, errors) = refused(launch("node").data_dir(&directory));
    assert_eq!(code, Some(9), "{errors}");
    assert!(errors.contains("identity.key is damaged: it is not a file"), "{errors}");

    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("store.db");
    std::os::unix::fs::symlink(directory.path().join("not-mounted/store.db"), &link).unwrap();
    let (code, errors) = refused(launch("node").data_dir(&directory));
    assert_eq!(code, Some(9), "{errors}");
    assert!(errors.contains("is a link to a missing file"), "{errors}");
    assert!(
        std::fs::symlink_metadata(&link).unwrap().is_symlink(),
        "it was left as it was"
    );
}

#[test]
fn a_pipe_that_wrote_something_waits_until_a_peer_has_it() {
    let there = launch("there").start();
    let address = format!("/ip4/127.0.0.1/tcp/{}", there.port());
    let ended = piped("add from a-pipe\n", &["--peer", &address, "--linger", "30"]);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && !errors.contains("No other node"), "{errors}");
    // It was there before the pipe's node ended.
    assert_eq!(there.get("from").as_deref(), Some("a-pipe"));
}

#[test]
fn a_pipe_says_what_nobody_has_yet() {
    // Nobody is at this port.
    let nobody = ["--peer", "/ip4/127.0.0.1/tcp/1", "--linger", "0.3"];
    let ended = piped("add k v\nadd l w\nget k\n", &nobody);
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{errors}");
    assert!(
        errors.contains("No other node is known to have what was written (2 changes)"),
        "{errors}"
    );
    for (lines, arguments) in [
        ("get k\n", &nobody[..]),
        ("add k v\n", &[]),
        ("add k v\n", &["--linger", "0"]),
    ] {
        let ended = piped(lines, arguments);
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(!errors.contains("No other node"), "{lines} {arguments:?}: {errors}");
    }
    let (code, errors) = refused(launch("node").argument("--linger").argument("soon"));
    assert_eq!(code, Some(2), "{errors}");
}

#[cfg(unix)]
#[test]
fn with_too_few_descriptors_it_says_so_and_blames_neither_the_disk_nor_the_port() {
    for limit in 12..=28 {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -n {limit} && exec \"$@\""), "sh", PROGRAM]);
        command
            .args(["start", "--no-lan", "--port", "0", "--data-dir"])
            .arg(directory.path());
        let process = Process::spawn("node", command, Stdin::Null);
        assert_eq!(process.wait_exit(PATIENCE).code(), Some(1), "{limit}");
        let errors = process.stderr().tail(20);
        assert!(errors.contains(&format!("only {limit} files and sockets")), "{errors}");
        assert!(errors.contains("ulimit -n"), "{errors}");
    }
}

#[test]
fn what_is_in_the_way_of_the_store_has_its_own_words_and_code() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("store.db")).unwrap();
    let (code, errors) = refused(launch("node").data_dir(&directory));
    assert_eq!(code, Some(9), "{errors}");
    assert!(errors.contains("store.db is not a file"), "{errors}");

    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("identity.key");
    std::fs::write(&key, "").unwrap();
    let (code, errors) = refused(launch("node").data_dir(&directory));
    assert_eq!(code, Some(9), "{errors}");
    assert!(errors.contains("identity.key is damaged: it is empty"), "{errors}");
    assert_eq!(std::fs::read(&key).unwrap(), b"");

    for (name, code) in [("store.db-wal", 9), ("identity.key", 9)] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join(name)).unwrap();
        let (found, errors) = refused(launch("node").data_dir(&directory));
        assert_eq!(found, Some(code), "{errors}");
        assert!(errors.contains(name) && errors.contains("is not a file"), "{errors}");
        assert!(
            !errors.contains("the disk") && !errors.contains("starting with an empty store"),
            "{errors}"
        );
    }

    // Also beside a store that is there, where SQLite speaks of an error of the disk.
    for name in ["store.db-wal", "store.db-shm", "store.db-journal"] {
        let directory = tempfile::tempdir().unwrap();
        launch("node").data_dir(&directory).start().stop();
        let path = directory.path().join(name);
        let _ = std::fs::remove_file(&path);
        for is_pipe in [false, true] {
            if is_pipe {
                let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
                assert!(made.success());
            } else {
                std::fs::create_dir(&path).unwrap();
            }
            let (code, errors) = refused(launch("node").data_dir(&directory));
            assert_eq!(code, Some(9), "{errors}");
            assert!(
                errors.contains(&format!("{name} is not a file")) && errors.contains("move it away"),
                "{errors}"
            );
            if !is_pipe {
                std::fs::remove_dir(&path).unwrap();
            }
        }
    }

    for name in ["store.db-wal", "store.db-shm", "store.db-journal"] {
        let directory = tempfile::tempdir().unwrap();
        launch("node").data_dir(&directory).start().stop();
        let link = directory.path().join(name);
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink("elsewhere", &link).unwrap();
        let (code, errors) = refused(launch("node").data_dir(&directory));
        assert_eq!(code, Some(9), "{errors}");
        assert!(errors.contains(&format!("{name} is a link")), "{errors}");
    }

    let directory = tempfile::tempdir().unwrap();
    let deep = (0..6).fold(directory.path().to_owned(), |path, _| path.join("z".repeat(120)));
    let (code, errors) = refused(launch("node").data_dir(&deep));
    assert_eq!(code, Some(9), "{errors}");
    assert!(
        errors.contains("the path of the store is too long for SQLite"),
        "{errors}"
    );

    let directory = tempfile::tempdir().unwrap();
    launch("node").data_dir(&directory).start().stop();
    let shell = rusqlite::Connection::open(directory.path().join("store.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (code, errors) = refused(launch("node").data_dir(&directory));
    assert_eq!(code, Some(10), "{errors}");
    assert!(errors.contains("store.db is locked by another program"), "{errors}");
    shell.execute_batch("ROLLBACK").unwrap();
    launch("node").data_dir(&directory).start().stop();
}

#[test]
fn a_write_over_what_a_wrong_clock_dated_ahead_says_so_and_can_be_dated_now() {
    let node = launch("node").start();
    let shell = rusqlite::Connection::open(node.data_dir().join("store.db")).unwrap();
    for key in ["k", "l", "m"] {
        // As a clock left it that stood at 2099.
        let sql = "INSERT INTO kv_store (key, value, timestamp, author) VALUES (?1, 'v', 4077648000000000000, ?2)";
        shell.execute(sql, [key, &node.peer_id()]).unwrap();
    }
    drop(shell);
    let told = "  (dated ahead of this clock: other nodes refuse it until 2099-03-19T23:58:00.000000001Z. To date it now: \
        the same with --now, or repair-clock for all keys)";
    assert_eq!(node.lines("add k w"), ["✓ Added: k = w", told]);
    assert_eq!(node.lines("delete l"), ["✓ Deleted: l", told]);
    let added = node.json("add --json k w");
    assert_eq!(added["accepted_from"], "2099-03-19T23:58:00.000000002Z", "{added}");
    assert_eq!(node.lines("add --now k x"), ["✓ Added: k = x"]);
    assert_eq!(node.lines("delete --now l"), ["✓ Deleted: l"]);
    assert_eq!((node.get("k").as_deref(), node.get("l")), (Some("x"), None));
    assert_eq!(node.lines("delete --now l"), ["✗ Not found: l"]);
    assert_eq!(node.lines("repair-clock"), ["✓ Repaired: 1 key is dated now"]);
    let nothing = "✓ Repaired: nothing, no key is dated too far ahead of this clock";
    assert_eq!(node.lines("repair-clock"), [nothing]);
    assert_eq!(node.json("repair-clock --json"), json!({ "repaired_keys": 0 }));
    assert_eq!(node.get("m").as_deref(), Some("v"));
    assert_eq!(node.status()["sync"]["ahead"]["records"], 0);
    node.stop();
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_cannot_be_written_is_a_failure() {
    for argument in ["--help", "--version"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = std::process::Command::new(PROGRAM)
            .arg(argument)
            .stdout(full)
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1), "{argument}");
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(errors.contains("Cannot write to standard output"), "{errors}");
    }
}
