//! Parses a typed or piped line into a command.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ErrorKind};

use super::grammar::{Line, grammar};
use super::help::usage;
use super::{Class, Command, CommandError, Help, Unclosed, Word, Words};

/// A line that makes no command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ParseError {
    /// Whether the reply was to be JSON.
    pub json: bool,
    /// What is wrong.
    pub error: CommandError,
}

/// Makes a command of a line without its line end; none of an empty one. Options stand directly behind the command's
/// word: from the first word on that is none, and behind `--`, everything is data. What follows the key of `add` is
/// its value, byte for byte.
///
/// # Errors
/// When the line makes no command.
pub fn parse_line(line: &[u8]) -> Result<Option<Command>, ParseError> {
    let parts = match Parts::of(line) {
        Ok(Some(parts)) => parts,
        Ok(None) => return Ok(None),
        Err(Unclosed { .. }) => {
            let text = "Unclosed quote. Nothing was done. For a key that begins with a quote, use quotes of the other \
                kind around it.";
            return Err(ParseError {
                json: asks_for_json(line),
                error: CommandError::new(Class::Usage, text),
            });
        }
    };
    let json = parts.options.iter().any(|option| option == "--json");
    parts.command().map(Some).map_err(|error| ParseError { json, error })
}

/// Makes a command of words, as a shell has split them.
///
/// # Errors
/// When they make no command.
pub fn parse_words(words: &[&str]) -> Result<Command, CommandError> {
    let parsed = Line::try_parse_from(words).map(|line| line.command);
    parsed.map_err(|error| CommandError::new(Class::Usage, error.to_string()))
}

/// Whether `--json` stands behind the command's word, in a line that may be damaged further on.
pub fn asks_for_json(line: &[u8]) -> bool {
    let mut words = Words::new(line);
    let second = words.next().and_then(|_| words.next());
    matches!(second, Ok(Some(word)) if word.is_option() && word.text.as_ref() == b"--json")
}

/// A line taken apart.
struct Parts<'a> {
    name: String,
    options: Vec<OsString>,
    data: Vec<Word<'a>>,
    /// What follows the key of `add`.
    value: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    fn of(line: &'a [u8]) -> Result<Option<Self>, Unclosed> {
        let mut words = Words::new(line);
        let Some(name) = words.next()? else { return Ok(None) };
        let name = text_of(&name);
        // The rules below are those of the command, whichever of its names was used.
        let name = grammar()
            .find_subcommand(&name)
            .map_or(name.clone(), |known| known.get_name().to_owned());
        let (mut options, mut data, mut all_is_data) = (Vec::new(), Vec::new(), false);
        while let Some(word) = words.next()? {
            if !word.is_option() {
                data.push(word);
                break;
            }
            if word.text.as_ref() == b"--" {
                all_is_data = true;
                data.extend(words.next()?);
                break;
            }
            let option = text_of(&word);
            if takes_value(&name, &option) {
                // The value stands behind it, or behind an equals sign.
                let value = words.next()?.map(|word| OsString::from(text_of(&word)));
                options.push(OsString::from(option));
                options.extend(value);
            } else {
                options.push(OsString::from(option));
            }
        }
        if name == "add" {
            let value = Some(words.rest_of_line()).filter(|value| !value.is_empty());
            return Ok(Some(Self {
                name,
                options,
                data,
                value,
            }));
        }
        while let Some(word) = words.next()? {
            data.push(word);
        }
        // It may stand at the end as well, where nothing else would make sense: a key of that name is written in quotes.
        let is_json = |word: &mut Word<'_>| !word.quoted && word.text.as_ref() == b"--json";
        let is_asked_for = options.iter().any(|option| option == "--json");
        if !all_is_data && !is_asked_for && data.len() > 1 && data.pop_if(is_json).is_some() {
            options.push("--json".into());
        }
        Ok(Some(Self {
            name,
            options,
            data,
            value: None,
        }))
    }

    /// The key and the value that somebody may have meant who wrote `add key=value`.
    fn with_equals_sign(&self) -> Option<(String, String)> {
        let [word] = self.data.as_slice() else { return None };
        let text = text_of(word);
        let (key, value) = text.split_once('=')?;
        let is_meant = self.name == "add" && self.value.is_none() && !key.is_empty() && !value.is_empty();
        is_meant.then(|| (key.to_owned(), value.to_owned()))
    }

    fn command(self) -> Result<Command, CommandError> {
        let grammar = grammar();
        let Some(known) = grammar.find_subcommand(&self.name) else {
            return Err(CommandError::new(
                Class::Usage,
                format!("Unknown command: {}. Try: help", self.name),
            ));
        };
        let equals_sign = self.with_equals_sign();
        let data = self.data.iter().map(os_string).collect::<Result<Vec<_>, _>>()?;
        // The value itself goes around clap, because not every system's words can hold any bytes.
        let value = self.value.map(|_| OsString::from("value"));
        let words = [self.name.clone().into()]
            .into_iter()
            .chain(self.options)
            .chain(["--".into()])
            .chain(data)
            .chain(value);
        match (Line::try_parse_from(words), self.value) {
            (
                Ok(Line {
                    command: Command::Add(add),
                }),
                Some(value),
            ) => Ok(Command::Add(add.with_verbatim(value))),
            (Ok(Line { command }), _) => Ok(command),
            (Err(error), _) if error.kind() == ErrorKind::DisplayHelp => Ok(Command::Help(Help::of(known.get_name()))),
            (Err(error), _) => match equals_sign.filter(|_| error.kind() == ErrorKind::MissingRequiredArgument) {
                Some((key, value)) => Err(CommandError::new(
                    Class::Usage,
                    format!("Separate key and value with a space, not an equals sign. Did you mean: add {key} {value}"),
                )),
                None => Err(shortened(&error, known)),
            },
        }
    }
}

