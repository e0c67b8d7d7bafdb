//! What becomes of writes that a folded floor covers: none of them goes without being counted, and nothing else is counted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

mod observed;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use observed::Node;
use p2p_sync_core::limits::SEEN_AUTHORS_MAX;
use p2p_sync_core::store::Store;
use p2p_sync_core::versions::{Merge, Merged};
use p2p_sync_core::{NodeId, Record, Seen, Timestamp, Versions};
use proptest::prelude::*;
use support::{Random, Saw, key, nanos, node, put, rank, record};

type Rank = (Timestamp, NodeId, [u8; 32]);

/// A version of author 1 at 50 with a floor, and entries of others.
fn floored(floor: i64, others: &[(u8, i64)]) -> Record {
    let others = others.iter().map(|(author, seen)| (node(*author), nanos(*seen)));
    Record {
        seen: Seen::new(Some(nanos(floor)), others.collect()).unwrap(),
        ..written(50, 1, Saw::Nothing)
    }
}

fn written(timestamp: i64, author: u8, saw: Saw) -> Record {
    record("a", put(b""), nanos(timestamp), author, saw)
}

/// What is folded when the second of two versions meets the first, and when the first meets the second.
fn folded_both_ways(older: &Record, newer: &Record) -> [Vec<Record>; 2] {
    [(older, newer), (newer, older)].map(|(first, second)| {
        let mut versions = Versions::of([first.clone()]);
        let folded = versions.merge(second).folded;
        assert_eq!(versions.all(), std::slice::from_ref(newer));
        folded
    })
}

#[test]
fn what_a_floor_alone_covers_is_counted_whichever_of_the_two_is_held() {
    let old = written(20, 2, Saw::Nothing);
    let counted = [vec![old.clone()], vec![old.clone()]];
    for newer in [floored(20, &[]), floored(30, &[(3, 40)]), floored(48, &[])] {
        assert_eq!(folded_both_ways(&old, &newer), counted, "{newer:?}");
    }
}

#[test]
fn what_was_seen_or_is_meant_to_be_overwritten_is_not_counted() {
    let nothing = [vec![], vec![]];
    let old = written(20, 2, Saw::Nothing);
    // An entry says that its author had been seen; this one that everything older is overwritten.
    for newer in [floored(10, &[(2, 20)]), floored(30, &[(2, 40)]), floored(49, &[])] {
        assert_eq!(folded_both_ways(&old, &newer), nothing, "{newer:?}");
    }
    assert_eq!(
        folded_both_ways(&old, &written(50, 1, Saw::AllOlder)),
        nothing,
        "a message of three fields"
    );
    assert_eq!(
        folded_both_ways(&written(20, 1, Saw::Nothing), &floored(30, &[])),
        nothing,
        "an own version"
    );
    // It is not covered at all.
    let mut versions = Versions::of([floored(10, &[])]);
    let merged = versions.merge(&old);
    assert_eq!((merged.merge, merged.folded), (Merge::Conflicts, vec![]));
    let merged = versions.merge(&old);
    assert_eq!((merged.merge, merged.folded), (Merge::Same, vec![]));
}

#[test]
fn of_several_that_one_replaces_those_are_counted_that_nobody_has_seen() {
    let old: Vec<Record> = (2..6).map(|author| written(20, author, Saw::Nothing)).collect();
    let mut versions = Versions::of(old.clone());
    let newer = floored(20, &[(3, 20 + 1), (5, 40)]);
    let Merged { merge, folded, dropped } = versions.merge(&newer);
    assert_eq!((merge, dropped), (Merge::Won { over_unseen: false }, 0));
    assert_eq!(folded, [old[0].clone(), old[2].clone()]);
    assert_eq!(versions.all(), [newer]);
}

#[test]
fn one_version_that_has_seen_it_is_enough_not_to_count_it() {
    let old = written(20, 2, Saw::Nothing);
    let folding = floored(30, &[]);
    let seeing = written(45, 3, Saw::Of(vec![(2, nanos(20))]));
    let meaning = written(40, 4, Saw::AllOlder);
    for proper in [seeing, meaning] {
        let mut versions = Versions::of([folding.clone(), proper]);
        assert_eq!(versions.all().len(), 2);
        let merged = versions.merge(&old);
        assert_eq!((merged.merge, merged.folded), (Merge::Covered, vec![]));
    }
    // Two that cover it by their floors are no better than one.
    let also = Record {
        author: node(5),
        ..folding.clone()
    };
    let mut versions = Versions::of([folding, also]);
    assert_eq!(versions.merge(&old).folded, [old]);
}

/// Nodes that hear of each other's writes now and then, and an account of who had what.
struct World {
    nodes: Vec<Node>,
    written: Vec<Record>,
    /// What was there when a version was written.
    histories: BTreeMap<Rank, BTreeSet<Rank>>,
}

impl World {
    fn new(nodes: u8) -> Self {
        Self {
            nodes: (0..nodes).map(Node::new).collect(),
            written: Vec::new(),
            histories: BTreeMap::new(),
        }
    }

    fn write(&mut self, node: usize) -> Record {
        let name = key("a");
        let held = self.nodes[node].store.versions(&name).unwrap();
        let content = put(&self.written.len().to_le_bytes());
        let written = self.nodes[node].write(&name, content).unwrap();
        let mut history: BTreeSet<Rank> = held.all().iter().map(rank).collect();
        let before = held
            .all()
            .iter()
            .filter_map(|version| self.histories.get(&rank(version)));
        history.extend(before.flatten());
        self.histories.insert(rank(&written), history);
        self.written.push(written.clone());
        written
    }

