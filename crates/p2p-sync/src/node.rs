//! The only interface to a running node: a handle that is cheap to clone. Writes go to the thread that owns the replica and
//! its store, reads to a few separate connections, questions about peers to the network. Callers decide how to show the
//! answers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use p2p_sync_core::limits::CLOCK_LEAD_MAX;
use p2p_sync_core::replica::Replica;
use p2p_sync_core::{Clock, NetworkName, NodeId};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::names::Names;
use crate::net::libp2p::NetConfig;
use crate::net::{self, Network, ToPeers};
use crate::store::{Capacity, IfUnreadable, REMEMBERED_PEERS_MAX, Readers, network_of};
use crate::system::{self, Stopwatch};

mod backing_up;
mod builder;
mod checking;
mod completing;
mod dumping;
mod error;
mod examining;
mod keys;
mod ledger;
mod opening;
mod patrol;
mod readiness;
mod received_log;
mod remembering;
mod report;
mod sessions;
mod standings;
mod status;
#[cfg(test)]
mod tests;
pub mod watch;
mod work;
mod writer;

use patrol::Patrol;
use watch::Hub;
use work::{Reply, Request, Work};
use writer::Writer;

pub use crate::report::Verified;
pub use crate::store::{Conflicts, Counts, DataDir, DataPaths, Footprint, OpenError, StoreError, StoreErrorKind};
pub(crate) use crate::store::{Migration, exposure, write_private};
pub(crate) use backing_up::{RestoreError, answers_on_lan, sqlite_version};
pub use builder::NodeBuilder;
pub(crate) use dumping::{Export, ExportPage};
pub use error::{ErrorKind, NodeError, StartError};
pub use ledger::{
    Change, Committed, Condition, Dating, Done, Entry, Ledger, Merged, PeerView, Refused, Settled, Terms, Write,
};
pub use report::{Ahead, LastSync, PeerSync, Standing, SyncStatus, Synced, conflict};

/// Writes queued for the replica's thread. If the queue is full, the caller waits.
const REQUESTS_MAX: usize = 1_024;
/// Read-only connections. Reads are short; more would only wait for the same two or four cores.
const READERS: usize = 4;

/// A running node: a full copy of the data in a directory of its own, kept equal to those of its peers.
///
/// It is a handle: clones are cheap, can be used from any task, and are the same node. All methods answer from this node and
/// wait for no other, except [`sync`](Self::sync) and [`stop`](Self::stop).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// # let data_dir = directory.path();
/// use p2p_sync::Node;
///
/// let node = Node::builder(data_dir).port(0).lan(false).start().await?;
/// node.put("hello", "world").await?;
/// assert_eq!(node.get("hello").await?.expect("it was stored").text(), Some("world"));
/// node.stop().await;
/// # Ok(())
/// # }
/// ```
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
    failure: tokio::sync::watch::Receiver<Option<NodeError>>,
    patrol: Patrol,
    hub: Hub,
    /// How many records the check that runs has read.
    checked: Arc<AtomicU64>,
    /// Exports that may begin now.
    exports: Arc<Semaphore>,
    looking: examining::Looking,
    /// Held for the lock on it, as long as the store is open.
    data_dir: Arc<DataDir>,
}

impl Node {
    /// The settings of a node whose data is in this directory, which is created if it does not exist. A directory
    /// belongs to one node at a time.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let data_dir = directory.path();
    /// use p2p_sync::{Node, StartError};
    ///
    /// let settings = Node::builder(data_dir).port(0).lan(false).network("lab");
    /// let node = settings.clone().name("kitchen").start().await?;
    /// # node.stop().await;
    ///
    /// let wrong = settings.peer("192.168.1.5:4002").start().await;
    /// assert!(matches!(wrong, Err(StartError::Setting(_))));
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder(data_dir: impl Into<PathBuf>) -> NodeBuilder {
        NodeBuilder::new(data_dir.into())
    }

