//! An inbound connection counts only once it is used. A peer that dials several of our addresses at once keeps one
//! connection and silently drops the others, some of them after they are established on this side. If these were reported
//! as connections, a loss would follow each of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, SubstreamBox};
use tokio::time::timeout;

/// How long a connection may take until its first stream. Every libp2p program opens one at once.
const FIRST_STREAM_WITHIN: Duration = Duration::from_secs(1);

/// Waits until the other side of an inbound connection opens a stream. One with our own identity is not waited for: it is refused
/// in any case, and the sooner that is told the better.
///
/// # Errors
/// When the connection ends first. One that is neither used nor ended counts as kept after [`FIRST_STREAM_WITHIN`].
pub(super) async fn kept(
    own: PeerId,
    (peer, muxer): (PeerId, StreamMuxerBox),
    endpoint: ConnectedPoint,
) -> io::Result<(PeerId, StreamMuxerBox)> {
    if endpoint.is_dialer() || peer == own {
        return Ok((peer, muxer));
    }
    let mut used = Used {
        inner: muxer,
        first: None,
    };
    match timeout(FIRST_STREAM_WITHIN, std::future::poll_fn(|cx| used.poll_first(cx))).await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => Ok((peer, StreamMuxerBox::new(used))),
    }
}

/// A connection whose first stream may have been taken out of it.
struct Used {
    inner: StreamMuxerBox,
    first: Option<SubstreamBox>,
}

impl Used {
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Poll::Ready(stream) = Pin::new(&mut self.inner).poll_inbound(cx)? {
                self.first = Some(stream);
                return Poll::Ready(Ok(()));
            }
            // Nobody is interested in another address of the other side yet.
            ready!(Pin::new(&mut self.inner).poll(cx))?;
        }
    }
}

impl StreamMuxer for Used {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        match self.first.take() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => Pin::new(&mut self.inner).poll_inbound(cx),
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Pin::new(&mut self.inner).poll(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures::{AsyncReadExt, AsyncWriteExt};
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
    use libp2p::{Multiaddr, yamux};

    use super::*;
    use crate::net::libp2p::testing::{Pipe, pipe};

    /// Both ends of a connection, ours first.
    async fn connection() -> (StreamMuxerBox, yamux::Muxer<Pipe>) {
        let (ours, theirs) = pipe(64 * 1024);
        let config = yamux::Config::default();
        let protocol = config.protocol_info().next().unwrap();
        let ours = config.clone().upgrade_inbound(ours, protocol).await.unwrap();
        let theirs = config.upgrade_outbound(theirs, protocol).await.unwrap();
        (StreamMuxerBox::new(ours), theirs)
    }

    fn inbound() -> ConnectedPoint {
        ConnectedPoint::Listener {
            local_addr: Multiaddr::empty(),
            send_back_addr: Multiaddr::empty(),
        }
    }

    fn outbound() -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: Multiaddr::empty(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        }
    }

    #[tokio::test]
    async fn one_that_is_dropped_unused_never_counts() {
        let (ours, theirs) = connection().await;
        let waiting = tokio::spawn(kept(PeerId::random(), (PeerId::random(), ours), inbound()));
        tokio::task::yield_now().await;
        drop(theirs);
        assert!(waiting.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn one_that_is_used_counts_at_once_and_its_first_stream_is_whole() {
        let (ours, mut theirs) = connection().await;
        let begun = Instant::now();
        let waiting = tokio::spawn(kept(PeerId::random(), (PeerId::random(), ours), inbound()));
        let mut stream = std::future::poll_fn(|cx| Pin::new(&mut theirs).poll_outbound(cx))
            .await
            .unwrap();
        stream.write_all(b"hello").await.unwrap();
        let other_side = tokio::spawn(std::future::poll_fn(move |cx| {
            Pin::new(&mut theirs).poll(cx).map(|event| event.is_ok())
        }));
        let (_, mut ours) = waiting.await.unwrap().unwrap();
        assert!(begun.elapsed() < FIRST_STREAM_WITHIN);
        let mut first = std::future::poll_fn(|cx| Pin::new(&mut ours).poll_inbound(cx))
            .await
            .unwrap();
        tokio::spawn(std::future::poll_fn(move |cx| {
            Pin::new(&mut ours).poll(cx).map(|event| event.is_ok())
        }));
        let mut read = [0; 5];
        first.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"hello");
        other_side.abort();
    }

    #[tokio::test]
    async fn one_that_only_stands_counts_after_a_while() {
        let (ours, _theirs) = connection().await;
        let begun = Instant::now();
        assert!(
            kept(PeerId::random(), (PeerId::random(), ours), inbound())
                .await
                .is_ok()
        );
        assert!(begun.elapsed() >= FIRST_STREAM_WITHIN);
    }

    #[tokio::test]
    async fn our_own_dials_and_our_own_identity_are_not_waited_for() {
        let own = PeerId::random();
        for (peer, endpoint) in [(PeerId::random(), outbound()), (own, inbound())] {
            let (ours, _theirs) = connection().await;
            let begun = Instant::now();
            assert!(kept(own, (peer, ours), endpoint).await.is_ok());
            assert!(begun.elapsed() < FIRST_STREAM_WITHIN);
        }
    }
}
