//! Private networks over loopback: members meet under their own ids, and nobody else gets as far as the swarm.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt;
use libp2p::swarm::{SwarmEvent, dummy};
use libp2p::{identify, noise, tcp, yamux};
use p2p_sync_core::membership::Roster;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::TroubleCause;
use crate::net::libp2p::door::{AtDoor, DOOR_WITHIN, DOORS_MAX, Doors};
use crate::net::libp2p::peers::twins::{Answer, Twins};
use crate::net::libp2p::testing::private::{self, Keep};

mod cost;
mod flood;
#[cfg(target_os = "linux")]
mod wire;

const FOUNDER: u8 = 2;
const LAPTOP: u8 = 4;
const PHONE: u8 = 5;

/// Timers are late on a machine that is busy.
const SLACK: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Tcp,
    Quic,
}

const WAYS: [Way; 2] = [Way::Tcp, Way::Quic];

fn key(device: u8) -> Keypair {
    Keypair::ed25519_from_bytes([device; 32]).unwrap()
}

/// The address of a node on one transport, with its id or without.
fn at(net: &Net, way: Way, with_id: bool) -> Multiaddr {
    let (address, peer) = multiaddrs::split_peer(net.address.clone());
    let port = multiaddrs::port(&address).unwrap();
    let address: Multiaddr = match way {
        Way::Tcp => format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap(),
        Way::Quic => address,
    };
    if with_id {
        address.with(Protocol::P2p(peer.unwrap()))
    } else {
        address
    }
}

async fn start(device: u8, (private, keep): (Private, Keep), configured: Vec<Multiaddr>) -> (Net, Keep) {
    let mut config = config(key(device), "", configured);
    config.private = Some(private);
    (Net::start_with(config).await, keep)
}

/// A device that has heard of the founder alone, connected with another such one over one transport.
async fn members(way: Way) -> [(Net, Keep); 2] {
    let (mut laptop, keep) = start(LAPTOP, private::home(LAPTOP), Vec::new()).await;
    let (mut phone, phone_keep) = start(PHONE, private::home(PHONE), vec![at(&laptop, way, true)]).await;
    phone.has_peer(laptop.id).await;
    laptop.has_peer(phone.id).await;
    [(laptop, keep), (phone, phone_keep)]
}

fn stranger() -> Swarm<dummy::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|_| dummy::Behaviour)
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build()
}

type Swarm<B> = libp2p::Swarm<B>;

