//! A crowd of short visits: one program that connects under many identities, says who it is, and leaves. Nothing of
//! p2p-sync is used; it speaks the protocols by which a node would take it for one of its own. For tests.
//!
//! ```text
//! visitors COUNT MULTIADDR...
//! ```
//!
//! Each identity dials all the addresses, one after the other if the first fails. A line `{"visited":N}` follows after every
//! fifty, and `{"done":N}` at the end.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::kad::store::MemoryStore;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, SwarmBuilder, gossipsub, identify, kad, noise, tcp, yamux};

/// Visits at a time.
const AT_ONCE: usize = 16;
/// How long one may take.
const VISIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kad: kad::Behaviour<MemoryStore>,
    gossip: gossipsub::Behaviour,
}

/// Connects, identifies and leaves. Claims to listen at a port of its own, at which nobody is.
async fn visit(number: usize, addresses: &[Multiaddr]) -> Result<(), Failure> {
    let key = Keypair::generate_ed25519();
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            Ok(libp2p::Transport::boxed(libp2p::Transport::map(
                libp2p::Transport::upgrade(tcp::tokio::Transport::default(), Version::V1)
                    .authenticate(noise::Config::new(key)?)
                    .multiplex(yamux::Config::default()),
                |connection, _| connection,
            )))
        })?
        .with_behaviour(|key| {
            let agent = format!("p2p-sync/0.1.0/{number:016x}");
            let identify = identify::Config::new("p2p-sync/1".to_owned(), key.public()).with_agent_version(agent);
            let own = key.public().to_peer_id();
            let mut kad = kad::Behaviour::with_config(
                own,
                MemoryStore::new(own),
                kad::Config::new(StreamProtocol::new("/p2p-sync/kad/1.0.0")),
            );
            kad.set_mode(Some(kad::Mode::Server));
            let gossip = gossipsub::Behaviour::new(
                gossipsub::MessageAuthenticity::Signed(key.clone()),
                gossipsub::Config::default(),
            )?;
            Ok(Behaviour {
                identify: identify::Behaviour::new(identify),
                kad,
                gossip,
            })
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(VISIT))
        .build();
    swarm
        .behaviour_mut()
        .gossip
        .subscribe(&gossipsub::IdentTopic::new("p2p-sync"))?;
    let port = 20_000 + u16::try_from(number % 20_000)?;
    for host in local_addresses(addresses) {
        swarm.add_external_address(host.with(libp2p::multiaddr::Protocol::Tcp(port)));
    }
    swarm.dial(
        DialOpts::unknown_peer_id()
            .address(addresses.first().ok_or("no address")?.clone())
            .build(),
    )?;
    let identified = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Sent { .. })) => return Ok(()),
                SwarmEvent::OutgoingConnectionError { error, .. } => return Err(Failure::from(error)),
                _ => {}
            }
        }
    };
    tokio::time::timeout(VISIT, identified).await??;
    // What was said is on its way; one more round of the swarm's work carries it.
    let _ = tokio::time::timeout(Duration::from_millis(100), swarm.select_next_some()).await;
    Ok(())
}

/// The address from which this host reaches the first of them.
fn local_addresses(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let remote = addresses.first().and_then(|address| {
        address.iter().find_map(|part| match part {
            libp2p::multiaddr::Protocol::Ip4(ip) => Some(ip),
            _ => None,
        })
    });
    let local = remote.and_then(|remote| {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0)).ok()?;
        socket.connect((remote, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip())
    });
    local.map(Multiaddr::from).into_iter().collect()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let count: usize = arguments.next().ok_or("how many?")?.parse()?;
    let addresses = arguments
        .map(|text| text.parse())
        .collect::<Result<Vec<Multiaddr>, _>>()?;
    let mut numbers = 0..count;
    let mut visits: FuturesUnordered<_> = numbers.by_ref().take(AT_ONCE).map(|n| visit(n, &addresses)).collect();
    let mut visited = 0;
    while let Some(came) = visits.next().await {
        match came {
            Ok(()) => visited += 1,
            Err(error) => println!("{{\"failed\":{:?}}}", error.to_string()),
        }
        if visited % 50 == 0 {
            println!("{{\"visited\":{visited}}}");
        }
        visits.extend(numbers.next().map(|n| visit(n, &addresses)));
    }
    println!("{{\"done\":{visited}}}");
    Ok(())
}
