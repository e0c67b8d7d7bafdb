//! Who is in, once more: the rules as PROTOCOL.md tells them, over a plain list, slow and without any care for that. Shares
//! nothing with the fold that it is compared with.

use p2p_sync_core::membership::{Entry, EntryId, PublicKey, Role, ShortId, Statement};

pub(crate) struct Model {
    pub(crate) ranks: Vec<(PublicKey, i8)>,
    /// The entries that count.
    pub(crate) counted: Vec<Entry>,
}

fn device(entry: &Entry) -> Option<PublicKey> {
    entry.statement().device()
}

fn is_lower(entry: &Entry) -> bool {
    matches!(entry.statement(), Statement::Lower { .. })
}

fn accepted(lower: &Entry) -> &[ShortId] {
    match lower.statement() {
        Statement::Lower { accepted, .. } => accepted,
        _ => &[],
    }
}

impl Model {
    pub(crate) fn of(genesis: &Entry, entries: &[Entry]) -> Self {
        let Statement::Genesis { recovery, .. } = genesis.statement() else {
            panic!("begins with its Genesis");
        };
        let mut model = Self {
            ranks: vec![(*recovery, -1), (genesis.signer(), 0)],
            counted: vec![genesis.clone()],
        };
        for rank in -1..=1 {
            model.pass(rank, entries, recovery);
        }
        for entry in entries {
            let leaves = is_lower(entry) && device(entry) == Some(entry.signer()) && entry.signer() != *recovery;
            if leaves && !model.counts(entry.id()) {
                model.counted.push(entry.clone());
            }
        }
        model
    }

    fn pass(&mut self, rank: i8, entries: &[Entry], recovery: &PublicKey) {
        let mut said: Vec<&Entry> = entries.iter().filter(|e| device(e).is_some()).collect();
        said.retain(|e| self.rank(&e.signer()) == Some(rank));
        let by_seniors: Vec<Entry> = self.counted.iter().filter(|e| is_lower(e)).cloned().collect();
        said.retain(|e| {
            let mut against = by_seniors.iter().filter(|lower| device(lower) == Some(e.signer()));
            against.all(|lower| accepted(lower).contains(&e.id().short()))
        });
        let between = |e: &Entry| {
            is_lower(e) && device(e) != Some(*recovery) && device(e).and_then(|who| self.rank(&who)) == Some(rank)
        };
        let equals: Vec<&Entry> = said.iter().copied().filter(|e| between(e)).collect();
        let rest: Vec<&Entry> = said.iter().copied().filter(|e| !between(e)).collect();
        let rest = rest.into_iter().filter(|e| {
            let mut against = equals.iter().filter(|lower| device(lower) == Some(e.signer()));
            against.all(|lower| accepted(lower).contains(&e.id().short()))
        });
        let (mut counted, mut promoted) = (Vec::new(), Vec::new());
        for e in rest {
            let about = device(e).unwrap();
            let counts = match e.statement() {
                Statement::Genesis { .. } => unreachable!("it is about no device"),
                Statement::Grant { role, .. } => about != *recovery && (*role != Role::Admin || rank < 1),
                Statement::Lower { .. } => self.rank(&about).is_none_or(|of| of > rank),
                Statement::Keep { .. } => true,
            };
            if counts {
                counted.push(e.clone());
            }
            if counts && matches!(e.statement(), Statement::Grant { role: Role::Admin, .. }) {
                promoted.push(about);
            }
        }
        self.counted.extend(equals.into_iter().cloned());
        self.counted.extend(counted);
        for about in promoted {
            if self.rank(&about).is_none() {
                self.ranks.push((about, rank + 1));
            }
        }
    }

    pub(crate) fn rank(&self, who: &PublicKey) -> Option<i8> {
        self.ranks
            .iter()
            .filter(|(key, _)| key == who)
            .map(|(_, rank)| *rank)
            .min()
    }

    pub(crate) fn counts(&self, id: EntryId) -> bool {
        self.counted.iter().any(|entry| entry.id() == id)
    }

