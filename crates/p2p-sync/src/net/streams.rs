//! The part of the network port that concerns sync streams: which peers there are to sync with, and the frames of each
//! session. The network carries frames; the node decides what they say, and when a session is due. Feeds of new writes use
//! streams of the same kind, but the network handles those by itself.

use std::collections::BTreeMap;

use p2p_sync_core::NodeId;
use p2p_sync_core::sync::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Frames of one session queued for sending.
pub const STREAM_OUTGOING_MAX: usize = 4;
/// Events of all sessions queued for the node; if the queue is full, the stream waits.
pub const STREAM_EVENTS_MAX: usize = 256;
/// Bytes of frames and of records from feeds queued for the node. If there is no space for a frame, its stream waits, and
/// so does the peer.
pub const STREAM_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Identifies an open sync stream; never reused within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Identifies a request for a stream; never reused within a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamOrder(pub u64);

/// What happens on the streams.
#[derive(Debug)]
pub enum StreamEvent {
    /// A stream is open.
    Opened {
        /// Its name.
        stream: StreamId,
        /// Who is at its other end.
        peer: NodeId,
        /// The request of this node that it answers; none if the peer opened it and waits for an answer.
        asked: Option<StreamOrder>,
        /// For our frames, at most [`STREAM_OUTGOING_MAX`]. Dropping it ends the stream once they are sent.
        outgoing: mpsc::Sender<Frame>,
    },
    /// A requested stream could not be opened: the peer is gone or does not speak the sync protocol.
    NotOpened {
        /// Who.
        peer: NodeId,
        /// The request that this answers.
        order: StreamOrder,
    },
    /// A frame arrived.
    Received {
        /// On which stream.
        stream: StreamId,
        /// The frame.
        frame: Frame,
        /// Its length on the stream, in bytes.
        bytes: usize,
        /// Its share of [`STREAM_BYTES_MAX`], to be held until it is processed.
        permit: OwnedSemaphorePermit,
    },
    /// One of our frames was sent, so there is space for another.
    Sent {
        /// On which stream.
        stream: StreamId,
        /// Its length on the stream, in bytes.
        bytes: usize,
    },
    /// The stream has ended. This is its last event.
    Ended {
        /// Which stream.
        stream: StreamId,
        /// The error, safe to log; none if the peer closed it cleanly.
        cause: Option<String>,
    },
}

/// What sync must know about a peer. Numbers only grow while the node runs; what counts is that they changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerLink {
    /// Changes when the peer was lost and has returned.
    pub connected: u64,
    /// Changes when something did not get through between the peer and this node: a message was dropped for its rate, a queue
    /// was full, a feed was too slow, or a write was announced to nobody.
    pub missed: u64,
    /// Whether this node dialled a connection to it; false if all are inbound.
    pub dialled: bool,
}

/// The connected peers that speak this network's sync protocol and take part in its gossip.
pub type PeerLinks = BTreeMap<NodeId, PeerLink>;

/// The node's ends for the streams.
#[derive(Debug)]
pub struct Streams {
    /// The current peers. Only the newest state is kept, so a late reader misses nothing.
    pub peers: watch::Receiver<PeerLinks>,
    /// What happens on the streams, at most [`STREAM_EVENTS_MAX`].
    pub events: mpsc::Receiver<StreamEvent>,
}
