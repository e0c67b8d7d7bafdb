//! What comes out of a door.

use super::message::Message;
use crate::membership::entry::Entry;
use crate::membership::key::PublicKey;

/// What a door wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// To be sent to the other side, before anything else.
    pub send: Vec<u8>,
    /// How it ended; none while the other side has to say more.
    pub end: Option<End>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The other side is a member, and so are we.
    Admitted(Admitted),
    /// The other side says that we are no member any longer, because of the last of these entries; those before it are the Grants by
    /// which its signer may say so. Their signatures hold; whether they count, only the [roster](crate::membership::Roster) can tell.
    Removed(Vec<Entry>),
    /// Nothing more is to be said: the connection is to be closed once what is to be sent has been.
    Refused(Cause),
}

/// The other side is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The key of its device.
    pub device: PublicKey,
    /// The [root](crate::membership::Roster::root) of its entries.
    pub root: [u8; 32],
    /// Entries that make it a member and are not held here.
    pub entries: Vec<Entry>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    /// It does not talk as one does at a door.
    #[error("it does not speak as members do: {0}")]
    Malformed(&'static str),
    /// It has no secret of this network that is known here.
    #[error("it has no secret of this network")]
    Secret,
    /// There is no secret of this network here.
    #[error("this device has no secret of its network yet")]
    NoSecret,
    /// It is not the device that it says it is.
    #[error("a wrong signature")]
    Signature,
    /// No Grants make it a member.
    #[error("it has a secret of this network, but is no member")]
    Stranger,
    /// It was put out. It is told so.
    #[error("it was removed from this network")]
    Out(PublicKey),
}

impl Default for Step {
    /// Nothing but to wait for more.
    fn default() -> Self {
        Self {
            send: Vec::new(),
            end: None,
        }
    }
}

impl Step {
    pub(super) fn send(message: &Message) -> Self {
        Self {
            send: message.to_bytes(),
            end: None,
        }
    }
}

impl From<End> for Step {
    fn from(end: End) -> Self {
        Self {
            send: Vec::new(),
            end: Some(end),
        }
    }
}
