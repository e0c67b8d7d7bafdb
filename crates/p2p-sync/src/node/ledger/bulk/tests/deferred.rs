//! The index of items is left for the end of a bulk, and is there for whoever asks by it.

use p2p_sync_core::sync::SyncStore;

use super::*;
use crate::store::{Depth, Round};

/// A page of a bulk of which very many records are still to come.
fn bring_of_many(ledger: &mut Ledger, page: &[Record]) {
    let reached = Cursor {
        seen: u64::MAX,
        ..place(page.last().unwrap())
    };
    let applied = view(ledger).apply(page, Some((SOURCE, reached))).unwrap();
    assert_eq!(applied.changed, page.len() as u64);
}

fn lacks_index(ledger: &mut Ledger) -> bool {
    ledger.store.lacks_index().unwrap()
}

/// Everything is as if nothing had been left for the end.
fn check(ledger: &mut Ledger, records: &[Record]) {
    assert!(!lacks_index(ledger));
    let expected = Summary::of(records.iter().map(Item::of));
    assert_eq!(ledger.summary(), Some(&expected));
    assert_eq!(Summary::of(view(ledger).items().unwrap()), expected);
    for record in records {
        let found = view(ledger).by_key_hash(Item::of(record).key_hash(), 9).unwrap();
        assert_eq!(found, std::slice::from_ref(record));
    }
    let scanned = ledger.store.start_scan(Depth::Records).unwrap().run().unwrap();
    let found = ledger.store.finish_scan(scanned).unwrap();
    assert_eq!((found.structure, found.removed.len()), (None, 0));
    assert_eq!(found.records, records.len() as u64);
}

#[test]
fn it_is_made_when_no_bulk_is_under_way_and_not_before() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(9);
    bring_of_many(&mut ledger, &pages[0]);
    assert!(lacks_index(&mut ledger));
    let mine = write(&mut ledger, "mine");
    bring_of_many(&mut ledger, &pages[1]);
    // The state of the store is told to others meanwhile.
    view(&mut ledger).settle();
    assert!(lacks_index(&mut ledger));
    let readers = Readers::open(ledger.store.file(), 1).unwrap();
    let none = readers.ahead(p2p_sync_core::Timestamp::MIN, 9).unwrap();
    assert_eq!((none.0, none.1.len()), (7, 7), "what asks for other things finds them");
    let looked = readers.patrol(Round::default(), 99).unwrap();
    assert_eq!(looked.damaged, []);
    pages[2..].iter().for_each(|page| bring_of_many(&mut ledger, page));
    ledger.end_bulk();
    let records: Vec<Record> = pages.concat().into_iter().chain([mine]).collect();
    check(&mut ledger, &records);
    ledger.close();
    check(&mut open(&directory), &records);
}

#[test]
fn whoever_asks_by_it_has_it_made() {
    let pages = pages(3);
    let record = &pages[0][1];
    let asks: [&dyn Fn(&mut Ledger); 4] = [
        &|ledger| {
            let found = view(ledger).by_key_hash(Item::of(record).key_hash(), 9).unwrap();
            assert_eq!(found, std::slice::from_ref(record), "of what is held, too");
        },
        &|ledger| assert_eq!(view(ledger).items().unwrap().len(), 3),
        &|ledger| drop(ledger.start_scan(Depth::Items).unwrap()),
        &|ledger| assert_eq!(ledger.store.scan_steps().unwrap(), 0),
    ];
    for ask in asks {
        let directory = TempDir::new().unwrap();
        let mut ledger = open(&directory);
        bring_of_many(&mut ledger, &pages[0]);
        ask(&mut ledger);
        assert!(!lacks_index(&mut ledger));
        pages[1..].iter().for_each(|page| bring_of_many(&mut ledger, page));
        ledger.end_bulk();
        check(&mut ledger, &pages.concat());
    }
}

#[test]
fn a_crash_without_it_is_mended_at_the_start() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(6);
    bring_of_many(&mut ledger, &pages[0]);
    view(&mut ledger).settle();
    bring_of_many(&mut ledger, &pages[1]);
    assert!(lacks_index(&mut ledger));
    let crashed = TempDir::new().unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(directory.path().join(name), crashed.path().join(name)).unwrap();
    }
    let mut after = open(&crashed);
    assert!(!lacks_index(&mut after));
    after
        .start_scan(Depth::Items)
        .unwrap()
        .run()
        .map(|scanned| after.finish_scan(Ok(scanned)))
        .unwrap()
        .unwrap();
    check(&mut after, &pages[0]);
    // There are few records still, so that it is left for the end again.
    pages[1..].iter().for_each(|page| bring_of_many(&mut after, page));
    assert!(lacks_index(&mut after));
    after.close();
    check(&mut open(&crashed), &pages.concat());
}

#[test]
fn it_is_back_when_the_transaction_that_dropped_it_is_gone() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(2);
    bring_of_many(&mut ledger, &pages[0]);
    drop(ledger.store.resume().unwrap());
    assert!(!lacks_index(&mut ledger), "rolled back");
    assert!(bulk(&mut ledger, &pages[1]).is_err(), "the bulk hears of it");
    ledger.begin_bulk();
    bring_of_many(&mut ledger, &pages[0]);
    ledger.store.reopen().unwrap();
    assert!(!lacks_index(&mut ledger), "the connection is another one");
    check(&mut ledger, &[]);
}

#[test]
fn it_stays_where_few_records_are_to_come() {
    let directory = TempDir::new().unwrap();
    let mut ledger = open(&directory);
    let pages = pages(2);
    bring(&mut ledger, &pages);
    assert!(!lacks_index(&mut ledger));
    ledger.release();
    let reached = |coming: u64, page: &[Record]| {
        let reached = place(page.last().unwrap());
        let seen = reached.number + coming;
        Some((SOURCE, Cursor { seen, ..reached }))
    };
    let page = [named("a", value("v"), 7)];
    view(&mut ledger).apply(&page, reached(4_095, &page)).unwrap();
    assert!(!lacks_index(&mut ledger));
    view(&mut ledger).apply(&page, reached(4_096, &page)).unwrap();
    assert!(lacks_index(&mut ledger));
    ledger.end_bulk();
    let many: Vec<Record> = (0..300).map(|n| named(&format!("many {n}"), value("v"), 7)).collect();
    bring(&mut ledger, &[many]);
    ledger.release();
    view(&mut ledger).apply(&page, reached(4_096, &page)).unwrap();
    assert!(!lacks_index(&mut ledger), "it is cheaper to keep it");
}
