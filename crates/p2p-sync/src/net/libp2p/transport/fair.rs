//! One transport before another leaves it a turn. Of two transports, libp2p asks the second one only when the first has nothing to
//! tell, so a flood of connections to the first would keep everybody out of the second.

use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::core::Transport;
use libp2p::core::transport::{DialOpts, ListenerId, TransportError, TransportEvent};

/// A transport that has nothing to tell each time after it told something.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Fair<T> {
    inner: T,
    had_its_turn: bool,
}

impl<T> Fair<T> {
    pub(in crate::net::libp2p) fn new(inner: T) -> Self {
        Self {
            inner,
            had_its_turn: false,
        }
    }
}

impl<T: Transport + Unpin> Transport for Fair<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Self::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<Self::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        if std::mem::take(&mut self.had_its_turn) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let told = Pin::new(&mut self.inner).poll(cx);
        self.had_its_turn = told.is_ready();
        told
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Pending, pending};
    use std::io;

    use futures::task::noop_waker;

    use super::*;

    /// Always has something to tell: its number.
    #[derive(Debug)]
    struct Flood(u16);

    impl Transport for Flood {
        type Output = ();
        type Error = io::Error;
        type ListenerUpgrade = Pending<Result<(), io::Error>>;
        type Dial = Pending<Result<(), io::Error>>;

        fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            Err(TransportError::MultiaddrNotSupported(address))
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Ready(TransportEvent::Incoming {
                listener_id: ListenerId::next(),
                upgrade: pending(),
                local_addr: format!("/memory/{}", self.0).parse().unwrap(),
                send_back_addr: Multiaddr::empty(),
            })
        }
    }

    #[test]
    fn a_flood_leaves_the_other_transport_its_turn() {
        let mut both = Fair::new(Flood(1)).or_transport(Flood(2));
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let from_second = (0..100)
            .filter(|_| match Pin::new(&mut both).poll(&mut cx) {
                Poll::Ready(TransportEvent::Incoming { local_addr, .. }) => local_addr.to_string() == "/memory/2",
                _ => panic!("it has something to tell"),
            })
            .count();
        assert_eq!(from_second, 50);
    }
}
