//! What SQLite said, without its library in the type: users of a node see the words, and only the store looks inside.

use std::{error, fmt};

/// What SQLite said.
#[derive(Debug)]
pub struct SqliteError(pub(in crate::store) rusqlite::Error);

impl fmt::Display for SqliteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl error::Error for SqliteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}
