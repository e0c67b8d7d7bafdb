//! The addresses at which peers were reached, kept across restarts. They are hints for dialling: limited in number, and
//! unreadable ones are skipped. The network decides whom to dial when.

use p2p_sync_core::{NodeId, Timestamp};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use super::error::StoreError;
use super::sqlite::SqliteStore;

/// Peers whose addresses are kept: the ones reached last.
pub const REMEMBERED_PEERS_MAX: usize = 1_024;
/// Addresses kept of one peer: the ones reached last.
pub const PEER_ADDRESSES_MAX: usize = 8;
/// Peers whose addresses at one IP address are kept: the ones reached last. Some machines run several nodes; a thousand
/// identities on one are a single machine's doing, and must not push out everybody else.
const PEERS_PER_HOST_MAX: usize = 32;
/// Longest address that is kept, in bytes of its text. A DNS name takes 255.
pub const REMEMBERED_ADDRESS_BYTES_MAX: usize = 512;

const REMEMBER: &str = "INSERT INTO peer_address (peer, address, last_reached) VALUES (?1, ?2, ?3) \
    ON CONFLICT (peer, address) DO UPDATE SET last_reached = excluded.last_reached";
const FORGET_ADDRESSES: &str = "DELETE FROM peer_address WHERE peer = ?1 AND address NOT IN \
    (SELECT address FROM peer_address WHERE peer = ?1 ORDER BY last_reached DESC, address LIMIT ?2)";
/// Of the addresses that begin with ?1, which ends in a slash, and lie before ?2, the same with the next character.
const FORGET_HOST: &str = "DELETE FROM peer_address WHERE address >= ?1 AND address < ?2 AND peer NOT IN \
    (SELECT peer FROM peer_address WHERE address >= ?1 AND address < ?2 \
     GROUP BY peer ORDER BY MAX(last_reached) DESC, peer LIMIT ?3)";
const FORGET_PEERS: &str = "DELETE FROM peer_address WHERE peer NOT IN \
    (SELECT peer FROM peer_address GROUP BY peer ORDER BY MAX(last_reached) DESC, peer LIMIT ?1)";
const RECALL: &str =
    "SELECT peer, address, last_reached FROM peer_address ORDER BY last_reached DESC, peer, address LIMIT ?1";

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
    /// Up to `limit` addresses, the one reached last first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn remembered_peers(&mut self, limit: usize) -> Result<Vec<RememberedPeer>, StoreError> {
        let result = self
            .connection()
            .and_then(|connection| recall(connection, limit).map_err(|cause| StoreError::sqlite(self.file(), cause)));
        self.noted(result)
    }
}

pub(super) fn remember(connection: &Connection, peers: &[RememberedPeer]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(REMEMBER)?;
    let mut forget = connection.prepare_cached(FORGET_ADDRESSES)?;
    let mut forget_host = connection.prepare_cached(FORGET_HOST)?;
    for peer in peers
        .iter()
        .filter(|peer| peer.address.len() <= REMEMBERED_ADDRESS_BYTES_MAX)
    {
        let id = peer.id.to_string();
        insert.execute(params![id, peer.address, peer.last_reached.as_nanos()])?;
        forget.execute(params![id, bound(PEER_ADDRESSES_MAX)])?;
        if let Some(host) = host(&peer.address) {
            // '0' follows '/'.
            let range = (format!("{host}/"), format!("{host}0"));
            forget_host.execute(params![range.0, range.1, bound(PEERS_PER_HOST_MAX)])?;
        }
    }
    connection
        .prepare_cached(FORGET_PEERS)?
        .execute([bound(REMEMBERED_PEERS_MAX)])?;
    Ok(())
}

/// The part of a multiaddress that names the host, such as `/ip4/192.0.2.1`; none for this machine itself.
fn host(address: &str) -> Option<&str> {
    let second = address.match_indices('/').nth(2).map(|(at, _)| at)?;
    let host = address.get(..second)?;
    (!host.starts_with("/ip4/127.") && host != "/ip6/::1").then_some(host)
}

pub(super) fn recall(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<RememberedPeer>> {
    let mut statement = connection.prepare_cached(RECALL)?;
    let mut rows = statement.query([bound(limit)])?;
    let mut peers = Vec::new();
    while let Some(row) = rows.next()? {
        peers.extend(peer(row)?);
    }
    Ok(peers)
}

fn peer(row: &Row<'_>) -> rusqlite::Result<Option<RememberedPeer>> {
    Ok(noted(row)?.map(|(id, address, last_reached)| RememberedPeer {
        id,
        address: address.to_owned(),
        last_reached,
    }))
}

/// A row that says something of a node: who, what, and when. None when it was changed by hand into something else.
pub(super) fn noted<'a>(row: &'a Row<'_>) -> rusqlite::Result<Option<(NodeId, &'a str, Timestamp)>> {
    let (ValueRef::Text(id), ValueRef::Text(said), ValueRef::Integer(nanos)) =
        (row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?)
    else {
        return Ok(None);
    };
    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
    let said = std::str::from_utf8(said).ok();
    let when = Timestamp::from_nanos(nanos).ok();
    Ok(id.zip(said).zip(when).map(|((id, said), when)| (id, said, when)))
}

