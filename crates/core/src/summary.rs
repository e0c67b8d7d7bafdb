//! What a node knows about its whole set of records without reading them: their number, the sketch, and the set digest,
//! always of the same moment. The store reports every change to it after the commit, and can save and reload it; the store
//! must know whether a saved one still matches the records.

use crate::item::{Item, SHORT_ITEM_BYTES, ShortItem};
use crate::set_digest::{STATE_BYTES, SetDigest, SetDigestValue};
use crate::sketch::{Cell, Reconciler, SKETCH_CELLS, Sketch};

/// Sketch and set digest of one set: 2.6 MB, whatever the number of records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    sketch: Sketch,
    digest: SetDigest,
}

/// A saved summary that cannot be used: truncated, damaged, or of another version. Rebuild it from the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the saved summary is damaged or has another version")]
pub struct InvalidSummary;

/// The version of the saved form. A different mapping of items to cells needs another version.
const KEPT_VERSION: u8 = 2;
const CELL_BYTES: usize = SHORT_ITEM_BYTES + CHECK_BYTES + 8;
const CHECK_BYTES: usize = 4;
const CHECKSUM_BYTES: usize = 32;
/// Length of the saved form.
pub const SUMMARY_BYTES: usize = 1 + STATE_BYTES + SKETCH_CELLS * CELL_BYTES + CHECKSUM_BYTES;

impl Summary {
    /// The summary of no records.
    pub fn new() -> Self {
        Self::default()
    }

    /// The summary of the records with these items, each given once.
    pub fn of(items: impl IntoIterator<Item = Item>) -> Self {
        let mut summary = Self::new();
        for item in items {
            summary.inserted(&item);
        }
        summary
    }

    /// Notes that a record was stored under a key that had none.
    pub fn inserted(&mut self, new: &Item) {
        self.sketch.insert(new);
        self.digest.insert(new);
    }

    /// Notes that a record replaced an older one.
    pub fn replaced(&mut self, old: &Item, new: &Item) {
        self.removed(old);
        self.inserted(new);
    }

    /// Notes that a record was removed without a replacement.
    pub fn removed(&mut self, old: &Item) {
        self.sketch.remove(old);
        self.digest.remove(old);
    }

    /// Adds another summary: of other records, or of the changes since this one was taken, with replaced records counted
    /// negative. So a summary can be rebuilt from a snapshot of the records while they change.
    pub fn add(&mut self, other: &Self) {
        self.sketch.add(&other.sketch);
        self.digest.add(&other.digest);
    }

    /// How many records there are, deletions included.
    pub fn count(&self) -> u64 {
        self.sketch.count()
    }

    /// The set digest. Costs a few microseconds.
    pub fn digest(&self) -> SetDigestValue {
        self.digest.value()
    }

    /// The sketch.
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// The saved form, [`SUMMARY_BYTES`] bytes: version, set digest, cells, checksum.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SUMMARY_BYTES);
        bytes.push(KEPT_VERSION);
        bytes.extend_from_slice(&self.digest.to_bytes());
        for cell in self.sketch.pieces(SKETCH_CELLS) {
            bytes.extend_from_slice(&cell.items.to_bytes());
            bytes.extend_from_slice(&cell.checks.to_le_bytes());
            bytes.extend_from_slice(&cell.count.to_le_bytes());
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Reads the saved form.
    ///
    /// # Errors
    /// If a single bit of it is wrong, or another version saved it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidSummary> {
        if bytes.len() != SUMMARY_BYTES {
            return Err(InvalidSummary);
        }
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(InvalidSummary)?;
        if blake3::hash(content) != *checksum {
            return Err(InvalidSummary);
        }
        let content = content.strip_prefix(&[KEPT_VERSION]).ok_or(InvalidSummary)?;
        let (digest, cells) = content.split_first_chunk::<STATE_BYTES>().ok_or(InvalidSummary)?;
        let (cells, _) = cells.as_chunks::<CELL_BYTES>();
        Ok(Self {
            sketch: Sketch::from_cells(cells.iter().map(read_cell).collect()).ok_or(InvalidSummary)?,
            digest: SetDigest::from_bytes(digest),
        })
    }
}

fn read_cell(bytes: &[u8; CELL_BYTES]) -> Cell {
    let (mut item, mut checks, mut count) = ([0; SHORT_ITEM_BYTES], [0; CHECK_BYTES], [0; 8]);
    let (items, rest) = bytes.split_at(SHORT_ITEM_BYTES);
    let (check, number) = rest.split_at(CHECK_BYTES);
    item.copy_from_slice(items);
    checks.copy_from_slice(check);
    count.copy_from_slice(number);
    Cell {
        items: ShortItem::from_bytes(&item),
        checks: u32::from_le_bytes(checks),
        count: i64::from_le_bytes(count),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(key: u8, version: u8) -> Item {
        Item::from_bytes(blake3::hash(&[key, version]).as_bytes())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_changes_equal_a_rebuild(changes in prop::collection::vec((0..30_u8, any::<u8>()), 0..200)) {
            let mut held = std::collections::BTreeMap::new();
            let mut summary = Summary::new();
            for (key, version) in changes {
                let new = item(key, version);
                match held.insert(key, new) {
                    Some(old) => summary.replaced(&old, &new),
                    None => summary.inserted(&new),
                }
            }
            prop_assert_eq!(summary.count(), held.len() as u64);
            prop_assert!(summary == Summary::of(held.into_values()));
        }
    }

    #[test]
    fn what_is_taken_out_again_was_never_there() {
        let mut summary = Summary::of([item(1, 0), item(2, 0)]);
        summary.removed(&item(1, 0));
        assert!(summary == Summary::of([item(2, 0)]));
        summary.removed(&item(2, 0));
        assert!(summary == Summary::new());
    }

    #[test]
    fn a_snapshot_and_the_changes_since_give_the_whole() {
        let (old, new) = (item(1, 0), item(1, 1));
        let mut snapshot = Summary::of([old, item(2, 0)]);
        let mut since = Summary::new();
        since.replaced(&old, &new);
        since.inserted(&item(3, 0));
        snapshot.add(&since);
        assert!(snapshot == Summary::of([new, item(2, 0), item(3, 0)]));
    }

    #[test]
    fn what_is_kept_is_read_back_and_damage_is_noticed() {
        let summary = Summary::of((0..50).map(|key| item(key, 0)));
        let bytes = summary.to_bytes();
        assert_eq!(bytes.len(), SUMMARY_BYTES);
        assert!(Summary::from_bytes(&bytes).unwrap() == summary);
        for place in [0, 1, 5_000, SUMMARY_BYTES - 1] {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x10;
            assert_eq!(Summary::from_bytes(&damaged), Err(InvalidSummary), "byte {place}");
        }
        for length in [0, 1, 100, SUMMARY_BYTES - 1] {
            assert_eq!(Summary::from_bytes(&bytes[..length]), Err(InvalidSummary));
        }
        let mut other_version = bytes;
        other_version[0] = KEPT_VERSION + 1;
        let length = SUMMARY_BYTES - CHECKSUM_BYTES;
        let checksum = blake3::hash(&other_version[..length]);
        other_version[length..].copy_from_slice(checksum.as_bytes());
        assert_eq!(Summary::from_bytes(&other_version), Err(InvalidSummary));
    }
}
