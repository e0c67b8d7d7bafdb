//! The records of a node, as its sync sessions with one peer see them.

use std::borrow::BorrowMut;
use std::sync::OnceLock;

use p2p_sync_core::item::{Item, KeyHash};
use p2p_sync_core::membership::Roster;
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::{Applied, Page, PageLimit, StoreId, SyncStore};
use p2p_sync_core::{NodeId, Record, Via};

use super::entry::{Committed, Done, Entry, Merged};
use super::{Ledger, NodeError};
use crate::system::Now;

/// A ledger, or a borrowed one, as the sessions with one peer see it: what they bring is noted as having come from that peer.
#[derive(Debug)]
pub struct PeerView<L> {
    ledger: L,
    via: Via,
    now: Now,
}

impl<L: BorrowMut<Ledger>> PeerView<L> {
    /// The ledger for the sessions with `neighbour`, at this moment.
    pub fn new(ledger: L, neighbour: NodeId, now: Now) -> Self {
        let via = Via::Session { neighbour };
        Self { ledger, via, now }
    }

    /// The ledger itself.
    pub fn ledger(&mut self) -> &mut Ledger {
        self.ledger.borrow_mut()
    }
}

impl<L: BorrowMut<Ledger>> SyncStore for PeerView<L> {
    type Error = NodeError;

    fn id(&self) -> StoreId {
        self.ledger.borrow().store.id()
    }

    /// That of nothing while there is none: no session is begun then, and those that were under way find no records.
    fn summary(&self) -> &Summary {
        static NOTHING: OnceLock<Summary> = OnceLock::new();
        let summary = self.ledger.borrow().store.summary();
        summary.unwrap_or_else(|| NOTHING.get_or_init(Summary::new))
    }

    fn roster(&self) -> Option<&Roster> {
        self.ledger.borrow().store.roster().map(|roster| &**roster)
    }

    fn is_full(&mut self) -> bool {
        let now = self.now;
        self.ledger().is_full(now)
    }

    fn items(&mut self) -> Result<Vec<Item>, NodeError> {
        let ledger = self.ledger();
        let found = ledger.store.items().map_err(NodeError::from);
        ledger.noted(found)
    }

    fn by_key_hash(&mut self, key_hash: KeyHash, limit: usize) -> Result<Vec<Record>, NodeError> {
        let ledger = self.ledger();
        let found = ledger.store.by_key_hash(key_hash, limit).map_err(NodeError::from);
        ledger.noted(found)
    }

    fn page(&mut self, after: Option<Cursor>, limit: PageLimit) -> Result<Page, NodeError> {
        let ledger = self.ledger();
        let found = ledger.store.page(after, limit).map_err(NodeError::from);
        ledger.noted(found)
    }

    fn settle(&mut self) {
        self.ledger().settle();
    }

    fn position(&mut self, source: StoreId) -> Result<Option<Cursor>, NodeError> {
        let ledger = self.ledger();
        ledger.begin_bulk();
        if let Some(passed) = ledger.room.bulk_begins(source) {
            return Ok(Some(passed));
        }
        let found = ledger.store.position(source).map_err(NodeError::from);
        ledger.noted(found)
    }

    fn apply(&mut self, records: &[Record], progress: Option<(StoreId, Cursor)>) -> Result<Applied, NodeError> {
        let (via, now) = (self.via, self.now);
        self.ledger().apply_page(via, records, progress, now)
    }
}

impl Ledger {
    /// Merges a page of a session. Where room is short, in several transactions: the log of one must have room.
    fn apply_page(
        &mut self,
        via: Via,
        records: &[Record],
        progress: Option<(StoreId, Cursor)>,
        now: Now,
    ) -> Result<Applied, NodeError> {
        let part = self.room.part(&self.store, records);
        if let Some(bulk) = progress {
            self.check_bulk()?;
            if part >= records.len() && self.may_hold() {
                return self.hold_page(via, records, bulk, now);
            }
        }
        let (mut merged, mut survived, mut left) = (Merged::default(), Vec::new(), records);
        loop {
            let (records, rest) = left.split_at_checked(part).unwrap_or((left, &[]));
            left = rest;
            // The place is kept with the last part, and only if nothing before it was refused.
            let reached = progress.filter(|_| left.is_empty() && merged.refused.no_room == 0);
            let mut committed = self.commit(&[Entry::Receive { via, records, reached }], now);
            let done = committed.done.pop();
            survived.append(&mut committed.survived);
            self.committed.extend(committed);
            match done {
                Some(Ok(Done::Received(more))) => {
                    merged.changed += more.changed;
                    merged.refused.add(more.refused);
                }
                Some(Err(error)) => return Err(error),
                _ => {}
            }
            if left.is_empty() {
                break;
            }
        }
        if let Some((source, position)) = progress {
            self.room.note_page(source, position, merged)?;
        }
        survived.sort_unstable();
        survived.dedup();
        Ok(Applied {
            changed: merged.changed,
            refused: merged.refused.total(),
            survived,
        })
    }

    /// What the sessions committed since this was last asked, to be told to whoever listens.
    pub fn take_committed(&mut self) -> Committed {
        std::mem::take(&mut self.committed)
    }
}
