//! Thousands of small disasters, after each of which all replicas hold what they should. And the proof that the
//! simulator would notice if they did not: rules with a known fault fail in it.
//!
//! `P2P_SYNC_SIM_SEEDS=N` runs N seeds in place of 300, `P2P_SYNC_SIM_SEED=S` runs that one only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "the seeds to run come from the environment")]

mod simulator;
mod support;

use std::cmp::Reverse;

use p2p_sync_core::replica::Replica;
use p2p_sync_core::{Clock, NodeId, Record, Timestamp};
use simulator::rules::{Faulty, rank};
use simulator::{Outcome, run};

const SEEDS: u64 = 300;
/// Within how many seeds every fault has to show.
const SEEDS_FOR_A_FAULT: u64 = 50;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

fn real(id: NodeId, last: Option<Timestamp>) -> Replica {
    Replica::new(id, Clock::new(last))
}

#[test]
fn replicas_converge_on_every_write_and_never_go_back() {
    let seeds = match setting("P2P_SYNC_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("P2P_SYNC_SIM_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        if let Err(failure) = run(seed, real) {
            panic!("{failure}\nseed {seed}; to see it again: P2P_SYNC_SIM_SEED={seed} cargo test --test convergence");
        }
    }
}

#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in 0..5 {
        assert_eq!(run(seed, real).ok(), run(seed, real).ok());
    }
}

#[test]
fn everything_that_can_go_wrong_does() {
    let all: Vec<Outcome> = (0..60).filter_map(|seed| run(seed, real).ok()).collect();
    assert_eq!(all.len(), 60);
    type Count = fn(&Outcome) -> usize;
    let happened: [(&str, Count); 9] = [
        ("writes", |outcome| outcome.writes),
        ("unacknowledged writes", |outcome| outcome.unacknowledged),
        ("ties", |outcome| outcome.ties),
        ("messages lost", |outcome| outcome.lost),
        ("messages repeated", |outcome| outcome.repeated),
        ("batches", |outcome| outcome.batches),
        ("messages refused", |outcome| outcome.refused),
        ("restarts", |outcome| outcome.restarts),
        ("clocks set back", |outcome| outcome.steps_back),
    ];
    for (name, count) in happened {
        let seeds = all.iter().filter(|outcome| count(outcome) > 0).count();
        assert!(seeds >= 10, "{name} in {seeds} of 60 seeds");
    }
}

/// How soon rules with this fault fail: the first seed.
fn first_seed_that_catches(fault: impl Fn(&mut Faulty)) -> Option<u64> {
    let start = |id, last| {
        let mut rules = Faulty::none(id, last);
        fault(&mut rules);
        rules
    };
    (0..SEEDS_FOR_A_FAULT).find(|seed| run(*seed, start).is_err())
}

fn caught(fault: impl Fn(&mut Faulty)) -> bool {
    first_seed_that_catches(fault).is_some()
}

#[test]
fn rules_without_a_fault_pass() {
    assert_eq!(
        first_seed_that_catches(|_| {}),
        None,
        "so what follows is due to the faults alone"
    );
}

#[test]
fn a_merge_that_always_overwrites_is_caught() {
    assert!(caught(|rules| rules.wins = |_, _| true));
}

#[test]
fn a_merge_that_keeps_what_came_first_is_caught() {
    assert!(caught(|rules| rules.wins = |_, _| false));
}

#[test]
fn a_merge_that_runs_backwards_is_caught() {
    assert!(caught(|rules| rules.wins = |held, incoming| rank(incoming) < rank(held)));
}

#[test]
fn a_merge_that_compares_milliseconds_is_caught() {
    fn millis(record: &Record) -> i64 {
        record.timestamp.as_nanos() / 1_000_000
    }
    assert!(caught(
        |rules| rules.wins = |held, incoming| millis(incoming) > millis(held)
    ));
}

#[test]
fn a_merge_that_leaves_ties_between_authors_to_the_order_of_arrival_is_caught() {
    assert!(caught(
        |rules| rules.wins = |held, incoming| incoming.timestamp > held.timestamp
    ));
    assert!(caught(
        |rules| rules.wins = |held, incoming| incoming.timestamp >= held.timestamp
    ));
}

#[test]
fn a_merge_that_lets_the_smaller_author_win_a_tie_is_caught_by_the_model() {
    fn rank(record: &Record) -> (Timestamp, Reverse<NodeId>) {
        (record.timestamp, Reverse(record.author))
    }
    assert!(caught(|rules| rules.wins = |held, incoming| rank(incoming) > rank(held)));
}

#[test]
fn a_clock_that_ignores_what_it_has_seen_is_caught() {
    assert!(caught(|rules| rules.minds_what_it_has_seen = false));
}

#[test]
fn deletions_that_are_dropped_on_arrival_are_caught() {
    assert!(caught(|rules| rules.keeps_deletions = false));
}
