//! Peers that lie about others: what a node does because of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use libp2p::identify;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::NetworkBehaviour;

use super::*;

#[derive(NetworkBehaviour)]
struct Liar {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
}

/// Answers every lookup with peers that nobody ever saw, at these addresses.
fn liar(addresses: &[Multiaddr]) -> libp2p::Swarm<Liar> {
    let protocol = behaviour::kad_protocol(&"".parse().unwrap()).unwrap();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        // It cannot dial what it lies about itself.
        .with_quic()
        .with_behaviour(|key| {
            let me = key.public().to_peer_id();
            let mut kad = kad::Behaviour::with_config(me, MemoryStore::new(me), kad::Config::new(protocol));
            kad.set_mode(Some(kad::Mode::Server));
            for _ in 0..2_000 {
                let nobody = PeerId::random();
                for address in addresses {
                    kad.add_address(&nobody, address.clone());
                }
            }
            let config = identify::Config::new("/p2p-sync/1".to_owned(), key.public());
            Liar {
                identify: identify::Behaviour::new(config.with_agent_version("p2p-sync/0.1.0/1".to_owned())),
                kad,
            }
        })
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    swarm
        .listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap())
        .unwrap();
    swarm
}

async fn lie(mut liar: libp2p::Swarm<Liar>) {
    loop {
        liar.select_next_some().await;
    }
}

/// All of them name the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_about_where_peers_are_cause_few_dials() {
    let node = Net::start("", &[]).await;
    let knocks = Arc::new(AtomicUsize::new(0));
    let mut at_victim = Vec::new();
    let mut doors = Vec::new();
    for _ in 0..20 {
        let door = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = door.local_addr().unwrap().port();
        at_victim.push(format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap());
        let counted = Arc::clone(&knocks);
        doors.push(tokio::spawn(async move {
            while let Ok((stream, _)) = door.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                drop(stream);
            }
        }));
    }
    let liars: Vec<_> = (0..4)
        .map(|_| {
            let mut liar = liar(&at_victim);
            liar.dial(node.address.clone()).unwrap();
            tokio::spawn(lie(liar))
        })
        .collect();
    let first_knock = async {
        while knocks.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, first_knock).await.expect("nobody is looked for");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let knocks = knocks.load(Ordering::Relaxed);
    println!("{knocks} dials");
    // What two intervals allow.
    assert!(knocks <= 256, "{knocks} dials");
    liars.iter().chain(&doors).for_each(tokio::task::JoinHandle::abort);
    node.stop().await;
}
