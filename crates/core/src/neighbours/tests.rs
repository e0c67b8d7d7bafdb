//! The choice of one node, and the graph that the choices of all make.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// Networks that are tried, unless `P2P_SYNC_SIM_SEEDS` says how many.
const SEEDS: u64 = 400;

fn node(random: &mut SplitMix64) -> Position {
    Position::of(&random.draw().to_le_bytes())
}

fn known(count: usize, random: &mut SplitMix64) -> Vec<Known> {
    let one = |_| Known {
        position: node(random),
        is_there: true,
    };
    (0..count).map(one).collect()
}

fn minutes(count: u64) -> Uptime {
    Uptime(Duration::from_secs(60 * count))
}

fn some(wanted: Wanted) -> BTreeSet<Position> {
    match wanted {
        Wanted::Some(wanted) => wanted,
        Wanted::Everybody => panic!("everybody"),
    }
}

#[test]
fn a_small_network_is_fully_connected_and_its_bound_is_no_edge() {
    let mut random = SplitMix64::new(1);
    let mut neighbours = Neighbours::new(node(&mut random), 1);
    let all = known(30, &mut random);
    let mut is_full = |count| neighbours.choose(&all[..count], minutes(0)) == Wanted::Everybody;
    assert!((0..=28).all(&mut is_full));
    assert!(!is_full(29));
    assert!((25..=29).all(|count| !is_full(count)), "not for one that left");
    assert!(is_full(24));
    assert!(is_full(28));
}

#[test]
fn the_nearest_are_chosen_and_as_many_by_lot() {
    for seed in 0..50 {
        let mut random = SplitMix64::new(seed);
        let own = node(&mut random);
        let mut neighbours = Neighbours::new(own, seed);
        let mut all = known(100, &mut random);
        let wanted = some(neighbours.choose(&all, minutes(0)));
        assert_eq!(wanted.len(), NEAREST_PEERS + DRAWN_PEERS);
        all.sort_by_key(|peer| own.distance(peer.position));
        assert!(
            all.iter()
                .take(NEAREST_PEERS)
                .all(|peer| wanted.contains(&peer.position))
        );
        let other = some(Neighbours::new(own, seed + 1).choose(&all, minutes(0)));
        assert!(
            wanted.intersection(&other).count() < wanted.len(),
            "nobody else knows the lots"
        );
    }
}

#[test]
fn lots_are_drawn_anew_one_by_one_and_all_within_ten_minutes() {
    let mut random = SplitMix64::new(3);
    let mut neighbours = Neighbours::new(node(&mut random), 3);
    let all = known(500, &mut random);
    let (mut at, first) = (minutes(0), some(neighbours.choose(&all, minutes(0))));
    let mut before = first.clone();
    while at < minutes(10) {
        let next = neighbours.next_draw(at);
        let just_before = Uptime(next.0 - Duration::from_millis(1));
        assert_eq!(some(neighbours.choose(&all, just_before)), before);
        let now = some(neighbours.choose(&all, next));
        // Whom one place gives up another may take.
        assert!(before.difference(&now).count() <= 2);
        (before, at) = (now, next);
    }
    assert_eq!(at, minutes(10));
    assert!(first.intersection(&before).count() < NEAREST_PEERS + 3);
}

#[test]
fn one_more_peer_changes_no_more_than_its_own_place() {
    for seed in 0..200 {
        let mut random = SplitMix64::new(seed);
        let mut neighbours = Neighbours::new(node(&mut random), seed);
        let all = known(61, &mut random);
        let before = some(neighbours.choose(&all[..60], minutes(0)));
        let after = some(neighbours.choose(&all, minutes(0)));
        assert!(after.difference(&before).count() <= 2, "seed {seed}");
    }
}

