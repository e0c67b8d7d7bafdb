//! What holds while pages of a bulk share a transaction, and whatever becomes of that.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use p2p_sync_core::item::Item;
use p2p_sync_core::store::Store;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::SyncStore;
use tempfile::TempDir;

use super::super::tests::{SOURCE, bulk, named, open, place, value, view, write};
use super::*;
use crate::store::Readers;

mod deferred;

fn pages(count: usize) -> Vec<Vec<Record>> {
    let page = |page| (0..3).map(move |n| named(&format!("{page:03} {n}"), value("v"), 7));
    (0..count).map(|number| page(number).collect()).collect()
}

/// How many keys a reader sees.
fn seen(ledger: &Ledger) -> u64 {
    let readers = Readers::open(ledger.store.file(), 1).unwrap();
    readers.count("").unwrap()
}

fn bring(ledger: &mut Ledger, pages: &[Vec<Record>]) {
    for page in pages {
        assert_eq!(bulk(ledger, page).unwrap().changed, page.len() as u64);
    }
}

#[test]
fn pages_share_a_transaction_until_the_state_of_the_store_is_told() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(100);
    bring(&mut ledger, &pages);
    assert!(ledger.held_until().is_some());
    assert_eq!(
        (seen(&ledger), ledger.summary().unwrap().count()),
        (0, 0),
        "nothing is committed"
    );
    assert!(ledger.take_committed().changes.is_empty(), "and nobody is told");
    view(&mut ledger).settle();
    assert_eq!(ledger.held_until(), None);
    assert_eq!(seen(&ledger), 300);
    let items = pages.iter().flatten().map(Item::of);
    assert_eq!(ledger.summary(), Some(&Summary::of(items)));
    let told = ledger.take_committed();
    assert_eq!(
        (told.changes.len(), told.unlisted),
        (LISTED_MAX, 300 - LISTED_MAX as u64)
    );
    let last = pages.last().and_then(|page| page.last()).unwrap();
    assert_eq!(view(&mut ledger).position(SOURCE).unwrap(), Some(place(last)));
}

#[test]
fn a_local_write_is_stored_at_once_and_what_was_held_before_it() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(4);
    bring(&mut ledger, &pages[..3]);
    write(&mut ledger, "mine");
    assert_eq!(seen(&ledger), 10);
    assert_eq!(ledger.take_committed().changes.len(), 9);
    bring(&mut ledger, &pages[3..]);
    assert_eq!(seen(&ledger), 10, "the next page opens another transaction");
    ledger.close();
    assert_eq!(seen(&open(&directory)), 13);
}

#[test]
fn a_crash_leaves_the_records_up_to_the_place_that_was_kept() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(6);
    bring(&mut ledger, &pages[..2]);
    view(&mut ledger).settle();
    let kept = place(pages[1].last().unwrap());
    bring(&mut ledger, &pages[2..]);
    // What is on the disk at this moment is what a crash leaves.
    let crashed = TempDir::new().unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    let mut after = open(&crashed);
    assert_eq!(seen(&after), 6);
    assert_eq!(view(&mut after).position(SOURCE).unwrap(), Some(kept));
    bring(&mut after, &pages[2..]);
    view(&mut after).settle();
    assert_eq!(seen(&after), 18);
}

#[test]
fn a_bulk_of_which_pages_were_lost_does_not_pass_over_them() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(6);
    bring(&mut ledger, &pages[..2]);
    view(&mut ledger).settle();
    let kept = place(pages[1].last().unwrap());
    bring(&mut ledger, &pages[2..4]);
    ledger.store.reopen().unwrap();
    assert!(ledger.store.get(&pages[2][0].key).unwrap().is_none(), "it is gone");
    bulk(&mut ledger, &pages[4]).unwrap_err();
    view(&mut ledger).settle();
    assert_eq!(ledger.store.position(SOURCE).unwrap(), Some(kept));
    assert!(
        ledger.take_committed().changes.len() == 6,
        "nobody is told of what is gone"
    );
    // The next bulk asks where to go on.
    assert_eq!(view(&mut ledger).position(SOURCE).unwrap(), Some(kept));
    bring(&mut ledger, &pages[2..]);
    view(&mut ledger).settle();
    assert_eq!(seen(&ledger), 18);
}

#[test]
fn what_is_lost_between_two_bulks_does_not_end_the_next_one() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(2);
    bring(&mut ledger, &pages[..1]);
    ledger.store.reopen().unwrap();
    assert_eq!(view(&mut ledger).position(SOURCE).unwrap(), None);
    bring(&mut ledger, &pages);
    view(&mut ledger).settle();
    assert_eq!(seen(&ledger), 6);
}

#[test]
fn a_number_of_records_is_enough() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let page = |number: u32| -> Vec<Record> {
        let named = |n: u32| named(&format!("{number} {n}"), value("v"), 7);
        (0..1_000).map(named).collect()
    };
    for number in 0..17 {
        assert_eq!(seen(&ledger), 0);
        bulk(&mut ledger, &page(number)).unwrap();
    }
    assert_eq!(seen(&ledger), 17_000, "the first transaction is a short one");
    bulk(&mut ledger, &page(17)).unwrap();
    assert_eq!(seen(&ledger), 17_000);
}
