//! Whether a file still has the tables and indexes of its version. Another program can drop them as easily as it can read
//! them: a missing index is recreated, while a missing table is damage like any other.

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use rusqlite::Connection;

use super::deferred;
use super::error::StoreError;
use super::migrations;
use super::sync::ITEM_INDEX;

/// What SQLite makes by itself has no text.
const OBJECTS: &str = "SELECT name, type = 'index', sql FROM sqlite_schema \
    WHERE type IN ('table', 'index') AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// A table or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Object {
    name: String,
    is_index: bool,
    sql: String,
}

/// Makes the indexes that are missing, or are others than they should be. For a file of the supported version.
///
/// # Errors
/// [`StoreError::Damaged`] when a table is missing; otherwise as SQLite says. Nothing was changed then.
pub(super) fn restore(connection: &Connection, file: &Path) -> Result<(), StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let found: HashMap<String, Object> = objects(connection)
        .map_err(failed)?
        .into_iter()
        .map(|object| (object.name.clone(), object))
        .collect();
    let mut script = String::new();
    // Where the table is missing, that is told below.
    let is_deferred = connection
        .query_row(deferred::IS_MARKED, [], |row| row.get(0))
        .unwrap_or(false);
    for wanted in wanted(file)? {
        match found.get(&wanted.name) {
            Some(found) if !wanted.is_index || found.sql == wanted.sql => {}
            None if !wanted.is_index => {
                return Err(StoreError::Damaged {
                    file: file.to_owned(),
                    why: format!("its table {} is missing", wanted.name),
                });
            }
            None if is_deferred && wanted.name == ITEM_INDEX => {
                tracing::info!(file = %file.display(), "Making the index that was left for the end of a copy from another node");
                script.push_str(&format!("{};\n{};\n", wanted.sql, deferred::UNMARK));
            }
            _ => {
                tracing::warn!(file = %file.display(), index = %wanted.name, "Another program dropped or changed an index of the store; recreating it");
                script.push_str(&format!("DROP INDEX IF EXISTS {};\n{};\n", wanted.name, wanted.sql));
            }
        }
    }
    if script.is_empty() {
        return Ok(());
    }
    let made = connection.execute_batch(&format!("BEGIN IMMEDIATE;\n{script}COMMIT"));
    made.map_err(|cause| {
        // After some failures SQLite has done that by itself.
        let _ = connection.execute_batch("ROLLBACK");
        failed(cause)
    })
}

/// The statement that makes an index of a new store.
pub(super) fn index(file: &Path, name: &str) -> Result<&'static str, StoreError> {
    let index = wanted(file)?
        .iter()
        .find(|object| object.is_index && object.name == name);
    index
        .map(|index| index.sql.as_str())
        .ok_or(StoreError::Misuse("an index of another name was asked for"))
}

/// What a new store has.
fn wanted(file: &Path) -> Result<&'static [Object], StoreError> {
    static WANTED: OnceLock<Vec<Object>> = OnceLock::new();
    if let Some(wanted) = WANTED.get() {
        return Ok(wanted);
    }
    let failed = |cause| StoreError::sqlite(file, cause);
    let mut memory = Connection::open_in_memory().map_err(failed)?;
    migrations::migrate(&mut memory, file, &mut |_| {})?;
    let objects = objects(&memory).map_err(failed)?;
    Ok(WANTED.get_or_init(|| objects))
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<Object>> {
    let mut statement = connection.prepare(OBJECTS)?;
    let rows = statement.query_map([], |row| {
        Ok(Object {
            name: row.get(0)?,
            is_index: row.get(1)?,
            sql: row.get(2)?,
        })
    })?;
    rows.collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use p2p_sync_core::NetworkName;
    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::testing::{Place, key, put, shell, store};
    use crate::store::{Depth, SqliteStore, StoreErrorKind};

    fn names(place: &Place) -> Vec<String> {
        let connection = Connection::open(&place.file).unwrap();
        let mut names: Vec<_> = objects(&connection)
            .unwrap()
            .into_iter()
            .map(|object| object.name)
            .collect();
        names.sort();
        names
    }

    /// A closed store with one record.
    fn place() -> Place {
        let place = Place::new();
        let mut sqlite = place.open();
        store(&mut sqlite, &[put("a", b"1", 5)]);
        sqlite.close().unwrap();
        place
    }

    #[test]
    fn an_index_that_was_dropped_or_changed_is_made_again() {
        let place = place();
        let before = names(&place);
        let indexes: Vec<_> = wanted(&place.file)
            .unwrap()
            .iter()
            .filter(|object| object.is_index)
            .collect();
        assert!(indexes.len() >= 3, "{indexes:?}");
        for index in indexes {
            for instead in ["", "CREATE INDEX {} ON kv_store (author)"] {
                let instead = instead.replace("{}", &index.name);
                shell(&place.file, &format!("DROP INDEX {}; {instead}", index.name));
                let mut sqlite = place.open();
                assert_eq!(sqlite.get(&key("a")).unwrap().unwrap(), put("a", b"1", 5));
                let scan = sqlite.start_scan(Depth::Records).unwrap();
                let verified = sqlite.finish_scan(scan.run().unwrap()).unwrap();
                assert_eq!(
                    (verified.structure, verified.removed.len()),
                    (None, 0),
                    "{}",
                    index.name
                );
                sqlite.close().unwrap();
                assert_eq!(names(&place), before);
            }
        }
    }

    #[test]
    fn a_table_that_was_dropped_costs_what_was_in_it() {
        for table in wanted(Path::new("memory"))
            .unwrap()
            .iter()
            .filter(|object| !object.is_index)
        {
            let place = place();
            let before = names(&place);
            shell(&place.file, &format!("DROP TABLE {}", table.name));
            match SqliteStore::open(&place.file, &NetworkName::default()) {
                Ok(mut sqlite) => {
                    assert_eq!(
                        sqlite.get(&key("a")).unwrap().unwrap(),
                        put("a", b"1", 5),
                        "{}",
                        table.name
                    );
                    sqlite.close().unwrap();
                    assert_eq!(names(&place), before, "{}", table.name);
                }
                Err(error) => {
                    // Without these it cannot be told what it is.
                    assert!(
                        ["kv_store", "meta"].contains(&table.name.as_str()),
                        "{}: {error}",
                        table.name
                    );
                    assert_eq!(error.kind(), StoreErrorKind::Damaged);
                }
            }
        }
    }
}
