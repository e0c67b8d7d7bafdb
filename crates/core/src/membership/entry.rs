//! Entries: the signed statements of which a network's membership consists, and their bytes.

use std::fmt;

use super::key::{PublicKey, SecretKey};
use crate::limits::{ENTRY_BYTES_MAX, MEMBER_NAME_BYTES_MAX};
use crate::network::NetworkName;
use crate::signature::SIGNATURE_BYTES;
use crate::time::Timestamp;

mod bytes;

/// What stands before an entry's body where it is signed.
const SIGNED: &[u8] = b"p2p-sync entry 1\0";

/// Names an entry: BLAKE3 over its body, so that two signatures of one body are one entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub [u8; 32]);

/// The first half of an [`EntryId`], enough to name one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub [u8; 16]);

impl EntryId {
    /// Its first half.
    pub fn short(&self) -> ShortId {
        let mut short = [0; 16];
        short.copy_from_slice(self.0.first_chunk::<16>().unwrap_or(&[0; 16]));
        ShortId(short)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// What a device may do. Each role may do what those below it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing: it is no member any longer.
    Out,
    /// Hold and pass on all records.
    Reader,
    /// Write.
    Writer,
    /// Sign entries about other devices.
    Admin,
}

/// The name of a device, for people: 1 to [`MEMBER_NAME_BYTES_MAX`] bytes of UTF-8 without control characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberName(String);

/// A device's name that is empty, too long, or contains control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name for a device: 1 to {MEMBER_NAME_BYTES_MAX} bytes, no control characters")]
pub struct InvalidMemberName;

impl MemberName {
    /// Accepts a name as it is.
    ///
    /// # Errors
    /// When it is empty, longer than [`MEMBER_NAME_BYTES_MAX`], or contains control characters.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidMemberName> {
        let text = text.into();
        if !(1..=MEMBER_NAME_BYTES_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(InvalidMemberName);
        }
        Ok(Self(text))
    }

    /// The name as it was given. Make it printable before showing it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an entry says. It is said by its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// "This is a new network, and I am its founder."
    Genesis {
        /// Outranks everybody; kept as words on paper.
        recovery: PublicKey,
        /// BLAKE3 over the network's first secret.
        secret: [u8; 32],
        /// Makes networks of one founder and name differ.
        nonce: [u8; 16],
        /// What people call the network; not empty.
        name: NetworkName,
    },
    /// "This device may do that."
    Grant {
        /// The device.
        device: PublicKey,
        /// At least [`Role::Reader`].
        role: Role,
        /// What people call it.
        name: MemberName,
    },
    /// "This device may do no more than that any longer."
    Lower {
        /// The device.
        device: PublicKey,
        /// At most [`Role::Writer`].
        to: Role,
        /// The secret that the network changes to; none unless another device is put out, since then it knows the old one.
        secret: Option<NextSecret>,
        /// Which entries of the device go on to count, if it signed some as an admin; in ascending order.
        accepted: Vec<ShortId>,
    },
    /// "Of this device, which may not write any longer, these records count."
    Keep {
        /// The device.
        device: PublicKey,
        /// The key of the list's items, drawn when the list was made.
        salt: [u8; 16],
        /// How many items the list has.
        count: u64,
        /// BLAKE3 over the list's items.
        list: [u8; 32],
    },
}

/// The secret that replaces another when a device is put out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextSecret {
    /// One above the epoch of the secret that it replaces; at least 1.
    pub epoch: u64,
    /// BLAKE3 over the secret.
    pub hash: [u8; 32],
}

impl Statement {
    /// The device that it is about; none for a [`Statement::Genesis`].
    pub fn device(&self) -> Option<PublicKey> {
        match self {
            Self::Genesis { .. } => None,
            Self::Grant { device, .. } | Self::Lower { device, .. } | Self::Keep { device, .. } => Some(*device),
        }
    }
}

/// A signed statement. Whoever has one knows that its form is right and that its signature holds; whether it counts, only
/// the [fold](super::Members) can tell.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    id: EntryId,
    network: EntryId,
    signer: PublicKey,
    time: Timestamp,
    statement: Statement,
    signature: [u8; SIGNATURE_BYTES],
}

/// Bytes that are no entry, or a statement that none can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    /// Longer than [`ENTRY_BYTES_MAX`].
    #[error("a membership entry of {bytes} bytes, at most {ENTRY_BYTES_MAX} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It ends before its parts do.
    #[error("a truncated membership entry")]
    Short,
    /// A part of it cannot be.
    #[error("a malformed membership entry: {0}")]
    Malformed(&'static str),
    /// Its signature is not that of its signer.
    #[error("a membership entry with a wrong signature")]
    Signature,
}

