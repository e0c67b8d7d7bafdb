//! The environment as a source of flags: a variable that is set and empty counts as unset, and an error about a value says
//! which variable it came from.

use std::env;
use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ErrorKind};

use super::Cli;
use super::settings::Settings;

/// What the names of our variables begin with.
const PREFIX: &str = "P2P_SYNC_";

/// The names of our variables that are set and empty.
pub(super) fn empty() -> Vec<OsString> {
    let ours = |name: &OsString| name.to_string_lossy().starts_with(PREFIX);
    env::vars_os()
        .filter(|(name, value)| value.is_empty() && ours(name))
        .map(|(name, _)| name)
        .collect()
}

/// A line about the variable or the file that `error` comes from; none when it comes from the command line.
pub(super) fn blame(error: &clap::Error, settings: &Settings) -> Option<String> {
    let arguments: Vec<String> = env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let set = |name: &str| env::var_os(name);
    match error.kind() {
        ErrorKind::InvalidUtf8 => {
            let wrong = flags().find(|(_, variable)| set(variable).is_some_and(|value| value.to_str().is_none()));
            wrong.map(|(_, variable)| format!("the environment variable {variable} is not UTF-8"))
        }
        _ => {
            let about = error.get(ContextKind::InvalidArg)?.to_string();
            let flag = about.split([' ', '=']).next()?.to_owned();
            let (_, variable) = flags().find(|(name, _)| *name == flag)?;
            let on_command_line = is_given(&flag, &arguments);
            if on_command_line {
                return None;
            }
            if set(&variable).is_some() {
                return Some(format!("the value comes from the environment variable {variable}"));
            }
            let name = flag.strip_prefix("--")?.replace('-', "_");
            settings
                .file_of(&name)
                .map(|file| format!("the value comes from the field {name} in {}", file.display()))
        }
    }
}

fn is_given(flag: &str, arguments: &[String]) -> bool {
    arguments.iter().any(|word| {
        word.strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })
}

/// Each flag with its variable.
fn flags() -> impl Iterator<Item = (String, String)> {
    let command = Cli::command();
    let flags: Vec<_> = command
        .get_subcommands()
        .chain([&command])
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| {
            let variable = argument.get_env()?.to_string_lossy().into_owned();
            Some((format!("--{}", argument.get_long()?), variable))
        })
        .collect();
    flags.into_iter()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_has_its_variable() {
        let flags: Vec<_> = flags().collect();
        assert!(flags.len() >= 8, "{flags:?}");
        for (flag, variable) in flags {
            let expected = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
            assert_eq!(variable, format!("{PREFIX}{expected}"));
        }
        let start = Cli::command();
        let start = start.find_subcommand("start").unwrap();
        for argument in start.get_arguments().filter(|argument| argument.get_id() != "help") {
            assert!(argument.get_env().is_some(), "{:?}", argument.get_long());
        }
    }

    #[test]
    fn a_flag_is_given_with_and_without_an_equals_sign() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(is_given("--port", &words(&["start", "--port", "x"])));
        assert!(is_given("--port", &words(&["start", "--port=x"])));
        assert!(!is_given("--port", &words(&["start", "--portal", "--name"])));
    }
}
