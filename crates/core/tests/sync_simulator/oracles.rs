//! What must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p_sync_core::item::Item;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::SyncStore;

use crate::node::{Node, Rank, rank};
use crate::support::winners;
use crate::world::{Tally, World};

/// How long a world that is equal may take to find that out everywhere, and how long it is watched then.
const SETTLING_MS: u64 = 90_000;
const WATCHED_MS: u64 = 120_000;

impl World {
    fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.lie.is_none())
    }

    pub(crate) fn all_equal(&self) -> bool {
        let mut stores = self.honest().map(|node| node.store.store.records());
        let first = stores.next().unwrap();
        stores.all(|records| records == first)
    }

    /// No honest node has anything for an honest neighbour that this one would take.
    pub(crate) fn nothing_is_due(&self) -> bool {
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
            held.is_some_and(|held| held == record || rank(held) >= rank(record))
        })
    }

    pub(crate) fn check_what_is_held(&self) {
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

    /// Everything that was written is held as if one node had heard all of it, and every node knows what it holds.
    pub(crate) fn check_against_the_model(&self) {
        let heard_all = !self.scenario.lost_disks && self.scenario.liars == 0;
        let model = winners(&self.written);
        for node in self.honest() {
            let held = node.store.store.records();
            assert!(
                !heard_all || *held == model,
                "not what a node holds that heard everything"
            );
            let right = Summary::of(held.values().map(Item::of));
            assert!(*node.store.summary() == right, "the summary is that of other records");
        }
    }

    /// Equal nodes check each other now and then, and that is all.
    pub(crate) fn check_that_it_is_quiet(&mut self) {
        self.run_until(self.time + SETTLING_MS, |_| false);
        self.check_against_the_model();
        let before = self.tally.clone();
        self.run_until(self.time + WATCHED_MS, |_| false);
        let opened = self.tally.sessions_opened - before.sessions_opened;
        // Liars may keep honest nodes busy.
        if self.scenario.liars == 0 {
            let most = self.nodes.len() as u64 * (WATCHED_MS / 30_000 + 1);
            assert!(opened <= most, "{opened} sessions between equals in {WATCHED_MS} ms");
            let unequal = |tally: &Tally| tally.sessions_delivered + tally.sessions_busy + tally.sessions_waiting;
            assert_eq!(
                unequal(&self.tally),
                unequal(&before),
                "sessions between equals end equal"
            );
        }
    }
}
