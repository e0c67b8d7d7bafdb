//! The records of a node as its sync sessions see them. How they change is written in `holdings`.

use std::sync::OnceLock;

use p2p_sync_core::Record;
use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{Applied, Page, PageLimit, Position, StoreId, SyncStore};

use super::{Holdings, Merged, NodeError, no_room};

impl SyncStore for Holdings {
    type Error = NodeError;

    fn id(&self) -> StoreId {
        self.store.id()
    }

    /// That of nothing while there is none: no session is begun then, and those that were under way find no records.
    fn summary(&self) -> &Summary {
        static NOTHING: OnceLock<Summary> = OnceLock::new();
        self.store
            .summary()
            .unwrap_or_else(|| NOTHING.get_or_init(Summary::new))
    }

    fn is_full(&mut self) -> bool {
        Self::is_full(self)
    }

    fn items(&mut self) -> Result<Vec<Item>, NodeError> {
        let found = self.store.items().map_err(NodeError::from);
        self.noted(found)
    }

    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, NodeError> {
        let found = self.store.by_key_hash(key_hash, limit).map_err(NodeError::from);
        self.noted(found)
    }

    fn page(&mut self, after: Option<&Position>, limit: PageLimit) -> Result<Page, NodeError> {
        let found = self.store.page_by_time(after, limit).map_err(NodeError::from);
        self.noted(found)
    }

    fn position(&mut self, source: StoreId) -> Result<Option<Position>, NodeError> {
        if let Some(passed) = self.room.bulk_begins(source) {
            return Ok(Some(passed));
        }
        let found = self.store.position(source).map_err(NodeError::from);
        self.noted(found)
    }

    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, &Position)>) -> Result<Applied, NodeError> {
        // Where room is short, in several transactions: the log of one must have room.
        let part = self.room.part(&self.store, records);
        let mut merged = Merged::default();
        let mut left = records;
        loop {
            let (some, rest) = left.split_at_checked(part).unwrap_or((left, &[]));
            left = rest;
            let progress = progress.filter(|_| left.is_empty());
            let more = self.transact_in_room(&mut |holdings| {
                let more = holdings.merge(some)?;
                if let Some((source, position)) = progress
                    && merged.refused.no_room == 0
                    && holdings.room.keeps_position(source, &more)
                {
                    holdings.store.keep_position(source, position)?;
                }
                Ok(more)
            });
            merged.add(more.inspect_err(|error| self.refused.no_room += no_room(some, error))?);
            if left.is_empty() {
                break;
            }
        }
        self.note(&merged);
        if let Some((source, position)) = progress {
            self.room.note_page(source, position, &merged)?;
        }
        Ok(Applied {
            changed: merged.stored.len() as u64,
            refused: merged.refused.total(),
        })
    }
}
