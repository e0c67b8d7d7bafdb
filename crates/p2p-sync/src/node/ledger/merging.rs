//! Merges received records into the store, even over damaged rows and when there is no space.
//! [`record`](p2p_sync_core::record) decides which version wins.

use p2p_sync_core::record::merge;
use p2p_sync_core::replica::Received;
use p2p_sync_core::sync::cost;
use p2p_sync_core::{Record, Via};

use super::entry::{Change, Committed, Merged};
use super::{NodeError, Open};
use crate::store::Room;
use crate::system::Now;

impl Open<'_> {
    /// Merges received records. What meets a damaged row that cannot be taken out now is left for the check that does it.
    pub(super) fn merge(
        &mut self,
        via: Via,
        records: &[Record],
        now: Now,
        committed: &mut Committed,
    ) -> Result<Merged, NodeError> {
        if records.is_empty() {
            return Ok(Merged::default());
        }
        let room = self.room.ask(&self.store, records, now.uptime);
        let mut merged = Merged::default();
        for record in records {
            match self.over_damage(|open| open.receive(record, room)) {
                Ok(None) => merged.refused.no_room += 1,
                Ok(Some(received)) => {
                    if let Some(lost) = received.lost.filter(|_| room == Room::Enough) {
                        self.store.keep_conflict(&lost, now.time)?;
                        committed.lost += 1;
                    }
                    if received.merge.stores_incoming() {
                        let record = record.clone();
                        committed.changes.push(Change { via, record });
                        merged.changed += 1;
                    }
                }
                Err(NodeError::Store(error)) if error.is_one_record() => {
                    merged.refused.damaged += 1;
                    self.store.note_damaged_record();
                    tracing::debug!("cannot store a change: {error}");
                }
                Err(error) => return Err(error),
            }
        }
        committed.refused.add(merged.refused);
        Ok(merged)
    }

    /// Merges one record. None when it wins, and there is no room for it.
    fn receive(&mut self, record: &Record, room: Room) -> Result<Option<Received>, NodeError> {
        if room != Room::Enough {
            let held = self.store.get(&record.key)?;
            let takes_no_more = |held: &Record| cost(record) <= cost(held);
            let fits = held.as_ref().is_some_and(takes_no_more);
            if !fits && merge(held.as_ref(), record).stores_incoming() {
                return Ok(None);
            }
        }
        Ok(Some(self.replica.receive(&mut self.store, record)?))
    }
}
