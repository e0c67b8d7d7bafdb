//! The sync in a world of its own: seeded, replayable, with its own clock and network, and with nothing spared: loss,
//! repetition, reordering, partitions both ways and one way, streams that break off, crashes, lost disks, clocks that
//! are years off or step back, and peers that lie.
//!
//! Oracles: no version at any node ever goes down; digests that were said to be equal were equal; no honest peer breaks
//! a rule or leaves both sides waiting for each other; a session holds no more memory than it may; and in the end all
//! honest nodes hold the same records: of every key the version that wins among all that were written.
//!
//! `P2P_SYNC_SIM_SEEDS=1000` runs so many seeds, `P2P_SYNC_SIM_SEED=7` just that one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

#[path = "sync_simulator/liar.rs"]
mod liar;
#[path = "sync_simulator/node.rs"]
mod node;
#[path = "sync_simulator/scenario.rs"]
mod scenario;
#[path = "sync_simulator/streams.rs"]
mod streams;
mod support;
#[path = "sync_simulator/world.rs"]
mod world;

use scenario::Scenario;
use world::World;

#[allow(clippy::disallowed_methods, reason = "the number of seeds is the caller's choice")]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run(seed: u64) -> world::Tally {
    let scenario = Scenario::of(seed);
    // What a failing test prints tells how to run just that seed again.
    println!("P2P_SYNC_SIM_SEED={seed} {scenario:?}");
    World::new(seed, scenario).run()
}

#[test]
fn honest_nodes_end_equal_whatever_happens() {
    if let Some(seed) = from_environment("P2P_SYNC_SIM_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = from_environment("P2P_SYNC_SIM_SEEDS").unwrap_or(24);
    let mut total = world::Tally::default();
    for seed in 0..seeds {
        total.add(&run(seed));
    }
    println!("{seeds} seeds: {total:?}");
    // A world in which nothing happened proves nothing.
    assert!(
        total.sessions_equal > seeds && total.sessions_waiting > 0 && total.sessions_delivered > 0,
        "{total:?}"
    );
    assert!(
        total.streams_broken > 0 && total.bulks > 0 && total.violations > 0 && total.gossip_lost > 0,
        "{total:?}"
    );
}
