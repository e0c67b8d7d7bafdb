//! Executes the user's input line by line: a line in, a reply out, until the user leaves.

use std::io;

use tokio::io::AsyncWrite;

use super::here_document::HereDocument;
use super::in_conflict;
use super::lines::{LINE_BYTES_MAX, Line};
use super::output::Output;
use super::values;
use crate::command::{Class, Command, CommandError, ParseError, Progress, Reply, asks_for_json, parse_line};
use crate::node::Node;

/// How it goes on behind a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Exit,
}

/// A user, or a program, that talks to a node.
pub(super) struct Conversation<'a, W> {
    node: &'a Node,
    output: Output<W>,
    here_document: HereDocument,
    /// Whether somebody is told what he may have meant.
    hints: bool,
    writes: u64,
    /// What the command that is under way does to many keys, and to how many it has.
    under_way: Option<(&'static str, Progress)>,
}

impl<'a, W: AsyncWrite + Unpin> Conversation<'a, W> {
    /// With a node; replies go to `output`.
    pub(super) fn new(node: &'a Node, output: Output<W>) -> Self {
        Self {
            node,
            output,
            here_document: HereDocument::default(),
            hints: false,
            writes: 0,
            under_way: None,
        }
    }

    /// The same with a person, who is told what he may have meant.
    pub(super) fn with_hints(self) -> Self {
        Self { hints: true, ..self }
    }

    /// Where the replies go.
    pub(super) fn output(&mut self) -> &mut Output<W> {
        &mut self.output
    }

    /// How many versions were written so far.
    pub(super) fn writes(&self) -> u64 {
        self.writes
    }

    /// Whether the next line is part of a value.
    pub(super) fn is_within_value(&self) -> bool {
        self.here_document.is_open()
    }

    /// Forgets the lines of a value that is not complete.
    pub(super) fn drop_value(&mut self) {
        self.here_document = HereDocument::default();
    }

    /// Carries out what a line says and writes the reply.
    ///
    /// # Errors
    /// When the reply cannot be written.
    pub(super) async fn line(&mut self, line: &Line) -> io::Result<Flow> {
        let command = if self.here_document.is_open() {
            self.here_document.take(line)
        } else {
            match read(line) {
                Ok(command) => command.and_then(|command| self.here_document.open(command)),
                Err(ParseError { json, error }) => {
                    self.output.fail(&error, json).await?;
                    None
                }
            }
        };
        match command {
            Some(command) => self.command(command).await,
            None => Ok(Flow::Continue),
        }
    }

    /// What there is to say of a command that was interrupted.
    pub(super) fn interrupted(&mut self) -> String {
        match self.under_way.take().map(|(what, progress)| (what, progress.keys())) {
            None => "Interrupted. Acknowledged writes are stored.".to_owned(),
            Some((what, keys)) => {
                self.writes += keys;
                let keys = if keys == 1 {
                    "1 key was".to_owned()
                } else {
                    format!("{keys} keys were")
                };
                format!("Interrupted: at least {keys} {what}.")
            }
        }
    }

    /// The input has ended.
    ///
    /// # Errors
    /// When what there is to say of it cannot be written.
    pub(super) async fn end(&mut self) -> io::Result<()> {
        match self.here_document.end() {
            None => Ok(()),
            Some(ParseError { json, error }) => self.output.fail(&error, json).await,
        }
    }

    async fn command(&mut self, command: Command) -> io::Result<Flow> {
        let (json, look) = (command.json(), command.look());
        let command = match at_prompt(command) {
            Ok(command) => command,
            Err(error) => {
                self.output.fail(&error, json).await?;
                return Ok(Flow::Continue);
            }
        };
        let shows = in_conflict::shown_by(&command).filter(|_| self.hints);
        let progress = Progress::default();
        self.under_way = command.changes_many().map(|what| (what, progress.clone()));
        let reply = command.run_counting(self.node, &progress).await;
        self.under_way = None;
        let flow = if matches!(reply, Ok(Reply::Exit)) {
            Flow::Exit
        } else {
            Flow::Continue
        };
        self.writes += written(&reply);
        let hint = reply.as_ref().ok().filter(|_| self.hints && !json).and_then(hint);
        self.output.reply(reply, json, look, self.node).await?;
        if let Some(hint) = hint {
            self.output.print(&format!("  ({hint})\n")).await?;
        }
        if let Some(shows) = shows
            && let Some(notice) = in_conflict::notice(self.node, shows).await
        {
            self.output.print(&notice).await?;
        }
        Ok(flow)
    }
}

