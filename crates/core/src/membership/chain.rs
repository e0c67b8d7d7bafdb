//! Why a device is a member, as a few entries that convince anybody who holds the Genesis: the Grants from there to the device.

use std::sync::Arc;

use super::entry::{Entry, Role, Statement};
use super::fold::Members;
use super::key::PublicKey;
use super::roster::Roster;
use super::set::{Entries, Inserted};

/// Grants from the Genesis to a device: of an admin by the recovery key, of another by that one, and of the device.
pub const CHAIN_MAX: usize = 3;

/// What a device at the door is, by the entries that are held and those that it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// A member, by these entries that were not held before, or without any.
    Member(Vec<Entry>),
    /// None any longer, because of the last of these entries; those before it are the Grants by which its signer may say so.
    Out(Vec<Entry>),
    /// Nobody.
    Stranger,
}

impl Roster {
    /// The Grants that make a device a member, the one nearest to the Genesis first: none for the founder, at most [`CHAIN_MAX`].
    /// None if no Grant of it counts.
    pub fn chain_of(&self, device: &PublicKey) -> Option<Vec<Entry>> {
        chain(self.entries(), self.members(), device)
    }

    /// What a device is that brings these Grants. Nothing is taken in.
    pub fn visitor(&self, device: &PublicKey, brought: &[Entry]) -> Visitor {
        if self.members().is_member(device) {
            return Visitor::Member(Vec::new());
        }
        // Without the lists, which can be large, and do not matter here.
        let mut entries = self.entries().clone();
        let mut new = Vec::new();
        for entry in brought.iter().take(CHAIN_MAX) {
            if matches!(entries.insert(entry.clone()), Ok(Inserted::New)) {
                new.push(entry.clone());
            }
        }
        if new.is_empty() {
            return visitor(&entries, self.members(), device, brought, new);
        }
        let members = entries.members();
        visitor(&entries, &members, device, brought, new)
    }
}

fn visitor(
    entries: &Entries,
    members: &Members,
    device: &PublicKey,
    brought: &[Entry],
    mut new: Vec<Entry>,
) -> Visitor {
    if members.is_member(device) {
        new.retain(|entry| entries.get(&entry.id()).is_some());
        return Visitor::Member(new);
    }
    let Some(lower) = why_out(entries, members, device, brought) else {
        return Visitor::Stranger;
    };
    let mut told = chain(entries, members, &lower.signer()).unwrap_or_default();
    told.push(Entry::clone(lower));
    Visitor::Out(told)
}

/// The Lower that put a device out, or one that made void what its Grants stand on.
fn why_out<'a>(
    entries: &'a Entries,
    members: &Members,
    device: &PublicKey,
    brought: &[Entry],
) -> Option<&'a Arc<Entry>> {
    let lowers = || entries.iter().filter(|entry| members.counts(&entry.id()));
    let puts_out = |entry: &&Arc<Entry>| matches!(entry.statement(), Statement::Lower { device: of, to: Role::Out, .. } if of == device);
    let voids = |entry: &&Arc<Entry>| {
        let Statement::Lower { device, accepted, .. } = entry.statement() else {
            return false;
        };
        let is_void = |grant: &Entry| grant.signer() == *device && accepted.binary_search(&grant.id().short()).is_err();
        // What is not held stands on nothing, whoever was lowered.
        let held = brought.iter().filter(|grant| entries.get(&grant.id()).is_some());
        held.into_iter().any(is_void)
    };
    lowers().find(puts_out).or_else(|| lowers().find(voids))
}

/// From each signer to the Grant that made it an admin: its rank is one above that of whoever signed that, so this ends.
fn chain(entries: &Entries, members: &Members, device: &PublicKey) -> Option<Vec<Entry>> {
    let mut chain = Vec::new();
    let mut next = entries.get(&members.grant_of(device)?)?;
    while let Statement::Grant { .. } = next.statement() {
        chain.push(Entry::clone(next));
        let signer = next.signer();
        let rank = members.rank(&signer)?;
        if signer == entries.recovery() || signer == entries.genesis().signer() {
            break;
        }
        next = members
            .of_rank(rank - 1)
            .find_map(|above| entries.grants(above, signer).find(|grant| makes_admin(members, grant)))?;
    }
    chain.reverse();
    Some(chain)
}

fn makes_admin(members: &Members, grant: &Entry) -> bool {
    matches!(grant.statement(), Statement::Grant { role: Role::Admin, .. }) && members.counts(&grant.id())
}
