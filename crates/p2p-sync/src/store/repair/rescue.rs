//! A new file out of a damaged one: everything that can still be read and proves sound is copied, and the damaged file is put
//! aside. What was lost comes back from other nodes. How rows are read around damage is in `salvage`.
//!
//! # Crash safety
//! The new file is written beside the store as `….rescue`, synced, and renamed to `….rescued`. From then on it is the
//! truth: whoever opens the store next moves the old files aside and the new one in their place, as often as it takes.
//! Before that moment the old files are as they were.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use p2p_sync_core::NetworkName;

use super::salvage::{self, Damaged};
use crate::store::directory::size_of;
use crate::store::error::{OpenError, StoreError};
use crate::store::files::{remove, remove_all, rename, rename_if_there, sync_directory, sync_file};
use crate::store::opening::beside;
use crate::store::reader::Readers;
use crate::store::sqlite::SqliteStore;

/// Damaged files that are kept: the newest.
const ASIDE_MAX: usize = 2;

/// What came of a damaged file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Records that were copied.
    pub records: u64,
    /// Rows that could be read but proved damaged, and were left behind.
    pub damaged: u64,
    /// Places of the file at which it could not be told how many rows were lost.
    pub gaps: u64,
    /// Where the damaged file is now.
    pub aside: PathBuf,
}

/// What is done with a file in which not even the structure can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfUnreadable {
    /// That is an error, and the file stays where it is: nobody is known who could have the data.
    Refuse,
    /// It is put aside, and a new one is to be filled by other nodes.
    Replace,
}

impl SqliteStore {
    /// Other nodes are known that can fill a new store, should this one become unreadable.
    pub fn allow_replacing(&mut self) {
        self.if_unreadable = IfUnreadable::Replace;
    }

    /// Copies what can be read of a damaged file into a new one, which takes its place and gets a new [name](Self::id). Takes
    /// some ten seconds for a million records; readers wait that long, or fail as if all of them were taken. An open
    /// transaction is forgotten. After success the store can be used, as after [`reopen`](Self::reopen).
    ///
    /// # Errors
    /// When nothing can be read, when reading fails for a reason that may pass, or when the new file cannot be written. The
    /// damaged one is where it was then, and the store is broken; this may be tried again.
    pub fn rescue(&mut self, readers: &Readers) -> Result<Rescued, StoreError> {
        self.check_files()?;
        self.end_scan();
        self.abandon();
        // A reader of the old file would go on using, and in the end remove, the log and its index by their names.
        let _paused = readers.pause()?;
        // Its network was made sure of when it was opened, and may not be readable any more.
        let rescued = salvage::open(&self.file, None).and_then(|old| rescue(&self.file, &self.network, old));
        let rescued = or_replace(&self.file, &self.network, rescued, self.if_unreadable)?;
        self.open_again()?;
        Ok(rescued)
    }
}

/// Rescues a file that proved damaged when it was to be opened.
///
/// # Errors
/// The damage, if not even the structure of the file and its network can be read, or no record, and it is not to be replaced;
/// otherwise as for [`rescue`].
pub(in crate::store) fn at_start(
    file: &Path,
    network: &NetworkName,
    damage: StoreError,
    if_unreadable: IfUnreadable,
) -> Result<(), StoreError> {
    let rescued = match salvage::open(file, Some(network)) {
        Ok(old) => rescue(file, network, old),
        Err(_) => Err(damage),
    };
    or_replace(file, network, rescued, if_unreadable).map(drop)
}

/// Replaces a file that could not be rescued for damage, if that is allowed.
fn or_replace(
    file: &Path,
    network: &NetworkName,
    rescued: Result<Rescued, StoreError>,
    if_unreadable: IfUnreadable,
) -> Result<Rescued, StoreError> {
    match (rescued, if_unreadable) {
        // Where there is nothing, somebody has emptied or removed it, and has a choice.
        (Err(StoreError::Damaged { why, .. }), IfUnreadable::Replace) if size_of(file)?.unwrap_or_default() > 0 => {
            replace(file, network, &why)
        }
        (rescued, _) => rescued,
    }
}

