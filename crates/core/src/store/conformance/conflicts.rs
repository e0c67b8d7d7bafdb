//! What a store promises about the versions of one key: it holds those that it is given, and decides nothing between them.

use std::fmt::Debug;

use super::{deleted, get, hold, key, put, scan, store};
use crate::id::NodeId;
use crate::limits::VERSIONS_MAX;
use crate::record::Record;
use crate::store::{Store, Transaction};

pub(super) fn decides_nothing<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let versions = [put("a", b"1", 9), deleted("a", 7), put("a", b"2", 3), put("a", b"", 8)];
    for version in versions {
        store(tested, std::slice::from_ref(&version));
        assert_eq!(
            get(tested, "a"),
            Some(version),
            "the store holds what it was given last, whatever its timestamp"
        );
        assert_eq!(scan(tested, "", None, 10), ["a"], "one version of a key is held");
    }
}

pub(super) fn keeps_conflicts<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let version = |number: u8| Record {
        author: NodeId::from_bytes(&[number]).expect("one byte is a valid id"),
        ..put("a", &[number], i64::from(number))
    };
    let versions: Vec<Record> = (1..=VERSIONS_MAX as u8).map(version).collect();
    let mut hold_all = |versions: &[Record]| {
        let mut transaction = tested.begin().expect("a transaction can be opened");
        hold(&mut transaction, versions);
        let held = transaction.versions(&key("a")).expect("a transaction can be read");
        assert_eq!(held.all(), versions, "a transaction sees its own writes");
        transaction.commit().expect("a transaction can be committed");
        let held = tested.versions(&key("a")).expect("versions can be read");
        assert_eq!(held.all(), versions, "all versions are held, the highest last");
        assert_eq!(get(tested, "a").as_ref(), versions.last(), "the highest is the value");
        assert_eq!(scan(tested, "", None, 10), ["a"], "a scan gives a key once");
    };
    hold_all(&versions);
    hold_all(versions.get(2..5).expect("there are 8"));
    hold_all(versions.get(4..).expect("there are 8"));
    hold_all(versions.get(7..).expect("there are 8"));
    hold_all(versions.get(..1).expect("there are 8"));
    let before = tested.versions(&key("a")).expect("versions can be read");
    let mut transaction = tested.begin().expect("a transaction can be opened");
    hold(&mut transaction, &versions);
    drop(transaction);
    let after = tested.versions(&key("a")).expect("versions can be read");
    assert_eq!(after, before, "conflicts are rolled back, too");
}
