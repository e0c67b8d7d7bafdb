//! Records: a record is one version of one key. Only this module decides which of two versions wins, and whether one covers
//! the other: whether its author had seen it. [`versions`](crate::versions) says which versions of a key a node holds.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use crate::id::NodeId;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::seen::Seen;
use crate::signature::Signature;
use crate::time::Timestamp;

/// A key: UTF-8, 1 to [`KEY_BYTES_MAX`] bytes, no control characters. Cheap to clone; ordered by its bytes.
///
/// ```
/// use p2p_sync_core::Key;
/// use p2p_sync_core::record::InvalidKey;
///
/// let key = Key::new("light/hall")?;
/// assert_eq!(Key::try_from(String::from("light/hall"))?, key);
/// assert_eq!("".parse::<Key>(), Err(InvalidKey::Empty));
/// # Ok::<(), InvalidKey>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// Why a text cannot be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// It is empty.
    #[error("the key is empty")]
    Empty,
    /// It has more than [`KEY_BYTES_MAX`] bytes.
    #[error("the key has {bytes} bytes, at most {KEY_BYTES_MAX} are allowed")]
    TooLong {
        /// The number of bytes.
        bytes: usize,
    },
    /// It contains a control character.
    #[error("the key contains a control character at byte {at}")]
    ControlCharacter {
        /// Its position, in bytes from the start.
        at: usize,
    },
    /// It is not UTF-8.
    #[error("the key is not UTF-8")]
    NotUtf8,
}

impl Key {
    /// Validates a text as a key.
    ///
    /// # Errors
    /// If it is empty, too long, or contains a control character.
    pub fn new(text: impl Into<Arc<str>>) -> Result<Self, InvalidKey> {
        let text = text.into();
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(InvalidKey::TooLong { bytes: text.len() });
        }
        match text.char_indices().find(|(_, c)| c.is_control()) {
            Some((at, _)) => Err(InvalidKey::ControlCharacter { at }),
            None => Ok(Self(text)),
        }
    }

    /// The text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A key is ordered, compared and hashed like its text, so maps with keys can be searched by text.
impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<&Key> for Key {
    fn from(key: &Key) -> Self {
        key.clone()
    }
}

impl FromStr for Key {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Key {
    type Error = InvalidKey;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

impl TryFrom<&String> for Key {
    type Error = InvalidKey;

    fn try_from(text: &String) -> Result<Self, Self::Error> {
        Self::new(text.as_str())
    }
}

impl TryFrom<String> for Key {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text)
    }
}

/// A value: 0 to [`VALUE_BYTES_MAX`] bytes, any bytes. Cheap to clone.
///
/// ```
/// use p2p_sync_core::Value;
///
/// let value = Value::try_from("on")?;
/// assert_eq!(value.as_bytes(), b"on");
/// assert_eq!(Value::try_from(vec![b'o', b'n'])?, value);
/// assert_eq!(Value::try_from(&[0xff])?.as_text(), None);
/// assert!(Value::new(vec![0; 65_537]).is_err());
/// # Ok::<(), p2p_sync_core::record::ValueTooLarge>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(Arc<[u8]>);

/// A value of more than [`VALUE_BYTES_MAX`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value has {bytes} bytes, at most {VALUE_BYTES_MAX} are allowed")]
pub struct ValueTooLarge {
    /// The number of bytes.
    pub bytes: usize,
}

impl Value {
    /// Validates bytes as a value.
    ///
    /// # Errors
    /// If there are more than [`VALUE_BYTES_MAX`].
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, ValueTooLarge> {
        let bytes = bytes.into();
        if bytes.len() <= VALUE_BYTES_MAX {
            Ok(Self(bytes))
        } else {
            Err(ValueTooLarge { bytes: bytes.len() })
        }
    }

    /// The bytes of the value.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8.
    pub fn as_text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&Value> for Value {
    fn from(value: &Value) -> Self {
        value.clone()
    }
}

/// Whatever holds text or bytes can be a value, if it is not too large.
macro_rules! value_from {
    ($($holder:ty),+) => {$(
        impl TryFrom<$holder> for Value {
            type Error = ValueTooLarge;

            fn try_from(holder: $holder) -> Result<Self, Self::Error> {
                let bytes: &[u8] = holder.as_ref();
                Self::new(bytes)
            }
        }
    )+};
}

value_from!(&str, &String, String, &[u8], &Vec<u8>, Vec<u8>);

impl<const BYTES: usize> TryFrom<&[u8; BYTES]> for Value {
    type Error = ValueTooLarge;

