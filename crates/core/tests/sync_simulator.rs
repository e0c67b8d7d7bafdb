//! The sync in a world of its own: seeded, replayable, with its own clock and network, and with nothing spared: loss,
//! repetition, reordering, partitions both ways and one way, streams that break off, crashes with what was not committed
//! yet, lost, damaged and full disks, clocks that are years off or step, feeds that are too slow, and peers that lie. Who holds
//! a session with whom, and when, is decided by the agendas alone.
//!
//! Oracles: no version at any node ever goes down; digests that were said to be equal were equal; no honest peer breaks
//! a rule or leaves both sides waiting for each other; a session holds no more memory than it may; in the end all
//! honest nodes hold the same records: of every key the version that wins among all that were written; no write of an honest node
//! is gone that was neither overwritten by somebody who had it, by the world's own account, nor counted; and then they are quiet.
//!
//! `P2P_SYNC_SIM_SEEDS=1000` runs so many seeds, from `P2P_SYNC_SIM_FIRST` on, on `P2P_SYNC_SIM_THREADS` threads;
//! `P2P_SYNC_SIM_SEED=7` just that one. `P2P_SYNC_SIM_NODES=1000` runs the networks of many nodes with so many.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

#[path = "sync_simulator/connections.rs"]
mod connections;
#[path = "sync_simulator/feeds.rs"]
mod feeds;
#[path = "sync_simulator/liar.rs"]
mod liar;
#[path = "sync_simulator/many.rs"]
mod many;
#[path = "sync_simulator/node.rs"]
mod node;
#[path = "sync_simulator/oracles.rs"]
mod oracles;
#[path = "sync_simulator/private.rs"]
mod private;
#[path = "sync_simulator/scenario.rs"]
mod scenario;
#[path = "sync_simulator/slow_liar.rs"]
mod slow_liar;
#[path = "sync_simulator/streams.rs"]
mod streams;
mod support;
#[path = "sync_simulator/triggers.rs"]
mod triggers;
#[path = "sync_simulator/trouble.rs"]
mod trouble;
#[path = "sync_simulator/world.rs"]
mod world;
#[path = "sync_simulator/writes.rs"]
mod writes;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use scenario::Scenario;
use world::{Tally, World};

#[allow(clippy::disallowed_methods, reason = "the number of seeds is the caller's choice")]
fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Tells, when a world fails, how to run just that one again.
struct Named(u64, Scenario);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("P2P_SYNC_SIM_SEED={} {:?}", self.0, self.1);
        }
    }
}

fn run(seed: u64) -> Tally {
    let named = Named(seed, Scenario::of(seed));
    World::new(seed, named.1.clone()).run()
}

fn run_all(seeds: std::ops::Range<u64>, threads: u64) -> Tally {
    let (next, total) = (AtomicU64::new(seeds.start), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        break;
                    }
                    let tally = run(seed);
                    total.lock().unwrap().add(&tally);
                }
            });
        }
    });
    total.into_inner().unwrap()
}

#[test]
fn honest_nodes_end_equal_whatever_happens() {
    if let Some(seed) = from_environment("P2P_SYNC_SIM_SEED") {
        println!("{:?}", Scenario::of(seed));
        println!("{:?}", run(seed));
        return;
    }
    let seeds = from_environment("P2P_SYNC_SIM_SEEDS").unwrap_or(48);
    let first = from_environment("P2P_SYNC_SIM_FIRST").unwrap_or(0);
    let threads = from_environment("P2P_SYNC_SIM_THREADS").unwrap_or(2);
    let total = run_all(first..first + seeds, threads);
    println!("{seeds} seeds from {first}: {total:?}");
    // A world in which nothing happened proves nothing.
    if seeds >= 48 {
        let happened = [
            total.sessions_equal,
            total.sessions_waiting,
            total.sessions_delivered,
            total.sessions_refused,
            total.sessions_dropped,
            total.streams_broken,
            total.bulks,
            total.violations,
            total.gossip_lost,
            total.tails_lost,
            total.fed,
            total.feeds_too_slow,
            total.damages,
            total.repairs,
            total.no_room,
            total.taken_without_room,
        ];
        assert!(happened.iter().all(|times| *times > 0), "{total:?}");
    }
}

/// A private network: readers write, forgers change what others signed, and removed members go on with records dated years back.
#[test]
fn in_a_private_network_nothing_counts_that_nobody_may_write() {
    let run = |seed| {
        let named = Named(seed, Scenario::of_members(seed));
        World::new(seed, named.1.clone()).run()
    };
    if let Some(seed) = from_environment("P2P_SYNC_SIM_MEMBERS_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = from_environment("P2P_SYNC_SIM_MEMBERS_SEEDS").unwrap_or(24);
    let mut total = Tally::default();
    (0..seeds).for_each(|seed| total.add(&run(seed)));
    println!("{seeds} seeds: {total:?}");
    let happened = [
        total.not_permitted,
        total.wrong_signatures,
        total.aside,
        total.listed,
        total.violations,
        total.bulks,
        total.fed,
    ];
    assert!(happened.iter().all(|times| *times > 0), "{total:?}");
}

/// 41 nodes write five keys. Some of their writes are covered by folded floors alone, and had been seen by nobody: run as one of the
/// worlds above, this one fails if those are not counted.
#[test]
fn what_folded_floors_overwrite_in_a_crowd_is_counted() {
    const CROWD: u64 = 404;
    let scenario = Scenario::of(CROWD);
    assert!((scenario.nodes, scenario.keys, scenario.lost_disks) == (41, 5, false));
    let total = run(CROWD);
    assert!(total.folded > 0, "{total:?}");
}
