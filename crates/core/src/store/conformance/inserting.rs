//! What a store promises about records that are held only if their keys are new.

use std::fmt::Debug;

use super::{deleted, key, put};
use crate::store::{Store, Transaction};

pub(super) fn inserts_what_is_new<S: Store>(store: &mut S)
where
    S::Error: Debug,
{
    const FAILED: &str = "a store in the suite does not fail";
    let mut transaction = store.begin().expect(FAILED);
    let (first, gone) = (put("a", b"first", 5), deleted("b", 6));
    for record in [&first, &gone] {
        assert!(transaction.insert(record).expect(FAILED), "the key was new");
    }
    // Neither a later nor an earlier version, nor over a deletion, nor the same once more.
    for record in [
        put("a", b"later", 9),
        put("a", b"earlier", 1),
        put("b", b"later", 9),
        first.clone(),
    ] {
        assert!(!transaction.insert(&record).expect(FAILED), "the key was held");
    }
    transaction.commit().expect(FAILED);
    assert_eq!(store.get(&first.key).expect(FAILED), Some(first.clone()));
    assert_eq!(store.get(&gone.key).expect(FAILED), Some(gone));
    let mut transaction = store.begin().expect(FAILED);
    assert!(!transaction.insert(&put("a", b"later", 9)).expect(FAILED));
    assert!(transaction.insert(&put("c", b"lost", 7)).expect(FAILED));
    drop(transaction);
    assert_eq!(store.get(&key("c")).expect(FAILED), None, "it was rolled back");
    assert_eq!(store.get(&first.key).expect(FAILED), Some(first));
}
