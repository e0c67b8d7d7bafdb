//! What sync needs from the records of its node. It never decides which version wins: received records go through
//! [`SyncStore::apply`] the same way as all records.

use crate::item::{Item, KeyHash};
use crate::limits::{SYNC_PAGE_BYTES_MAX, SYNC_PAGE_RECORDS_MAX};
use crate::membership::Roster;
use crate::record::Record;
use crate::sequence::Cursor;
use crate::summary::Summary;
use crate::sync::wire::StoreId;

/// The size limit of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Records.
    pub records: usize,
    /// Their cost, see [`cost`](crate::sync::cost); the first record may cost more.
    pub bytes: usize,
}

impl PageLimit {
    /// A full page.
    pub const FULL: Self = Self {
        records: SYNC_PAGE_RECORDS_MAX,
        bytes: SYNC_PAGE_BYTES_MAX,
    };
}

/// Records in the order of the store's [change sequence](crate::sequence), and how far the store has searched for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The records. There may be none although more follow, if the store has searched long without finding one that it can
    /// send.
    pub records: Vec<Record>,
    /// The place after which the next page begins; none only if there is nothing more, and no record in this page.
    pub reached: Option<Cursor>,
}

/// The result of a page of received records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Applied {
    /// Records that are now held and were not before.
    pub changed: u64,
    /// Records that would be held, or may have been, but were not stored, because there is no space for them. The rest of
    /// the page was stored.
    pub refused: u64,
    /// The versions held of the same keys that were not among the records: their sender may lack them.
    pub survived: Vec<Item>,
}

/// The records of a node, as sync sees them. Only one session uses it during a call; between calls anything may change.
pub trait SyncStore {
    /// What can go wrong.
    type Error;

    /// The name of this store: chosen at random when it was created.
    fn id(&self) -> StoreId;

    /// The summary of everything that is committed now, and nothing else.
    fn summary(&self) -> &Summary;

    /// Who may write in the private network of these records; none: it is an open one, in which nothing is signed.
    fn roster(&self) -> Option<&Roster> {
        None
    }

    /// Whether there is no space for more: peers are told, and hold back what would be refused.
    fn is_full(&mut self) -> bool {
        false
    }

    /// The items of all held records, in any order. Costs 32 bytes per record; used only in the last fallback.
    ///
    /// # Errors
    /// When they cannot be read.
    fn items(&mut self) -> Result<Vec<Item>, Self::Error>;

    /// The held versions of all keys with this hash: nearly always one or none, of which up to `limit` are returned.
    ///
    /// # Errors
    /// When they cannot be read.
    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, Self::Error>;

    /// The next records after a place, in the order of the change sequence: from the first one if no place is given, or one
    /// that this store does not know. The work is bounded by the limit, however many records follow.
    ///
    /// # Errors
    /// When they cannot be read.
    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, Self::Error>;

    /// How far a bulk from that store has come, as saved by [`apply`](Self::apply). Losing it only costs work.
    ///
    /// # Errors
    /// When it cannot be read.
    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, Self::Error>;

    /// Merges received records, and saves, in the same transaction, how far the bulk from `source` has come, unless some of
    /// them were refused. They are durable, and in the summary, when this returns; those of a bulk when this store is
    /// [settled](Self::settle), or earlier. A bulk of which something was lost on the way fails at its next page.
    ///
    /// # Errors
    /// If the store fails, or no more of a bulk is wanted; nothing has changed then.
    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, Self::Error>;

    /// Makes everything that was [applied](Self::apply) so far durable, and part of the summary. Called before the state of the store
    /// is told to a peer. If it fails, what was not durable is gone, and the summary says so.
    fn settle(&mut self) {}
}
