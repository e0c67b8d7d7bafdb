//! The one grammar: what a line is parsed with, and what `help` describes.

use clap::{CommandFactory, Parser};

use super::Command;

/// A line, cut into words.
#[derive(Debug, Parser)]
#[command(name = "p2p-sync", no_binary_name = true, disable_help_subcommand = true)]
pub(super) struct Line {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The description of all commands.
pub(super) fn grammar() -> clap::Command {
    let mut grammar = Line::command();
    grammar.build();
    grammar
}
