//! Many nodes, each connected with those that it chose: a write is everywhere within a few hops, nobody sends many copies of it, and
//! after a partition all are equal soon. `P2P_SYNC_SIM_NODES` says how many there are.

use std::collections::BTreeMap;

use crate::from_environment;
use crate::scenario::{Scenario, Shape, chosen_links};
use crate::world::World;

/// Without a number: each node takes 3 MB.
const NODES: u64 = 120;
const SEEDS: u64 = 2;
/// The longest way of a message.
const HOP_MS: usize = 20;
const HOPS_MAX: u64 = 6;
/// What has arrived is committed within this time.
const COMMIT_MS: u64 = 52;
const COPIES_MAX: u64 = 24;
const HEALED_WITHIN_MS: u64 = 30_000;
/// The bounds of a gossip mesh: a node asks others to join until it has so many, and takes in no more than that.
const MESH: usize = 6;
const MESH_MAX: usize = 8;

fn world(seed: u64) -> World {
    let nodes = from_environment("P2P_SYNC_SIM_NODES").unwrap_or(NODES);
    println!("seed {seed}, {nodes} nodes");
    let scenario = Scenario {
        delay_ms_max: HOP_MS,
        ..Scenario::untroubled(usize::try_from(nodes).unwrap(), Shape::Chosen)
    };
    let mut world = World::new(seed, scenario);
    world.run_until(20_000, |_| false);
    mesh(&mut world);
    world
}

/// Gossip picks its mesh among the connected peers; both sides belong to it.
fn mesh(world: &mut World) {
    let mut meshes: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for node in 0..world.nodes.len() {
        let mut peers = world.neighbours(node);
        peers.retain(|peer| world.is_connected(node, *peer));
        world.random.shuffle(&mut peers);
        for peer in peers {
            let count = |node| meshes.get(&node).map_or(0, Vec::len);
            let is_new = !meshes.get(&node).is_some_and(|mesh| mesh.contains(&peer));
            if is_new && count(node) < MESH && count(peer) < MESH_MAX {
                meshes.entry(node).or_default().push(peer);
                meshes.entry(peer).or_default().push(node);
            }
        }
    }
    world.meshes = meshes;
}

/// Writes on a node, and waits until all must have it.
fn write(world: &mut World, node: usize) {
    world.copies.clear();
    let start = world.time;
    world.write_one(node);
    world.run_until(start + HOPS_MAX * HOP_MS as u64 + COMMIT_MS, |_| false);
    assert!(world.all_equal(), "a write of {node} is not on all");
    let most = world.copies.values().max().copied().unwrap_or_default();
    assert!((1..=COPIES_MAX).contains(&most), "{most} copies");
}

#[test]
fn a_write_is_on_all_within_six_hops_and_nobody_sends_many_copies() {
    for seed in 0..SEEDS {
        let mut world = world(seed);
        for _ in 0..5 {
            let node = world.random.below(world.nodes.len());
            write(&mut world, node);
        }
    }
}

#[test]
fn after_a_partition_all_are_equal_within_half_a_minute() {
    for seed in 0..SEEDS {
        let mut world = world(seed);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for node in 0..world.nodes.len() {
            let side = if world.random.percent(50) {
                &mut left
            } else {
                &mut right
            };
            side.push(node);
        }
        for (a, b) in world.links.clone() {
            if left.contains(&a) != left.contains(&b) {
                world.cut.extend([(a, b), (b, a)]);
            }
        }
        // Each side finds others among its own.
        for side in [&left, &right] {
            let links = chosen_links(side, &mut world.random);
            world.links.extend(links);
        }
        world.update_connections();
        world.run_until(world.time + 10_000, |_| false);
        mesh(&mut world);
        for node in [left[0], right[0], left[left.len() / 2], right[right.len() / 2]] {
            world.write_one(node);
        }
        world.run_until(world.time + 5_000, |_| false);
        assert!(!world.all_equal(), "nothing is different");
        world.cut.clear();
        world.update_connections();
        world.work_off_agendas();
        let start = world.time;
        world.run_until(start + HEALED_WITHIN_MS, World::all_equal);
        println!("equal {} ms after the partition", world.time - start);
        assert!(world.all_equal(), "seed {seed}");
    }
}
