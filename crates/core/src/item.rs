//! Items: what represents a record in the sketch and the set digest. An item identifies the key, the time of the write and,
//! by a digest, the exact content; it never contains the key or the value.

use std::ops::BitXorAssign;

use crate::record::{Key, Record};
use crate::time::Timestamp;

/// Bytes of an item.
pub const ITEM_BYTES: usize = 32;
/// Bytes of an item in a sketch.
pub const SHORT_ITEM_BYTES: usize = 24;

/// 64 bits of the BLAKE3 hash of a key. Two keys may share one, by chance or on purpose, so a lookup by key hash may find
/// several records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(u64);

impl KeyHash {
    /// The hash of a key.
    pub fn of(key: &Key) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = *blake3::hash(key.as_str().as_bytes()).as_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }

    /// From the number that [`bits`](Self::bits) gave.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The hash as a number.
    pub fn bits(self) -> u64 {
        self.0
    }
}

/// Represents one record: key hash, timestamp, and 128 bits of the record's digest, as four numbers. Any 32 bytes are an
/// item, because peeled sketches come from a peer; its parts mean nothing until looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Item([u64; 4]);

impl Item {
    /// The item of a record.
    pub fn of(record: &Record) -> Self {
        let digest = record.digest();
        let (digest, _) = digest.split_at(16);
        let mut halves = digest.chunks_exact(8).map(read_u64);
        let (first, second) = (halves.next().unwrap_or(0), halves.next().unwrap_or(0));
        Self::from_parts(KeyHash::of(&record.key), record.timestamp, [first, second])
    }

    /// From its parts; `digest` is the first 128 bits of the record's digest, in little-endian order.
    pub fn from_parts(key_hash: KeyHash, timestamp: Timestamp, digest: [u64; 2]) -> Self {
        let [first, second] = digest;
        Self([key_hash.bits(), timestamp.as_nanos().unsigned_abs(), first, second])
    }

    /// The hash of the record's key.
    pub fn key_hash(&self) -> KeyHash {
        let [key_hash, ..] = self.0;
        KeyHash(key_hash)
    }

    /// The record's timestamp in nanoseconds since the epoch; a peer may have put any number here.
    pub fn nanos(&self) -> u64 {
        let [_, nanos, ..] = self.0;
        nanos
    }

    /// The item as sketches know it.
    pub fn short(&self) -> ShortItem {
        let [key_hash, nanos, digest, _] = self.0;
        ShortItem([key_hash, nanos, digest])
    }

    /// Its bytes: the four numbers in little-endian order.
    pub fn to_bytes(&self) -> [u8; ITEM_BYTES] {
        let mut bytes = [0; ITEM_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8; ITEM_BYTES]) -> Self {
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = read_u64(chunk);
        }
        Self(words)
    }
}

/// An item without the second half of its digest: what sketches hold, and what a difference consists of. It is a quarter
/// shorter, and says as much about which records to move. Two records of one key and one nanosecond can be made to share one,
/// with 2^32 attempts; a sketch then does not tell them apart. The set digest does, and so do the ranges, which move them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShortItem([u64; 3]);

impl ShortItem {
    /// The hash of the record's key.
    pub fn key_hash(&self) -> KeyHash {
        let [key_hash, ..] = self.0;
        KeyHash(key_hash)
    }

    /// The record's timestamp in nanoseconds since the epoch; a peer may have put any number here.
    pub fn nanos(&self) -> u64 {
        let [_, nanos, _] = self.0;
        nanos
    }

    /// Its bytes: the three numbers in little-endian order.
    pub fn to_bytes(&self) -> [u8; SHORT_ITEM_BYTES] {
        let mut bytes = [0; SHORT_ITEM_BYTES];
        for (chunk, word) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8; SHORT_ITEM_BYTES]) -> Self {
        let mut words = [0; 3];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = read_u64(chunk);
        }
        Self(words)
    }
}

impl BitXorAssign for ShortItem {
    fn bitxor_assign(&mut self, other: Self) {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            *mine ^= other;
        }
    }
}

/// Eight bytes as a number in little-endian order; fewer count as followed by zeros.
fn read_u64(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, NodeId, Seen};

    #[test]
    fn an_item_is_pinned() {
        let record = Record {
            key: Key::new("hello").unwrap(),
            content: Content::Deleted,
            timestamp: Timestamp::from_nanos(0x0102_0304_0506_0708).unwrap(),
            author: NodeId::from_bytes(&[7; 38]).unwrap(),
            seen: Seen::NOTHING,
            signature: None,
        };
        let item = Item::of(&record);
        let bytes = item.to_bytes();
        assert_eq!(bytes[..8], blake3::hash(b"hello").as_bytes()[..8]);
        assert_eq!(bytes[8..16], [8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[16..], record.digest()[..16]);
        assert_eq!(Item::from_bytes(&bytes), item);
        assert_eq!(item.nanos(), 0x0102_0304_0506_0708);
        assert_eq!(item.key_hash(), KeyHash::of(&record.key));
        let short = item.short();
        assert_eq!(short.to_bytes(), bytes[..24]);
        assert_eq!(ShortItem::from_bytes(&short.to_bytes()), short);
        assert_eq!((short.nanos(), short.key_hash()), (item.nanos(), item.key_hash()));
    }
}
