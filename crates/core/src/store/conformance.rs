//! The promises of a store as one suite that runs against every implementation. It does not cover crashes of the machine;
//! each implementation must test those itself.

mod conflicts;
mod inserting;

use std::fmt::Debug;

use super::{Store, Transaction};
use crate::id::NodeId;
use crate::limits::{KEY_BYTES_MAX, SEEN_AUTHORS_MAX, VALUE_BYTES_MAX};
use crate::record::{Content, Key, Record, Value};
use crate::seen::Seen;
use crate::time::Timestamp;
use crate::versions::Versions;

/// Checks that a store keeps every promise of [`Store`]. For tests.
///
/// `open` is called several times and must return a new, empty store each time.
///
/// # Panics
/// If a promise is broken or the store fails, with a message that says which.
pub fn conformance<S: Store>(mut open: impl FnMut() -> S)
where
    S::Error: Debug,
{
    starts_empty(&mut open());
    keeps_every_field(&mut open());
    conflicts::decides_nothing(&mut open());
    conflicts::keeps_conflicts(&mut open());
    keeps_keys_apart(&mut open());
    scans_in_order(&mut open());
    scans_by_prefix(&mut open());
    knows_the_last_timestamp(&mut open());
    inserting::inserts_what_is_new(&mut open());
    commits(&mut open());
    rolls_back(&mut open());
}

fn key(text: &str) -> Key {
    Key::new(text).expect("the suite uses valid keys only")
}

fn at(nanos: i64) -> Timestamp {
    Timestamp::from_nanos(nanos).expect("the suite uses valid timestamps only")
}

fn put(text: &str, value: &[u8], nanos: i64) -> Record {
    let value = Value::new(value).expect("the suite uses valid values only");
    Record {
        content: Content::Put(value),
        ..deleted(text, nanos)
    }
}

fn deleted(text: &str, nanos: i64) -> Record {
    let author = NodeId::from_bytes(&[1; 38]).expect("38 bytes are a valid id");
    Record {
        key: key(text),
        content: Content::Deleted,
        timestamp: at(nanos),
        author,
        seen: Seen::NOTHING,
        signature: None,
    }
}

/// Stores all of these in one transaction.
fn store<S: Store>(store: &mut S, records: &[Record])
where
    S::Error: Debug,
{
    let mut transaction = store.begin().expect("a transaction can be opened");
    for record in records {
        hold(&mut transaction, std::slice::from_ref(record));
    }
    transaction.commit().expect("a transaction can be committed");
}

/// Holds these versions of one key in place of any other.
fn hold<T: Transaction>(transaction: &mut T, versions: &[Record])
where
    T::Error: Debug,
{
    let after = Versions::of(versions.iter().cloned());
    let key = after.winner().map(|winner| winner.key.clone());
    let before = key.map(|key| transaction.versions(&key).expect("versions can be read"));
    transaction
        .replace(&before.unwrap_or_default(), &after)
        .unwrap_or_else(|error| panic!("{versions:?} can be stored: {error:?}"));
}

fn get<S: Store>(store: &mut S, text: &str) -> Option<Record>
where
    S::Error: Debug,
{
    store
        .get(&key(text))
        .unwrap_or_else(|error| panic!("{text:?} can be read: {error:?}"))
}

