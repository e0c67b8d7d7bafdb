//! How a node is doing: the state of the network, the store and sync, put together.

use std::sync::Arc;

use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::{Key, Timestamp};
use tokio::sync::oneshot;

use super::work::Request;
use super::{Ahead, Footprint, Node, NodeError, Status, SyncStatus};
use crate::net::ToPeers;
use crate::store::Readers;
use crate::system;

/// Records dated too far ahead that `status` names.
const AHEAD_TOLD: usize = 5;

impl Node {
    /// How the node is doing.
    ///
    /// # Errors
    /// If the store fails or the node has stopped.
    pub async fn status(&self) -> Result<Status, NodeError> {
        let (reply, answer) = oneshot::channel();
        self.inner
            .to_peers
            .send(ToPeers::Status(reply))
            .await
            .map_err(|_| NodeError::Stopped)?;
        let net = answer.await.map_err(|_| NodeError::Stopped)?;
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
        Ok(Status {
            id: self.inner.id,
            name: self.inner.name.clone(),
            network: self.inner.network.clone(),
            port: self.inner.port,
            version: env!("CARGO_PKG_VERSION"),
            uptime: self.inner.watch.uptime().0,
            footprint: self.footprint().await?,
            counts: self.counts().await?,
            net,
            sync,
        })
    }

    async fn footprint(&self) -> Result<Footprint, NodeError> {
        let inner = Arc::clone(&self.inner);
        let measured = tokio::task::spawn_blocking(move || inner.data_dir.paths().footprint());
        measured.await.map_err(|_| NodeError::Stopped)
    }
}
