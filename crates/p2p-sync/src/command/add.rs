//! `add`: stores a value under a key.

use std::ffi::OsString;

use p2p_sync_core::{Key, Value};

use super::error::key;
use super::{CommandError, Format, Reply};
use crate::node::Node;

/// Stores a value under a key
///
/// At the prompt the value is the rest of the line as it stands, with its spaces and quotes. A key that has spaces, or
/// begins with a quote or a dash, is written in quotes. The reply comes when the value is safe on disk.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct Add {
    #[command(flatten)]
    pub(super) format: Format,
    /// Stores an empty value
    #[arg(long, conflicts_with = "value")]
    empty: bool,
    /// 1 to 256 bytes of text without control characters
    key: OsString,
    /// 0 to 65536 bytes of anything
    #[arg(required_unless_present = "empty", trailing_var_arg = true, allow_hyphen_values = true)]
    value: Vec<OsString>,
    #[arg(skip)]
    verbatim: Option<Vec<u8>>,
}

impl Add {
    /// The same command with a value that was not split into words.
    pub(super) fn with_verbatim(self, value: &[u8]) -> Self {
        Self { verbatim: Some(value.to_vec()), ..self }
    }

    pub(super) async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        let (key, value) = self.checked()?;
        Ok(Reply::Added(node.put(key, value).await?))
    }

    /// The key and the value, both within their limits.
    pub(super) fn checked(self) -> Result<(Key, Value), CommandError> {
        let key = key(&self.key)?;
        let words = || self.value.join(" ".as_ref()).into_encoded_bytes();
        Ok((key, Value::new(self.verbatim.unwrap_or_else(words))?))
    }
}