/// Puts aside a file that cannot be read as it is. The new one has what is left of one whose end is missing, or nothing.
fn replace(file: &Path, network: &NetworkName, why: &str) -> Result<Rescued, StoreError> {
    match salvage::open_torn(file, network) {
        Err(error @ StoreError::Open(OpenError::OtherNetwork { .. })) => return Err(error),
        Err(_) => {}
        Ok(old) => {
            if let Ok(rescued) = rescue(file, network, old) {
                return Ok(rescued);
            }
        }
    }
    let aside = put_in_place(file, |fresh| SqliteStore::open(fresh, network)?.close())?.1;
    tracing::error!(
        aside = %aside.display(),
        "{} is damaged ({why}) and was moved aside. A new store replaces it, and other nodes fill it. Keep the \
         damaged file until they have", file.display()
    );
    Ok(Rescued {
        records: 0,
        damaged: 0,
        gaps: 1,
        aside,
    })
}

/// Puts a new file in the place of a damaged one that nothing else in this process has open.
///
/// # Errors
/// When no record can be read, when reading fails for a reason that may pass, or when the new file cannot be written. The
/// damaged file is as it was then.
fn rescue(file: &Path, network: &NetworkName, old: Damaged) -> Result<Rescued, StoreError> {
    tracing::error!(file = %file.display(), "The store is damaged; copying everything readable into a new file");
    let (tally, aside) = put_in_place(file, |fresh| salvage::copy(old, file, fresh, network))?;
    tracing::warn!(
        records = tally.records, damaged = tally.damaged, gaps = tally.gaps, aside = %aside.display(),
        "The store was rescued; missing records come back from other nodes that have them. Keep the damaged file \
         until then"
    );
    Ok(Rescued {
        records: tally.records,
        damaged: tally.damaged,
        gaps: tally.gaps,
        aside,
    })
}

/// Makes a new file, and puts it in the place of one that is put aside.
fn put_in_place<T>(file: &Path, make: impl FnOnce(&Path) -> Result<T, StoreError>) -> Result<(T, PathBuf), StoreError> {
    let fresh = beside(file, ".rescue");
    remove_all(&fresh)?;
    let made = make(&fresh).and_then(|made| {
        if size_of(&beside(&fresh, "-wal"))?.is_some() {
            return Err(StoreError::Locked { file: fresh.clone() });
        }
        sync_file(&fresh)?;
        rename(&fresh, &beside(file, ".rescued"))?;
        Ok(made)
    });
    let made = made.inspect_err(|_| {
        // It is removed at the next attempt at the latest.
        let _ = remove_all(&fresh);
    })?;
    sync_directory(file)?;
    let aside = finish(file)?.ok_or_else(|| StoreError::Gone { file: file.to_owned() })?;
    Ok((made, aside))
}

/// Puts a rescued file in its place, if one is ready, and gives where the damaged one is. Nothing in this process may have
/// either open.
///
/// # Errors
/// When the file system refuses. It can be tried again.
pub(in crate::store) fn finish(file: &Path) -> Result<Option<PathBuf>, StoreError> {
    let ready = beside(file, ".rescued");
    if size_of(&ready)?.is_none() {
        return Ok(None);
    }
    let aside = free_name(file)?;
    rename_if_there(file, &aside)?;
    // Applied to the new file, the old log would damage it.
    let wal = beside(file, "-wal");
    if size_of(&wal)? == Some(0) {
        remove(&wal)?;
    }
    rename_if_there(&wal, &beside(&aside, "-wal"))?;
    rename_if_there(&beside(file, "-journal"), &beside(&aside, "-journal"))?;
    remove(&beside(file, "-shm"))?;
    sync_directory(file)?;
    rename(&ready, file)?;
    sync_directory(file)?;
    // Too many old files are no reason to stop.
    if let Err(error) = thin_out(file) {
        tracing::warn!(%error, "Cannot remove old damaged files");
    }
    Ok(Some(aside))
}

