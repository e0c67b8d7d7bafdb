//! What a user types or pipes in, carried out line by line: a line in, a reply out, until somebody has had enough.

use std::io;

use tokio::io::AsyncWrite;

use super::lines::{LINE_BYTES_MAX, Line};
use super::output::Output;
use crate::command::{Class, Command, CommandError, ParseError, Reply, asks_for_json, parse_line};
use crate::node::Node;

/// How it goes on behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Exit,
}

/// Carries out what a line says and writes the reply.
///
/// # Errors
/// When the reply cannot be written.
pub(super) async fn execute<W: AsyncWrite + Unpin>(
    line: &Line,
    node: &Node,
    output: &mut Output<W>,
) -> io::Result<Flow> {
    let (command, json) = match read(line) {
        Ok(None) => return Ok(Flow::Continue),
        Ok(Some(command)) => {
            let json = command.json();
            (Ok(command), json)
        }
        Err(ParseError { json, error }) => (Err(error), json),
    };
    let reply = match command {
        Ok(command) => command.run(node).await,
        Err(error) => Err(error),
    };
    let flow = if matches!(reply, Ok(Reply::Exit)) {
        Flow::Exit
    } else {
        Flow::Continue
    };
    output.reply(reply, json).await?;
    Ok(flow)
}

