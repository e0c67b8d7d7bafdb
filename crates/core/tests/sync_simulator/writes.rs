//! What is written, and how it is told: by gossip, which may be lost, or by the feeds, when it is too much for the gossip.

use std::collections::BTreeSet;

use p2p_sync_core::Via;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::{Content, Record, Seen, Versions};

use crate::node::rank;
use crate::support::{covers, key, put};
use crate::world::{Event, World};

impl World {
    pub(crate) fn write_one(&mut self, node: usize) {
        if self.may_try_to_write(node) {
            let name = format!("key {}", self.random.below(self.scenario.keys));
            let record = self.write(node, &name);
            self.gossip(node, &record);
        }
    }

    /// More than the gossip takes.
    pub(crate) fn write_many(&mut self, node: usize) {
        if !self.may_try_to_write(node) {
            return;
        }
        let records: Vec<Record> = (0..1 + self.random.below(60))
            .map(|_| {
                let name = format!("key {}", self.random.below(self.scenario.keys));
                self.write(node, &name)
            })
            .collect();
        self.feed(node, &records);
    }

    pub(crate) fn write(&mut self, node: usize, name: &str) -> Record {
        let (now, value) = (self.now(node), self.random.bytes(8));
        let deletes = self.random.percent(20);
        let author = self.author(node);
        let writer = &mut self.nodes[node];
        let replaced = writer
            .store
            .store
            .versions()
            .get(&key(name))
            .cloned()
            .unwrap_or_default();
        let record = Record {
            key: key(name),
            content: if deletes { Content::Deleted } else { put(&value) },
            timestamp: writer.clock.tick(now, replaced.latest()).unwrap(),
            author,
            seen: Seen::by(&author, replaced.all()),
            signature: None,
        };
        let record = self.signed(node, record);
        if self.dates_back(node) {
            // Whether it wins or not.
            self.nodes[node].store.merge(&record);
            self.nodes[node].note_digest(self.time);
            self.written.push(record.clone());
            return record;
        }
        let beats = |version: &Record| rank(version) < rank(&record) && covers(&record, version);
        assert!(replaced.all().iter().all(beats), "a local write beats what it replaces");
        let writer = &mut self.nodes[node];
        writer.store.write(&record);
        writer.note_digest(self.time);
        let is_honest = writer.lie.is_none();
        self.note_history(&record, &replaced);
        if is_honest {
            let rank = rank(&record);
            let highest = self.must_keep.entry(record.key.clone()).or_insert_with(|| rank.clone());
            *highest = rank.max(highest.clone());
        }
        self.written.push(record.clone());
        self.tally.writes += 1;
        let at = self.uptime();
        self.agenda(node).changed(Via::Local, at);
        record
    }

    fn note_history(&mut self, record: &Record, replaced: &Versions) {
        let mut history = BTreeSet::new();
        for version in replaced.all() {
            history.extend(self.histories.get(&rank(version)).into_iter().flatten().cloned());
            history.insert(rank(version));
        }
        self.histories.insert(rank(record), history);
    }

    /// Tells some neighbours. What is lost on the way is for the sync to bring.
    fn gossip(&mut self, from: usize, record: &Record) {
        let mesh = self.meshes.get(&from).cloned();
        for to in mesh.unwrap_or_else(|| self.neighbours(from).into_iter().take(6).collect()) {
            *self.copies.entry(from).or_default() += 1;
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

    /// Passes it on at once, and commits it a moment later.
    pub(crate) fn gossip_arrives(&mut self, to: usize, record: Record) {
        let horizon = self.now(to).saturating_add(FUTURE_MAX);
        let node = &self.nodes[to];
        if !node.alive || record.timestamp > horizon {
            self.tally.gossip_lost += 1;
            return;
        }
        let Some(record) = self.admit_gossip(to, record) else {
            return;
        };
        let node = &self.nodes[to];
        let held = node
            .store
            .store
            .versions()
            .get(&record.key)
            .cloned()
            .unwrap_or_default();
        let news = held.clone().merge(&record).merge.stores_incoming() && !node.arrived.contains(&record);
        if !news {
            return;
        }
        self.gossip(to, &record);
        if self.nodes[to].arrived.is_empty() {
            let time = self.time + 1 + self.random.below(50) as u64;
            self.schedule(time, Event::Commit(to));
        }
        self.nodes[to].arrived.push(record);
    }

    pub(crate) fn commit(&mut self, node: usize) {
        let held = &mut self.nodes[node];
        let mut news = None;
        // Who may write may have changed since it came.
        let arrived = held
            .store
            .admit(std::mem::take(&mut held.arrived))
            .expect("verified when it came");
        for record in arrived {
            match held.store.take(&record) {
                None => self.tally.no_room += 1,
                Some(merge) if merge.stores_incoming() => {
                    held.clock.observe(record.timestamp);
                    self.tally.taken_without_room += u64::from(held.store.full);
                    news = Some(record.author);
                }
                Some(_) => {}
            }
        }
        if let Some(author) = news {
            held.note_digest(self.time);
            let at = self.uptime();
            let neighbour = author;
            self.agenda(node).changed(Via::Gossip { author, neighbour }, at);
        }
    }
}