impl Entry {
    /// Signs a statement of `network`; the network of a [`Statement::Genesis`] is its own, whatever is passed.
    ///
    /// # Errors
    /// When the statement breaks a rule of its form (see its fields), or takes more than [`ENTRY_BYTES_MAX`].
    pub fn sign(
        network: EntryId,
        key: &SecretKey,
        time: Timestamp,
        statement: Statement,
    ) -> Result<Self, InvalidEntry> {
        Self::signed_with(network, key.public(), time, statement, |message| key.sign(message))
    }

    /// As [`sign`](Self::sign), by whatever makes signatures: `sign` gets the message.
    ///
    /// # Errors
    /// As for [`sign`](Self::sign).
    pub fn signed_with(
        network: EntryId,
        signer: PublicKey,
        time: Timestamp,
        statement: Statement,
        sign: impl FnOnce(&[u8]) -> [u8; SIGNATURE_BYTES],
    ) -> Result<Self, InvalidEntry> {
        let mut entry = Self {
            id: EntryId([0; 32]),
            network,
            signer,
            time,
            statement,
            signature: [0; SIGNATURE_BYTES],
        };
        entry.check()?;
        let body = entry.body();
        if body.len() + SIGNATURE_BYTES > ENTRY_BYTES_MAX {
            return Err(InvalidEntry::TooLong {
                bytes: body.len() + SIGNATURE_BYTES,
            });
        }
        entry.identify(&body);
        entry.signature = sign(&signed_message(&body));
        Ok(entry)
    }

    /// Reads an entry and verifies its signature.
    ///
    /// # Errors
    /// When the bytes are not the one way to write an entry, or its signature is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidEntry> {
        Self::verified_with(bytes, PublicKey::verifies)
    }

    /// As [`from_bytes`](Self::from_bytes), with `verify` to say whether a key made a signature for a message.
    ///
    /// # Errors
    /// As for [`from_bytes`](Self::from_bytes).
    pub fn verified_with(
        bytes: &[u8],
        verify: impl FnOnce(&PublicKey, &[u8], &[u8; SIGNATURE_BYTES]) -> bool,
    ) -> Result<Self, InvalidEntry> {
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(InvalidEntry::TooLong { bytes: bytes.len() });
        }
        let (body, signature) = bytes.split_last_chunk().ok_or(InvalidEntry::Short)?;
        let mut entry = Self::read_body(body)?;
        entry.check()?;
        entry.signature = *signature;
        if !verify(&entry.signer, &signed_message(body), signature) {
            return Err(InvalidEntry::Signature);
        }
        entry.identify(body);
        Ok(entry)
    }

    /// The rules that no part can keep alone.
    fn check(&self) -> Result<(), InvalidEntry> {
        let wrong = match &self.statement {
            Statement::Genesis { recovery, .. } if *recovery == self.signer => "the founder's key also recovers",
            Statement::Genesis { name, .. } if name.as_str().is_empty() => "a network without a name",
            Statement::Grant { role: Role::Out, .. } => "a grant of nothing",
            Statement::Lower { to: Role::Admin, .. } => "lowered to the highest role",
            Statement::Lower { device, to, secret, .. }
                if secret.is_some() != (*to == Role::Out && *device != self.signer) =>
            {
                "the secret changes if another device is put out, and only then"
            }
            Statement::Lower {
                secret: Some(NextSecret { epoch: 0, .. }),
                ..
            } => "the first secret is no next one",
            Statement::Lower { accepted, .. } if !accepted.is_sorted_by(|one, next| one < next) => {
                "accepted entries out of order"
            }
            _ => return Ok(()),
        };
        Err(InvalidEntry::Malformed(wrong))
    }

    fn identify(&mut self, body: &[u8]) {
        self.id = EntryId(*blake3::hash(body).as_bytes());
        if matches!(self.statement, Statement::Genesis { .. }) {
            self.network = self.id;
        }
    }

    /// Its name.
    pub fn id(&self) -> EntryId {
        self.id
    }

    /// The network that it belongs to: the id of that network's [`Statement::Genesis`].
    pub fn network(&self) -> EntryId {
        self.network
    }

    /// Who says it.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// When it was signed, by the signer's clock. Only shown; nothing is decided by it.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The entry as bytes, its body and then the signature.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend_from_slice(&self.signature);
        bytes
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} by {:?}: {:?}", self.id.short(), self.signer, self.statement)
    }
}

fn signed_message(body: &[u8]) -> Vec<u8> {
    [SIGNED, body].concat()
}
