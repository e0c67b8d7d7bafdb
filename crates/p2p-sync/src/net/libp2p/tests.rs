//! Whole networks over loopback, as the node sees them.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{gossipsub, identify, noise, tcp, yamux};
use p2p_sync_core::sync::Frame;
use p2p_sync_core::{NodeId, Timestamp, Via};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;
use crate::net::suite::{End, record};
use crate::net::{FromPeers, NetStatus, STREAM_BYTES_MAX, StreamEvent, StreamOrder, claim_port};

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
        let key = Keypair::generate_ed25519();
        let peer = key.public().to_peer_id();
        let port = claim_port(0).unwrap();
        let config = NetConfig {
            key,
            name: "test".to_owned(),
            names: Names::default(),
            port,
            network: network.parse().unwrap(),
            configured,
            remembered: Vec::new(),
            lan: false,
            message_limit: 100,
        };
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_carries_frames_both_ways_at_the_pace_of_a_slow_reader() {
    /// What QUIC or Yamux may keep for a stream, with the pages in between.
    const UNDER_WAY_MAX: usize = STREAM_BYTES_MAX + 32 * 1024 * 1024;
    const PAGES: usize = 240;
    let (mut a, mut b) = pair().await;
    a.tell(ToPeers::OpenStream {
        peer: b.id,
        order: StreamOrder(1),
    })
    .await;
    let (stream, peer, outgoing) = a.opened().await;
    assert_eq!(peer, b.id);
    outgoing.send(Frame::Done).await.unwrap();
    let (theirs, peer, answers) = b.opened().await;
    assert_eq!(peer, a.id);
    assert_eq!(b.heard().await, Frame::Done);

    let author = a.id;
    let sending = tokio::spawn(async move {
        for number in 0..PAGES as i64 {
            let records = vec![record(author, number, 60_000); 4];
            outgoing.send(Frame::Records { bulk: None, records }).await.unwrap();
        }
        outgoing
    });
    let (mut sent, mut taken, mut arrived) = (0, 0, 0);
    let mut answered = false;
    while arrived < PAGES {
        tokio::select! {
            biased;
            event = a.link.streams.events.recv() => match event.unwrap() {
                StreamEvent::Sent { bytes, .. } => sent += bytes,
                StreamEvent::Received { frame: Frame::BulkOffered, .. } => answered = true,
                other => panic!("{other:?}"),
            },
            // The reader takes a page only when there is nothing to be heard of the writer.
            event = b.link.streams.events.recv(), if a.link.streams.events.is_empty() => match event.unwrap() {
                StreamEvent::Received { frame: Frame::Records { records, .. }, bytes, .. } => {
                    assert_eq!(records, vec![record(author, arrived as i64, 60_000); 4]);
                    arrived += 1;
                    taken += bytes;
                    if arrived == PAGES / 4 {
                        assert!(!answered);
                        answers.send(Frame::BulkOffered).await.unwrap();
                    }
                }
                StreamEvent::Sent { .. } => {}
                other => panic!("{other:?}"),
            },
        }
        assert!(
            sent <= taken + UNDER_WAY_MAX,
            "{sent} bytes were sent and {taken} taken"
        );
    }
    let outgoing = sending.await.unwrap();
    while !answered {
        answered = matches!(
            a.event().await,
            StreamEvent::Received {
                frame: Frame::BulkOffered,
                ..
            }
        );
    }
    drop((outgoing, answers));
    assert_eq!(a.ended(stream).await, None);
    assert_eq!(b.ended(theirs).await, None);
    assert!(a.link.streams.events.try_recv().is_err() && b.link.streams.events.try_recv().is_err());
    let status = b.status().await;
    assert!(status.sync_bytes_in > (PAGES * 240_000) as u64);
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_beyond_the_budget_of_gossip_are_fed_in_order() {
    const ALONE: i64 = 100;
    const WRITES: i64 = 5_000;
    let (a, mut b) = pair().await;
    let before = a.missed(b.id);
    let author = a.id;
    let (mut gossiped, mut fed) = (Vec::new(), Vec::new());
    // One after the other, so that each takes a message of its own while there are any.
    for number in 0..ALONE {
        a.tell(ToPeers::Live(record(author, number, 100))).await;
        while gossiped.len() + fed.len() <= number as usize {
            b.hears_of_writes(&mut gossiped, &mut fed).await;
        }
    }
    assert!(
        gossiped.len() >= 40 && fed.len() >= 40,
        "{} gossiped, {} fed",
        gossiped.len(),
        fed.len()
    );
    let orders = a.link.outbound.clone();
    let writing = tokio::spawn(async move {
        for number in ALONE..WRITES {
            orders.send(ToPeers::Live(record(author, number, 100))).await.unwrap();
        }
    });
    while gossiped.len() + fed.len() < WRITES as usize {
        b.hears_of_writes(&mut gossiped, &mut fed).await;
    }
    writing.await.unwrap();
    assert!(fed.is_sorted() && fed.iter().all(|it| !gossiped.contains(it)));
    assert!(fed.len() > 3_000, "{} fed, {} gossiped", fed.len(), gossiped.len());
    assert_eq!(a.missed(b.id), before);
    assert_eq!(b.status().await.sync_streams, 1);
    // What is written at the very end is sent before the goodbye.
    a.tell(ToPeers::Live(record(author, WRITES, 60_000))).await;
    a.stop().await;
    let last = gossiped.len() + fed.len();
    while gossiped.len() + fed.len() == last {
        b.hears_of_writes(&mut gossiped, &mut fed).await;
    }
    let gone = b.link.streams.peers.wait_for(|peers| peers.is_empty());
    drop(
        timeout(PATIENCE, gone)
            .await
            .expect("it is still in the table")
            .unwrap(),
    );
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_no_feed_is_left_out_and_owed_a_session() {
    let (mut a, b) = pair().await;
    let before = a.missed(b.id);
    let (author, orders) = (a.id, a.link.outbound.clone());
    let writing = tokio::spawn(async move {
        // Far more than all queues on the way hold: nobody at the other side takes any of it.
        for number in 0..1_500 {
            orders
                .send(ToPeers::Live(record(author, number, 60_000)))
                .await
                .unwrap();
        }
    });
    let peers = a
        .link
        .streams
        .peers
        .wait_for(|peers| peers.get(&b.id).is_some_and(|link| link.missed > before));
    drop(timeout(PATIENCE, peers).await.expect("nothing was missed").unwrap());
    writing.await.unwrap();
    let is_told = |status: NetStatus| status.dropped.iter().any(|(cause, _)| cause == "feed too slow");
    while !is_told(a.status().await) {
        tokio::task::yield_now().await;
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_network_gets_no_stream() {
    let a = Net::start("", &[]).await;
    let mut stranger = Net::start("elsewhere", &[&a]).await;
    while stranger.status().await.peers.is_empty() {
        tokio::task::yield_now().await;
    }
    stranger
        .tell(ToPeers::OpenStream {
            peer: a.id,
            order: StreamOrder(2),
        })
        .await;
    assert!(matches!(stranger.event().await, StreamEvent::NotOpened { peer, order: StreamOrder(2) } if peer == a.id));
    assert!(!stranger.status().await.peers.is_empty(), "it is still connected");
    assert!(stranger.link.streams.peers.borrow().is_empty() && a.link.streams.peers.borrow().is_empty());
    a.stop().await;
    stranger.stop().await;
}

/// A program of its own that sends larger messages than a node takes.
fn stranger() -> libp2p::Swarm<gossipsub::Behaviour> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_quic()
        .with_behaviour(|key| {
            let config = gossipsub::ConfigBuilder::default()
                .max_transmit_size(64 << 20)
                .heartbeat_initial_delay(Duration::from_millis(100))
                .build()
                .unwrap();
            gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(key.clone()), config).unwrap()
        })
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build();
    swarm.behaviour_mut().subscribe(&topic()).unwrap();
    swarm
}

fn topic() -> gossipsub::IdentTopic {
    gossipsub::IdentTopic::new("p2p-sync")
}

/// After each put that is heard, something is sent that is not read; more often than gossipsub bears on one connection.
async fn heard_behind_messages_that_are_far_too_large(quic: bool) {
    const PUTS: u64 = 7;
    let mut node = Net::start("", &[]).await;
    let text = node.address.to_string();
    let address = if quic {
        text
    } else {
        text.replace("/udp/", "/tcp/").replace("/quic-v1", "")
    };
    let address: Multiaddr = address.parse().unwrap();
    let mut stranger = stranger();
    stranger.dial(address.clone()).unwrap();
    let (mut heard, mut said) = (0, 0);
    // Behind what is too large one may still be lost, and another one follows then; slowly, or the rate is limited.
    let mut says = tokio::time::interval(Duration::from_millis(300));
    let all = async {
        while heard < PUTS {
            tokio::select! {
                message = node.link.inbound.recv() => if let FromPeers::Records { .. } = message.unwrap() {
                    heard += 1;
                    let large = vec![b'x'; (10 << 20) + usize::try_from(heard).unwrap()];
                    // It may not be connected now.
                    let _ = stranger.behaviour_mut().publish(topic(), large);
                },
                event = stranger.select_next_some() => if let SwarmEvent::ConnectionClosed { .. } = event {
                    stranger.dial(address.clone()).unwrap();
                },
                _ = says.tick() => {
                    said += 1;
                    let put = format!(r#"{{"Put":{{"key":"{said}","value":"v","timestamp":"2025-01-04T08:30:15Z"}}}}"#);
                    let _ = stranger.behaviour_mut().publish(topic(), put);
                }
            }
        }
    };
    timeout(PATIENCE, all).await.expect("it is not heard any more");
    let dropped = node.status().await.dropped;
    let counted = dropped.iter().find(|(cause, _)| cause == "message too large");
    assert!(counted.is_some_and(|(_, count)| *count >= PUTS / 2), "{dropped:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sends_what_is_far_too_large_is_counted_and_heard_again_over_tcp() {
    heard_behind_messages_that_are_far_too_large(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_sends_what_is_far_too_large_is_counted_and_heard_again_over_quic() {
    heard_behind_messages_that_are_far_too_large(true).await;
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

/// A program that says that it is a node, and speaks nothing else of ours.
async fn says_of_itself(agent: &str, address: &Multiaddr) {
    let agent = agent.to_owned();
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| {
            let config = identify::Config::new("/p2p-sync/1".to_owned(), key.public()).with_agent_version(agent);
            identify::Behaviour::new(config)
        })
        .unwrap()
        .build();
    swarm.dial(address.clone()).unwrap();
    loop {
        swarm.select_next_some().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_version_that_cannot_sync_is_told() {
    let node = Net::start("", &[]).await;
    let address = node.address.clone();
    let visitor = tokio::spawn(async move { says_of_itself("p2p-sync/99.1/0123456789abcdef", &address).await });
    let told = async {
        loop {
            let mut causes = node
                .status()
                .await
                .troubles
                .into_iter()
                .flat_map(|trouble| trouble.attempts);
            if let Some(attempt) = causes.next() {
                break attempt.cause;
            }
            tokio::task::yield_now().await;
        }
    };
    let cause = timeout(PATIENCE, told).await.expect("nothing is told of it");
    assert_eq!(cause, crate::net::TroubleCause::Version("99.1".to_owned()));
    visitor.abort();
    node.stop().await;
}

#[tokio::test]
async fn a_transport_that_cannot_listen_is_told_with_the_reason() {
    let held = std::net::TcpListener::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let config = NetConfig {
        key: Keypair::generate_ed25519(),
        name: "test".to_owned(),
        names: Names::default(),
        port,
        network: "listening".parse().unwrap(),
        configured: Vec::new(),
        remembered: Vec::new(),
        lan: false,
        message_limit: 100,
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
