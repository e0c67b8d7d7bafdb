//! The sync streams: accepts those that peers open, distinguishes sessions from feeds by the first frame, and limits their
//! number. Each runs on its own task, so that the swarm waits for none of them. The node handles the frames of a session.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite};
use libp2p::PeerId;
use p2p_sync_core::NodeId;
use p2p_sync_core::sync::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::complaints::Complaints;
use super::log_budget::LogBudget;
use super::streams::links::Links;
use super::transport::pulse::Pulse;
use super::{called, node_id};
use crate::names::Names;
use crate::net::{FromPeers, STREAM_BYTES_MAX, StreamEvent, StreamId, StreamOrder};

mod behaviour;
mod feeds;
mod framing;
mod holding;
pub(in crate::net::libp2p) mod links;
mod places;
mod session;

pub(super) use behaviour::{Behaviour, INCOMING_MAX, Incoming, NoPlace, Opening};
pub(super) use feeds::Feeds;
use framing::{ByteCounters, FrameReader, FrameWriter, StreamError};
use holding::Holding;
use places::Places;
use session::Begun;

/// How long is waited for what. Real ones are in the default; tests have less time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// For a stream to be opened, and for its first frame.
    opening: Duration,
    /// For anything to happen on a session's stream.
    silence: Duration,
    /// For a peer to take some of what is written to a session.
    stall: Duration,
    /// For a peer to close its end when we have closed ours.
    linger: Duration,
    /// For a peer to take what is fed to it, or to give credit for more.
    feed_stall: Duration,
    /// After this a feed on which nothing happens is closed; it is opened again when there is something to say.
    feed_idle: Duration,
    /// After a feed failed, its peer gets no new one for this long.
    feed_pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            opening: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            stall: Duration::from_secs(15),
            linger: Duration::from_secs(5),
            feed_stall: Duration::from_secs(10),
            feed_idle: Duration::from_secs(60),
            feed_pause: Duration::from_secs(5),
        }
    }
}

/// What all streams share.
pub(super) struct Common {
    events: mpsc::Sender<StreamEvent>,
    inbound: mpsc::Sender<FromPeers>,
    /// [`STREAM_BYTES_MAX`] of it.
    permits: Arc<Semaphore>,
    pub(super) links: Links,
    patience: Patience,
    traffic: Arc<ByteCounters>,
    complaints: Mutex<Complaints>,
    names: Names,
    next_stream: AtomicU64,
    places: Places,
    holding: Holding,
}

/// A stream that a peer opened: it has its place until this is dropped.
struct Slot {
    common: Arc<Common>,
    number: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.common.places.leave(self.number);
    }
}

impl Common {
    pub(super) fn new(
        events: mpsc::Sender<StreamEvent>,
        inbound: mpsc::Sender<FromPeers>,
        links: Links,
        patience: Patience,
        log: Arc<LogBudget>,
        names: Names,
    ) -> Self {
        Self {
            events,
            inbound,
            permits: Arc::new(Semaphore::new(STREAM_BYTES_MAX)),
            links,
            patience,
            traffic: Arc::default(),
            complaints: Mutex::new(Complaints::new(log)),
            names,
            next_stream: AtomicU64::new(0),
            places: Places::default(),
            holding: Holding::default(),
        }
    }