fn read(line: &Line) -> Result<Option<Command>, ParseError> {
    match line {
        Line::Whole(line) => parse_line(line),
        Line::TooLong(head) => {
            let text = format!(
                "Line too long: at most {LINE_BYTES_MAX} bytes are allowed. It was skipped, nothing was stored."
            );
            Err(ParseError {
                json: asks_for_json(head),
                error: CommandError::new(Class::Invalid, text),
            })
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(super) mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::config::Config;

    /// A node that nobody else can find.
    pub(in crate::cli) async fn node() -> (Node, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        (Node::start(config(&directory)).await.unwrap(), directory)
    }

    /// What such a node is started with.
    pub(in crate::cli) fn config(directory: &TempDir) -> Config {
        Config {
            port: 0,
            name: "test".to_owned(),
            lan: false,
            ..Config::new(directory.path())
        }
    }

    /// What a user sees who types `lines`.
    async fn shown(node: &Node, lines: &[&[u8]]) -> String {
        let mut seen = Vec::new();
        let mut output = Output::new(&mut seen);
        for line in lines {
            assert_eq!(
                execute(&Line::Whole(line.to_vec()), node, &mut output).await.unwrap(),
                Flow::Continue
            );
        }
        String::from_utf8(seen).unwrap()
    }

    /// With what is different each time replaced by words.
    fn settled(text: &str, node: &Node) -> String {
        let mut parts = text.split(r#""timestamp":""#);
        let mut settled = parts.next().unwrap().to_owned();
        for part in parts {
            let (timestamp, rest) = part.split_once('"').unwrap();
            timestamp.parse::<p2p_sync_core::Timestamp>().unwrap();
            settled.push_str(&format!(r#""timestamp":"NOW"{rest}"#));
        }
        settled.replace(&node.id().to_string(), "ME")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_replies_are_those_that_people_were_promised() {
        let (node, _directory) = node().await;
        let lines: &[&[u8]] = &[
            b"add hello world",
            b"get hello",
            b"list",
            b"",
            b"delete hello",
            b"get hello",
            b"delete hello",
            b"list",
            b"add \"two words\" three  more \"words\"",
            b"add --empty e",
            b"add f \x1b[31m\xff\t\xe2\x80\xaex",
            b"list",
            b"list t",
            b"delete e 'two words' nope",
            b"add \xff v",
            b"frob",
        ];
        let expected = "✓ Added: hello = world
✓ hello = world
Stored items (1):
  hello = world
✓ Deleted: hello
✗ Not found: hello
✗ Not found: hello
Stored items (0):
✓ Added: two words = three  more \"words\"
✓ Added: e = 
✓ Added: f = \\u{1b}[31m\\xFF\\t\\u{202e}x
Stored items (3):
  e = 
  f = \\u{1b}[31m\\xFF\\t\\u{202e}x
  two words = three  more \"words\"
Stored items (1):
  two words = three  more \"words\"
✓ Deleted: e
✓ Deleted: two words
✗ Not found: nope
✗ Invalid key: the key is not UTF-8. Nothing was changed.
✗ Unknown command: frob. Try: help
";
        assert_eq!(shown(&node, lines).await, expected);
        node.stop().await;
        let stopped = "✗ the node has stopped; nothing was written\n";
        assert_eq!(shown(&node, &[b"add k v"]).await, stopped);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_replies_are_those_that_programs_were_promised() {
        let (node, _directory) = node().await;
        let lines: &[&[u8]] = &[
            b"add --json k v",
            b"get --json k",
            b"add --json b \xff\xfe",
            b"add --json c \x1b\xc2\x9b\xe2\x80\xae\xf0\x9f\x8c\x8d\"\\",
            b"get --json nope",
            b"list --json",
            b"list --json z",
            b"delete --json k nope",
            b"add --json '' v",
            b"frob --json",
            b"peers --json",
        ];
        let expected = r#"{"added":true,"key":"k","value":"v","timestamp":"NOW","author":"ME"}
{"key":"k","value":"v","timestamp":"NOW","author":"ME"}
{"added":true,"key":"b","value_b64":"//4=","timestamp":"NOW","author":"ME"}
{"added":true,"key":"c","value":"\u001b\u009b\u202e🌍\"\\","timestamp":"NOW","author":"ME"}
{"error":"Not found: nope","code":3}
{"key":"b","value_b64":"//4=","timestamp":"NOW","author":"ME"}
{"key":"c","value":"\u001b\u009b\u202e🌍\"\\","timestamp":"NOW","author":"ME"}
{"key":"k","value":"v","timestamp":"NOW","author":"ME"}
{"items":3}
{"items":0}
{"deleted":true,"key":"k","timestamp":"NOW","author":"ME"}
{"error":"Not found: nope","code":3}
{"error":"Invalid key: the key is empty. Nothing was changed.","code":8}
{"error":"Unknown command: frob. Try: help","code":2}
{"peers":0}
"#;
        assert_eq!(settled(&shown(&node, lines).await, &node), expected);
        node.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lonely_node_has_little_to_say_about_the_sync() {
        let (node, _directory) = node().await;
        let lines: &[&[u8]] = &[
            b"add k v",
            b"delete k",
            b"sync",
            b"sync --json",
            b"verify",
            b"verify --json",
            b"conflicts",
            b"conflicts --json k",
            b"conflicts --json ''",
            b"restore k",
            b"restore --json k 2025-01-04T08:30:15Z",
            b"restore --json k yesterday",
        ];
        let expected = r#"✓ Added: k = v
✓ Deleted: k
✗ No connected peer takes part in the sync. Try: peers
{"peers":0}
✓ Verified: 1 record, all as they were stored
{"records":1,"damaged":0,"summary_was_right":true}
Lost versions (0):
{"conflicts":0}
{"error":"Invalid key: the key is empty. Nothing was changed.","code":8}
✗ Not found: no lost version of k. Nothing was changed. Try: conflicts
{"error":"Not found: no lost version of k written at 2025-01-04T08:30:15Z. Nothing was changed. Try: conflicts","code":3}
{"error":"Invalid timestamp: yesterday. Give it as `conflicts` shows it. Nothing was changed.","code":8}
"#;
        assert_eq!(shown(&node, lines).await, expected);
        node.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exit_ends_the_session_without_a_word() {
        let (node, _directory) = node().await;
        for (line, words) in [("exit", ""), ("quit", ""), ("exit --json", "{\"exiting\":true}\n")] {
            let mut seen = Vec::new();
            let line = Line::Whole(line.into());
            assert_eq!(
                execute(&line, &node, &mut Output::new(&mut seen)).await.unwrap(),
                Flow::Exit
            );
            assert_eq!(seen, words.as_bytes());
        }
        node.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_long_list_comes_in_order_and_in_full() {
        let (node, _directory) = node().await;
        let writes = (0..1_203).map(|number| {
            let node = node.clone();
            tokio::spawn(async move {
                let line = Line::Whole(format!("add {number:04} value {number}").into());
                execute(&line, &node, &mut Output::new(&mut Vec::new())).await.unwrap();
            })
        });
        futures::future::join_all(writes).await;
        let text = shown(&node, &[b"list"]).await;
        let expected: String = (0..1_203)
            .map(|number| format!("  {number:04} = value {number}\n"))
            .collect();
        assert_eq!(text, format!("Stored items (1203):\n{expected}"));
        let json = shown(&node, &[b"list --json 0"]).await;
        assert!(json.ends_with("{\"items\":1000}\n"));
        assert_eq!(json.lines().count(), 1_001);
        node.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reply_that_nobody_takes_ends_the_session() {
        let (node, _directory) = node().await;
        let (near, far) = tokio::io::duplex(16);
        drop(far);
        let line = Line::Whole(b"help".to_vec());
        let error = execute(&line, &node, &mut Output::new(near)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        node.stop().await;
    }

    #[test]
    fn a_line_that_is_too_long_is_invalid_and_not_a_command() {
        for (head, json) in [
            (&b"add --json k vvv"[..], true),
            (b"add k vvv", false),
            (b"get \"kkk", false),
        ] {
            let error = read(&Line::TooLong(head.to_vec())).unwrap_err();
            assert_eq!((error.error.class, error.json), (Class::Invalid, json));
        }
    }
}
