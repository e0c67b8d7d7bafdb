//! What a private network asks of its store: who is in, and the records that do not count. Who is in is the core's
//! [`Roster`], which is kept in the tables `member_entry` and `member_list` as it is. Records that do not count are moved to
//! `set_aside`, and back when they count again, in the transaction that keeps the members by which they do.
//!
//! A store is private from its first entry on, and never opens as anything else: where its members cannot be read, it is damaged.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use p2p_sync_core::membership::{Entry, EntryId, Roster, SignedRecords, Signer, Standing, Statement};
use p2p_sync_core::{Record, Signature};
use rusqlite::{Connection, params};

use super::authors::Authors;
use super::error::StoreError;
use super::rows;
use super::sqlite::SqliteStore;
use super::sync;

mod recounting;

pub use recounting::Recounted;

const ENTRIES: &str = "SELECT entry FROM member_entry ORDER BY id";
const ENTRY_ROWS: &str = "SELECT id, entry FROM member_entry";
const ENTRY_IDS: &str = "SELECT id FROM member_entry";
const KEEP_ENTRY: &str = "INSERT INTO member_entry (id, entry) VALUES (?1, ?2)";
const FORGET_ENTRY: &str = "DELETE FROM member_entry WHERE id = ?1";
const LISTS: &str = "SELECT keep, items FROM member_list";
const LIST_KEEPS: &str = "SELECT keep FROM member_list";
const KEEP_LIST: &str = "INSERT INTO member_list (keep, items) VALUES (?1, ?2)";
const FORGET_LIST: &str = "DELETE FROM member_list WHERE keep = ?1";
/// The parameters are those of every version; what would be its number is of no use here.
const SET_ASIDE: &str = "INSERT OR IGNORE INTO set_aside \
    (key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature) \
    SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 WHERE ?1 IS NOT NULL";
/// Rows of it as they are, from a number on, which is in the column after the others.
pub(super) const ASIDE_ROWS: &str = "SELECT key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature, number \
    FROM set_aside WHERE number >= ?1 ORDER BY number";
pub(super) const ASIDE_NUMBER: usize = 9;
const COPY_ASIDE: &str = "INSERT OR IGNORE INTO set_aside \
    (key, value, timestamp, author, deleted_at, seen, key_hash, digest, signature) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const COUNT_ASIDE: &str = "SELECT COUNT(*) FROM set_aside";

/// The network whose members these are, in `meta`.
const NETWORK_ID: &str = "private_network";
/// The members that are kept; none: it is the store of an open network.
///
/// # Errors
/// [`StoreError::Damaged`] when they are not what was kept; otherwise as SQLite says.
pub(super) fn load(connection: &Connection, file: &Path) -> Result<Option<Arc<Roster>>, StoreError> {
    let failed = |cause| StoreError::sqlite(file, cause);
    let damaged = || StoreError::Damaged {
        file: file.to_owned(),
        why: "its members cannot be read".to_owned(),
    };
    let marked = sync::meta(connection, NETWORK_ID).map_err(failed)?;
    let entries: Vec<Vec<u8>> = all(connection, ENTRIES, |row| row.get(0)).map_err(failed)?;
    if marked.is_none() && entries.is_empty() {
        return Ok(None);
    }
    let entries = entries.iter().map(|bytes| Entry::from_bytes(bytes));
    let (genesis, others): (Vec<Entry>, Vec<Entry>) = entries
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| damaged())?
        .into_iter()
        .partition(|entry| matches!(entry.statement(), Statement::Genesis { .. }));
    let [genesis] = <[Entry; 1]>::try_from(genesis).map_err(|_| damaged())?;
    if marked != Some(HEXLOWER.encode(&genesis.id().0)) {
        return Err(damaged());
    }
    let mut roster = Roster::new(genesis).map_err(|_| damaged())?;
    let count = others.len();
    if roster.add(others).len() != count {
        return Err(damaged());
    }
    let lists: Vec<(Vec<u8>, Vec<u8>)> =
        all(connection, LISTS, |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    for (keep, items) in lists {
        let keep = <[u8; 32]>::try_from(keep).map_err(|_| damaged())?;
        if !roster.add_list(EntryId(keep), &items) {
            return Err(damaged());
        }
    }
    Ok(Some(Arc::new(roster)))
}

fn all<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([], read)?;
    rows.collect()
}

/// The members as they lie in a file, to be copied into another.
pub(super) struct Kept {
    network: String,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    lists: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The rule of the signatures in a file; none in that of an open network.
pub(super) fn rule(connection: &Connection) -> rusqlite::Result<Option<SignedRecords>> {
    let network = sync::meta(connection, NETWORK_ID)?;
    let network = network.and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok());
    Ok(network.map(|network| SignedRecords::of(EntryId(network))))
}

/// Takes out the records whose signatures are not those of their authors, since the digest beside a record says nothing of them, and
/// tells how many they were. What a node sends is looked at so: others would cut it off for one that is wrong.
pub(super) fn leave_out_unsigned(roster: &Roster, records: &mut Vec<Record>) -> u64 {
    for record in records.iter_mut() {
        let read = record.signature.take();
        record.signature = read.map(|read| Signature::claimed(*read.as_bytes()));
    }
    let Err(wrong) = SignedRecords::of(roster.network()).verify_all(records) else {
        return 0;
    };
    wrong.places.iter().rev().for_each(|place| drop(records.remove(*place)));
    wrong.places.len() as u64
}

