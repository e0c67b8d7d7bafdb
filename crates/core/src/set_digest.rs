//! The set digest: 32 bytes that tell whether two sets of items are equal, updated with every change.
//!
//! It is LtHash (Bellare, Micciancio 1997; Lewi and others 2019) with 1,024 lanes of 16 bits: each item is stretched to
//! 2,048 bytes by BLAKE3's extended output, and these are added lane by lane, so that the order does not matter and an item
//! can be removed again. Finding two sets with the same digest is as hard as a lattice problem of that size; the XOR of
//! hashes, which would be cheaper, can be forged by linear algebra.

use crate::item::Item;

/// Lanes of the sum.
const LANES: usize = 1_024;
/// The same in bytes.
pub(crate) const STATE_BYTES: usize = LANES * 2;

/// The BLAKE3 key that stretches items. It must never change: the sums are stored.
const STRETCH_KEY: &[u8; 32] = b"p2p-sync set digest: one element";
/// The BLAKE3 key that shortens the sum.
const SHORTEN_KEY: &[u8; 32] = b"p2p-sync set digest: whole sum. ";

/// 32 bytes that two sets share only if they are equal.
pub type SetDigestValue = [u8; 32];

/// The running sum over a set of items.
#[derive(Clone, PartialEq, Eq)]
pub struct SetDigest {
    lanes: Box<[u16; LANES]>,
}

impl std::fmt::Debug for SetDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SetDigest").field(&self.value()).finish()
    }
}

impl Default for SetDigest {
    fn default() -> Self {
        Self::new()
    }
}

impl SetDigest {
    /// The sum of the empty set.
    pub fn new() -> Self {
        Self {
            lanes: Box::new([0; LANES]),
        }
    }

    /// Adds an item that is not in the set.
    pub fn insert(&mut self, item: &Item) {
        self.combine(item, u16::wrapping_add);
    }

    /// Removes an item that is in the set.
    pub fn remove(&mut self, item: &Item) {
        self.combine(item, u16::wrapping_sub);
    }

    /// Adds the sum of other items.
    pub(crate) fn add(&mut self, other: &Self) {
        for (lane, number) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *lane = lane.wrapping_add(*number);
        }
    }

    /// The sum, shortened to 32 bytes.
    pub fn value(&self) -> SetDigestValue {
        *blake3::keyed_hash(SHORTEN_KEY, &self.to_bytes()).as_bytes()
    }

    pub(crate) fn to_bytes(&self) -> [u8; STATE_BYTES] {
        let mut bytes = [0; STATE_BYTES];
        for (pair, lane) in bytes.chunks_exact_mut(2).zip(self.lanes.iter()) {
            pair.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; STATE_BYTES]) -> Self {
        let mut digest = Self::new();
        for (lane, number) in digest.lanes.iter_mut().zip(numbers(bytes)) {
            *lane = number;
        }
        digest
    }

    fn combine(&mut self, item: &Item, operation: impl Fn(u16, u16) -> u16) {
        let mut stretched = [0; STATE_BYTES];
        blake3::Hasher::new_keyed(STRETCH_KEY)
            .update(&item.to_bytes())
            .finalize_xof()
            .fill(&mut stretched);
        for (lane, number) in self.lanes.iter_mut().zip(numbers(&stretched)) {
            *lane = operation(*lane, number);
        }
    }
}

/// Pairs of bytes as numbers, in little-endian order.
fn numbers(bytes: &[u8; STATE_BYTES]) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u8) -> Item {
        Item::from_bytes(&[number; 32])
    }

    fn hex(bytes: &[u8]) -> String {
        data_encoding::HEXLOWER.encode(bytes)
    }

    #[test]
    fn values_are_pinned() {
        let mut digest = SetDigest::new();
        assert_eq!(
            hex(&digest.value()),
            "f40c1d0d9b527732e9ffc77ca7a0fab351d53df83fd55627d5d2791291145eb5"
        );
        digest.insert(&item(1));
        assert_eq!(
            hex(&digest.value()),
            "afab4f86a73f311cd2f7cdb39e2bd35e668f45b5f694e6cdff0384e2aac5189a"
        );
        digest.insert(&item(2));
        assert_eq!(
            hex(&digest.value()),
            "2cff554f2249e6afef00356dd8d309c6718ea20f5dca6eca298e7196b77931e2"
        );
    }

    #[test]
    fn order_does_not_matter_and_removing_undoes() {
        let mut forth = SetDigest::new();
        let mut back = SetDigest::new();
        for number in 0..20 {
            forth.insert(&item(number));
            back.insert(&item(19 - number));
        }
        assert_eq!(forth, back);
        for number in 0..20 {
            forth.remove(&item(number));
            assert_ne!(forth, back);
        }
        assert_eq!(forth, SetDigest::new());
        assert_eq!(SetDigest::from_bytes(&back.to_bytes()), back);
    }
}
