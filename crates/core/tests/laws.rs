//! The laws that merging, the clock and the message format keep for all inputs, not only for those one thinks of.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod observed;
mod support;

use std::cmp::Ordering;
use std::time::Duration;

use observed::Node;
use p2p_sync_core::limits::{CLOCK_LEAD_MAX, KEY_BYTES_MAX};
use p2p_sync_core::message::{decode, encode};
use p2p_sync_core::record::{Merge, merge};
use p2p_sync_core::store::Store;
use p2p_sync_core::{Base, Content, Key, Record, Timestamp, Value};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{key, nanos, node, put, record, winners};

const SECOND: i64 = 1_000_000_000;

/// Inputs that once failed are kept beside this file, to be committed and tried first ever after.
fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::with_cases(count)
    }
}

/// Few of everything, so that ties are the rule and not the exception.
fn colliding_record() -> impl Strategy<Value = Record> {
    let base = prop_oneof![
        Just(Base::Unknown),
        Just(Base::Nothing),
        (1..6_i64).prop_map(|n| Base::Version(nanos(n)))
    ];
    let content = prop_oneof![
        Just(Content::Deleted),
        (0..3_u8).prop_map(|value| put(&[value])),
        Just(put(b""))
    ];
    (0..3_usize, content, 1..6_i64, 0..3_u8, base).prop_map(|(name, content, timestamp, author, base)| {
        record(["a", "b", "c"][name], content, nanos(timestamp), author, base)
    })
}

fn one_key() -> impl Strategy<Value = Record> {
    colliding_record().prop_map(|record| Record {
        key: key("a"),
        ..record
    })
}

fn any_key() -> impl Strategy<Value = Key> {
    let text = prop_oneof![
        any::<String>(),
        "[ -~]{1,300}",
        ".{1,70}",
        Just("🔑".repeat(KEY_BYTES_MAX / 4))
    ];
    text.prop_filter_map("not a key", |text| Key::new(text).ok())
}

fn any_content() -> impl Strategy<Value = Content> {
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        any::<String>().prop_map(String::into_bytes),
        prop::collection::vec(0..0x20_u8, 0..50)
    ];
    prop_oneof![
        4 => value.prop_map(|bytes| Content::Put(Value::new(bytes).unwrap())),
        1 => Just(Content::Deleted)
    ]
}

fn any_timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![1..=i64::MAX, Just(1), Just(i64::MAX), 1..10 * SECOND].prop_map(nanos)
}

fn any_record() -> impl Strategy<Value = Record> {
    let base = prop_oneof![
        Just(Base::Unknown),
        Just(Base::Nothing),
        any_timestamp().prop_map(Base::Version)
    ];
    (any_key(), any_content(), any_timestamp(), base).prop_map(|(key, content, timestamp, base)| Record {
        key,
        content,
        timestamp,
        author: node(1),
        base,
    })
}

/// What is held after `incoming` met `held`.
fn merged<'a>(held: &'a Record, incoming: &'a Record) -> &'a Record {
    if merge(Some(held), incoming).stores_incoming() {
        incoming
    } else {
        held
    }
}

