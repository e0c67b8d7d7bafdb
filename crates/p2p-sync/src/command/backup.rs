//! `backup`: a copy of the store in one file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Class, CommandError, Format, Reply, Run};
use crate::node::{Node, NodeError, StoreErrorKind};
use crate::report::{BackedUp, Schema};

/// Copies the store into one file
///
/// The copy is what this node holds at one moment, deletions and conflicts included; writes do not wait for it. It is checked, its structure
/// and every record, before it has its name. Only its owner can read it, and it must not exist yet. It does not hold the identity of
/// the node: `restore-backup` makes a new one of it. A running node makes copies by itself with `start --backup-dir`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    #[command(flatten)]
    #[serde(default)]
    pub(super) format: Format,
    /// The file to make
    file: PathBuf,
}

impl Run for Backup {
    fn lines(schema: Schema) -> Schema {
        schema.line::<BackedUp>()
    }

    fn format(&self) -> Format {
        self.format
    }

    async fn run(self, node: &Node) -> Result<Reply, CommandError> {
        if self.file.exists() {
            let text = format!(
                "{} is there already. Nothing was done: name another file",
                self.file.display()
            );
            return Err(CommandError::new(Class::Conflict, text));
        }
        let made = node.back_up(self.file.clone()).await;
        let made = made.map_err(|error| not_made(&self.file, &error))?;
        Ok(Reply::BackedUp(BackedUp {
            file: self.file.display().to_string(),
            records: made.records,
            bytes: made.bytes,
        }))
    }
}

impl Backup {
    /// The same command for a node that runs in another directory.
    ///
    /// # Errors
    /// When nobody knows in which directory this is.
    pub fn with_whole_path(self) -> Result<Self, CommandError> {
        let file = std::path::absolute(&self.file).map_err(|error| {
            let text = format!(
                "Cannot tell where {} is: {error}. Nothing was done",
                self.file.display()
            );
            CommandError::new(Class::Failed, text)
        })?;
        Ok(Self { file, ..self })
    }
}

fn not_made(file: &Path, error: &NodeError) -> CommandError {
    let is_damage = matches!(error, NodeError::Store(error) if error.kind() == StoreErrorKind::Damaged);
    let next = if is_damage {
        ". Run `verify`, and make it again"
    } else {
        ""
    };
    let class = CommandError::from(error.clone()).class;
    CommandError::new(class, format!("{} was not made: {error}{next}", file.display()))
}
