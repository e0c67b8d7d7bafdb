//! What is said at a door, as bytes: length, kind and body, as the frames of the exchange. But here there is one way to write each,
//! and anything else is refused.

use crate::limits::{DOOR_MESSAGE_BYTES_MAX, DOOR_SECRETS_MAX};
use crate::membership::chain::CHAIN_MAX;
use crate::membership::entry::{Entry, Statement};
use crate::membership::roster::Verify;
use crate::membership::{PublicKey, SIGNATURE_BYTES};
use crate::sync::InvalidFrame;
use crate::sync::codec::{Reader, Writer};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 16;
/// Bytes that show that somebody has a secret.
pub(super) const TAG_BYTES: usize = 16;

/// The numbers of the kinds.
pub(super) const KNOCK: u8 = 1;
pub(super) const HEAR: u8 = 2;
pub(super) const WHO: u8 = 3;
pub(super) const REMOVED: u8 = 4;
pub(super) const COME_IN: u8 = 5;

/// The fewest bytes that an entry can take.
const ENTRY_BYTES_MIN: usize = 64;

pub(super) type Nonce = [u8; NONCE_BYTES];
pub(super) type Tag = [u8; TAG_BYTES];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Knock(Box<Knock>),
    Hear(Hear),
    Who(Box<Who>),
    /// "You are no member any longer": the Lower, and before it the Grants by which its signer may say so.
    Removed(Vec<Entry>),
    ComeIn,
}

/// "Do you have one of these secrets?"
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Knock {
    pub(super) nonce: Nonce,
    /// The newest secret first. Always as many, so that their number tells nobody anything.
    pub(super) tags: [Tag; DOOR_SECRETS_MAX],
}

/// "I have one of them."
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hear {
    pub(super) nonce: Nonce,
    /// Whether the listener says first who it is.
    pub(super) is_first: bool,
    pub(super) tag: Tag,
}

/// "This is who I am."
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) device: PublicKey,
    pub(super) signature: [u8; SIGNATURE_BYTES],
    pub(super) root: [u8; 32],
    pub(super) chain: Vec<Entry>,
}

/// Bytes that are no message, or not one that may come now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(pub(super) &'static str);

impl From<InvalidFrame> for Invalid {
    fn from(_: InvalidFrame) -> Self {
        Self("a malformed message")
    }
}

