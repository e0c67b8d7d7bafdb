//! Credit: how many records may be in flight. The sender counts down what it sends; the receiver counts what arrives, and
//! returns credit as it processes records.

use super::outcome::Violation;
use super::page::cost;
use super::store::PageLimit;
use super::wire::Frame;
use crate::limits::{
    KEY_BYTES_MAX, SYNC_CREDIT_BYTES, SYNC_CREDIT_RECORDS, SYNC_RECORD_OVERHEAD_BYTES, VALUE_BYTES_MAX,
};
use crate::record::Record;

/// What a sender may send before it gets more credit.
const FULL: PageLimit = PageLimit {
    records: SYNC_CREDIT_RECORDS,
    bytes: SYNC_CREDIT_BYTES,
};
/// The most that a single record can cost: with less credit than this, nothing is sent.
const RECORD_COST_MAX: usize = KEY_BYTES_MAX + VALUE_BYTES_MAX + SYNC_RECORD_OVERHEAD_BYTES;

/// The sender's side.
pub(super) struct Credit(PageLimit);

impl Credit {
    pub(super) fn new() -> Self {
        Self(FULL)
    }

    /// How much the next page may hold; none if the credit is too low for the largest record.
    pub(super) fn page_limit(&self) -> Option<PageLimit> {
        (self.0.records > 0 && self.0.bytes >= RECORD_COST_MAX).then(|| PageLimit {
            records: self.0.records.min(PageLimit::FULL.records),
            bytes: self.0.bytes.min(PageLimit::FULL.bytes),
        })
    }

    /// A page with these records is sent.
    pub(super) fn charge(&mut self, records: &[Record]) {
        self.0.records = self.0.records.saturating_sub(records.len());
        self.0.bytes = self.0.bytes.saturating_sub(records.iter().map(cost).sum());
    }

    /// The receiver returns credit; never more than there was at first, whatever it says.
    pub(super) fn add(&mut self, bytes: u32, records: u32) {
        self.0.bytes = self.0.bytes.saturating_add(bytes as usize).min(FULL.bytes);
        self.0.records = self.0.records.saturating_add(records as usize).min(FULL.records);
    }
}

/// The receiver's side.
pub(super) struct Allowance {
    /// What the sender may still send with the credit that it has been given.
    left: PageLimit,
    /// The cost of what has been processed and not yet returned.
    taken_in: PageLimit,
}

impl Allowance {
    pub(super) fn new() -> Self {
        Self {
            left: FULL,
            taken_in: PageLimit { records: 0, bytes: 0 },
        }
    }

    /// These records arrived.
    pub(super) fn charge(&mut self, records: &[Record]) -> Result<(), Violation> {
        let bytes: usize = records.iter().map(cost).sum();
        let bytes_left = self.left.bytes.checked_sub(bytes);
        let records_left = self.left.records.checked_sub(records.len());
        let left = bytes_left.zip(records_left);
        let (bytes_left, records_left) = left.ok_or(Violation("sends more than its credit allows"))?;
        self.left = PageLimit {
            bytes: bytes_left,
            records: records_left,
        };
        self.taken_in.bytes += bytes;
        self.taken_in.records += records.len();
        Ok(())
    }

    /// The credit to return to the sender now. Credit is returned in halves, so that a short session needs none.
    pub(super) fn next_frame(&mut self) -> Option<Frame> {
        if self.taken_in.bytes * 2 < FULL.bytes && self.taken_in.records * 2 < FULL.records {
            return None;
        }
        let PageLimit { records, bytes } = std::mem::replace(&mut self.taken_in, PageLimit { records: 0, bytes: 0 });
        self.left.bytes += bytes;
        self.left.records += records;
        Some(Frame::Credit {
            // Both are at most the full credit, far below 4 billion.
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            records: u32::try_from(records).unwrap_or(u32::MAX),
        })
    }
}
