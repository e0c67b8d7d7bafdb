//! Looks once at what multicast DNS shows, without announcing anything: which interfaces carry it, and which nodes answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::sockets::{self, Arrived, Open, What};
use super::wire::{self, Message, OwnNames, Piece};

/// Packets that wait to be looked at.
const ARRIVED_MAX: usize = 64;
/// Nodes that are noted.
const NODES_MAX: usize = 1_024;
/// When it is asked again: a packet may get lost, and an answer to somebody else may have been given just before.
const AGAIN_AFTER: Duration = Duration::from_millis(1_500);

/// A node that answered, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answering {
    pub(crate) peer: PeerId,
    pub(crate) from: IpAddr,
}

/// Asks on all interfaces who is there, and waits for so long.
pub(crate) async fn probe(time: Duration) -> Vec<Answering> {
    let deadline = Instant::now() + time;
    let names = Arc::new(OwnNames::new("probe", &PeerId::random(), "", 0));
    let (told, mut arrived) = mpsc::channel::<Arrived>(ARRIVED_MAX);
    let mut open = Vec::new();
    for link in sockets::links() {
        for place in link.places() {
            match Open::new(place, &link, &names, &told) {
                Ok(socket) => open.push(socket),
                Err(failure) => tracing::debug!("cannot ask on {}: {}", link.name, failure.reason()),
            }
        }
    }
    let ask = || {
        if let Some(packet) = wire::browse(std::iter::empty()) {
            open.iter().for_each(|socket| socket.multicast(&packet));
        }
    };
    ask();
    let mut again = Box::pin(sleep_until(Instant::now() + AGAIN_AFTER));
    let mut has_asked_again = false;
    let mut found: Vec<Answering> = Vec::new();
    loop {
        tokio::select! {
            () = &mut again, if !has_asked_again => {
                has_asked_again = true;
                ask();
            }
            came = timeout_at(deadline, arrived.recv()) => match came {
                Ok(Some(Arrived { what: What::Message { from, message: Message::Response(pieces), .. }, .. })) => {
                    for piece in pieces {
                        let node = node(piece, from.ip());
                        found.extend(node.filter(|node| found.len() < NODES_MAX && !found.contains(node)));
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return found,
            }
        }
    }
}

fn node(piece: Piece, from: IpAddr) -> Option<Answering> {
    match piece {
        // One that says goodbye is not there any more.
        Piece::Text { said, ttl_s, .. } if ttl_s > 0 => said.peer.map(|peer| Answering { peer, from }),
        _ => None,
    }
}
