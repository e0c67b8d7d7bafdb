//! Everything that a node holds, out of it as of one moment and into it: exports and imports. What the data looks like in a file,
//! others say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use p2p_sync_core::Record;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::work::Work;
use super::{Node, NodeError, Write};
use crate::store;

/// Exports at the same time: each keeps the log of the store from being emptied, and has a connection and a thread.
pub(super) const EXPORTS_MAX: usize = 2;
/// Records that are read at once.
const PAGE_RECORDS: usize = 256;
/// Pages that were read and nobody has taken yet. With values of the largest size a page has 16 MiB.
const PAGES_AHEAD: usize = 2;
/// How long a page waits for whoever reads.
const PAGE_PATIENCE: Duration = Duration::from_secs(60);
/// How long an export may take in all.
const EXPORT_MAX: Duration = Duration::from_secs(30 * 60);

/// What an export gives.
#[derive(Debug)]
pub(crate) enum ExportPage {
    /// Some records, in the order of their keys.
    Records(Vec<Record>),
    /// That was all: so many.
    End {
        /// How many records there were.
        items: u64,
    },
    /// It was read too slowly, and ends here.
    TooSlow,
}

/// Everything that the store held at the moment of asking.
#[derive(Debug)]
pub(crate) struct Export {
    node: Node,
    pages: mpsc::Receiver<Result<Vec<Record>, NodeError>>,
    has_ended: bool,
    items: u64,
}

impl Node {
    /// Makes those of these writes, in this order and in one transaction, whose condition holds, and tells how many that were: an
    /// import.
    ///
    /// # Errors
    /// When one of them fails for another reason; none of them was made then.
    pub(crate) async fn write_due(&self, writes: Vec<Write>) -> Result<u64, NodeError> {
        self.work(|reply| Work::WriteDue { writes, reply }).await
    }

    /// How many of these writes [`write_due`](Self::write_due) would make now, if no two are of one key. Nothing is written.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn count_due(&self, writes: Vec<Write>) -> Result<u64, NodeError> {
        self.read(move |readers| {
            let mut due = 0;
            for write in &writes {
                let held = readers.versions(&write.key)?;
                let is_there = held.all().iter().any(|version| version.value().is_some());
                due += u64::from(write.terms.condition.holds(&held) && (write.content.value().is_some() || is_there));
            }
            Ok(due)
        })
        .await
    }

    /// The records of the keys that begin with `prefix` as they are at this moment, with or without those that were deleted. Conflicts
    /// are left out.
    ///
    /// # Errors
    /// When the store cannot be read, or too many others export.
    pub(crate) async fn export(&self, prefix: &str, with_deleted: bool) -> Result<Export, NodeError> {
        let permit = Arc::clone(&self.inner.exports).try_acquire_owned();
        let permit = permit.map_err(|_| NodeError::Crowded)?;
        let prefix = prefix.to_owned();
        let export = self.read(move |readers| readers.export(&prefix, with_deleted)).await?;
        let (sender, pages) = mpsc::channel(PAGES_AHEAD);
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("export".to_owned());
        let thread = thread.spawn(move || read(export, &sender, &runtime, permit));
        thread.map_err(|error| NodeError::Thread(error.to_string()))?;
        Ok(Export {
            node: self.clone(),
            pages,
            has_ended: false,
            items: 0,
        })
    }
}

/// Reads to the end, or until nobody waits any more.
fn read(
    mut export: store::Export,
    pages: &mpsc::Sender<Result<Vec<Record>, NodeError>>,
    runtime: &Handle,
    _permit: OwnedSemaphorePermit,
) {
    let begun = Instant::now();
    loop {
        let page = export.page(PAGE_RECORDS).map_err(NodeError::from);
        let is_last = page.as_ref().map_or(true, Vec::is_empty);
        let sent = runtime.block_on(pages.send_timeout(page, PAGE_PATIENCE));
        if sent.is_err() || is_last || begun.elapsed() > EXPORT_MAX {
            return;
        }
    }
}

impl Export {
    /// The next page. Behind the end, or an error, there is none.
    ///
    /// # Errors
    /// When the store cannot be read, or a record is damaged; it is set aside then, so that another export is complete but for it.
    pub(crate) async fn next(&mut self) -> Option<Result<ExportPage, NodeError>> {
        if self.has_ended {
            return None;
        }
        let page = match self.pages.recv().await {
            Some(Ok(records)) if records.is_empty() => Ok(ExportPage::End { items: self.items }),
            Some(Ok(records)) => {
                self.items += records.len() as u64;
                return Some(Ok(ExportPage::Records(records)));
            }
            Some(Err(error)) => {
                if let NodeError::Store(error) = &error {
                    let _ = self.node.set_aside(error).await;
                }
                Err(error)
            }
            None => Ok(ExportPage::TooSlow),
        };
        self.has_ended = true;
        Some(page)
    }
}
