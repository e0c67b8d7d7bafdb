//! Abandons a dial that has become useless because the peer connected to us while the dial waited for an answer. Otherwise,
//! a returning node would get the retransmission of a dial made while it was away, and need a second handshake.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// So long a dial has in any case: two nodes that dial each other at once both succeed, and which connection stays is decided
/// then. An answer takes less than that on any LAN, and the first retransmission more.
const LATE_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Inner {
    connected: HashSet<PeerId>,
    under_way: HashMap<PeerId, Vec<oneshot::Sender<()>>>,
}

/// Who is connected, and the dials that are under way, by peer. Both are bounded by the limits of the swarm.
#[derive(Debug, Clone, Default)]
pub(in crate::net::libp2p) struct Arrivals(Arc<Mutex<Inner>>);

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a connection to a peer: dials to it are given up as soon as they have had their time.
    pub(in crate::net::libp2p) fn arrived(&self, peer: PeerId) {
        let mut inner = self.lock();
        inner.connected.insert(peer);
        for give_up in inner.under_way.remove(&peer).unwrap_or_default() {
            // It may have come to its end meanwhile.
            let _ = give_up.send(());
        }
    }

    /// The last connection to a peer is gone.
    pub(in crate::net::libp2p) fn left(&self, peer: PeerId) {
        self.lock().connected.remove(&peer);
    }

    /// Takes note of a dial. None if there is a connection already.
    fn dial(&self, peer: PeerId) -> Option<oneshot::Receiver<()>> {
        let mut inner = self.lock();
        if inner.connected.contains(&peer) {
            return None;
        }
        inner.under_way.retain(|_, dials| {
            dials.retain(|give_up| !give_up.is_closed());
            !dials.is_empty()
        });
        let (give_up, given_up) = oneshot::channel();
        inner.under_way.entry(peer).or_default().push(give_up);
        Some(given_up)
    }
}

/// Waits until a dial that was begun then is late, and the peer has arrived.
async fn useless(begun: Instant, given_up: oneshot::Receiver<()>) {
    if given_up.await.is_err() {
        // Nobody can tell any more.
        std::future::pending().await
    }
    sleep_until(begun + LATE_AFTER).await;
}

/// A transport whose dials to a peer end when that peer has arrived in another way.
#[derive(Debug)]
pub(in crate::net::libp2p) struct GivesUp<T> {
    inner: T,
    arrivals: Arrivals,
}

impl<T> GivesUp<T> {
    pub(in crate::net::libp2p) fn new(inner: T, arrivals: Arrivals) -> Self {
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
        let Some(given_up) = self.arrivals.dial(peer) else {
            return Err(TransportError::Other(arrived()));
        };
        let dial = self.inner.dial(address, options)?;
        let useless = useless(Instant::now(), given_up);
        Ok(async move {
            tokio::select! {
                biased;
                connection = dial => connection,
                () = useless => Err(arrived()),
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

    #[tokio::test]
    async fn a_dial_that_waits_is_given_up_when_its_peer_arrives_and_a_young_one_when_it_is_late() {
        let (arrivals, peer, begun) = (Arrivals::default(), PeerId::random(), Instant::now());
        let mut old = Box::pin(useless(begun - LATE_AFTER, arrivals.dial(peer).unwrap()));
        let mut young = Box::pin(useless(begun, arrivals.dial(peer).unwrap()));
        let mut other = Box::pin(useless(begun - LATE_AFTER, arrivals.dial(PeerId::random()).unwrap()));
        assert!((&mut old).now_or_never().is_none(), "the peer is not there yet");
        arrivals.arrived(peer);
        assert!(tokio::time::timeout(LATE_AFTER / 2, old).await.is_ok());
        assert!((&mut young).now_or_never().is_none());
        young.await;
        assert!(begun.elapsed() >= LATE_AFTER);
        assert!((&mut other).now_or_never().is_none());
        assert!(arrivals.dial(peer).is_none(), "it is there");
        arrivals.left(peer);
        assert!(arrivals.dial(peer).is_some());
    }

    #[test]
    fn dials_that_have_ended_are_forgotten() {
        let arrivals = Arrivals::default();
        for _ in 0..100 {
            drop(arrivals.dial(PeerId::random()));
        }
        assert_eq!(arrivals.lock().under_way.len(), 1);
    }
}
