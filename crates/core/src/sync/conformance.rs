//! The promises of a [`SyncStore`] as a suite that every implementation is held to.

use std::collections::BTreeSet;
use std::fmt::Debug;

use super::page::cost;
use super::store::{PageLimit, SyncStore};
use super::wire::{Position, StoreId};
use crate::item::{Item, KeyHash};
use crate::record::{Content, Key, Record, Value};
use crate::summary::Summary;
use crate::time::{Base, Timestamp};
use crate::{NodeId, limits};

/// Holds an implementation to its promises. For tests: `open` gives an empty store each time.
///
/// # Panics
/// When a promise is broken.
pub fn conformance<S: SyncStore>(mut open: impl FnMut() -> S)
where
    S::Error: Debug,
{
    applied_records_win_or_not(&mut open());
    the_summary_follows(&mut open());
    pages_come_in_order(&mut open());
    pages_keep_their_limits(&mut open());
    positions_are_kept_by_source(&mut open());
}

#[expect(clippy::unwrap_used, reason = "a test helper with fixed inputs")]
fn record(key: &str, nanos: i64, value: &[u8]) -> Record {
    Record {
        key: Key::new(key).unwrap(),
        content: Content::Put(Value::new(value).unwrap()),
        timestamp: Timestamp::from_nanos(nanos).unwrap(),
        author: NodeId::from_bytes(&[1]).unwrap(),
        base: Base::Unknown,
    }
}

fn position(record: &Record) -> Position {
    Position {
        timestamp: record.timestamp,
        key: record.key.clone(),
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

fn pages_come_in_order<S: SyncStore>(store: &mut S)
where
    S::Error: Debug,
{
    let mut records: Vec<Record> = (0..50)
        .map(|n| record(&format!("key {n}"), n * 31 % 11 + 1, b"value"))
        .collect();
    apply(store, &records);
    records.sort_by_key(position);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let limit = PageLimit {
            records: 7,
            ..PageLimit::FULL
        };
        let page = store.page(after.as_ref(), limit).expect("the store can be read");
        assert!(page.records.len() <= 7, "a page has at most as many records as it may");
        assert!(
            page.records.last().map(position) <= page.reached,
            "it reaches its last record, or further"
        );
        let Some(reached) = page.reached else { break };
        assert!(
            after.is_none_or(|after| reached > after),
            "as long as there is more, a page comes further"
        );
        after = Some(reached);
        found.extend(page.records);
    }
    assert!(found == records, "all records, once, in the order of (timestamp, key)");
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
    let (first, second) = (record("a", 5, b""), record("b", 6, b""));
    let (one, other) = (StoreId(1), StoreId(2));
    let mut advance = |record: &Record, source| {
        let applied = store.apply(std::slice::from_ref(record), Some((source, &position(record))));
        applied.expect("the store can be written");
        [one, other].map(|source| store.position(source).expect("the store can be read"))
    };
    assert_eq!(advance(&first, one), [Some(position(&first)), None]);
    assert_eq!(
        advance(&second, other),
        [Some(position(&first)), Some(position(&second))]
    );
    assert_eq!(
        advance(&second, one),
        [Some(position(&second)), Some(position(&second))]
    );
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
