//! How a node is doing: the state of the network, the store and sync, put together.

use std::sync::Arc;
use std::time::Duration;

use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::{Key, NodeId, Timestamp};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::work::Request;
use super::{Ahead, Footprint, Node, NodeError, SyncStatus};
use crate::net::{Multicast, NetStatus, ToPeers};
use crate::report::{self, Count, Messages, Peer, Status};
use crate::store::Readers;
use crate::system;

/// How long the answer to a ping may take. A connection that is dead is closed soon after.
const PING_PATIENCE: Duration = Duration::from_secs(5);
/// Records dated too far ahead that `status` names.
const AHEAD_TOLD: usize = 5;

impl Node {
    /// Measures the round trip to a connected peer now. None if it is not connected, or does not answer in time.
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn ping(&self, peer: NodeId) -> Result<Option<Duration>, NodeError> {
        let (reply, answer) = oneshot::channel();
        let order = ToPeers::Ping { peer, reply };
        self.inner.to_peers.send(order).await.map_err(|_| NodeError::Stopped)?;
        Ok(timeout(PING_PATIENCE, answer).await.ok().and_then(Result::ok))
    }

    /// The peers that are connected now.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// for peer in node.peers().await? {
    ///     println!("{} at {} by {}", peer.display_name, peer.address, peer.transport);
    /// }
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the node has stopped.
    pub async fn peers(&self) -> Result<Vec<Peer>, NodeError> {
        Ok(self.net_status().await?.peers)
    }

    /// How the node is doing: its peers, its store, the state of sync, and what was refused or dropped since the start.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let node = p2p_sync::Node::builder(directory.path()).port(0).lan(false).start().await?;
    /// let status = node.status().await?;
    /// println!("{} keys, {} peers, sync: {:?}", status.keys, status.peers.len(), status.sync.state);
    /// # node.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the store fails or the node has stopped.
    pub async fn status(&self) -> Result<Status, NodeError> {
        let net = self.net_status().await?;
        let accepted = system::now().saturating_add(FUTURE_MAX);
        let (records, first) = self.read(move |readers| readers.ahead(accepted, AHEAD_TOLD)).await?;
        let due = |(key, timestamp): (Key, Timestamp)| (key, timestamp.saturating_sub(FUTURE_MAX));
        let sync = SyncStatus {
            ahead: Ahead {
                records,
                first: first.into_iter().map(due).collect(),
            },
            conflicts: self.read(Readers::conflict_count).await?,
            ..self.ask(|reply| Request::SyncStatus { reply }).await?
        };
        let (footprint, counts) = (self.footprint().await?, self.counts().await?);
        let (multicast, heard, failure) = match net.multicast {
            Multicast::Off => (report::Multicast::Off, None, None),
            Multicast::Unknown { why } => (report::Multicast::Unknown, None, Some(why)),
            Multicast::Silent => (report::Multicast::Silent, None, None),
            Multicast::Heard { ago } => (report::Multicast::Heard, Some(ago.as_secs()), None),
        };
        let names = &self.inner.names;
        Ok(Status {
            peer_id: self.inner.id.to_string(),
            name: self.inner.name.clone(),
            network: self.inner.network.as_str().to_owned(),
            port: self.inner.port,
            addresses: net.addresses,
            keys: counts.live,
            deleted: counts.deleted,
            peers: net.peers,
            known_peers: net.known_peers,
            mesh: net.mesh,
            messages: Messages {
                sent: net.sent,
                received: net.received,
                unheard: net.unheard,
            },
            dropped: net.dropped.into_iter().map(Count::from).collect(),
            sync: sync.report(names),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.inner.watch.uptime().0.as_secs(),
            data_dir: footprint.directory.to_string_lossy().into_owned(),
            store: report::Store {
                bytes: footprint.store_bytes,
                log_bytes: footprint.log_bytes,
                free_bytes: footprint.free_bytes,
            },
            troubles: net
                .troubles
                .iter()
                .map(|one| super::report::trouble(one, names))
                .collect(),
            multicast,
            multicast_heard_seconds_ago: heard,
            multicast_failure: failure,
            not_listening: net.not_listening,
        })
    }

    async fn net_status(&self) -> Result<NetStatus, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.inner
            .to_peers
            .send(ToPeers::Status(reply))
            .await
            .map_err(|_| NodeError::Stopped)?;
        answer.await.map_err(|_| NodeError::Stopped)
    }

    async fn footprint(&self) -> Result<Footprint, NodeError> {
        let inner = Arc::clone(&self.inner);
        let measured = tokio::task::spawn_blocking(move || inner.data_dir.paths().footprint());
        measured.await.map_err(|_| NodeError::Stopped)
    }
}