/// A name for a damaged file that is not taken: with the time, and later if need be.
fn free_name(file: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut seconds = now;
    loop {
        let name = beside(file, &format!(".damaged-{seconds}"));
        if size_of(&name)?.is_none() && size_of(&beside(&name, "-wal"))?.is_none() {
            return Ok(name);
        }
        seconds += 1;
    }
}

/// Removes all but the newest damaged files.
fn thin_out(file: &Path) -> Result<(), StoreError> {
    let (Some(directory), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
        return Ok(());
    };
    let prefix = format!("{name}.damaged-");
    let mut found: Vec<u64> = fs::read_dir(directory)
        .map_err(StoreError::io("list", directory))?
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let seconds = name.to_str()?.strip_prefix(&prefix)?;
            seconds.strip_suffix("-wal").unwrap_or(seconds).parse().ok()
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found.truncate(found.len().saturating_sub(ASIDE_MAX));
    for seconds in found {
        remove_all(&beside(file, &format!(".damaged-{seconds}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::OnceLock;

    use p2p_sync_core::sequence::{Cursor, Epoch};
    use p2p_sync_core::store::Store;
    use p2p_sync_core::summary::Summary;
    use p2p_sync_core::sync::{PageLimit, StoreId};
    use p2p_sync_core::{Record, Seen, Versions, item::Item};

    use super::*;
    use crate::names::Name;
    use crate::store::testing::{Place, at, deleted, id, key, put, shell};
    use crate::store::{Depth, NamesHeard, Readers, RememberedPeer, StoreErrorKind, testing};

    const RECORDS: i64 = 20_000;

    fn record(n: i64) -> Record {
        match n % 10 {
            0 => deleted(&format!("key {n}"), n + 1),
            _ => put(&format!("key {n}"), format!("value {n}").repeat(5).as_bytes(), n + 1),
        }
    }

    /// Two versions of a key that did not see each other: the second wins.
    fn conflicting() -> [Record; 2] {
        let version = |author, value: &[u8], nanos| Record {
            author: id(author),
            seen: Seen::NOTHING,
            ..put("lost", value, nanos)
        };
        [version(1, b"loser", 5), version(2, b"winner", 6)]
    }

    /// A closed store with many records and something in every other table.
    fn full() -> Place {
        static FULL: OnceLock<Vec<u8>> = OnceLock::new();
        let place = Place::new();
        fs::write(&place.file, FULL.get_or_init(|| fs::read(&make_full().file).unwrap())).unwrap();
        place
    }

    fn make_full() -> Place {
        let place = Place::new();
        let mut sqlite = place.open();
        testing::store(&mut sqlite, &(0..RECORDS).map(record).collect::<Vec<_>>());
        let mut transaction = sqlite.begin().unwrap();
        let peer = RememberedPeer {
            id: id(3),
            address: "/ip4/10.0.0.1/tcp/1".to_owned(),
            last_reached: at(5),
        };
        transaction.remember_peers(&[peer]).unwrap();
        let named = NamesHeard::from([(id(3), Name::new("kitchen"))]);
        transaction.remember_names(&named, at(6)).unwrap();
        transaction
            .replace(&Versions::NONE, &Versions::of(conflicting()))
            .unwrap();
        let position = Cursor {
            epoch: Epoch(5),
            number: 5,
            seen: 5,
        };
        transaction.keep_position(StoreId(9), position).unwrap();
        transaction.commit().unwrap();
        sqlite.close().unwrap();
        place
    }

    /// The pages of a table or index, of that kind.
    fn pages(place: &Place, name: &str, kind: &str) -> Vec<usize> {
        let connection = rusqlite::Connection::open(&place.file).unwrap();
        let mut statement = connection
            .prepare("SELECT pageno FROM dbstat WHERE name = ?1 AND pagetype = ?2 ORDER BY path")
            .unwrap();
        let rows = statement.query_map([name, kind], |row| row.get::<_, i64>(0)).unwrap();
        rows.map(|page| usize::try_from(page.unwrap()).unwrap()).collect()
    }

    fn overwrite(place: &Place, page: usize, bytes: &[u8]) {
        let mut content = fs::read(&place.file).unwrap();
        let from = (page - 1) * 4096 + 4096 - bytes.len();
        content[from..from + bytes.len()].copy_from_slice(bytes);
        fs::write(&place.file, content).unwrap();
    }

    fn spoil(place: &Place, page: usize) {
        overwrite(place, page, &[0x5a; 4096]);
    }

    /// What is there is what was written, it is most of it, and the store is in good order.
    fn check(sqlite: &mut SqliteStore, lost_most: u64) {
        let held = sqlite.scan("", None, usize::MAX).unwrap();
        let [loser, winner] = conflicting();
        let written: BTreeSet<_> = (0..RECORDS)
            .map(record)
            .chain([winner])
            .map(|record| Item::of(&record))
            .collect();
        let mut items: Vec<Item> = held.iter().map(Item::of).collect();
        assert!(
            items.iter().all(|item| written.contains(item)),
            "nothing but what was written"
        );
        let lost = RECORDS as u64 + 1 - held.len() as u64;
        assert!(lost <= lost_most, "{lost} records are lost");
        items.push(Item::of(&loser));
        assert_eq!(sqlite.summary(), Some(&Summary::of(items)));
        let scan = sqlite.start_scan(Depth::Records).unwrap();
        let verified = sqlite.finish_scan(scan.run().unwrap()).unwrap();
        assert_eq!((verified.structure, verified.removed.len()), (None, 0));
        assert_eq!(sqlite.versions(&key("lost")).unwrap().conflicts(), [loser]);
        assert_eq!(sqlite.remembered_peers(9).unwrap().len(), 1);
        let named = sqlite.remembered_names().unwrap();
        assert_eq!((named.len(), named[0].last_heard), (1, at(6)));
        assert_eq!(
            sqlite.position(StoreId(9)).unwrap(),
            None,
            "what lies before it may be lost"
        );
    }

    fn aside(place: &Place) -> Vec<PathBuf> {
        let names = place.content().into_keys();
        names
            .filter(|name| name.to_string_lossy().contains(".damaged-"))
            .collect()
    }

    /// Rescues a store that opens, and gives what came of it.
    fn rescued(place: &Place, lost_most: u64) -> Rescued {
        let mut sqlite = place.open();
        let readers = Readers::open(&place.file, 2).unwrap();
        let before = sqlite.id();
        let rescued = sqlite.rescue(&readers).unwrap();
        assert_ne!(sqlite.id(), before, "positions in it mean nothing any more");
        assert_eq!(aside(place), std::slice::from_ref(&rescued.aside));
        check(&mut sqlite, lost_most);
        testing::store(&mut sqlite, &[put("new", b"", RECORDS + 9)]);
        assert!(readers.get(&key("new")).unwrap().is_some(), "readers follow");
        drop(readers);
        sqlite.close().unwrap();
        assert!(place.open().get(&key("new")).unwrap().is_some());
        rescued
    }

    #[test]
    fn a_sound_file_is_copied_whole() {
        let rescued = rescued(&full(), 0);
        assert_eq!(
            (rescued.records, rescued.damaged, rescued.gaps),
            (RECORDS as u64 + 1, 0, 0)
        );
    }

    #[test]
    fn pages_of_the_table_cost_their_rows_only() {
        let place = full();
        let leaves = pages(&place, "kv_store", "leaf");
        assert!(leaves.len() > 300);
        for at in [
            0,
            leaves.len() / 3,
            leaves.len() / 2,
            leaves.len() / 2 + 1,
            leaves.len() - 2,
        ] {
            spoil(&place, leaves[at]);
        }
        let mut sqlite = place.open();
        let mut after = None;
        let error = loop {
            match sqlite.page(after, PageLimit::FULL) {
                Ok(page) => {
                    assert!(page.reached.is_some(), "the damage comes before the end");
                    after = page.reached;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(sqlite.is_broken());
        drop(sqlite);
        let rescued = rescued(&place, 5 * 60);
        assert_eq!((rescued.damaged, rescued.gaps), (0, 4));
    }

    #[test]
    fn an_inner_page_of_the_table_costs_what_is_below_it() {
        let place = full();
        let inner = pages(&place, "kv_store", "internal");
        // The first is the root.
        if let Some(page) = inner.get(1) {
            spoil(&place, *page);
            rescued(&place, RECORDS as u64 * 9 / 10);
        } else {
            spoil(&place, inner[0]);
            let error = SqliteStore::open(&place.file, &NetworkName::default())
                .and_then(|mut sqlite| sqlite.rescue(&Readers::open(&place.file, 1)?))
                .unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Damaged);
        }
    }

    #[test]
    fn pages_of_an_index_cost_nothing() {
        for index in ["kv_store_item", "sqlite_autoindex_kv_store_1"] {
            for kind in ["leaf", "internal"] {
                let place = full();
                let pages = pages(&place, index, kind);
                spoil(&place, pages[pages.len() / 2]);
                // Opening may meet the damage, and then rescues by itself.
                let mut sqlite = place.open();
                if aside(&place).is_empty() {
                    sqlite.rescue(&Readers::open(&place.file, 1).unwrap()).unwrap();
                }
                check(&mut sqlite, 0);
            }
        }
    }

    #[test]
    fn a_rotten_byte_costs_its_row() {
        let place = full();
        let leaves = pages(&place, "kv_store", "leaf");
        // The end of a page holds its first row, and that ends with its digest.
        overwrite(&place, leaves[100], b"rot");
        let rescued = rescued(&place, 1);
        assert_eq!((rescued.records, rescued.damaged, rescued.gaps), (RECORDS as u64, 1, 0));
    }

    #[test]
    fn a_conflict_outlives_the_value_that_was_lost() {
        let place = full();
        place.shell("UPDATE kv_store SET value = 'rotten' WHERE key = 'lost'");
        let mut sqlite = place.open();
        let rescued = sqlite.rescue(&Readers::open(&place.file, 1).unwrap()).unwrap();
        assert_eq!((rescued.records, rescued.damaged), (RECORDS as u64, 1));
        let [loser, winner] = conflicting();
        assert_eq!(sqlite.get(&key("lost")).unwrap(), Some(loser.clone()));
        // It comes back.
        let mut transaction = sqlite.begin().unwrap();
        let before = transaction.versions(&winner.key).unwrap();
        let mut after = before.clone();
        after.merge(&winner);
        transaction.replace(&before, &after).unwrap();
        transaction.commit().unwrap();
        check(&mut sqlite, 0);
    }

    #[test]
    fn opening_rescues_by_itself_and_says_what_to_do_when_it_cannot() {
        let place = full();
        spoil(&place, pages(&place, "sqlite_autoindex_kv_store_1", "internal")[0]);
        let mut sqlite = place.open();
        assert_eq!(aside(&place).len(), 1);
        check(&mut sqlite, 0);

        let place = full();
        spoil(&place, pages(&place, "meta", "leaf")[0]);
        let before = place.content();
        let error = SqliteStore::open(&place.file, &NetworkName::default()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Damaged);
        assert!(error.to_string().contains("move it away"), "{error}");
        assert!(
            before == place.content(),
            "what cannot be told to be ours stays as it is"
        );
    }

    #[test]
    fn an_older_file_is_rescued_too() {
        let place = Place::new();
        crate::store::migrations::first_version(&place.file);
        let author = id(1);
        shell(
            &place.file,
            &format!(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
                INSERT INTO kv_store SELECT 'key ' || i, 'value', i, '{author}', NULL, NULL FROM n;
                INSERT INTO meta VALUES ('network', '')"
            ),
        );
        let leaves = pages(&place, "kv_store", "leaf");
        spoil(&place, leaves[leaves.len() / 2]);
        let mut sqlite = place.open();
        assert_eq!(aside(&place).len(), 1);
        let count = sqlite.summary().unwrap().count();
        assert!((4_900..5_000).contains(&count), "{count}");
        assert!(sqlite.get(&key("key 5000")).unwrap().is_some());
    }

    #[test]
    fn a_rescue_that_was_cut_off_is_finished_or_forgotten() {
        // Before the new file was whole.
        let place = full();
        fs::write(beside(&place.file, ".rescue"), b"half").unwrap();
        fs::write(beside(&place.file, ".rescue-wal"), b"half").unwrap();
        check_unchanged(&place);
        assert!(aside(&place).is_empty());
        rescued(&place, 0);
        assert!(!beside(&place.file, ".rescue-wal").exists());

        // After that, at every step.
        for steps in 0..4 {
            let (old, new) = (full(), Place::new());
            testing::store(&mut new.open(), &[put("new", b"", 1)]);
            testing::store(&mut old.open(), &[put("old", b"", RECORDS + 5)]);
            fs::write(beside(&old.file, "-wal"), b"committed, but not to the new file").unwrap();
            let ready = beside(&old.file, ".rescued");
            fs::copy(&new.file, &ready).unwrap();
            let put_aside = beside(&old.file, ".damaged-5");
            if steps > 0 {
                fs::rename(&old.file, &put_aside).unwrap();
            }
            if steps > 1 {
                fs::rename(beside(&old.file, "-wal"), beside(&put_aside, "-wal")).unwrap();
            }
            if steps > 2 {
                fs::rename(&ready, &old.file).unwrap();
            }
            let mut sqlite = old.open();
            assert!(sqlite.get(&key("new")).unwrap().is_some(), "step {steps}");
            assert!(sqlite.get(&key("old")).unwrap().is_none(), "step {steps}");
            assert!(!ready.exists());
            assert!(!aside(&old).is_empty());
        }
    }

    fn check_unchanged(place: &Place) {
        let sqlite = place.open();
        assert_eq!(sqlite.summary().unwrap().count(), RECORDS as u64 + 2);
    }

    #[test]
    fn only_the_newest_damaged_files_are_kept() {
        let place = full();
        for name in [
            ".damaged-5",
            ".damaged-5-wal",
            ".damaged-6",
            ".damaged-x",
            ".damaged-7-wal",
        ] {
            fs::write(beside(&place.file, name), b"old").unwrap();
        }
        let mut sqlite = place.open();
        let rescued = sqlite.rescue(&Readers::open(&place.file, 1).unwrap()).unwrap();
        let mut expected = [
            beside(&place.file, ".damaged-7-wal"),
            beside(&place.file, ".damaged-x"),
            rescued.aside,
        ];
        expected.sort();
        assert_eq!(aside(&place), expected);
    }

    #[test]
    fn what_is_in_the_log_is_rescued_too() {
        let place = full();
        let mut sqlite = place.open();
        testing::store(&mut sqlite, &[put("late", b"", RECORDS + 5)]);
        sqlite.abandon();
        assert!(
            size_of(&beside(&place.file, "-wal"))
                .unwrap()
                .is_some_and(|bytes| bytes > 0)
        );
        let rescued = sqlite.rescue(&Readers::open(&place.file, 1).unwrap()).unwrap();
        assert_eq!(rescued.records, RECORDS as u64 + 2);
        assert!(sqlite.get(&key("late")).unwrap().is_some());
    }
}
