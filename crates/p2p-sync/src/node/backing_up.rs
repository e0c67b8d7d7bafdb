//! Copies of the store in one file, and nodes that begin with one.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use std::time::Duration;

use libp2p::identity::Keypair;

use super::{Node, NodeError, StartError};
use crate::config::Config;
use crate::net;
use crate::store::{self, DataDir, IfUnreadable, network_of};

pub(crate) use crate::store::BackedUp;

/// A data directory that has a store cannot take another one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RestoreError {
    /// There is a store.
    #[error("{} has a store. Nothing was changed: name another data directory with --data-dir", .0.display())]
    HasStore(PathBuf),
    /// It failed.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store that was restored cannot be read.
    #[error(transparent)]
    Node(#[from] NodeError),
}

impl Node {
    /// Copies everything that the store holds at this moment into a new file, which is checked before it has its name. Writes do not
    /// wait for that.
    ///
    /// # Errors
    /// If the file is there, it cannot be written, or the store is damaged, which is then mended as far as that is possible. No file
    /// is left.
    pub(crate) async fn back_up(&self, file: PathBuf) -> Result<BackedUp, NodeError> {
        let permit = Arc::clone(&self.inner.exports).try_acquire_owned();
        let _permit = permit.map_err(|_| NodeError::Crowded)?;
        self.read(move |readers| readers.back_up(&file)).await
    }

    /// Makes a node of a copy, in a data directory that has no store: with a new identity, unless one is there, and a new name for the
    /// store. It reaches nobody, and is to be [stopped](Self::stop).
    ///
    /// # Errors
    /// If there is a store, the copy is not sound, or the directory cannot be used. There is no store in it then.
    pub(crate) async fn restore(backup: &Path, data_dir: &Path, identity: Option<&[u8]>) -> Result<Self, RestoreError> {
        let directory = DataDir::open(data_dir).map_err(StartError::from)?;
        let paths = directory.paths().clone();
        if paths.has_store().map_err(StartError::from)? {
            return Err(RestoreError::HasStore(data_dir.to_owned()));
        }
        store::restore(backup, &directory).map_err(StartError::from)?;
        let file = paths.store_file();
        if let Some(identity) = identity {
            let written = crate::identity::put(&paths.identity_file(), identity);
            if let Err(error) = written {
                let _ = fs::remove_file(&file);
                return Err(StartError::from(error).into());
            }
        }
        let config = Config {
            network: network_of(&file).unwrap_or_default(),
            lan: false,
            new_identity: true,
            ..Config::new(data_dir)
        };
        let node = Self::start_in(directory, IfUnreadable::Refuse, net::offline::Offline, config, |_| {}).await?;
        Ok(node)
    }
}

/// The version of the SQLite library.
pub(crate) fn sqlite_version() -> &'static str {
    store::sqlite_version()
}

impl Node {
    /// The files that only the owner of the node should be able to read.
    pub(crate) fn private_files(&self) -> Vec<PathBuf> {
        let paths = self.paths();
        vec![
            paths.directory().to_owned(),
            paths.store_file(),
            paths.identity_file(),
            paths.token_file(),
        ]
    }
}

/// From which address the node with this key announces itself on the LAN, if it does within this time.
///
/// # Errors
/// With the reason, if this is no key.
pub(crate) async fn answers_on_lan(key: &[u8], within: Duration) -> Result<Option<String>, &'static str> {
    let keys = Keypair::from_protobuf_encoding(key).map_err(|_| "it does not contain a key pair")?;
    let peer = keys.public().to_peer_id();
    let found = net::libp2p::probe(within).await;
    let found = found.into_iter().find(|found| found.peer == peer);
    Ok(found.map(|found| found.from.to_string()))
}
