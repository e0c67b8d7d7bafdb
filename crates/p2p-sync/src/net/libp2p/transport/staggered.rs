//! Staggers the dials to the addresses of one peer. Two parallel handshakes can both succeed at the peer's end; the one
//! that loses here then looks to the peer like a connection that was opened and lost at once.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// The head start of a dial over the next one, unless it fails sooner (RFC 8305, section 5). A handshake takes a fraction of that.
const HEAD_START: Duration = Duration::from_millis(250);
/// The best addresses come first and get the whole head start. There may be many others, most of them dead ends.
const BEST: usize = 4;
/// The head start of each of the others.
const HEAD_START_OTHERS: Duration = Duration::from_millis(50);

/// When a dial began; none while it waits for its turn. The sender lives as long as the dial.
type Begun = watch::Receiver<Option<Instant>>;

/// Waits until the dial before this one has had its head start, or has ended.
async fn turn(mut before: Begun, head_start: Duration) {
    // An error says that the other dial has ended.
    let begun = before.wait_for(Option::is_some).await.ok().and_then(|begun| *begun);
    let Some(begun) = begun else { return };
    tokio::select! {
        () = sleep_until(begun + head_start) => {}
        // It changes no more, so this waits for its end.
        _ = before.changed() => {}
    }
}

/// The latest dial to each peer that is dialled, and its number, counted from 0.
#[derive(Debug, Default)]
struct Latest(HashMap<PeerId, (usize, Begun)>);

impl Latest {
    /// Takes note of one more dial. Gives its own sender, and the dial to wait for, with its head start.
    fn next(&mut self, peer: PeerId) -> (watch::Sender<Option<Instant>>, Option<(Begun, Duration)>) {
        self.0.retain(|_, (_, begun)| begun.has_changed().is_ok());
        let before = self.0.remove(&peer);
        let number = before.as_ref().map_or(0, |(number, _)| number + 1);
        let (begins, begun) = watch::channel(None);
        self.0.insert(peer, (number, begun));
        let head_start = if number <= BEST { HEAD_START } else { HEAD_START_OTHERS };
        (begins, before.map(|(_, begun)| (begun, head_start)))
    }
}

/// A transport that dials the addresses of one peer in the order in which it is told them.
#[derive(Debug)]
pub(super) struct Staggered<T> {
    inner: T,
    latest: Latest,
}

impl<T> Staggered<T> {
    /// `inner` must do nothing before a dial of it is polled.
    pub(super) fn new(inner: T) -> Self {
        Self {
            inner,
            latest: Latest::default(),
        }
    }
}

impl<T> Transport for Staggered<T>
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
        let peer = match address.iter().last() {
            Some(Protocol::P2p(peer)) => peer,
            _ => return Ok(self.inner.dial(address, options)?.boxed()),
        };
        let dial = self.inner.dial(address, options)?;
        let (begins, before) = self.latest.next(peer);
        Ok(async move {
            if let Some((before, head_start)) = before {
                turn(before, head_start).await;
            }
            begins.send_replace(Some(Instant::now()));
            let connection = dial.await;
            drop(begins);
            connection
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

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending};
    use std::sync::{Arc, Mutex};

    use futures::stream::{FuturesUnordered, StreamExt};
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    use super::*;

    /// Notes when each of its ports is dialled, from the start of the test on. Port 1 refuses; the others never answer.
    #[derive(Clone)]
    struct Wire {
        start: Instant,
        dialled: Arc<Mutex<Vec<(u16, u128)>>>,
    }

    impl Transport for Wire {
        type Output = ();
        type Error = io::Error;
        type ListenerUpgrade = Pending<Result<(), io::Error>>;
        type Dial = BoxFuture<'static, Result<(), io::Error>>;

        fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            let port = address.iter().find_map(|part| match part {
                Protocol::Tcp(port) => Some(port),
                _ => None,
            });
            let (port, wire) = (port.expect("TCP"), self.clone());
            Ok(async move {
                let after = wire.start.elapsed().as_millis();
                wire.dialled.lock().expect("a lock").push((port, after));
                if port == 1 {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                pending().await
            }
            .boxed())
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
            Poll::Pending
        }
    }

    /// When each port is dialled that a peer is said to have, in milliseconds.
    async fn dialled(wire: &Wire, transport: &mut Staggered<Wire>, peer: PeerId, ports: &[u16]) -> Vec<(u16, u128)> {
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let mut dials: FuturesUnordered<_> = ports
            .iter()
            .map(|port| {
                format!("/ip4/192.0.2.1/tcp/{port}/p2p/{peer}")
                    .parse()
                    .expect("an address")
            })
            .map(|address: Multiaddr| transport.dial(address, options).expect("a dial"))
            .collect();
        let all = async { while dials.next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(3), all).await;
        std::mem::take(&mut *wire.dialled.lock().expect("a lock"))
    }

    fn wire() -> (Wire, Staggered<Wire>) {
        let wire = Wire {
            start: Instant::now(),
            dialled: Arc::default(),
        };
        (wire.clone(), Staggered::new(wire))
    }

    #[tokio::test]
    async fn each_address_has_a_head_start_over_the_next() {
        let (wire, mut transport) = wire();
        let at = dialled(&wire, &mut transport, PeerId::random(), &[2, 3, 4, 5, 6, 7, 8]).await;
        let ports: Vec<u16> = at.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, [2, 3, 4, 5, 6, 7, 8]);
        // None has less on a machine that is busy.
        let earliest = [0, 250, 500, 750, 1_000, 1_050, 1_100];
        assert!(
            at.iter().zip(earliest).all(|((_, is), earliest)| *is >= earliest),
            "{at:?}"
        );
    }

    #[tokio::test]
    async fn one_that_fails_holds_nobody_up() {
        let (wire, mut transport) = wire();
        let at = dialled(&wire, &mut transport, PeerId::random(), &[1, 1, 1, 1, 1, 2, 1, 3]).await;
        let ports: Vec<u16> = at.iter().map(|(port, _)| *port).collect();
        assert_eq!(ports, [1, 1, 1, 1, 1, 2, 1, 3]);
        assert!(at[5].1 < 1_000 && at[7].1 >= at[5].1 + 50, "{at:?}");
    }

    #[tokio::test]
    async fn peers_do_not_wait_for_each_other_and_what_has_ended_is_forgotten() {
        let (wire, mut transport) = wire();
        let options = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let mut dials = FuturesUnordered::new();
        for _ in 0..20 {
            let address: Multiaddr = format!("/ip4/192.0.2.1/tcp/2/p2p/{}", PeerId::random())
                .parse()
                .expect("an address");
            dials.push(transport.dial(address, options).expect("a dial"));
        }
        assert!(dials.next().now_or_never().is_none());
        assert_eq!(wire.dialled.lock().expect("a lock").len(), 20);
        assert_eq!(transport.latest.0.len(), 20);
        drop(dials);
        let (_begins, before) = transport.latest.next(PeerId::random());
        assert!(before.is_none());
        assert_eq!(transport.latest.0.len(), 1);
    }
}
