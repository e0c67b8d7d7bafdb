//! The world: its time, its network, what befalls it, and what must hold in the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::sync::{Opening, Outcome, Report};
use p2p_sync_core::{Base, Clock, Content, Key, Record, Timestamp};

use crate::liar::LIES;
use crate::node::{Node, Rank, Watched, rank};
use crate::scenario::Scenario;
use crate::streams::Stream;
use crate::support::{Random, key, nanos, node as author, put};

const YEAR_NANOS: i64 = 365 * 86_400 * 1_000_000_000;
/// The world begins in 2025.
const EPOCH_NANOS: i64 = 55 * YEAR_NANOS;
/// How long things happen, in milliseconds.
const TROUBLE_MS: u64 = 20_000;
/// By when all is quiet and must be equal. Generous: a chain of ten with lost streams takes its time.
const CALM_MS: u64 = 300_000;

pub(crate) enum Event {
    Write(usize),
    Gossip {
        to: usize,
        record: Box<Record>,
    },
    /// A node checks with one of its neighbours.
    Tick(usize),
    /// A node owes another one a session.
    Owed {
        node: usize,
        peer: usize,
    },
    Frame {
        stream: u64,
        end: usize,
        bytes: Vec<u8>,
    },
    Close {
        stream: u64,
        end: usize,
    },
    Trouble,
    Restart(usize),
    Heal,
}

