//! Who is in: a function of the set of entries, whatever order they came in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::entry::{Entry, EntryId, MemberName, NextSecret, Role, ShortId, Statement};
use super::key::PublicKey;
use super::list::KeepList;
use super::set::Entries;
use crate::limits::MEMBERS_MAX;

/// How far somebody is from the recovery key, whose rank is −1: the founder, and admins by grace of the recovery key, have 0;
/// admins by grace of those have 1. Whoever has none signs nothing about others.
pub type Rank = i8;

/// The members of a network, by the entries that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    ranks: BTreeMap<PublicKey, Rank>,
    granted: BTreeMap<PublicKey, Granted>,
    lowered: BTreeMap<PublicKey, Role>,
    keeps: BTreeMap<PublicKey, BTreeSet<(Rank, EntryId)>>,
    /// The entries that count; of Keeps, those that could.
    counted: BTreeSet<EntryId>,
    /// Whoever has no room among [`MEMBERS_MAX`].
    crowded_out: BTreeSet<PublicKey>,
    secret: (NextSecret, EntryId),
}

/// The best that was granted to a device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Granted {
    role: Role,
    /// By the Grant of the smallest id among those of that role.
    by: EntryId,
    name: Option<MemberName>,
}

/// What one pass over the signers of a rank works on: of each, the entries that remain.
type Remaining = BTreeMap<PublicKey, Vec<Arc<Entry>>>;

/// The lists that a node holds, by the Keeps that stand for them.
pub type Lists = BTreeMap<EntryId, KeepList>;

impl Members {
    pub(super) fn of(entries: &Entries) -> Self {
        let genesis = entries.genesis();
        let first = match genesis.statement() {
            Statement::Genesis { secret, .. } => *secret,
            _ => [0; 32],
        };
        let founder = Granted {
            role: Role::Admin,
            by: genesis.id(),
            name: None,
        };
        let mut fold = Fold {
            recovery: entries.recovery(),
            lowers: BTreeMap::new(),
            granters: BTreeMap::new(),
            members: Self {
                ranks: BTreeMap::from([(entries.recovery(), -1), (genesis.signer(), 0)]),
                granted: BTreeMap::from([(genesis.signer(), founder)]),
                lowered: BTreeMap::new(),
                keeps: BTreeMap::new(),
                counted: BTreeSet::from([genesis.id()]),
                crowded_out: BTreeSet::new(),
                secret: (NextSecret { epoch: 0, hash: first }, genesis.id()),
            },
        };
        for rank in -1..=1 {
            fold.rank(rank, entries);
        }
        fold.leaves(entries);
        fold.bound(genesis.signer());
        fold.members
    }

    /// What a device may do; none if it never was a member.
    pub fn role(&self, device: &PublicKey) -> Option<Role> {
        let granted = self.granted_role(device)?;
        Some(self.lowered.get(device).map_or(granted, |to| granted.min(*to)))
    }

    /// The best that was granted to a device, whatever was taken from it later; none if it never was a member.
    pub fn granted_role(&self, device: &PublicKey) -> Option<Role> {
        if self.crowded_out.contains(device) {
            return None;
        }
        self.granted.get(device).map(|granted| granted.role)
    }

    /// Whether a device is a member now.
    pub fn is_member(&self, device: &PublicKey) -> bool {
        self.role(device).is_some_and(|role| role > Role::Out)
    }

    /// All that are members now, in ascending order; at most [`MEMBERS_MAX`].
    pub fn members(&self) -> impl Iterator<Item = (PublicKey, Role)> {
        self.granted.keys().filter_map(|device| {
            let role = self.role(device)?;
            (role > Role::Out).then_some((*device, role))
        })
    }

    /// What people call a device: as in the Grant that counts most. None for the founder, and for strangers.
    pub fn name(&self, device: &PublicKey) -> Option<&MemberName> {
        self.granted.get(device)?.name.as_ref()
    }

    /// The rank of an admin, also of one that was lowered since.
    pub fn rank(&self, device: &PublicKey) -> Option<Rank> {
        self.ranks.get(device).copied()
    }

    /// The Grant that counts most for a device, the Genesis if it is the founder's.
    pub(super) fn grant_of(&self, device: &PublicKey) -> Option<EntryId> {
        self.granted.get(device).map(|granted| granted.by)
    }