    /// Opens the data directory, starts the network, and returns once the node accepts requests. It does not wait for peers.
    ///
    /// Call it from a task of a Tokio runtime with I/O and time; the node runs on that until it is [stopped](Self::stop). A
    /// runtime of one thread will do: the store has a thread of its own. Several nodes can run in one process, on directories
    /// and ports of their own.
    ///
    /// # Errors
    /// If a setting is out of range, another process has the data directory or the port, the store or the identity cannot be used,
    /// or the network cannot be started.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_observed(config, |_| {}).await
    }

    /// Like [`start`](Self::start), but also reports progress while a store of an earlier version is upgraded, which takes
    /// some seconds for a million records.
    pub(crate) async fn start_observed(
        config: Config,
        observe: impl FnMut(Migration) + Send,
    ) -> Result<Self, StartError> {
        Self::start_on(net::libp2p::Lan, config, observe).await
    }

    /// A node that talks to nobody, on a data directory that this process holds already: for a few commands while no other runs
    /// there. It keeps to the network that the store belongs to; a new store will belong to `network`. `lan`: it may look around
    /// on the LAN when it is asked what is wrong, which is all that it does there. Like any node, it is to be
    /// [stopped](Self::stop).
    ///
    /// # Errors
    /// When the store or the identity cannot be used. A damaged store is repaired as far as its own data allow that, but not
    /// replaced.
    pub(crate) async fn start_offline(data_dir: DataDir, network: NetworkName, lan: bool) -> Result<Self, StartError> {
        let network = network_of(&data_dir.paths().store_file()).unwrap_or(network);
        let config = Config {
            network,
            lan,
            ..Config::new(data_dir.paths().directory())
        };
        Self::start_in(data_dir, IfUnreadable::Refuse, net::offline::Offline, config, |_| {}).await
    }

    async fn start_on(
        network: impl Network,
        config: Config,
        observe: impl FnMut(Migration) + Send,
    ) -> Result<Self, StartError> {
        config.check()?;
        let data_dir = DataDir::open(&config.data_dir)?;
        Self::start_in(data_dir, IfUnreadable::Replace, network, config, observe).await
    }

    async fn start_in(
        data_dir: DataDir,
        if_unreadable: IfUnreadable,
        network: impl Network,
        config: Config,
        mut observe: impl FnMut(Migration) + Send,
    ) -> Result<Self, StartError> {
        let runtime = opening::runtime(&config)?;
        let data_dir = Arc::new(data_dir);
        let paths = data_dir.paths().clone();
        // If there is one, it is of a node that was killed.
        let was_killed = std::fs::remove_file(paths.running_file()).is_ok();
        let port = network.claim_port(config.port)?;
        let key = opening::identity(&paths, config.new_identity)?;
        let id = net::libp2p::node_id(&key.public().to_peer_id())?;
        let (mut store, closed) = opening::store(&paths, &config, if_unreadable, &mut observe, was_killed)?;
        let readers = Readers::open(&paths.store_file(), READERS)?;
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
            private: None,
            configured: config.dialled_peers()?,
            remembered,
            lan: config.lan,
            message_limit: config.message_limit,
        };
        let looking = examining::Looking::new(config.lan, !network.is_offline(), closed);
        let started = network.start(net).await?;
        let to_peers = started.link.outbound.clone();
        let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
        let (failing, failure) = tokio::sync::watch::channel(None);
        let changed = Arc::new(Notify::new());
        let checked = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(
            ledger,
            readers.clone(),
            waiting,
            started.link,
            runtime,
            failing,
            names.clone(),
        )
        .with_watchers(Arc::clone(&changed))
        .with_progress(Arc::clone(&checked))
        .with_logged_values(config.log_values);
        let thread = opening::store_thread(writer, Arc::clone(&data_dir));
        let patrol = Patrol::start(readers.clone(), requests.downgrade(), patrolled);
        let hub = Hub::start(readers.clone(), changed);
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
                hub,
                checked,
                exports: Arc::new(Semaphore::new(dumping::EXPORTS_MAX)),
                looking,
                data_dir,
            }),
        })
    }

    /// The peer id of this node: the same for as long as its data directory lives.
    pub fn id(&self) -> NodeId {
        self.inner.id
    }

    /// What nodes are called, this one included.
    pub fn names(&self) -> &Names {
        &self.inner.names
    }

    /// The port that it listens on, TCP and UDP; not 0.
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// The multiaddresses that it listened on at startup, as others could dial them; see also [`Status`](crate::Status).
    pub fn listening(&self) -> &[String] {
        &self.inner.listening
    }

    /// The paths in the data directory of this node.
    pub(crate) fn paths(&self) -> &DataPaths {
        self.inner.data_dir.paths()
    }

    /// Holds a session with every connected peer and returns the results: one for each, none without peers. You rarely need this:
    /// the node does it by itself whenever there is a reason to.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// use p2p_sync::Standing;
    ///
    /// let sessions = node.sync().await?;
    /// let equal = sessions.iter().all(|session| session.standing == Standing::InSync);
    /// # assert!(equal);
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
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

    /// How many records the check that runs has read so far, or the last one in all.
    pub fn checked(&self) -> u64 {
        self.inner.checked.load(Ordering::Relaxed)
    }

    /// Waits until nothing can be stored any more, because the files of the store were removed, moved or replaced, and
    /// returns that error. The only thing left to do is to [stop](Self::stop). Never returns while all is well. A program that
    /// lives long awaits it beside its own work.
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
    /// [`NodeError::Stopped`], also those of clones. Stopping twice does nothing. Once it has returned and the last clone is
    /// dropped, another node can have the data directory and the port.
    ///
    /// A node whose last clone is dropped ends as well, a moment later and without a word to its peers. No acknowledged write is
    /// lost by that.
    pub async fn stop(&self) {
        let writer = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        self.inner.hub.end();
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

const _: () = assert!(
    REMEMBERED_PEERS_MAX >= 256,
    "a few hundred machines can find each other again without discovery"
);
