//! What a world is like: drawn from its seed.

use std::collections::BTreeMap;

use p2p_sync_core::Uptime;
use p2p_sync_core::neighbours::{Known, Neighbours, Position};

use crate::connections::peer_id;
use crate::support::Random;

/// Who is linked with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chain,
    Star,
    Ring,
    /// Every node with some random others.
    Mesh,
    Full,
    /// As the nodes themselves choose where there are many of them.
    Chosen,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) nodes: usize,
    pub(crate) shape: Shape,
    pub(crate) loss_percent: usize,
    pub(crate) repeat_percent: usize,
    /// Longest way of a message or frame.
    pub(crate) delay_ms_max: usize,
    /// Chance that a stream breaks with a frame.
    pub(crate) break_permille: usize,
    pub(crate) writes: usize,
    /// How long things happen, in milliseconds, and how many of them.
    pub(crate) trouble_ms: usize,
    pub(crate) troubles: usize,
    pub(crate) keys: usize,
    /// Times at which a node writes more at once than the gossip takes.
    pub(crate) bursts: usize,
    /// Records that may wait in a feed.
    pub(crate) feed_room: usize,
    /// Records that the first node holds before anything begins.
    pub(crate) imported: usize,
    pub(crate) partitions: bool,
    pub(crate) crashes: bool,
    /// Some nodes lose their disk, or get an old copy of it.
    pub(crate) lost_disks: bool,
    /// Some nodes' summaries are wrong, until they verify them.
    pub(crate) damaged: bool,
    /// Some disks have no room for a while.
    pub(crate) full: bool,
    /// Some clocks are ten years off, in either direction.
    pub(crate) skewed: bool,
    /// Only one side of each pair ever opens a stream.
    pub(crate) one_sided: bool,
    /// The last so many nodes lie.
    pub(crate) liars: usize,
    /// It is a private network, in which records are signed and some nodes may not write.
    pub(crate) signed: bool,
}

impl Scenario {
    /// Nothing goes wrong, and nothing is written.
    pub(crate) fn untroubled(nodes: usize, shape: Shape) -> Self {
        Self {
            nodes,
            shape,
            loss_percent: 0,
            repeat_percent: 0,
            delay_ms_max: 20,
            break_permille: 0,
            writes: 0,
            trouble_ms: 1,
            troubles: 0,
            keys: 5_000,
            bursts: 0,
            feed_room: 8_192,
            imported: 0,
            partitions: false,
            crashes: false,
            lost_disks: false,
            damaged: false,
            full: false,
            skewed: false,
            one_sided: false,
            liars: 0,
            signed: false,
        }
    }

    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5ce0_a210);
        let large = random.percent(10);
        let nodes = if large {
            12 + random.below(39)
        } else {
            2 + random.below(9)
        };
        let shapes = [Shape::Chain, Shape::Star, Shape::Ring, Shape::Mesh, Shape::Full];
        let shape = if large && random.percent(60) {
            Shape::Mesh
        } else {
            *random.pick(&shapes)
        };
        Self {
            nodes,
            shape,
            loss_percent: random.below(31),
            repeat_percent: random.below(20),
            delay_ms_max: 1 + random.below(300),
            break_permille: *random.pick(&[0, 0, 5, 50]),
            trouble_ms: 20_000,
            troubles: 12,
            writes: if large { 200 } else { 50 + random.below(400) },
            keys: *random.pick(&[5, 50, 500]),
            bursts: random.below(8),
            feed_room: *random.pick(&[20, 100, 8_192]),
            imported: if random.percent(25) && !large {
                500 + random.below(2_000)
            } else {
                0
            },
            partitions: random.percent(60),
            crashes: random.percent(40),
            lost_disks: random.percent(15),
            damaged: random.percent(15),
            full: random.percent(15),
            skewed: random.percent(25),
            one_sided: !large && random.percent(30),
            liars: if nodes > 2 && random.percent(35) {
                1 + random.below(2)
            } else {
                0
            },
            signed: false,
        }
    }

    /// A private network: at least three honest nodes, and two others.
    pub(crate) fn of_members(seed: u64) -> Self {
        let scenario = Self::of(seed);
        Self {
            nodes: scenario.nodes.clamp(5, 12),
            shape: if scenario.shape == Shape::Chosen {
                Shape::Mesh
            } else {
                scenario.shape
            },
            writes: scenario.writes.min(200),
            imported: scenario.imported.min(600),
            lost_disks: false,
            damaged: false,
            skewed: false,
            liars: 2,
            signed: true,
            ..scenario
        }
    }

    /// The links, each once, lower number first. The honest nodes are connected without the liars, who are linked with
    /// some of them besides.
    pub(crate) fn links(&self, random: &mut Random) -> Vec<(usize, usize)> {
        let honest = self.nodes - self.liars.min(self.nodes - 2);
        let mut links = Vec::new();
        if self.shape == Shape::Chosen {
            return chosen_links(&(0..self.nodes).collect::<Vec<_>>(), random);
        }
        for node in 1..honest {
            match self.shape {
                Shape::Chain | Shape::Ring => links.push((node - 1, node)),
                Shape::Star => links.push((0, node)),
                Shape::Chosen => {}
                Shape::Full => links.extend((0..node).map(|other| (other, node))),
                Shape::Mesh => {
                    links.push((random.below(node), node));
                    for _ in 0..3 {
                        links.push((random.below(node), node));
                    }
                }
            }
        }
        if self.shape == Shape::Ring && honest > 2 {
            links.push((0, honest - 1));
        }
        for liar in honest..self.nodes {
            for _ in 0..3 {
                links.push((random.below(honest), liar));
            }
        }
        links.sort_unstable();
        links.dedup();
        links
    }
}

/// The links between these nodes, of which each knows all others, and connects with those that it wants.
pub(crate) fn chosen_links(nodes: &[usize], random: &mut Random) -> Vec<(usize, usize)> {
    let position = |node: &usize| Position::of(peer_id(*node).as_bytes());
    let numbers: BTreeMap<Position, usize> = nodes.iter().map(|node| (position(node), *node)).collect();
    let mut links = Vec::new();
    for node in nodes {
        let own = position(node);
        let known = numbers
            .keys()
            .filter(|position| **position != own)
            .map(|position| Known {
                position: *position,
                is_there: true,
            });
        let known: Vec<Known> = known.collect();
        let wanted = Neighbours::new(own, random.bits()).choose(&known, Uptime::default());
        let peers = known.iter().filter(|peer| wanted.contains(peer.position));
        let peers = peers.map(|peer| numbers[&peer.position]);
        links.extend(peers.map(|peer| (peer.min(*node), peer.max(*node))));
    }
    links.sort_unstable();
    links.dedup();
    links
}
