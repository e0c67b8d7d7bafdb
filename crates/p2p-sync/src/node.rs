//! The only interface to a running node: a handle that is cheap to clone. Writes go to the thread that owns the replica and
//! its store, reads to a few separate connections, questions about peers to the network. Callers decide how to show the
//! answers.

use std::sync::{Arc, Mutex, PoisonError};

use libp2p::Multiaddr;
use p2p_sync_core::limits::CLOCK_LEAD_MAX;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::{Clock, Content, Key, NetworkName, NodeId, Record, Timestamp, Value, Versions};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::identity::{self, IfMissing};
use crate::names::Names;
use crate::net::libp2p::NetConfig;
use crate::net::{self, Network, ToPeers};
use crate::store::{
    Capacity, DataDir, DataPaths, IfUnreadable, REMEMBERED_PEERS_MAX, Readers, SqliteStore, known_peers,
};
use crate::system::{self, Stopwatch};

mod checking;
mod completing;
mod error;
mod ledger;
mod patrol;
mod received_log;
mod remembering;
mod report;
mod sessions;
mod standings;
mod status;
#[cfg(test)]
mod tests;
mod work;
mod writer;

use patrol::Patrol;
use work::{Reply, Request, Work};
use writer::Writer;

pub use crate::report::Verified;
pub use crate::store::{Conflicts, Counts, Footprint, Migration, OpenError, StoreError, StoreErrorKind};
pub use error::{ErrorKind, NodeError, StartError};
pub use ledger::{Change, Committed, Dating, Done, Entry, Ledger, Merged, PeerView, Refused, Settled};
pub use report::{Ahead, LastSync, PeerSync, Standing, SyncStatus, Synced, conflict};

/// Writes queued for the replica's thread. If the queue is full, the caller waits.
const REQUESTS_MAX: usize = 1_024;
/// Read-only connections. Reads are short; more would only wait for the same two or four cores.
const READERS: usize = 4;

/// A running node.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: NodeId,
    name: String,
    names: Names,
    network: NetworkName,
    port: u16,
    watch: Stopwatch,
    listening: Vec<String>,
    requests: mpsc::Sender<Request>,
    to_peers: mpsc::Sender<ToPeers>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<()>>>,
    failure: watch::Receiver<Option<NodeError>>,
    patrol: Patrol,
    /// Held for the lock on it.
    data_dir: DataDir,
}

