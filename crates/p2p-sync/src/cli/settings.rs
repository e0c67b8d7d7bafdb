//! The configuration file. Its values take the place of the defaults in the grammar, so that flags and variables win over them and
//! their texts are checked in one place.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command as Grammar};

use super::nearest::nearest;
use super::{Failure, place};
use crate::command::Class;
use crate::config;

#[cfg(test)]
mod page;

/// The fields that are paths.
const PATHS: [&str; 2] = ["data_dir", "log_file"];
/// The variable that names the file.
const VARIABLE: &str = "P2P_SYNC_CONFIG";
/// A larger file is no configuration.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// What the file says: names as they stand there, and the texts of their values.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    file: Option<PathBuf>,
    values: Vec<(String, Vec<String>)>,
}

impl Settings {
    /// Those that hold for a command line. A file that was named must be there.
    ///
    /// # Errors
    /// When the file cannot be read or says what it must not.
    pub(super) fn for_arguments(grammar: &Grammar, arguments: &[OsString]) -> Result<Self, Failure> {
        let named = named(arguments).or_else(|| env::var_os(VARIABLE).map(PathBuf::from));
        let Some(file) = named.clone().or_else(config::default_config_file) else {
            return Ok(Self::default());
        };
        let wrong = |why: String| Failure::new(Class::Usage, format!("{}: {why}", file.display()));
        let found = match fs::metadata(&file) {
            // A user that has changed may have the home of another one, into which it may not even look.
            Err(_) if named.is_none() => return Ok(Self::default()),
            found => found,
        };
        let text = found.and_then(|found| {
            // A pipe or a device may never come to its end.
            if !found.is_file() && !found.is_dir() {
                return Err(io::Error::other("it is not a regular file"));
            }
            if found.len() > FILE_BYTES_MAX {
                return Err(io::Error::other("it is too large for a configuration"));
            }
            fs::read_to_string(&file)
        });
        let text = text.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::new(
                Class::NotPermitted,
                format!("{}: cannot read it: {error}. Nothing was done", file.display()),
            ),
            _ => wrong(format!("cannot read it: {error}")),
        })?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let error = error.to_string();
            wrong(format!("not TOML: {}", error.trim().replace('\n', " ")))
        })?;
        let values = table
            .into_iter()
            .map(|(name, value)| {
                let texts = texts(&name, value, grammar).map_err(&wrong)?;
                // Where a command is run is not to decide which store it finds, or where a log goes.
                if PATHS.contains(&name.as_str()) && !texts.iter().all(|text| Path::new(text).is_absolute()) {
                    return Err(wrong(format!("{name} is not an absolute path: {}", texts.join(" "))));
                }
                Ok((name, texts))
            })
            .collect::<Result<_, Failure>>()?;
        Ok(Self {
            file: Some(file),
            values,
        })
    }

    /// The grammar, with what the file says as defaults.
    pub(super) fn in_grammar(&self, mut grammar: Grammar) -> Grammar {
        for (name, values) in &self.values {
            let put = |argument: Arg| argument.default_values(values.clone());
            let id = name.as_str();
            if is_of_all(&grammar, id) {
                grammar = grammar.mut_arg(id, put);
            } else if let Some(id) = id_of(&grammar, name) {
                grammar = grammar.mut_subcommand("start", |start| start.mut_arg(id, put));
            }
        }
        grammar
    }

    /// The text of a value, if the file has it.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (_, values) = self.values.iter().find(|(known, _)| known == name)?;
        values.first().map(String::as_str)
    }

    /// The file, if the value of this flag comes from there.
    pub(super) fn file_of(&self, name: &str) -> Option<&Path> {
        let is_there = self.values.iter().any(|(known, _)| known == name);
        self.file.as_deref().filter(|_| is_there)
    }
}

/// The file that the command line names.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut words = arguments.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(file) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(file.into());
        }
    }
    None
}

/// Whether the flag of this name is one of all commands.
fn is_of_all(grammar: &Grammar, id: &str) -> bool {
    grammar.get_arguments().any(|argument| argument.get_id() == id)
}

/// The flags that may stand in the file: those of `start`, and those of all commands.
pub(super) fn arguments(grammar: &Grammar) -> impl Iterator<Item = &Arg> {
    let start = grammar.find_subcommand("start");
    start
        .into_iter()
        .flat_map(Grammar::get_arguments)
        .chain(grammar.get_arguments())
        .filter(|argument| argument.get_env().is_some() && argument.get_id() != place::CONFIG)
}

/// How a flag is called in the file.
pub(super) fn name_of(argument: &Arg) -> String {
    argument.get_long().unwrap_or_default().replace('-', "_")
}

fn id_of(grammar: &Grammar, name: &str) -> Option<clap::Id> {
    let known = arguments(grammar).find(|argument| name_of(argument) == name)?;
    Some(known.get_id().clone())
}

/// The value as the texts that a flag would take.
fn texts(name: &str, value: toml::Value, grammar: &Grammar) -> Result<Vec<String>, String> {
    let Some(argument) = arguments(grammar).find(|argument| name_of(argument) == name) else {
        let names: Vec<String> = arguments(grammar).map(name_of).collect();
        let meant = nearest(name, names.iter().map(String::as_str));
        let meant = meant.map_or_else(
            || format!("known ones are: {}", names.join(", ")),
            |meant| format!("did you mean `{meant}`?"),
        );
        return Err(format!("unknown field `{name}`: {meant}"));
    };
    let one = |value: toml::Value| match value {
        toml::Value::String(text) => Ok(text),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(is_on) => Ok(is_on.to_string()),
        _ => Err(format!("`{name}` must be a text, a number, true or false")),
    };
    match value {
        toml::Value::Array(values) if matches!(argument.get_action(), ArgAction::Append) => {
            values.into_iter().map(one).collect()
        }
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cli::grammar;

    fn settings(text: &str) -> Result<Settings, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        fs::write(&file, text).unwrap();
        let arguments = ["p2p-sync".into(), "--config".into(), file.into_os_string()];
        Settings::for_arguments(&grammar(), &arguments)
    }

    #[test]
    fn what_the_file_says_is_a_default_that_flags_overrule() {
        let settings =
            settings("port = 5000\nname = \"Küche\"\nno_lan = true\npeer = [\"/ip4/1.2.3.4/tcp/1\"]\n").unwrap();
        let parsed = |words: &[&str]| {
            let matches = settings.in_grammar(grammar()).try_get_matches_from(words).unwrap();
            let start = matches.subcommand_matches("start").unwrap().clone();
            (*start.get_one::<u16>("port").unwrap(), start.get_flag("no_lan"))
        };
        assert_eq!(parsed(&["p2p-sync", "start"]), (5000, true));
        assert_eq!(parsed(&["p2p-sync", "start", "--port", "1"]), (1, true));
        assert_eq!(settings.value("name"), Some("Küche"));
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_with_what_was_meant() {
        for (text, told) in [
            ("prot = 1", "did you mean `port`?"),
            ("frobnicate = 1", "known ones are: port"),
            ("port = [1, 2]", "`port` must be"),
            ("port = ", "not TOML"),
            ("config = \"x\"", "unknown field"),
        ] {
            let refused = settings(text).unwrap_err();
            assert_eq!(refused.class, Class::Usage);
            assert!(refused.text.contains(told), "{text}: {}", refused.text);
        }
        let missing = ["p2p-sync".into(), "--config=/nowhere/config.toml".into()];
        assert!(Settings::for_arguments(&grammar(), &missing).is_err());
    }
}