fn scan<S: Store>(store: &mut S, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String>
where
    S::Error: Debug,
{
    let after = after.map(key);
    let records = store
        .scan(prefix, after.as_ref(), limit)
        .unwrap_or_else(|error| panic!("{prefix:?} can be scanned: {error:?}"));
    records.iter().map(|record| record.key.as_str().to_owned()).collect()
}

fn starts_empty<S: Store>(empty: &mut S)
where
    S::Error: Debug,
{
    assert_eq!(get(empty, "a"), None, "an empty store holds no key");
    assert!(
        scan(empty, "", None, 10).is_empty(),
        "an empty store has nothing to scan"
    );
    assert_eq!(
        empty.last_timestamp().expect("an empty store has a last timestamp"),
        None,
        "an empty store has no timestamp"
    );
}

fn keeps_every_field<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let long_key = "🔑".repeat(KEY_BYTES_MAX / 4);
    let all_bytes: Vec<u8> = (0..=u8::MAX).cycle().take(VALUE_BYTES_MAX).collect();
    let values: [&[u8]; 9] = [
        b"world",
        b"",
        b"\0",
        b"a\0b",
        b"\xff\xfe",
        b"12",
        b"x'00'",
        "日本語 'quoted' \"twice\"\n".as_bytes(),
        &all_bytes,
    ];
    let mut records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(n, value)| put(&format!("value {n}"), value, 5))
        .collect();
    records.push(deleted("deleted", 5));
    records.push(put(&long_key, b"long key", 5));
    records.push(Record {
        timestamp: Timestamp::MIN,
        ..put("first", b"", 5)
    });
    records.push(Record {
        timestamp: Timestamp::MAX,
        ..put("last", b"", 5)
    });
    let other = |number: u8| {
        (
            NodeId::from_bytes(&[number; 38]).expect("38 bytes are a valid id"),
            at(4),
        )
    };
    let many: Vec<_> = (10..10 + SEEN_AUTHORS_MAX as u8).map(other).collect();
    let seen = [
        Seen::NOTHING,
        Seen::everything_before(at(5)),
        Seen::new(None, many.clone()).expect("it is in the valid form"),
        Seen::new(Some(Timestamp::MIN), many).expect("it is in the valid form"),
    ];
    for (n, seen) in seen.into_iter().enumerate() {
        records.push(Record {
            seen: seen.clone(),
            ..put(&format!("seen {n}"), b"", 5)
        });
        records.push(Record {
            seen,
            ..deleted(&format!("deleted seen {n}"), 5)
        });
    }
    for (n, id) in [&[0][..], &[0, 0, 7], &[0xff; 42]].into_iter().enumerate() {
        let author = NodeId::from_bytes(id).expect("1 to 42 bytes are a valid id");
        records.push(Record {
            author,
            ..put(&format!("author {n}"), b"", 5)
        });
    }
    store(tested, &records);
    for record in &records {
        assert_eq!(
            get(tested, record.key.as_str()).as_ref(),
            Some(record),
            "a record comes back byte for byte"
        );
    }
    records.sort_by(|a, b| a.key.cmp(&b.key));
    let scanned = tested.scan("", None, usize::MAX).expect("everything can be scanned");
    assert_eq!(
        scanned, records,
        "a scan gives the same records as get, deletions included"
    );
}

fn keeps_keys_apart<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    // Case, spaces, digits and composition make different keys: only bytes count.
    let keys = [
        "a",
        "A",
        "a ",
        " a",
        "1",
        "01",
        "1.0",
        "é",
        "e\u{301}",
        "a\u{a0}",
        "\u{10ffff}",
    ];
    let records: Vec<_> = keys.iter().map(|text| put(text, text.as_bytes(), 5)).collect();
    store(tested, &records);
    for record in records {
        assert_eq!(
            get(tested, record.key.as_str()),
            Some(record),
            "keys that differ in a byte are different keys"
        );
    }
}

fn scans_in_order<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let mut keys = ["b", "a", "a/b", "a b", "B", "ä", "10", "9", "~", "日", "😀", "\u{ffff}"]
        .map(str::to_owned)
        .to_vec();
    keys.extend((0..300).map(|n| format!("n/{n:03}")));
    let records: Vec<_> = keys
        .iter()
        .enumerate()
        .map(|(n, text)| {
            if n % 3 == 0 {
                deleted(text, 5)
            } else {
                put(text, b"", 5)
            }
        })
        .collect();
    store(tested, &records);
    keys.sort();
    assert_eq!(
        scan(tested, "", None, usize::MAX),
        keys,
        "a scan is in the order of the keys' bytes"
    );
    assert!(scan(tested, "", None, 0).is_empty(), "a limit of none gives none");
    assert_eq!(
        scan(tested, "", None, 7),
        keys.get(..7).expect("there are 7"),
        "a limit cuts off the end"
    );
    let mut paged = Vec::new();
    loop {
        let page = scan(tested, "", paged.last().map(String::as_str), 50);
        assert!(page.len() <= 50, "a page is no longer than its limit");
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, keys, "pages follow each other without gap or overlap");
}