impl Node {
    /// Opens the data directory, starts the network, and returns once the node accepts commands.
    ///
    /// # Errors
    /// If another process has the data directory or the port, the store or the identity cannot be used, or the network
    /// cannot be started.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_observed(config, |_| {}).await
    }

    /// Like [`start`](Self::start), but also reports progress while a store of an earlier version is upgraded, which takes
    /// some seconds for a million records.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_observed(config: Config, observe: impl FnMut(Migration) + Send) -> Result<Self, StartError> {
        Self::start_on(net::libp2p::Lan, config, observe).await
    }

    async fn start_on(
        network: impl Network,
        config: Config,
        mut observe: impl FnMut(Migration) + Send,
    ) -> Result<Self, StartError> {
        if std::time::SystemTime::now() < std::time::UNIX_EPOCH {
            return Err(StartError::Clock);
        }
        let data_dir = DataDir::open(&config.data_dir)?;
        let paths = data_dir.paths().clone();
        let port = network.claim_port(config.port)?;
        let has_store = paths.has_store()?;
        let store_file = paths.store_file();
        let if_missing = if has_store && !config.new_identity {
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
                store_file.display()
            );
        }
        let peer_id = key.public().to_peer_id();
        let id = net::libp2p::node_id(&peer_id)?;
        let are_known = !config.peers.is_empty() || !known_peers(&store_file).is_empty();
        let if_unreadable = if are_known {
            IfUnreadable::Replace
        } else {
            IfUnreadable::Refuse
        };
        let mut store = SqliteStore::open_or(&store_file, &config.network, if_unreadable, &mut observe)?;
        if let Some(link) = paths.store_link() {
            store.linked_from(link);
        }
        store.adopt_known_peers()?;
        let readers = Readers::open(&store_file, READERS)?;
        let last = store.last_timestamp_by(system::now().saturating_add(CLOCK_LEAD_MAX))?;
        let replica = Replica::new(id, Clock::new(last));
        let remembered = remembering::load(&mut store)?;
        let names = remembering::load_names(&mut store, id, &config.name)?;
        let patrolled = store.patrolled()?;
        let capacity = config.max_store.map_or(Capacity::Volume, Capacity::Bytes);
        let ledger = Ledger::new(replica, store).with_capacity(capacity);
        let net = NetConfig {
            key,
            name: config.name.clone(),
            names: names.clone(),
            port,
            network: config.network.clone(),
            configured: configured_peers(&config.peers)?,
            remembered,
            lan: config.lan,
            message_limit: config.message_limit,
        };
        let started = network.start(net).await?;
        let to_peers = started.link.outbound.clone();
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let (failing, failure) = watch::channel(None);
        let writer = Writer::new(
            ledger,
            readers.clone(),
            waiting,
            started.link,
            Handle::current(),
            failing,
            names.clone(),
        )
        .with_logged_values(config.log_values);
        let thread = tokio::task::spawn_blocking(move || writer.run());
        let patrol = Patrol::start(readers.clone(), requests.downgrade(), patrolled);
        Ok(Self {
            inner: Arc::new(Inner {
                id,
                name: config.name,
                names,
                network: config.network,
                port,
                watch: Stopwatch::start(),
                listening: started.addresses,
                requests,
                to_peers,
                readers,
                writer: Mutex::new(Some(thread)),
                failure,
                patrol,
                data_dir,
            }),
        })
    }

    /// The peer id of this node.
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// What nodes are called, this one included.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// The addresses that it listened on at startup.
    pub fn listening(&self) -> &[String] {
        &self.inner.listening
    }

    /// The paths in the data directory of this node.
    pub fn paths(&self) -> &DataPaths {
        self.inner.data_dir.paths()
    }

    /// Stores a value. When this returns, it is on disk, and on its way to the peers.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn put(&self, key: Key, value: Value) -> Result<Record, NodeError> {
        self.put_dated(key, value, Dating::AfterHeld).await
    }

    /// The same, and says how the write is dated.
    ///
    /// # Errors
    /// As for [`put`](Self::put).
    pub async fn put_dated(&self, key: Key, value: Value, dating: Dating) -> Result<Record, NodeError> {
        // A put always writes something; only a deletion may find nothing to do.
        let written = self.write(key, Content::Put(value), dating).await?;
        written.ok_or(NodeError::Stopped)
    }

    /// Deletes a key. None if it did not exist; nothing is written then.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn delete(&self, key: Key) -> Result<Option<Record>, NodeError> {
        self.delete_dated(key, Dating::AfterHeld).await
    }

    /// The same, and says how the deletion is dated. One dated now is also written where a deletion is held that other nodes do
    /// not accept yet.
    ///
    /// # Errors
    /// As for [`delete`](Self::delete).
    pub async fn delete_dated(&self, key: Key, dating: Dating) -> Result<Option<Record>, NodeError> {
        self.write(key, Content::Deleted, dating).await
    }

    /// From when on other nodes accept a version that this node wrote; none if they do now. One that is dated too far ahead
    /// was written over another one that was, by a clock that was wrong.
    pub fn accepted_from(&self, record: &Record) -> Option<Timestamp> {
        let is_ahead = record.timestamp > system::now().saturating_add(FUTURE_MAX);
        is_ahead.then(|| record.timestamp.saturating_sub(FUTURE_MAX))
    }

    /// Up to `limit` keys with a version that other nodes do not accept yet, because it is dated too far ahead.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn ahead(&self, limit: usize) -> Result<Vec<Key>, NodeError> {
        let accepted = system::now().saturating_add(FUTURE_MAX);
        let (_, first) = self.read(move |readers| readers.ahead(accepted, limit)).await?;
        Ok(first.into_iter().map(|(key, _)| key).collect())
    }

    /// Writes the content of a key again, dated now, and drops its versions that other nodes do not accept yet. None if it has
    /// none of those; nothing is written then.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn redate(&self, key: Key) -> Result<Option<Record>, NodeError> {
        self.work(|reply| Work::Redate { key, reply }).await
    }

    /// The live version of a key.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn get(&self, key: &Key) -> Result<Option<Record>, NodeError> {
        let held = self.versions(key).await?;
        Ok(held.winner().filter(|winner| winner.content.value().is_some()).cloned())
    }

    /// All versions of a key, its deletion included: none, one, or, if it is in conflict, several.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn versions(&self, key: &Key) -> Result<Versions, NodeError> {
        let key = key.clone();
        let ask = move |readers: &Readers| readers.versions(&key);
        match self.read(ask.clone()).await {
            // It is set aside. But if it was changed meanwhile, and is sound, it is as good as any.
            Err(NodeError::Store(error)) if error.damaged_row().is_some() => {
                self.set_aside(&error).await?;
                match self.read(ask).await {
                    Ok(held) if held == Versions::NONE => Err(error.into()),
                    Err(NodeError::Store(now)) if matches!(*now, StoreError::SetAside { .. }) => Err(error.into()),
                    held => held,
                }
            }
            held => held,
        }
    }

    /// Up to `limit` live records whose key starts with `prefix`, in key order, starting after `after`.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn list(&self, prefix: &str, after: Option<Key>, limit: usize) -> Result<Vec<Record>, NodeError> {
        let prefix = prefix.to_owned();
        self.around_damage(move |readers| readers.list(&prefix, after.as_ref(), limit))
            .await
    }

    /// Reads several rows. Damaged ones are set aside, and it is read again without them.
    async fn around_damage<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Readers) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, NodeError> {
        // A row with which there was nothing to do, as when the patrol has just taken it out: it is not met again.
        let mut left = None;
        loop {
            match self.read(ask.clone()).await {
                Err(NodeError::Store(error)) if error.damaged_row().is_some() => {
                    let row = error.damaged_row();
                    if self.set_aside(&error).await? {
                        left = None;
                    } else if left == row {
                        return Err(error.into());
                    } else {
                        left = row;
                    }
                }
                listed => return listed,
            }
        }
    }

    /// Removes damaged records, so that they come back from other nodes. Returns whether there was anything to do.
    async fn set_aside(&self, error: &StoreError) -> Result<bool, NodeError> {
        let rows = error.damaged_row().into_iter().collect();
        self.work(|reply| Work::SetAside { rows, reply }).await
    }

    /// How many live keys begin with `prefix`.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn count(&self, prefix: &str) -> Result<u64, NodeError> {
        let prefix = prefix.to_owned();
        self.read(move |readers| readers.count(&prefix)).await
    }

    /// How many keys there are.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn counts(&self) -> Result<Counts, NodeError> {
        self.read(Readers::counts).await
    }

    /// Holds a session with every connected peer and returns the results. You rarely need this: the node does it by itself
    /// whenever there is a reason to.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn sync(&self) -> Result<Vec<Synced>, NodeError> {
        self.ask(|reply| Request::Sync { reply }).await
    }

    /// Checks every record against what was stored, and digest and sketch against the records, and repairs what is wrong.
    /// Takes some seconds for a million records; the node keeps working meanwhile.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn verify(&self) -> Result<Verified, NodeError> {
        self.ask(|reply| Request::Verify { reply }).await?
    }

    /// Up to `limit` keys in conflict, in key order: those that start with `prefix` and come after `after`. There may be fewer
    /// before the end; [`Conflicts::next`] says where to go on.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn conflicts(&self, prefix: &str, after: Option<Key>, limit: usize) -> Result<Conflicts, NodeError> {
        let prefix = prefix.to_owned();
        self.around_damage(move |readers| readers.conflicts(&prefix, after.as_ref(), limit))
            .await
    }

    /// Chooses between the versions of a key in conflict: writes the content of the one with this timestamp again, or of the
    /// value that the key has, as a write that has seen them all. The conflict ends everywhere. None if the key is not in
    /// conflict, or has no such version; nothing is written then.
    ///
    /// # Errors
    /// When the store fails or the node has stopped.
    pub async fn resolve(
        &self,
        key: Key,
        timestamp: Option<Timestamp>,
        dating: Dating,
    ) -> Result<Option<Record>, NodeError> {
        self.work(|reply| Work::Resolve {
            key,
            timestamp,
            dating,
            reply,
        })
        .await
    }

    /// Waits until nothing can be stored any more, because the files of the store were removed, moved or replaced, and
    /// returns that error. The only thing left to do is to [stop](Self::stop). Never returns while all is well.
    pub async fn failed(&self) -> NodeError {
        let mut failure = self.inner.failure.clone();
        let failed = failure
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|failed| failed.clone());
        match failed {
            Some(error) => error,
            // The writer has ended without any.
            None => std::future::pending().await,
        }
    }

    /// Says goodbye to the peers. The node still accepts reads and writes; the peers get them when it is started again.
    pub async fn leave(&self) {
        let (done, is_done) = oneshot::channel();
        if self.inner.to_peers.send(ToPeers::Stop(done)).await.is_ok() {
            // The network drops its end when it has ended.
            let _ = is_done.await;
        }
    }

    /// [Leaves](Self::leave) the network, finishes queued writes, and closes the store. Later calls fail with
    /// [`NodeError::Stopped`]. Stopping twice does nothing.
    pub async fn stop(&self) {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        self.leave().await;
        if let Some(rowid) = self.inner.patrol.end() {
            let _ = self.inner.requests.send(Request::Work(Work::Patrolled(rowid))).await;
        }
        if self.inner.requests.send(Request::Stop).await.is_ok()
            && let Err(error) = writer.await
        {
            tracing::error!("the store thread ended abnormally: {error}");
        }
    }

    async fn write(&self, key: Key, content: Content, dating: Dating) -> Result<Option<Record>, NodeError> {
        self.work(|reply| Work::Write {
            key,
            content,
            dating,
            reply,
        })
        .await
    }

    async fn work<T>(&self, work: impl FnOnce(Reply<T>) -> Work) -> Result<T, NodeError> {
        self.ask(|reply| Request::Work(work(reply))).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.inner
            .requests
            .send(request(reply))
            .await
            .map_err(|_| NodeError::Stopped)?;
        answer.await.map_err(|_| NodeError::Stopped)
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Readers) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let readers = self.inner.readers.clone();
        let answer = tokio::task::spawn_blocking(move || read(&readers)).await;
        let answer = answer.map_err(|_| NodeError::Stopped)?.map_err(NodeError::from);
        if answer.as_ref().is_err_and(NodeError::is_damage) {
            // A full queue means that there is time to meet it again.
            let _ = self.inner.requests.try_send(Request::Damaged);
        }
        answer
    }
}

fn configured_peers(peers: &[String]) -> Result<Vec<Multiaddr>, StartError> {
    peers
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| StartError::PeerAddress(format!("{text}: {error}")))
        })
        .collect()
}

const _: () = assert!(
    REMEMBERED_PEERS_MAX >= 256,
    "a few hundred machines can find each other again without discovery"
);