/// None of them in the file of an open network.
pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Option<Kept>> {
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let Some(network) = sync::meta(connection, NETWORK_ID)? else {
        // Members of a network without a name: somebody took that away, and it is no open network for that.
        let ids: rusqlite::Result<Vec<Vec<u8>>> = all(connection, ENTRY_IDS, |row| row.get(0));
        return match ids {
            Ok(ids) if !ids.is_empty() => Err(rusqlite::Error::QueryReturnedNoRows),
            _ => Ok(None),
        };
    };
    Ok(Some(Kept {
        network,
        entries: all(connection, ENTRY_ROWS, pair)?,
        lists: all(connection, LISTS, pair)?,
    }))
}

pub(super) fn put_kept(connection: &Connection, kept: &Kept) -> rusqlite::Result<()> {
    for (sql, rows) in [(KEEP_ENTRY, &kept.entries), (KEEP_LIST, &kept.lists)] {
        for (name, bytes) in rows {
            connection.prepare_cached(sql)?.execute(params![name, bytes])?;
        }
    }
    sync::keep_meta(connection, NETWORK_ID, &kept.network)
}

/// Copies a row of [`ASIDE_ROWS`] as it is.
pub(super) fn copy_aside(connection: &Connection, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
    let columns = (0..ASIDE_NUMBER).map(|column| row.get::<_, rusqlite::types::Value>(column));
    let columns = columns.collect::<rusqlite::Result<Vec<_>>>()?;
    let copied = connection
        .prepare_cached(COPY_ASIDE)?
        .execute(rusqlite::params_from_iter(columns));
    copied.map(drop)
}

/// Makes the tables say what the roster says.
fn keep(connection: &Connection, roster: &Roster) -> rusqlite::Result<()> {
    let kept: BTreeSet<Vec<u8>> = all(connection, ENTRY_IDS, |row| row.get(0))?.into_iter().collect();
    let held: BTreeSet<Vec<u8>> = roster.entries().ids().iter().map(|id| id.0.to_vec()).collect();
    for gone in kept.difference(&held) {
        connection.prepare_cached(FORGET_ENTRY)?.execute([gone])?;
    }
    for entry in roster
        .entries()
        .iter()
        .filter(|entry| !kept.contains(entry.id().0.as_slice()))
    {
        let row = params![entry.id().0, entry.to_bytes()];
        connection.prepare_cached(KEEP_ENTRY)?.execute(row)?;
    }
    let kept: BTreeSet<Vec<u8>> = all(connection, LIST_KEEPS, |row| row.get(0))?.into_iter().collect();
    for gone in kept.iter().filter(|keep| {
        let keep = <[u8; 32]>::try_from(keep.as_slice()).map(EntryId);
        keep.is_ok_and(|keep| !roster.lists().contains_key(&keep) || roster.entries().get(&keep).is_none())
    }) {
        connection.prepare_cached(FORGET_LIST)?.execute([gone])?;
    }
    for (keep, list) in roster.lists() {
        // A list is of no use without the entry that stands for it.
        if !kept.contains(keep.0.as_slice()) && roster.entries().get(keep).is_some() {
            let row = params![keep.0, list.to_bytes()];
            connection.prepare_cached(KEEP_LIST)?.execute(row)?;
        }
    }
    sync::keep_meta(connection, NETWORK_ID, &HEXLOWER.encode(&roster.network().0))
}

/// Keeps a record that does not count.
pub(super) fn set_record_aside(
    connection: &Connection,
    authors: &mut Authors,
    record: &Record,
) -> rusqlite::Result<()> {
    rows::write(connection, SET_ASIDE, authors, 0, record).map(drop)
}

/// Whether a record that is held counts. What another program wrote is signed, if it is ours to sign, before it is asked for.
fn counts(roster: &Roster, record: &Record) -> bool {
    record.signature.is_some() && roster.record(record) == Standing::Counts
}

impl SqliteStore {
    /// Who is in the private network of these records, as it is committed; none: it is an open one.
    pub fn roster(&self) -> Option<&Arc<Roster>> {
        self.roster.as_ref()
    }

    /// The key with which records of this device are signed that another program wrote into the file; without one, they do not count.
    pub fn sign_with(&mut self, signer: Signer) {
        self.signer = Some(signer);
    }

    /// How many records are kept that do not count.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn aside(&mut self) -> Result<u64, StoreError> {
        let count: i64 = self.asked(|connection| connection.query_row(COUNT_ASIDE, [], |row| row.get(0)))?;
        Ok(count.unsigned_abs())
    }

    /// A version as it may be written.
    ///
    /// # Errors
    /// If it is one of a private network, and nobody verified its signature.
    pub(super) fn check_signed(&self, record: &Record) -> Result<(), StoreError> {
        if self.roster.is_none() && self.next_roster.is_none() {
            return Ok(());
        }
        let digest = record.digest();
        match &record.signature {
            Some(signature) if signature.holds_for(&digest) => Ok(()),
            _ => Err(StoreError::Misuse(
                "a record of a private network whose signature nobody verified",
            )),
        }
    }

    /// Signs a record that another program wrote, if it is this device's; whether it is signed by its author, and counts.
    pub(super) fn sign_foreign(&self, record: &mut Record) -> bool {
        let Some(roster) = &self.roster else { return true };
        if SignedRecords::of(roster.network()).verify(record).is_err() {
            let own = self.signer.as_ref().filter(|signer| signer.author() == record.author);
            record.signature = own.map(|signer| signer.sign(record));
        }
        counts(roster, record)
    }
}

#[cfg(test)]
mod tests;
