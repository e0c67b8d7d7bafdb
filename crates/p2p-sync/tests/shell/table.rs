//! Command lines, and what comes of them: exit code, standard output, standard error. Most of it is the same whether a node runs or
//! not, so these rows run both ways.

use std::path::Path;

use super::{directory, shell_with, start};

/// What a stream must say.
enum Says {
    Nothing,
    /// Exactly this.
    Just(&'static str),
    /// This among other things.
    Has(&'static str),
    Anything,
}

use Says::{Anything, Has, Just, Nothing};

type Row = (&'static str, &'static str, i32, Says, Says);

impl Says {
    #[track_caller]
    fn check(&self, line: &str, stream: &str, said: &str) {
        let is_right = match self {
            Nothing => said.is_empty(),
            Just(text) => said == *text,
            Has(text) => said.contains(text),
            Anything => true,
        };
        assert!(is_right, "p2p-sync {line}: on {stream}: {said:?}");
    }
}

/// The words of a line; a word between single quotes may hold blanks, and `\0` and `\n` stand for these bytes in the input.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

#[track_caller]
fn run(directory: &Path, rows: &[Row]) {
    for (line, input, code, stdout, stderr) in rows {
        let ended = shell_with(directory, &words(line), input.as_bytes());
        assert_eq!(ended.code, *code, "p2p-sync {line}: {ended:?}");
        stdout.check(line, "standard output", &ended.text());
        stderr.check(line, "standard error", &ended.stderr);
    }
}

/// On a store in which nothing is yet.
const EITHER_WAY: &[Row] = &[
    ("add hello world", "", 0, Nothing, Just("✓ Added: hello = world\n")),
    ("get hello", "", 0, Just("world"), Nothing),
    ("get nope", "", 3, Nothing, Just("✗ Not found: nope\n")),
    (
        "get --json nope",
        "",
        3,
        Nothing,
        Just("{\"error\":\"Not found: nope\",\"code\":3}\n"),
    ),
    ("get --json hello", "", 0, Has("\"value\":\"world\""), Nothing),
    ("get", "", 2, Nothing, Has("<KEY>")),
    ("get a b", "", 2, Nothing, Has("unexpected argument 'b'")),
    ("get ''", "", 8, Nothing, Has("Invalid key")),
    ("get 'a\tb'", "", 8, Nothing, Has("control character")),
    (
        "add hello big world",
        "",
        2,
        Nothing,
        Has("p2p-sync add hello \"big world\""),
    ),
    ("add hello", "", 2, Nothing, Has("VALUE")),
    ("get hello", "", 0, Just("world"), Nothing),
    ("add q '  two  blanks  '", "", 0, Nothing, Has("✓ Added")),
    ("get q", "", 0, Just("  two  blanks  "), Nothing),
    ("add empty ''", "", 0, Nothing, Just("✓ Added: empty = \n")),
    ("get empty", "", 0, Nothing, Nothing),
    ("add --empty empty2", "", 0, Nothing, Has("✓ Added")),
    ("add in -", "from\nelsewhere\n", 0, Nothing, Has("✓ Added")),
    ("get in", "", 0, Just("from\nelsewhere\n"), Nothing),
    ("add --value-b64 AAH/ bin", "", 0, Nothing, Has("✓ Added")),
    ("add --value-b64 nonsense! bin", "", 8, Nothing, Has("Not base64")),
    (
        "add --value-b64 AA== bin value",
        "",
        2,
        Nothing,
        Has("cannot be used with"),
    ),
    ("add --file /nowhere/x f", "", 3, Nothing, Has("/nowhere/x")),
    ("add -- -k -v", "", 0, Nothing, Just("✓ Added: -k = -v\n")),
    ("get -- -k", "", 0, Just("-v"), Nothing),
    ("add -x v", "", 2, Nothing, Has("unexpected argument '-x'")),
    ("add minus -5", "", 0, Nothing, Just("✓ Added: minus = -5\n")),
    ("set minus -6", "", 0, Nothing, Has("✓ Added: minus = -6")),
    (
        "put minus -7 --json",
        "",
        0,
        Has("\"added\":true,\"key\":\"minus\",\"value\":\"-7\""),
        Nothing,
    ),
    (
        "add --if-absent hello again",
        "",
        6,
        Nothing,
        Has("Not as expected: hello has a value"),
    ),
    ("add --if-absent fresh yes", "", 0, Nothing, Has("✓ Added: fresh = yes")),
    (
        "add --if-timestamp 2020-01-01T00:00:00Z hello x",
        "",
        6,
        Nothing,
        Has("Nothing was changed"),
    ),
    (
        "add --if-timestamp yesterday hello x",
        "",
        2,
        Nothing,
        Has("--if-timestamp"),
    ),
    (
        "list",
        "",
        0,
        Just(
            "-k\t-v\nbin\t\\u0000\\u0001\\xff\nempty\t\nempty2\t\nfresh\tyes\nhello\tworld\nin\tfrom\\nelsewhere\\n\n\
             minus\t-7\nq\t  two  blanks  \n",
        ),
        Nothing,
    ),
    ("ls h", "", 0, Just("hello\tworld\n"), Nothing),
    ("list zzz", "", 0, Nothing, Nothing),
    ("list --limit 2 --keys-only", "", 0, Just("-k\nbin\n"), Nothing),
    (
        "list --after bin --limit 2 --keys-only",
        "",
        0,
        Just("empty\nempty2\n"),
        Nothing,
    ),
    ("list --count", "", 0, Just("9\n"), Nothing),
    ("list --count em", "", 0, Just("2\n"), Nothing),
    ("list --count --limit 1", "", 0, Just("1\n"), Nothing),
    ("list --limit 0", "", 0, Nothing, Nothing),
    ("list --count --json", "", 0, Just("{\"items\":9}\n"), Nothing),
    ("list -0 h", "", 0, Just("hello\0world\0"), Nothing),
    ("list -0 --keys-only e", "", 0, Just("empty\0empty2\0"), Nothing),
    (
        "list --keys-only --json h",
        "",
        0,
        Just("{\"key\":\"hello\"}\n{\"items\":1}\n"),
        Nothing,
    ),
    ("list --long h", "", 0, Has("hello\tworld\t20"), Nothing),
    ("list -0 --json", "", 2, Nothing, Has("cannot be used with")),
    ("list --limit many", "", 2, Nothing, Has("--limit")),
    (
        "delete hello nope",
        "",
        3,
        Nothing,
        Just("✓ Deleted: hello\n✗ Not found: nope\n"),
    ),
    ("get hello", "", 3, Nothing, Has("Not found")),
    ("rm nope", "", 3, Nothing, Just("✗ Not found: nope\n")),
    ("del in --json", "", 0, Has("\"deleted\":true,\"key\":\"in\""), Nothing),
    ("list --deleted", "", 0, Just("hello\nin\n"), Nothing),
    ("list --deleted --count", "", 0, Just("2\n"), Nothing),
    ("delete", "", 2, Nothing, Has("<KEY>")),
    (
        "delete --prefix em",
        "",
        2,
        Nothing,
        Has("2 keys begin with \"em\". Nothing was deleted"),
    ),
    ("delete --prefix em --yes", "", 0, Nothing, Just("✓ Deleted: 2 keys\n")),
    (
        "delete --prefix em --yes",
        "",
        3,
        Nothing,
        Has("no key begins with \"em\""),
    ),
    ("delete --yes k", "", 2, Nothing, Has("--prefix")),
    ("delete --prefix q k --yes", "", 2, Nothing, Has("cannot be used with")),
    ("conflicts", "", 0, Just("Keys in conflict (0):\n"), Nothing),
    ("conflicts --json", "", 0, Just("{\"conflicts\":0}\n"), Nothing),
    ("resolve q", "", 3, Nothing, Has("is not in conflict")),
    ("restore --all", "", 0, Nothing, Has("✓ Resolved: nothing")),
    ("resolve", "", 2, Nothing, Has("<KEY")),
    ("repair-clock", "", 0, Nothing, Has("✓ Repaired: nothing")),
    ("verify", "", 0, Has("✓ Verified: "), Nothing),
    (
        "export --format json --prefix em",
        "",
        0,
        Just("{}\n"),
        Has("Exported: 0 records"),
    ),
    ("import --format ndjson --dry-run", "{}", 8, Nothing, Has("✗ Line 1: ")),
    ("backup /dev/null/x.db", "", 9, Nothing, Has("was not made")),
    ("status", "", 0, Has("Keys:      5 (4 deleted)"), Anything),
    ("status --json", "", 0, Has("\"keys\":5"), Anything),
    ("--verbose get q", "", 0, Just("  two  blanks  "), Has("(")),
    ("get q --verbose", "", 0, Just("  two  blanks  "), Has("(")),
    ("sync", "", 4, Nothing, Has("✗ No")),
];

/// Needs neither a node nor a store.
const ANYWHERE: &[Row] = &[
    ("", "", 2, Nothing, Has("Usage: p2p-sync")),
    ("--help", "", 0, Has("Usage: p2p-sync"), Nothing),
    ("--version", "", 0, Has("p2p-sync 0."), Nothing),
    ("help", "", 0, Has("Commands:"), Nothing),
    ("help get", "", 0, Has("Usage: p2p-sync get"), Nothing),
    ("help gte", "", 2, Nothing, Has("Did you mean: get")),
    ("help --json get", "", 0, Has("\"name\":\"get\""), Nothing),
    ("gte k", "", 2, Nothing, Has("note: did you mean `get`?")),
    ("delte k", "", 2, Nothing, Has("delete")),
    ("frobnicate", "", 2, Nothing, Has("unrecognized subcommand")),
    ("exit", "", 2, Nothing, Has("SIGTERM")),
    ("schema get", "", 0, Has("\"title\": \"get\""), Nothing),
    ("schema watch", "", 0, Has("\"title\": \"watch\""), Nothing),
    ("schema nope", "", 2, Nothing, Has("invalid value 'nope'")),
    ("completions bash", "", 0, Has("complete "), Nothing),
    ("completions zsh", "", 0, Has("compdef"), Nothing),
    ("completions fish", "", 0, Has("complete --"), Nothing),
    ("completions elvish", "", 0, Has("edit:completion"), Nothing),
    (
        "completions powershell",
        "",
        0,
        Has("Register-ArgumentCompleter"),
        Nothing,
    ),
    ("completions tcsh", "", 2, Nothing, Has("possible values")),
    ("watch --since nonsense", "", 2, Nothing, Has("--since")),
    (
        "watch --since 00000000000000ff-7 --new",
        "",
        2,
        Nothing,
        Has("cannot be used with"),
    ),
    ("wait --timeout 5d", "", 2, Nothing, Has("such as 500ms")),
];

/// Where there is neither a node nor a store.
const WITH_NOTHING: &[Row] = &[
    ("get k", "", 3, Nothing, Has("✗ Not found: k. There is no store in")),
    ("get --json k", "", 3, Nothing, Has("\"code\":3}")),
    ("list", "", 3, Nothing, Has("no node is running on it")),
    ("delete k", "", 3, Nothing, Has("there is no store")),
    ("status", "", 3, Nothing, Has("there is no store")),
    ("verify", "", 3, Nothing, Has("there is no store")),
    ("doctor", "", 3, Nothing, Has("there is no store")),
    ("export -f json", "", 3, Nothing, Has("there is no store")),
    ("backup x.db", "", 3, Nothing, Has("there is no store")),
    ("conflicts", "", 3, Nothing, Has("there is no store")),
    ("peers", "", 4, Nothing, Has("Start one: p2p-sync start")),
    ("sync", "", 4, Nothing, Has("No node is running")),
    ("ping kitchen", "", 4, Nothing, Has("No node is running")),
    ("wait --timeout 200ms", "", 5, Nothing, Has("no node is running")),
];

/// Behind those that run either way.
const WITH_A_NODE: &[Row] = &[
    ("peers", "", 0, Just("Connected peers (0):\n"), Nothing),
    ("peers kitchen", "", 3, Nothing, Has("kitchen")),
    ("wait", "", 0, Nothing, Nothing),
    ("wait --key q", "", 0, Nothing, Nothing),
    (
        "wait --key nope --timeout 200ms",
        "",
        5,
        Nothing,
        Has("nope has no value"),
    ),
    ("wait --peers 1 --timeout 200ms", "", 5, Nothing, Has("0 of 1 peers")),
    (
        "wait --synced --timeout 200ms",
        "",
        5,
        Nothing,
        Has("no peer is connected"),
    ),
    (
        "-v get q",
        "",
        0,
        Just("  two  blanks  "),
        Has("(by the node at 127.0.0.1:"),
    ),
];

/// What `doctor` says without a look at the LAN: its exit code, and its lines.
fn doctor(directory: &Path, arguments: &[&str]) -> (i32, String) {
    let mut command = super::command(directory, &[&["doctor"], arguments].concat());
    command.env("P2P_SYNC_NO_LAN", "true");
    let ended = super::end(command, b"");
    assert_eq!(ended.stderr, "", "{ended:?}");
    (ended.code, ended.text())
}

#[test]
fn doctor_says_that_no_node_runs_and_that_all_is_well_when_one_does() {
    let (_parent, directory) = directory();
    assert_eq!(shell_with(&directory, &["add", "k", "v"], b"").code, 0);
    let (code, text) = doctor(&directory, &[]);
    assert_eq!(code, 1, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0],
        "✗ No node is running on this data directory, so nothing is sent or received. Start one: p2p-sync start"
    );
    assert!(lines[1].starts_with("  Program: p2p-sync "), "{text}");
    assert!(lines[2].contains("; last closed cleanly"), "{text}");
    assert_eq!(lines[3], "  LAN: not looked at (--no-lan)");
    assert_eq!(lines.len(), 4, "{text}");

    let node = start(&directory);
    let (code, text) = doctor(&directory, &[]);
    assert_eq!(
        (code, text.lines().next()),
        (0, Some("✓ Nothing wrong was found")),
        "{text}"
    );
    let (code, text) = doctor(&directory, &["--json"]);
    assert_eq!((code, text.lines().count()), (0, 1), "{text}");
    assert!(text.starts_with("{\"findings\":0,"), "{text}");
    node.kill9();
    let (code, text) = doctor(&directory, &["--json"]);
    assert_eq!(code, 1);
    assert!(text.contains("\"closed\":\"killed\""), "{text}");
    let (_, text) = doctor(&directory, &["--json"]);
    assert!(
        text.contains("\"closed\":\"cleanly\""),
        "it was closed by the one before: {text}"
    );
}

#[test]
fn commands_that_need_nothing() {
    let (_parent, directory) = directory();
    run(&directory, ANYWHERE);
    assert!(!directory.exists());
}

#[test]
fn reading_makes_no_store() {
    let (_parent, directory) = directory();
    run(&directory, WITH_NOTHING);
    assert!(!directory.exists(), "reading has made something");
}

#[test]
fn every_command_on_the_store_itself() {
    let (_parent, directory) = directory();
    run(&directory, EITHER_WAY);
    run(
        &directory,
        &[("-v get q", "", 0, Just("  two  blanks  "), Has("(on the store in "))],
    );
    assert!(directory.join("identity.key").exists());
    assert!(!directory.join("node.json").exists());
    let log = std::fs::metadata(directory.join("store.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0, "everything is in the file, as a node that stops leaves it");
}

#[test]
fn every_command_by_the_node() {
    let (_parent, directory) = directory();
    let node = start(&directory);
    run(&directory, EITHER_WAY);
    run(&directory, WITH_A_NODE);
    node.process().signal("TERM");
    assert!(node.wait_exit(super::PATIENCE).success());
}