    fn try_from(bytes: &[u8; BYTES]) -> Result<Self, Self::Error> {
        Self::new(*bytes)
    }
}

/// What a version says about its key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// The key has this value.
    Put(Value),
    /// The key was deleted. A deletion is a version like any other (a tombstone), so that an older put that arrives
    /// later cannot bring the key back.
    Deleted,
}

impl Content {
    /// The value, unless the key was deleted.
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Put(value) => Some(value),
            Self::Deleted => None,
        }
    }
}

/// One version of one key.
///
/// Two of them are equal if their fields are, whatever [`signature`](Self::signature) they carry: two valid signatures of one record
/// are one record.
#[derive(Debug, Clone)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// Its value, or that it was deleted.
    pub content: Content,
    /// When it was written, by its author's clock.
    pub timestamp: Timestamp,
    /// The node on which it was written.
    pub author: NodeId,
    /// What its author had seen of the key.
    pub seen: Seen,
    /// In a private network, its author's signature over the [digest](Self::digest); none in an open one.
    pub signature: Option<Signature>,
}

impl Record {
    /// All that makes a record what it is.
    fn fields(&self) -> (&Key, &Content, Timestamp, &NodeId, &Seen) {
        // Whoever adds a field decides here whether it belongs to the record.
        let Self {
            key,
            content,
            timestamp,
            author,
            seen,
            signature: _,
        } = self;
        (key, content, *timestamp, author, seen)
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        self.fields() == other.fields()
    }
}

impl Eq for Record {}

impl Hash for Record {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fields().hash(state);
    }
}

/// BLAKE3 over the canonical encoding of a record: two records with the same digest are identical byte for byte.
pub type Digest = [u8; 32];

impl Record {
    /// The value; none if the key was deleted.
    pub fn value(&self) -> Option<&Value> {
        self.content.value()
    }

    /// The value as text; none if the key was deleted, or the value is not UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value()?.as_text()
    }

    /// The digest over every field, each with its length or at a fixed width, in little-endian order.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.key.as_str().as_bytes());
        match &self.content {
            Content::Put(value) => {
                field(&[1]);
                field(value.as_bytes());
            }
            Content::Deleted => field(&[0]),
        }
        field(&self.timestamp.as_nanos().to_le_bytes());
        field(self.author.as_bytes());
        match self.seen.floor() {
            Some(floor) => field(&floor.as_nanos().to_le_bytes()),
            None => field(&[]),
        }
        for (author, timestamp) in self.seen.others() {
            field(author.as_bytes());
            field(&timestamp.as_nanos().to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// The order of versions of one key: by timestamp, then author, then digest. The greatest wins, everywhere.
    pub fn precedence(&self, other: &Self) -> Ordering {
        // The digest comes last: it costs a hash, and is hardly ever needed.
        self.timestamp
            .cmp(&other.timestamp)
            .then_with(|| self.author.cmp(&other.author))
            .then_with(|| {
                if self == other {
                    Ordering::Equal
                } else {
                    self.digest().cmp(&other.digest())
                }
            })
    }

    /// Whether the author of this version had seen the other version of the same key, which it then overwrites.
    ///
    /// Covering is transitive, and a version that covers another one is above it in [order](Self::precedence).
    pub fn covers(&self, other: &Self) -> bool {
        if self.author == other.author {
            self.precedence(other) == Ordering::Greater
        } else {
            Some(other.timestamp) <= self.seen.of(&other.author)
        }
    }

    /// Whether this version [covers](Self::covers) the other one by its floor alone, so that its author may not have seen it: the
    /// entry of the other's author may have been folded into the floor, or there never was one.
    ///
    /// A floor just below the version's own timestamp is meant to overwrite everything older (see [`Seen::everything_before`]), and
    /// does not count: folding cannot lead to it, because a node dates a write after everything that it has seen.
    pub fn covers_by_folding(&self, other: &Self) -> bool {
        self.author != other.author
            && Some(other.timestamp) <= self.seen.floor()
            && !self.seen.names(&other.author)
            && self.seen.floor() != self.timestamp.previous()
    }
}
