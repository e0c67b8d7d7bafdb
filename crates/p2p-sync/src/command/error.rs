//! Why a command failed: a text for people, and a class for programs.

use std::ffi::OsStr;

use p2p_sync_core::record::{InvalidKey, ValueTooLarge};
use p2p_sync_core::text::printable;
use p2p_sync_core::{Key, Record};
use serde::{Deserialize, Serialize};

use crate::node::{NodeError, StoreErrorKind};
use crate::report::{Class, Failure};

/// A failed command. The text says what failed, what happened to the data, and what to do; it is safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(into = "Failure", from = "Failure")]
#[error("{text}")]
pub struct CommandError {
    /// What kind of failure.
    pub class: Class,
    text: String,
}

impl CommandError {
    /// An error with a text for people. Anything that the text quotes is made safe to show.
    pub fn new(class: Class, text: impl AsRef<str>) -> Self {
        Self {
            class,
            text: printable(text.as_ref().as_bytes()),
        }
    }

    pub(super) fn not_found(key: &Key) -> Self {
        Self::new(Class::NotFound, format!("Not found: {key}"))
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        Self {
            error: error.text,
            code: error.class,
        }
    }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code, failure.error)
    }
}

impl From<InvalidKey> for CommandError {
    fn from(error: InvalidKey) -> Self {
        Self::new(Class::Invalid, format!("Invalid key: {error}. Nothing was changed."))
    }
}

impl From<ValueTooLarge> for CommandError {
    fn from(error: ValueTooLarge) -> Self {
        Self::new(Class::Invalid, format!("Value too large: {error}. Nothing was stored."))
    }
}

impl From<NodeError> for CommandError {
    fn from(error: NodeError) -> Self {
        let text = error.to_string();
        Self::new(class_of(&error), text)
    }
}

/// The class of a failed request.
fn class_of(error: &NodeError) -> Class {
    match error {
        NodeError::OfWrites { error, .. } => class_of(error),
        NodeError::Store(error) | NodeError::OutOfOrder(error) => Class::from(error.kind()),
        NodeError::Key(_) | NodeError::Value(_) => Class::Invalid,
        NodeError::NoRoom => Class::Storage,
        NodeError::Changed { .. } => Class::Conflict,
        NodeError::NotPermitted => Class::NotPermitted,
        NodeError::Clock(_) | NodeError::Thread(_) | NodeError::Crowded | NodeError::Stopped => Class::Failed,
    }
}

impl From<StoreErrorKind> for Class {
    fn from(kind: StoreErrorKind) -> Self {
        match kind {
            StoreErrorKind::InUse => Self::InUse,
            StoreErrorKind::OtherNetwork => Self::Conflict,
            StoreErrorKind::NotPermitted => Self::NotPermitted,
            StoreErrorKind::Newer
            | StoreErrorKind::Unsupported
            | StoreErrorKind::Damaged
            | StoreErrorKind::Full
            | StoreErrorKind::Io => Self::Storage,
            StoreErrorKind::Busy | StoreErrorKind::Internal => Self::Failed,
        }
    }
}

/// The key that a word names.
pub(super) fn key(word: &OsStr) -> Result<Key, CommandError> {
    Ok(Key::new(word.to_str().ok_or(InvalidKey::NotUtf8)?)?)
}

/// The record, or that there is none.
pub(super) fn found(record: Option<Record>, key: &Key) -> Result<Record, CommandError> {
    record.ok_or_else(|| CommandError::not_found(key))
}
