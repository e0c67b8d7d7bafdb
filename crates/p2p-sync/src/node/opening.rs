//! What a node needs when it starts: settings and a runtime that will do, and what it finds in its data directory: its identity,
//! and its store.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::identity::Keypair;
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::writer::Writer;
use super::{StartError, StoreError};
use crate::config::Config;
use crate::identity::{self, IfMissing};
use crate::report::Closed;
use crate::store::{DataDir, DataPaths, IfUnreadable, Observer, OpenError, SqliteStore, known_peers};

/// The runtime to start on, if everything is as a node needs it.
pub(super) fn runtime(config: &Config) -> Result<Handle, StartError> {
    config.check()?;
    if SystemTime::now() < UNIX_EPOCH {
        return Err(StartError::Clock);
    }
    Handle::try_current().map_err(|_| StartError::NoRuntime)
}

/// Starts the thread of the store. A node that was dropped without being stopped lets nobody else into its directory before the store
/// is closed.
pub(super) fn store_thread(writer: Writer, lock: Arc<DataDir>) -> JoinHandle<()> {
    spawn_blocking(move || {
        writer.run();
        drop(lock);
    })
}

/// The identity of the node; a new one where there is none, unless there is a store: its records would become a stranger's.
pub(super) fn identity(paths: &DataPaths, new_identity: bool) -> Result<Keypair, StartError> {
    let has_store = paths.has_store()?;
    let if_missing = if has_store && !new_identity {
        IfMissing::Refuse
    } else {
        IfMissing::Create
    };
    let had_identity = paths.identity_file().exists();
    let key = identity::load_or_create(&paths.identity_file(), if_missing)?;
    if !has_store && had_identity {
        tracing::warn!(
            "{} is missing, but this node has an identity: starting with an empty store. Data that other nodes \
             have comes back from them",
            paths.store_file().display()
        );
    }
    Ok(key)
}

/// Opens the store, and says how it was left; `was_killed`: a node that ran there did not end by itself. One in which nothing can be read is replaced only if somebody is known who can fill it.
pub(super) fn store(
    paths: &DataPaths,
    config: &Config,
    if_unreadable: IfUnreadable,
    observe: Observer<'_>,
    was_killed: bool,
) -> Result<(SqliteStore, Closed), StoreError> {
    let file = paths.store_file();
    let before = paths.footprint();
    let are_known = !config.peers.is_empty() || !known_peers(&file).is_empty();
    let if_unreadable = if are_known { if_unreadable } else { IfUnreadable::Refuse };
    let mut store = SqliteStore::open_or(&file, &config.network, if_unreadable, observe)?;
    // The streams and the gossip of a node know nothing of signatures yet: it would take part in an open network.
    if store.roster().is_some() {
        return Err(OpenError::Private { file }.into());
    }
    if let Some(link) = paths.store_link() {
        store.linked_from(link);
    }
    store.adopt_known_peers()?;
    // Closing a store empties its log.
    let was_killed = was_killed || before.log_bytes.is_some_and(|bytes| bytes > 0);
    let closed = match before.store_bytes {
        _ if store.was_rescued() => Closed::Rescued,
        None => Closed::New,
        Some(_) if was_killed => Closed::Killed,
        Some(_) => Closed::Cleanly,
    };
    Ok((store, closed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use p2p_sync_core::membership::{Entry, EntryId, Roster, SecretKey, Statement};
    use p2p_sync_core::store::Store;
    use p2p_sync_core::{NetworkName, Timestamp};

    use super::*;

    #[test]
    fn a_node_does_not_take_the_store_of_a_private_network_for_one_of_an_open_one() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DataDir::open(directory.path()).unwrap();
        let (paths, config) = (lock.paths(), Config::new(directory.path()));
        let open = || store(paths, &config, IfUnreadable::Refuse, &mut |_| {}, false);
        open().unwrap().0.close().unwrap();
        let key = |seed| SecretKey::from_seed([seed; 32]);
        let genesis = Statement::Genesis {
            recovery: key(2).public(),
            secret: [0; 32],
            nonce: [0; 16],
            name: "home".parse().unwrap(),
        };
        let genesis = Entry::sign(EntryId([0; 32]), &key(1), Timestamp::MIN, genesis).unwrap();
        let mut private = SqliteStore::open(&paths.store_file(), &NetworkName::default()).unwrap();
        let mut transaction = private.begin().unwrap();
        transaction
            .keep_members(Arc::new(Roster::new(genesis).unwrap()))
            .unwrap();
        transaction.commit().unwrap();
        private.close().unwrap();
        let refused = open().unwrap_err();
        assert!(
            matches!(refused, StoreError::Open(OpenError::Private { .. })),
            "{refused}"
        );
    }
}
