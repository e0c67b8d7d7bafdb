//! What all watchers share: whoever has told everything so far waits here for the next page, which is read once for all of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use p2p_sync_core::sequence::Cursor;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::{PAGE, READERS_MAX};
use crate::store::{Changed, Changes, Readers, StoreError};

/// Pages kept for watchers that are about to take them: some 4 MiB. Whoever falls further behind reads the store.
const PAGES_MAX: usize = 64;
/// How often it is looked for changes of which the writer tells nothing: those of other programs.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What watchers are sent.
#[derive(Debug, Clone)]
pub(super) enum Page {
    /// What changed between two places.
    Read {
        from: Cursor,
        to: Cursor,
        changes: Arc<[Changed]>,
    },
    /// Each is to look by itself.
    Look,
}

/// The hub of a node. It ends with this.
#[derive(Debug)]
pub(in crate::node) struct Hub {
    /// None once it was ended.
    pages: Mutex<Option<broadcast::Sender<Page>>>,
    changed: Arc<Notify>,
    task: AbortHandle,
    /// Watchers that read the store take turns.
    pub(super) turns: Arc<Semaphore>,
}

impl Hub {
    /// `changed` is notified of every commit that stored a version.
    pub(in crate::node) fn start(readers: Readers, changed: Arc<Notify>) -> Self {
        let (pages, _) = broadcast::channel(PAGES_MAX);
        let task = tokio::spawn(run(readers, Arc::clone(&changed), pages.clone()));
        Self {
            pages: Mutex::new(Some(pages)),
            changed,
            task: task.abort_handle(),
            turns: Arc::new(Semaphore::new(READERS_MAX)),
        }
    }

    /// The pages from now on. They end when the node stops.
    pub(super) fn pages(&self) -> broadcast::Receiver<Page> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        // There may have been nobody to look for.
        self.changed.notify_one();
        pages
            .as_ref()
            .map_or_else(|| broadcast::channel(1).1, broadcast::Sender::subscribe)
    }

    /// Ends all watches.
    pub(in crate::node) fn end(&self) {
        self.turns.close();
        self.task.abort();
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(readers: Readers, changed: Arc<Notify>, pages: broadcast::Sender<Page>) {
    let mut head = None;
    loop {
        if pages.receiver_count() == 0 {
            head = None;
            changed.notified().await;
            continue;
        }
        let (readers, from) = (readers.clone(), head);
        let read = tokio::task::spawn_blocking(move || read(&readers, from)).await;
        // Nobody waits for an answer: that all have gone meanwhile is no failure.
        let is_all = match read {
            Ok(Ok((to, page, is_all))) => {
                head = to;
                page.into_iter().for_each(|page| drop(pages.send(page)));
                is_all
            }
            Ok(Err(error)) => {
                tracing::debug!("cannot read what changed: {error}");
                head = None;
                true
            }
            // The node is about to end.
            Err(_) => return,
        };
        if is_all {
            // Whether it was notified or not, the next look is the same.
            let _ = timeout(LOOK_INTERVAL, changed.notified()).await;
        }
    }
}

/// Reads what changed behind a place. Gives the place behind that, what watchers are sent, and whether there is nothing more.
fn read(readers: &Readers, from: Option<Cursor>) -> Result<(Option<Cursor>, Option<Page>, bool), StoreError> {
    let Some(from) = from else {
        return Ok((readers.cursor()?, Some(Page::Look), true));
    };
    let Some(Changes {
        changes,
        cursor: to,
        is_all,
    }) = readers.changes_since(from, PAGE)?
    else {
        return Ok((None, Some(Page::Look), false));
    };
    let page = (to != from).then(|| Page::Read {
        from,
        to,
        changes: changes.into(),
    });
    Ok((Some(to), page, is_all))
}