/// Says who it is, and asks who is there.
fn talker() -> Swarm<identify::Behaviour> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_quic()
        .with_behaviour(|key| identify::Behaviour::new(identify::Config::new("/p2p-sync/1".to_owned(), key.public())))
        .unwrap()
        .build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_the_door_a_network_keeps_its_promises() {
    let [(laptop, _keep), (phone, _phone_keep)] = members(Way::Quic).await;
    let address = at(&phone, Way::Quic, true);
    // Another device: who comes back is another connection anyway.
    let again = async || start(6, private::home(6), vec![address]).await.0.end;
    crate::net::suite::run([laptop.end, phone.end], again).await;
    // TCP ends streams in another way when a node stops; the rest is the same.
    let [(mut laptop, _keep), (mut phone, _phone_keep)] = members(Way::Tcp).await;
    crate::net::suite::writes_reach_the_others(&laptop, &mut phone).await;
    crate::net::suite::a_stream_carries_frames_both_ways_and_ends_for_both(&mut laptop, &mut phone).await;
    laptop.stop().await;
    phone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_nobody_heard_of_brings_its_grant() {
    for way in WAYS {
        let [(laptop, mut keep), (phone, mut phone_keep)] = members(way).await;
        for (keep, device) in [(&mut keep, PHONE), (&mut phone_keep, LAPTOP)] {
            let told = timeout(PATIENCE, keep.told.recv()).await.unwrap().unwrap();
            let AtDoor::Brought(entries) = told else {
                panic!("{told:?}")
            };
            let grant = private::grant(&private::founded(7), device);
            assert_eq!(entries, [grant]);
        }
        laptop.stop().await;
        phone.stop().await;
    }
}

/// Waits until the status counts so many.
async fn counts(net: &Net, cause: &str, count: u64) {
    let counted = async {
        loop {
            let dropped = net.status().await.dropped;
            if dropped.iter().any(|(of, counted)| of == cause && *counted >= count) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, counted).await.expect("it is not counted");
}

/// What a program without any secret finds out: a peer id that is not the device's, and that it is hung up on.
async fn probe<B>(mut prober: Swarm<B>, address: Multiaddr) -> (PeerId, Duration)
where
    B: libp2p::swarm::NetworkBehaviour<ToSwarm: std::fmt::Debug>,
{
    prober.dial(address).unwrap();
    let mut established = None;
    let closed = async {
        loop {
            match prober.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => established = Some((peer_id, Instant::now())),
                SwarmEvent::ConnectionClosed { .. } => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                SwarmEvent::Behaviour(event) => {
                    let text = format!("{event:?}");
                    assert!(!text.contains("Received"), "{text}");
                }
                _ => {}
            }
        }
    };
    timeout(PATIENCE, closed).await.expect("it is not hung up on");
    let (peer, at) = established.unwrap();
    (peer, at.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_hung_up_on_and_learns_no_id() {
    let (node, _keep) = start(FOUNDER, private::home(FOUNDER), Vec::new()).await;
    let (again, _again_keep) = start(FOUNDER, private::home(FOUNDER), Vec::new()).await;
    let device = key(FOUNDER).public().to_peer_id();
    let mut seen = Vec::new();
    for way in WAYS {
        for net in [&node, &again] {
            // One says nothing, the other talks as libp2p programs do.
            let (peer, after) = probe(stranger(), at(net, way, false)).await;
            assert!(peer != device && after < DOOR_WITHIN + SLACK, "{after:?}");
            seen.push(peer);
            let talker = talker();
            let (same, after) = probe(talker, at(net, way, false)).await;
            assert!(same == peer && after < DOOR_WITHIN + SLACK, "{after:?}");
        }
        let status = node.status().await;
        assert!(status.peers.is_empty() && status.known_peers == 0, "{status:?}");
    }
    counts(&node, "stranger at the door", 4).await;
    // Each run has a key of its own, on both transports.
    assert_eq!([seen[0], seen[1]], [seen[2], seen[3]]);
    assert_ne!(seen[0], seen[1]);
    node.stop().await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_equal_name_is_another_one() {
    let (node, _keep) = start(FOUNDER, private::home(FOUNDER), Vec::new()).await;
    for way in WAYS {
        let address = at(&node, way, false);
        let (other, _other_keep) = start(FOUNDER + 40, private::kept(other_home()), vec![address]).await;
        let cause = trouble(&other).await;
        assert!(
            matches!(&cause, TroubleCause::Other(text) if text.contains("none of this private network")),
            "{cause:?}"
        );
        for net in [&node, &other] {
            assert!(net.status().await.peers.is_empty());
        }
        other.stop().await;
    }
    node.stop().await;
}

/// A network of the same name and founder, with that device.
fn other_home() -> Roster {
    let mut roster = private::founded(8);
    roster.add(vec![private::grant(&roster, FOUNDER + 40)]);
    roster
}

/// Why the first peer cannot be reached.
async fn trouble(net: &Net) -> TroubleCause {
    let found = async {
        loop {
            let status = net.status().await;
            if let Some(attempt) = status.troubles.first().and_then(|trouble| trouble.attempts.first()) {
                return attempt.cause.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("no trouble")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_expects_another_device_does_not_get_this_one() {
    let (laptop, _keep) = start(LAPTOP, private::home(LAPTOP), Vec::new()).await;
    for way in WAYS {
        let expected = key(99).public().to_peer_id();
        let address = at(&laptop, way, false).with(Protocol::P2p(expected));
        let (phone, _phone_keep) = start(PHONE, private::home(PHONE), vec![address]).await;
        assert_eq!(trouble(&phone).await, TroubleCause::AnotherIdentity(laptop.id));
        phone.stop().await;
    }
    laptop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_device_is_told_whoever_dials() {
    let mut knows = private::founded(7);
    let (out, secret) = private::lower(&knows, LAPTOP);
    knows.add(vec![
        private::grant(&knows, LAPTOP),
        private::grant(&knows, PHONE),
        out.clone(),
    ]);
    assert!(knows.add_secret(out.id(), secret));
    for way in WAYS {
        for laptop_dials in [true, false] {
            let (mut laptop_at, mut phone_at) = (Vec::new(), Vec::new());
            let (laptop, mut keep, phone, _phone_keep);
            if laptop_dials {
                (phone, _phone_keep) = start(PHONE, private::kept(knows.clone()), phone_at).await;
                laptop_at.push(at(&phone, way, true));
                (laptop, keep) = start(LAPTOP, private::home(LAPTOP), laptop_at).await;
            } else {
                (laptop, keep) = start(LAPTOP, private::home(LAPTOP), laptop_at).await;
                phone_at.push(at(&laptop, way, true));
                (phone, _phone_keep) = start(PHONE, private::kept(knows.clone()), phone_at).await;
            }
            let told = timeout(PATIENCE, keep.told.recv())
                .await
                .expect("it is not told")
                .unwrap();
            let AtDoor::Removed(entries) = told else {
                panic!("{told:?}")
            };
            assert_eq!(entries, std::slice::from_ref(&out));
            for net in [&laptop, &phone] {
                assert!(net.status().await.peers.is_empty());
            }
            if laptop_dials {
                counts(&phone, "removed device at the door", 1).await;
            }
            laptop.stop().await;
            phone.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ceases_to_be_a_member_is_cut_off_at_once() {
    for way in WAYS {
        let [(mut laptop, keep), (phone, _phone_keep)] = members(way).await;
        let mut roster = Roster::clone(&keep.roster.borrow());
        roster.add(vec![private::grant(&roster, PHONE)]);
        keep.roster.send_replace(Arc::new(roster.clone()));
        // Another one that changes nothing for the phone.
        roster.add(vec![private::grant(&roster, 6)]);
        keep.roster.send_replace(Arc::new(roster.clone()));
        assert_eq!(laptop.status().await.peers.len(), 1);
        roster.add(vec![private::lower(&roster, PHONE).0]);
        let begun = Instant::now();
        keep.roster.send_replace(Arc::new(roster));
        laptop.has_nobody().await;
        assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
        laptop.stop().await;
        phone.stop().await;
    }
}

/// What comes of the question who has our identity at an address.
async fn asked(doors: Doors, address: Multiaddr) -> Answer {
    let own = doors.key.public().to_peer_id();
    let mut twins = Twins::new(own, 1, 4002).with_doors(Some(doors));
    twins.suspect(address, Instant::now());
    twins.ask_due(Instant::now());
    timeout(PATIENCE, twins.told.recv()).await.unwrap().unwrap().answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_machine_with_the_key_of_this_device_is_told_from_this_run() {
    let doors = || Doors::new(private::home(LAPTOP).0, &key(LAPTOP)).ok().unwrap();
    for way in WAYS {
        let (first, _keep) = start(LAPTOP, private::home(LAPTOP), Vec::new()).await;
        let (second, _second_keep) = start(LAPTOP, private::home(LAPTOP), vec![at(&first, way, false)]).await;
        assert_eq!(trouble(&second).await, TroubleCause::SameIdentity);
        assert_eq!(asked(doors(), at(&first, way, false)).await, Answer::Twin);
        let (phone, _phone_keep) = start(PHONE, private::home(PHONE), Vec::new()).await;
        assert_eq!(asked(doors(), at(&phone, way, false)).await, Answer::Nobody);
        for net in [first, second, phone] {
            assert!(net.status().await.peers.is_empty());
            net.stop().await;
        }
        let ours = doors();
        let transport = cost::transport_with(&key(LAPTOP), Some(ours.clone()));
        let address = cost::listens(transport, way).await;
        assert_eq!(asked(ours, address).await, Answer::Ourselves);
    }
}

/// What this process holds, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Connects, makes no handshake or sends nonsense, and stays as long as it may.
async fn nuisance(port: u16, number: usize) {
    let Ok(mut stream) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    if number.is_multiple_of(2) {
        let _ = stream.write_all(&[0x5a; 4_096]).await;
    }
    let mut bytes = [0; 1_024];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg(target_os = "linux")]
async fn a_thousand_probes_cost_little_and_members_go_on() {
    const PROBES: usize = 1_000;
    let [(mut laptop, _keep), (phone, _phone_keep)] = members(Way::Quic).await;
    let port = multiaddrs::port(&laptop.address).unwrap();
    let before = resident();
    let mut probes = tokio::task::JoinSet::new();
    for number in 0..PROBES {
        if number.is_multiple_of(20) {
            // These finish the handshake, and then say nothing at the door.
            let way = WAYS[number / 20 % 2];
            let address = at(&laptop, way, false);
            probes.spawn(async move {
                let mut prober = stranger();
                prober.dial(address).unwrap();
                // Some are displaced by others before their handshake ends.
                let over = async {
                    loop {
                        let event = prober.select_next_some().await;
                        if matches!(
                            event,
                            SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. }
                        ) {
                            break;
                        }
                    }
                };
                timeout(PATIENCE, over).await.expect("it is not hung up on");
            });
        } else {
            probes.spawn(nuisance(port, number));
        }
    }
    let mut most = before;
    // Another member comes while they stand there.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let (mut third, _third_keep) = start(6, private::home(6), vec![at(&laptop, Way::Tcp, true)]).await;
    third.has_peer(laptop.id).await;
    let took = begun.elapsed();
    while let Some(ended) = probes.join_next().await {
        ended.unwrap();
        most = most.max(resident());
    }
    // The probes are in this process, too.
    let grown = most.saturating_sub(before) / (1024 * 1024);
    println!("{PROBES} probes: {grown} MiB more at most; a member came in {took:?}; {DOORS_MAX} doors");
    assert!(grown < 256, "{grown} MiB");
    assert!(took < Duration::from_secs(15), "{took:?}");
    laptop.has_peer(phone.id).await;
    assert!(laptop.status().await.peers.len() == 2);
    for net in [laptop, phone, third] {
        net.stop().await;
    }
}
