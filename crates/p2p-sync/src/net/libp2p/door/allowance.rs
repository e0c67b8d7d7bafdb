//! What may be read from a connection before the door has opened. Yamux holds a lot for whoever opens streams; here it does not get to see
//! it. Nothing is lost: whoever is let in goes on where it was held up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use futures::future::{MapOk, TryFutureExt};
use futures::task::AtomicWaker;
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;

/// What the other side may send until then: three times what the longest talk takes, of which the Lower of a removed device is most.
const BYTES_MAX: usize = 64 * 1024;
/// No bound any more.
const LIFTED: usize = usize::MAX;

/// What may still be read.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Allowance {
    left: AtomicUsize,
    waiting: AtomicWaker,
}

impl Allowance {
    fn new() -> Self {
        Self {
            left: AtomicUsize::new(BYTES_MAX),
            waiting: AtomicWaker::new(),
        }
    }

    /// The door has opened: everything may be read.
    pub(in crate::net::libp2p) fn lift(&self) {
        self.left.store(LIFTED, Ordering::Release);
        self.waiting.wake();
    }

    /// How much may be read now; waits while it is nothing.
    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let left = self.left.load(Ordering::Acquire);
        if left > 0 {
            return Poll::Ready(left);
        }
        self.waiting.register(cx.waker());
        // It may have been lifted meanwhile.
        match self.left.load(Ordering::Acquire) {
            0 => Poll::Pending,
            left => Poll::Ready(left),
        }
    }

    fn take(&self, count: usize) {
        // Whoever reads is the only one that takes; it may be lifted at any time.
        let take = |left| (left != LIFTED).then(|| left - count.min(left));
        let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
    }
}

/// Bytes with an allowance.
pub(in crate::net::libp2p) struct Metered<S> {
    inner: S,
    allowance: Arc<Allowance>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let left = ready!(self.allowance.poll_left(cx));
        let most = bytes.len().min(left);
        let count = ready!(Pin::new(&mut self.inner).poll_read(cx, bytes.get_mut(..most).unwrap_or_default()))?;
        self.allowance.take(count);
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// Yamux over bytes with an allowance.
#[derive(Clone)]
pub(in crate::net::libp2p) struct MeteredYamux(pub(in crate::net::libp2p) yamux::Config);

/// A connection of which the allowance is known.
pub(in crate::net::libp2p) struct Held<M> {
    pub(in crate::net::libp2p) muxer: M,
    pub(in crate::net::libp2p) allowance: Arc<Allowance>,
}

impl UpgradeInfo for MeteredYamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

type Yamux<S> = yamux::Muxer<Metered<S>>;
type Hold<M> = Box<dyn FnOnce(M) -> Held<M> + Send>;
type Holding<F, M> = MapOk<F, Hold<M>>;

/// The bytes with a new allowance, and what puts both together again.
fn metered<S, M: 'static>(inner: S) -> (Metered<S>, Hold<M>) {
    let allowance = Arc::new(Allowance::new());
    let metered = Metered {
        inner,
        allowance: Arc::clone(&allowance),
    };
    (metered, Box::new(|muxer| Held { muxer, allowance }))
}

impl<S> InboundConnectionUpgrade<S> for MeteredYamux
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Held<Yamux<S>>;
    type Error = io::Error;
    type Future = Holding<<yamux::Config as InboundConnectionUpgrade<Metered<S>>>::Future, Yamux<S>>;

    fn upgrade_inbound(self, inner: S, info: Self::Info) -> Self::Future {
        let (metered, hold) = metered(inner);
        self.0.upgrade_inbound(metered, info).map_ok(hold)
    }
}

impl<S> OutboundConnectionUpgrade<S> for MeteredYamux
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = Held<Yamux<S>>;
    type Error = io::Error;
    type Future = Holding<<yamux::Config as OutboundConnectionUpgrade<Metered<S>>>::Future, Yamux<S>>;

    fn upgrade_outbound(self, inner: S, info: Self::Info) -> Self::Future {
        let (metered, hold) = metered(inner);
        self.0.upgrade_outbound(metered, info).map_ok(hold)
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Held<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.muxer).poll_close(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};

    use super::*;
    use crate::net::libp2p::testing::pipe;

    #[tokio::test]
    async fn no_more_is_read_until_it_is_lifted_and_nothing_is_lost() {
        let (ours, mut theirs) = pipe(1024 * 1024);
        let sent: Vec<u8> = (0..3 * BYTES_MAX).map(|n| n.to_le_bytes()[1]).collect();
        theirs.write_all(&sent).await.unwrap();
        let (mut ours, hold) = metered::<_, ()>(ours);
        let allowance = hold(()).allowance;
        let mut read = vec![0; sent.len()];
        let mut count = 0;
        while let Some(more) = ours.read(&mut read[count..]).now_or_never() {
            count += more.unwrap();
        }
        assert_eq!(count, BYTES_MAX);
        let waiting = tokio::spawn(async move {
            ours.read_exact(&mut read[count..]).await.unwrap();
            read
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        allowance.lift();
        assert_eq!(waiting.await.unwrap(), sent);
    }
}
