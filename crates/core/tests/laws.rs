//! The laws that merging, the clock and the message format keep for all inputs, not only for those one thinks of.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod observed;
mod support;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use observed::Node;
use p2p_sync_core::limits::{CLOCK_LEAD_MAX, KEY_BYTES_MAX, SEEN_AUTHORS_MAX, VERSIONS_MAX};
use p2p_sync_core::message::{decode, encode};
use p2p_sync_core::store::Store;
use p2p_sync_core::versions::Merge;
use p2p_sync_core::{Content, Key, Record, Seen, Timestamp, Value, Versions};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{Saw, held, key, nanos, node, put, record};

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
    let saw = prop_oneof![
        1 => Just(None),
        3 => (0..6_i64, prop::collection::vec((0..3_u8, 1..6_i64), 0..3)).prop_map(Some)
    ];
    let content = prop_oneof![
        Just(Content::Deleted),
        (0..3_u8).prop_map(|value| put(&[value])),
        Just(put(b""))
    ];
    (0..3_usize, content, 1..6_i64, 0..3_u8, saw).prop_map(|(name, content, timestamp, author, saw)| Record {
        seen: colliding_seen(saw, timestamp, author),
        ..record(["a", "b", "c"][name], content, nanos(timestamp), author, Saw::Nothing)
    })
}

/// What of this may be: earlier than the timestamp, above the floor, and of others.
fn colliding_seen(saw: Option<(i64, Vec<(u8, i64)>)>, timestamp: i64, author: u8) -> Seen {
    let Some((floor, others)) = saw else {
        return Seen::everything_before(nanos(timestamp));
    };
    let floor = floor.min(timestamp - 1);
    let others: BTreeMap<_, _> = others.into_iter().collect();
    let fits = |(other, seen): &(u8, i64)| *other != author && *seen > floor && *seen < timestamp;
    let others = others
        .into_iter()
        .filter(fits)
        .map(|(other, seen)| (node(other), nanos(seen)));
    Seen::new(Timestamp::from_nanos(floor).ok(), others.collect()).unwrap()
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
    let others = prop::collection::btree_map(2..100_u8, any_timestamp(), 0..=SEEN_AUTHORS_MAX);
    let seen = prop::option::of((prop::option::of(any_timestamp()), others));
    (any_key(), any_content(), any_timestamp(), seen).prop_map(|(key, content, timestamp, seen)| Record {
        key,
        content,
        timestamp,
        author: node(1),
        seen: match seen {
            None => Seen::everything_before(timestamp),
            Some((floor, others)) => {
                let floor = floor.min(timestamp.previous());
                let fits = |seen: &Timestamp| Some(*seen) > floor && *seen < timestamp;
                let others = others.into_iter().filter(|(_, seen)| fits(seen));
                Seen::new(floor, others.map(|(other, seen)| (node(other), seen)).collect()).unwrap()
            }
        },
        signature: None,
    })
}

/// All versions that a few nodes, and a program that says nothing of what it has seen, write of one key, of which they hear now and
/// then from each other. Only of such it is true that whoever has seen a version has also seen what that had seen.
fn history() -> impl Strategy<Value = Vec<Record>> {
    let step = (0..4_usize, 0..4_usize, 0..4_i64, 0..10_u8);
    prop::collection::vec(step, 0..24).prop_map(|steps| {
        let mut held = vec![Versions::NONE; 4];
        let (mut all, mut wall) = (Vec::new(), 0);
        for (number, (node, other, passed, kind)) in steps.into_iter().enumerate() {
            wall += passed;
            let author = u8::try_from(node).unwrap();
            let content = put(&[u8::try_from(number).unwrap()]);
            match kind {
                0..5 => {
                    let stamp = wall.max(held[node].latest().map_or(0, Timestamp::as_nanos)) + 1;
                    let written = Record {
                        seen: Seen::by(&support::node(author), held[node].all()),
                        ..record("a", content, nanos(stamp), author, Saw::Nothing)
                    };
                    held[node] = versions([&written]);
                    all.push(written);
                }
                5 => {
                    let foreign = record("a", content, nanos(wall + 1), 9, Saw::AllOlder);
                    held[node].merge(&foreign);
                    all.push(foreign);
                }
                _ => held[node] = merged(&held[node], &held[other].clone()),
            }
        }
        all
    })
}

/// Some of them, in any order.
fn some(all: Vec<Record>) -> impl Strategy<Value = Versions> {
    let count = all.len();
    prop::sample::subsequence(all, 0..=count)
        .prop_shuffle()
        .prop_map(|some| versions(&some))
}

/// What is held of a key where these came, in this order.
fn versions<'a>(records: impl IntoIterator<Item = &'a Record>) -> Versions {
    Versions::of(records.into_iter().cloned())
}

/// What is held after another set was merged in.
fn merged(a: &Versions, b: &Versions) -> Versions {
    versions(a.all().iter().chain(b.all()))
}

