//! Signed records: in a private network every record carries its author's signature over its digest, so that whoever passes it on
//! cannot have made it up.
//!
//! Signed are `"p2p-sync record 1\0"`, the network's id and the record's digest. Verification follows ZIP 215, under which one
//! check and a batch of checks always agree: a node that verifies pages as batches and one that looks at single records accept
//! the same.

use std::collections::BTreeMap;

use ed25519_zebra::{VerificationKeyBytes, batch};
use rand_core::{Infallible, TryCryptoRng, TryRng};

use super::entry::EntryId;
use super::key::{PublicKey, SecretKey};
use crate::id::NodeId;
use crate::record::{Digest, Record};
use crate::signature::{SIGNATURE_BYTES, Signature};

/// What stands before network and digest where a record is signed.
const SIGNED: &[u8; 18] = b"p2p-sync record 1\0";
/// Bytes that are signed.
const MESSAGE_BYTES: usize = SIGNED.len() + 32 + 32;
/// Separates what batches are seeded with from every other hash.
const SEED: &str = "p2p-sync 2026 batches of record signatures";

/// Records that are not signed by their authors, by their places among those that were verified. No honest node passes one on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of the records are not signed by their authors", .places.len())]
pub struct WrongSignatures {
    /// The places, in ascending order; at least one.
    pub places: Vec<usize>,
}

/// The rule by which the records of one network are signed and verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedRecords {
    network: EntryId,
}

/// Signs what a device writes.
#[derive(Debug, Clone)]
pub struct Signer {
    rule: SignedRecords,
    key: SecretKey,
    author: NodeId,
}

/// What a batch needs of one record.
struct Claim {
    place: usize,
    key: PublicKey,
    signature: [u8; SIGNATURE_BYTES],
    digest: Digest,
}

impl SignedRecords {
    /// Those of the network with this id, which is that of its Genesis.
    pub fn of(network: EntryId) -> Self {
        Self { network }
    }

    fn message(&self, digest: &Digest) -> [u8; MESSAGE_BYTES] {
        let mut message = [0; MESSAGE_BYTES];
        let parts = SIGNED.iter().chain(&self.network.0).chain(digest);
        for (byte, part) in message.iter_mut().zip(parts) {
            *byte = *part;
        }
        message
    }

    /// Makes sure that a record is signed by its author.
    ///
    /// # Errors
    /// If it is not: it carries no signature, a wrong one, or its author has no key that could sign.
    pub fn verify(&self, record: &mut Record) -> Result<(), WrongSignatures> {
        self.verify_all(std::slice::from_mut(record))
    }

    /// Makes sure that all of these are signed by their authors: all at once, which costs half of single checks, and a quarter if
    /// they have one author. Signatures that were verified before cost a comparison.
    ///
    /// # Errors
    /// If some are not, which it names. The others are marked as verified nonetheless.
    pub fn verify_all(&self, records: &mut [Record]) -> Result<(), WrongSignatures> {
        let (claims, mut wrong) = claims(records);
        let all_hold = match claims.as_slice() {
            [] => true,
            [claim] => self.holds(claim),
            claims => self.hold_together(claims),
        };
        for claim in &claims {
            // Only a batch that failed is looked through.
            if all_hold || (claims.len() > 1 && self.holds(claim)) {
                if let Some(record) = records.get_mut(claim.place) {
                    record.signature = Some(Signature::verified(claim.signature, claim.digest));
                }
            } else {
                wrong.push(claim.place);
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        wrong.sort_unstable();
        Err(WrongSignatures { places: wrong })
    }

    fn holds(&self, claim: &Claim) -> bool {
        claim.key.verifies(&self.message(&claim.digest), &claim.signature)
    }

    fn hold_together(&self, claims: &[Claim]) -> bool {
        let mut seed = blake3::Hasher::new_derive_key(SEED);
        let mut batch = batch::Verifier::new();
        for claim in claims {
            let message = self.message(&claim.digest);
            seed.update(claim.key.as_bytes())
                .update(&claim.signature)
                .update(&message);
            let key = VerificationKeyBytes::from(*claim.key.as_bytes());
            batch.queue((key, claim.signature.into(), &message));
        }
        batch.verify(FromHash(seed.finalize_xof())).is_ok()
    }
}

/// What is to be verified of these records, and the places of those that cannot be signed.
fn claims(records: &[Record]) -> (Vec<Claim>, Vec<usize>) {
    let (mut claims, mut wrong) = (Vec::new(), Vec::new());
    // To read a key costs a quarter of a check, and most pages have few authors.
    let mut keys = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        let digest = record.digest();
        let Some(signature) = &record.signature else {
            wrong.push(place);
            continue;
        };
        if signature.holds_for(&digest) {
            continue;
        }
        match keys
            .entry(record.author)
            .or_insert_with(|| PublicKey::of(&record.author))
        {
            Ok(key) => claims.push(Claim {
                place,
                key: *key,
                signature: *signature.as_bytes(),
                digest,
            }),
            Err(_) => wrong.push(place),
        }
    }
    (claims, wrong)
}

impl Signer {
    /// Signs for this network with the key of this device.
    pub fn new(network: EntryId, key: SecretKey) -> Self {
        Self {
            rule: SignedRecords::of(network),
            author: key.public().node_id(),
            key,
        }
    }

    /// The author of what it signs.
    pub fn author(&self) -> NodeId {
        self.author
    }

    /// The signature of this record, which must be by [this author](Self::author). The same record always gets the same.
    pub fn sign(&self, record: &Record) -> Signature {
        debug_assert_eq!(record.author, self.author, "nobody signs for others");
        let digest = record.digest();
        Signature::verified(self.key.sign(&self.rule.message(&digest)), digest)
    }
}

/// Numbers for the coefficients of a batch, from a hash over everything in it: whoever could choose signatures by them would have
/// to know them before the signatures.
struct FromHash(blake3::OutputReader);

impl TryRng for FromHash {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for FromHash {}
