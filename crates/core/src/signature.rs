//! The signature that travels beside a record of a private network. It is no part of the record: two valid signatures of one
//! record are one record. Who may sign, and what, is said in [`membership`](crate::membership).

use std::fmt;
use std::sync::Arc;

use crate::record::Digest;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A signature, and whether anybody made sure of it. Cheap to clone.
///
/// What arrives is [claimed](Self::claimed). Only [`SignedRecords`](crate::membership::SignedRecords) verifies it,
/// for the record that it came with and for no other: a store asks for that before it writes a record of a private network.
#[derive(Clone)]
pub struct Signature(Arc<Parts>);

struct Parts {
    bytes: [u8; SIGNATURE_BYTES],
    /// The digest of the record that it was verified with.
    verified: Option<Digest>,
}

impl Signature {
    /// One that somebody sent. Nothing is known about it.
    pub fn claimed(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self::new(bytes, None)
    }

    /// One that holds for the record with this digest: for whoever verified or made it, and for stores, which keep no other.
    pub fn verified(bytes: [u8; SIGNATURE_BYTES], digest: Digest) -> Self {
        Self::new(bytes, Some(digest))
    }

    fn new(bytes: [u8; SIGNATURE_BYTES], verified: Option<Digest>) -> Self {
        Self(Arc::new(Parts { bytes, verified }))
    }

    /// Its bytes: R and s of RFC 8032.
    pub fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0.bytes
    }

    /// Whether it was verified as the signature of the record with this digest.
    pub fn holds_for(&self, digest: &Digest) -> bool {
        self.0.verified.as_ref() == Some(digest)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = data_encoding::HEXLOWER.encode(self.0.bytes.first_chunk::<4>().unwrap_or(&[0; 4]));
        let state = if self.0.verified.is_some() {
            "verified"
        } else {
            "claimed"
        };
        write!(f, "{start}… {state}")
    }
}
