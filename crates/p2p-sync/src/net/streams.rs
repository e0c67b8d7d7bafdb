//! The part of the network port that concerns sync streams: which peers there are to sync with, and the frames of each
//! session. The network carries frames; the node decides what they say, and when a session is due. Feeds of new writes use
//! streams of the same kind, but the network handles those by itself.

use std::collections::BTreeMap;

use p2p_sync_core::NodeId;
use p2p_sync_core::sync::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

/// Frames of one session that wait to be sent.
pub const STREAM_OUTGOING_MAX: usize = 4;
/// Events of all sessions that wait for the node; a stream whose event finds the queue full waits.
pub const STREAM_EVENTS_MAX: usize = 256;
/// Bytes of frames and of fed records that wait for the node. A stream whose frame finds no room waits, and its peer with it.
pub const STREAM_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Names an open stream of the sync, never the same twice in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Names an order for a stream, never the same twice in a run.
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
        /// The order of this node that it answers; none when the peer opened it, and waits to be answered.
        asked: Option<StreamOrder>,
        /// For our frames, at most [`STREAM_OUTGOING_MAX`]. Dropping it ends the stream once they are sent.
        outgoing: mpsc::Sender<Frame>,
    },
    /// A stream that was asked for could not be opened: the peer is gone or does not speak the sync.
    NotOpened {
        /// Who.
        peer: NodeId,
        /// The order that this answers.
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
        /// Its share of [`STREAM_BYTES_MAX`], to be held until it is worked off.
        permit: OwnedSemaphorePermit,
    },
    /// One of our frames was sent, so that there is room for another.
    Sent {
        /// On which stream.
        stream: StreamId,
        /// Its length on the stream, in bytes.
        bytes: usize,
    },
    /// The stream has ended. The last that is heard of it.
    Ended {
        /// Which stream.
        stream: StreamId,
        /// What was wrong, in a form fit for a log; none when the peer closed it in good order.
        cause: Option<String>,
    },
}

/// How a peer stands to the sync. Numbers only grow while the node runs; what counts is that they changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerLink {
    /// Changes when the peer was lost and has come back.
    pub connected: u64,
    /// Changes when something did not get through between the peer and this node: a message was dropped for its rate, a queue
    /// was full, a feed was too slow, or a write was announced to nobody.
    pub missed: u64,
    /// Whether this node dialled a connection to it; false where the peer came by itself.
    pub dialled: bool,
}

/// The connected peers that speak the sync of this network and take part in its gossip.
pub type PeerLinks = BTreeMap<NodeId, PeerLink>;

/// The node's ends for the streams.
#[derive(Debug)]
pub struct Streams {
    /// The peers there are now. Only the newest state is kept, so that nothing can be lost by being late.
    pub peers: watch::Receiver<PeerLinks>,
    /// What happens on the streams, at most [`STREAM_EVENTS_MAX`].
    pub events: mpsc::Receiver<StreamEvent>,
}
