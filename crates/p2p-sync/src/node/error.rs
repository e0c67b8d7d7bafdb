//! Why a node did not start, and why a request to a running one failed. Each error says what happened to the data.

use std::convert::Infallible;
use std::sync::Arc;

use p2p_sync_core::Timestamp;
use p2p_sync_core::clock::ClockExhausted;
use p2p_sync_core::id::InvalidNodeId;
use p2p_sync_core::record::{InvalidKey, ValueTooLarge};

use crate::config::InvalidSetting;
use crate::identity::IdentityError;
use crate::net::PortError;
use crate::net::libp2p::NetError;
use crate::store::{RowId, StoreError, StoreErrorKind};

/// Why a node did not start. Nothing is left running. The texts speak to whoever runs the program `p2p-sync`, and name its flags;
/// each flag is a setting of the [builder](crate::NodeBuilder) with the same name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The port is in use, or may not be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The data directory or the store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The identity cannot be read or created.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The network cannot be started.
    #[error(transparent)]
    Network(#[from] NetError),
    /// A setting is out of range. Nothing was touched.
    #[error(transparent)]
    Setting(#[from] InvalidSetting),
    /// There is no Tokio runtime to run on.
    #[error("a node needs a Tokio runtime: start it from a task of one")]
    NoRuntime,
    /// The clock of this machine is set before 1970, which the network protocols cannot express.
    #[error("this machine's clock is set before 1970: correct it and start again")]
    Clock,
    /// No peer id can be derived from this node's type of key.
    #[error(
        "p2p-sync cannot use the type of key in identity.key; start once with --new-identity to get a new identity \
         and keep the data"
    )]
    PeerId(#[from] InvalidNodeId),
}

/// Why a request to a running node failed. [`kind`](Self::kind) says what to do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The store failed. Unless it says otherwise, nothing was written.
    #[error("{}", in_words(.0))]
    Store(#[from] Arc<StoreError>),
    /// The store could not be reopened or repaired, for this reason.
    #[error(transparent)]
    OutOfOrder(Arc<StoreError>),
    /// This cannot be a key. Nothing was written.
    #[error("invalid key: {0}")]
    Key(#[from] InvalidKey),
    /// This cannot be a value. Nothing was written.
    #[error("value too large: {0}")]
    Value(#[from] ValueTooLarge),
    /// No later timestamp exists. Nothing was written.
    #[error(transparent)]
    Clock(#[from] ClockExhausted),
    /// The condition of a write does not hold. Nothing was written.
    #[error("{}; nothing was written", match written_at {
        Some(at) => format!("the value of the key was written at {at}"),
        None => "the key has no value".to_owned(),
    })]
    Changed {
        /// When the value that the key has was written; none: it has none.
        written_at: Option<Timestamp>,
    },
    /// This device may not write in its private network. Nothing was written.
    #[error("this device may not write in this network: its role is reader, or it was removed; nothing was written")]
    NotPermitted,
    /// One of several writes that are made together failed. Nothing was written.
    #[error("{error} (element {index}, counted from 0; none of them was written)")]
    OfWrites {
        /// Which one, counted from 0.
        index: usize,
        /// Why.
        error: Box<NodeError>,
    },
    /// There is no space for data from other nodes. Nothing was written.
    #[error("no space for data from other nodes; nothing was stored")]
    NoRoom,
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(String),
    /// Too many requests of the same kind are waiting.
    #[error("too many requests of this kind are already waiting; try again later")]
    Crowded,
    /// The node is stopping or has stopped. Nothing was written.
    #[error("the node has stopped; nothing was written")]
    Stopped,
}

/// The kinds of failure that callers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key or the value is not valid: asking again will not help.
    Invalid,
    /// The store could not do it: the disk is full, failed, damaged or locked. Asking again may help once that is over.
    Storage,
    /// The [condition](crate::Condition) of a write does not hold.
    Conflict,
    /// This device may not do it: asking again will not help.
    NotPermitted,
    /// Anything else: too much at once, or the node has stopped.
    Failed,
}

impl NodeError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Key(_) | Self::Value(_) => ErrorKind::Invalid,
            Self::Store(_) | Self::OutOfOrder(_) | Self::NoRoom => ErrorKind::Storage,
            Self::Changed { .. } => ErrorKind::Conflict,
            Self::NotPermitted => ErrorKind::NotPermitted,
            Self::OfWrites { error, .. } => error.kind(),
            Self::Clock(_) | Self::Thread(_) | Self::Crowded | Self::Stopped => ErrorKind::Failed,
        }
    }
}

impl NodeError {
    /// Whether pages of the store's file are damaged, and not just one record.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => error.is_damaged_file(),
            Self::OfWrites { error, .. } => error.is_damage(),
            _ => false,
        }
    }

    /// Whether other pieces of work in the same transaction may succeed without the one that failed.
    pub(super) fn may_be_of_one_piece(&self) -> bool {
        match self {
            Self::Store(error) => error.may_be_of_one_piece(),
            Self::Key(_) | Self::Value(_) | Self::Clock(_) | Self::Changed { .. } | Self::NotPermitted => true,
            Self::OfWrites { error, .. } => error.may_be_of_one_piece(),
            Self::OutOfOrder(_) | Self::NoRoom | Self::Thread(_) | Self::Crowded | Self::Stopped => false,
        }
    }

    /// The damaged row that was met, if that is why.
    pub(super) fn damaged_row(&self) -> Option<RowId> {
        match self {
            Self::Store(error) => error.damaged_row(),
            _ => None,
        }
    }

    /// Whether there is no room left on the disk.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.kind() == StoreErrorKind::Full,
            Self::OfWrites { error, .. } => error.is_full(),
            _ => false,
        }
    }
}

/// A running node repairs its file by itself; one that is starting has left it as it was.
fn in_words(error: &StoreError) -> String {
    match error {
        StoreError::Damaged { file, why } => format!(
            "{} is damaged ({why}): nothing was stored. p2p-sync is copying what can be read into a new file: try again in a \
             moment. If the repair fails, the log says why and what to do",
            file.display()
        ),
        other => other.to_string(),
    }
}

/// A [`Key`](p2p_sync_core::Key) or [`Value`](p2p_sync_core::Value) has been checked already.
impl From<Infallible> for NodeError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}
