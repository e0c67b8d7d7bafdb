//! How the change sequence of a store is kept: the numbers that were used and the epochs, in the transactions that use them; and what
//! tells that they are good for nothing any more. What numbers, epochs and cursors mean is the core's.
//!
//! The number of a version is that of its row: a new version is a new row at the end of `kv_store`, and the old one goes, to the
//! end of `kv_conflict` if it was not seen. So what changed behind a place is one range of each table, and there is no log to be kept
//! short.
//!
//! Beside them the latest timestamp of all is kept, from which the clock goes on. No version that was ever held is later.

use p2p_sync_core::Timestamp;
use p2p_sync_core::sequence::{Cursor, Epoch, Epochs, Sequence, Unsaved};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::StoreError;
use super::sqlite::SqliteStore;
use super::transaction::Transaction;

/// Other programs may give a row any number. One from here on is not counted on from: the row gets another one when it is
/// completed.
const NUMBERS_OF_OTHERS_FROM: i64 = 1 << 52;

/// The tables, as the fifth version of the file has them. Never changed: files of this shape exist.
///
/// `epoch` is the newest one; `others` is what `change_of_others` said when the epochs were last good.
pub(super) const TABLES: &str = "
    CREATE TABLE change_sequence (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        number INTEGER NOT NULL,
        latest INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        others INTEGER NOT NULL
    );
    CREATE TABLE change_epoch (
        ordinal INTEGER NOT NULL PRIMARY KEY,
        epoch INTEGER NOT NULL,
        first INTEGER NOT NULL
    );
";
const KEPT: &str = "SELECT number, latest, epoch, others FROM change_sequence WHERE id = 1";
const KEEP: &str =
    "INSERT OR REPLACE INTO change_sequence (id, number, latest, epoch, others) VALUES (1, ?1, ?2, ?3, ?4)";
const EPOCHS: &str = "SELECT epoch, first FROM change_epoch ORDER BY ordinal";
const BEGIN_EPOCH: &str = "INSERT INTO change_epoch (epoch, first) VALUES (?1, ?2)";
const FORGET_EPOCHS: &str = "DELETE FROM change_epoch";
const FORGET_OLD_EPOCHS: &str = "DELETE FROM change_epoch WHERE ordinal NOT IN \
    (SELECT ordinal FROM change_epoch ORDER BY ordinal DESC LIMIT ?1)";
const HIGHEST: &str = "SELECT MAX((SELECT COALESCE(MAX(sequence), 0) FROM kv_store WHERE sequence < ?1), \
    (SELECT COALESCE(MAX(sequence), 0) FROM kv_conflict WHERE sequence < ?1))";
/// By the narrowest index that holds them: no conflict is later than the value of its key. Text and blobs are greater than any
/// number.
const LATEST: &str = "SELECT COALESCE(MAX(timestamp), 0) FROM kv_store INDEXED BY kv_store_item \
    WHERE timestamp BETWEEN 1 AND 9223372036854775807 AND typeof(timestamp) = 'integer'";

/// What a file says of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u64,
    pub(super) latest: Option<Timestamp>,
    /// The newest epoch: it is another one whenever the epochs are others.
    pub(super) epoch: Epoch,
    others: i64,
}

/// The sequence of an open store.
#[derive(Debug)]
pub(super) struct Numbers {
    sequence: Sequence,
    /// The newest epoch that is in the file.
    epoch: Epoch,
    /// The latest timestamp that is committed, and with the open transaction.
    committed_latest: Option<Timestamp>,
    latest: Option<Timestamp>,
    /// How often others had changed records by what was last seen.
    others: i64,
}

