//! What befalls the nodes and their network.

use p2p_sync_core::Clock;
use p2p_sync_core::Via;
use p2p_sync_core::sequence::Epoch;
use p2p_sync_core::sync::Agenda;

use crate::connections::peer_id;
use crate::node::{Watched, rank};
use crate::world::{Event, World};

impl World {
    pub(crate) fn trouble(&mut self) {
        let node = self.random.below(self.nodes.len());
        match self.random.below(9) {
            0 | 1 if self.scenario.partitions => self.partition(),
            2 if self.scenario.partitions => self.cut.clear(),
            3 | 4 if self.scenario.crashes => self.crash(node),
            5 if self.scenario.lost_disks => self.lose_disk(node),
            6 if self.scenario.damaged && self.nodes[node].lie.is_none() => self.damage(node),
            7 if self.scenario.full => self.fill_or_make_room(node),
            // The clock is set right.
            8 if self.scenario.skewed => self.nodes[node].skew = 0,
            // Or steps, in either direction.
            _ => self.nodes[node].skew -= i64::try_from(self.random.below(5_000_000_000)).unwrap() - 2_000_000_000,
        }
        self.update_connections();
    }

    /// What there was no room for is owed once there is.
    fn fill_or_make_room(&mut self, node: usize) {
        self.nodes[node].store.full ^= true;
        if !self.nodes[node].store.full {
            let at = self.uptime();
            for peer in self.neighbours(node) {
                self.agenda(node).owe(peer_id(peer), at);
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.calm = true;
        self.cut.clear();
        for node in 0..self.nodes.len() {
            self.restart(node);
            self.nodes[node].store.full = false;
            let time = self.time + self.random.below(20_000) as u64;
            self.schedule(time, Event::Verify(node));
        }
        self.update_connections();
    }

    /// What is committed stays. What came by gossip and was passed on, but not committed yet, may be lost.
    fn crash(&mut self, node: usize) {
        if !self.nodes[node].alive {
            return;
        }
        if self.random.percent(50) {
            self.tally.tails_lost += self.nodes[node].arrived.len() as u64;
            self.nodes[node].arrived.clear();
        } else {
            self.commit(node);
        }
        self.break_streams_of(node);
        self.end_feeds_where(|from, to| from == node || to == node);
        self.nodes[node].alive = false;
        let length = 500 + self.random.below(6_000) as u64;
        self.schedule(self.time + length, Event::Restart(node));
    }

    pub(crate) fn restart(&mut self, node: usize) {
        if self.nodes[node].alive {
            return;
        }
        let seed = self.random.bits();
        self.nodes[node].alive = true;
        self.nodes[node].store.store.restart(Epoch(seed));
        self.nodes[node].agenda = Agenda::new(peer_id(node), seed);
        self.nodes[node].wake = None;
        self.restart_clock(node);
        self.update_connections();
    }

    fn damage(&mut self, node: usize) {
        self.nodes[node].store.damage(&mut self.random);
        self.nodes[node].note_digest(self.time);
        self.tally.damages += 1;
    }

    /// A node looks whether its summary is that of its records.
    pub(crate) fn verify(&mut self, node: usize) {
        if self.nodes[node].lie.is_none() && self.nodes[node].store.verify() {
            self.tally.repairs += 1;
            self.nodes[node].note_digest(self.time);
            let at = self.uptime();
            self.agenda(node).changed(Via::Local, at);
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
    }

    /// After a start the clock goes on behind what the store holds.
    fn restart_clock(&mut self, node: usize) {
        let last = self.nodes[node].store.store.all().map(|record| record.timestamp).max();
        self.nodes[node].clock = Clock::new(last);
    }

    /// A disk is lost, or replaced by an old copy: what only this node had is gone, which is nobody's fault.
    fn lose_disk(&mut self, node: usize) {
        self.crash(node);
        let lost = self.nodes[node].store.clone();
        self.next_stream += 1;
        let old = self.nodes[node].backup.replace(lost);
        self.nodes[node].store = old.unwrap_or_else(|| Watched::new(1_000_000 + self.next_stream));
        self.nodes[node].note_digest(self.time);
        self.must_keep.clear();
        for node in self.nodes.iter().filter(|node| node.lie.is_none()) {
            for record in node.store.store.all() {
                let rank = rank(record);
                let highest = self.must_keep.entry(record.key.clone()).or_insert_with(|| rank.clone());
                *highest = rank.max(highest.clone());
            }
        }
    }
}
