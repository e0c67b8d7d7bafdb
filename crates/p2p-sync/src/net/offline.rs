//! A network that reaches nobody: for commands that use a store directly because no node runs on it. It opens no socket. What is
//! written meanwhile reaches the others when a node is started: sync sees to that.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::libp2p::{NetConfig, NetError, Started};
use super::{Audience, Link, NetStatus, Network, PeerLinks, PortError, StreamEvent, Streams, ToPeers};

/// Nobody asks much of it.
const QUEUE_MAX: usize = 16;

/// No network.
#[derive(Debug)]
pub(crate) struct Offline;

impl Network for Offline {
    fn claim_port(&self, port: u16) -> Result<u16, PortError> {
        Ok(port)
    }

    fn is_offline(&self) -> bool {
        true
    }

    async fn start(self, _: NetConfig) -> Result<Started, NetError> {
        let (outbound, orders) = mpsc::channel(QUEUE_MAX);
        let (inbound, from_peers) = mpsc::channel(1);
        let (happened, events) = mpsc::channel(QUEUE_MAX);
        let (links, peers) = watch::channel(PeerLinks::new());
        tokio::spawn(async move {
            serve(orders, &happened).await;
            drop((inbound, links));
        });
        Ok(Started {
            link: Link {
                audience: Arc::new(Audience::default()),
                outbound,
                inbound: from_peers,
                streams: Streams { peers, events },
            },
            addresses: Vec::new(),
        })
    }
}

/// Answers what can be answered without anybody else, until the node stops or is gone.
async fn serve(mut orders: mpsc::Receiver<ToPeers>, happened: &mpsc::Sender<StreamEvent>) {
    while let Some(order) = orders.recv().await {
        match order {
            ToPeers::Status(reply) => drop(reply.send(NetStatus::default())),
            ToPeers::OpenStream { peer, order } => {
                let _ = happened.send(StreamEvent::NotOpened { peer, order }).await;
            }
            ToPeers::Stop(_done) => break,
            ToPeers::Live(_)
            | ToPeers::ChangedNothing { .. }
            | ToPeers::Vouch { .. }
            | ToPeers::Ping { .. }
            | ToPeers::AskBack { .. } => {}
        }
    }
}