    pub(crate) fn granted(&self, who: &PublicKey) -> Option<Role> {
        let roles = self.counted.iter().filter_map(|entry| match entry.statement() {
            Statement::Genesis { .. } if entry.signer() == *who => Some(Role::Admin),
            Statement::Grant { device, role, .. } if device == who => Some(*role),
            _ => None,
        });
        roles.max()
    }

    pub(crate) fn role(&self, who: &PublicKey) -> Option<Role> {
        let lowered = self.counted.iter().filter_map(|entry| match entry.statement() {
            Statement::Lower { device, to, .. } if device == who => Some(*to),
            _ => None,
        });
        self.granted(who).map(|granted| lowered.fold(granted, Role::min))
    }

    /// The Keeps for a device, the one that rules first.
    pub(crate) fn keeps(&self, who: &PublicKey) -> Vec<EntryId> {
        let keeps = self
            .counted
            .iter()
            .filter(|e| matches!(e.statement(), Statement::Keep { device, .. } if device == who));
        let mut keeps: Vec<_> = keeps.map(|e| (self.rank(&e.signer()).unwrap(), e.id())).collect();
        keeps.sort();
        keeps.into_iter().map(|(_, id)| id).collect()
    }
}

/// What a node would hold that had been offered all of `entries` in every order: of each signer with a chain what has room.
pub(crate) fn held(genesis: &Entry, entries: &[Entry]) -> Vec<EntryId> {
    let Statement::Genesis { recovery, .. } = genesis.statement() else {
        panic!("begins with its Genesis");
    };
    let mut held: Vec<Entry> = Vec::new();
    let by = |signer: PublicKey| with_room(entries.iter().filter(|e| e.signer() == signer).cloned().collect());
    let admins_of = |signers: &[PublicKey]| -> Vec<PublicKey> {
        let all = signers.iter().flat_map(|signer| by(*signer));
        let mut devices: Vec<_> = all
            .filter_map(|e| match e.statement() {
                Statement::Grant {
                    device,
                    role: Role::Admin,
                    ..
                } => Some(*device),
                _ => None,
            })
            .collect();
        devices.sort();
        devices.dedup();
        devices
    };
    let mut signers = vec![*recovery];
    let mut first = admins_of(&[*recovery]);
    first.push(genesis.signer());
    let second = admins_of(&first);
    signers.extend(first);
    signers.extend(second);
    signers.sort();
    signers.dedup();
    held.extend(signers.iter().flat_map(|signer| by(*signer)));
    let granted: Vec<PublicKey> = held
        .iter()
        .filter(|e| matches!(e.statement(), Statement::Grant { .. }))
        .filter_map(device)
        .filter(|who| !signers.contains(who))
        .collect();
    let leaves = entries.iter().filter(|e| is_lower(e) && device(e) == Some(e.signer()));
    held.extend(with_room(
        leaves.filter(|e| granted.contains(&e.signer())).cloned().collect(),
    ));
    let mut ids: Vec<_> = held.iter().chain([genesis]).map(Entry::id).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// Of each device and kind the four that go first. Few enough devices that the other bound is out of reach.
fn with_room(entries: Vec<Entry>) -> Vec<Entry> {
    let sort = |e: &Entry| match e.statement() {
        Statement::Genesis { .. } => (1, 0),
        Statement::Grant { role, .. } => (2, 3 - role.number()),
        Statement::Lower { to, .. } => (3, to.number()),
        Statement::Keep { .. } => (4, 0),
    };
    let before = |one: &Entry, other: &Entry| {
        let alike = one.signer() == other.signer() && device(one) == device(other) && sort(one).0 == sort(other).0;
        alike && (sort(one).1, one.id()) < (sort(other).1, other.id())
    };
    let mut distinct: Vec<Entry> = Vec::new();
    for entry in entries {
        if !distinct.iter().any(|held| held.id() == entry.id()) {
            distinct.push(entry);
        }
    }
    let fits = |entry: &&Entry| distinct.iter().filter(|other| before(other, entry)).count() < 4;
    distinct.iter().filter(fits).cloned().collect()
}
