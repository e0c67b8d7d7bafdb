//! The keys of devices, and the one rule by which signatures are verified.

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_zebra::{Signature, SigningKey, VerificationKey};

use crate::id::NodeId;
use crate::signature::SIGNATURE_BYTES;

/// What stands before the 32 bytes of an Ed25519 key in a peer id: an identity multihash of 36 bytes, which are a protobuf of
/// key type 1 and 32 bytes of data.
const NODE_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// An Ed25519 key that identifies a device, or that recovers a network. In its one canonical form, and of no small order: a key
/// of small order would verify signatures that nobody made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

/// Bytes that no member may have as its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a usable Ed25519 key")]
pub struct InvalidKey;

impl PublicKey {
    /// No key, but what stands before all of them in order.
    pub(super) const LOWEST: Self = Self([0; 32]);

    /// The key that these bytes encode.
    ///
    /// # Errors
    /// When they encode no point of the curve, one of small order, or do so in another than the canonical way.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        let point = CompressedEdwardsY(bytes).decompress().ok_or(InvalidKey)?;
        if point.is_small_order() || point.compress().0 != bytes {
            return Err(InvalidKey);
        }
        Ok(Self(bytes))
    }

    /// The key inside a peer id.
    ///
    /// # Errors
    /// When the peer id is not that of a usable Ed25519 key.
    pub fn of(node: &NodeId) -> Result<Self, InvalidKey> {
        Self::from_bytes(Self::sought(node).ok_or(InvalidKey)?.0)
    }

    /// What stands in a peer id where a device has its key, to be looked up among members, who all have usable ones.
    pub(super) fn sought(node: &NodeId) -> Option<Self> {
        let key = node.as_bytes().strip_prefix(&NODE_ID_PREFIX)?;
        Some(Self(key.try_into().ok()?))
    }

    /// The peer id of the device with this key.
    pub fn node_id(&self) -> NodeId {
        let mut bytes = NODE_ID_PREFIX.to_vec();
        bytes.extend_from_slice(&self.0);
        // 38 bytes are within the limit of a peer id.
        NodeId::from_bytes(&bytes).unwrap_or_else(|_| unreachable!("an Ed25519 key makes a peer id of 38 bytes"))
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether the holder of this key signed `message`: by the rules of ZIP 215, under which one check and a batch of
    /// checks always agree.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        VerificationKey::try_from(self.0)
            .is_ok_and(|key| key.verify(&Signature::from_bytes(signature), message).is_ok())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.node_id(), f)
    }
}

/// The secret half of a [`PublicKey`].
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that 32 random bytes make: the secret scalar's seed of RFC 8032.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(VerificationKey::from(&self.0).into())
    }

    /// Signs a message. The same message always gets the same signature.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.public()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_holds_the_key_and_gives_it_back() {
        let key = SecretKey::from_seed([1; 32]).public();
        let id = key.node_id();
        assert!(id.to_string().starts_with("12D3KooW"), "{id}");
        assert_eq!(PublicKey::of(&id), Ok(key));
        // In the form of a key, but no point of the curve.
        let id: NodeId = "12D3KooWBmwkafWE2fqfzS96VoTZgpGp6aJsF4N7M5ttgRrLtAMj".parse().unwrap();
        assert_eq!(PublicKey::of(&id), Err(InvalidKey));
        let rsa: NodeId = "QmcZf59bWwK5XFi76CZX8cbJ4BhTzzA3gU1ZjYZcYW3dwt".parse().unwrap();
        assert_eq!(PublicKey::of(&rsa), Err(InvalidKey));
    }

    #[test]
    fn keys_that_would_verify_anything_are_refused() {
        for torsion in curve25519_dalek::constants::EIGHT_TORSION {
            let bytes = torsion.compress().to_bytes();
            assert_eq!(PublicKey::from_bytes(bytes), Err(InvalidKey), "{bytes:?}");
            // Under the library's rules alone, this one signature is good for every message.
            let key = VerificationKey::try_from(bytes).unwrap();
            let mut forged = [0; SIGNATURE_BYTES];
            forged[0] = 1;
            assert!(key.verify(&Signature::from_bytes(&forged), b"anything").is_ok());
        }
        // The identity, encoded with p added, and with the sign of its zero x set.
        let mut above = [0xff; 32];
        (above[0], above[31]) = (0xee, 0x7f);
        let mut signed = [0; 32];
        (signed[0], signed[31]) = (1, 0x80);
        for bytes in [above, signed] {
            assert_eq!(PublicKey::from_bytes(bytes), Err(InvalidKey));
        }
    }

    #[test]
    fn another_way_to_write_a_key_is_refused() {
        // y = p + 3, …: what decodes of these is no small order, but is written in 255 bits where 5 are enough.
        let mut decoded = 0;
        for low in 0xed..=0xff {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, 0x7f);
            decoded += usize::from(CompressedEdwardsY(bytes).decompress().is_some());
            assert_eq!(PublicKey::from_bytes(bytes), Err(InvalidKey));
        }
        assert!(decoded > 2);
    }

    #[test]
    fn signatures_hold_for_their_message_and_key_alone() {
        let (one, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let mut signature = one.sign(b"message");
        assert!(one.public().verifies(b"message", &signature));
        assert!(!one.public().verifies(b"massage", &signature));
        assert!(!other.public().verifies(b"message", &signature));
        signature[40] ^= 1;
        assert!(!one.public().verifies(b"message", &signature));
        assert!(format!("{one:?}").contains("12D3KooW"), "shows the public key alone");
    }

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_standard() {
        let hex = |text: &str| data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap();
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = SecretKey::from_seed(seed.try_into().unwrap());
        assert_eq!(
            key.public().as_bytes().to_vec(),
            hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
        );
        assert_eq!(
            key.sign(&[0x72]).to_vec(),
            hex(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            )
        );
    }
}