/// The command with what it takes from this machine, if the prompt can do it.
fn at_prompt(command: Command) -> Result<Command, CommandError> {
    match command {
        Command::List(_) if command.look().null => Err(CommandError::new(
            Class::Usage,
            "-0 is for the shell: p2p-sync list -0. Replies at the prompt are text.",
        )),
        Command::Add(add) => values::filled(add, &mut io::empty()).map(Command::Add),
        other => Ok(other),
    }
}

fn written(reply: &Result<Reply, CommandError>) -> u64 {
    match reply {
        Ok(Reply::Added(_) | Reply::Resolved(_)) => 1,
        Ok(Reply::ResolvedAll(resolved)) => resolved.resolved_keys,
        Ok(Reply::DeletedAll(deleted)) => deleted.deleted_keys,
        Ok(Reply::ClockRepaired(repaired)) => repaired.repaired_keys,
        Ok(Reply::Deleted(deletions)) => deletions.iter().filter(|deletion| deletion.is_ok()).count() as u64,
        _ => 0,
    }
}

/// What somebody may have meant who got this reply.
fn hint(reply: &Reply) -> Option<&'static str> {
    match reply {
        Reply::Added(added) => match added.record.version.content.bytes()?.as_slice() {
            [first @ (b'"' | b'\''), .., last] if first == last => Some("the quotes are part of the value"),
            _ => None,
        },
        Reply::Listed(page) if page.records.is_empty() && page.prefix.ends_with('*') => {
            Some("a prefix is no pattern: `list a` shows the keys that begin with a, `list` shows all")
        }
        _ => None,
    }
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
    use p2p_sync_core::Key;
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
        let mut talk = Conversation::new(node, Output::new(&mut seen));
        for line in lines {
            assert_eq!(talk.line(&Line::Whole(line.to_vec())).await.unwrap(), Flow::Continue);
        }
        let text = String::from_utf8(seen).unwrap();
        crate::command::assert_lines(&text);
        text
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
    async fn a_value_may_have_several_lines() {
        let (node, _directory) = node().await;
        let lines: &[&[u8]] = &[
            b"add k <<END",
            b"  first",
            b"",
            b"add k not a command",
            b"END ",
            b"END",
            b"get --json k",
            b"add none <<END",
            b"END",
            b"get --json none",
            b"add looks-like-one <<END",
            b"<<OTHER",
            b"END",
            b"get --json looks-like-one",
        ];
        let text = shown(&node, lines).await;
        assert!(
            text.contains(r#""value":"  first\n\nadd k not a command\nEND ""#),
            "{text}"
        );
        assert!(text.contains(r#""key":"none","value":"""#), "{text}");
        assert!(text.contains(r#""key":"looks-like-one","value":"<<OTHER""#), "{text}");

        let mut seen = Vec::new();
        let mut talk = Conversation::new(&node, Output::new(&mut seen));
        for line in [
            &b"add --json large <<END"[..],
            &[b'x'; 65_536],
            b"y",
            b"z",
            b"END",
            b"add open <<END",
            b"v",
        ] {
            assert_eq!(talk.line(&Line::Whole(line.to_vec())).await.unwrap(), Flow::Continue);
        }
        assert!(talk.is_within_value());
        talk.end().await.unwrap();
        assert_eq!(talk.writes(), 0);
        drop(talk);
        let text = String::from_utf8(seen).unwrap();
        assert!(
            text.contains("Value too large") && text.contains(r#""code":8"#),
            "{text}"
        );
        assert!(
            text.contains("before the line END") && text.contains("Nothing was stored"),
            "{text}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_person_is_told_what_he_may_have_meant_and_a_program_is_not() {
        let (node, _directory) = node().await;
        let lines: &[&[u8]] = &[b"add k \"v\"", b"list x*", b"add k v", b"list *k", b"add --json k 'v'"];
        assert!(!shown(&node, lines).await.contains("\n  ("), "a program");
        let mut seen = Vec::new();
        let mut talk = Conversation::new(&node, Output::new(&mut seen)).with_hints();
        for line in lines {
            talk.line(&Line::Whole(line.to_vec())).await.unwrap();
        }
        assert_eq!(talk.writes(), 3);
        drop(talk);
        let text = String::from_utf8(seen).unwrap();
        assert_eq!(text.matches("(the quotes are part of the value)").count(), 1, "{text}");
        assert_eq!(text.matches("(a prefix is no pattern").count(), 1, "{text}");
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
{"key":"k","value":"v","timestamp":"NOW","author":"ME","conflicts":0}
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
            b"resolve k",
            b"restore --json k 2025-01-04T08:30:15Z",
            b"restore --json k yesterday",
        ];
        let expected = r#"✓ Added: k = v
✓ Deleted: k
✗ No connected peer takes part in sync. Try: peers
{"peers":0}
✓ Verified: 1 record, all intact
{"records":1,"damaged":0,"summary_was_right":true}
Keys in conflict (0):
{"conflicts":0}
{"conflicts":0}
✗ Not found: k is not in conflict. Nothing was changed. Try: conflicts
{"error":"Not found: no conflict of k with a version written at 2025-01-04T08:30:15Z. Nothing was changed. Try: conflicts","code":3}
{"error":"Invalid timestamp: yesterday. Write it as `conflicts` shows it. Nothing was changed.","code":8}
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
                Conversation::new(&node, Output::new(&mut seen))
                    .line(&line)
                    .await
                    .unwrap(),
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
                Conversation::new(&node, Output::new(&mut Vec::new()))
                    .line(&line)
                    .await
                    .unwrap();
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
        let error = Conversation::new(&node, Output::new(near))
            .line(&line)
            .await
            .unwrap_err();
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

    #[tokio::test(flavor = "multi_thread")]
    async fn a_write_with_a_condition_is_made_only_if_that_holds() {
        let (node, _directory) = node().await;
        let text = shown(&node, &[b"add --if-absent k 1", b"add --if-absent k 2", b"get k"]).await;
        let at = node.versions(&Key::new("k").unwrap()).await.unwrap().latest().unwrap();
        let refused = format!("✗ Not as expected: k has a value that was written at {at}. Nothing was changed.\n");
        assert_eq!(text, format!("✓ Added: k = 1\n{refused}✓ k = 1\n"));
        let other = "2025-01-04T08:30:15Z";
        let lines = [
            format!("add --if-timestamp {other} k 2"),
            format!("delete --if-timestamp={other} k"),
            format!("add --if-timestamp {at} k 2"),
            format!("delete --if-timestamp {at} k"),
        ];
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let text = shown(&node, &lines).await;
        let later = node.versions(&Key::new("k").unwrap()).await.unwrap().latest().unwrap();
        let now = refused.replace(&at.to_string(), &later.to_string());
        assert_eq!(text, format!("{refused}{refused}✓ Added: k = 2\n{now}"));
        let lines = [
            format!("delete --if-timestamp {later} k"),
            format!("add --json --if-timestamp {later} k 3"),
        ];
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let text = shown(&node, &lines).await;
        let gone = r#"{"error":"Not as expected: k has no value. Nothing was changed.","code":6}"#;
        assert_eq!(text, format!("✓ Deleted: k\n{gone}\n"));
        let text = shown(
            &node,
            &[
                b"add --if-absent k 4",
                b"add --if-absent --if-timestamp 2025-01-04T08:30:15Z k 5",
            ],
        )
        .await;
        assert!(
            text.starts_with("✓ Added: k = 4\n✗ ") && text.contains("cannot be used with"),
            "{text}"
        );
        node.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn commands_have_the_names_that_other_programs_gave_them() {
        let (node, _directory) = node().await;
        let lines: [&[u8]; 7] = [
            b"set k two words ",
            b"put l 1",
            b"ls",
            b"rm l",
            b"del k",
            b"ls",
            b"help ls",
        ];
        let text = shown(&node, &lines).await;
        let expected = "✓ Added: k = two words \n✓ Added: l = 1\nStored items (2):\n  k = two words \n  l = 1\n\
            ✓ Deleted: l\n✓ Deleted: k\nStored items (0):\nlist [--json] [PREFIX]\n";
        assert!(text.starts_with(expected), "{text}");
        node.stop().await;
    }
}
