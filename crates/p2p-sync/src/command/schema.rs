//! The JSON Schemas of what commands print with `--json`.

use crate::report::{
    Added, Conflict, Conflicts, Deleted, Exiting, Failure, Found, Help, Items, Peer, Peers, Record, RepairedKeys,
    Resolved, ResolvedKeys, Schema, Status, Synced, Verified,
};

/// The types of the lines that a command prints when it succeeds.
type Lines = fn(Schema) -> Schema;

/// By command name. Every command may also print a [`Failure`]; input that is not a command prints nothing else.
const SCHEMAS: &[(&str, Lines)] = &[
    ("add", Schema::line::<Added>),
    ("get", Schema::line::<Found>),
    ("delete", Schema::line::<Deleted>),
    ("list", |schema| schema.line::<Record>().line::<Items>()),
    ("status", Schema::line::<Status>),
    ("peers", |schema| schema.line::<Peer>().line::<Peers>()),
    ("sync", |schema| schema.line::<Synced>().line::<Peers>()),
    ("verify", Schema::line::<Verified>),
    ("conflicts", |schema| schema.line::<Conflict>().line::<Conflicts>()),
    ("resolve", |schema| schema.line::<Resolved>().line::<ResolvedKeys>()),
    ("repair-clock", Schema::line::<RepairedKeys>),
    ("help", Schema::line::<Help>),
    ("exit", Schema::line::<Exiting>),
    ("error", |schema| schema),
];

/// The names that [`schema`] knows: those of the commands, and `error`.
pub fn schema_names() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().map(|(name, _)| *name)
}

/// The JSON Schema that each line a command prints with `--json` matches; `None` for an unknown name.
pub fn schema(name: &str) -> Option<String> {
    let (_, lines) = SCHEMAS.iter().find(|(known, _)| *known == name)?;
    Some(lines(Schema::default()).line::<Failure>().text(name))
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
        assert_eq!(names, [expected.as_slice(), &["error"]].concat());
        assert_eq!(schema("quit"), None);
    }
}
