//! The list that a [`Statement::Keep`] stands for: which records of a device that may not write any longer count.

use super::entry::Statement;
use crate::limits::KEEP_LIST_ITEMS_MAX;

/// Bytes of a list's item.
pub const LIST_ITEM_BYTES: usize = 16;

/// The list's items, in ascending order. An item is BLAKE3, keyed with BLAKE3 over the salt, over a record's digest, its first 16
/// bytes: the salt is drawn at the removal, so nobody can have prepared two records of one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeepList {
    key: [u8; 32],
    items: Vec<[u8; LIST_ITEM_BYTES]>,
}

/// A list that is not the one its [`Statement::Keep`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the list that the entry stands for")]
pub struct OtherList;

impl KeepList {
    /// The list of these records, by their [digests](crate::record::Record::digest). More than [`KEEP_LIST_ITEMS_MAX`] make
    /// a list that nobody accepts.
    pub fn of<'a>(salt: &[u8; 16], digests: impl IntoIterator<Item = &'a [u8; 32]>) -> Self {
        let key = key(salt);
        let mut items: Vec<_> = digests.into_iter().map(|digest| item(&key, digest)).collect();
        items.sort_unstable();
        items.dedup();
        Self { key, items }
    }

    /// The list in these bytes, if it is the one that `keep` stands for.
    ///
    /// # Errors
    /// When it is not.
    pub fn from_bytes(keep: &Statement, bytes: &[u8]) -> Result<Self, OtherList> {
        let Statement::Keep { salt, count, list, .. } = keep else {
            return Err(OtherList);
        };
        let (items, rest) = bytes.as_chunks::<LIST_ITEM_BYTES>();
        let fits = rest.is_empty()
            && items.len() <= KEEP_LIST_ITEMS_MAX
            && items.len() as u64 == *count
            && items.is_sorted_by(|one, next| one < next);
        if !fits || blake3::hash(bytes).as_bytes() != list {
            return Err(OtherList);
        }
        Ok(Self {
            key: key(salt),
            items: items.to_vec(),
        })
    }

    /// Its bytes: the items, one behind the other.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.items.concat()
    }

    /// At most so many items from one on, as bytes.
    pub fn part(&self, from: u64, items_max: usize) -> Vec<u8> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let items = self.items.get(from..).unwrap_or_default();
        items.iter().take(items_max).flatten().copied().collect()
    }

    /// How many records it names.
    pub fn count(&self) -> u64 {
        self.items.len() as u64
    }

    /// BLAKE3 over its bytes, as a [`Statement::Keep`] has it.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.to_bytes()).as_bytes()
    }

    /// Whether it names the record with this digest.
    pub fn names(&self, digest: &[u8; 32]) -> bool {
        self.items.binary_search(&item(&self.key, digest)).is_ok()
    }
}

fn key(salt: &[u8; 16]) -> [u8; 32] {
    *blake3::hash(salt).as_bytes()
}

fn item(key: &[u8; 32], digest: &[u8; 32]) -> [u8; LIST_ITEM_BYTES] {
    let mut item = [0; LIST_ITEM_BYTES];
    blake3::Hasher::new_keyed(key)
        .update(digest)
        .finalize_xof()
        .fill(&mut item);
    item
}
