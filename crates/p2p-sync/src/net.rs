//! The port to other nodes: what the node asks of the network, what it receives from it, and what it can learn about its
//! state: two bounded queues of messages, the sync streams, and who listens. Nothing here knows how messages travel, and
//! nothing behind it knows about stores, users, or which version wins.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use p2p_sync_core::{NodeId, Record, Via};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use self::libp2p::{NetConfig, NetError, Started};

pub mod libp2p;
#[cfg(test)]
pub(crate) mod memory;
mod port;
mod streams;
#[cfg(test)]
mod suite;
mod troubles;

pub use port::{PortError, claim_port};
pub use streams::{
    PeerLink, PeerLinks, STREAM_BYTES_MAX, STREAM_EVENTS_MAX, STREAM_OUTGOING_MAX, StreamEvent, StreamId, StreamOrder,
    Streams,
};
pub use troubles::{Attempt, Trouble, TroubleCause};

/// Orders and records on their way to the network. Live changes are dropped, and counted, when it is full.
pub const TO_PEERS_MAX: usize = 4_096;
/// Messages on their way from the network to the store. Dropped, and counted, when it is full.
pub const FROM_PEERS_MAX: usize = 1_024;

/// Bytes of messages that wait for the store, as they were received; as records they take about three times as much.
/// Dropped, and counted, beyond that.
pub const FROM_PEERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What the node asks of the network.
#[derive(Debug)]
pub enum ToPeers {
    /// Tell the others of a write that was made here. A hint: it may get lost.
    Live(Record),
    /// A message that was let in contained nothing new.
    ChangedNothing {
        /// Who wrote it.
        author: NodeId,
        /// Who delivered it.
        neighbour: NodeId,
    },
    /// A session with a peer came to its end in good order: it is a node of this network, worth finding again.
    Vouch {
        /// Who.
        peer: NodeId,
    },
    /// Open a stream for a session; the answer is [`StreamEvent::Opened`] or [`StreamEvent::NotOpened`].
    OpenStream {
        /// With whom.
        peer: NodeId,
        /// Names the order in its answer: another one may have been given by then.
        order: StreamOrder,
    },
    /// Say how things are.
    Status(oneshot::Sender<NetStatus>),
    /// Say goodbye, disconnect, and end; the sender is dropped when that is done.
    Stop(oneshot::Sender<()>),
}

/// What the network tells the node.
#[derive(Debug)]
pub enum FromPeers {
    /// Changes that passed every check that needs no store.
    Records {
        /// How they came: by gossip or by a feed.
        via: Via,
        /// The changes; those of a feed in the order in which they were committed there.
        records: Vec<Record>,
        /// Their share of [`FROM_PEERS_BYTES_MAX`], for a feed of [`STREAM_BYTES_MAX`], to be held until they are stored.
        permit: OwnedSemaphorePermit,
    },
    /// A peer is worth remembering at an address: it was dialled there with success, or said so and then held a session.
    Reached {
        /// The peer.
        peer: NodeId,
        /// Its address as a multiaddress.
        address: String,
    },
}

/// Whether anybody would hear of a live change. Shared, so that a node on its own does not wake its network for every
/// write; counts the changes that did not even get that far.
#[derive(Debug, Default)]
pub struct Audience {
    listens: AtomicBool,
    has_strangers: AtomicBool,
    unheard: AtomicU64,
    crowded_out: AtomicU64,
}

impl Audience {
    /// Whether somebody listens. If nobody does, the change is counted as not announced.
    pub fn listens(&self) -> bool {
        let listens = self.listens.load(Ordering::Relaxed);
        if !listens {
            self.unheard.fetch_add(1, Ordering::Relaxed);
        }
        listens
    }

    /// Whether somebody listens who is known not to be a peer to sync with, such as another program on libp2p. Who did not
    /// say yet is none.
    pub fn has_strangers(&self) -> bool {
        self.has_strangers.load(Ordering::Relaxed)
    }

    /// A change found the queue to the network full.
    pub fn crowd_out(&self) {
        self.crowded_out.fetch_add(1, Ordering::Relaxed);
    }

    fn set_listening(&self, listens: bool, has_strangers: bool) {
        self.listens.store(listens, Ordering::Relaxed);
        self.has_strangers.store(has_strangers, Ordering::Relaxed);
    }

    /// How many changes found nobody to hear them, and how many found the queue full, since this was asked last.
    fn take_missed(&self) -> (u64, u64) {
        (
            self.unheard.swap(0, Ordering::Relaxed),
            self.crowded_out.swap(0, Ordering::Relaxed),
        )
    }
}

/// What carries messages between nodes.
pub(crate) trait Network {
    /// Makes sure that a port is free for this node; see [`claim_port`].
    fn claim_port(&self, port: u16) -> Result<u16, PortError>;

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
    /// Where this node listens, as multiaddresses that others could dial.
    pub addresses: Vec<String>,
    /// Where it should listen too, and cannot.
    pub not_listening: Vec<NotListening>,
    /// The connected peers.
    pub peers: Vec<PeerStatus>,
    /// Peers that are known, connected or not.
    pub known_peers: usize,
    /// Peers in the gossip mesh.
    pub mesh: usize,
    /// Messages published, each with one or more changes.
    pub sent: u64,
    /// Changes of this node that nobody was there to hear. The sync brings them to whoever comes.
    pub unheard: u64,
    /// Messages let in.
    pub received: u64,
    /// What was dropped or refused: cause and count.
    pub dropped: Vec<(String, u64)>,
    /// Whether other machines are heard by multicast DNS.
    pub multicast: Multicast,
    /// Peers with whom this node does not get in touch, those that the user named first.
    pub troubles: Vec<Trouble>,
    /// Streams of the sync that peers have open to this node now, feeds included.
    pub sync_streams: usize,
    /// Bytes received on streams of the sync.
    pub sync_bytes_in: u64,
    /// Bytes sent on streams of the sync.
    pub sync_bytes_out: u64,
}

/// Whether other machines are heard by multicast DNS, from whatever program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Multicast {
    /// Nobody listens: this node is not to look for others on the LAN.
    #[default]
    Off,
    /// Nobody can listen.
    Unknown {
        /// What the operating system said.
        why: String,
    },
    /// None was heard since the start.
    Silent,
    /// One was heard.
    Heard {
        /// How long ago.
        ago: Duration,
    },
}

/// A transport that does not listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotListening {
    /// Where it should, as a multiaddress.
    pub address: String,
    /// What the operating system said.
    pub reason: String,
}

impl std::fmt::Display for NotListening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.address, self.reason)
    }
}

/// A connected peer.
#[derive(Debug, Clone)]
pub struct PeerStatus {
    /// Who it is.
    pub peer: NodeId,
    /// The address of its end of the connection.
    pub address: String,
    /// What the connection runs on.
    pub transport: Transport,
    /// Who dialled.
    pub direction: Direction,
    /// The last measured round trip.
    pub rtt: Option<Duration>,
    /// How many connections there are to it; one, after a moment.
    pub connections: usize,
    /// Whether it takes part in this network's gossip.
    pub subscribed: bool,
    /// Whether it is one of the neighbours to whom messages are pushed.
    pub in_mesh: bool,
}

/// What a connection runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with Noise and Yamux.
    Tcp,
}

/// Who dialled a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer did.
    Inbound,
    /// This node did.
    Outbound,
}
