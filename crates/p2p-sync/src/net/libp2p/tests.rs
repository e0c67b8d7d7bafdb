//! Whole networks over loopback, as the node sees them.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use libp2p::identity::Keypair;
use p2p_sync_core::{NodeId, Timestamp, Via};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::net::suite::End;
use crate::net::{FromPeers, claim_port};

mod doors;
mod feeds;
mod lying;
mod reaching;
mod sessions;
mod strangers;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Net {
    end: End,
    address: Multiaddr,
}

impl Deref for Net {
    type Target = End;

    fn deref(&self) -> &End {
        &self.end
    }
}

impl DerefMut for Net {
    fn deref_mut(&mut self) -> &mut End {
        &mut self.end
    }
}

impl Net {
    async fn start(network: &str, peers: &[&Net]) -> Self {
        Self::start_at(network, peers.iter().map(|net| net.address.clone()).collect()).await
    }

    async fn start_at(network: &str, configured: Vec<Multiaddr>) -> Self {
        Self::start_as("test", network, configured).await
    }

    async fn start_as(name: &str, network: &str, configured: Vec<Multiaddr>) -> Self {
        let mut config = config(Keypair::generate_ed25519(), network, configured);
        config.name = name.to_owned();
        Self::start_with(config).await
    }

    async fn start_with(config: NetConfig) -> Self {
        let (peer, port) = (config.key.public().to_peer_id(), config.port);
        let started = spawn(config).await.unwrap();
        let (link, id) = (started.link, node_id(&peer).unwrap());
        Self {
            end: End { link, id },
            address: format!("/ip4/127.0.0.1/udp/{port}/quic-v1/p2p/{peer}").parse().unwrap(),
        }
    }

    fn missed(&self, peer: NodeId) -> u64 {
        self.link.streams.peers.borrow().get(&peer).unwrap().missed
    }

    /// Takes what arrives next of another's writes: what was gossiped, and what was fed.
    async fn hears_of_writes(&mut self, gossiped: &mut Vec<Timestamp>, fed: &mut Vec<Timestamp>) {
        let message = timeout(PATIENCE, self.link.inbound.recv());
        match message.await.expect("some are lost").unwrap() {
            FromPeers::Records { via, records, .. } => {
                let heard = if matches!(via, Via::Feed { .. }) { fed } else { gossiped };
                heard.extend(records.iter().map(|it| it.timestamp));
            }
            FromPeers::Reached { .. } => {}
        }
    }

    async fn stop(self) {
        self.end.stop().await;
    }
}

fn config(key: Keypair, network: &str, configured: Vec<Multiaddr>) -> NetConfig {
    NetConfig {
        key,
        name: "test".to_owned(),
        names: Names::default(),
        port: claim_port(0).unwrap(),
        network: network.parse().unwrap(),
        private: None,
        configured,
        remembered: Vec::new(),
        lan: false,
        message_limit: 100,
    }
}

async fn pair() -> (Net, Net) {
    let mut a = Net::start("", &[]).await;
    let mut b = Net::start("", &[&a]).await;
    a.has_peer(b.id).await;
    b.has_peer(a.id).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_promises_of_a_network() {
    let (a, b) = pair().await;
    let address = b.address.clone();
    let again = async || Net::start_at("", vec![address]).await.end;
    crate::net::suite::run([a.end, b.end], again).await;
}

/// RSA ids are hashed like those of ECDSA.
#[test]
fn the_peer_ids_of_all_types_of_keys_fit() {
    for (key, bytes) in [
        (Keypair::generate_ed25519(), 38),
        (Keypair::generate_secp256k1(), 39),
        (Keypair::generate_ecdsa(), 34),
    ] {
        let peer = key.public().to_peer_id();
        let id = node_id(&peer).unwrap();
        assert_eq!(id.as_bytes().len(), bytes, "{:?}", key.key_type());
        assert_eq!(id.to_string(), peer.to_string());
    }
}

#[tokio::test]
async fn a_transport_that_cannot_listen_is_told_with_the_reason() {
    let held = std::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let config = NetConfig {
        port,
        ..config(Keypair::generate_ed25519(), "listening", Vec::new())
    };
    let started = spawn(config).await.unwrap();
    let (reply, answer) = oneshot::channel();
    started.link.outbound.send(ToPeers::Status(reply)).await.unwrap();
    let status = answer.await.unwrap();
    let [told] = status.not_listening.as_slice() else {
        panic!("{:?}", status.not_listening);
    };
    assert_eq!(told.address, format!("/ip4/0.0.0.0/tcp/{port}"));
    assert!(told.reason.to_lowercase().contains("in use"), "{}", told.reason);
}
