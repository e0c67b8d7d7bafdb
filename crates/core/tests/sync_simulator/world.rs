//! The world: its time, its network, what befalls it, and what must hold in the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use p2p_sync_core::sync::{Outcome, Report};
use p2p_sync_core::{Key, Record, Timestamp};

use crate::feeds::Feed;
use crate::liar::LIES;
use crate::node::{Node, Rank};
use crate::private::{Private, Step};
use crate::scenario::Scenario;
use crate::streams::Stream;
use crate::support::{Random, nanos};

pub(crate) const YEAR_NANOS: i64 = 365 * 86_400 * 1_000_000_000;
/// The world begins in 2025.
const EPOCH_NANOS: i64 = 55 * YEAR_NANOS;
/// By when all is quiet and must be equal. Generous: a check without a reason comes every 30 to 60 s, and where clocks
/// or liars are in the way it may take a few of them.
const CALM_MS: u64 = 600_000;
/// The same where only one side of each pair can open streams: what the other one has is found by those checks alone.
const ONE_SIDED_CALM_MS: u64 = 10_800_000;

pub(crate) enum Event {
    Write(usize),
    /// More is written at once than the gossip takes.
    Burst(usize),
    Gossip {
        to: usize,
        record: Box<Record>,
    },
    /// What came by gossip is committed.
    Commit(usize),
    Connected {
        node: usize,
        peer: usize,
        connection: u64,
    },
    Disconnected {
        node: usize,
        peer: usize,
    },
    /// A node's agenda is to be looked at.
    Wake(usize),
    /// A stream is heard of by the side that is to answer.
    Opened(u64),
    Frame {
        stream: u64,
        end: usize,
        bytes: Vec<u8>,
    },
    Close {
        stream: u64,
        end: usize,
    },
    /// A frame of a feed.
    Fed {
        pair: (usize, usize),
        number: u64,
        end: usize,
        bytes: Vec<u8>,
    },
    /// Streams on which nothing moves are given up.
    Sweep,
    Trouble,
    Restart(usize),
    Verify(usize),
    /// Members are lowered, or the lists of their records made, and everybody hears of it in its own time.
    MembersChange(Step),
    MembersHeard(usize, Step),
    Heal,
}

