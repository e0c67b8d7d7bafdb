//! JSON Schemas of the types in `report`, for programs that read their JSON.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::json;

/// Describes the lines of JSON that a command may print: each line matches one of the types that were added.
#[derive(Debug)]
pub struct Schema {
    generator: SchemaGenerator,
    lines: Vec<schemars::Schema>,
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            // What is written, not what is also accepted: a field that is always there is required.
            generator: SchemaSettings::draft2020_12().for_serialize().into_generator(),
            lines: Vec::new(),
        }
    }
}

impl Schema {
    /// The same, and a line may be a `T`.
    #[must_use]
    pub fn line<T: JsonSchema>(mut self) -> Self {
        self.lines.push(self.generator.subschema_for::<T>());
        self
    }

    /// The schema (JSON Schema, draft 2020-12) as indented JSON that ends with a newline.
    pub fn text(mut self, title: &str) -> String {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            "anyOf": self.lines,
            "$defs": self.generator.take_definitions(true),
        });
        format!("{schema:#}\n")
    }
}

/// Whether a line matches a schema, both as text.
#[cfg(test)]
pub(crate) fn matches(schema: &str, line: &str) -> bool {
    let [schema, line] = [schema, line].map(|text| serde_json::from_str(text).expect("JSON"));
    jsonschema::validator_for(&schema)
        .expect("a valid schema")
        .is_valid(&line)
}
