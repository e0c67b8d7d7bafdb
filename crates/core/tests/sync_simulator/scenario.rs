//! What a world is like: drawn from its seed.

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
    pub(crate) keys: usize,
    /// Records that the first node holds before anything begins.
    pub(crate) imported: usize,
    pub(crate) partitions: bool,
    pub(crate) crashes: bool,
    /// Some nodes lose their disk, or get an old copy of it.
    pub(crate) lost_disks: bool,
    /// Some clocks are ten years off, in either direction.
    pub(crate) skewed: bool,
    /// Only one side of each pair ever opens a stream.
    pub(crate) one_sided: bool,
    /// The last so many nodes lie.
    pub(crate) liars: usize,
}

impl Scenario {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5ce0_a210);
        let large = random.percent(10);
        let nodes = if large {
            12 + random.below(39)
        } else {
            2 + random.below(9)
        };
        let shapes = [Shape::Chain, Shape::Star, Shape::Ring, Shape::Mesh, Shape::Full];
        let shape = if large { Shape::Mesh } else { *random.pick(&shapes) };
        Self {
            nodes,
            shape,
            loss_percent: random.below(31),
            repeat_percent: random.below(20),
            delay_ms_max: 1 + random.below(300),
            break_permille: *random.pick(&[0, 0, 5, 50]),
            writes: if large { 200 } else { 50 + random.below(400) },
            keys: *random.pick(&[5, 50, 500]),
            imported: if random.percent(25) && !large {
                500 + random.below(2_000)
            } else {
                0
            },
            partitions: random.percent(60),
            crashes: random.percent(40),
            lost_disks: random.percent(15),
            skewed: random.percent(25),
            one_sided: random.percent(30),
            liars: if nodes > 2 && random.percent(35) {
                1 + random.below(2)
            } else {
                0
            },
        }
    }

    /// The links, each once, lower number first. The honest nodes are connected without the liars, who are linked with
    /// some of them besides.
    pub(crate) fn links(&self, random: &mut Random) -> Vec<(usize, usize)> {
        let honest = self.nodes - self.liars.min(self.nodes - 2);
        let mut links = Vec::new();
        for node in 1..honest {
            match self.shape {
                Shape::Chain | Shape::Ring => links.push((node - 1, node)),
                Shape::Star => links.push((0, node)),
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
