//! Gives up a dial that has become useless: the peer connected to us while the dial waited for an answer. A node that
//! comes back would else be met by the retransmission of a dial made while it was away, and pay for a second handshake.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

/// A dial that has been under way for less is left alone: two nodes that dial each other at once both succeed, and which
/// connection stays is decided then. An answer takes less than that on any LAN, and the first retransmission more.
const LATE_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Inner {
    connected: HashSet<PeerId>,
    under_way: HashMap<PeerId, Vec<(Instant, oneshot::Sender<()>)>>,
}

/// Who is connected, and the dials that are under way, by peer. Both are bounded by the limits of the swarm.
#[derive(Debug, Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<Inner>>);

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection to a peer: dials to it that nobody has answered for a while are given up.
    pub(super) fn arrived(&self, peer: PeerId, now: Instant) {
        let mut inner = self.lock();
        inner.connected.insert(peer);
        for (begun, give_up) in inner.under_way.remove(&peer).unwrap_or_default() {
            if now.saturating_duration_since(begun) >= LATE_AFTER {
                // It may have come to its end meanwhile.
                let _ = give_up.send(());
            } else {
                inner.under_way.entry(peer).or_default().push((begun, give_up));
            }
        }
    }

    /// The last connection to a peer is gone.
    pub(super) fn left(&self, peer: PeerId) {
        self.lock().connected.remove(&peer);
    }

    /// Takes note of a dial. None if there is a connection already.
    fn dial(&self, peer: PeerId, now: Instant) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.lock();
        if inner.connected.contains(&peer) {
            return None;
        }
        inner.under_way.retain(|_, dials| {
            dials.retain(|(_, give_up)| !give_up.is_closed());
            !dials.is_empty()
        });
        let (give_up, given_up) = oneshot::channel();
        inner.under_way.entry(peer).or_default().push((now, give_up));
        Some(given_up)
    }
}

/// A transport whose dials to a peer end when that peer has arrived in another way.
#[derive(Debug)]
pub(super) struct GivesUp<T> {
    inner: T,
    arrivals: Arrivals,
}

impl<T> GivesUp<T> {
    pub(super) fn new(inner: T, arrivals: Arrivals) -> Self {
        Self { inner, arrivals }
    }
}

impl<T> Transport for GivesUp<T>
where
    T: Transport<Error = io::Error> + Unpin,
    T::Dial: Send + 'static,
    T::Output: 'static,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, io::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(Protocol::P2p(peer)) = address.iter().last() else {
            return Ok(self.inner.dial(address, options)?.boxed());
        };
        let dial = self.inner.dial(address, options)?;
        let Some(given_up) = self.arrivals.dial(peer, Instant::now()) else {
            return Err(TransportError::Other(arrived()));
        };
        Ok(async move {
            let mut dial = Box::pin(dial);
            tokio::select! {
                biased;
                connection = &mut dial => connection,
                Ok(()) = given_up => Err(arrived()),
            }
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

fn arrived() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the peer has connected by itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_that_waits_is_given_up_when_its_peer_arrives_and_a_young_one_is_not() {
        let (arrivals, peer, now) = (Arrivals::default(), PeerId::random(), Instant::now());
        let mut old = arrivals.dial(peer, now).unwrap();
        let mut young = arrivals.dial(peer, now + LATE_AFTER).unwrap();
        let mut other = arrivals.dial(PeerId::random(), now).unwrap();
        arrivals.arrived(peer, now + LATE_AFTER);
        assert_eq!(old.try_recv(), Ok(()));
        for dial in [&mut young, &mut other] {
            assert_eq!(dial.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        }
        assert!(arrivals.dial(peer, now).is_none(), "it is there");
        arrivals.left(peer);
        assert!(arrivals.dial(peer, now).is_some());
    }

    #[test]
    fn dials_that_have_ended_are_forgotten() {
        let (arrivals, now) = (Arrivals::default(), Instant::now());
        for _ in 0..100 {
            drop(arrivals.dial(PeerId::random(), now));
        }
        assert_eq!(arrivals.lock().under_way.len(), 1);
    }
}
