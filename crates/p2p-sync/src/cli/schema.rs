//! `schema`: prints the JSON Schemas of what commands print with `--json`. Needs no node.

use std::io::{self, Write};

use clap::builder::PossibleValuesParser;

use super::Failure;
use crate::command::{Class, schema, schema_names};

/// Prints the JSON Schema of a command's --json output
///
/// Every line that the command prints with --json matches the schema. `error` describes a reply to a line that is no command.
/// Without NAME, lists the names.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PrintSchema {
    /// The command, or `error`
    #[arg(value_parser = PossibleValuesParser::new(schema_names()))]
    name: Option<String>,
}

impl PrintSchema {
    /// Prints it on standard output.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn run(self) -> Result<(), Failure> {
        let text = match self.name {
            Some(name) => schema(&name).unwrap_or_default(),
            None => schema_names().map(|name| format!("{name}\n")).collect(),
        };
        match io::stdout().write_all(text.as_bytes()) {
            // `head` has seen enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(
                Class::Failed,
                format!("Cannot write to standard output: {error}"),
            )),
            _ => Ok(()),
        }
    }
}