fn scans_by_prefix<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let keys = [
        "a",
        "a%b",
        "a*b",
        "a/1",
        "a/2",
        "a/3",
        "a[b]",
        "a_b",
        "axb",
        "b",
        "A/1",
        "\u{10ffff}",
        "\u{10ffff}x",
    ];
    store(tested, &keys.map(|text| put(text, b"", 5)));
    for (prefix, after, found) in [
        ("a/", None, &["a/1", "a/2", "a/3"][..]),
        ("a/", Some("a/1"), &["a/2", "a/3"]),
        ("a/", Some("a/15"), &["a/2", "a/3"]),
        ("a/", Some("a"), &["a/1", "a/2", "a/3"]),
        ("a/", Some("a/3"), &[]),
        ("a/", Some("b"), &[]),
        ("a%", None, &["a%b"]),
        ("a_", None, &["a_b"]),
        ("a*", None, &["a*b"]),
        ("a[b]", None, &["a[b]"]),
        ("A", None, &["A/1"]),
        ("axb", None, &["axb"]),
        ("axbc", None, &[]),
        ("'", None, &[]),
        ("\u{10ffff}", None, &["\u{10ffff}", "\u{10ffff}x"]),
        ("\u{10ffff}", Some("\u{10ffff}"), &["\u{10ffff}x"]),
    ] {
        assert_eq!(
            scan(tested, prefix, after, 10),
            found,
            "keys that start with {prefix:?} and lie behind {after:?}"
        );
    }
    assert_eq!(
        scan(tested, "a/", None, 2),
        ["a/1", "a/2"],
        "the limit counts what has the prefix"
    );
}

fn knows_the_last_timestamp<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    let mut last = |records: &[Record]| {
        store(tested, records);
        tested.last_timestamp().expect("the last timestamp can be read")
    };
    assert_eq!(
        last(&[put("a", b"", 5), put("b", b"", 3)]),
        Some(at(5)),
        "the highest timestamp, not the latest written"
    );
    assert_eq!(last(&[deleted("b", 9)]), Some(at(9)), "deletions count");
    assert_eq!(
        last(&[put("b", b"", 4)]),
        Some(at(9)),
        "and so does what is no longer held"
    );
}

fn commits<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    store(tested, &[]);
    let mut transaction = tested.begin().expect("a transaction can be opened after another");
    for record in [put("a", b"1", 5), put("a", b"2", 6)] {
        hold(&mut transaction, std::slice::from_ref(&record));
        let held = transaction.versions(&key("a")).expect("a transaction can be read");
        assert_eq!(held.all(), [record], "a transaction sees its own writes");
    }
    transaction.commit().expect("a transaction can be committed");
    assert_eq!(get(tested, "a"), Some(put("a", b"2", 6)), "what was committed is held");
    assert_eq!(scan(tested, "", None, 10), ["a"], "once");
}

fn rolls_back<S: Store>(tested: &mut S)
where
    S::Error: Debug,
{
    store(tested, &[put("a", b"1", 5), put("b", b"1", 5)]);
    let mut transaction = tested.begin().expect("a transaction can be opened");
    for record in [put("a", b"2", 6), deleted("a", 7), put("c", b"1", 8), put("c", b"2", 9)] {
        hold(&mut transaction, &[record]);
    }
    drop(transaction);
    assert_eq!(
        get(tested, "a"),
        Some(put("a", b"1", 5)),
        "what a rolled back transaction replaced is held again"
    );
    assert_eq!(scan(tested, "", None, 10), ["a", "b"], "what it added is gone");
    assert_eq!(
        tested.last_timestamp().expect("the last timestamp can be read"),
        Some(at(5)),
        "and so is its timestamp"
    );
    store(tested, &[put("c", b"3", 4)]);
    assert_eq!(
        scan(tested, "", None, 10),
        ["a", "b", "c"],
        "the store is usable after a rollback"
    );
}
