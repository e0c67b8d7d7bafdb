//! `list`: shows what is stored, page by page, however much it is.

use std::ffi::OsString;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use p2p_sync_core::record::InvalidKey;
use p2p_sync_core::{Key, Record};

use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Records that are read at once.
const PAGE_RECORDS_MAX: usize = 500;

/// Lists what is stored, in key order
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct List {
    #[command(flatten)]
    pub(super) format: Format,
    /// Only keys that begin with this
    pub(super) prefix: Option<OsString>,
}

impl List {
    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let prefix = self
            .prefix
            .unwrap_or_default()
            .into_string()
            .map_err(|_| InvalidKey::NotUtf8)?;
        let (node, asked) = (node.clone(), prefix.clone());
        let pages = Pages::new(move |after| {
            let (node, prefix) = (node.clone(), prefix.clone());
            async move { Ok(node.list(&prefix, after, PAGE_RECORDS_MAX).await?) }.boxed()
        });
        // In JSON the number stands at the end, where it costs nothing.
        Ok(Reply::Listed(if self.format.json {
            Listing::uncounted(asked, pages)
        } else {
            Listing::counted(asked, pages).await?
        }))
    }
}

/// Records in the order of their keys, read from the store while they are shown.
pub struct Listing {
    prefix: String,
    count: u64,
    first: Vec<Record>,
    pages: Pages,
}

impl Listing {
    fn uncounted(prefix: String, pages: Pages) -> Self {
        Self {
            prefix,
            count: 0,
            first: Vec::new(),
            pages,
        }
    }

    /// Counts by reading everything once before it is read again to be shown: memory holds a page at most, and what fits in
    /// one page is read once and counted exactly. Of more than that the number is that of the first reading, and writes
    /// that come between the two show in the second.
    async fn counted(prefix: String, mut pages: Pages) -> Result<Self, CommandError> {
        let first = pages.next().await?;
        let mut count = first.len() as u64;
        let mut ahead = pages.clone();
        loop {
            match ahead.next().await?.len() as u64 {
                0 => {
                    return Ok(Self {
                        prefix,
                        count,
                        first,
                        pages,
                    });
                }
                more => count += more,
            }
        }
    }

    /// What the keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many records there were when they were counted; 0 if nobody needed to know.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next page; empty at the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&mut self) -> Result<Vec<Record>, CommandError> {
        match std::mem::take(&mut self.first) {
            page if page.is_empty() => self.pages.next().await,
            page => Ok(page),
        }
    }
}

type Page = BoxFuture<'static, Result<Vec<Record>, CommandError>>;

/// Reads page after page.
#[derive(Clone)]
struct Pages {
    fetch: Arc<dyn Fn(Option<Key>) -> Page + Send + Sync>,
    after: Option<Key>,
    ended: bool,
}

impl Pages {
    fn new(fetch: impl Fn(Option<Key>) -> Page + Send + Sync + 'static) -> Self {
        Self {
            fetch: Arc::new(fetch),
            after: None,
            ended: false,
        }
    }

    async fn next(&mut self) -> Result<Vec<Record>, CommandError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let page = (self.fetch)(self.after.clone()).await?;
        self.ended = page.len() < PAGE_RECORDS_MAX;
        self.after = page.last().map(|record| record.key.clone());
        Ok(page)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::sync::Mutex;

    use p2p_sync_core::{Base, Content, Timestamp, Value};

    use super::*;

    fn record(number: usize) -> Record {
        Record {
            key: Key::new(format!("{number:06}")).unwrap(),
            content: Content::Put(Value::new(*b"v").unwrap()),
            timestamp: Timestamp::MIN,
            author: "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj".parse().unwrap(),
            base: Base::Nothing,
        }
    }

    type Stored = Arc<Mutex<Vec<Record>>>;

    fn pages(count: usize) -> (Stored, Pages) {
        let stored: Stored = Arc::new(Mutex::new((0..count).map(record).collect()));
        let source = Arc::clone(&stored);
        let pages = Pages::new(move |after| {
            let stored = source.lock().unwrap();
            let behind = stored
                .iter()
                .filter(|record| after.as_ref().is_none_or(|after| record.key > *after));
            let page: Vec<_> = behind.take(PAGE_RECORDS_MAX).cloned().collect();
            async move { Ok(page) }.boxed()
        });
        (stored, pages)
    }

    async fn all(listing: &mut Listing) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            match listing.next().await.unwrap() {
                page if page.is_empty() => return records,
                page => {
                    assert!(page.len() <= PAGE_RECORDS_MAX);
                    records.extend(page);
                }
            }
        }
    }

    #[tokio::test]
    async fn everything_is_counted_and_shown_once_in_order() {
        for count in [0, 1, 499, 500, 501, 1000, 1733] {
            let (stored, source) = pages(count);
            let mut listing = Listing::counted(String::new(), source.clone()).await.unwrap();
            assert_eq!(listing.count(), count as u64);
            assert_eq!(all(&mut listing).await, *stored.lock().unwrap());
            assert_eq!(all(&mut Listing::uncounted(String::new(), source)).await.len(), count);
        }
    }

    #[tokio::test]
    async fn what_is_written_while_it_is_shown_is_shown_if_it_lies_ahead() {
        let (stored, source) = pages(1200);
        let mut listing = Listing::counted(String::new(), source).await.unwrap();
        stored.lock().unwrap().push(record(5000));
        stored.lock().unwrap().remove(700);
        let shown = all(&mut listing).await;
        assert_eq!((listing.count(), shown.len()), (1200, 1200));
        assert_eq!(shown.last(), Some(&record(5000)));
    }

    #[tokio::test]
    async fn an_error_ends_it() {
        let broken = Pages::new(|_| async { Err(CommandError::new(crate::command::Class::Storage, "broken")) }.boxed());
        assert!(Listing::counted(String::new(), broken.clone()).await.is_err());
        assert!(Listing::uncounted(String::new(), broken).next().await.is_err());
    }
}
