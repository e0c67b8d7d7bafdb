//! `help`: what the commands are, from the same descriptions that parse them.

use serde::{Deserialize, Serialize};

use super::grammar::grammar;
use super::{Class, CommandError, Format, Reply, Run};
use crate::node::Node;
use crate::report::{self, Argument, CommandHelp, Schema};

/// Lists the commands, or explains one in full
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Help {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// The command to show
    command: Option<String>,
}

impl Run for Help {
    fn lines(schema: Schema) -> Schema {
        schema.line::<report::Help>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, _: &Node) -> Result<Reply, CommandError> {
        self.reply()
    }
}

impl Help {
    /// Whether the reply is to be JSON.
    pub fn json(&self) -> bool {
        self.format.json
    }

    /// The command that is to be explained; none: all.
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }

    /// The reply, for which no node is needed.
    ///
    /// # Errors
    /// When there is no such command.
    pub fn reply(self) -> Result<Reply, CommandError> {
        let Some(wanted) = self.command else {
            return Ok(Reply::Help(report::Help { commands: overview() }));
        };
        match grammar().find_subcommand(&wanted) {
            Some(command) => Ok(Reply::Help(report::Help {
                commands: vec![describe(command)],
            })),
            None => Err(CommandError::new(
                Class::Usage,
                format!("Unknown command: {wanted}. Try: help"),
            )),
        }
    }

    /// Shows one command in full.
    pub(super) fn of(command: &str) -> Self {
        Self {
            format: Format::default(),
            command: Some(command.to_owned()),
        }
    }
}

/// All commands, in the order in which they are shown.
pub fn overview() -> Vec<CommandHelp> {
    grammar().get_subcommands().map(describe).collect()
}

fn describe(command: &clap::Command) -> CommandHelp {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let long = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    CommandHelp {
        name: command.get_name().to_owned(),
        usage: usage(command),
        details: long
            .lines()
            .filter(|line| !line.is_empty() && *line != about)
            .map(str::to_owned)
            .collect(),
        about,
        arguments: arguments(command)
            .map(|argument| Argument {
                name: written(argument),
                about: argument.get_help().map(ToString::to_string).unwrap_or_default(),
            })
            .collect(),
    }
}

/// How a command is written: `get [--json] KEY`.
pub(super) fn usage(command: &clap::Command) -> String {
    let mut usage = command.get_name().to_owned();
    for argument in arguments(command).filter(|argument| !argument.is_hide_short_help_set()) {
        let name = written(argument);
        usage.push_str(&if argument.is_required_set() {
            format!(" {name}")
        } else {
            format!(" [{name}]")
        });
    }
    usage
}

fn arguments(command: &clap::Command) -> impl Iterator<Item = &clap::Arg> {
    command.get_arguments().filter(|argument| argument.get_id() != "help")
}

fn written(argument: &clap::Arg) -> String {
    let name = argument
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string)
        .unwrap_or_default();
    if let Some(long) = argument.get_long() {
        let value = if argument.get_action().takes_values() {
            format!("={name}")
        } else {
            String::new()
        };
        return format!("--{long}{value}");
    }
    let several = argument.get_num_args().is_some_and(|count| count.max_values() > 1);
    if several { format!("{name}...") } else { name }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_described() {
        let commands = overview();
        let names: Vec<_> = commands.iter().map(|command| command.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "add",
                "get",
                "delete",
                "list",
                "status",
                "peers",
                "ping",
                "sync",
                "verify",
                "conflicts",
                "resolve",
                "repair-clock",
                "backup",
                "doctor",
                "help",
                "exit"
            ]
        );
        for command in &commands {
            assert!(
                !command.about.is_empty() && !command.about.ends_with('.'),
                "{command:?}"
            );
            assert!(
                command.arguments.iter().all(|argument| !argument.about.is_empty()),
                "{command:?}"
            );
        }
        assert_eq!(commands[0].usage, "add [--json] [--empty] KEY [VALUE...]");
        assert_eq!(commands[2].usage, "delete [--json] KEY...");
        assert_eq!(commands[9].usage, "conflicts [--json] [--limit=N] [PREFIX]");
        assert_eq!(commands[10].usage, "resolve [--json] [--all] [KEY] [TIMESTAMP]");
    }

    #[test]
    fn one_command_is_shown_in_full() {
        let Reply::Help(help) = Help::of("add").reply().unwrap() else {
            panic!()
        };
        let commands = help.commands;
        assert_eq!(commands.len(), 1);
        assert!(commands[0].details.concat().contains("rest of the line"));
        assert!(!commands[0].details.concat().contains(&commands[0].about));
        assert_eq!(Help::of("foo").reply().unwrap_err().class, Class::Usage);
    }
}
