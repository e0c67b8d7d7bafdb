//! A copy of the remembered peers in a text file next to the store: if the store cannot be read, it tells that there are
//! other nodes to fill a new one, and where. It is a hint: written now and then, and unreadable lines are skipped.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use p2p_sync_core::Timestamp;

use super::error::StoreError;
use super::opening::beside;
use super::peers::{PEER_ADDRESSES_MAX, REMEMBERED_ADDRESS_BYTES_MAX, REMEMBERED_PEERS_MAX, RememberedPeer};
use super::private::write_private;
use super::sqlite::SqliteStore;
use super::transaction::Transaction;

/// Addresses that are written: those reached last.
const ADDRESSES_MAX: usize = 256;
/// More than they take, in bytes.
const FILE_BYTES_MAX: u64 = 256 * 1_024;

const _: () = assert!(
    ADDRESSES_MAX * (REMEMBERED_ADDRESS_BYTES_MAX + 100) < FILE_BYTES_MAX as usize,
    "all lines fit"
);

fn path(store: &Path) -> PathBuf {
    beside(store, ".peers")
}

/// The peers known beside a store, whatever became of that.
pub fn known_peers(store: &Path) -> Vec<RememberedPeer> {
    let mut text = String::new();
    let read = File::open(path(store)).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    text.lines().filter_map(parse).take(ADDRESSES_MAX).collect()
}

/// A line: the time in nanoseconds, the peer id, the address.
fn parse(line: &str) -> Option<RememberedPeer> {
    let mut words = line.split(' ');
    let (nanos, id, address) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?);
    Some(RememberedPeer {
        id,
        address: address.to_owned(),
        last_reached: Timestamp::from_nanos(nanos).ok()?,
    })
}

impl SqliteStore {
    /// Writes the remembered peers beside the store.
    ///
    /// # Errors
    /// When the store cannot be read or the file cannot be written. The one that was there is as before then.
    pub fn write_known_peers(&mut self) -> Result<(), StoreError> {
        let known = self.remembered_peers(ADDRESSES_MAX)?;
        let mut text = String::new();
        for peer in known {
            text.push_str(&format!(
                "{} {} {}\n",
                peer.last_reached.as_nanos(),
                peer.id,
                peer.address
            ));
        }
        let file = path(&self.file);
        write_private(&file, text.as_bytes()).map_err(StoreError::io("write", &file))
    }

    /// Takes over the peers known beside the store, if it knows none itself.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn adopt_known_peers(&mut self) -> Result<(), StoreError> {
        let known = known_peers(&self.file);
        if known.is_empty() || !self.remembered_peers(1)?.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::begin(self)?;
        transaction.remember_peers(&known)?;
        transaction.commit()
    }
}

const _: () = assert!(
    ADDRESSES_MAX <= REMEMBERED_PEERS_MAX * PEER_ADDRESSES_MAX,
    "a store keeps as many"
);

#[cfg(test)]
mod tests {
    use std::fs;

    use p2p_sync_core::store::Store;

    use super::*;
    use crate::store::testing::{Place, at, id};

    fn peer(n: u16) -> RememberedPeer {
        RememberedPeer {
            id: id(n),
            address: format!("/ip4/10.0.{}.{}/tcp/4002", n / 250, n % 250 + 1),
            last_reached: at(i64::from(n) + 1),
        }
    }

    #[test]
    fn a_new_store_takes_over_whom_the_old_one_knew() {
        let place = Place::new();
        let mut sqlite = place.open();
        assert_eq!(known_peers(&place.file), []);
        let mut transaction = sqlite.begin().unwrap();
        transaction
            .remember_peers(&(0..300).map(peer).collect::<Vec<_>>())
            .unwrap();
        transaction.commit().unwrap();
        sqlite.write_known_peers().unwrap();
        sqlite.close().unwrap();
        fs::remove_file(&place.file).unwrap();
        let newest: Vec<_> = (44..300).rev().map(peer).collect();
        assert_eq!(known_peers(&place.file), newest);

        let mut fresh = place.open();
        fresh.adopt_known_peers().unwrap();
        assert_eq!(fresh.remembered_peers(999).unwrap(), newest);
        fs::write(path(&place.file), "1 nobody /ip4/1.2.3.4/tcp/1\n").unwrap();
        fresh.adopt_known_peers().unwrap();
        assert_eq!(fresh.remembered_peers(999).unwrap(), newest, "once");
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let place = Place::new();
        let good = peer(7);
        let line = format!("8 {} {}", good.id, good.address);
        fs::write(path(&place.file), format!("\n{line}\n-1 {} x\n{} \n5\n", id(1), id(2))).unwrap();
        assert_eq!(known_peers(&place.file), [good]);
        fs::write(path(&place.file), b"\xff\xff").unwrap();
        assert_eq!(known_peers(&place.file), []);
    }
}
