//! `config` and `paths`: what a node would be started with and why, and where its files are. Neither needs a node.

use std::ffi::OsString;
use std::io::{self, Write};

use clap::parser::ValueSource;
use clap::{ArgMatches, Subcommand};

use super::place::Place;
use super::settings::{Settings, arguments, name_of};
use super::{Failure, cannot_write, environment, text};
use crate::command::Class;
use crate::config;
use crate::report::{self, Setting, SettingSource, line};

/// Shows the configuration
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Config {
    #[command(subcommand)]
    action: ConfigAction,
}

#[derive(Debug, Clone, Subcommand)]
enum ConfigAction {
    Show(ShowConfig),
}

/// Shows each value that a node would be started with, and where it comes from
///
/// A flag wins over an environment variable (P2P_SYNC_ and the name in capitals), that over config.toml, that over the default. The
/// file holds lines such as `port = 4002` or `peer = ["/ip4/192.168.1.5/tcp/4002"]`: the names of the flags, with underscores in place
/// of dashes. `p2p-sync paths` says where it is looked for; --config names another one.
#[derive(Debug, Clone, clap::Args)]
struct ShowConfig {
    /// Shows one JSON object per line
    #[arg(long)]
    json: bool,
    /// The flags with which `start` would be called
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAG")]
    flags: Vec<OsString>,
}

/// Shows where the files are
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Paths {
    /// Shows them as one JSON object
    #[arg(long)]
    json: bool,
}

impl Config {
    /// Shows it on standard output.
    ///
    /// # Errors
    /// When a value is wrong, or cannot be written.
    pub(super) fn run(self, place: &Place, settings: &Settings) -> Result<(), Failure> {
        let ConfigAction::Show(show) = self.action;
        let data_dir = place.named_data_dir();
        let data_dir = data_dir.map(|directory| [OsString::from("--data-dir"), directory.into()]);
        let words = ["p2p-sync".into(), "start".into()]
            .into_iter()
            .chain(data_dir.into_iter().flatten())
            .chain(show.flags);
        let grammar = settings.in_grammar(super::grammar());
        let matches = grammar.clone().try_get_matches_from(words).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            let source = environment::blame(&error, settings).map_or_else(String::new, |source| format!("; {source}"));
            Failure::new(Class::Usage, format!("{first}{source}"))
        })?;
        let Some(start) = matches.subcommand_matches("start") else {
            return Ok(());
        };
        let all: Vec<Setting> = arguments(&grammar)
            .map(|argument| setting(argument, start, settings))
            .collect();
        let shown = if show.json {
            all.iter().map(line).collect()
        } else {
            let row = |setting: &Setting| {
                let value = setting.value.as_deref().unwrap_or("-");
                vec![setting.name.clone(), text::shown(value), from(setting.from).to_owned()]
            };
            text::table(&all.iter().map(row).collect::<Vec<_>>())
        };
        print(&shown)
    }
}

fn from(source: SettingSource) -> &'static str {
    match source {
        SettingSource::Flag => "flag",
        SettingSource::Environment => "environment",
        SettingSource::File => "file",
        SettingSource::Default => "default",
    }
}

fn setting(argument: &clap::Arg, start: &ArgMatches, settings: &Settings) -> Setting {
    let (id, name) = (argument.get_id().as_str(), name_of(argument));
    let values = start.get_raw(id).into_iter().flatten();
    let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
    let from = match start.value_source(id) {
        Some(ValueSource::CommandLine) => SettingSource::Flag,
        Some(ValueSource::EnvVariable) => SettingSource::Environment,
        _ if settings.file_of(&name).is_some() => SettingSource::File,
        _ => SettingSource::Default,
    };
    let value = match id {
        // Given as a flag, they have no text.
        _ if !argument.get_action().takes_values() => Some(start.get_flag(id).to_string()),
        _ if !values.is_empty() => Some(values.join(",")),
        "data_dir" => config::default_data_dir().map(|directory| directory.display().to_string()),
        "name" => Some(config::default_name()),
        _ => None,
    };
    let value = value.filter(|value| !value.is_empty());
    Setting { name, value, from }
}

impl Paths {
    /// Shows them on standard output.
    ///
    /// # Errors
    /// When there is no data directory, or they cannot be written.
    pub(super) fn run(&self, place: &Place) -> Result<(), Failure> {
        let paths = place.paths()?;
        let shown = |path: &std::path::Path| path.display().to_string();
        let all = report::Paths {
            data_dir: shown(paths.directory()),
            store: shown(&paths.store_file()),
            identity: shown(&paths.identity_file()),
            running: shown(&paths.running_file()),
            token: shown(&paths.token_file()),
            history: shown(&paths.history_file()),
            config: place.config_file().map(|file| shown(&file)),
        };
        if self.json {
            return print(&line(&all));
        }
        let rows = [
            ("data_dir", &all.data_dir),
            ("store", &all.store),
            ("identity", &all.identity),
            ("running", &all.running),
            ("token", &all.token),
            ("history", &all.history),
        ];
        let config = all.config.as_ref().map(|config| ("config", config));
        let rows = rows.into_iter().chain(config);
        let rows: Vec<_> = rows
            .map(|(name, path)| vec![name.to_owned(), text::shown(path)])
            .collect();
        print(&text::table(&rows))
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(()),
    }
}