proptest! {
    #![proptest_config(cases(512))]

    /// Of five authors at most five versions are held: the bound is not reached.
    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        (a, b, c) in history().prop_flat_map(|all| (some(all.clone()), some(all.clone()), some(all))),
    ) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a);
    }

    #[test]
    fn covering_is_transitive(all in history()) {
        for a in &all {
            for b in all.iter().filter(|b| a.covers(b)) {
                for c in all.iter().filter(|c| b.covers(c)) {
                    prop_assert!(a.covers(c), "{:?}\n{:?}\n{:?}", a, b, c);
                }
            }
        }
    }

    #[test]
    fn covering_is_inside_the_order_whatever_a_version_says(a in one_key(), b in one_key()) {
        prop_assert_eq!(a.covers(&b), support::covers(&a, &b), "as the contract has it");
        if a.covers(&b) {
            prop_assert_eq!(a.precedence(&b), Ordering::Greater);
        }
    }

    /// What lies about what it has seen may get versions lost, but nodes that tell each other what they hold end equal.
    #[test]
    fn whatever_versions_say_nodes_that_exchange_them_end_equal(
        (first, second) in (prop::collection::vec(one_key(), 0..12), prop::collection::vec(one_key(), 0..12)),
    ) {
        let (mut a, mut b) = (versions(&first), versions(&second));
        for _ in 0..VERSIONS_MAX {
            (a, b) = (merged(&a, &b), merged(&b, &a));
        }
        prop_assert_eq!(a, b);
    }

    #[test]
    fn what_is_held_is_what_no_other_covers(records in history().prop_shuffle()) {
        let (mut versions, mut dropped) = (Versions::NONE, 0);
        for record in &records {
            let before = versions.clone();
            let merged = versions.merge(record);
            dropped += merged.dropped;
            // What overwrites everything older says so. Whoever wrote after that has a floor that may be a folded one.
            prop_assert!(records.iter().any(|record| record.author == node(9)) || merged.folded.is_empty());
            prop_assert_eq!(versions.all().contains(record), merged.merge.stores_incoming() || merged.merge == Merge::Same);
            prop_assert_eq!(versions == before, !merged.merge.stores_incoming());
            prop_assert_eq!(versions.winner() == Some(record), matches!(merged.merge, Merge::Won { .. }) || before.winner() == Some(record));
            let is_lost = |version: &&Record| !versions.all().iter().any(|held| held == *version || held.covers(version));
            prop_assert_eq!(before.all().iter().filter(is_lost).count(), 0);
        }
        prop_assert_eq!(dropped, 0);
        prop_assert_eq!(versions.all(), held(&records).remove(&key("a")).unwrap_or_default());
    }

    /// Each of many authors wrote apart: the highest are held, whatever the order, and each one that is not is counted.
    #[test]
    fn beyond_the_bound_the_lowest_fall_and_are_counted(
        stamps in prop::collection::vec(1..50_i64, 0..20),
        order in any::<u64>(),
    ) {
        let write = |(author, stamp): (usize, &i64)| record("a", put(b""), nanos(*stamp), u8::try_from(author).unwrap(), Saw::Nothing);
        let mut records: Vec<Record> = stamps.iter().enumerate().map(write).collect();
        let model = held(&records).remove(&key("a")).unwrap_or_default();
        support::Random::new(order).shuffle(&mut records);
        let (mut versions, mut dropped) = (Versions::NONE, 0);
        for record in &records {
            let merged = versions.merge(record);
            dropped += merged.dropped + usize::from(merged.merge == Merge::BeyondBound);
        }
        prop_assert_eq!(versions.all(), model);
        prop_assert_eq!(versions.all().len() + dropped, records.len());
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
    fn what_is_encoded_is_decoded_unchanged(records in prop::collection::vec(any_record(), 1..5)) {
        let changes = decode(&encode(&records)).unwrap();
        let decoded: Vec<_> = changes.into_iter().map(|change| change.by(node(1))).collect();
        prop_assert_eq!(decoded, records);
    }

    #[test]
    fn every_nanosecond_survives_the_text_form(timestamp in any_timestamp()) {
        prop_assert_eq!(timestamp.to_string().parse(), Ok(timestamp));
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
                    let foreign = record(keys[key].as_str(), put(b"foreign"), timestamp, 9, Saw::AllOlder);
                    nodes[node].receive(&foreign);
                    written.push(foreign);
                }
                Operation::StepWall { node, millis } => nodes[node].wall = step(nodes[node].wall, millis),
                Operation::Restart { node } => nodes[node].restart(),
            }
        }
        let model = held(&written);
        for (node, order) in nodes.iter_mut().zip(orders) {
            support::Random::new(order).shuffle(&mut written);
            for record in &written {
                node.receive(record);
            }
            prop_assert_eq!(node.held(), model.clone());
        }
    }

    #[test]
    fn a_history_ends_equal_in_any_order(
        (first, second) in history().prop_flat_map(|all| (Just(all.clone()).prop_shuffle(), Just(all).prop_shuffle())),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let (mut a, mut b) = (Node::new(11), Node::new(12));
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
        prop_assert_eq!(a.held(), held(&first));
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
            prop_assert!(!merged.is_new_conflict(), "{record:?}: {merged:?}");
        }
        prop_assert_eq!(observer.store.get(&key("a")).unwrap(), newest);
    }

    /// However often either side edits a key while they are apart: of the one that loses, the last edit is a conflict everywhere, and
    /// ends with the next write that has seen it.
    #[test]
    fn of_writes_made_apart_the_last_of_the_loser_is_a_conflict_on_every_node(
        common in 0..3_usize,
        (edits_a, edits_b) in (prop::collection::vec(any::<bool>(), 1..11), prop::collection::vec(any::<bool>(), 1..11)),
        (skew_a, skew_b) in (-50_000..50_000_i64, -50_000..50_000_i64),
        order in any::<u64>(),
    ) {
        let mut nodes = [Node::new(1), Node::new(2), Node::new(3)];
        let mut all = Vec::new();
        for number in 0..common {
            let written = nodes[number % 2].write(&key("a"), put(b"common")).unwrap();
            for node in &mut nodes {
                node.receive(&written);
            }
            all.push(written);
        }
        let mut last = Vec::new();
        for (node, (edits, skew)) in [(edits_a, skew_a), (edits_b, skew_b)].into_iter().enumerate() {
            let node = &mut nodes[node];
            node.wall = step(node.wall, skew);
            let mut own = Vec::new();
            for (number, deletes) in edits.into_iter().enumerate() {
                let content = if deletes { Content::Deleted } else { put(&[u8::try_from(number).unwrap()]) };
                own.extend(node.write(&key("a"), content));
            }
            last.extend(own.last().cloned());
            all.extend(own);
        }
        support::Random::new(order).shuffle(&mut all);
        for node in &mut nodes {
            for record in &all {
                node.receive(record);
            }
        }
        // A deletion of what is not there is no write at all.
        let mut expected: Vec<Record> = last;
        expected.sort_by(Record::precedence);
        for node in &mut nodes {
            let held = node.store.versions(&key("a")).unwrap();
            prop_assert_eq!(held.all(), &expected);
        }
        let settled = nodes[2].write(&key("a"), put(b"settled")).unwrap();
        for node in &mut nodes {
            node.receive(&settled);
            let held = node.store.versions(&key("a")).unwrap();
            prop_assert_eq!(held.all(), std::slice::from_ref(&settled));
        }
    }
}

