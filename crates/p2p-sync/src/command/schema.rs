//! The JSON Schemas of what commands print with `--json`.

use super::LINES;
use crate::report::{
    DemoStep, Exported, Failure, Imported, KeyChange, Paths, Restored, Schema, Setting, Skipped, WatchEvent,
};

/// A command by its name, and the types of the lines that it prints.
type Lines = (&'static str, fn(Schema) -> Schema);

/// The same as [`LINES`] for the commands that the shell has besides.
const SHELL_LINES: &[Lines] = &[
    ("watch", |schema| schema.line::<WatchEvent>().line::<KeyChange>()),
    ("export", Schema::line::<Exported>),
    ("import", |schema| schema.line::<Imported>().line::<Skipped>()),
    ("restore-backup", Schema::line::<Restored>),
    ("demo", Schema::line::<DemoStep>),
    ("config", Schema::line::<Setting>),
    ("paths", Schema::line::<Paths>),
];

/// What is printed for input that is no command.
const ERROR: &str = "error";

/// The names that [`schema`] knows: those of the commands, and `error`.
pub fn schema_names() -> impl Iterator<Item = &'static str> {
    all().map(|(name, _)| *name).chain([ERROR])
}

fn all() -> impl Iterator<Item = &'static Lines> {
    LINES.iter().chain(SHELL_LINES)
}

/// The JSON Schema that each line a command prints with `--json` matches, which may also be a [`Failure`]; `None` for an unknown
/// name.
pub fn schema(name: &str) -> Option<String> {
    let lines = match all().find(|(known, _)| *known == name) {
        Some((_, lines)) => lines(Schema::default()),
        None if name == ERROR => Schema::default(),
        None => return None,
    };
    Some(lines.line::<Failure>().text(name))
}

/// Checks that every line of JSON in a text matches at least one of the schemas.
#[cfg(test)]
pub(crate) fn assert_lines(text: &str) {
    let schemas: Vec<String> = schema_names().filter_map(schema).collect();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let is_known = schemas.iter().any(|schema| crate::report::matches(schema, line));
        assert!(is_known, "no schema of any command matches {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::overview;

    #[test]
    fn every_command_has_a_schema() {
        let commands = overview();
        let expected: Vec<&str> = commands.iter().map(|command| command.name.as_str()).collect();
        let names: Vec<&str> = schema_names().collect();
        assert_eq!(
            names,
            [
                expected.as_slice(),
                &[
                    "watch",
                    "export",
                    "import",
                    "restore-backup",
                    "demo",
                    "config",
                    "paths",
                    "error"
                ]
            ]
            .concat()
        );
        assert_eq!(schema("quit"), None);
    }
}