    /// What was refused or given up, by cause.
    pub(super) fn complaints(&self) -> Vec<(String, u64)> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).all()
    }

    /// A peer as people see it.
    fn called(&self, peer: &PeerId) -> String {
        called(&self.names, peer)
    }

    /// Bytes read and written.
    pub(super) fn traffic(&self) -> (u64, u64) {
        self.traffic.totals()
    }

    /// How many streams peers have open to us.
    pub(super) fn inbound_streams(&self) -> usize {
        self.places.taken()
    }

    /// Whether a session with this peer is under way.
    pub(super) fn is_busy(&self, peer: &PeerId) -> bool {
        self.holding.is_busy(peer)
    }

    /// Counts what a peer did wrong, or did not get; says whether to log it.
    fn complain(&self, peer: PeerId, cause: &str, count: usize) -> bool {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.count(cause, count.saturating_sub(1) as u64);
        complaints.count_of(peer, cause, Instant::now())
    }

    /// A stream that a peer opened is dropped.
    pub(super) fn refuse(&self, peer: PeerId) {
        if self.complain(peer, "too many streams", 1) {
            tracing::warn!(
                "Peer {} opened too many streams; this one was dropped",
                self.called(&peer)
            );
        }
    }

    /// A stream ended before its time: the log gets to know, and the counts if it was the peer's fault.
    fn note_end(&self, peer: PeerId, what: &str, error: &StreamError) {
        if error.is_fault() && self.complain(peer, "invalid sync frame", 1) {
            tracing::warn!("Ended a {what} with peer {}: {error}", self.called(&peer));
        } else {
            tracing::debug!(%peer, "a {what} ended: {error}");
        }
    }

    fn stream_id(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    fn admit(self: &Arc<Self>, peer: PeerId, is_stranger: bool) -> Option<Slot> {
        let number = self.places.take(peer, is_stranger)?;
        Some(Slot {
            common: Arc::clone(self),
            number,
        })
    }

    /// Waits until what was received has room to wait for the node.
    async fn permit_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        // No frame is larger than all the room there is.
        let bytes = u32::try_from(bytes.min(STREAM_BYTES_MAX)).unwrap_or(u32::MAX);
        Arc::clone(&self.permits).acquire_many_owned(bytes).await.ok()
    }

    fn halves<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        stall: Duration,
    ) -> (FrameReader<ReadHalf<S>>, FrameWriter<WriteHalf<S>>) {
        let (input, output) = stream.split();
        let pulse = Arc::new(Pulse::new());
        (
            FrameReader::new(input, Arc::clone(&pulse), Arc::clone(&self.traffic)),
            FrameWriter::new(output, pulse, Arc::clone(&self.traffic), stall),
        )
    }
}

/// Takes in the streams that peers open, until there is no swarm any more. It waits for nothing else.
pub(super) async fn accept(common: Arc<Common>, mut incoming: mpsc::Receiver<Incoming>) {
    while let Some(Incoming {
        peer,
        is_stranger,
        stream,
    }) = incoming.recv().await
    {
        match common.admit(peer, is_stranger) {
            Some(slot) => drop(tokio::spawn(answer(peer, stream, slot))),
            None => common.refuse(peer),
        }
    }
}

/// Carries a stream that a peer opened: a feed, if that is what its first frame says, else a session.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(peer: PeerId, stream: S, slot: Slot) {
    let common = Arc::clone(&slot.common);
    let Ok(node) = node_id(&peer) else { return };
    let (mut reader, writer) = common.halves(stream, common.patience.stall);
    match timeout(common.patience.opening, reader.next()).await {
        Ok(Ok(Some((Frame::Feed, _)))) => feeds::receive(&slot, (peer, node), reader, writer).await,
        Ok(Ok(Some(first))) => session::hold(&common, (peer, node), Begun::There(first), reader, writer).await,
        Ok(Err(error)) => common.note_end(peer, "stream", &error),
        Ok(Ok(None)) | Err(_) => tracing::debug!(%peer, "a stream was opened, and nothing said"),
    }
}

/// Holds a session on a stream that the node asked for; none when there is no way to open one.
pub(super) async fn ask(common: Arc<Common>, node: NodeId, order: StreamOrder, opening: Option<(PeerId, Opening)>) {
    let opened = match opening {
        Some((peer, opening)) => {
            let opened = timeout(common.patience.opening, opening).await;
            opened.ok().and_then(Result::ok).map(|stream| (peer, stream))
        }
        None => None,
    };
    match opened {
        Some((peer, stream)) => {
            let (reader, writer) = common.halves(stream, common.patience.stall);
            session::hold(&common, (peer, node), Begun::Here(order), reader, writer).await;
        }
        // If nobody is there to hear it, nobody waits for it.
        None => drop(common.events.send(StreamEvent::NotOpened { peer: node, order }).await),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