/// What clap would fill a page with, in a line.
fn shortened(error: &clap::Error, command: &clap::Command) -> CommandError {
    let about = |kind| error.get(kind).map(|value| value.to_string());
    let what = match (error.kind(), about(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(missing)) => {
            format!("Missing: {}", missing.replace(['<', '>', '.'], "").replace('\n', ", "))
        }
        (ErrorKind::UnknownArgument, Some(word)) if word.starts_with('-') => {
            format!("Unknown option: {word} (quote a key that begins with a dash)")
        }
        (ErrorKind::UnknownArgument, Some(word)) => {
            format!("Unexpected word: {word} (quote a key that contains spaces)")
        }
        _ => {
            let page = error.to_string();
            let first = page.lines().next().unwrap_or_default();
            first.strip_prefix("error: ").unwrap_or(first).to_owned()
        }
    };
    CommandError::new(Class::Usage, format!("{what}. Usage: {}", usage(command)))
}

/// Whether an option of a command takes a value that does not stand in the same word.
fn takes_value(command: &str, option: &str) -> bool {
    let grammar = grammar();
    let long = option.strip_prefix("--").unwrap_or_default();
    grammar
        .find_subcommand(command)
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .any(|argument| argument.get_long() == Some(long) && argument.get_action().takes_values())
}

fn text_of(word: &Word<'_>) -> String {
    String::from_utf8_lossy(&word.text).into_owned()
}

/// The word as the operating system has words.
#[cfg(unix)]
fn os_string(word: &Word<'_>) -> Result<OsString, CommandError> {
    Ok(std::os::unix::ffi::OsStringExt::from_vec(word.text.to_vec()))
}

