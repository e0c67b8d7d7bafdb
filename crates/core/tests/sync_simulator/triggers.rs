//! Each reason for a session by itself, in a world where nothing else goes wrong: it must bring everybody what was
//! missed, and in time. Gossip brings nothing in any of these.

use crate::scenario::{Scenario, Shape};
use crate::support::{Saw, put, record};
use crate::world::World;

/// A world in which everybody has met everybody that there is to meet.
fn settled(seed: u64, scenario: Scenario) -> World {
    let loss_percent = 100;
    let mut world = World::new(
        seed,
        Scenario {
            loss_percent,
            ..scenario
        },
    );
    world.run_until(20_000, |_| false);
    assert!(world.all_equal());
    world
}

fn equal_within(world: &mut World, millis: u64, what: &str) {
    world.work_off_agendas();
    let start = world.time;
    world.run_until(start + millis, World::all_equal);
    assert!(world.all_equal(), "{what}: not within {millis} ms");
}

fn for_each_seed(test: impl Fn(u64)) {
    (0..20).for_each(test);
}

#[test]
fn those_who_meet_become_equal_and_so_does_a_chain_behind_them() {
    for_each_seed(|seed| {
        let chain = Scenario {
            imported: 300,
            ..Scenario::untroubled(6, Shape::Chain)
        };
        let mut world = World::new(seed, chain);
        equal_within(&mut world, 15_000, "a chain of six");
    });
}

#[test]
fn what_the_gossip_lost_is_found_behind_the_last_change() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(3, Shape::Full));
        world.write_one(1);
        equal_within(&mut world, 3_000, "two peers");
    });
}

#[test]
fn a_burst_is_fed_to_direct_peers_at_once_and_goes_on_from_them() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(2, Shape::Full));
        world.write_many(0);
        equal_within(&mut world, 500, "a direct peer");
        let mut world = settled(seed, Scenario::untroubled(6, Shape::Chain));
        world.write_many(0);
        equal_within(&mut world, 10_000, "a chain of six");
    });
}

#[test]
fn whoever_is_too_slow_for_the_feed_is_owed_a_session() {
    for_each_seed(|seed| {
        let slow = Scenario {
            feed_room: 0,
            ..Scenario::untroubled(2, Shape::Full)
        };
        let mut world = settled(seed, slow);
        world.write_many(0);
        assert!(world.tally.feeds_too_slow > 0);
        equal_within(&mut world, 800, "the one that was dropped");
    });
}

#[test]
fn what_breaks_off_is_tried_again() {
    for_each_seed(|seed| {
        let breaking = Scenario {
            imported: 300,
            break_permille: 1_000,
            trouble_ms: 100_000,
            ..Scenario::untroubled(2, Shape::Full)
        };
        let mut world = World::new(seed, breaking);
        world.run_until(3_500, |_| false);
        assert!(!world.all_equal());
        world.scenario.break_permille = 0;
        equal_within(&mut world, 4_500, "when nothing breaks any longer");
    });
}

#[test]
fn a_star_hears_in_rounds_what_one_of_its_points_wrote() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(30, Shape::Star));
        world.write_one(7);
        equal_within(&mut world, 15_000, "thirty nodes");
    });
}

#[test]
fn two_halves_become_equal_when_they_meet_again() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(4, Shape::Full));
        world
            .cut
            .extend([0, 1].into_iter().flat_map(|a| [(a, 2), (a, 3), (2, a), (3, a)]));
        world.update_connections();
        for node in 0..4 {
            (0..20).for_each(|_| world.write_one(node));
        }
        world.work_off_agendas();
        let until = world.time + 30_000;
        world.run_until(until, |_| false);
        assert!(!world.all_equal());
        world.cut.clear();
        world.update_connections();
        equal_within(&mut world, 5_000, "both halves");
    });
}

#[test]
fn what_nobody_noticed_is_found_in_the_end() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(2, Shape::Full));
        let unnoticed = record("unnoticed", put(b""), world.now(0), 0, Saw::Nothing);
        world.nodes[0].store.merge(&unnoticed);
        equal_within(&mut world, 61_000, "a check without a reason");
    });
}

#[test]
fn what_is_dated_ahead_arrives_when_its_time_has_come() {
    for_each_seed(|seed| {
        let mut world = settled(seed, Scenario::untroubled(2, Shape::Full));
        world.nodes[0].skew = 540_000_000_000;
        world.write_one(0);
        let written = world.time;
        equal_within(&mut world, 425_000, "nine minutes ahead, two of which are borne with");
        assert!(world.time - written >= 419_000);
        // The same, but the receiver's clock is set to where the writer's is.
        world.nodes[0].skew = 100_540_000_000_000;
        world.write_one(0);
        world.work_off_agendas();
        let until = world.time + 70_000;
        world.run_until(until, |_| false);
        assert!(!world.all_equal());
        world.nodes[1].skew = 100_540_000_000_000;
        equal_within(&mut world, 2_000, "a clock that is set");
    });
}
