//! `restore-backup`: makes a data directory of a copy of a store.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::runtime::Builder;

use super::place::Place;
use super::transfer::note;
use super::{Failure, cannot_begin, descriptors, output};
use crate::command::{Class, CommandError};
use crate::node::{Node, RestoreError};
use crate::report::{Restored, line};

/// How long the node that has an identity may take to answer on the LAN.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Makes a data directory of a backup
///
/// The directory must have no store yet. What comes of it is a new node, with an identity of its own: it takes part like any other, and
/// what was changed or deleted since the backup comes from the others, so nothing that was deleted returns. Every record is
/// checked. No node is started.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RestoreBackup {
    /// The file that `backup` made
    file: PathBuf,
    /// Goes on as the node that has this key: the `identity.key` of its data directory. Refused while that node answers on the LAN
    #[arg(long, value_name = "KEYFILE")]
    keep_identity: Option<PathBuf>,
    /// Tells in JSON what was restored
    #[arg(long)]
    json: bool,
}

impl RestoreBackup {
    /// Restores.
    ///
    /// # Errors
    /// When there is no usable directory at the end.
    pub(super) fn run(self, place: &Place) -> Result<ExitCode, Failure> {
        descriptors::claim()?;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| cannot_begin(&error))?;
        let restored = runtime.block_on(self.restore(place));
        runtime.shutdown_background();
        match restored {
            Ok(restored) if self.json => {
                let told = std::io::Write::write_all(&mut std::io::stdout(), line(&restored).as_bytes());
                told.map_err(|error| super::cannot_write(&error))?;
            }
            Ok(restored) => note(&format!(
                "Restored: {} records into {}, as {}. Start it: p2p-sync start --data-dir {0}",
                restored.records, restored.data_dir, restored.peer_id
            )),
            Err(failure) if self.json => {
                output::say(CommandError::new(failure.class, failure.text).json().trim_end());
                return Ok(ExitCode::from(failure.class.code()));
            }
            Err(failure) => return Err(failure),
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn restore(&self, place: &Place) -> Result<Restored, Failure> {
        let data_dir = place.data_dir()?;
        let identity = self.identity().await?;
        let node = Node::restore(&self.file, &data_dir, identity.as_deref()).await?;
        let verified = node.verify().await;
        let peer_id = node.id().to_string();
        node.stop().await;
        let verified = verified.map_err(CommandError::from)?;
        Ok(Restored {
            records: verified.records,
            damaged: verified.damaged,
            data_dir: data_dir.display().to_string(),
            peer_id,
        })
    }

    /// The key of the node as which it goes on, if nobody else does.
    async fn identity(&self) -> Result<Option<Vec<u8>>, Failure> {
        let Some(file) = &self.keep_identity else {
            return Ok(None);
        };
        let key = fs::read(file).map_err(|error| {
            let text = format!("Cannot read {}: {error}. Nothing was done", file.display());
            Failure::new(Class::Failed, text)
        })?;
        let answers = crate::node::answers_on_lan(&key, ANSWER_WITHIN).await;
        match answers {
            Ok(None) => Ok(Some(key)),
            Ok(Some(address)) => {
                let text = format!(
                    "The node with the identity of {} answers at {address}: two nodes must not be the same. Nothing was done. Stop \
                     that one, or restore without --keep-identity",
                    file.display()
                );
                Err(Failure::new(Class::Conflict, text))
            }
            Err(why) => {
                let text = format!("{} cannot be used: {why}. Nothing was done", file.display());
                Err(Failure::new(Class::Invalid, text))
            }
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::HasStore(_) => Self::new(Class::Conflict, error.to_string()),
            RestoreError::Start(error) => error.into(),
            RestoreError::Node(error) => CommandError::from(error).into(),
        }
    }
}
