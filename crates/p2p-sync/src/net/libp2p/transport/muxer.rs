//! Limits the cost of a connection: the number of streams, the unread bytes buffered by Yamux, and the time to close.
//! Yamux's own limits are so generous that one connection could use a gibibyte.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::{PeerId, yamux};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

mod reading;

use reading::Reading;
pub(in crate::net::libp2p) use reading::{CUT_OFFS_MAX, CutOff};

/// Streams that are open at once on a connection; what the other side opens beyond that is reset. Our protocols need a dozen,
/// Kademlia may have 32 more for a moment.
const STREAMS_MAX: usize = 64;
/// What Yamux lets a stream hold unread, whatever else: each gets this window at its birth.
const WINDOW_BYTES: usize = 256 * 1024;
/// What Yamux allows all windows of a connection together.
const WINDOWS_BYTES: usize = 1024 * 1024 * 1024;
/// By how much all windows of a connection together may grow beyond the first ones. How fast they do is up to the other side,
/// which makes the round trips last. No stream of the sync has more than about 1 MiB under way.
const GROWTH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a connection may take to send what waits when it is closed: were its other end gone, the system would try for a
/// quarter of an hour.
const CLOSE_WITHIN: Duration = Duration::from_millis(500);

/// Yamux with bounded windows.
///
/// The windows grow out of what is left of [`WINDOWS_BYTES`] when [`WINDOW_BYTES`] are set aside for every stream that there
/// may be. That sum itself cannot be set from here, so their number is: it leaves [`GROWTH_BYTES_MAX`]. How many streams there
/// really are is bounded by [`Muxer`].
pub(in crate::net::libp2p) fn yamux() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams((WINDOWS_BYTES - GROWTH_BYTES_MAX) / WINDOW_BYTES);
    config
}

/// A muxer with at most [`STREAMS_MAX`] streams that counts as closed after [`CLOSE_WITHIN`], whatever still waits in it.
pub(in crate::net::libp2p) struct Muxer<M: StreamMuxer> {
    inner: M,
    peer: PeerId,
    told: mpsc::Sender<CutOff>,
    /// Held by every stream as well.
    alive: Arc<()>,
    /// Streams of the other side that nobody has asked for yet. They count.
    opened: VecDeque<Stream<M::Substream>>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl<M: StreamMuxer> Muxer<M> {
    /// The connection to `peer`. What gossip cuts off there is told.
    pub(in crate::net::libp2p) fn new(inner: M, peer: PeerId, told: mpsc::Sender<CutOff>) -> Self {
        Self {
            inner,
            peer,
            told,
            alive: Arc::new(()),
            opened: VecDeque::new(),
            patience: None,
        }
    }

    /// Takes in what the other side opened, and resets what is too much.
    fn take_in(&mut self, cx: &mut Context<'_>) -> Result<(), M::Error>
    where
        M: Unpin,
    {
        for _ in 0..STREAMS_MAX {
            let Poll::Ready(stream) = Pin::new(&mut self.inner).poll_inbound(cx)? else {
                return Ok(());
            };
            let alive = Arc::strong_count(&self.alive) - 1;
            if alive < STREAMS_MAX {
                let reading = Reading::new(self.peer, self.told.clone());
                self.opened.push_back(self.stream(stream, Some(reading)));
            } else {
                tracing::debug!("a stream is reset: its connection has {alive}");
            }
        }
        // There may be more, but others are to have their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn stream(&self, inner: M::Substream, reading: Option<Reading>) -> Stream<M::Substream> {
        Stream {
            inner,
            reading,
            _alive: Arc::clone(&self.alive),
        }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Muxer<M>
where
    M::Substream: Unpin,
{
    type Substream = Stream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        if self.opened.is_empty() {
            self.take_in(cx)?;
        }
        match self.opened.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => Poll::Pending,
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(stream, None)))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        let event = Pin::new(&mut self.inner).poll(cx)?;
        // Or they would wait in the inner muxer, up to a number of its own.
        self.take_in(cx)?;
        event.map(Ok)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(CLOSE_WITHIN)));
        if patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A stream that is counted.
pub(in crate::net::libp2p) struct Stream<S> {
    inner: S,
    /// The other side opened it.
    reading: Option<Reading>,
    _alive: Arc<()>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, bytes));
        if let Some(reading) = &mut self.reading {
            match &result {
                Ok(count) => reading.read(bytes.get(..*count).unwrap_or_default()),
                Err(_) => reading.broke(),
            }
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reading.as_mut().is_some_and(Reading::is_cut_off) {
            // Not closed, it is reset when it is dropped: so the other side learns that it is of no use any more, and opens
            // another one. It would wait for ever to get rid of the rest.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
