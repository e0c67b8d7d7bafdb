//! JSON Schemas of the types in `report`, for programs that read their JSON.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
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

/// A description of the local API (OpenAPI 3.1) as JSON, with the schemas of the types in `report` that it refers to.
pub fn openapi(description: &impl Serialize) -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<super::Batch>();
    generator.subschema_for::<super::BatchWritten>();
    generator.subschema_for::<super::Check>();
    generator.subschema_for::<super::Choice>();
    generator.subschema_for::<super::ConflictPage>();
    generator.subschema_for::<super::Diagnosis>();
    generator.subschema_for::<super::Dumped<'_>>();
    generator.subschema_for::<super::Health>();
    generator.subschema_for::<super::ImportPage<'_>>();
    generator.subschema_for::<super::ListPage>();
    generator.subschema_for::<super::PageImported>();
    generator.subschema_for::<super::PeerList>();
    generator.subschema_for::<super::Problem>();
    generator.subschema_for::<super::Resolved>();
    generator.subschema_for::<super::Status>();
    generator.subschema_for::<super::SyncedList>();
    generator.subschema_for::<super::WatchEvent>();
    generator.subschema_for::<super::Written>();
    let mut described = json!(description);
    if let Some(components) = described.get_mut("components").and_then(|found| found.as_object_mut()) {
        let schemas = generator.take_definitions(true);
        components.insert("schemas".to_owned(), schemas.into());
    }
    format!("{described:#}\n")
}

/// Whether a line matches a schema, both as text.
#[cfg(test)]
pub(crate) fn matches(schema: &str, line: &str) -> bool {
    let [schema, line] = [schema, line].map(|text| serde_json::from_str(text).expect("JSON"));
    jsonschema::validator_for(&schema)
        .expect("a valid schema")
        .is_valid(&line)
}
