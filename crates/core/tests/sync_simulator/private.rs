//! A private network in the world: who is in, what is signed, and which records count in the end. How entries spread is left to the
//! simulator of the membership: here everybody hears of a change some time after it was made.

use std::collections::BTreeSet;
use std::sync::Arc;

use p2p_sync_core::membership::{
    Entry, EntryId, KeepList, MemberName, NextSecret, PublicKey, Role, Roster, SecretKey, Signer, Statement,
};
use p2p_sync_core::sync::{FrameBuffer, SyncStore};
use p2p_sync_core::{Key, NodeId, Record, Via};

use crate::connections::peer_id;
use crate::liar::Lie;
use crate::support::{held, nanos};
use crate::world::{Event, World, YEAR_NANOS};

/// How the members change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Two are lowered: one that takes it, and one that goes on writing.
    Lowered,
    /// Lists are made of their records.
    Kept,
}

/// What the founder has made of the network.
pub(crate) struct Private {
    roster: Arc<Roster>,
    /// After each step.
    steps: Vec<(Step, Arc<Roster>)>,
}

/// The founder, and the honest writer that is lowered.
const FOUNDER: usize = 0;
const LOWERED: usize = 1;
const KEY_OF_RECOVERY: usize = 251;

pub(crate) fn key(node: usize) -> SecretKey {
    SecretKey::from_seed([u8::try_from(node).unwrap(); 32])
}

fn public(node: usize) -> PublicKey {
    key(node).public()
}

fn sign(network: EntryId, statement: Statement) -> Entry {
    Entry::sign(network, &key(FOUNDER), nanos(1), statement).unwrap()
}

fn genesis() -> Entry {
    let statement = Statement::Genesis {
        recovery: public(KEY_OF_RECOVERY),
        secret: [1; 32],
        nonce: [2; 16],
        name: "home".parse().unwrap(),
    };
    sign(EntryId([0; 32]), statement)
}

pub(crate) fn network() -> EntryId {
    genesis().id()
}

impl World {
    /// The one that signs on after it was removed.
    fn removed(&self) -> usize {
        self.nodes.len() - 1
    }

    /// The one that lies in some other way, or is a reader that writes.
    fn other_liar(&self) -> usize {
        self.nodes.len() - 2
    }

    /// Makes the network, before anything is written.
    pub(crate) fn found(&mut self) {
        if !self.scenario.signed {
            return;
        }
        let (removed, other) = (self.removed(), self.other_liar());
        let lies = [Lie::Rogue, Lie::Forges, Lie::Forges, Lie::WrongCells, Lie::Withholds];
        self.nodes[removed].lie = Some(Lie::Rogue);
        self.nodes[other].lie = Some(*self.random.pick(&lies));
        let mut roster = Roster::new(genesis()).unwrap();
        let grants = (1..self.nodes.len()).map(|node| {
            let role = if node == other { Role::Reader } else { Role::Writer };
            let grant = Statement::Grant {
                device: public(node),
                role,
                name: MemberName::new(format!("node {node}")).unwrap(),
            };
            sign(network(), grant)
        });
        roster.add(grants.collect());
        let roster = Arc::new(roster);
        for node in &mut self.nodes {
            // Others may hold whatever they like.
            if node.lie != Some(Lie::Rogue) {
                node.store.recount(Arc::clone(&roster));
            }
        }
        let steps = Vec::new();
        self.private = Some(Private { roster, steps });
        let third = self.scenario.trouble_ms as u64 / 3;
        self.schedule(third, Event::MembersChange(Step::Lowered));
        self.schedule(2 * third, Event::MembersChange(Step::Kept));
    }

    pub(crate) fn members_change(&mut self, step: Step) {
        let (removed, held) = (self.removed(), &self.nodes[FOUNDER].store);
        let list = |node: usize, salt: &[u8; 16]| {
            let author = public(node).node_id();
            let digests: Vec<_> = held
                .store
                .all()
                .filter(|record| record.author == author)
                .map(Record::digest)
                .collect();
            KeepList::of(salt, &digests)
        };
        let salt = [3; 16];
        let lists = [LOWERED, removed].map(|node| (node, list(node, &salt)));
        if step == Step::Kept {
            self.tally.listed += lists.iter().map(|(_, list)| list.count()).sum::<u64>();
        }
        let private = self.private.as_mut().unwrap();
        let mut roster = (*private.roster).clone();
        for (node, list) in lists {
            let device = public(node);
            let (to, secret) = match node {
                LOWERED => (Role::Reader, None),
                _ => (
                    Role::Out,
                    Some(NextSecret {
                        epoch: 1,
                        hash: [4; 32],
                    }),
                ),
            };
            let entry = sign(
                network(),
                match step {
                    Step::Lowered => Statement::Lower {
                        device,
                        to,
                        secret,
                        accepted: Vec::new(),
                    },
                    Step::Kept => Statement::Keep {
                        device,
                        salt,
                        count: list.count(),
                        list: list.hash(),
                    },
                },
            );
            assert_eq!(roster.add(vec![entry.clone()]).len(), 1);
            if step == Step::Kept {
                assert!(roster.add_list(entry.id(), &list.to_bytes()));
            }
        }
        private.roster = Arc::new(roster);
        private.steps.push((step, Arc::clone(&private.roster)));
        for node in 0..self.nodes.len() {
            let delay = self.random.below(self.scenario.trouble_ms / 4) as u64;
            let delay = if node == FOUNDER { 0 } else { delay };
            self.schedule(self.time + delay, Event::MembersHeard(node, step));
        }
    }