/// What happened, so that a world in which nothing did is noticed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) sessions_equal: u64,
    pub(crate) sessions_waiting: u64,
    pub(crate) sessions_delivered: u64,
    pub(crate) sessions_busy: u64,
    pub(crate) bulks: u64,
    pub(crate) ranges: u64,
    pub(crate) streams_broken: u64,
    pub(crate) violations: u64,
    pub(crate) gossip_lost: u64,
    pub(crate) writes: u64,
    pub(crate) bytes: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, outcome: Outcome, report: &Report) {
        *match outcome {
            Outcome::Equal => &mut self.sessions_equal,
            Outcome::Waiting => &mut self.sessions_waiting,
            Outcome::Delivered => &mut self.sessions_delivered,
            Outcome::Busy => &mut self.sessions_busy,
        } += 1;
        self.bulks += u64::from(report.bulk);
        self.ranges += u64::from(report.ranges);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sessions_equal += other.sessions_equal;
        self.sessions_waiting += other.sessions_waiting;
        self.sessions_delivered += other.sessions_delivered;
        self.sessions_busy += other.sessions_busy;
        self.bulks += other.bulks;
        self.ranges += other.ranges;
        self.streams_broken += other.streams_broken;
        self.violations += other.violations;
        self.gossip_lost += other.gossip_lost;
        self.writes += other.writes;
        self.bytes += other.bytes;
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
    links: BTreeSet<(usize, usize)>,
    /// Directions in which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    pub(crate) streams: BTreeMap<u64, Stream>,
    pub(crate) next_stream: u64,
    /// All records that anybody ever wrote, liars' inventions included.
    pub(crate) written: Vec<Record>,
    /// What must not be lost: of each key the highest version that an honest node wrote, lost disks aside.
    must_keep: BTreeMap<Key, Rank>,
    /// No trouble any longer.
    pub(crate) calm: bool,
    pub(crate) tally: Tally,
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario) -> Self {
        let mut random = Random::new(seed);
        let links = scenario.links(&mut random).into_iter().collect();
        let mut nodes: Vec<Node> = (0..scenario.nodes as u64).map(Node::new).collect();
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
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            streams: BTreeMap::new(),
            next_stream: 0,
            written: Vec::new(),
            must_keep: BTreeMap::new(),
            calm: false,
            tally: Tally::default(),
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        for number in 0..self.scenario.imported {
            self.write(0, &format!("import {number}"), false);
        }
        for _ in 0..self.scenario.writes {
            let (time, node) = (
                self.random.below(TROUBLE_MS as usize) as u64,
                self.random.below(self.nodes.len()),
            );
            self.schedule(time, Event::Write(node));
        }
        for node in 0..self.nodes.len() {
            let first = self.random.below(2_000) as u64;
            self.schedule(first, Event::Tick(node));
            if self.scenario.skewed && self.random.percent(40) {
                self.nodes[node].skew = *self.random.pick(&[-10 * YEAR_NANOS, 10 * YEAR_NANOS, 50_000_000_000]);
            }
        }
        for _ in 0..12 {
            let time = self.random.below(TROUBLE_MS as usize) as u64;
            self.schedule(time, Event::Trouble);
        }
        self.schedule(TROUBLE_MS, Event::Heal);
    }

    /// Runs to the end and checks what must hold then.
    pub(crate) fn run(mut self) -> Tally {
        self.run_until(TROUBLE_MS + 1, |_| false);
        if self.scenario.skewed {
            self.run_until(self.time + CALM_MS, Self::nothing_is_due);
            assert!(self.nothing_is_due(), "a record that is due did not arrive");
            // Years later all clocks are right, and everything is due.
            self.leap = 21 * YEAR_NANOS;
            self.nodes.iter_mut().for_each(|node| node.skew = 0);
        }
        self.run_until(self.time + CALM_MS, Self::all_equal);
        assert!(
            self.all_equal(),
            "honest nodes are not equal after a calm of {CALM_MS} ms"
        );
        self.check_what_is_held();
        self.tally
    }

    fn run_until(&mut self, end: u64, enough: impl Fn(&Self) -> bool) {
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
            Event::Write(node) => {
                let name = format!("key {}", self.random.below(self.scenario.keys));
                if self.nodes[node].alive {
                    self.write(node, &name, true);
                }
            }
            Event::Gossip { to, record } => self.gossip_arrives(to, &record),
            Event::Tick(node) => {
                let pause = 500 + self.random.below(1_500) as u64;
                self.schedule(self.time + pause, Event::Tick(node));
                self.drop_stalled();
                if let Some(peer) = self.random_neighbour(node) {
                    self.meet(node, peer, Opening::Check);
                }
            }
            Event::Owed { node, peer } => self.meet(node, peer, Opening::Hello),
            Event::Frame { stream, end, bytes } => self.frame_arrives(stream, end, &bytes),
            Event::Close { stream, end } => self.close_arrives(stream, end),
            Event::Trouble => self.trouble(),
            Event::Restart(node) => self.nodes[node].alive = true,
            Event::Heal => {
                self.calm = true;
                self.cut.clear();
                self.nodes.iter_mut().for_each(|node| node.alive = true);
            }
        }
    }

    fn meet(&mut self, node: usize, peer: usize, opening: Opening) {
        // Where pairs meet from one side only, the other can but wait.
        if !self.scenario.one_sided || node < peer {
            self.open_stream(node, peer, opening);
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

    fn random_neighbour(&mut self, node: usize) -> Option<usize> {
        let neighbours = self.neighbours(node);
        (!neighbours.is_empty()).then(|| *self.random.pick(&neighbours))
    }

    pub(crate) fn owe(&mut self, node: usize, peer: usize, pause_ms: u64) {
        let pause = pause_ms + self.random.below(800) as u64;
        self.schedule(self.time + pause, Event::Owed { node, peer });
    }

    fn write(&mut self, node: usize, name: &str, gossip: bool) {
        let (now, value) = (self.now(node), self.random.bytes(8));
        let deletes = self.random.percent(20);
        let writer = &mut self.nodes[node];
        let replaced = writer.store.store.get(&key(name)).map(|held| held.timestamp);
        let record = Record {
            key: key(name),
            content: if deletes { Content::Deleted } else { put(&value) },
            timestamp: writer.clock.tick(now, replaced).unwrap(),
            author: author(u8::try_from(node).unwrap()),
            base: replaced.map_or(Base::Nothing, Base::Version),
        };
        assert!(
            writer.store.merge(&record).stores_incoming(),
            "a local write beats what it replaces"
        );
        writer.note_digest(self.time);
        if writer.lie.is_none() {
            let rank = rank(&record);
            let highest = self.must_keep.entry(record.key.clone()).or_insert_with(|| rank.clone());
            *highest = rank.max(highest.clone());
        }
        self.written.push(record.clone());
        self.tally.writes += 1;
        if gossip {
            self.gossip(node, &record);
        }
    }

    /// Tells some neighbours. What is lost on the way is for the sync to bring.
    fn gossip(&mut self, from: usize, record: &Record) {
        for to in self.neighbours(from).into_iter().take(6) {
            let copies = 1 + usize::from(self.random.percent(self.scenario.repeat_percent));
            for _ in 0..copies {
                if self.random.percent(self.scenario.loss_percent) || !self.can_reach(from, to) {
                    self.tally.gossip_lost += 1;
                    continue;
                }
                let arrival = self.time + self.random_delay();
                self.schedule(
                    arrival,
                    Event::Gossip {
                        to,
                        record: Box::new(record.clone()),
                    },
                );
            }
        }
    }

    fn gossip_arrives(&mut self, to: usize, record: &Record) {
        let horizon = self.now(to).saturating_add(FUTURE_MAX);
        if !self.nodes[to].alive || record.timestamp > horizon {
            self.tally.gossip_lost += 1;
            return;
        }
        let news = self.nodes[to].store.merge(record).stores_incoming();
        if news {
            self.nodes[to].clock.observe(record.timestamp);
            self.nodes[to].note_digest(self.time);
            self.gossip(to, record);
        }
    }

    fn trouble(&mut self) {
        let node = self.random.below(self.nodes.len());
        let length = 500 + self.random.below(6_000) as u64;
        match self.random.below(6) {
            0 | 1 if self.scenario.partitions => self.partition(),
            2 if self.scenario.partitions => self.cut.clear(),
            3 if self.scenario.crashes => {
                self.nodes[node].alive = false;
                self.break_streams_of(node);
                self.schedule(self.time + length, Event::Restart(node));
                self.restart_clock(node);
            }
            4 if self.scenario.lost_disks => self.lose_disk(node),
            _ => self.nodes[node].skew -= i64::try_from(self.random.below(5_000_000_000)).unwrap() - 2_000_000_000,
        }
    }

    fn partition(&mut self) {
        let side: Vec<bool> = self.nodes.iter().map(|_| self.random.percent(50)).collect();
        let both_ways = self.random.percent(60);
        for (a, b) in self.links.clone() {
            if side[a] != side[b] {
                let (from, to) = if side[a] { (a, b) } else { (b, a) };
                self.cut.insert((from, to));
                if both_ways {
                    self.cut.insert((to, from));
                }
            }
        }
        let cut = self.cut.clone();
        self.break_streams_where(|stream| {
            let [a, b] = stream.nodes;
            cut.contains(&(a, b)) || cut.contains(&(b, a))
        });
    }

    /// After a start the clock goes on behind what the store holds.
    fn restart_clock(&mut self, node: usize) {
        let last = self.nodes[node]
            .store
            .store
            .records()
            .values()
            .map(|record| record.timestamp)
            .max();
        self.nodes[node].clock = Clock::new(last);
    }

    /// A disk is lost, or replaced by an old copy: what only this node had is gone, which is nobody's fault.
    fn lose_disk(&mut self, node: usize) {
        self.break_streams_of(node);
        let lost = self.nodes[node].store.clone();
        self.next_stream += 1;
        let old = self.nodes[node].backup.replace(lost);
        self.nodes[node].store = old.unwrap_or_else(|| Watched::new(1_000_000 + self.next_stream));
        self.nodes[node].note_digest(self.time);
        self.restart_clock(node);
        self.must_keep.clear();
        for node in self.nodes.iter().filter(|node| node.lie.is_none()) {
            for record in node.store.store.records().values() {
                let rank = rank(record);
                let highest = self.must_keep.entry(record.key.clone()).or_insert_with(|| rank.clone());
                *highest = rank.max(highest.clone());
            }
        }
    }

    fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.lie.is_none())
    }

    fn all_equal(&self) -> bool {
        let mut stores = self.honest().map(|node| node.store.store.records());
        let first = stores.next().unwrap();
        stores.all(|records| records == first)
    }

    /// No honest node has anything for an honest neighbour that this one would take.
    fn nothing_is_due(&self) -> bool {
        self.links
            .iter()
            .all(|(a, b)| self.has_nothing_for(*a, *b) && self.has_nothing_for(*b, *a))
    }

    fn has_nothing_for(&self, from: usize, to: usize) -> bool {
        if self.nodes[from].lie.is_some() || self.nodes[to].lie.is_some() {
            return true;
        }
        // One that has just become due may still be under way.
        let horizon = self.now(to).saturating_add(FUTURE_MAX - Duration::from_secs(100));
        let mut due = self.nodes[from]
            .store
            .store
            .records()
            .values()
            .filter(|record| record.timestamp <= horizon);
        due.all(|record| {
            let held = self.nodes[to].store.store.get(&record.key);
            held.is_some_and(|held| rank(held) >= rank(record))
        })
    }

    fn check_what_is_held(&self) {
        let written: BTreeSet<Rank> = self.written.iter().map(rank).collect();
        for node in self.honest() {
            node.store.check();
            let held = node.store.store.records();
            for record in held.values() {
                assert!(written.contains(&rank(record)), "nobody wrote {record:?}");
            }
            for (key, least) in &self.must_keep {
                assert!(
                    held.get(key).is_some_and(|record| rank(record) >= *least),
                    "a write of {key} was lost"
                );
            }
        }
    }
}
