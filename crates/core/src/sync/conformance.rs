//! The promises of a [`SyncStore`] as a suite that every implementation must pass.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::page::cost;
use super::store::{PageLimit, SyncStore};
use super::wire::StoreId;
use crate::item::{Item, KeyHash};
use crate::record::{Content, Key, Record, Value};
use crate::seen::Seen;
use crate::sequence::{Cursor, Epoch};
use crate::summary::Summary;
use crate::time::Timestamp;
use crate::{NodeId, limits};

/// Checks that an implementation keeps its promises. For tests: `open` returns an empty store each time.
///
/// # Panics
/// If a promise is broken.
pub fn conformance<S: SyncStore>(mut open: impl FnMut() -> S)
where
    S::Error: Debug,
{
    applied_records_win_or_not(&mut open());
    the_summary_follows(&mut open());
    pages_come_in_order(&mut open());
    unknown_places_begin_anew(&mut open());
    pages_keep_their_limits(&mut open());
    positions_are_kept_by_source(&mut open());
}

#[expect(clippy::unwrap_used, reason = "a test helper with fixed inputs")]
fn record(key: &str, nanos: i64, value: &[u8]) -> Record {
    let timestamp = Timestamp::from_nanos(nanos).unwrap();
    Record {
        key: Key::new(key).unwrap(),
        content: Content::Put(Value::new(value).unwrap()),
        timestamp,
        author: NodeId::from_bytes(&[1]).unwrap(),
        seen: Seen::everything_before(timestamp),
        signature: None,
    }
}

fn held<S: SyncStore>(store: &mut S, record: &Record) -> Vec<Record>
where
    S::Error: Debug,
{
    let found = store.by_key_hash(KeyHash::of(&record.key), limits::SYNC_KEY_HASH_RECORDS_MAX);
    found.expect("the store can be read")
}

fn apply<S: SyncStore>(store: &mut S, records: &[Record]) -> u64
where
    S::Error: Debug,
{
    let applied = store.apply(records, None).expect("the store can be written");
    assert_eq!(applied.refused, 0, "a small store has room");
    applied.changed
}

fn applied_records_win_or_not<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let (old, new) = (record("key", 10, b"old"), record("key", 20, b"new"));
    assert_eq!(held(store, &old), [], "a new store is empty");
    assert_eq!(apply(store, std::slice::from_ref(&new)), 1, "a new key is news");
    assert_eq!(
        apply(store, &[old.clone(), new.clone()]),
        0,
        "an older version is not, nor is the same one"
    );
    assert_eq!(held(store, &old), [new], "the newer version is held");
    let deleted = Record {
        content: Content::Deleted,
        ..record("key", 30, b"")
    };
    assert_eq!(
        apply(store, std::slice::from_ref(&deleted)),
        1,
        "a deletion is a version"
    );
    assert_eq!(held(store, &old), [deleted], "and is found like any other");
    assert_eq!(
        apply(
            store,
            &[record("k2", 1, b""), record("k2", 3, b""), record("k2", 2, b"")]
        ),
        2
    );
    assert_eq!(
        held(store, &record("k2", 1, b"")),
        [record("k2", 3, b"")],
        "one page may hold a key twice"
    );
}

fn the_summary_follows<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    assert!(
        *store.summary() == Summary::new(),
        "an empty store has an empty summary"
    );
    for round in 1..5 {
        let records: Vec<Record> = (0..20)
            .map(|n| record(&format!("key {}", n % 7), n * round % 13 + 1, b"v"))
            .collect();
        apply(store, &records);
        let items = store.items().expect("the store can be read");
        let distinct: BTreeSet<Item> = items.iter().copied().collect();
        assert_eq!(distinct.len(), items.len(), "each item once");
        assert_eq!(items.len(), 7, "one item for each key");
        assert!(
            *store.summary() == Summary::of(items),
            "the summary is that of the records"
        );
    }
}