    pub(crate) fn members_heard(&mut self, node: usize, step: Step) {
        let private = self.private.as_ref().unwrap();
        let (_, roster) = private.steps.iter().find(|(made, _)| *made == step).unwrap();
        let roster = Arc::clone(roster);
        // Where the steps come in the other order, the later one holds.
        let known = self.nodes[node]
            .store
            .roster()
            .map_or(0, |known| known.entries().iter().count());
        if self.nodes[node].lie == Some(Lie::Rogue) || known >= roster.entries().iter().count() {
            return;
        }
        self.nodes[node].store.recount(roster);
        self.tally.aside += self.nodes[node].store.store.aside().len() as u64;
        self.nodes[node].note_digest(self.time);
        let at = self.uptime();
        self.agenda(node).changed(Via::Local, at);
    }

    /// Frames as they are in this network.
    pub(crate) fn buffers(&self) -> [FrameBuffer; 2] {
        let buffer = || {
            if self.scenario.signed {
                FrameBuffer::signed()
            } else {
                FrameBuffer::new()
            }
        };
        [buffer(), buffer()]
    }

    /// Whom a node names as the author of what it writes.
    pub(crate) fn author(&self, node: usize) -> NodeId {
        if self.scenario.signed {
            public(node).node_id()
        } else {
            peer_id(node)
        }
    }

    /// Whether it was removed, and goes on.
    pub(crate) fn dates_back(&self, node: usize) -> bool {
        let lowered = self.private.as_ref().is_some_and(|private| !private.steps.is_empty());
        lowered && node == self.removed()
    }

    /// What a node writes, as it sends it. One that was removed dates it back, by up to a year.
    pub(crate) fn signed(&mut self, node: usize, mut record: Record) -> Record {
        if self.private.is_none() {
            return record;
        }
        if self.dates_back(node) {
            let back = self.random.bits() % YEAR_NANOS.unsigned_abs();
            let earliest = record
                .seen
                .others()
                .iter()
                .map(|(_, seen)| *seen)
                .chain(record.seen.floor())
                .max();
            let earliest = earliest.map_or(1, |seen| seen.as_nanos() + 1);
            record.timestamp = nanos((record.timestamp.as_nanos() - back.cast_signed()).max(earliest));
        }
        record.signature = Some(Signer::new(network(), key(node)).sign(&record));
        record
    }

    /// Whether a node is there, and writes: honest ones do not once they know that they may not.
    pub(crate) fn may_try_to_write(&self, node: usize) -> bool {
        let held = &self.nodes[node];
        let author = self.author(node);
        let role = held
            .store
            .roster()
            .and_then(|roster| roster.members().role(&PublicKey::of(&author).ok()?));
        held.alive && (held.lie.is_some() || role.is_none_or(|role| role >= Role::Writer))
    }

    /// A record that came by gossip, if it counts.
    pub(crate) fn admit_gossip(&mut self, to: usize, record: Record) -> Option<Record> {
        let Some(mut admitted) = self.nodes[to].store.admit(vec![record]) else {
            self.tally.wrong_signatures += 1;
            return None;
        };
        self.tally.not_permitted += u64::from(admitted.is_empty());
        admitted.pop()
    }

    /// What is held is signed, and counts, by the world's own account; and where nobody wrote who may not, it is all that was written.
    pub(crate) fn check_signed(&self) {
        let founder = &self.nodes[FOUNDER].store.store;
        let last = &self.private.as_ref().unwrap().steps;
        assert_eq!(last.len(), 2);
        let (removed, other) = (public(self.removed()).node_id(), public(self.other_liar()).node_id());
        let lowered = public(LOWERED).node_id();
        let roster = self.nodes[FOUNDER].store.roster().unwrap();
        // Of those that were lowered, what the lists say.
        let listed = |record: &Record| {
            let device = PublicKey::of(&record.author).unwrap();
            let keep = roster.members().ruling_keep(&device, roster.lists()).unwrap();
            roster.lists()[&keep].names(&record.digest())
        };
        let counts = |record: &Record| {
            let is_lowered = record.author == lowered || record.author == removed;
            record.author != other && (!is_lowered || listed(record))
        };
        for node in self.nodes.iter().filter(|node| node.lie.is_none()) {
            node.store.check();
            for record in node.store.store.all() {
                let message = [&b"p2p-sync record 1\0"[..], &network().0, &record.digest()].concat();
                let signature = record.signature.as_ref().expect("it is signed").as_bytes();
                let author = PublicKey::of(&record.author).unwrap();
                assert!(
                    author.verifies(&message, signature),
                    "not signed by its author: {record:?}"
                );
                assert!(counts(record), "does not count: {record:?}");
                assert!(self.written.contains(record), "nobody wrote {record:?}");
            }
            assert!(node.store.store.versions() == founder.versions());
        }
        let tainted: BTreeSet<&Key> = self
            .written
            .iter()
            .filter(|record| !counts(record) || record.author == removed)
            .map(|record| &record.key)
            .collect();
        let sound = held(self.written.iter().filter(|record| !tainted.contains(&record.key)));
        for (key, versions) in &sound {
            assert_eq!(
                founder.versions().get(key).map(|held| held.all()),
                Some(versions.as_slice()),
                "{key}"
            );
        }
    }
}
