//! Frames on a stream: read with their lengths, written without waiting forever for a peer that does not read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use p2p_sync_core::sync::{Frame, FrameBuffer, InvalidFrame, Violation};
use tokio::time::{Instant, timeout};

use crate::net::libp2p::transport::pulse::Pulse;

/// What is read from a stream at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// Why a stream ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the connection failed: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] InvalidFrame),
    #[error("the stream ended in the middle of a frame")]
    CutOff,
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("nothing was sent or received for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the peer read nothing for {} s", .0.as_secs())]
    Stalled(Duration),
    #[error("the stream could not be opened")]
    NotOpened,
    #[error("the peer ended the feed")]
    Unwanted,
    #[error("too much data was queued for the peer")]
    TooSlow,
    #[error("another stream replaced it")]
    Replaced,
}

impl StreamError {
    /// Whether the peer broke the rules, which no failing network does.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::Violation(_))
    }
}

/// Bytes of the sync, on all streams.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct ByteCounters {
    read: AtomicU64,
    written: AtomicU64,
}

impl ByteCounters {
    /// How many were read and written.
    pub(in crate::net::libp2p) fn totals(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }
}

/// The half of a stream from which frames come.
pub(super) struct FrameReader<R> {
    input: R,
    buffer: FrameBuffer,
    chunk: Box<[u8]>,
    pulse: Arc<Pulse>,
    traffic: Arc<ByteCounters>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(input: R, pulse: Arc<Pulse>, traffic: Arc<ByteCounters>) -> Self {
        Self {
            input,
            buffer: FrameBuffer::new(),
            chunk: vec![0; CHUNK_BYTES].into_boxed_slice(),
            pulse,
            traffic,
        }
    }

    /// The next frame and its length on the stream; none at the stream's end. Nothing is lost when this is given up while it
    /// waits.
    pub(super) async fn next(&mut self) -> Result<Option<(Frame, usize)>, StreamError> {
        loop {
            let before = self.buffer.unread();
            if let Some(frame) = self.buffer.next_frame()? {
                return Ok(Some((frame, before - self.buffer.unread())));
            }
            if self.read().await? == 0 {
                return match self.buffer.unread() {
                    0 => Ok(None),
                    _ => Err(StreamError::CutOff),
                };
            }
        }
    }

    /// When the stream was alive last.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Reads on without caring what comes, until the stream ends.
    pub(super) async fn discard(&mut self) -> Result<(), StreamError> {
        while self.input.read(&mut self.chunk).await? > 0 {}
        Ok(())
    }

    async fn read(&mut self) -> Result<usize, StreamError> {
        let count = self.input.read(&mut self.chunk).await?;
        self.pulse.beat();
        self.traffic.read.fetch_add(count as u64, Ordering::Relaxed);
        self.buffer.push(self.chunk.get(..count).unwrap_or_default());
        Ok(count)
    }

    /// The next frame, unless the stream was silent in both directions for `patience`.
    pub(super) async fn next_within(&mut self, patience: Duration) -> Result<Option<(Frame, usize)>, StreamError> {
        let pulse = Arc::clone(&self.pulse);
        loop {
            let deadline = pulse.last() + patience;
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(next) => return next,
                Err(_) if pulse.last() + patience > Instant::now() => {}
                Err(_) => return Err(StreamError::Silent(patience)),
            }
        }
    }
}

/// The half of a stream into which frames go.
pub(super) struct FrameWriter<W> {
    output: W,
    pulse: Arc<Pulse>,
    traffic: Arc<ByteCounters>,
    patience: Duration,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    /// Gives up when nothing can be written for `patience`.
    pub(super) fn new(output: W, pulse: Arc<Pulse>, traffic: Arc<ByteCounters>, patience: Duration) -> Self {
        Self {
            output,
            pulse,
            traffic,
            patience,
        }
    }

    /// Writes a frame, and says how long it was. It may not leave before the next [`flush`](Self::flush).
    pub(super) async fn write(&mut self, frame: &Frame) -> Result<usize, StreamError> {
        let bytes = frame.encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let count = timeout(self.patience, self.output.write(rest))
                .await
                .map_err(|_| StreamError::Stalled(self.patience))??;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
            self.pulse.beat();
            self.traffic.written.fetch_add(count as u64, Ordering::Relaxed);
            rest = rest.get(count..).unwrap_or_default();
        }
        Ok(bytes.len())
    }

    pub(super) async fn flush(&mut self) -> Result<(), StreamError> {
        timeout(self.patience, self.output.flush())
            .await
            .map_err(|_| StreamError::Stalled(self.patience))??;
        Ok(())
    }

    /// Says that no more will come.
    pub(super) async fn close(&mut self) -> Result<(), StreamError> {
        timeout(self.patience, self.output.close())
            .await
            .map_err(|_| StreamError::Stalled(self.patience))??;
        Ok(())
    }
}