    /// One node hears all that another one holds.
    fn tell(&mut self, from: usize, to: usize) {
        for version in self.nodes[from].store.versions(&key("a")).unwrap().all() {
            self.nodes[to].receive(version);
        }
    }

    /// All hear what anybody holds, each in an order of its own.
    fn meet(&mut self, random: &mut Random) {
        let mut held: Vec<Record> = self.nodes.iter().flat_map(|node| node.store.all().cloned()).collect();
        for node in &mut self.nodes {
            random.shuffle(&mut held);
            for version in &held {
                node.receive(version);
            }
        }
    }

    /// Every write is held, or counted, or was there when one was written that is.
    fn check(&self) {
        let told: BTreeSet<Rank> = (self.nodes.iter())
            .flat_map(|node| node.store.all().chain(&node.folded).chain(&node.fallen))
            .map(rank)
            .collect();
        let histories = told.iter().filter_map(|version| self.histories.get(version));
        let accounted: BTreeSet<&Rank> = told.iter().chain(histories.flatten()).collect();
        let lost = self.written.iter().find(|version| !accounted.contains(&rank(version)));
        assert_eq!(lost, None, "nobody who overwrote this had it, or counted it");
    }

    fn folded(&self) -> usize {
        self.nodes.iter().map(|node| node.folded.len()).sum()
    }
}

/// Of each step: who, with whom, whether it writes, and how many milliseconds later. Clocks are wrong, and the same time is common.
fn steps(nodes: usize, count: usize) -> impl Strategy<Value = Vec<(usize, usize, bool, i64)>> {
    let passed = prop_oneof![3 => Just(0), 1 => 0..3_i64];
    prop::collection::vec((0..nodes, 0..nodes, any::<bool>(), passed), 0..count)
}

fn run(nodes: usize, steps: Vec<(usize, usize, bool, i64)>, order: u64) -> World {
    let mut random = Random::new(order);
    let mut world = World::new(u8::try_from(nodes).unwrap());
    for node in &mut world.nodes {
        let skew = i64::try_from(random.below(20)).unwrap() * 1_000_000;
        node.wall = nanos(node.wall.as_nanos() + skew);
    }
    for (node, other, writes, passed) in steps {
        for node in &mut world.nodes {
            node.wall = nanos(node.wall.as_nanos() + passed * 1_000_000);
        }
        if writes {
            world.write(node);
        } else if node != other {
            world.tell(other, node);
        }
    }
    world.meet(&mut random);
    world.check();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn of_what_many_authors_write_nothing_goes_uncounted(
        (nodes, steps) in (18..40_usize).prop_flat_map(|nodes| (Just(nodes), steps(nodes, 300))),
        order in any::<u64>(),
    ) {
        run(nodes, steps, order);
    }

    /// As many as a version can name, its own author besides.
    #[test]
    fn of_what_seventeen_authors_write_nothing_is_counted(
        steps in steps(SEEN_AUTHORS_MAX + 1, 300),
        order in any::<u64>(),
    ) {
        prop_assert_eq!(run(SEEN_AUTHORS_MAX + 1, steps, order).folded(), 0);
    }
}

/// All write the key alone. Most of them then meet in twos, fours and so on, and each time one writes what it has seen; the last
/// eight stay alone until the end.
#[test]
fn forty_authors_each_in_a_partition_of_its_own_lose_nothing_uncounted() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut world = World::new(40);
        let mut order: Vec<usize> = (0..40).collect();
        random.shuffle(&mut order);
        for node in &order {
            let passed = i64::try_from(random.below(1_000)).unwrap();
            let wall = &mut world.nodes[*node].wall;
            *wall = nanos(wall.as_nanos() + passed * 1_000_000);
            world.write(*node);
        }
        for size in [2, 4, 8, 16, 32] {
            for group in order[..32].chunks(size) {
                let (first, rest) = group.split_first().unwrap();
                rest.iter().for_each(|node| world.tell(*node, *first));
                world.write(*first);
                rest.iter().for_each(|node| world.tell(*first, *node));
            }
        }
        world.meet(&mut random);
        world.check();
        let alone: Vec<Record> = (world.written.iter())
            .filter(|version| {
                order[32..]
                    .iter()
                    .any(|author| version.author == node(u8::try_from(*author).unwrap()))
            })
            .filter(|version| world.nodes.iter().any(|node| node.folded.contains(version)))
            .cloned()
            .collect();
        assert!(!alone.is_empty(), "seed {seed}: a floor covers some of those");
    }
}

/// What the others had not seen when they made the floor above it.
#[test]
fn a_write_that_comes_back_below_a_floor_is_counted_by_its_author_and_by_whoever_hears_it() {
    let mut world = World::new(20);
    let unseen = world.write(0);
    let mut last = world.write(1);
    for author in 2..20 {
        world.nodes[author].receive(&last);
        last = world.write(author);
    }
    assert!(last.covers_by_folding(&unseen), "{last:?}");
    world.nodes[0].receive(&last);
    world.nodes[19].receive(&unseen);
    assert_eq!(world.nodes[0].folded, std::slice::from_ref(&unseen));
    assert_eq!(world.nodes[19].folded, [unseen]);
}
