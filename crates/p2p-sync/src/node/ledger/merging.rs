//! Merges received records into the store, even over damaged rows and when there is no space.
//! [`versions`](p2p_sync_core::versions) decides which are held.

use p2p_sync_core::membership::SignedRecords;
use p2p_sync_core::replica::Received;
use p2p_sync_core::sync::cost;
use p2p_sync_core::versions::{Merge, Versions};
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
        (records, is_bulk): (&[Record], bool),
        now: Now,
        committed: &mut Committed,
    ) -> Result<Merged, NodeError> {
        if records.is_empty() {
            return Ok(Merged::default());
        }
        let mut merged = Merged::default();
        let admitted = self.admit(records, &mut merged);
        let records = admitted.as_deref().unwrap_or(records);
        let room = self.room.ask(&self.store, records, now.uptime);
        // One that is not new is mostly followed by others: they come again.
        let mut is_new = is_bulk;
        for record in records {
            match self.over_damage(|open| open.receive(record, room, is_new)) {
                Ok(None) => merged.refused.no_room += 1,
                Ok(Some(received)) => {
                    is_new &= received.merged.merge.stores_incoming();
                    note(&received, (via, record), records, (committed, &mut merged));
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

    /// In a private network, those of the records that count, with their signatures verified: once more, if that was done on the way
    /// here, which costs a comparison then. None in an open one.
    fn admit(&self, records: &[Record], merged: &mut Merged) -> Option<Vec<Record>> {
        let roster = self.store.roster()?;
        let mut records = records.to_vec();
        if let Err(wrong) = SignedRecords::of(roster.network()).verify_all(&mut records) {
            merged.refused.bad_signature += wrong.places.len() as u64;
            for place in wrong.places.into_iter().rev() {
                records.remove(place);
            }
        }
        let uncounted = roster.leave_out(&mut records);
        merged.refused.not_permitted += uncounted.total();
        Some(records)
    }

    /// Merges one record. None when it is to be held, and there is no room for it.
    fn receive(&mut self, record: &Record, room: Room, is_new: bool) -> Result<Option<Received>, NodeError> {
        if room != Room::Enough {
            let before = self.store.versions(&record.key)?;
            let mut after = before.clone();
            let all = |versions: &Versions| versions.all().iter().map(cost).sum::<usize>();
            if after.merge(record).merge.stores_incoming() && all(&after) > all(&before) {
                return Ok(None);
            }
        }
        Ok(Some(if is_new {
            self.replica.receive_new(&mut self.store, record)?
        } else {
            self.replica.receive(&mut self.store, record)?
        }))
    }
}

/// Takes note of what became of a record, one of several that came together.
fn note(
    received: &Received,
    (via, record): (Via, &Record),
    together: &[Record],
    (committed, merged): (&mut Committed, &mut Merged),
) {
    let Received { merged: did, held } = received;
    let beyond_bound = did.dropped as u64 + u64::from(did.merge == Merge::BeyondBound);
    if beyond_bound > 0 {
        merged.refused.beyond_bound += beyond_bound;
        committed.crowded = Some(record.key.clone());
    }
    if let Some(last) = did.folded.last() {
        merged.refused.folded += did.folded.len() as u64;
        committed.folded = Some(last.clone());
    }
    if did.merge.stores_incoming() {
        merged.changed += 1;
        let record = record.clone();
        committed.changes.push(Change { via, record });
    }
    // Of equal contents, nobody need choose one.
    if did.merge.is_new_conflict() && held.shown().next().is_some() {
        committed.conflicts += 1;
    }
    let is_alone = matches!(held.all(), [only] if only == record);
    if matches!(via, Via::Session { .. }) && !is_alone {
        committed.survived.extend(held.survivors(together));
    }
}
