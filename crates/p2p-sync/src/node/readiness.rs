//! Whether each part of a node does its work: the network, the thread that writes, and the readers of the store.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::work::Request;
use super::{Node, NodeError};
use crate::net::ToPeers;
use crate::store::Readers;

impl Node {
    /// What does not answer within this time, or answers with a failure: a sentence for each. Nothing: the node is ready.
    pub async fn hindrances(&self, within: Duration) -> Vec<String> {
        if let Some(error) = self.inner.failure.borrow().as_ref() {
            return vec![format!("The node can store nothing any more: {error}")];
        }
        let (network, writer, readers) = tokio::join!(
            timeout(within, self.ask_network()),
            timeout(within, self.ask(|reply| Request::SyncStatus { reply })),
            timeout(within, self.read(Readers::cursor)),
        );
        let told = [
            hindrance("The network", network.map(|answer| answer.map(drop)), within),
            hindrance("The thread that writes", writer.map(|answer| answer.map(drop)), within),
            hindrance("The store", readers.map(|answer| answer.map(drop)), within),
        ];
        told.into_iter().flatten().collect()
    }

    async fn ask_network(&self) -> Result<(), NodeError> {
        let (reply, answer) = oneshot::channel();
        let asked = self.inner.to_peers.send(ToPeers::Status(reply)).await;
        asked.map_err(|_| NodeError::Stopped)?;
        answer.await.map(drop).map_err(|_| NodeError::Stopped)
    }
}

fn hindrance<E>(part: &str, answer: Result<Result<(), NodeError>, E>, within: Duration) -> Option<String> {
    match answer {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{part} fails: {error}")),
        Err(_) => Some(format!("{part} did not answer within {} s", within.as_secs_f64())),
    }
}
