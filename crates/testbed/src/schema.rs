//! Holds the JSON that a program prints to the schemas that the same program has for it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use crate::node::lock;

/// By program: it is asked once.
static KNOWN: Mutex<BTreeMap<PathBuf, Arc<BTreeMap<String, Validator>>>> = Mutex::new(BTreeMap::new());

/// The schemas of a program; it is asked for them when the first JSON is to be checked.
pub(crate) struct Schemas {
    program: PathBuf,
}

impl Schemas {
    pub(crate) fn of(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
        }
    }

    /// Checks a line of a reply, if it is JSON, against the schema of the command that it replies to; a reply to what is no
    /// command, such as the last line of a value, against all of them.
    #[track_caller]
    pub(crate) fn check(&self, command: &[u8], line: &[u8]) {
        if !line.starts_with(b"{") {
            return;
        }
        let word = String::from_utf8_lossy(command);
        let word = match word.split_whitespace().next().unwrap_or_default() {
            "quit" => "exit",
            word => word,
        };
        let all = self.all();
        let Some(schema) = all.get(word) else {
            return self.check_any(line);
        };
        let value = parsed(line);
        if let Err(error) = schema.validate(&value) {
            panic!("a reply to `{word}` breaks its schema: {error}: {value}");
        }
    }

    /// Checks a line, if it is JSON, against all schemas: one has to match.
    #[track_caller]
    pub(crate) fn check_any(&self, line: &[u8]) {
        if line.starts_with(b"{") {
            let value = parsed(line);
            let matches = self.all().values().any(|schema| schema.is_valid(&value));
            assert!(matches, "no schema of any command matches {value}");
        }
    }

    #[track_caller]
    fn all(&self) -> Arc<BTreeMap<String, Validator>> {
        let mut known = lock(&KNOWN);
        let all = known.entry(self.program.clone()).or_insert_with(|| {
            let names = self.ask(&[]);
            let one = |name: &str| (name.to_owned(), strict(&self.ask(&[name])));
            Arc::new(names.lines().map(one).collect())
        });
        Arc::clone(all)
    }

    #[track_caller]
    fn ask(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.program).arg("schema").args(arguments).output();
        let output = output.expect("the program can be run");
        assert!(output.status.success(), "schema {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("schemas are UTF-8")
    }
}

#[track_caller]
fn parsed(line: &[u8]) -> Value {
    match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => panic!("not JSON: {error}: {}", line.escape_ascii()),
    }
}

/// A validator that also refuses fields which the schema does not name. Users' schemas allow them, because fields may be added.
#[track_caller]
fn strict(schema: &str) -> Validator {
    let mut schema = parsed(schema.as_bytes());
    let lines = schema.get_mut("anyOf").and_then(Value::as_array_mut);
    lines
        .expect("a schema lists the lines it allows")
        .iter_mut()
        .for_each(close);
    let definitions = schema.get_mut("$defs").and_then(Value::as_object_mut);
    for definition in definitions.expect("a schema defines what it refers to").values_mut() {
        let fields = definition.get_mut("properties").and_then(Value::as_object_mut);
        for field in fields.into_iter().flat_map(|fields| fields.values_mut()) {
            close(field);
            field.get_mut("items").into_iter().for_each(close);
        }
    }
    jsonschema::validator_for(&schema).expect("the program prints valid schemas")
}

fn close(place: &mut Value) {
    if place.get("$ref").is_some() {
        place["unevaluatedProperties"] = json!(false);
    }
    // What may also be null.
    let parts = place.get_mut("anyOf").and_then(Value::as_array_mut);
    parts.into_iter().flatten().for_each(close);
}
