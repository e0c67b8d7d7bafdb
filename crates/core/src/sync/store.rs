//! What a sync asks of the records of its node. It never decides which version wins: received records take the one way
//! in that all records take, behind [`SyncStore::apply`].

use crate::item::{Item, KeyHash};
use crate::limits::{SYNC_PAGE_BYTES_MAX, SYNC_PAGE_RECORDS_MAX};
use crate::record::Record;
use crate::sequence::Cursor;
use crate::summary::Summary;
use crate::sync::wire::StoreId;

/// How much one page may hold.
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

/// Records in the order of the store's [change sequence](crate::sequence), and how far the store has looked for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The records. There may be none although more follow, where a store has long looked in vain for one that it can
    /// hand on.
    pub records: Vec<Record>,
    /// The place behind which the next page begins; none only when there is nothing more, and no record in this page.
    pub reached: Option<Cursor>,
}

/// What came of a page of received records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Records that won, and are held now.
    pub changed: u64,
    /// Records that won, or may have, but were not taken, because there is no room for them. The others of the page were.
    pub refused: u64,
}

/// The records of a node, as a sync sees them. One session uses it at a time, from one call to the next; between calls
/// anything may change.
pub trait SyncStore {
    /// What can go wrong.
    type Error;

    /// The name of this store: drawn once when it was made.
    fn id(&self) -> StoreId;

    /// The summary of everything that is held now, what is committed and nothing else.
    fn summary(&self) -> &Summary;

    /// Whether there is no room for more than what is held: peers are told, and keep what would be refused.
    fn is_full(&mut self) -> bool {
        false
    }

    /// The items of all records held now, in any order. Costs 32 bytes a record; asked in the last fallback only.
    ///
    /// # Errors
    /// When they cannot be read.
    fn items(&mut self) -> Result<Vec<Item>, Self::Error>;

    /// The records now held of all keys with this hash: one, or none, or with a collision several, of which up to
    /// `limit` are given.
    ///
    /// # Errors
    /// When they cannot be read.
    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, Self::Error>;

    /// The next records behind a place, in the order of the change sequence: from the first one if none is given, or one that
    /// this store does not know. The work is bounded by the limit, whatever lies behind the place.
    ///
    /// # Errors
    /// When they cannot be read.
    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, Self::Error>;

    /// How far a bulk from that store has come, as kept by [`apply`](Self::apply). Forgetting it costs work only.
    ///
    /// # Errors
    /// When it cannot be read.
    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, Self::Error>;

    /// Merges received records, and keeps, in the same transaction, how far the bulk from `source` has come, unless some of
    /// them were refused. They are durable, and in the summary, when this returns.
    ///
    /// # Errors
    /// When the store fails, or no more of a bulk is wanted; nothing happened then.
    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, Self::Error>;
}