fn bound(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{Place, at, id};
    use p2p_sync_core::store::Store;

    fn peer(seed: u16, address: &str, nanos: i64) -> RememberedPeer {
        RememberedPeer {
            id: id(seed),
            address: address.to_owned(),
            last_reached: at(nanos),
        }
    }

    fn remember(store: &mut SqliteStore, peers: &[RememberedPeer]) {
        let mut transaction = store.begin().unwrap();
        transaction.remember_peers(peers).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn the_address_reached_last_comes_first_after_a_restart() {
        let place = Place::new();
        let mut store = place.open();
        remember(
            &mut store,
            &[
                peer(1, "/ip4/10.0.0.1/tcp/4002", 5),
                peer(2, "/ip4/10.0.0.2/tcp/4002", 7),
            ],
        );
        remember(
            &mut store,
            &[
                peer(1, "/ip4/10.0.0.1/tcp/4002", 9),
                peer(1, "/ip6/fd00::1/udp/4002/quic-v1", 8),
            ],
        );
        store.close().unwrap();
        let mut store = place.open();
        let all = [
            peer(1, "/ip4/10.0.0.1/tcp/4002", 9),
            peer(1, "/ip6/fd00::1/udp/4002/quic-v1", 8),
            peer(2, "/ip4/10.0.0.2/tcp/4002", 7),
        ];
        assert_eq!(store.remembered_peers(10).unwrap(), all);
        assert_eq!(store.remembered_peers(2).unwrap(), all[..2]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let place = Place::new();
        let mut store = place.open();
        let many: Vec<_> = (0..1_100)
            .map(|n| peer(n, &format!("/ip4/10.0.{}.{}/tcp/1", n / 20, n % 20), i64::from(n) + 1))
            .collect();
        remember(&mut store, &many);
        let kept = store.remembered_peers(usize::MAX).unwrap();
        assert_eq!(kept.len(), REMEMBERED_PEERS_MAX);
        assert_eq!((kept[0].id, kept[REMEMBERED_PEERS_MAX - 1].id), (id(1_099), id(76)));

        let moved: Vec<_> = (0..20)
            .map(|n| peer(5, &format!("/ip4/10.0.0.{n}/tcp/1"), 2_000 + n))
            .collect();
        remember(&mut store, &moved);
        let kept: Vec<_> = store
            .remembered_peers(usize::MAX)
            .unwrap()
            .into_iter()
            .filter(|peer| peer.id == id(5))
            .collect();
        assert_eq!(kept.len(), PEER_ADDRESSES_MAX);
        assert_eq!(kept[0].address, "/ip4/10.0.0.19/tcp/1");
        let long = "x".repeat(REMEMBERED_ADDRESS_BYTES_MAX + 1);
        remember(&mut store, &[peer(6, &long, 3_000)]);
        assert_ne!(store.remembered_peers(1).unwrap()[0].id, id(6));
    }

    #[test]
    fn one_host_pushes_out_nobody_but_its_own() {
        let place = Place::new();
        let mut store = place.open();
        remember(
            &mut store,
            &[
                peer(2_000, "/ip4/10.0.0.11/tcp/4002", 1),
                peer(2_001, "/ip6/fd00::1/tcp/4002", 2),
            ],
        );
        for n in 0..200 {
            remember(
                &mut store,
                &[peer(n, &format!("/ip4/10.0.0.1/tcp/{}", n + 1), i64::from(n) + 3)],
            );
            remember(&mut store, &[peer(n + 300, "/ip4/127.0.0.1/tcp/1", i64::from(n) + 3)]);
        }
        let kept = store.remembered_peers(usize::MAX).unwrap();
        let crowd = kept.iter().filter(|peer| peer.address.starts_with("/ip4/10.0.0.1/"));
        let crowd: Vec<_> = crowd.map(|peer| peer.id).collect();
        assert_eq!(crowd.len(), PEERS_PER_HOST_MAX);
        assert_eq!(crowd[0], id(199), "the one reached last");
        assert_eq!(
            kept.len(),
            PEERS_PER_HOST_MAX + 200 + 2,
            "others, and this machine, as they were"
        );
    }

    #[test]
    fn a_rollback_and_an_edit_by_hand_leave_the_rest() {
        let place = Place::new();
        let mut store = place.open();
        remember(&mut store, &[peer(1, "/ip4/10.0.0.1/tcp/1", 5)]);
        let mut transaction = store.begin().unwrap();
        transaction
            .remember_peers(&[peer(2, "/ip4/10.0.0.2/tcp/1", 6)])
            .unwrap();
        drop(transaction);
        place.shell("INSERT INTO peer_address VALUES ('?', 'a', 9), ('1111', x'ff', 9), ('1111', 'b', 'never'), ('1111', 'c', -1)");
        assert_eq!(store.remembered_peers(10).unwrap(), [peer(1, "/ip4/10.0.0.1/tcp/1", 5)]);
    }
}
