//! All limits of the protocol in one place, with the unit in the name and the reason next to it. Limits of the program's
//! own machinery (connections, queues, caches) are at the top of the file that they protect.

use std::time::Duration;

use crate::signature::SIGNATURE_BYTES;

/// Longest key. Long enough for a path, short enough to list and to index.
pub const KEY_BYTES_MAX: usize = 256;
/// Authors that a version names as seen, beside the floor: see [`seen`](crate::seen). A key that so many nodes write in turn is rare.
pub const SEEN_AUTHORS_MAX: usize = 16;
/// Versions that are held of one key: its value, and conflicts. Nobody looks through more of them.
pub const VERSIONS_MAX: usize = 8;
/// Longest value. The store holds shared state, not files.
pub const VALUE_BYTES_MAX: usize = 65_536;
/// Longest peer id: 38 bytes for an Ed25519 key, 39 for a secp256k1 key, 34 for the longer ones (RSA, ECDSA), which are hashed
/// with SHA-256; three bytes of room.
pub const NODE_ID_BYTES_MAX: usize = 42;
/// Longest network name.
pub const NETWORK_NAME_BYTES_MAX: usize = 64;

/// Largest entry of a private network's membership: room for a removed admin's 1,250 entries that go on to count.
pub const ENTRY_BYTES_MAX: usize = 20 * 1024;
/// Longest name of a device in such an entry.
pub const MEMBER_NAME_BYTES_MAX: usize = 64;
/// Members of a private network. More than the few hundred machines this is made for.
pub const MEMBERS_MAX: usize = 1_024;
/// Devices about which entries of one signer are held. Nobody else's room shrinks when an admin fills its own.
pub const SIGNER_DEVICES_MAX: usize = 1_024;
/// Entries of one kind, by one signer, about one device, that are held: a device is granted something once, and lowered once or twice.
pub const ENTRIES_PER_KIND_MAX: usize = 4;
/// Records of one removed device that a list may name, 16 bytes each: 256 MiB.
pub const KEEP_LIST_ITEMS_MAX: usize = 16 * 1024 * 1024;
/// Bytes of entries, or of a list, in one frame of the exchange between members.
pub const MEMBERS_PAGE_BYTES_MAX: usize = 256 * 1024;
/// Ids in one frame of that exchange.
pub const MEMBERS_IDS_PAGE: usize = 16 * 1024;
/// Lists that a node says it has: more than a network removes devices.
pub const MEMBERS_LISTS_MAX: usize = 4_096;
/// Largest frame of that exchange.
pub const MEMBERS_FRAME_BYTES_MAX: usize = 320 * 1024;
/// Secrets of a private network by which a node recognises others: whoever was away for so many removals is let in again. Checking
/// them all takes some 20 µs.
pub const DOOR_SECRETS_MAX: usize = 64;
/// Largest message at a door: a [`Lower`](crate::membership::Statement::Lower), and the Grants by which its signer may say so.
pub const DOOR_MESSAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX + 1024;

/// Largest gossip message that is accepted or sent.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Largest frame that gossipsub reads: above [`MESSAGE_BYTES_MAX`], so that a slightly too large message still arrives, and
/// can be counted and logged with its peer instead of silently ending the stream.
pub const TRANSMIT_BYTES_MAX: usize = MESSAGE_BYTES_MAX + 64 * 1024;

/// Messages accepted from one author within [`AUTHOR_WINDOW`].
pub const AUTHOR_MESSAGES_MAX: usize = 100;
/// The window over which an author's messages are counted.
pub const AUTHOR_WINDOW: Duration = Duration::from_secs(60);
/// Messages that a node sends within [`PACING_WINDOW`]: a tenth below what others accept, because a delayed message falls
/// into a later window there than here.
pub const PACED_MESSAGES_MAX: usize = 90;
/// The window over which a node counts its own messages: longer than the others' by the expected delay.
pub const PACING_WINDOW: Duration = Duration::from_secs(62);
/// The highest value that the limit can be raised to: a hundred per second from each author.
pub const AUTHOR_MESSAGES_CEILING: usize = 6_000;
/// Stale messages (replayed, or changing nothing) that are accepted from one neighbour within [`AUTHOR_WINDOW`]. Guess: six
/// authors' full budgets, more than a healthy mesh produces.
pub const NEIGHBOUR_STALE_MESSAGES_MAX: usize = 600;
/// Authors whose windows are remembered. At 16 bytes per message, and up to twice that for spare capacity in the queues,
/// about 8 MB when all of them are full. A higher limit means fewer authors, so that memory stays the same.
pub const LIMITED_PEERS_MAX: usize = 4_096;
/// Neighbours whose windows of stale messages are remembered: more than a node has connections. 8 MB by the same count.
pub const LIMITED_NEIGHBOURS_MAX: usize = 512;
/// Records queued for the node's own gossip budget; the rest is left to sync.
pub const PACED_BACKLOG_RECORDS_MAX: usize = 4_096;
/// Bytes of keys and values queued for the node's own gossip budget.
pub const PACED_BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Peers with whom everybody is connected to everybody. More would cost more with each of them, and gain nothing.
pub const FULL_MESH_PEERS_MAX: usize = 24;
/// Peers beyond [`FULL_MESH_PEERS_MAX`] that a node still connects with if it was connected with all before.
pub const FULL_MESH_SLACK: usize = 4;
/// Beyond that, peers that a node dials because their ids are nearest to its own.
pub const NEAREST_PEERS: usize = 8;
/// And peers that it dials because they were drawn by lot.
pub const DRAWN_PEERS: usize = 8;
/// How long a peer that was drawn is kept. In whole seconds, and a multiple of [`DRAWN_PEERS`] of them.
pub const DRAWN_FOR: Duration = Duration::from_secs(600);
/// Connected peers that a node is content with: those that it dials, as many that dial it, and half as many by bad luck.
pub const CONNECTED_PEERS_MAX: usize = 48;