    /// Who has this rank.
    pub(super) fn of_rank(&self, rank: Rank) -> impl Iterator<Item = PublicKey> {
        let of_rank = self.ranks.iter().filter(move |(_, of)| **of == rank);
        of_rank.map(|(device, _)| *device)
    }

    /// Whether an entry counts; a Keep, whether it does once its list is here.
    pub fn counts(&self, id: &EntryId) -> bool {
        self.counted.contains(id)
    }

    /// The secret that the network uses now: that of the greatest (epoch, id of the entry that names it).
    pub fn secret(&self) -> NextSecret {
        self.secret.0
    }

    /// The entry that names that secret.
    pub fn secret_entry(&self) -> EntryId {
        self.secret.1
    }

    /// The Keeps that count for a device, the one that rules first, if all lists were here.
    pub fn keeps(&self, device: &PublicKey) -> impl Iterator<Item = EntryId> {
        self.keeps.get(device).into_iter().flatten().map(|(_, id)| *id)
    }

    /// The Keep that rules over a device's records: of the smallest rank, and then the smallest id, among those whose lists
    /// are here.
    pub fn ruling_keep(&self, device: &PublicKey, lists: &Lists) -> Option<EntryId> {
        self.keeps(device).find(|id| lists.contains_key(id))
    }

    /// The lists that are worth asking for: those of Keeps that go before the one that rules, of devices that may not write any
    /// longer.
    pub fn lists_wanted(&self, lists: &Lists) -> Vec<EntryId> {
        let closed = self.keeps.keys().filter(|device| !self.may_write(device));
        let wanted = closed.flat_map(|device| self.keeps(device).take_while(|id| !lists.contains_key(id)));
        wanted.collect()
    }

    /// The Keeps that rule, of all devices that may not write any longer.
    pub(super) fn ruling(&self, lists: &Lists) -> impl Iterator<Item = EntryId> {
        let closed = self.keeps.keys().filter(|device| !self.may_write(device));
        closed.filter_map(|device| self.ruling_keep(device, lists))
    }

    fn may_write(&self, device: &PublicKey) -> bool {
        self.role(device).is_some_and(|role| role >= Role::Writer)
    }

    /// Whether a record counts whose signature holds: its author may write now; or could once, and no list says that this record
    /// came later.
    pub fn record_counts(&self, author: &PublicKey, digest: &[u8; 32], lists: &Lists) -> bool {
        if self.granted_role(author).is_none_or(|role| role < Role::Writer) {
            return false;
        }
        if self.may_write(author) {
            return true;
        }
        self.ruling_keep(author, lists)
            .and_then(|id| lists.get(&id))
            .is_none_or(|list| list.names(digest))
    }
}

struct Fold {
    recovery: PublicKey,
    /// The Lowers that count, by device.
    lowers: BTreeMap<PublicKey, Vec<Arc<Entry>>>,
    /// Which devices each signer granted something, for the bound.
    granters: BTreeMap<(Rank, PublicKey), BTreeSet<PublicKey>>,
    members: Members,
}

impl Fold {
    /// Counts what the signers of one rank say.
    fn rank(&mut self, rank: Rank, entries: &Entries) {
        let signers = self.members.ranks.iter().filter(|(_, of)| **of == rank);
        let mut remaining: Remaining = signers
            .map(|(signer, _)| (*signer, entries.by(*signer).cloned().collect()))
            .collect();
        // 1. Whoever was lowered by seniors says only what all of them accept.
        for (signer, said) in &mut remaining {
            if let Some(by_seniors) = self.lowers.get(signer) {
                said.retain(|entry| accepted_by_all(by_seniors, entry));
            }
        }
        // 2. Among equals, all count: mutual removal removes both.
        let mut among_equals: BTreeMap<PublicKey, Vec<Arc<Entry>>> = BTreeMap::new();
        for entry in remaining.values().flatten() {
            if let Statement::Lower { device, .. } = entry.statement()
                && self.is_among(rank, entry)
            {
                among_equals.entry(*device).or_default().push(Arc::clone(entry));
            }
        }
        // 3. Whoever was lowered so says, besides these Lowers, only what all of them accept.
        for (signer, said) in &mut remaining {
            if let Some(by_equals) = among_equals.get(signer) {
                said.retain(|entry| accepted_by_all(by_equals, entry));
            }
        }
        among_equals.values().flatten().for_each(|entry| self.lower(entry));
        // 4. What remains counts.
        for entry in remaining.values().flatten() {
            self.count(rank, entry);
        }
    }

