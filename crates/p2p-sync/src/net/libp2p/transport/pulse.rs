//! When something last showed signs of life: a sync stream, or a TCP connection, where every inbound byte counts. Callers
//! decide what silence means.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use tokio::time::Instant;

use crate::net::libp2p::multiaddrs::split_peer;

/// Connections whose pulse can be found. More than there can be at once, established and being set up.
const PULSES_MAX: usize = 2_048;

/// When it was alive last.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Pulse {
    began: Instant,
    /// Milliseconds since then.
    beat: AtomicU64,
}

impl Pulse {
    /// Of something that is alive now.
    pub(in crate::net::libp2p) fn new() -> Self {
        Self {
            began: Instant::now(),
            beat: AtomicU64::new(0),
        }
    }

    /// It is alive now.
    pub(in crate::net::libp2p) fn beat(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beat.store(millis, Ordering::Relaxed);
    }

    /// When it was alive last.
    pub(in crate::net::libp2p) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.beat.load(Ordering::Relaxed))
    }
}

/// The pulses of the connections over TCP, found by what both the transport and the swarm know of a connection: its ends. Two
/// with the same ends, which only two dials at one moment can have, share one.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Pulses(Mutex<HashMap<Ends, Weak<Pulse>>>);

/// The remote address of a connection, and the local one if the other side dialled.
type Ends = (Multiaddr, Option<Multiaddr>);

fn ends(endpoint: &ConnectedPoint) -> Ends {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => (split_peer(address.clone()).0, None),
        ConnectedPoint::Listener {
            local_addr,
            send_back_addr,
        } => (
            split_peer(send_back_addr.clone()).0,
            Some(split_peer(local_addr.clone()).0),
        ),
    }
}

impl Pulses {
    /// The pulse of the connection with these ends.
    pub(in crate::net::libp2p) fn of(&self, endpoint: &ConnectedPoint) -> Arc<Pulse> {
        let ends = ends(endpoint);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pulse) = all.get(&ends).and_then(Weak::upgrade) {
            return pulse;
        }
        let pulse = Arc::new(Pulse::new());
        if all.len() >= PULSES_MAX {
            all.retain(|_, pulse| pulse.strong_count() > 0);
        }
        if all.len() < PULSES_MAX {
            all.insert(ends, Arc::downgrade(&pulse));
        }
        pulse
    }
}

/// The bytes of a connection, with its pulse.
pub(in crate::net::libp2p) struct Felt<S> {
    inner: S,
    pulse: Arc<Pulse>,
    /// A write had to wait. That it goes on means that the other end took something: pings may stand behind a lot of it.
    is_held_up: bool,
}

impl<S> Felt<S> {
    pub(in crate::net::libp2p) fn new(inner: S, pulse: Arc<Pulse>) -> Self {
        pulse.beat();
        Self {
            inner,
            pulse,
            is_held_up: false,
        }
    }

    fn read(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.pulse.beat();
        }
        result
    }

    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let was_held_up = std::mem::replace(&mut self.is_held_up, result.is_pending());
        if was_held_up && matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.pulse.beat();
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Felt<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_read(cx, bytes);
        self.read(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Felt<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bytes);
        self.written(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::task::noop_waker_ref;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    /// What its next read and write give.
    struct Script(Poll<usize>);

    impl AsyncRead for Script {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
            self.0.map(Ok)
        }
    }

    impl AsyncWrite for Script {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            self.0.map(Ok)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Whether the pulse beat during one call, after a time in which it can be told.
    fn beats(felt: &mut Felt<Script>, gives: Poll<usize>, reads: bool) -> bool {
        felt.inner.0 = gives;
        let before = felt.pulse.last();
        std::thread::sleep(Duration::from_millis(2));
        let cx = &mut Context::from_waker(noop_waker_ref());
        let _ = if reads {
            Pin::new(&mut *felt).poll_read(cx, &mut [0; 8])
        } else {
            Pin::new(&mut *felt).poll_write(cx, &[0; 8])
        };
        felt.pulse.last() > before
    }

    #[test]
    fn bytes_that_come_in_are_life_and_so_is_a_write_that_goes_on() {
        let mut felt = Felt::new(Script(Poll::Pending), Arc::new(Pulse::new()));
        assert!(!beats(&mut felt, Poll::Pending, true));
        assert!(beats(&mut felt, Poll::Ready(1), true));
        assert!(!beats(&mut felt, Poll::Ready(0), true), "the end is none");
        // What goes into the system's buffer says nothing of the other side, unless there was no room before.
        assert!(!beats(&mut felt, Poll::Ready(8), false));
        assert!(!beats(&mut felt, Poll::Pending, false));
        assert!(beats(&mut felt, Poll::Ready(8), false));
        assert!(!beats(&mut felt, Poll::Ready(8), false));
    }

    fn dialled(address: &str) -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: address.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        }
    }

    fn accepted(local: &str, remote: &str) -> ConnectedPoint {
        ConnectedPoint::Listener {
            local_addr: local.parse().unwrap(),
            send_back_addr: remote.parse().unwrap(),
        }
    }

    #[test]
    fn the_transport_and_the_swarm_find_the_same_pulse() {
        let pulses = Pulses::default();
        let (here, there) = ("/ip4/192.0.2.1/tcp/4002", "/ip4/192.0.2.2/tcp/4002");
        let peer = libp2p::PeerId::random();
        let out = pulses.of(&dialled(&format!("{there}/p2p/{peer}")));
        let inbound = pulses.of(&accepted(here, there));
        assert!(Arc::ptr_eq(&out, &pulses.of(&dialled(there))));
        assert!(Arc::ptr_eq(&inbound, &pulses.of(&accepted(here, there))));
        assert!(!Arc::ptr_eq(&out, &inbound));
        assert!(!Arc::ptr_eq(&inbound, &pulses.of(&accepted(there, here))));
    }

    #[test]
    fn those_that_are_gone_leave_nothing_and_one_too_many_still_has_a_pulse() {
        let pulses = Pulses::default();
        let address = |n: usize| format!("/ip4/10.0.{}.{}/tcp/1", n / 256, n % 256);
        for n in 0..2 * PULSES_MAX {
            drop(pulses.of(&dialled(&address(n))));
        }
        assert!(pulses.0.lock().unwrap().len() <= PULSES_MAX);
        let held: Vec<_> = (0..2 * PULSES_MAX).map(|n| pulses.of(&dialled(&address(n)))).collect();
        assert_eq!(pulses.0.lock().unwrap().len(), PULSES_MAX);
        assert!(Arc::ptr_eq(&held[7], &pulses.of(&dialled(&address(7)))));
    }
}
