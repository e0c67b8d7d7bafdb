//! Watching keys: a snapshot, then every change in the order in which this node's store took it in. A watcher pulls at its own
//! pace, by its cursor, from the store; only those that keep up share what has just been read for all of them (`hub`). So a slow
//! watcher costs the node no more than one page of memory, and nothing is ever dropped.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::unfold;
use futures::{Stream, StreamExt};
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::PageLimit;
use p2p_sync_core::{Key, Record};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Inner, Node, NodeError};
use crate::store::{Changed, Readers, StoreError};

mod hub;
mod report;
#[cfg(test)]
mod tests;

pub(super) use hub::Hub;
use hub::Page;

/// What a watcher reads at once: the memory that a slow one costs.
const PAGE: PageLimit = PageLimit {
    records: 256,
    bytes: 64 * 1024,
};
/// Watchers that read at the same moment; the rest wait, so that other readers get their turn too.
const READERS_MAX: usize = 2;
/// After this long without an event, the watcher is told the newest cursor.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A store that cannot tell a cursor just now is asked again after this.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Since {
    /// With what is held: a [`Put`](Event::Put) for each live key, then [`Ready`](Event::Ready), then changes.
    Snapshot,
    /// With the next change.
    Now,
    /// Where another watch of this store has come to, before or after a restart.
    Cursor(Cursor),
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A key has this value now.
    Put(Observed),
    /// A key was deleted.
    Delete(Observed),
    /// A version that lost to another one of its key, whose author had not seen it. The value of the key is told by an event of its
    /// own.
    Conflict(Observed),
    /// Everything up to the moment of asking has been told.
    Ready {
        /// The place behind it.
        cursor: Cursor,
    },
    /// The cursor is lost: it is of another store, or the store was rolled back, rescued or changed by another program. All
    /// live keys follow, then [`Ready`](Event::Ready): the watcher replaces what it knows by that.
    Reset,
    /// Nothing has changed for 15 seconds.
    Heartbeat {
        /// The newest place.
        cursor: Cursor,
    },
}

/// A version of a key, as a watcher is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// The version.
    pub record: Record,
    /// The place behind it, from which a later watch goes on; none within a snapshot, which has no order to go on in.
    pub cursor: Option<Cursor>,
    /// Whether it was written on this node.
    pub is_local: bool,
}

impl Node {
    /// Watches the keys that start with `prefix`. From a valid cursor, every key that changed since is told at least with its newest
    /// version, in the order of this node's store, nothing twice; a version that was replaced before it could be told is left out.
    ///
    /// A watcher that is slow, or away for a month, misses nothing, and costs the node at most a page of memory.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// use p2p_sync::{Event, Since};
    ///
    /// node.put("light/hall", "on").await?;
    /// let mut changes = node.watch("light/", Since::Snapshot);
    /// while let Some(event) = changes.next().await {
    ///     match event? {
    ///         Event::Put(now) => println!("{} is {:?}", now.record.key, now.record.text()),
    ///         Event::Delete(now) => println!("{} is gone", now.record.key),
    ///         Event::Ready { cursor } => {
    ///             println!("up to date; a later watch can go on from {cursor}");
    ///             # break;
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, prefix: &str, since: Since) -> Watch {
        let watcher = Watcher::new(self, prefix, since);
        let events = unfold(watcher, |mut watcher| async move {
            let event = watcher.next().await?;
            Some((event, watcher))
        });
        Watch(Box::pin(events))
    }
}

/// The events of a [watch](Node::watch), as a stream. It ends when the node stops, does not keep the node running, and goes on
/// after an error where it was.
pub struct Watch(Pin<Box<dyn Stream<Item = Result<Event, NodeError>> + Send>>);

impl Watch {
    /// The next event, once there is one; none: the node has stopped. Nothing is lost if the future is dropped before it is done.
    pub async fn next(&mut self) -> Option<Result<Event, NodeError>> {
        self.0.next().await
    }
}

impl Stream for Watch {
    type Item = Result<Event, NodeError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// How far a watcher is.
#[derive(Debug)]
enum State {
    Begin(Since),
    /// Telling what was held at a place: the keys behind this one are left.
    Snapshot {
        place: Cursor,
        after: Option<Key>,
    },
    /// Telling what changed behind a place.
    Follow {
        place: Cursor,
        /// There is more behind it in the store, or may be.
        is_behind: bool,
    },
}

struct Watcher {
    node: Weak<Inner>,
    prefix: String,
    state: State,
    /// The moment of asking has been reached.
    is_ready: bool,
    /// What is to be told next.
    told: VecDeque<Event>,
    pages: broadcast::Receiver<Page>,
    beat: Instant,
}

impl Watcher {
    fn new(node: &Node, prefix: &str, since: Since) -> Self {
        Self {
            node: Arc::downgrade(&node.inner),
            prefix: prefix.to_owned(),
            state: State::Begin(since),
            is_ready: false,
            told: VecDeque::new(),
            pages: node.inner.hub.pages(),
            beat: Instant::now() + HEARTBEAT,
        }
    }

