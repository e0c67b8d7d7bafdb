//! What must hold.

use std::collections::BTreeSet;
use std::time::Duration;

use p2p_sync_core::item::Item;
use p2p_sync_core::limits::FUTURE_MAX;
use p2p_sync_core::summary::Summary;
use p2p_sync_core::sync::SyncStore;
use p2p_sync_core::{NodeId, Record};

use crate::connections::peer_id;
use crate::node::{Node, Rank, rank};
use crate::support::{covers, held};
use crate::world::{Tally, World};

/// How long a world that is equal may take to find that out everywhere, and how long it is watched then.
const SETTLING_MS: u64 = 90_000;
const WATCHED_MS: u64 = 120_000;

impl World {
    fn honest(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| node.lie.is_none())
    }

    pub(crate) fn all_equal(&self) -> bool {
        let mut stores = self.honest().map(|node| node.store.store.versions());
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
            .all()
            .filter(|record| record.timestamp <= horizon);
        due.all(|record| {
            let held = self.nodes[to].store.store.versions().get(&record.key);
            held.is_some_and(|held| !held.clone().merge(record).merge.stores_incoming())
        })
    }

    pub(crate) fn check_what_is_held(&self) {
        let written: BTreeSet<Rank> = self.written.iter().map(rank).collect();
        for node in self.honest() {
            node.store.check();
            let store = &node.store.store;
            for record in store.all() {
                assert!(written.contains(&rank(record)), "nobody wrote {record:?}");
            }
            for (key, least) in &self.must_keep {
                assert!(
                    store.get(key).is_some_and(|record| rank(record) >= *least),
                    "a write of {key} was lost"
                );
            }
        }
    }

    /// No write of an honest node is gone in silence: it is held, or an honest node has counted that it went, or it was there when
    /// something was written of which either is true. What a liar made up may overwrite it.
    fn check_that_nothing_is_lost_in_silence(&self) {
        let honest = self.nodes.iter().enumerate().filter(|(_, node)| node.lie.is_none());
        let honest: BTreeSet<NodeId> = honest.map(|(number, _)| peer_id(number)).collect();
        let made_up = |version: &&Record| !self.histories.contains_key(&rank(version));
        let made_up: Vec<&Record> = self.written.iter().filter(made_up).collect();
        let counted: BTreeSet<&Rank> = self.honest().flat_map(|node| &node.store.counted).collect();
        for node in self.honest() {
            let held: BTreeSet<Rank> = node.store.store.all().map(rank).collect();
            let told: BTreeSet<&Rank> = held.iter().chain(counted.iter().copied()).collect();
            let histories = told.iter().filter_map(|version| self.histories.get(*version));
            let accounted: BTreeSet<&Rank> = told.iter().copied().chain(histories.flatten()).collect();
            let lost = self.written.iter().find(|version| {
                honest.contains(&version.author)
                    && !accounted.contains(&rank(version))
                    && !made_up
                        .iter()
                        .any(|made_up| made_up.key == version.key && covers(made_up, version))
            });
            assert!(
                lost.is_none(),
                "nobody who overwrote this had it, or counted it: {lost:?}"
            );
        }
    }

    /// Everything that was written is held as if one node had heard all of it, and every node knows what it holds.
    pub(crate) fn check_against_the_model(&self) {
        let heard_all = !self.scenario.lost_disks && self.scenario.liars == 0;
        // What a record that does not count any longer had overwritten is gone without a word.
        if !self.scenario.lost_disks && !self.scenario.signed {
            self.check_that_nothing_is_lost_in_silence();
        }
        let model = held(&self.written);
        for node in self.honest() {
            let store = &node.store.store;
            assert!(
                !heard_all || store.all().eq(model.values().flatten()),
                "not what a node holds that heard everything"
            );
            let right = Summary::of(store.all().map(Item::of));
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