/// How far ahead of our clock a received record may be before it is refused.
pub const FUTURE_MAX: Duration = Duration::from_secs(120);
/// How far ahead of our clock an observed timestamp may push our own writes.
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

/// Cells in the Hello of a sync: enough for some 20 differing items in 99 of 100 cases, in 2 KB.
pub const SYNC_HELLO_CELLS: usize = 64;
/// Hints in the Hello of the side that asks, a byte each: with them the estimate of the difference is off by 6 % (one standard
/// deviation), with the cells alone by 18 %.
pub const SYNC_HELLO_HINTS: usize = 512;
/// Longest frame of the sync: a full page of records, of cells or of keys fits with room to grow.
pub const SYNC_FRAME_BYTES_MAX: usize = 512 * 1024;
/// Cost of the records in one page (see [`SYNC_RECORD_OVERHEAD_BYTES`]), unless a single record costs more.
pub const SYNC_PAGE_BYTES_MAX: usize = 256 * 1024;
/// Records in one page: what a store writes in one transaction without keeping live writes waiting.
pub const SYNC_PAGE_RECORDS_MAX: usize = 1_000;
/// What a record costs beyond the bytes of its key and value: an upper bound for timestamps, author and lengths.
pub const SYNC_RECORD_OVERHEAD_BYTES: usize = 96;
/// What each author that a record names as seen costs: an upper bound for its id, its index, and a timestamp.
pub const SYNC_SEEN_COST_BYTES: usize = 56;
/// Cost of the records that may be in flight before the receiver acknowledges them: enough to keep a fast link busy.
pub const SYNC_CREDIT_BYTES: usize = 1024 * 1024;
/// Records that may be in flight before the receiver acknowledges them.
pub const SYNC_CREDIT_RECORDS: usize = 4_000;
/// Cells in one frame, some 120 KB.
pub const SYNC_CELLS_PAGE: usize = 4_096;
/// Keys requested in one frame, 64 KB.
pub const SYNC_WANTED_PAGE: usize = 8_192;
/// Keys looked up at once, a few milliseconds of store time, before others get their turn.
pub const SYNC_LOOKUPS_MAX: usize = 256;
/// Records looked up for one key hash: the versions of one key, or, after a collision of 64 bits, of several. With patience,
/// two colliding keys can be produced on purpose, but not this many.
pub const SYNC_KEY_HASH_RECORDS_MAX: usize = 4 * VERSIONS_MAX;
/// Requests queued because the peer does not read. A peer that keeps requesting is cut off.
pub const SYNC_ORDERS_MAX: usize = 32;
/// Keys queued for one peer in all its requests together, 512 KiB: no more are requested at a time than a sketch has cells.
pub const SYNC_ORDERED_KEYS_MAX: usize = 65_536;
/// Hellos within one session, each followed by a transfer: whatever remains after that is left to the next session.
pub const SYNC_ROUNDS_MAX: usize = 6;
/// Messages of the range-based fallback that may find nothing to move, within one session: each reads all items. Waiting
/// records do not move, and 100,000 of them take 30 messages.
pub const SYNC_RANGE_MESSAGES_MIN: u64 = 64;
/// Moved records that allow one more message. Measured: one message finds 100 to 300.
pub const SYNC_RANGE_MESSAGE_RECORDS: u64 = 8;
/// Longest message of the range-based fallback.
pub const SYNC_RANGE_BYTES_MAX: usize = 128 * 1024;
/// Records queued for one peer in its feed: a few seconds of a fast writer. A slower peer gets them by a session.
pub const SYNC_FEED_RECORDS_MAX: usize = 8_192;
/// Cost of the records queued for one peer in its feed.
pub const SYNC_FEED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Sessions that may hold a copy of the sketch for a peer at a time, up to 2.5 MiB each.
pub const SYNC_SNAPSHOTS_MAX: usize = 4;
/// Sessions that may receive a bulk at a time: more would only take turns at the disk.
pub const SYNC_BULKS_MAX: usize = 1;
/// Sessions that a node holds at a time of those that it opened itself, each with up to 2.5 MiB of the peer's cells.
pub const SYNC_OWN_SESSIONS_MAX: usize = 32;
/// Of these, those that are younger than [`SYNC_FRESH_MAX`]: more would only wait for the store. Older ones are bulks, or
/// slow, and keep nobody waiting.
pub const SYNC_FRESH_SESSIONS_MAX: usize = 8;
/// For how long a session counts as fresh. A guess: a few round trips of a slow link.
pub const SYNC_FRESH_MAX: Duration = Duration::from_secs(2);
/// For how long a session waits for the first frame of its peer, which answers from memory.
pub const SYNC_ANSWER_MAX: Duration = Duration::from_secs(10);
/// Bytes that a session must move, both ways together, within [`SYNC_PROGRESS_MAX`]: a twentieth of what a link of 100 kbit/s
/// carries, since it carries others too.
pub const SYNC_PROGRESS_BYTES: u64 = 16 * 1024;
/// How long a session may take to move [`SYNC_PROGRESS_BYTES`].
pub const SYNC_PROGRESS_MAX: Duration = Duration::from_secs(30);
/// The same while it reconciles by ranges, where each side reads all its records first.
pub const SYNC_RANGES_PROGRESS_MAX: Duration = Duration::from_secs(120);
/// A session that takes longer is ended, so that nobody keeps a bulk slot forever. The next one continues from there.
pub const SYNC_SESSION_MAX: Duration = Duration::from_secs(900);
/// Bytes that a session with a slot must move, both ways together, within [`SYNC_SLOW_MAX`] while another waits for that
/// slot: a quarter of a link of 1 Mbit/s. A slower one gives up the slot, and gets it back when nobody is waiting.
pub const SYNC_SLOW_BYTES: u64 = 128 * 1024;
/// How long a session may take to move [`SYNC_SLOW_BYTES`] while another waits for its slot.
pub const SYNC_SLOW_MAX: Duration = Duration::from_secs(4);
/// The same for the slot of the range-based fallback, where each side reads all its records first.
pub const SYNC_RANGES_SLOW_MAX: Duration = Duration::from_secs(30);
/// For how long a peer that found no slot counts as waiting: longer than the pauses in which it asks.
pub const SYNC_WAITING_MAX: Duration = Duration::from_secs(60);
/// Peers waiting for slots of one kind; others are refused, and try again.
pub const SYNC_WAITING_PEERS_MAX: usize = 64;
/// For how long a free slot is reserved for the peer that was called: pauses between sessions are shorter.
pub const SYNC_CALLED_MAX: Duration = Duration::from_secs(4);
/// How long a peer gets no slots after a session with it had to be cut off; doubled up to [`SYNC_DENIAL_MAX`] when that happens
/// again within that time.
pub const SYNC_DENIAL_MIN: Duration = Duration::from_secs(60);
/// The longest time for which a peer gets no slots, or no ranges.
pub const SYNC_DENIAL_MAX: Duration = Duration::from_secs(600);
/// Peers that are denied something at a time, 100 bytes each.
pub const SYNC_DENIED_PEERS_MAX: usize = 1_024;
/// Epochs of its change sequence that a store remembers, 16 bytes each: a cursor survives that many runs in which something
/// changed.
pub const EPOCHS_MAX: usize = 1_000;
/// Peers that are checked in one round to pass on changes that arrived by session or feed; others follow in the next round.
pub const SYNC_TOLD_PEERS_MAX: usize = 8;
/// Sessions in the range-based fallback at a time; they use 40 bytes per record.
pub const SYNC_RANGES_MAX: usize = 1;
/// From the start of one range-based fallback to the start of the next: each reads all items, some tenths of a second for a
/// million, and a peer can cause one at any time.
pub const SYNC_RANGES_PAUSE: Duration = Duration::from_secs(2);
/// From the end of one to the next with the same peer; doubled up to [`SYNC_DENIAL_MAX`] while they move nothing.
pub const SYNC_RANGES_PEER_PAUSE: Duration = Duration::from_secs(10);

const _: () = assert!(
    SYNC_PAGE_BYTES_MAX
        + KEY_BYTES_MAX
        + VALUE_BYTES_MAX
        + SEEN_AUTHORS_MAX * SYNC_SEEN_COST_BYTES
        + SYNC_PAGE_RECORDS_MAX * (NODE_ID_BYTES_MAX + SIGNATURE_BYTES)
        < SYNC_FRAME_BYTES_MAX,
    "any page fits a frame"
);
const _: () = assert!(
    KEY_BYTES_MAX + VALUE_BYTES_MAX + SYNC_RECORD_OVERHEAD_BYTES + SEEN_AUTHORS_MAX * SYNC_SEEN_COST_BYTES
        <= SYNC_PAGE_BYTES_MAX
        && SYNC_PAGE_BYTES_MAX * 2 <= SYNC_CREDIT_BYTES,
    "credit is given back before it runs out"
);