    /// The next event; none: the node has stopped.
    async fn next(&mut self) -> Option<Result<Event, NodeError>> {
        loop {
            if let Some(event) = self.told.pop_front() {
                self.beat = Instant::now() + HEARTBEAT;
                return Some(Ok(event));
            }
            match self.step().await {
                Ok(true) => {}
                Ok(false) | Err(NodeError::Stopped) => return None,
                Err(error) => {
                    // Whoever asks again at once must not keep the store busy.
                    sleep(PAUSE).await;
                    return Some(Err(error));
                }
            }
        }
    }

    /// Reads, or waits for, what comes next. False: the node has stopped.
    async fn step(&mut self) -> Result<bool, NodeError> {
        match &self.state {
            State::Begin(since) => self.begin(*since).await?,
            State::Snapshot { place, after } => self.read_snapshot(*place, after.clone()).await?,
            State::Follow { place, is_behind } => return self.follow(*place, *is_behind).await,
        }
        Ok(true)
    }

    async fn begin(&mut self, since: Since) -> Result<(), NodeError> {
        if let Since::Cursor(cursor) = since {
            self.fall_behind(cursor);
            return Ok(());
        }
        let Some(place) = self.read(Readers::cursor).await? else {
            sleep(PAUSE).await;
            return Ok(());
        };
        if since == Since::Now {
            self.fall_behind(place);
        } else {
            self.state = State::Snapshot { place, after: None };
        }
        Ok(())
    }

    /// Everything up to this place is told.
    fn reach(&mut self, place: Cursor) {
        if !self.is_ready {
            self.is_ready = true;
            self.told.push_back(Event::Ready { cursor: place });
        }
        self.state = State::Follow {
            place,
            is_behind: false,
        };
    }

    async fn read_snapshot(&mut self, place: Cursor, after: Option<Key>) -> Result<(), NodeError> {
        let prefix = self.prefix.clone();
        let page = self
            .read(move |readers| readers.snapshot(&prefix, after.as_ref(), place, PAGE))
            .await?;
        let me = self.node.upgrade().ok_or(NodeError::Stopped)?.id;
        self.told.extend(page.records.into_iter().map(|record| {
            Event::Put(Observed {
                is_local: record.author == me,
                record,
                cursor: None,
            })
        }));
        match page.next {
            Some(key) => {
                self.state = State::Snapshot {
                    place,
                    after: Some(key),
                }
            }
            // What changed since the place comes before it is said that this was all.
            None => self.fall_behind(place),
        }
        Ok(())
    }

    /// Takes what is behind a place: from the store, or, when it was all told, from the page that is read next for all watchers.
    async fn follow(&mut self, place: Cursor, is_behind: bool) -> Result<bool, NodeError> {
        if is_behind {
            self.pull(place).await?;
            return Ok(true);
        }
        match timeout_at(self.beat, self.pages.recv()).await {
            Ok(Ok(Page::Read { from, to, changes })) if from == place => {
                self.tell(&changes)?;
                self.reach(to);
            }
            // It was read from the store before it came here.
            Ok(Ok(Page::Read { to, .. })) if to.epoch == place.epoch && to.number <= place.number => {}
            Ok(Ok(Page::Read { .. } | Page::Look) | Err(RecvError::Lagged(_))) => self.fall_behind(place),
            Ok(Err(RecvError::Closed)) => return Ok(false),
            Err(_) => {
                self.beat = Instant::now() + HEARTBEAT;
                self.pull(place).await?;
                if self.told.is_empty()
                    && let State::Follow { place: cursor, .. } = self.state
                {
                    self.told.push_back(Event::Heartbeat { cursor });
                }
            }
        }
        Ok(true)
    }

    fn fall_behind(&mut self, place: Cursor) {
        self.state = State::Follow { place, is_behind: true };
    }

    /// Reads one page behind a place from the store.
    async fn pull(&mut self, place: Cursor) -> Result<(), NodeError> {
        let changes = self.read(move |readers| readers.changes_since(place, PAGE)).await?;
        let Some(changes) = changes else {
            self.told.push_back(Event::Reset);
            self.is_ready = false;
            self.state = State::Begin(Since::Snapshot);
            return Ok(());
        };
        self.tell(&changes.changes)?;
        if changes.is_all {
            self.reach(changes.cursor);
        } else {
            self.fall_behind(changes.cursor);
        }
        Ok(())
    }

    fn tell(&mut self, changes: &[Changed]) -> Result<(), NodeError> {
        let me = self.node.upgrade().ok_or(NodeError::Stopped)?.id;
        let wanted = changes
            .iter()
            .filter(|change| change.record.key.as_str().starts_with(&self.prefix));
        for change in wanted {
            let observed = Observed {
                record: change.record.clone(),
                cursor: Some(change.cursor),
                is_local: change.record.author == me,
            };
            self.told
                .push_back(match (change.is_conflict, change.record.content.value()) {
                    (true, _) => Event::Conflict(observed),
                    (false, Some(_)) => Event::Put(observed),
                    (false, None) => Event::Delete(observed),
                });
        }
        Ok(())
    }

    /// Reads the store, when it is this watcher's turn.
    async fn read<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let inner = self.node.upgrade().ok_or(NodeError::Stopped)?;
        let turns = Arc::clone(&inner.hub.turns);
        let node = Node { inner };
        let _turn = turns.acquire_owned().await.map_err(|_| NodeError::Stopped)?;
        node.read(ask).await
    }
}
