//! Programs that are no nodes of this version: what they may send, and what is told of them.

use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{gossipsub, identify, noise, tcp, yamux};
use p2p_sync_core::text::printable;

use super::*;

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

/// A program that says something of itself, and speaks nothing else of ours.
fn visitor(agent: &str, address: &Multiaddr) -> libp2p::Swarm<identify::Behaviour> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| {
            let config = identify::Config::new("/p2p-sync/1".to_owned(), key.public());
            identify::Behaviour::new(config.with_agent_version(agent.to_owned()))
        })
        .unwrap()
        .build();
    swarm.dial(address.clone()).unwrap();
    swarm
}

async fn stay(mut visitor: libp2p::Swarm<identify::Behaviour>) {
    loop {
        visitor.select_next_some().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_a_version_that_cannot_sync_is_told() {
    let node = Net::start("", &[]).await;
    let visitor = tokio::spawn(stay(visitor("p2p-sync/99.1/0123456789abcdef", &node.address)));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_is_called_what_it_says_of_itself_if_that_can_be_a_name() {
    let node = Net::start("", &[]).await;
    let nonce = "p2p-sync/0.1.0/0123456789abcdef";
    // libp2p reads no message of Identify that has more than 4,096 bytes.
    let huge = format!("{nonce}/{}", "k".repeat(3_500));
    let told = [
        (format!("{nonce}/%1B%5B2J%E2%80%AE"), Some("\u{1b}[2J\u{202e}")),
        (format!("{nonce}/kitchen/more"), Some("kitchen")),
        (format!("{nonce}/%zz"), None),
        (format!("{nonce}/%ff"), None),
        (huge, None),
    ];
    let visitors = told.map(|(agent, name)| {
        let visitor = visitor(&agent, &node.address);
        let id = visitor.local_peer_id().to_string();
        (id, name, tokio::spawn(stay(visitor)))
    });
    for (id, name, _) in &visitors {
        let called = async {
            loop {
                let status = node.status().await;
                // What it said is read: it says that it is a node, and speaks nothing that nodes do.
                let mut troubles = status.troubles.iter().filter_map(|trouble| trouble.peer);
                let is_read = troubles.any(|peer| peer.to_string() == *id);
                let mut peers = status.peers.into_iter();
                if let Some(peer) = peers.find(|peer| is_read && peer.peer_id == *id) {
                    break peer;
                }
                tokio::task::yield_now().await;
            }
        };
        let peer = timeout(PATIENCE, called).await.expect("it is not called so");
        assert_eq!(peer.name.as_deref(), *name);
        let shown = name.map_or_else(|| id.clone(), |name| printable(name.as_bytes()));
        assert_eq!(peer.display_name, shown);
    }
    for (_, _, visitor) in visitors {
        visitor.abort();
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_its_name_to_whoever_asks_who_it_is() {
    let node = Net::start_as("Küche 2/%", "", Vec::new()).await;
    let mut visitor = visitor("py-libp2p/0.8", &node.address);
    let agent = async {
        loop {
            let event = visitor.select_next_some().await;
            if let SwarmEvent::Behaviour(identify::Event::Received { info, .. }) = event {
                break info.agent_version;
            }
        }
    };
    let agent = timeout(PATIENCE, agent).await.expect("it says nothing");
    let parts: Vec<&str> = agent.split('/').collect();
    assert_eq!(parts[..2], ["p2p-sync", env!("CARGO_PKG_VERSION")]);
    assert_eq!(
        (parts[2].len(), parts[3..].concat().as_str()),
        (16, "K%C3%BCche%202%2F%25")
    );
    node.stop().await;
}
