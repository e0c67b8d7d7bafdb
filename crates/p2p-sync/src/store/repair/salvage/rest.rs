//! Copies what lies beside the records: peers, their names, and in a private network who is in, and the records that do not count.

use super::{Damaged, SIGNED_SINCE, each_row};
use crate::store::error::StoreError;
use crate::store::members;
use crate::store::peer_names::{self, NamesHeard};
use crate::store::peers::{self, REMEMBERED_PEERS_MAX};
use crate::store::transaction::Transaction;

/// The first version of the file with the names of nodes.
const NAMED_SINCE: i64 = 6;

/// Positions are not copied: behind them is what was lost.
pub(super) fn copy(old: &Damaged, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
    let known = peers::recall(&old.connection, REMEMBERED_PEERS_MAX * peers::PEER_ADDRESSES_MAX);
    transaction.remember_peers(&old.undamaged(known)?.unwrap_or_default())?;
    if old.version >= NAMED_SINCE {
        copy_names(old, transaction)?;
    }
    if old.version >= SIGNED_SINCE {
        copy_members(old, transaction)?;
    }
    Ok(())
}

fn copy_names(old: &Damaged, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
    let names = old.undamaged(peer_names::recall(&old.connection))?.unwrap_or_default();
    for known in names {
        let heard = NamesHeard::from([(known.id, Some(known.name))]);
        transaction.remember_names(&heard, known.last_heard)?;
    }
    Ok(())
}

/// Who is in decides which records count, and that the network is a private one at all: without that there is no new file.
fn copy_members(old: &Damaged, transaction: &mut Transaction<'_>) -> Result<(), StoreError> {
    let kept = old.undamaged(members::kept(&old.connection))?;
    let kept = kept.ok_or_else(|| StoreError::Damaged {
        file: old.file.clone(),
        why: "its members cannot be read".to_owned(),
    })?;
    let Some(kept) = kept else { return Ok(()) };
    transaction.write(|connection| members::put_kept(connection, &kept))?;
    let gaps = each_row(old, members::ASIDE_ROWS, members::ASIDE_NUMBER, |row| {
        transaction.write(|connection| members::copy_aside(connection, row))
    })?;
    if gaps > 0 {
        tracing::warn!(gaps, "Cannot copy some records that do not count");
    }
    Ok(())
}