/// What happened, so that a world in which nothing did is noticed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sessions_opened: u64,
    pub(crate) sessions_equal: u64,
    pub(crate) sessions_waiting: u64,
    pub(crate) sessions_delivered: u64,
    pub(crate) sessions_busy: u64,
    /// Of two that were opened at once: those that were refused, and those that were dropped for the other.
    pub(crate) sessions_refused: u64,
    pub(crate) sessions_dropped: u64,
    pub(crate) bulks: u64,
    pub(crate) ranges: u64,
    pub(crate) streams_broken: u64,
    pub(crate) violations: u64,
    pub(crate) gossip_lost: u64,
    /// Records that a crash took along between their arrival and their commit.
    pub(crate) tails_lost: u64,
    pub(crate) fed: u64,
    pub(crate) feeds_too_slow: u64,
    pub(crate) damages: u64,
    pub(crate) repairs: u64,
    /// Records that came by gossip, a feed, or a session, and found no room.
    pub(crate) no_room: u64,
    /// Records that came by gossip, and took the place of others where there was no room.
    pub(crate) taken_without_room: u64,
    pub(crate) bulks_without_room: u64,
    /// Versions that a folded floor alone covers, each time that a node counted one.
    pub(crate) folded: u64,
    /// Records of a private network that were left out, by whatever way they came, or whose signatures were wrong.
    pub(crate) not_permitted: u64,
    pub(crate) wrong_signatures: u64,
    /// Records that had counted, and were set aside.
    pub(crate) aside: u64,
    /// Records that lists name.
    pub(crate) listed: u64,
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
    /// The longest time from the end of all trouble until all were equal.
    pub(crate) calm_ms_max: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome, report: &Report) {
        *match outcome {
            Outcome::Equal => &mut self.sessions_equal,
            Outcome::Waiting => &mut self.sessions_waiting,
            Outcome::Delivered => &mut self.sessions_delivered,
            Outcome::Busy => &mut self.sessions_busy,
        } += 1;
        self.no_room += report.refused;
        self.not_permitted += report.not_permitted;
        self.bulks += u64::from(report.bulk);
        self.ranges += u64::from(report.ranges);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions_opened += other.sessions_opened;
        self.not_permitted += other.not_permitted;
        self.wrong_signatures += other.wrong_signatures;
        self.aside += other.aside;
        self.listed += other.listed;
        self.sessions_equal += other.sessions_equal;
        self.sessions_waiting += other.sessions_waiting;
        self.sessions_delivered += other.sessions_delivered;
        self.sessions_busy += other.sessions_busy;
        self.sessions_refused += other.sessions_refused;
        self.sessions_dropped += other.sessions_dropped;
        self.bulks += other.bulks;
        self.ranges += other.ranges;
        self.streams_broken += other.streams_broken;
        self.violations += other.violations;
        self.gossip_lost += other.gossip_lost;
        self.tails_lost += other.tails_lost;
        self.fed += other.fed;
        self.feeds_too_slow += other.feeds_too_slow;
        self.damages += other.damages;
        self.repairs += other.repairs;
        self.no_room += other.no_room;
        self.taken_without_room += other.taken_without_room;
        self.bulks_without_room += other.bulks_without_room;
        self.folded += other.folded;
        self.writes += other.writes;
        self.bytes += other.bytes;
        self.calm_ms_max = self.calm_ms_max.max(other.calm_ms_max);
    }
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) scenario: Scenario,
    /// In milliseconds since it began.
    pub(crate) time: u64,
    /// How far the wall clocks were moved on, beyond what the time did.
    leap: i64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: BTreeSet<(usize, usize)>,
    /// Directions in which nothing passes.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    /// Those that reach each other, each connection with a number of its own.
    pub(crate) connections: BTreeMap<(usize, usize), u64>,
    pub(crate) next_connection: u64,
    /// To whom each node passes on what it hears, where that is not just its first neighbours.
    pub(crate) meshes: BTreeMap<usize, Vec<usize>>,
    /// Copies of live changes that each node sent.
    pub(crate) copies: BTreeMap<usize, u64>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) next_stream: u64,
    /// From whom, to whom.
    pub(crate) feeds: BTreeMap<(usize, usize), Feed>,
    /// Nodes whose agendas heard of something.
    pub(crate) touched: BTreeSet<usize>,
    /// All records that anybody ever wrote, liars' inventions included.
    pub(crate) written: Vec<Record>,
    /// What must not be lost: of each key the highest version that an honest node wrote, lost disks aside.
    pub(crate) must_keep: BTreeMap<Key, Rank>,
    /// What was there, of the same key, when a node wrote a version: by the world's own account.
    pub(crate) histories: BTreeMap<Rank, BTreeSet<Rank>>,
    /// Who is in, where that is not everybody.
    pub(crate) private: Option<Private>,
    /// No trouble any longer.
    pub(crate) calm: bool,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut random = Random::new(seed);
        let links = scenario.links(&mut random).into_iter().collect();
        let mut nodes: Vec<Node> = (0..scenario.nodes)
            .map(|number| Node::new(number, random.bits()))
            .collect();
        for node in nodes.iter_mut().rev().take(scenario.liars.min(scenario.nodes - 2)) {
            node.lie = Some(*random.pick(&LIES));
        }
        let mut world = Self {
            random,
            scenario,
            time: 0,
            leap: 0,
            nodes,
            links,
            cut: BTreeSet::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            meshes: BTreeMap::new(),
            copies: BTreeMap::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            streams: BTreeMap::new(),
            next_stream: 0,
            feeds: BTreeMap::new(),
            touched: BTreeSet::new(),
            written: Vec::new(),
            must_keep: BTreeMap::new(),
            histories: BTreeMap::new(),
            private: None,
            calm: false,
            tally: Tally::default(),
        };
        world.found();
        world.prepare();
        world.update_connections();
        world
    }

    fn prepare(&mut self) {
        for number in 0..self.scenario.imported {
            self.write(0, &format!("import {number}"));
        }
        let trouble_ms = self.scenario.trouble_ms;
        for number in 0..self.scenario.writes + self.scenario.bursts {
            let time = self.random.below(trouble_ms) as u64;
            let node = self.random.below(self.nodes.len());
            let burst = number < self.scenario.bursts;
            self.schedule(time, if burst { Event::Burst(node) } else { Event::Write(node) });
        }
        for node in &mut self.nodes {
            if self.scenario.skewed && self.random.percent(40) {
                node.skew = *self.random.pick(&[-10 * YEAR_NANOS, 10 * YEAR_NANOS, 50_000_000_000]);
            }
        }
        for _ in 0..self.scenario.troubles {
            let time = self.random.below(trouble_ms) as u64;
            self.schedule(time, Event::Trouble);
        }
        self.schedule(trouble_ms as u64, Event::Heal);
        self.schedule(0, Event::Sweep);
    }

    /// Runs to the end and checks what must hold then.
    pub(crate) fn run(mut self) -> Tally {
        let calm_ms = if self.scenario.one_sided {
            ONE_SIDED_CALM_MS
        } else {
            CALM_MS
        };
        self.run_until(self.scenario.trouble_ms as u64 + 1, |_| false);
        if self.scenario.skewed {
            self.run_until(self.time + calm_ms, Self::nothing_is_due);
            assert!(self.nothing_is_due(), "a record that is due did not arrive");
            // Years later all clocks are right, and everything is due.
            self.leap = 21 * YEAR_NANOS;
            self.nodes.iter_mut().for_each(|node| node.skew = 0);
        }
        let start = self.time;
        self.run_until(self.time + calm_ms, Self::all_equal);
        assert!(
            self.all_equal(),
            "honest nodes are not equal after a calm of {calm_ms} ms"
        );
        if !self.scenario.one_sided {
            self.tally.calm_ms_max = self.time - start;
        }
        if self.scenario.signed {
            self.check_signed();
        } else {
            self.check_what_is_held();
        }
        self.check_that_it_is_quiet();
        self.tally.folded = self.nodes.iter().map(|node| node.store.folded).sum();
        self.tally
    }

    pub(crate) fn run_until(&mut self, end: u64, enough: impl Fn(&Self) -> bool) {
        let mut next_look = self.time;
        while let Some(Reverse((time, id))) = self.queue.peek().copied() {
            if time > end {
                break;
            }
            if time >= next_look {
                if enough(self) {
                    return;
                }
                next_look = time + 500;
            }
            self.queue.pop();
            self.time = time;
            if let Some(event) = self.events.remove(&id) {
                self.happen(event);
                self.work_off_agendas();
            }
        }
        self.time = end;
    }

    pub(crate) fn schedule(&mut self, time: u64, event: Event) {
        let id = self.next_event;
        self.next_event += 1;
        self.queue.push(Reverse((time, id)));
        self.events.insert(id, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Write(node) => self.write_one(node),
            Event::Burst(node) => self.write_many(node),
            Event::Gossip { to, record } => self.gossip_arrives(to, *record),
            Event::Commit(node) => self.commit(node),
            Event::Connected { node, peer, connection } => self.connected(node, peer, connection),
            Event::Disconnected { node, peer } => self.disconnected(node, peer),
            Event::Wake(node) => self.wake(node),
            Event::Opened(stream) => self.opened(stream),
            Event::Frame { stream, end, bytes } => self.frame_arrives(stream, end, &bytes),
            Event::Close { stream, end } => self.close_arrives(stream, end),
            Event::Fed {
                pair,
                number,
                end,
                bytes,
            } => self.fed(pair, number, end, &bytes),
            Event::Sweep => {
                self.drop_stalled();
                self.schedule(self.time + 5_000, Event::Sweep);
            }
            Event::Trouble => self.trouble(),
            Event::Restart(node) => self.restart(node),
            Event::Verify(node) => self.verify(node),
            Event::MembersChange(step) => self.members_change(step),
            Event::MembersHeard(node, step) => self.members_heard(node, step),
            Event::Heal => self.heal(),
        }
    }

    /// The wall clock of a node.
    pub(crate) fn now(&self, node: usize) -> Timestamp {
        let time = i64::try_from(self.time).unwrap() * 1_000_000;
        nanos((EPOCH_NANOS + time + self.leap + self.nodes[node].skew).max(1))
    }

    pub(crate) fn random_delay(&mut self) -> u64 {
        1 + self.random.below(self.scenario.delay_ms_max) as u64
    }

    pub(crate) fn can_reach(&self, from: usize, to: usize) -> bool {
        let linked = self.links.contains(&(from.min(to), from.max(to)));
        linked && self.nodes[from].alive && self.nodes[to].alive && !self.cut.contains(&(from, to))
    }

    pub(crate) fn neighbours(&self, node: usize) -> Vec<usize> {
        let links = self.links.iter().filter(|(a, b)| *a == node || *b == node);
        links.map(|(a, b)| a + b - node).collect()
    }
}
