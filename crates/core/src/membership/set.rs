//! The entries of a network that a node holds: a set that only grows, within bounds that do not depend on the order in which
//! entries arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::entry::{Entry, EntryId, Role, ShortId, Statement};
use super::fold::Members;
use super::key::PublicKey;
use crate::limits::{ENTRIES_PER_KIND_MAX, SIGNER_DEVICES_MAX};

/// Where an entry stands: signer, device, kind, weakness, id. Of signer, device and kind, the first are held; of a signer, the
/// first devices. By their weakness, nothing that a signer says later makes room for more than it granted or took before.
type Place = (PublicKey, PublicKey, u8, u8, EntryId);

/// The entries of one network.
#[derive(Debug, Clone)]
pub struct Entries {
    genesis: Arc<Entry>,
    recovery: PublicKey,
    places: BTreeMap<Place, Arc<Entry>>,
    ids: BTreeMap<EntryId, Place>,
    /// Who may sign what, as far as Grants go, whether they count or not.
    standings: BTreeMap<PublicKey, Standing>,
}

/// What a device may sign that is worth holding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// The recovery key.
    Recovery,
    /// The founder, and admins by grace of the recovery key: their admins are admins.
    First,
    /// Admins by grace of those.
    Second,
    /// Whoever else was granted anything. It can only leave.
    Granted,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is held from now on.
    New,
    /// It was held already.
    Known,
    /// Its signer's room is taken by entries that go first, on every node.
    Crowded,
}

/// Why an entry has no place in a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It belongs to another network.
    #[error("a membership entry of another network")]
    OtherNetwork,
    /// No chain of Grants from the Genesis to its signer is held that would let it say so.
    #[error("a membership entry by somebody who may not sign it")]
    NoChain,
}

/// A statement with which no network can begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network begins with its Genesis")]
pub struct NoGenesis;

impl Entries {
    /// A network with its founder alone.
    ///
    /// # Errors
    /// When `genesis` is something else.
    pub fn new(genesis: Entry) -> Result<Self, NoGenesis> {
        let Statement::Genesis { recovery, .. } = *genesis.statement() else {
            return Err(NoGenesis);
        };
        let mut entries = Self {
            genesis: Arc::new(genesis),
            recovery,
            places: BTreeMap::new(),
            ids: BTreeMap::new(),
            standings: BTreeMap::new(),
        };
        entries.stand();
        Ok(entries)
    }

    /// The id of the network.
    pub fn network(&self) -> EntryId {
        self.genesis.id()
    }

    /// The first entry of all.
    pub fn genesis(&self) -> &Arc<Entry> {
        &self.genesis
    }

    /// The entry of an id.
    pub fn get(&self, id: &EntryId) -> Option<&Arc<Entry>> {
        if *id == self.genesis.id() {
            return Some(&self.genesis);
        }
        self.places.get(self.ids.get(id)?)
    }

    /// The first entry whose id begins so.
    pub(super) fn find(&self, short: ShortId) -> Option<EntryId> {
        self.following(Some(short), true).next()
    }

    /// The ids in ascending order, from this first half on: those with it only if it is `included`.
    pub(super) fn following(&self, from: Option<ShortId>, included: bool) -> impl Iterator<Item = EntryId> {
        let first = from.map_or([0; 16], |short| short.0);
        let mut bound = [0; 32];
        bound.iter_mut().zip(first).for_each(|(byte, first)| *byte = first);
        let genesis = self.genesis.id();
        let mut genesis = (genesis.0 >= bound).then_some(genesis);
        let mut others = self.ids.range(EntryId(bound)..).map(|(id, _)| *id).peekable();
        let merged = std::iter::from_fn(move || match (genesis, others.peek()) {
            (Some(first), Some(other)) if first < *other => genesis.take(),
            (Some(_), None) => genesis.take(),
            _ => others.next(),
        });
        merged.skip_while(move |id| !included && from == Some(id.short()))
    }

    /// All ids, in ascending order.
    pub fn ids(&self) -> Vec<EntryId> {
        self.following(None, true).collect()
    }

