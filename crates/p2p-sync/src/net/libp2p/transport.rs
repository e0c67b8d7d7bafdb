//! How bytes travel: TCP with Noise and Yamux, and QUIC. A connection over TCP can be closed within a moment even if its
//! other end is gone: Yamux would first send what waits, and the system would try that for a quarter of an hour.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use libp2p::core::Transport;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise, quic, tcp, yamux};
use tokio::time::{Sleep, sleep};

/// A dial, handshakes included, is given up after this.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(4);
/// A QUIC connection on which nothing arrives is dead after this.
const QUIC_IDLE_TIMEOUT: Duration = Duration::from_secs(6);
/// How often QUIC itself makes sure that something arrives.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// How long a connection over TCP may take to send what waits when it is closed.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Both transports, for one identity.
pub(super) fn build(
    key: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(ClosesInTime::new(muxer))));
    let mut config = quic::Config::new(key);
    config.max_idle_timeout = u32::try_from(QUIC_IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = QUIC_KEEP_ALIVE;
    config.handshake_timeout = DIAL_TIMEOUT;
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// A muxer that counts as closed after [`CLOSE_WITHIN`], whatever still waits in it.
struct ClosesInTime<M> {
    inner: M,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<M> ClosesInTime<M> {
    fn new(inner: M) -> Self {
        Self { inner, patience: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for ClosesInTime<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(CLOSE_WITHIN)));
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    /// The other end is gone and the send buffer full.
    struct Stuck;

    impl StreamMuxer for Stuck {
        type Substream = futures::io::Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, io::Error>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, io::Error>> {
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, io::Error>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_connection_that_cannot_send_closes_all_the_same() {
        let mut muxer = ClosesInTime::new(Stuck);
        let closed = std::future::poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx));
        tokio::time::timeout(10 * CLOSE_WITHIN, closed).await.unwrap().unwrap();
    }
}
