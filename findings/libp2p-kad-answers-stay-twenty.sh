#!/usr/bin/env bash
# libp2p-kad 0.49.0 with libp2p-identity 0.3.1 (crates): the replication factor and what a node answers to FIND_NODE.
#
# One would guess: a node with `set_replication_factor(3)` names 3 peers. The documentation of `find_closest_local_peers` says that
#   it "only returns number of peers equal to configured replication factor", and answers to others come from there.
# It does: it names the 20 nearest whatever was configured. The same holds for how many peers a bootstrap asks in each of its
#   lookups. Only stored records follow the setting.
# Why it matters: a node that starts among many holds one lookup for each bucket, again after each new peer until it knows 20; with
#   two addresses a peer an answer takes 3 kB. Fifty nodes that started together moved 2 MB each, and no setting made it less: give
#   peers in one go (`BucketInserts::Manual`), and `finish` a lookup that has asked enough (`iter_queries_mut`).
# Seen on 2026-11-29: "replication factor 3: 20 peers named; bucket size 2: 10" (the last number varies with the random ids).
# Exit 0: still so. Needs cargo.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "seen"
version = "0.0.0"
edition = "2021"
[dependencies]
libp2p-kad = "=0.49.0"
libp2p-identity = { version = "=0.3.1", features = ["peerid", "rand", "ed25519"] }
TOML
cat > src/main.rs <<'RS'
use std::num::NonZeroUsize;

use libp2p_identity::PeerId;
use libp2p_kad::store::MemoryStore;
use libp2p_kad::{Behaviour, Config, KBucketKey};

/// How many peers a node names that knows so many.
fn named(config: Config, known: usize) -> usize {
    let me = PeerId::random();
    let mut node = Behaviour::with_config(me, MemoryStore::new(me), config);
    for port in 0..known {
        node.add_address(&PeerId::random(), format!("/ip4/10.0.0.1/tcp/{}", port + 1).parse().unwrap());
    }
    let wanted = KBucketKey::from(PeerId::random());
    let count = node.find_closest_local_peers(&wanted, &PeerId::random()).count();
    count
}

fn main() {
    let mut three = Config::default();
    three.set_replication_factor(NonZeroUsize::new(3).unwrap());
    let mut small = Config::default();
    small.set_kbucket_size(NonZeroUsize::new(2).unwrap());
    let (three, small) = (named(three, 60), named(small, 60));
    println!("replication factor 3: {three} peers named; bucket size 2: {small}");
    assert_eq!(three, 20);
    assert!(small <= 14);
}
RS
cargo run --quiet