impl Numbers {
    /// Goes on from what is in the file. `others` is how often other programs changed records by now; none when nothing counts them.
    pub(super) fn load(connection: &Connection, others: Option<i64>) -> rusqlite::Result<Self> {
        let kept = kept(connection)?;
        let epochs = epochs(connection)?;
        let last = kept.map_or(0, |kept| kept.number);
        let latest = match kept {
            Some(kept) => kept.latest,
            None => latest_held(connection)?,
        };
        let mut numbers = Self {
            sequence: Sequence::resume(epochs, last, draw()),
            epoch: kept.map_or(Epoch(0), |kept| kept.epoch),
            committed_latest: latest,
            latest,
            others: others.unwrap_or(-1),
        };
        numbers.sequence.pass_over(highest(connection)?);
        if kept.is_none_or(|kept| Some(kept.others) != others) {
            numbers.sequence.break_off(draw());
        }
        Ok(numbers)
    }

    /// Other programs changed records, so often by now.
    pub(super) fn changed_by_others(&mut self, connection: &Connection, others: Option<i64>) -> rusqlite::Result<()> {
        self.others = others.unwrap_or(-1);
        self.sequence.break_off(draw());
        self.sequence.pass_over(highest(connection)?);
        Ok(())
    }

    /// What the numbers of before stand for is not known any more.
    pub(super) fn lose_cursors(&mut self) {
        self.sequence.break_off(draw());
    }

    /// The number for a version of this timestamp that the open transaction stores.
    pub(super) fn take(&mut self, timestamp: Timestamp) -> rusqlite::Result<i64> {
        let number = self.draw_number()?;
        self.note(timestamp);
        Ok(number)
    }

    /// A number for a version that may prove to be none that is stored. No other version gets it then.
    pub(super) fn draw_number(&mut self) -> rusqlite::Result<i64> {
        let number = self.sequence.take().and_then(|number| i64::try_from(number).ok());
        number.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, i64::MAX))
    }

    /// A version of this timestamp is stored.
    pub(super) fn note(&mut self, timestamp: Timestamp) {
        self.latest = self.latest.max(Some(timestamp));
    }

    /// Writes down what the open transaction has to.
    pub(super) fn save(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Some(unsaved) = self.sequence.unsaved() else {
            return Ok(());
        };
        save(connection, unsaved, self)
    }

    pub(super) fn committed(&mut self) {
        if let Some(Unsaved {
            begins: Some((epoch, _)),
            ..
        }) = self.sequence.unsaved()
        {
            self.epoch = epoch;
        }
        self.sequence.committed();
        self.committed_latest = self.latest;
    }

    pub(super) fn rolled_back(&mut self) {
        self.sequence.rolled_back();
        self.latest = self.committed_latest;
    }

    /// Whether something must be written down although no record changes.
    pub(super) fn are_unsaved(&self) -> bool {
        self.sequence.unsaved().is_some()
    }

    /// The numbers above the one behind which a cursor stands, and up to the last one: all of them where it is lost, or none.
    pub(super) fn behind(&self, cursor: Option<Cursor>) -> (i64, i64) {
        let after = cursor.filter(|cursor| self.sequence.knows(*cursor));
        let row = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        (row(after.map_or(0, |after| after.number)), row(self.sequence.last()))
    }

    pub(super) fn cursor(&self, number: i64) -> Cursor {
        self.sequence.cursor(number.unsigned_abs())
    }

    /// The last number that is committed.
    pub(super) fn committed_number(&self) -> u64 {
        self.sequence.last()
    }

    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.latest
    }
}

/// 64 bits that no other run has.
fn draw() -> Epoch {
    Epoch(rand::random())
}

fn save(connection: &Connection, unsaved: Unsaved, numbers: &Numbers) -> rusqlite::Result<()> {
    if unsaved.forgets {
        connection.prepare_cached(FORGET_EPOCHS)?.execute([])?;
    }
    if let Some((epoch, first)) = unsaved.begins {
        let first = first.cast_signed();
        connection
            .prepare_cached(BEGIN_EPOCH)?
            .execute([epoch.0.cast_signed(), first])?;
        let most = i64::try_from(p2p_sync_core::limits::EPOCHS_MAX).unwrap_or(i64::MAX);
        connection.prepare_cached(FORGET_OLD_EPOCHS)?.execute([most])?;
    }
    let epoch = unsaved.begins.map_or(numbers.epoch, |(epoch, _)| epoch);
    let latest = numbers.latest.map_or(0, Timestamp::as_nanos);
    connection
        .prepare_cached(KEEP)?
        .execute(params![
            unsaved.last.cast_signed(),
            latest,
            epoch.0.cast_signed(),
            numbers.others
        ])
        .map(drop)
}