/// The word as the operating system has words: text, which is all that can be a key anyway.
#[cfg(not(unix))]
fn os_string(word: &Word<'_>) -> Result<OsString, CommandError> {
    let text = String::from_utf8(word.text.to_vec()).map_err(|_| p2p_sync_core::record::InvalidKey::NotUtf8)?;
    Ok(text.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::command::{Exit, Format, Get, List};

    fn parsed(line: impl AsRef<[u8]>) -> Command {
        parse_line(line.as_ref()).unwrap().unwrap()
    }

    fn refused(line: impl AsRef<[u8]>) -> (Class, String) {
        let ParseError { error, .. } = parse_line(line.as_ref()).unwrap_err();
        (error.class, error.to_string())
    }

    fn added(line: impl AsRef<[u8]>) -> (String, Vec<u8>) {
        match parsed(line) {
            Command::Add(add) => {
                let (key, value) = add.checked().unwrap();
                (key.as_str().to_owned(), value.as_bytes().to_owned())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_value_is_the_rest_of_the_line() {
        let cases: &[(&[u8], &str, &[u8])] = &[
            (b"add hello world", "hello", b"world"),
            (b"  add\thello \t world", "hello", b"world"),
            (b"add k hello world", "k", b"hello world"),
            (b"add k  two  spaces ", "k", b"two  spaces "),
            (b"add k \"quoted\" 'too'", "k", b"\"quoted\" 'too'"),
            (b"add k it's \"open", "k", b"it's \"open"),
            (b"add k \"\"", "k", b"\"\""),
            (b"add k # no comment", "k", b"# no comment"),
            (b"add #k v", "#k", b"v"),
            (b"add k --json", "k", b"--json"),
            (b"add k -- v", "k", b"-- v"),
            (b"add k a\\nb \\", "k", b"a\\nb \\"),
            (b"add k \xff\x00\x1b[31m", "k", b"\xff\x00\x1b[31m"),
            (b"add k v\r", "k", b"v\r"),
            (b"add \"two words\" v", "two words", b"v"),
            (b"add 'two words' v", "two words", b"v"),
            (br#"add "a \"b\" \\ c" v"#, r#"a "b" \ c"#, b"v"),
            (b"add it's v", "it's", b"v"),
            (b"add C:\\x v", "C:\\x", b"v"),
            (b"add -- -k v", "-k", b"v"),
            (b"add -- --json v", "--json", b"v"),
            (b"add \"--json\" v", "--json", b"v"),
            (b"add - v", "-", b"v"),
            (
                "add schlüssel/🔑 wért 🌍".as_bytes(),
                "schlüssel/🔑",
                "wért 🌍".as_bytes(),
            ),
            (b"add --json k v", "k", b"v"),
            (b"add --empty k", "k", b""),
            (b"add --json --empty k", "k", b""),
        ];
        for (line, key, value) in cases {
            assert_eq!(
                added(line),
                ((*key).to_owned(), value.to_vec()),
                "{}",
                line.escape_ascii()
            );
        }
    }

    #[test]
    fn json_is_asked_for_directly_behind_the_word() {
        for line in [
            "add --json k v",
            "get --json k",
            "delete --json k --json",
            "delete k --json",
            "get k --json",
            "list a/ --json",
            "list --json",
            "status --json",
            "peers --json",
            "help --json",
            "exit --json",
        ] {
            assert!(parsed(line).json(), "{line}");
        }
        for line in [
            "add k --json",
            "list",
            "delete k \"--json\"",
            "get \"--json\"",
            "get -- --json",
            "delete -- k --json",
        ] {
            assert!(!parsed(line).json(), "{line}");
        }
    }

    #[test]
    fn words_become_commands() {
        let json = |json| Format { json };
        assert_eq!(
            parsed("get hello"),
            Command::Get(Get {
                format: json(false),
                key: "hello".into()
            })
        );
        assert_eq!(
            parsed("get --json 'a b'"),
            Command::Get(Get {
                format: json(true),
                key: "a b".into()
            })
        );
        assert_eq!(
            parsed("list"),
            Command::List(List {
                format: json(false),
                prefix: None,
                ..List::default()
            })
        );
        assert_eq!(
            parsed("list --json a/"),
            Command::List(List {
                format: json(true),
                prefix: Some("a/".into()),
                ..List::default()
            })
        );
        assert_eq!(parsed("exit"), Command::Exit(Exit { format: json(false) }));
        assert_eq!(parsed("quit"), parsed("exit"));
        assert!(matches!(parsed("delete a b 'c d'"), Command::Delete(_)));
        assert_eq!(parsed("get --help"), parsed("help get"));
        assert_eq!(parsed("add -h"), parsed("help add"));
    }

    #[test]
    fn an_option_has_its_value_behind_a_blank_or_an_equals_sign() {
        for line in [
            "conflicts --limit 1 k",
            "conflicts --limit=1 k",
            "conflicts --limit 1 k --json",
        ] {
            let Command::Conflicts(conflicts) = parsed(line) else {
                panic!("{line}")
            };
            let shown = format!("{conflicts:?}");
            assert!(shown.contains("limit: 1") && shown.contains("\"k\""), "{shown}");
        }
        assert_eq!(refused("conflicts --limit").0, Class::Usage);
        assert_eq!(added("add --value-b64 AP8= k"), ("k".into(), vec![0, 255]));
        assert_eq!(added("add --value-b64=AP8= k"), ("k".into(), vec![0, 255]));
        let Command::Add(add) = parsed("add --value-b64 AP8 k") else {
            panic!()
        };
        let error = add.checked().unwrap_err();
        assert_eq!(error.class, Class::Invalid);
        assert!(error.to_string().ends_with("Nothing was stored."), "{error}");
    }

    #[test]
    fn an_equals_sign_is_answered_with_what_was_meant() {
        let (class, text) = refused("add hello=world");
        assert_eq!(class, Class::Usage);
        assert!(text.ends_with("Did you mean: add hello world"), "{text}");
        for line in ["add hello=", "add =world", "add hello"] {
            assert!(!refused(line).1.contains("Did you mean"), "{line}");
        }
        assert_eq!(
            added("add hello=world again"),
            ("hello=world".into(), b"again".to_vec())
        );
    }

    #[test]
    fn a_value_of_several_lines_begins_with_two_angle_brackets_and_a_word() {
        let here = |line: &str| match parsed(line) {
            Command::Add(add) => add.here_document().map(str::to_owned),
            other => panic!("{other:?}"),
        };
        assert_eq!(here("add k <<END").as_deref(), Some("END"));
        assert_eq!(here("add --json k <<_x9").as_deref(), Some("_x9"));
        for line in [
            "add k <<",
            "add k << END",
            "add k <<END x",
            "add k x<<END",
            "add k <<9",
            "add k \"<<END\"",
        ] {
            assert_eq!(here(line), None, "{line}");
        }
    }

    #[test]
    fn lines_without_a_word_are_no_command() {
        for line in ["", " ", "\t \t"] {
            assert_eq!(parse_line(line.as_bytes()), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn lines_that_make_no_command_say_why() {
        for (line, text) in [
            ("foo", "Unknown command: foo. Try: help"),
            ("foo bar", "Unknown command: foo. Try: help"),
            ("ADD k v", "Unknown command: ADD. Try: help"),
            ("# get k", "Unknown command: #. Try: help"),
            ("\u{1b}[31m", "Unknown command: \\u{1b}[31m. Try: help"),
            (
                "add",
                "Missing: KEY, VALUE. Usage: add [--json] [--empty] KEY [VALUE...]",
            ),
            ("add k", "Missing: VALUE. Usage: add [--json] [--empty] KEY [VALUE...]"),
            ("add k ", "Missing: VALUE. Usage: add [--json] [--empty] KEY [VALUE...]"),
            ("get", "Missing: KEY. Usage: get [--json] KEY"),
            (
                "get a b",
                "Unexpected word: b (quote a key that contains spaces). Usage: get [--json] KEY",
            ),
            (
                "get -k",
                "Unknown option: -k (quote a key that begins with a dash). Usage: get [--json] KEY",
            ),
            ("delete", "Missing: KEY. Usage: delete [--json] KEY..."),
            (
                "list a b",
                "Unexpected word: b (quote a key that contains spaces). Usage: list [--json] [PREFIX]",
            ),
        ] {
            assert_eq!(refused(line), (Class::Usage, text.to_owned()), "{line}");
        }
        for line in ["add --empty k v", "get \"a", "add 'k v", "help --x", "status --x"] {
            assert_eq!(refused(line).0, Class::Usage, "{line}");
        }
    }

    #[test]
    fn an_error_is_json_when_that_was_asked_for() {
        for line in ["get --json", "foo --json", "get --json \"a", "add --json"] {
            assert!(parse_line(line.as_bytes()).unwrap_err().json, "{line}");
            assert!(asks_for_json(line.as_bytes()), "{line}");
        }
        for line in ["get", "foo", "get \"a", "get \"--json\" \"", ""] {
            assert!(!asks_for_json(line.as_bytes()), "{line}");
        }
        assert!(!parse_line(b"get").unwrap_err().json);
    }

    #[test]
    fn the_same_grammar_takes_words_that_a_shell_has_split() {
        let words = |words: &[&str]| Line::try_parse_from(words).map(|line| line.command);
        let add = |list: &[&str]| match words(list).unwrap() {
            Command::Add(add) => add.checked().unwrap().1.as_bytes().to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(add(&["add", "k", "a  b"]), b"a  b");
        assert_eq!(add(&["add", "k", ""]), b"");
        assert_eq!(add(&["add", "k", "-5", "--json"]), b"-5");
        assert_eq!(add(&["add", "--", "-k", "--json"]), b"--json");
        assert!(words(&["add", "k", "-x"]).is_err());
        assert!(words(&["add", "k"]).is_err());
    }
}