fn lost_unseen(merged: Merge) -> bool {
    matches!(
        merged,
        Merge::Replaced { lost_unseen: true } | Merge::Kept { lost_unseen: true }
    )
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in one_key(), b in one_key(), c in one_key()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(merged(&a, &b), &c), merged(&a, merged(&b, &c)));
        prop_assert_eq!(merge(Some(&a), &a), Merge::Same);
        prop_assert_eq!(merge(None, &a), Merge::Inserted);
    }

    /// However a program writes an instant, of the ways that are taken, it is that instant; and with anything else in its
    /// place it is none.
    #[test]
    fn an_instant_is_the_same_in_every_way_to_write_it(
        nanos in 1_i64..=i64::MAX - 86_400_000_000_000,
        zone in -23_i64..=23,
        style in (0..3_usize, any::<bool>(), 0..3_usize),
        (place, other) in (0..36_usize, any::<char>()),
    ) {
        let utc = Timestamp::from_nanos(nanos).unwrap();
        // The wall clock in that zone, as its own text in UTC.
        let Ok(wall) = Timestamp::from_nanos(nanos + zone * 3_600_000_000_000) else { return Ok(()) };
        let mut text = wall.to_string().replace('T', ["T", "t", " "][style.0]);
        prop_assert_eq!(text.pop(), Some('Z'));
        if style.1 {
            text = text.replace('.', ",");
        }
        let (sign, hours) = (if zone < 0 { '-' } else { '+' }, zone.abs());
        text.push_str(&match style.2 {
            0 => format!("{sign}{hours:02}:00"),
            1 => format!("{sign}{hours:02}00"),
            _ => format!("{sign}{hours:02}"),
        });
        prop_assert_eq!(text.parse(), Ok(utc), "{}", &text);
        // One character changed: nothing panics, and what is still an instant is another one, or the same in other words.
        let changed: String = text.chars().enumerate().map(|(n, c)| if n == place { other } else { c }).collect();
        if let Ok(timestamp) = changed.parse::<Timestamp>() {
            prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        }
    }

    #[test]
    fn precedence_is_a_total_order_in_which_only_the_same_is_equal(a in one_key(), b in one_key(), c in one_key()) {
        prop_assert_eq!(a.precedence(&b), b.precedence(&a).reverse());
        prop_assert_eq!(a.precedence(&b) == Ordering::Equal, a == b);
        prop_assert_eq!(a.digest() == b.digest(), a == b);
        if a.precedence(&b) != Ordering::Greater && b.precedence(&c) != Ordering::Greater {
            prop_assert_ne!(a.precedence(&c), Ordering::Greater);
        }
    }

    #[test]
    fn both_sides_agree_on_who_lost_unseen(a in one_key(), b in one_key()) {
        prop_assert_eq!(lost_unseen(merge(Some(&a), &b)), lost_unseen(merge(Some(&b), &a)));
    }

    #[test]
    fn what_is_encoded_is_decoded_unchanged(records in prop::collection::vec(any_record(), 1..5)) {
        let changes = decode(&encode(&records)).unwrap();
        let decoded: Vec<_> = changes.into_iter().map(|change| change.by(node(1))).collect();
        prop_assert_eq!(decoded, records);
    }

    #[test]
    fn every_nanosecond_survives_the_text_form(timestamp in any_timestamp()) {
        prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
        prop_assert_eq!(Base::Version(timestamp).to_text().unwrap().parse(), Ok(Base::Version(timestamp)));
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Write {
        node: usize,
        key: usize,
        content: Content,
    },
    /// The record with this index, modulo how many there are, reaches the node. May be its own, and may be repeated.
    Deliver {
        node: usize,
        record: prop::sample::Index,
    },
    /// From a node whose clock is wrong by this many seconds.
    DeliverForeign {
        node: usize,
        key: usize,
        ahead: i64,
    },
    /// Forward or back.
    StepWall {
        node: usize,
        millis: i64,
    },
    Restart {
        node: usize,
    },
}

const NODES: usize = 3;

fn operation() -> impl Strategy<Value = Operation> {
    let node = 0..NODES;
    let key = 0..3_usize;
    let content = prop_oneof![3 => (0..3_u8).prop_map(|value| put(&[value])), 1 => Just(Content::Deleted)];
    let millis = prop_oneof![0..2_i64, -100..100_i64, -200_000..200_000_i64];
    prop_oneof![
        6 => (node.clone(), key.clone(), content).prop_map(|(node, key, content)| Operation::Write { node, key, content }),
        6 => (node.clone(), any::<prop::sample::Index>()).prop_map(|(node, record)| Operation::Deliver { node, record }),
        1 => (node.clone(), key, -300..300_i64).prop_map(|(node, key, ahead)| Operation::DeliverForeign { node, key, ahead }),
        3 => (node.clone(), millis).prop_map(|(node, millis)| Operation::StepWall { node, millis }),
        1 => node.prop_map(|node| Operation::Restart { node })
    ]
}

fn step(wall: Timestamp, millis: i64) -> Timestamp {
    nanos(wall.as_nanos() + millis * 1_000_000)
}

