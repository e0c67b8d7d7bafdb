//! Everything that a store held at one moment, page by page, in the order of the keys. It has a connection of its own, whose read
//! transaction lasts from the first page to the last: meanwhile the log of the store cannot be emptied, so whoever reads must not
//! take his time.

use std::path::{Path, PathBuf};

use p2p_sync_core::{Key, Record};

use super::error::StoreError;
use super::reader::{Reader, Readers};
use super::rows::{self, Which};

/// What SQLite keeps of the file in memory, in KiB: the rows are not in the order of the keys.
const CACHE_KIB: i64 = 16 * 1024;

/// A moment of a store, and how much of it has been read.
#[derive(Debug)]
pub struct Export {
    reader: Reader,
    file: PathBuf,
    which: Which,
    prefix: String,
    after: Option<Key>,
}

impl Readers {
    /// The keys that begin with `prefix`, as they are now: those with a value, or also those that were deleted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn export(&self, prefix: &str, with_deleted: bool) -> Result<Export, StoreError> {
        let file = self.file();
        let reader = Reader::open(file)?;
        begin(&reader).map_err(|cause| StoreError::sqlite(file, cause))?;
        Ok(Export {
            reader,
            file: Path::to_owned(file),
            which: if with_deleted { Which::All } else { Which::Live },
            prefix: prefix.to_owned(),
            after: None,
        })
    }
}

/// Begins the read transaction. It is the first read that fixes its moment.
fn begin(reader: &Reader) -> rusqlite::Result<()> {
    reader.connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    reader.connection.execute_batch("BEGIN; SELECT 1 FROM kv_store LIMIT 1")
}

impl Export {
    /// Up to `limit` records more; none at the end.
    ///
    /// # Errors
    /// When the store cannot be read, or a row of the page is damaged. Nothing more can be read then.
    pub fn page(&mut self, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Reader {
            connection, authors, ..
        } = &mut self.reader;
        let keys = (self.prefix.as_str(), self.after.as_ref());
        let records = rows::page(connection, authors, &self.file, self.which, keys, limit)?;
        self.after = records.last().map(|record| record.key.clone()).or(self.after.take());
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, deleted, put, store};

    fn all(mut export: Export) -> Vec<Record> {
        let mut all = Vec::new();
        loop {
            let page = export.page(2).unwrap();
            assert!(page.len() <= 2);
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    #[test]
    fn an_export_is_one_moment_whatever_is_written_meanwhile() {
        let place = Place::new();
        let mut sqlite = place.open();
        let before = [put("a", b"1", 5), put("b", b"1", 6), deleted("c", 7), put("d", b"1", 8)];
        store(&mut sqlite, &before);
        let readers = Readers::open(&place.file, 1).unwrap();
        let untouched = readers.export("", true).unwrap();
        let mut begun = readers.export("", true).unwrap();
        assert_eq!(begun.page(1).unwrap(), before[..1]);
        store(
            &mut sqlite,
            &[
                put("a", b"2", 9),
                deleted("b", 10),
                put("bb", b"1", 11),
                put("d", b"2", 12),
            ],
        );
        assert_eq!(all(begun), before[1..]);
        assert_eq!(
            all(untouched),
            before,
            "the moment is the one at which it was asked for"
        );
        let live = [put("a", b"2", 9), put("bb", b"1", 11), put("d", b"2", 12)];
        assert_eq!(all(readers.export("", false).unwrap()), live);
        assert_eq!(all(readers.export("b", false).unwrap()), live[1..2]);
    }
}
