//! The prompt at a terminal, with other nodes around.

use p2p_sync_testbed::{Addresses, Lab, Launch, Node, Stdin, wait_until};

use crate::support::{PATIENCE, PROGRAM, RECOVERY, launch, seconds};

const HOSTILE: &str = "a\u{1b}]0;pwned\u{7}b\u{1b}[2Jc";

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn ctrl_d_ctrl_c_exit_and_sigterm_end_a_prompt_cleanly_within_two_seconds() {
    for keys in [&b"\x04"[..], b"\x03", b"exit\r"] {
        let node = prompt();
        if keys == b"\x03" {
            ask_to_leave(&node);
        }
        type_at_leisure(&node, keys);
        let code = node.wait_exit(seconds(2)).code();
        assert_eq!(code, Some(0), "{keys:?}");
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn ctrl_c_drops_a_line_and_leaves_only_when_asked_twice() {
    let node = prompt();
    // A line that was begun is dropped, and the next one is its own.
    // What is typed ahead of its prompt goes with it.
    type_at_leisure(&node, b"add hello wrong");
    type_at_leisure(&node, b"\x03");
    wait_terminal(&node, "add hello wrong");
    node.send(b"get hello\r");
    wait_terminal(&node, "✓ hello = world");
    // One on an empty line is a slip of the finger, and forgotten after the next line.
    for value in ["again", "and again"] {
        ask_to_leave(&node);
        node.send(format!("add hello {value}\r").as_bytes());
        wait_terminal(&node, &format!("✓ Added: hello = {value}"));
    }
    node.send(b"add lines <<END\rone\rtwo\rEND\r");
    wait_terminal(&node, "✓ Added: lines = one");
    // Nothing is left of a value that was not finished.
    node.send(b"add lines <<END\rthree\r");
    wait_terminal(&node, "three");
    type_at_leisure(&node, b"\x03");
    type_at_leisure(&node, b"get hello\r");
    wait_terminal(&node, "✓ hello = and again");
    ask_to_leave(&node);
    type_at_leisure(&node, b"\x03");
    assert_eq!(node.wait_exit(seconds(2)).code(), Some(0));
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn what_happens_elsewhere_is_shown_without_harm_to_the_line_being_typed() {
    let lab = Lab::new();
    let (host_a, host_b) = (lab.host(Addresses::V4), lab.host(Addresses::V4));
    let a = launch(&host_a, "a").start();
    let b = launch(&host_b, "b").stdin(Stdin::Terminal).start();
    let id = b.peer_id();
    wait_terminal(&b, "(open network: whoever is on this LAN can read and write)");
    wait_until("a hears b", PATIENCE, || a.is_subscribed(&id));

    b.send(b"add typed in one");
    a.add("remote", "event");
    wait_terminal(&b, "Put { remote = event }");
    b.send(b" go\r");
    wait_terminal(&b, "✓ Added: typed = in one go");
    a.wait_value("typed", "in one go", RECOVERY);

    // What others write does not command this terminal.
    a.json(&format!("add --json hostile {HOSTILE}"));
    wait_terminal(&b, "pwned");
    b.send(b"get hostile\r");
    wait_terminal(&b, "✓ hostile = ");
    for line in b.stdout().lines_from(0) {
        let line = String::from_utf8_lossy(&line);
        for sequence in ["\u{1b}]0;pwned", "b\u{1b}[2J", "\u{7}b"] {
            assert!(!line.contains(sequence), "{line:?}");
        }
    }
}

#[test]
#[ignore = "needs root and network namespaces; .ci/run runs it"]
fn bytes_that_are_not_text_cost_their_line_and_what_was_pasted_behind_it() {
    let node = prompt();
    let ends: [&[u8]; 3] = [
        // Half a character; the Enter behind it is taken for its other half.
        b"add hello \xc3\r",
        b"add hello caf\xe9 delete hello\rdelete hello\r",
        b"\x1b[200~add hello \xff\ndelete hello\n\x1b[201~",
    ];
    for keys in ends {
        let mark = node.stdout().mark();
        type_at_leisure(&node, keys);
        let told = node.stdout().wait_line(mark, RECOVERY, |line| {
            String::from_utf8_lossy(line).contains("bytes that are not UTF-8")
        });
        assert!(told.is_some(), "{keys:?}");
        let mark = node.stdout().mark();
        type_at_leisure(&node, b"get hello\r");
        let got = node
            .stdout()
            .wait_line(mark, RECOVERY, |line| String::from_utf8_lossy(line).contains("= world"));
        assert!(got.is_some(), "{keys:?}: the line after it is its own");
    }
    type_at_leisure(&node, b"add lines <<END\r");
    type_at_leisure(&node, b"one\r");
    type_at_leisure(&node, b"\x04");
    wait_terminal(&node, "before the line END");
    assert_eq!(node.wait_exit(seconds(2)).code(), Some(0));
}

/// A node at a terminal. An answer has shown that its prompt reads.
fn prompt() -> Node {
    let node = Launch::new(PROGRAM)
        .label("prompt")
        .no_lan()
        .stdin(Stdin::Terminal)
        .start();
    node.send(b"add hello world\r");
    wait_terminal(&node, "✓ Added: hello = world");
    node
}

/// One Ctrl-C on an empty line, which is answered with how to leave.
#[track_caller]
fn ask_to_leave(node: &Node) {
    let mark = node.stdout().mark();
    type_at_leisure(node, b"\x03");
    let told = node.stdout().wait_line(mark, RECOVERY, |line| {
        String::from_utf8_lossy(line).contains("(To leave: ")
    });
    assert!(told.is_some());
}

/// Types like a person, who sees a prompt before going on: it shows no whole line to wait for.
fn type_at_leisure(node: &Node, keys: &[u8]) {
    std::thread::sleep(std::time::Duration::from_millis(400));
    node.send(keys);
}

#[track_caller]
fn wait_terminal(node: &Node, text: &str) {
    let shown = node
        .stdout()
        .wait_line(0, RECOVERY, |line| String::from_utf8_lossy(line).contains(text));
    assert!(shown.is_some(), "the terminal does not show `{text}`");
}
