//! Reads a file, page by page.

use std::io::{self, BufRead};
use std::ops::ControlFlow;

use p2p_sync_core::Value;
use tokio::sync::mpsc;

use crate::dump::{self, Bad, Format, Item, Renaming};
use crate::report::{Dumped, Overwrite};

/// Records of a page.
const RECORDS_MAX: usize = 1_000;
/// Bytes of values behind which a page ends. As JSON, each may become six.
const BYTES_MAX: usize = 2 << 20;
/// What was wrong, on one page.
const BAD_MAX: usize = 1_000;

/// Some records of a file, and what was wrong behind the first of them.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) records: Vec<Dumped<'static>>,
    /// The lines of the first record and the last one.
    pub(super) lines: Option<(u64, u64)>,
    pub(super) bad: Vec<Bad>,
    /// The file cannot be read any further.
    pub(super) failed: Option<io::Error>,
    bytes: usize,
}

/// Reads to the end, to what is wrong if it `stops` there, or until nobody wants any more.
pub(super) fn read(
    format: Format,
    input: &mut dyn BufRead,
    renaming: &Renaming,
    (stops, overwrite): (bool, Overwrite),
    pages: &mpsc::Sender<Page>,
) {
    let mut page = Page::default();
    let send = |page: &mut Page| match pages.blocking_send(std::mem::take(page)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let read = dump::read(format, input, renaming, &mut |item| {
        let item = item.and_then(|item| check(item, overwrite));
        let is_over = match item {
            Ok(item) => {
                page.add(&item);
                false
            }
            Err(bad) => {
                page.bad.push(bad);
                stops
            }
        };
        if is_over {
            let _ = send(&mut page);
            return ControlFlow::Break(());
        }
        if page.is_full() {
            return send(&mut page);
        }
        ControlFlow::Continue(())
    });
    page.failed = read.err();
    if !page.is_empty() {
        let _ = send(&mut page);
    }
}

/// Whether the record has what is needed to decide about it.
fn check(item: Item, overwrite: Overwrite) -> Result<Item, Bad> {
    if overwrite == Overwrite::Older && item.timestamp.is_none() {
        return Err(Bad {
            line: item.line,
            why: format!("{} has no timestamp, and --overwrite older needs one", item.key),
            is_end: false,
        });
    }
    Ok(item)
}

impl Page {
    fn add(&mut self, item: &Item) {
        let value = item.value.as_ref().map(Value::as_bytes);
        self.bytes += value.map_or(0, <[u8]>::len) + item.key.as_str().len();
        let first = self.lines.map_or(item.line, |(first, _)| first);
        self.lines = Some((first, item.line));
        let mut record = Dumped::new(item.key.as_str(), value).into_owned();
        record.timestamp = item.timestamp.map(|timestamp| timestamp.to_string().into());
        self.records.push(record);
    }

    fn is_full(&self) -> bool {
        self.records.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX || self.bad.len() >= BAD_MAX
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.bad.is_empty() && self.failed.is_none()
    }
}