impl Message {
    /// The message as bytes, its length included.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut framed = Writer::new();
        framed.bytes(&self.body());
        framed.into_bytes()
    }

    fn body(&self) -> Vec<u8> {
        let w = &mut Writer::new();
        match self {
            Self::Knock(knock) => {
                w.byte(KNOCK);
                w.fixed(&knock.nonce);
                knock.tags.iter().for_each(|tag| w.fixed(tag));
            }
            Self::Hear(hear) => {
                w.byte(HEAR);
                w.fixed(&hear.nonce);
                w.byte(u8::from(hear.is_first));
                w.fixed(&hear.tag);
            }
            Self::Who(who) => {
                w.byte(WHO);
                w.fixed(who.device.as_bytes());
                w.fixed(&who.signature);
                w.fixed(&who.root);
                write_entries(w, &who.chain);
            }
            Self::Removed(entries) => {
                w.byte(REMOVED);
                write_entries(w, entries);
            }
            Self::ComeIn => w.byte(COME_IN),
        }
        std::mem::replace(w, Writer::new()).into_bytes()
    }

    /// The first message in `bytes`, if all of it is there, and how many bytes it takes. `expected`: the kinds that may come now. What
    /// can be told from less than a whole message is told at once.
    pub(super) fn read(bytes: &[u8], expected: &[u8], verify: Verify) -> Result<Option<(Self, usize)>, Invalid> {
        let r = &mut Reader::new(bytes);
        let length = match r.number() {
            Ok(length) => length,
            Err(InvalidFrame::Short) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let head = bytes.len() - r.rest().len();
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if let Some(kind) = r.rest().first()
            && !expected.contains(kind)
        {
            return Err(Invalid("a message of another kind than may come now"));
        }
        let longest = expected.iter().map(|kind| longest(*kind)).max().unwrap_or_default();
        if !(1..=longest).contains(&length) {
            return Err(Invalid("a message of a length that none has that may come now"));
        }
        let Some(body) = r.rest().get(..length) else {
            return Ok(None);
        };
        let message = Self::read_body(body, verify)?;
        // Numbers could be written longer than they are; and something may stand behind the end.
        if Some(message.to_bytes().as_slice()) != bytes.get(..head + length) {
            return Err(Invalid("a message that is not written in the one way"));
        }
        Ok(Some((message, head + length)))
    }

    fn read_body(bytes: &[u8], verify: Verify) -> Result<Self, Invalid> {
        let r = &mut Reader::new(bytes);
        Ok(match r.byte()? {
            KNOCK => {
                let nonce = r.array()?;
                let mut tags = [[0; TAG_BYTES]; DOOR_SECRETS_MAX];
                for tag in &mut tags {
                    *tag = r.array()?;
                }
                Self::Knock(Box::new(Knock { nonce, tags }))
            }
            HEAR => Self::Hear(Hear {
                nonce: r.array()?,
                is_first: r.byte()? == 1,
                tag: r.array()?,
            }),
            WHO => {
                let device = PublicKey::from_bytes(r.array()?).map_err(|_| Invalid("not a usable key"))?;
                let (signature, root) = (r.array()?, r.array()?);
                let chain = read_entries(r, CHAIN_MAX, verify)?;
                if !leads_to(&device, &chain) {
                    return Err(Invalid("Grants that do not lead to the device"));
                }
                Self::Who(Box::new(Who {
                    device,
                    signature,
                    root,
                    chain,
                }))
            }
            REMOVED => {
                let entries = read_entries(r, CHAIN_MAX + 1, verify)?;
                let is_lower = |entry: &Entry| matches!(entry.statement(), Statement::Lower { .. });
                if !entries.last().is_some_and(is_lower) {
                    return Err(Invalid("removed without a Lower"));
                }
                Self::Removed(entries)
            }
            COME_IN => Self::ComeIn,
            _ => return Err(Invalid("a message of an unknown kind")),
        })
    }
}

/// The most bytes that a message of this kind has.
fn longest(kind: u8) -> usize {
    match kind {
        KNOCK => 1 + NONCE_BYTES + DOOR_SECRETS_MAX * TAG_BYTES,
        HEAR => 1 + NONCE_BYTES + 1 + TAG_BYTES,
        // A Grant has at most 236 bytes.
        WHO => 1_024,
        REMOVED => DOOR_MESSAGE_BYTES_MAX,
        COME_IN => 1,
        _ => 0,
    }
}

/// Whether these are Grants, each of which makes the signer of the next, and the last one the device.
fn leads_to(device: &PublicKey, chain: &[Entry]) -> bool {
    let made = chain.iter().map(|entry| match entry.statement() {
        Statement::Grant { device, .. } => Some(*device),
        _ => None,
    });
    let wanted = chain.iter().skip(1).map(Entry::signer).chain([*device]);
    made.zip(wanted).all(|(made, wanted)| made == Some(wanted))
}

fn write_entries(w: &mut Writer, entries: &[Entry]) {
    w.length(entries.len());
    entries.iter().for_each(|entry| w.bytes(&entry.to_bytes()));
}

fn read_entries(r: &mut Reader<'_>, max: usize, verify: Verify) -> Result<Vec<Entry>, Invalid> {
    let count = r.count(ENTRY_BYTES_MIN, max)?;
    let entry = |r: &mut Reader<'_>| {
        Entry::verified_with(r.bytes()?, verify).map_err(|_| Invalid("an entry that is none, or wrongly signed"))
    };
    (0..count).map(|_| entry(r)).collect()
}
