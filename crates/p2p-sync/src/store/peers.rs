//! The addresses at which peers were reached, kept over a restart. It is a hint for dialling: bounded, and whatever of it
//! cannot be read is left out. Whom to dial when is left to the network.

use p2p_sync_core::{NodeId, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::error::StoreError;
use super::sqlite::SqliteStore;

/// Peers whose addresses are kept: the ones reached last.
pub const REMEMBERED_PEERS_MAX: usize = 1_024;
/// Addresses kept of one peer: the ones reached last.
pub const PEER_ADDRESSES_MAX: usize = 8;
/// Longest address that is kept, in bytes of its text. A DNS name takes 255.
pub const REMEMBERED_ADDRESS_BYTES_MAX: usize = 512;

const REMEMBER: &str = "INSERT INTO peer_address (peer, address, last_reached) VALUES (?1, ?2, ?3) \
    ON CONFLICT (peer, address) DO UPDATE SET last_reached = excluded.last_reached";
const FORGET_ADDRESSES: &str = "DELETE FROM peer_address WHERE peer = ?1 AND address NOT IN \
    (SELECT address FROM peer_address WHERE peer = ?1 ORDER BY last_reached DESC, address LIMIT ?2)";
const FORGET_PEERS: &str = "DELETE FROM peer_address WHERE peer NOT IN \
    (SELECT peer FROM peer_address GROUP BY peer ORDER BY MAX(last_reached) DESC, peer LIMIT ?1)";
const RECALL: &str = "SELECT peer, address, last_reached FROM peer_address ORDER BY last_reached DESC, peer, address LIMIT ?1";

/// An address at which a peer was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedPeer {
    /// Who.
    pub id: NodeId,
    /// Where, as the text of a multiaddr of at most [`REMEMBERED_ADDRESS_BYTES_MAX`] bytes; longer ones are not kept.
    pub address: String,
    /// When, by the clock of this node.
    pub last_reached: Timestamp,
}

impl SqliteStore {
    /// Takes note of addresses, and forgets the oldest beyond [`REMEMBERED_PEERS_MAX`] and [`PEER_ADDRESSES_MAX`]. To be called
    /// in a transaction.
    ///
    /// # Errors
    /// When it cannot be written; the transaction must be rolled back then.
    pub fn remember_peers(&mut self, peers: &[RememberedPeer]) -> Result<(), StoreError> {
        let result = self.transaction().and_then(|connection| remember(connection, peers).map_err(|cause| StoreError::sqlite(self.file(), cause)));
        self.noted(result)
    }

    /// Up to `limit` addresses, the one reached last first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn remembered_peers(&mut self, limit: usize) -> Result<Vec<RememberedPeer>, StoreError> {
        let result = self.connection().and_then(|connection| recall(connection, limit).map_err(|cause| StoreError::sqlite(self.file(), cause)));
        self.noted(result)
    }
}

fn remember(connection: &Connection, peers: &[RememberedPeer]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(REMEMBER)?;
    let mut forget = connection.prepare_cached(FORGET_ADDRESSES)?;
    for peer in peers.iter().filter(|peer| peer.address.len() <= REMEMBERED_ADDRESS_BYTES_MAX) {
        let id = peer.id.to_string();
        insert.execute(params![id, peer.address, peer.last_reached.as_nanos()])?;
        forget.execute(params![id, bound(PEER_ADDRESSES_MAX)])?;
    }
    connection.prepare_cached(FORGET_PEERS)?.execute([bound(REMEMBERED_PEERS_MAX)])?;
    Ok(())
}

fn recall(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<RememberedPeer>> {
    let mut statement = connection.prepare_cached(RECALL)?;
    let mut rows = statement.query([bound(limit)])?;
    let mut peers = Vec::new();
    while let Some(row) = rows.next()? {
        peers.extend(peer(row)?);
    }
    Ok(peers)
}

/// None when the row was changed by hand into something else.
fn peer(row: &Row<'_>) -> rusqlite::Result<Option<RememberedPeer>> {
    let (ValueRef::Text(id), ValueRef::Text(address), ValueRef::Integer(nanos)) = (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?) else {
        return Ok(None);
    };
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let parsed = (text(id).and_then(|id| id.parse().ok()), text(address), Timestamp::from_nanos(nanos));
    Ok(match parsed {
        (Some(id), Some(address), Ok(last_reached)) => Some(RememberedPeer { id, address: address.to_owned(), last_reached }),
        _ => None,
    })
}

fn bound(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