    /// Whether an entry lowers somebody of this rank. The recovery key is no device.
    fn is_among(&self, rank: Rank, entry: &Entry) -> bool {
        matches!(entry.statement(), Statement::Lower { device, .. }
            if *device != self.recovery && self.members.ranks.get(device) == Some(&rank))
    }

    fn count(&mut self, rank: Rank, entry: &Arc<Entry>) {
        match entry.statement() {
            Statement::Genesis { .. } => {}
            // The recovery key is no device.
            Statement::Grant { device, .. } | Statement::Lower { device, .. } if *device == self.recovery => {}
            Statement::Grant { device, role, name } => {
                if *role < Role::Admin || rank <= 0 {
                    self.grant(rank, entry, *device, *role, name);
                }
            }
            Statement::Lower { device, .. } => {
                if self.members.ranks.get(device).is_none_or(|of| *of > rank) {
                    self.lower(entry);
                }
            }
            Statement::Keep { device, .. } => {
                self.members.counted.insert(entry.id());
                let keeps = self.members.keeps.entry(*device).or_default();
                keeps.insert((rank, entry.id()));
            }
        }
    }

    fn grant(&mut self, rank: Rank, entry: &Entry, device: PublicKey, role: Role, name: &MemberName) {
        self.members.counted.insert(entry.id());
        self.granters.entry((rank, entry.signer())).or_default().insert(device);
        if role == Role::Admin {
            let held = self.members.ranks.entry(device).or_insert(rank + 1);
            *held = (*held).min(rank + 1);
        }
        let new = Granted {
            role,
            by: entry.id(),
            name: Some(name.clone()),
        };
        let held = self.members.granted.entry(device).or_insert_with(|| new.clone());
        if (role, held.by) > (held.role, new.by) {
            *held = new;
        }
    }

    fn lower(&mut self, entry: &Arc<Entry>) {
        let Statement::Lower { device, to, secret, .. } = entry.statement() else {
            return;
        };
        if *device == self.recovery || !self.members.counted.insert(entry.id()) {
            return;
        }
        let held = self.members.lowered.entry(*device).or_insert(*to);
        *held = (*held).min(*to);
        self.lowers.entry(*device).or_default().push(Arc::clone(entry));
        if let Some(next) = secret
            && (next.epoch, entry.id()) > (self.members.secret.0.epoch, self.members.secret.1)
        {
            self.members.secret = (*next, entry.id());
        }
    }

    /// Anyone may lower itself, also one whose other entries do not count any longer, and one without a rank.
    fn leaves(&mut self, entries: &Entries) {
        let own = |entry: &&Arc<Entry>| entry.statement().device() == Some(entry.signer());
        for entry in entries.iter().filter(own) {
            self.lower(entry);
        }
    }

    /// Leaves out members that have no room: the founder has, and then the signers take turns, seniors first, each with its next
    /// smallest device.
    fn bound(&mut self, founder: PublicKey) {
        let members: BTreeSet<PublicKey> = self.members.members().map(|(device, _)| device).collect();
        if members.len() <= MEMBERS_MAX {
            return;
        }
        let mut turns: Vec<(usize, Rank, PublicKey, PublicKey)> = Vec::new();
        for ((rank, signer), devices) in &self.granters {
            let in_turn = devices.intersection(&members).enumerate();
            turns.extend(in_turn.map(|(turn, device)| (turn, *rank, *signer, *device)));
        }
        turns.sort_unstable();
        let mut kept = BTreeSet::from([founder]);
        for (_, _, _, device) in turns {
            if kept.len() >= MEMBERS_MAX {
                break;
            }
            kept.insert(device);
        }
        self.members.crowded_out = members.difference(&kept).copied().collect();
    }
}

/// Whether all these Lowers name an entry among those that go on to count.
fn accepted_by_all(lowers: &[Arc<Entry>], entry: &Entry) -> bool {
    lowers.iter().all(|lower| accepts(lower, entry.id().short()))
}

fn accepts(lower: &Entry, id: ShortId) -> bool {
    matches!(lower.statement(), Statement::Lower { accepted, .. } if accepted.binary_search(&id).is_ok())
}