/// All pages after a place, of at most seven records.
fn pages<S: SyncStore>(store: &mut S, mut after: Option<Cursor>) -> (Vec<Record>, Option<Cursor>)
where
    S::Error: Debug,
{
    let mut found = Vec::new();
    loop {
        let limit = PageLimit {
            records: 7,
            ..PageLimit::FULL
        };
        let page = store.page(after, limit).expect("the store can be read");
        assert!(page.records.len() <= 7, "a page has at most as many records as it may");
        let Some(reached) = page.reached else {
            assert_eq!(page.records, [], "a page with records reaches somewhere");
            return (found, after);
        };
        let before = after.map_or(0, |after| after.number);
        assert!(
            reached.number > before,
            "as long as there is more, a page comes further"
        );
        after = Some(reached);
        found.extend(page.records);
    }
}

fn pages_come_in_order<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let records: Vec<Record> = (0..50)
        .map(|n| record(&format!("key {n}"), n * 31 % 11 + 1, b"value"))
        .collect();
    apply(store, &records);
    let (found, end) = pages(store, None);
    assert!(
        found == records,
        "all records, once, in the order in which they were taken in"
    );
    let limit = PageLimit {
        records: 20,
        ..PageLimit::FULL
    };
    let reached = store.page(None, limit).expect("the store can be read").reached;
    // One that was told, one that was not told yet, and one that is no news.
    let later = [
        record("key 3", 1_000, b"newer"),
        record("key 40", 1_001, b"newer"),
        record("key 7", 1, b"a"),
    ];
    apply(store, &later);
    let changed = vec![later[0].clone(), later[1].clone()];
    let mut expected: Vec<Record> = records.iter().skip(20).cloned().collect();
    expected.retain(|record| record.key != later[1].key);
    expected.extend(changed.iter().cloned());
    let (found, last) = pages(store, reached);
    assert!(
        found == expected,
        "nothing slips in behind a place, and each key comes once"
    );
    assert_eq!(pages(store, end), (changed, last), "nor behind the end");
    let rest = pages(store, reached).0;
    assert_eq!(rest, expected, "a place is good for more than one reader");
    assert_eq!(
        pages(store, last),
        (Vec::new(), last),
        "and behind the last one is nothing"
    );
}

fn unknown_places_begin_anew<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let records: Vec<Record> = (0..10).map(|n| record(&format!("key {n}"), n + 1, b"value")).collect();
    apply(store, &records);
    let (all, end) = pages(store, None);
    assert_eq!(all, records, "all records are there");
    let end = end.expect("a store with records has reached a place");
    let strange = Cursor {
        epoch: Epoch(!end.epoch.0),
        ..end
    };
    let beyond = Cursor {
        number: end.number + 1,
        seen: end.seen + 1,
        ..end
    };
    for unknown in [strange, beyond] {
        let page = store
            .page(Some(unknown), PageLimit::FULL)
            .expect("the store can be read");
        assert_eq!(page.records, records, "from {unknown}");
    }
}

fn pages_keep_their_limits<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let records: Vec<Record> = (1..5).map(|n| record("k".repeat(n).as_str(), 1, &[0; 1_000])).collect();
    apply(store, &records);
    let mut page = |bytes| {
        let limit = PageLimit { records: 10, bytes };
        store.page(None, limit).expect("the store can be read").records
    };
    let two: usize = records.iter().take(2).map(cost).sum();
    assert_eq!(page(two).len(), 2, "as many as fit");
    assert_eq!(page(two - 1).len(), 1, "and no more");
    assert_eq!(page(1).len(), 1, "but one at least, or a bulk would never end");
}

fn positions_are_kept_by_source<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let records = [record("a", 5, b""), record("b", 6, b"")];
    let place = |number| Cursor {
        epoch: Epoch(u64::MAX - number),
        number,
        seen: number * 2,
    };
    let (one, other) = (StoreId(1), StoreId(2));
    let mut advance = |place, source| {
        let applied = store.apply(&records, Some((source, place)));
        applied.expect("the store can be written");
        [one, other].map(|source| store.position(source).expect("the store can be read"))
    };
    assert_eq!(advance(place(5), one), [Some(place(5)), None]);
    assert_eq!(advance(place(0), other), [Some(place(5)), Some(place(0))]);
    assert_eq!(advance(place(3), one), [Some(place(3)), Some(place(0))]);
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemorySyncStore;
    use super::*;

    #[test]
    fn the_memory_store_keeps_what_a_sync_store_promises() {
        conformance(|| MemorySyncStore::new(StoreId(7)));
    }
}
