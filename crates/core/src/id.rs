//! The identity of a node: its peer id, as the bytes of the multihash. The network creates keys and verifies them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::limits::NODE_ID_BYTES_MAX;

/// The peer id of a node, in at most [`NODE_ID_BYTES_MAX`] bytes. Cheap to copy; ordered by its bytes; written in base58 as
/// everywhere in libp2p (`12D3KooW…`).
#[derive(Clone, Copy)]
pub struct NodeId {
    len: u8,
    bytes: [u8; NODE_ID_BYTES_MAX],
}

/// A peer id that is empty, too long, or not base58.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a peer id: expected base58 text of 1 to {NODE_ID_BYTES_MAX} bytes such as 12D3KooW…")]
pub struct InvalidNodeId;

impl NodeId {
    /// Accepts the bytes of a multihash as they are.
    ///
    /// # Errors
    /// If there are none, or more than [`NODE_ID_BYTES_MAX`].
    pub fn from_bytes(source: &[u8]) -> Result<Self, InvalidNodeId> {
        if source.is_empty() {
            return Err(InvalidNodeId);
        }
        let mut bytes = [0; NODE_ID_BYTES_MAX];
        bytes
            .get_mut(..source.len())
            .ok_or(InvalidNodeId)?
            .copy_from_slice(source);
        let len = u8::try_from(source.len()).map_err(|_| InvalidNodeId)?;
        Ok(Self { len, bytes })
    }

    /// The bytes of the multihash.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&self.bytes)
    }
}

impl PartialEq for NodeId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for NodeId {}

impl PartialOrd for NodeId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodeId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for NodeId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.as_bytes()).into_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; NODE_ID_BYTES_MAX];
        let len = bs58::decode(text).onto(&mut bytes[..]).map_err(|_| InvalidNodeId)?;
        Self::from_bytes(bytes.get(..len).ok_or(InvalidNodeId)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj";

    #[test]
    fn the_text_form_is_that_of_libp2p_and_comes_back() {
        let id: NodeId = TEXT.parse().unwrap();
        assert_eq!(id.as_bytes().len(), 38, "an Ed25519 key inside an identity multihash");
        assert_eq!(id.to_string(), TEXT);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "0OIl", "hello world", &"1".repeat(60), &"z".repeat(500)] {
            assert_eq!(text.parse::<NodeId>(), Err(InvalidNodeId), "{text}");
        }
        assert!(NodeId::from_bytes(&[]).is_err());
        assert!(NodeId::from_bytes(&[1; NODE_ID_BYTES_MAX + 1]).is_err());
        assert!(NodeId::from_bytes(&[1; NODE_ID_BYTES_MAX]).is_ok());
    }
}
