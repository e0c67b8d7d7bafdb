//! What the door adds to the time that a connection takes, measured at the transport: from the dial until it counts for the dialler.

use std::pin::Pin;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, TransportEvent};
use libp2p::core::{Endpoint, Transport};

use super::*;
use crate::net::libp2p::transport;

pub(super) type Both = Boxed<(PeerId, StreamMuxerBox)>;

pub(super) fn transport_of(device: u8, has_door: bool) -> Both {
    let key = key(device);
    let doors = has_door.then(|| {
        let mut roster = private::founded(7);
        roster.add(vec![private::grant(&roster, LAPTOP), private::grant(&roster, PHONE)]);
        Doors::new(private::kept(roster).0, &key).ok().unwrap()
    });
    transport_with(&key, doors)
}

pub(super) fn transport_with(key: &Keypair, doors: Option<Doors>) -> Both {
    transport::build(key, Arc::default(), mpsc::channel(1).0, Default::default(), doors).unwrap()
}

async fn until_it_ends(mut muxer: StreamMuxerBox) {
    let _: Result<(), _> = std::future::poll_fn(|cx| {
        loop {
            match Pin::new(&mut muxer).poll(cx) {
                std::task::Poll::Ready(Ok(_)) => {}
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err::<(), _>(error)),
                std::task::Poll::Pending => return std::task::Poll::Pending,
            }
        }
    })
    .await;
}

/// Takes connections, and holds each until the other side ends it.
pub(super) async fn listens(mut transport: Both, way: Way) -> Multiaddr {
    let address: Multiaddr = match way {
        Way::Tcp => "/ip4/127.0.0.1/tcp/0",
        Way::Quic => "/ip4/127.0.0.1/udp/0/quic-v1",
    }
    .parse()
    .unwrap();
    transport.listen_on(ListenerId::next(), address).unwrap();
    let (told, address) = oneshot::channel();
    tokio::spawn(async move {
        let (mut told, mut connections) = (Some(told), FuturesUnordered::new());
        loop {
            tokio::select! {
                event = transport.select_next_some() => match event {
                    TransportEvent::NewAddress { listen_addr, .. } => {
                        if let Some(told) = told.take() {
                            told.send(listen_addr).unwrap();
                        }
                    }
                    TransportEvent::Incoming { upgrade, .. } => connections.push(async move {
                        if let Ok((_, muxer)) = upgrade.await {
                            until_it_ends(muxer).await;
                        }
                    }),
                    _ => {}
                },
                Some(()) = connections.next() => {}
            }
        }
    });
    address.await.unwrap()
}

/// Waits for what a transport makes, which it does only when somebody looks at it.
pub(super) async fn driven<T>(transport: &mut Both, made: impl Future<Output = T>) -> T {
    let polling = std::future::poll_fn(|cx| {
        let _ = Pin::new(&mut *transport).poll(cx);
        std::task::Poll::<()>::Pending
    });
    tokio::select! {
        made = made => made,
        () = polling => unreachable!(),
    }
}

fn quantile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[sorted.len() * percent / 100]
}

/// `cargo test --release -p p2p-sync --lib what_the_door_adds -- --ignored --nocapture`
#[tokio::test]
#[ignore = "it measures, and asserts nothing but that all connect"]
async fn what_the_door_adds_to_the_time_to_connect() {
    const DIALS: usize = 500;
    for way in WAYS {
        let mut sides = Vec::new();
        for has_door in [false, true] {
            let address = listens(transport_of(LAPTOP, has_door), way).await;
            sides.push((transport_of(PHONE, has_door), address, Vec::new()));
        }
        // In turn, so that whatever else this machine does meets both.
        for _ in 0..DIALS {
            for (transport, address, took) in &mut sides {
                let options = DialOpts {
                    role: Endpoint::Dialer,
                    port_use: PortUse::New,
                };
                let begun = Instant::now();
                let dial = transport.dial(address.clone(), options).unwrap();
                let (peer, muxer) = driven(transport, dial).await.unwrap();
                took.push(begun.elapsed());
                assert_eq!(peer, key(LAPTOP).public().to_peer_id());
                drop(muxer);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        let name = if way == Way::Tcp { "TCP" } else { "QUIC" };
        for ((_, _, took), door) in sides.iter_mut().zip(["without", "with"]) {
            took.sort_unstable();
            println!(
                "{name} {door} a door: median {:?}, p90 {:?}, {} dials",
                quantile(took, 50),
                quantile(took, 90),
                took.len()
            );
        }
    }
}