proptest! {
    #![proptest_config(cases(256))]

    /// The laws of a node hold at every step (see [`Node`]), and whatever was lost on the way, once everything was
    /// delivered in any order, all hold the same: the winners among everything ever written.
    #[test]
    fn whatever_happens_no_key_and_no_clock_goes_back_and_all_end_equal(
        operations in prop::collection::vec(operation(), 0..60),
        orders in prop::collection::vec(any::<u64>(), NODES),
    ) {
        let keys = [key("a"), key("b"), key("c")];
        let mut nodes: Vec<_> = (0..NODES).map(|number| Node::new(u8::try_from(number).unwrap())).collect();
        let mut written: Vec<Record> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Write { node, key, content } => written.extend(nodes[node].write(&keys[key], content)),
                Operation::Deliver { .. } if written.is_empty() => {}
                Operation::Deliver { node, record } => drop(nodes[node].receive(&written[record.index(written.len())])),
                Operation::DeliverForeign { node, key, ahead } => {
                    let timestamp = step(nodes[node].wall, ahead * 1_000);
                    let foreign = record(keys[key].as_str(), put(b"foreign"), timestamp, 9, Base::Unknown);
                    nodes[node].receive(&foreign);
                    written.push(foreign);
                }
                Operation::StepWall { node, millis } => nodes[node].wall = step(nodes[node].wall, millis),
                Operation::Restart { node } => nodes[node].restart(),
            }
        }
        let model = winners(&written);
        for (node, order) in nodes.iter_mut().zip(orders) {
            support::Random::new(order).shuffle(&mut written);
            for record in &written {
                node.receive(record);
            }
            prop_assert_eq!(node.held(), model.clone());
        }
    }

    #[test]
    fn records_of_any_origin_end_equal_in_any_order(
        (first, second) in prop::collection::vec(colliding_record(), 0..40)
            .prop_flat_map(|records| (Just(records.clone()).prop_shuffle(), Just(records).prop_shuffle())),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let (mut a, mut b) = (Node::new(1), Node::new(2));
        for record in &first {
            a.receive(record);
        }
        for record in &second {
            b.receive(record);
        }
        for index in repeated {
            if !second.is_empty() {
                prop_assert!(!b.receive(index.get(&second)).stores_incoming(), "what was received once changes nothing again");
            }
        }
        prop_assert_eq!(a.held(), b.held());
        prop_assert_eq!(a.held(), winners(&first));
    }

    #[test]
    fn a_history_in_which_each_write_has_seen_the_one_before_loses_nothing(
        steps in prop::collection::vec((0..NODES, any::<bool>(), -100_000..100_000_i64), 1..12),
        order in any::<u64>(),
    ) {
        let mut nodes: Vec<_> = (0..NODES).map(|number| Node::new(u8::try_from(number).unwrap())).collect();
        let mut history: Vec<Record> = Vec::new();
        for (number, (node, delete, millis)) in steps.into_iter().enumerate() {
            let node = &mut nodes[node];
            node.wall = step(node.wall, millis);
            if let Some(last) = history.last() {
                node.receive(last);
            }
            let content = if delete { Content::Deleted } else { put(&[u8::try_from(number).unwrap()]) };
            history.extend(node.write(&key("a"), content));
        }
        let newest = history.last().cloned();
        support::Random::new(order).shuffle(&mut history);
        let mut observer = Node::new(9);
        for record in &history {
            let merged = observer.receive(record);
            prop_assert!(!lost_unseen(merged), "{record:?}: {merged:?}");
        }
        prop_assert_eq!(observer.store.get(&key("a")).unwrap(), newest);
    }

    #[test]
    fn of_two_concurrent_writes_on_one_base_the_loser_is_reported(
        base in prop::option::of(any::<bool>()),
        (skew_a, skew_b) in (-50_000..50_000_i64, -50_000..50_000_i64),
        deletes in any::<bool>(),
        swap in any::<bool>(),
    ) {
        let (mut a, mut b) = (Node::new(1), Node::new(2));
        let mut known = Vec::new();
        if let Some(deleted) = base {
            known.extend(a.write(&key("a"), put(b"base")));
            if deleted {
                known.extend(a.write(&key("a"), Content::Deleted));
            }
            b.receive(known.last().unwrap());
        }
        a.wall = step(a.wall, skew_a);
        b.wall = step(b.wall, skew_b);
        let by_a = a.write(&key("a"), put(b"by a")).unwrap();
        // A deletion of what is not there is no write at all.
        let content = if deletes && base == Some(false) { Content::Deleted } else { put(b"by b") };
        let by_b = b.write(&key("a"), content).unwrap();
        let (first, second) = if swap { (&by_b, &by_a) } else { (&by_a, &by_b) };
        let mut observer = Node::new(9);
        for record in known.iter().chain([first]) {
            let merged = observer.receive(record);
            prop_assert!(!lost_unseen(merged), "{merged:?}");
        }
        let merged = observer.receive(second);
        prop_assert!(lost_unseen(merged), "{merged:?}");
    }
}

#[test]
fn a_write_on_an_unknown_base_never_proves_a_loss() {
    let held = record("a", put(b"1"), nanos(5), 1, Base::Nothing);
    let unknown = record("a", put(b"2"), nanos(6), 2, Base::Unknown);
    assert_eq!(merge(Some(&held), &unknown), Merge::Replaced { lost_unseen: false });
    assert_eq!(merge(Some(&unknown), &held), Merge::Kept { lost_unseen: false });
}

#[test]
fn a_node_that_was_far_ahead_is_punctual_again_after_its_clock_is_set_right() {
    let mut node = Node::new(1);
    let right = node.wall;
    node.wall = right.saturating_add(Duration::from_secs(365 * 86_400));
    node.write(&key("a"), put(b"early")).unwrap();
    node.restart();
    node.wall = right;
    let next = node.write(&key("b"), put(b"right")).unwrap();
    assert_eq!(next.timestamp, right.saturating_add(CLOCK_LEAD_MAX).next().unwrap());
    let again = node.write(&key("a"), put(b"still wins")).unwrap();
    assert!(again.timestamp > right.saturating_add(Duration::from_secs(364 * 86_400)));
}