    /// All entries: the Genesis, and then by signer.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        std::iter::once(&self.genesis).chain(self.places.values())
    }

    /// How many entries there are; never 0, since there is a Genesis.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        1 + self.places.len()
    }

    /// What two nodes compare: BLAKE3 over all ids in ascending order.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for id in self.ids() {
            hasher.update(&id.0);
        }
        *hasher.finalize().as_bytes()
    }

    /// Who is in, by these entries.
    pub fn members(&self) -> Members {
        Members::of(self)
    }

    pub(super) fn recovery(&self) -> PublicKey {
        self.recovery
    }

    /// The entries of one signer, without the Genesis.
    pub(super) fn by(&self, signer: PublicKey) -> impl Iterator<Item = &Arc<Entry>> {
        let first = (signer, LOWEST, 0, 0, EntryId([0; 32]));
        let of_signer = move |(place, _): &(&Place, &Arc<Entry>)| place.0 == signer;
        self.places.range(first..).take_while(of_signer).map(|(_, entry)| entry)
    }

    /// The Grants of one signer for one device, those of the highest role first.
    pub(super) fn grants(&self, signer: PublicKey, device: PublicKey) -> impl Iterator<Item = &Arc<Entry>> {
        let first = (signer, device, GRANT, 0, EntryId([0; 32]));
        let last = (signer, device, GRANT, u8::MAX, EntryId([0xff; 32]));
        self.places.range(first..=last).map(|(_, entry)| entry)
    }

    /// Takes an entry in, and drops what it crowds out.
    ///
    /// # Errors
    /// When it has no place here. One without a chain may have one later, when the Grants before it have come.
    pub fn insert(&mut self, entry: Entry) -> Result<Inserted, Refused> {
        if entry.network() != self.network() {
            return Err(Refused::OtherNetwork);
        }
        let Some(device) = entry.statement().device() else {
            return Ok(Inserted::Known);
        };
        if self.ids.contains_key(&entry.id()) {
            return Ok(Inserted::Known);
        }
        if !self.may_sign(&entry) {
            return Err(Refused::NoChain);
        }
        let (kind, weakness) = kind(entry.statement());
        let place = (entry.signer(), device, kind, weakness, entry.id());
        let Some(crowded_out) = self.room_for(&place) else {
            return Ok(Inserted::Crowded);
        };
        let entry = Arc::new(entry);
        self.ids.insert(place.4, place);
        self.places.insert(place, Arc::clone(&entry));
        if crowded_out.is_empty() {
            self.grant(&entry);
        } else {
            crowded_out.iter().for_each(|place| self.remove(place));
            self.drop_without_chain();
        }
        Ok(Inserted::New)
    }

    /// What goes if an entry comes to stand at `place`; none if it does not come.
    fn room_for(&self, place: &Place) -> Option<Vec<Place>> {
        let (signer, device, kind, ..) = *place;
        let of_kind = self.between((signer, device, kind), (signer, device, kind));
        if of_kind.len() >= ENTRIES_PER_KIND_MAX {
            let last = *of_kind.last()?;
            return (*place < last).then(|| vec![last]);
        }
        if !self.between((signer, device, 0), (signer, device, u8::MAX)).is_empty() {
            return Some(Vec::new());
        }
        let devices = self.devices_of(signer);
        if devices.len() < SIGNER_DEVICES_MAX {
            return Some(Vec::new());
        }
        let last = *devices.last()?;
        (device < last).then(|| self.between((signer, last, 0), (signer, last, u8::MAX)))
    }

    /// The places from one signer, device and kind to another, both included.
    fn between(&self, first: (PublicKey, PublicKey, u8), last: (PublicKey, PublicKey, u8)) -> Vec<Place> {
        let first = (first.0, first.1, first.2, 0, EntryId([0; 32]));
        let last = (last.0, last.1, last.2, u8::MAX, EntryId([0xff; 32]));
        self.places.range(first..=last).map(|(place, _)| *place).collect()
    }

    /// The devices that a signer says anything about. Looks at one entry of each.
    fn devices_of(&self, signer: PublicKey) -> BTreeSet<PublicKey> {
        let mut devices = BTreeSet::new();
        let mut from = Bound::Included((signer, LOWEST, 0, 0, EntryId([0; 32])));
        while let Some((place, _)) = self.places.range((from, Bound::Unbounded)).next() {
            if place.0 != signer {
                break;
            }
            devices.insert(place.1);
            from = Bound::Excluded((signer, place.1, u8::MAX, u8::MAX, EntryId([0xff; 32])));
        }
        devices
    }

    fn remove(&mut self, place: &Place) {
        self.places.remove(place);
        self.ids.remove(&place.4);
    }

    fn may_sign(&self, entry: &Entry) -> bool {
        match self.standings.get(&entry.signer()) {
            None => false,
            Some(Standing::Granted) => {
                matches!(entry.statement(), Statement::Lower { device, .. } if *device == entry.signer())
            }
            Some(_) => true,
        }
    }

    /// Works out all standings anew.
    fn stand(&mut self) {
        self.standings = BTreeMap::from([
            (self.recovery, Standing::Recovery),
            (self.genesis.signer(), Standing::First),
        ]);
        for signer in [self.recovery, self.genesis.signer()] {
            self.grant_all_of(signer);
        }
    }

    fn grant_all_of(&mut self, signer: PublicKey) {
        let grants: Vec<_> = self.by(signer).cloned().collect();
        grants.iter().for_each(|entry| self.grant(entry));
    }

    /// What a Grant does to the standing of its device, and of those that it granted anything.
    fn grant(&mut self, entry: &Entry) {
        let Statement::Grant { device, role, .. } = entry.statement() else {
            return;
        };
        let admin = *role == Role::Admin;
        let standing = match self.standings.get(&entry.signer()) {
            Some(Standing::Recovery) if admin => Standing::First,
            Some(Standing::First) if admin => Standing::Second,
            Some(Standing::Recovery | Standing::First | Standing::Second) => Standing::Granted,
            Some(Standing::Granted) | None => return,
        };
        if self.standings.get(device).is_none_or(|held| standing < *held) {
            self.standings.insert(*device, standing);
            self.grant_all_of(*device);
        }
    }

    /// Drops the entries of signers whose chain was crowded out.
    fn drop_without_chain(&mut self) {
        loop {
            self.stand();
            let without = |entry: &&Arc<Entry>| !self.may_sign(entry);
            let gone: Vec<Place> = self
                .places
                .iter()
                .filter(|(_, entry)| without(entry))
                .map(|(place, _)| *place)
                .collect();
            if gone.is_empty() {
                break;
            }
            gone.iter().for_each(|place| self.remove(place));
        }
    }
}

/// Before every key.
const LOWEST: PublicKey = PublicKey::LOWEST;

/// The kind of Grants.
const GRANT: u8 = 2;

/// The kind, and how little a statement of it says: the highest role is granted first, and the most taken.
fn kind(statement: &Statement) -> (u8, u8) {
    match statement {
        Statement::Genesis { .. } => (1, 0),
        Statement::Grant { role, .. } => (GRANT, Role::Admin.number() - role.number()),
        Statement::Lower { to, .. } => (3, to.number()),
        Statement::Keep { .. } => (4, 0),
    }
}
