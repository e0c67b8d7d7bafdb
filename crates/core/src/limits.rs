//! Every bound of the protocol in one place: the unit is in the name, the reason beside it. Bounds of the
//! program's own machinery (connections, queues, caches) stand here too, so that nobody has to search.

use std::time::Duration;

/// Longest key. Long enough for a path, short enough to list and to index.
pub const KEY_BYTES_MAX: usize = 256;
/// Longest value. The store holds shared state, not files.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Longest peer id: an Ed25519 one takes 38 bytes, one hashed with SHA-256 34, Secp256k1 37; four bytes of room.
pub const NODE_ID_BYTES_MAX: usize = 42;
/// Longest text of a network's name.
pub const NETWORK_NAME_BYTES_MAX: usize = 64;

/// Largest gossip message that is taken in or sent.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame that gossipsub reads: above [`MESSAGE_BYTES_MAX`], so that a message a little too large still
/// arrives, and can be counted and logged with its peer instead of ending the stream without a word.
pub const TRANSMIT_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;

/// Messages taken in from one author within [`AUTHOR_WINDOW`].
pub const AUTHOR_MESSAGES_MAX: usize = 100;
/// The window over which an author's messages are counted.
pub const AUTHOR_WINDOW: Duration = Duration::from_secs(60);
/// Messages that a node sends within [`PACING_WINDOW`]: a tenth below what others take in, because a message that
/// is delayed on its way falls into a later window there than here.
pub const PACED_MESSAGES_MAX: usize = 90;
/// The window over which a node counts its own messages: longer than the others' by the delay that is expected.
pub const PACING_WINDOW: Duration = Duration::from_secs(62);
/// Stale messages (replayed, or changing nothing) that are taken from one neighbour within [`AUTHOR_WINDOW`].
/// Guess: six authors' full budgets, more than a healthy mesh produces.
pub const NEIGHBOUR_STALE_MESSAGES_MAX: usize = 600;
/// Authors whose windows are remembered. At 16 bytes a message, and up to twice that for spare room in the queues,
/// about 8 MB when all of them are full.
pub const LIMITED_PEERS_MAX: usize = 4_096;
/// Neighbours whose windows of stale messages are remembered: more than there can be connections. 8 MB by the same
/// count.
pub const LIMITED_NEIGHBOURS_MAX: usize = 512;
/// Records that wait for the node's own gossip budget; what does not fit is left to repair by sync.
pub const PACED_BACKLOG_RECORDS_MAX: usize = 4_096;
/// Bytes of keys and values that wait for the node's own gossip budget.
pub const PACED_BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How far ahead of our clock a received record may be before it is refused.
pub const FUTURE_MAX: Duration = Duration::from_secs(120);
/// How far ahead of our clock a timestamp that was seen may push our own writes.
pub const CLOCK_LEAD_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(
    KEY_BYTES_MAX + VALUE_BYTES_MAX * 6 + 1024 < MESSAGE_BYTES_MAX,
    "any one record fits a message as JSON"
);
const _: () = assert!(
    PACED_MESSAGES_MAX < AUTHOR_MESSAGES_MAX,
    "a node stays below what its peers accept"
);
const _: () = assert!(
    PACING_WINDOW.as_secs() > AUTHOR_WINDOW.as_secs(),
    "a node stays below what its peers accept"
);
const _: () = assert!(
    CLOCK_LEAD_MAX.as_secs() < FUTURE_MAX.as_secs(),
    "what one node writes, a punctual peer accepts"
);