#[test]
fn many_authors_in_turn_make_no_conflict_name_no_more_than_they_may_and_count_nothing() {
    let mut nodes: Vec<Node> = (0..20).map(Node::new).collect();
    let mut last = nodes[0].write(&key("a"), put(b"0")).unwrap();
    for turn in 1..1_000_usize {
        for node in &mut nodes {
            node.receive(&last);
        }
        let node = &mut nodes[turn % 20];
        last = node.write(&key("a"), put(&turn.to_le_bytes())).unwrap();
        assert_eq!(
            node.store.versions(&key("a")).unwrap().all(),
            std::slice::from_ref(&last)
        );
        assert!(last.seen.others().len() <= SEEN_AUTHORS_MAX);
    }
    assert!(nodes.iter().all(|node| node.folded.is_empty()));
}

/// In each round all write, in another order, each after it has heard the newest version, whatever else it hears, late or again.
#[test]
fn sixteen_authors_that_edit_a_key_a_thousand_times_each_never_conflict_and_need_no_floor() {
    const AUTHORS: usize = SEEN_AUTHORS_MAX;
    let mut random = support::Random::new(16);
    let mut nodes: Vec<Node> = (0..AUTHORS)
        .map(|author| Node::new(u8::try_from(author).unwrap()))
        .collect();
    let mut order: Vec<usize> = (0..AUTHORS).collect();
    let mut history: Vec<Record> = Vec::new();
    for _ in 0..1_000 {
        random.shuffle(&mut order);
        for author in &order {
            let newest = history.last().cloned();
            let late = newest.is_some().then(|| random.pick(&history).clone());
            for heard in late.iter().chain(&newest).chain(&late) {
                let merge = nodes[*author].receive(heard);
                assert!(!merge.is_new_conflict(), "{heard:?}: {merge:?}");
            }
            let written = nodes[*author].write(&key("a"), put(b"turn")).unwrap();
            assert_eq!(
                nodes[*author].store.versions(&key("a")).unwrap().all(),
                std::slice::from_ref(&written)
            );
            let named = written.seen.others().len();
            assert_eq!((written.seen.floor(), named), (None, history.len().min(AUTHORS - 1)));
            history.push(written);
        }
    }
    assert!(nodes.iter().all(|node| node.folded.is_empty()));
    let newest = history.last().cloned().unwrap();
    random.shuffle(&mut history);
    let mut observer = Node::new(99);
    for record in &history {
        assert!(!observer.receive(record).is_new_conflict(), "{record:?}");
    }
    assert_eq!(observer.store.versions(&key("a")).unwrap().all(), [newest]);
    assert_eq!(observer.folded, []);
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
