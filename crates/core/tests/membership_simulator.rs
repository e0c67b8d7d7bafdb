//! The membership of a private network in a world of its own: entries in any order, any number of times, or not at all;
//! partitions; admins that act at the same time and against each other; keys that sign what they may not.
//!
//! Oracles: a naive model of the rules, written separately; no junior lowers a senior; nothing that was taken from a key returns
//! to it without a reason; in the end all nodes hold the same entries, those that the bounds leave, and agree on who is in.
//!
//! `P2P_SYNC_MEMBERS_SEEDS=1000000` runs so many seeds, from `P2P_SYNC_MEMBERS_FIRST` on; `P2P_SYNC_MEMBERS_SEED=7` just that one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, missing_docs)]

#[path = "membership_simulator/model.rs"]
mod model;
mod support;
#[path = "membership_simulator/world.rs"]
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use world::{Tally, World};

#[allow(clippy::disallowed_methods, reason = "the number of seeds is the caller's choice")]
fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Tells, when a world fails, how to run just that one again.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!(
                "P2P_SYNC_MEMBERS_SEED={} cargo test --test membership_simulator",
                self.0
            );
        }
    }
}

fn run(seed: u64) -> Tally {
    let _named = Named(seed);
    World::new(seed).run()
}

#[test]
fn all_nodes_agree_on_who_is_in() {
    if let Some(seed) = from_environment("P2P_SYNC_MEMBERS_SEED") {
        println!("{:?}", run(seed));
        return;
    }
    let seeds = from_environment("P2P_SYNC_MEMBERS_SEEDS").unwrap_or(10_000);
    let first = from_environment("P2P_SYNC_MEMBERS_FIRST").unwrap_or(0);
    let (next, total) = (AtomicU64::new(first), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    let tally = run(seed);
                    let mut total = total.lock().unwrap();
                    tally.0.iter().for_each(|(what, times)| total.add(what, *times));
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    println!("{seeds} seeds from {first}: {total:?}");
    // A world in which nothing happened proves nothing.
    if seeds >= 10_000 {
        for what in [
            "new",
            "known",
            "crowded",
            "without a chain",
            "out",
            "second admins",
            "void",
            "mutual removals",
            "leaves",
            "records closed",
            "returned with a reason",
        ] {
            assert!(total.0.get(what).is_some_and(|times| *times > 100), "{what}: {total:?}");
        }
    }
}
