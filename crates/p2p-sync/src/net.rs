//! The port to other nodes: what the node asks of the network, what it receives from it, and what it can learn about its
//! state: two bounded queues of messages, the sync streams, and who listens. Nothing here knows how messages travel, and
//! nothing behind it knows about stores, users, or which version wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use p2p_sync_core::{NodeId, Record, Via};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use self::libp2p::{NetConfig, NetError, Started};
use crate::report::{NotListening, Peer};

pub mod libp2p;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod offline;
mod port;
mod reach;
mod streams;
#[cfg(test)]
mod suite;
mod troubles;

pub use port::{PortError, claim_port};
pub use reach::{Knock, Knocks, Survey, Surveyed, SurveyedNode, SurveyedPlace, Told};
pub use streams::{
    PeerLink, PeerLinks, STREAM_BYTES_MAX, STREAM_EVENTS_MAX, STREAM_OUTGOING_MAX, StreamEvent, StreamId, StreamOrder,
    Streams,
};
pub use troubles::{Attempt, Trouble, TroubleCause};

/// Requests and records queued for the network. When it is full, live changes are dropped and counted.
pub const TO_PEERS_MAX: usize = 4_096;
/// Messages queued from the network to the store. When it is full, they are dropped and counted.
pub const FROM_PEERS_MAX: usize = 1_024;

/// Bytes of messages queued for the store, as received; as records they take about three times as much. Beyond that,
/// messages are dropped and counted.
pub const FROM_PEERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the node asks of the network.
#[derive(Debug)]
pub enum ToPeers {
    /// Announce a local write to the others. A hint: it may get lost.
    Live(Record),
    /// An accepted message contained nothing new.
    ChangedNothing {
        /// Who wrote it.
        author: NodeId,
        /// Who delivered it.
        neighbour: NodeId,
    },
    /// A session with a peer completed: it is a node of this network, worth finding again.
    Vouch {
        /// Who.
        peer: NodeId,
    },
    /// Open a stream for a session; the answer is [`StreamEvent::Opened`] or [`StreamEvent::NotOpened`].
    OpenStream {
        /// With whom.
        peer: NodeId,
        /// Identifies the request in its answer: there may be another one by then.
        order: StreamOrder,
    },
    /// Measure the round trip to a peer now. The sender is dropped if the peer is not connected, or goes away.
    Ping {
        /// To whom.
        peer: NodeId,
        /// Gets the time.
        reply: oneshot::Sender<Duration>,
    },
    /// Ask a peer to knock at this node's port. The sender is dropped if it is not connected, does not know how, or does not answer.
    AskBack {
        /// Whom.
        peer: NodeId,
        /// Gets what it tells.
        reply: oneshot::Sender<Told>,
    },
    /// Report the status.
    Status(oneshot::Sender<NetStatus>),
    /// Say goodbye, disconnect, and end; the sender is dropped when that is done.
    Stop(oneshot::Sender<()>),
}

/// Messages from the network to the node.
#[derive(Debug)]
pub enum FromPeers {
    /// Changes that passed all checks that do not need the store.
    Records {
        /// How they arrived: by gossip or by a feed.
        via: Via,
        /// The changes; those of a feed in the order in which they were committed there.
        records: Vec<Record>,
        /// Their share of [`FROM_PEERS_BYTES_MAX`], for a feed of [`STREAM_BYTES_MAX`], to be held until they are stored.
        permit: OwnedSemaphorePermit,
    },
    /// A peer is worth remembering at an address: it was dialled there successfully, or named it and then held a session.
    Reached {
        /// The peer.
        peer: NodeId,
        /// Its address as a multiaddress.
        address: String,
    },
}

/// Whether anybody would receive a live change. Shared, so that a lone node does not wake its network for every write;
/// counts the changes that were not even queued.
#[derive(Debug, Default)]
pub struct Audience {
    listens: AtomicBool,
    unheard: AtomicU64,
    crowded_out: AtomicU64,
}

impl Audience {
    /// Whether anybody listens. If not, the change is counted as not announced.
    pub fn listens(&self) -> bool {
        let listens = self.listens.load(Ordering::Relaxed);
        if !listens {
            self.unheard.fetch_add(1, Ordering::Relaxed);
        }
        listens
    }

    /// A change found the queue to the network full.
    pub fn crowd_out(&self) {
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
    }

    fn set_listening(&self, listens: bool) {
        self.listens.store(listens, Ordering::Relaxed);
    }

    /// How many changes had no listener, and how many found the queue full, since the last call.
    fn take_missed(&self) -> (u64, u64) {
        (
            self.unheard.swap(0, Ordering::Relaxed),
            self.crowded_out.swap(0, Ordering::Relaxed),
        )
    }
}

/// Carries messages between nodes.
pub(crate) trait Network {
    /// Makes sure that a port is free for this node; see [`claim_port`].
    fn claim_port(&self, port: u16) -> Result<u16, PortError>;

    /// Whether it reaches nobody at all.
    fn is_offline(&self) -> bool {
        false
    }

    /// Starts it. It ends when the link's outbound end is dropped or asked to stop.
    fn start(self, config: NetConfig) -> impl Future<Output = Result<Started, NetError>> + Send;
}

/// The two ends that the node holds.
#[derive(Debug)]
pub struct Link {
    /// Whether it is worth sending live changes.
    pub audience: Arc<Audience>,
    /// To the network; at most [`TO_PEERS_MAX`] wait.
    pub outbound: mpsc::Sender<ToPeers>,
    /// From the network; at most [`FROM_PEERS_MAX`] wait.
    pub inbound: mpsc::Receiver<FromPeers>,
    /// The streams of the sync.
    pub streams: Streams,
}

/// How the network is doing.
#[derive(Debug, Clone, Default)]
pub struct NetStatus {
    /// The listening addresses that others could dial, as multiaddresses.
    pub addresses: Vec<String>,
    /// Where it should also listen, but cannot.
    pub not_listening: Vec<NotListening>,
    /// The connected peers.
    pub peers: Vec<Peer>,
    /// Peers that are known, connected or not.
    pub known_peers: usize,
    /// Peers in the gossip mesh.
    pub mesh: usize,
    /// Messages published, each with one or more changes.
    pub sent: u64,
    /// Changes of this node made with no peer listening. Sync delivers them later.
    pub unheard: u64,
    /// Messages accepted.
    pub received: u64,
    /// What was dropped or refused: cause and count.
    pub dropped: Vec<(String, u64)>,
    /// Whether other machines are heard by multicast DNS.
    pub multicast: Multicast,
    /// Peers that this node cannot reach, configured ones first.
    pub troubles: Vec<Trouble>,
    /// Sync streams that peers currently have open to this node, feeds included.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask so far"))]
    pub sync_streams: usize,
    /// Bytes received on sync streams.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests ask so far"))]
    pub sync_bytes_in: u64,
    /// Bytes sent on sync streams.
    #[expect(dead_code, reason = "nobody asks so far")]
    pub sync_bytes_out: u64,
}

/// Whether other machines are heard by multicast DNS, from any program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Multicast {
    /// Off: this node does not look for others on the LAN.
    #[default]
    Off,
    /// This machine cannot listen.
    Unknown {
        /// What the operating system said.
        why: String,
    },
    /// None has been heard since the start.
    Silent,
    /// One has been heard.
    Heard {
        /// How long ago.
        ago: Duration,
    },
}