#[test]
fn whoever_is_lost_is_replaced_at_once_and_sought_all_the_same() {
    let mut random = SplitMix64::new(5);
    let mut neighbours = Neighbours::new(node(&mut random), 5);
    let mut all = known(60, &mut random);
    let before = some(neighbours.choose(&all, minutes(0)));
    all.iter_mut()
        .for_each(|peer| peer.is_there = !before.contains(&peer.position));
    let after = some(neighbours.choose(&all, minutes(0)));
    assert!(after.is_superset(&before));
    let there = after.difference(&before).count();
    assert_eq!(there, NEAREST_PEERS + DRAWN_PEERS);
    // So few are left that they are all wanted again.
    all.iter_mut().skip(20).for_each(|peer| peer.is_there = false);
    assert_eq!(neighbours.choose(&all, minutes(0)), Wanted::Everybody);
}

fn connected(peer: &Known, is_dialled: bool, since: u64) -> Connected {
    Connected {
        position: peer.position,
        is_dialled,
        is_configured: false,
        is_quiet: true,
        since: minutes(since),
    }
}

#[test]
fn what_was_dialled_and_is_not_wanted_is_closed_unless_it_is_configured_busy_or_wants_us() {
    let mut random = SplitMix64::new(7);
    let own = node(&mut random);
    let mut neighbours = Neighbours::new(own, 7);
    let all = known(200, &mut random);
    let wanted = neighbours.choose(&all, minutes(0));
    let mut links: Vec<Connected> = all.iter().take(40).map(|peer| connected(peer, true, 0)).collect();
    let positions: Vec<Position> = all.iter().map(|peer| peer.position).collect();
    let is_spare =
        |link: &&Connected| !wanted.contains(link.position) && !neighbours.is_near(link.position, &positions);
    let spare: BTreeSet<Position> = links.iter().filter(is_spare).map(|link| link.position).collect();
    assert!(spare.len() > 20);
    let bound = links.len() - FULL_MESH_PEERS_MAX;
    let closed = |links: &[Connected]| {
        neighbours
            .surplus(&wanted, links, &all)
            .into_iter()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(closed(&links).len(), bound, "down to what a small network has");
    assert!(closed(&links).is_subset(&spare));
    assert_eq!(neighbours.surplus(&Wanted::Everybody, &links, &all), []);
    for link in &mut links {
        let number = spare.iter().position(|position| *position == link.position);
        link.is_configured = number == Some(0);
        link.is_quiet = number != Some(1);
    }
    assert!(closed(&links).is_subset(&spare.iter().skip(2).copied().collect()));
    assert!(closed(&links).len() >= bound - 1);
    links.iter_mut().for_each(|link| link.is_dialled = false);
    assert_eq!(closed(&links), BTreeSet::new(), "others want these");
}

#[test]
fn of_those_that_dialled_us_the_latest_beyond_the_bound_are_closed() {
    let mut random = SplitMix64::new(9);
    let mut neighbours = Neighbours::new(node(&mut random), 9);
    let all = known(400, &mut random);
    let wanted = neighbours.choose(&all, minutes(0));
    let links: Vec<Connected> = (0..)
        .zip(&all[..100])
        .map(|(since, peer)| connected(peer, false, since))
        .collect();
    let closed = neighbours.surplus(&wanted, &links, &all);
    assert_eq!(closed.len(), links.len() - CONNECTED_PEERS_MAX);
    let since = |position: &Position| links.iter().find(|link| link.position == *position).unwrap().since;
    assert!(closed.iter().all(|position| since(position) > minutes(30)));
}

/// A network in which everybody has chosen.
struct Graph(BTreeMap<usize, BTreeSet<usize>>);

impl Graph {
    /// Of `count` nodes of which each knows `percent` of the others. Everybody dials whom it wants, and then closes what is too much, as
    /// often as anybody does.
    fn of(count: usize, percent: u64, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let positions: Vec<Position> = (0..count).map(|_| node(&mut random)).collect();
        let number: BTreeMap<Position, usize> = positions.iter().copied().zip(0..).collect();
        let mut graph: BTreeMap<usize, BTreeSet<usize>> = (0..count).map(|node| (node, BTreeSet::new())).collect();
        let mut nodes: Vec<(Neighbours, BTreeSet<Position>)> = Vec::new();
        for (own, at) in positions.iter().enumerate() {
            let mut heard = BTreeSet::new();
            for (other, position) in positions.iter().enumerate() {
                if other != own && random.draw() % 100 < percent {
                    heard.insert(*position);
                }
            }
            nodes.push((Neighbours::new(*at, random.draw()), heard));
        }
        let (mut dialled, mut choices) = (BTreeSet::new(), Vec::new());
        // Then once more, with whoever has dialled meanwhile.
        for _ in 0..2 {
            choices.clear();
            for (own, (neighbours, heard)) in nodes.iter_mut().enumerate() {
                heard.extend(graph[&own].iter().map(|peer| positions[*peer]));
                let known = |position: &Position| Known {
                    position: *position,
                    is_there: true,
                };
                let known: Vec<Known> = heard.iter().map(known).collect();
                let wanted = neighbours.choose(&known, minutes(0));
                for peer in heard.iter().filter(|peer| wanted.contains(**peer)) {
                    let peer = number[peer];
                    if graph.entry(own).or_default().insert(peer) {
                        dialled.insert((own, peer));
                        graph.entry(peer).or_default().insert(own);
                    }
                }
                choices.push((wanted, known));
            }
        }
        for (own, ((neighbours, _), (wanted, known))) in nodes.iter().zip(&choices).enumerate() {
            let link = |peer: &usize| Connected {
                position: positions[*peer],
                is_dialled: dialled.contains(&(own, *peer)),
                is_configured: false,
                is_quiet: true,
                since: Uptime::default(),
            };
            let links: Vec<Connected> = graph[&own].iter().map(link).collect();
            for closed in neighbours.surplus(wanted, &links, known) {
                let peer = number[&closed];
                graph.entry(own).or_default().remove(&peer);
                graph.entry(peer).or_default().remove(&own);
            }
        }
        Self(graph)
    }

    /// How many hops it takes from one to all others; none if some are never reached.
    fn hops(&self, from: usize) -> Option<usize> {
        let (mut reached, mut edge, mut hops) = (BTreeSet::from([from]), vec![from], 0);
        while reached.len() < self.0.len() {
            let next: BTreeSet<usize> = edge.iter().flat_map(|node| &self.0[node]).copied().collect();
            edge = next.into_iter().filter(|node| reached.insert(*node)).collect();
            if edge.is_empty() {
                return None;
            }
            hops += 1;
        }
        Some(hops)
    }

    fn most_connections(&self) -> usize {
        self.0.values().map(BTreeSet::len).max().unwrap_or_default()
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the number of seeds is the caller's choice")]
fn the_whole_is_connected_whatever_the_ids_the_lots_and_what_each_knows() {
    let seeds = std::env::var("P2P_SYNC_SIM_SEEDS").map_or(SEEDS, |text| text.parse().unwrap());
    for seed in 0..seeds {
        let nodes = 20 + usize::try_from(seed * 7 % 61).unwrap();
        let percent = [100, 70, 50, 35][usize::try_from(seed % 4).unwrap()];
        let graph = Graph::of(nodes, percent, seed);
        let hops = graph.hops(0);
        assert!(
            hops.is_some_and(|hops| hops <= 4),
            "{nodes} nodes, seed {seed}: {hops:?} hops"
        );
        let most = graph.most_connections();
        assert!(
            most <= CONNECTED_PEERS_MAX,
            "{nodes} nodes, seed {seed}: {most} connections"
        );
    }
}

#[test]
fn a_large_one_is_connected_by_few_hops_and_no_node_has_too_many_connections() {
    for (seed, percent) in [(1, 100), (2, 30), (3, 10)] {
        let graph = Graph::of(500, percent, seed);
        let hops = graph.hops(0);
        assert!(hops.is_some_and(|hops| hops <= 4), "seed {seed}: {hops:?} hops");
        let most = graph.most_connections();
        assert!(most <= CONNECTED_PEERS_MAX, "seed {seed}: {most} connections");
    }
}