/// What the file says; none if somebody took it away.
pub(super) fn kept(connection: &Connection) -> rusqlite::Result<Option<Kept>> {
    let mut statement = connection.prepare_cached(KEPT)?;
    let kept = statement.query_row([], |row| {
        Ok(Kept {
            number: row.get::<_, i64>(0)?.max(0).unsigned_abs(),
            latest: Timestamp::from_nanos(row.get(1)?).ok(),
            epoch: Epoch(row.get::<_, i64>(2)?.cast_unsigned()),
            others: row.get(3)?,
        })
    });
    kept.optional()
}

impl Kept {
    /// Whether the epochs are good for what is held now, which others have changed so often.
    pub(super) fn is_good_for(&self, others: Option<i64>) -> bool {
        Some(self.others) == others
    }
}

pub(super) fn epochs(connection: &Connection) -> rusqlite::Result<Epochs> {
    let mut statement = connection.prepare_cached(EPOCHS)?;
    let mut rows = statement.query([])?;
    let mut epochs = Epochs::default();
    while let Some(row) = rows.next()? {
        let (epoch, first): (i64, i64) = (row.get(0)?, row.get(1)?);
        epochs.begin(Epoch(epoch.cast_unsigned()), first.max(0).unsigned_abs());
    }
    Ok(epochs)
}

/// The highest number of a row that is counted on from.
fn highest(connection: &Connection) -> rusqlite::Result<u64> {
    let highest: i64 = connection
        .prepare_cached(HIGHEST)?
        .query_row([NUMBERS_OF_OTHERS_FROM], |row| row.get(0))?;
    Ok(highest.max(0).unsigned_abs())
}

fn latest_held(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let nanos = connection.prepare_cached(LATEST)?.query_row([], |row| row.get(0))?;
    Ok(Timestamp::from_nanos(nanos).ok())
}

/// Begins the sequence of a file whose rows have the numbers up to `number`.
pub(super) fn found(connection: &Connection, number: i64) -> rusqlite::Result<()> {
    let epoch = draw();
    let latest = latest_held(connection)?.map_or(0, Timestamp::as_nanos);
    let others: i64 = connection.query_row("SELECT number FROM change_of_others", [], |row| row.get(0))?;
    connection.execute(BEGIN_EPOCH, [epoch.0.cast_signed(), 1])?;
    connection
        .execute(KEEP, params![number, latest, epoch.0.cast_signed(), others])
        .map(drop)
}

impl SqliteStore {
    /// Writes down at once that the cursors of before are lost, so that their holders are told. Where that fails now, the next
    /// transaction does it. To be called outside a transaction.
    pub(super) fn note_sequence(&mut self) {
        if !self.numbers.are_unsaved() {
            return;
        }
        if let Err(error) = Transaction::begin(self).and_then(Transaction::commit) {
            tracing::debug!("cannot save the start of an epoch: {error}");
        }
    }

    /// The records are not those that were told to whoever holds a cursor, so that all cursors of before are lost. To be called outside a
    /// transaction.
    pub fn lose_cursors(&mut self) {
        self.numbers.lose_cursors();
        self.note_sequence();
    }

    /// The latest timestamp of all versions that are held, where none is later than `bound`; then it costs nothing. A clock that was
    /// once far ahead may have left a later one that nothing is dated any more: then the records are asked, about a tenth of a
    /// second for a million.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn last_timestamp_by(&mut self, bound: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        if self.numbers.latest() > Some(bound) {
            let latest = self.asked(latest_held)?;
            (self.numbers.committed_latest, self.numbers.latest) = (latest, latest);
        }
        Ok(self.numbers.latest())
    }
}
