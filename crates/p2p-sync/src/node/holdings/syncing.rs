//! The records of a node as its sync sessions see them. How they change is written in `holdings`.

use std::sync::OnceLock;

use p2p_sync_core::Record;
use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{Applied, Page, PageLimit, Position, StoreId, SyncStore};

use super::{Holdings, NodeError, no_room};

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
        let merged = self.transact(|holdings| {
            let merged = holdings.merge(records)?;
            if let Some((source, position)) = progress
                && holdings.room.keeps_position(source, &merged)
            {
                holdings.store.keep_position(source, position)?;
            }
            Ok(merged)
        });
        let merged = merged.inspect_err(|error| self.refused.no_room += no_room(records, error))?;
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
