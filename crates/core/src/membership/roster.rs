//! Everything that a node holds about its network's membership.

use std::collections::BTreeMap;

use super::entry::{Entry, EntryId, InvalidEntry, NextSecret, Role, ShortId, Statement};
use super::fold::{Lists, Members};
use super::key::PublicKey;
use super::list::KeepList;
use super::set::{Entries, Inserted, NoGenesis};
use super::signing::{SignedRecords, WrongSignatures};
use crate::id::NodeId;
use crate::limits::DOOR_SECRETS_MAX;
use crate::record::Record;
use crate::signature::SIGNATURE_BYTES;

/// Whether a key made a signature for a message.
pub type Verify = fn(&PublicKey, &[u8], &[u8; SIGNATURE_BYTES]) -> bool;

/// What an author is to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The record counts; of an author, that it may write.
    Counts,
    /// The author is a reader, or was removed or lowered before the record was heard of.
    MayNotWrite,
    /// Nobody here has heard of the author as a member.
    Unknown,
}

/// Records that do not count, by why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Uncounted {
    /// Their authors may not write.
    pub not_permitted: u64,
    /// Their authors are not known as members.
    pub unknown: u64,
}

impl Uncounted {
    /// All of them.
    pub fn total(self) -> u64 {
        self.not_permitted.saturating_add(self.unknown)
    }
}

/// Entries, what they mean, and what belongs to them: lists and secrets.
#[derive(Debug, Clone)]
pub struct Roster {
    entries: Entries,
    root: [u8; 32],
    members: Members,
    lists: Lists,
    /// By the entries that name them.
    secrets: BTreeMap<EntryId, [u8; 32]>,
    verify: Verify,
}

impl Roster {
    /// A network with its founder alone.
    ///
    /// # Errors
    /// When `genesis` is something else.
    pub fn new(genesis: Entry) -> Result<Self, NoGenesis> {
        Self::verified_with(genesis, PublicKey::verifies)
    }

    /// As [`new`](Self::new), with another way to verify what is received.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn verified_with(genesis: Entry, verify: Verify) -> Result<Self, NoGenesis> {
        let entries = Entries::new(genesis)?;
        Ok(Self {
            root: entries.root(),
            members: entries.members(),
            entries,
            lists: Lists::new(),
            secrets: BTreeMap::new(),
            verify,
        })
    }

    /// The network's id: that of its Genesis.
    pub fn network(&self) -> EntryId {
        self.entries.genesis().id()
    }

    /// What an author is, apart from any of its records.
    pub fn author(&self, author: &NodeId) -> Standing {
        let role = PublicKey::sought(author).and_then(|key| self.members.role(&key));
        match role {
            None => Standing::Unknown,
            Some(role) if role >= Role::Writer => Standing::Counts,
            Some(_) => Standing::MayNotWrite,
        }
    }

    /// Whether a record counts whose signature holds.
    pub fn record(&self, record: &Record) -> Standing {
        match self.author(&record.author) {
            // A list may name it.
            Standing::MayNotWrite if self.is_kept(record) => Standing::Counts,
            standing => standing,
        }
    }

    fn is_kept(&self, record: &Record) -> bool {
        PublicKey::sought(&record.author)
            .is_some_and(|key| self.members.record_counts(&key, &record.digest(), &self.lists))
    }

    /// Takes out the records that do not count, of those that others sent: first their signatures are verified, since nothing is
    /// known about the author of one that nobody signed. To be called before anything else believes what a record says of its author.
    ///
    /// # Errors
    /// When one of them is not signed by its author: no honest node sends such a page. Nothing was taken out then.
    pub fn admit(&self, records: &mut Vec<Record>) -> Result<Uncounted, WrongSignatures> {
        SignedRecords::of(self.network()).verify_all(records)?;
        Ok(self.leave_out(records))
    }

    /// Takes out the records that do not count, of those whose signatures were verified.
    pub fn leave_out(&self, records: &mut Vec<Record>) -> Uncounted {
        let mut uncounted = Uncounted::default();
        records.retain(|record| match self.record(record) {
            Standing::Counts => true,
            Standing::MayNotWrite => {
                uncounted.not_permitted += 1;
                false
            }
            Standing::Unknown => {
                uncounted.unknown += 1;
                false
            }
        });
        uncounted
    }

    /// The entries.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// See [`Entries::root`].
    pub fn root(&self) -> [u8; 32] {
        self.root
    }

    /// Who is in, by the entries.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The lists that are here.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// The secret that the network uses now, if it is here.
    pub fn secret(&self) -> Option<(EntryId, [u8; 32])> {
        let by = self.members.secret_entry();
        self.secrets.get(&by).map(|secret| (by, *secret))
    }

    /// The secrets that are here, the newest first: the one in use, and then by epoch and id of the entries that name them. At most
    /// [`DOOR_SECRETS_MAX`].
    pub fn newest_secrets(&self) -> Vec<[u8; 32]> {
        let in_use = self.members.secret_entry();
        let epoch = |by: &EntryId| match self.entries.get(by).map(|entry| entry.statement()) {
            Some(Statement::Lower { secret: Some(next), .. }) => next.epoch,
            _ => 0,
        };
        let mut newest: Vec<_> = self.secrets.keys().map(|by| (*by == in_use, epoch(by), *by)).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest.truncate(DOOR_SECRETS_MAX);
        newest
            .iter()
            .filter_map(|(_, _, by)| self.secrets.get(by).copied())
            .collect()
    }

    /// How what is received is verified.
    pub(super) fn verify(&self) -> Verify {
        self.verify
    }

    /// Takes entries in, whatever order they are in, and returns those that were not held before.
    pub fn add(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let mut new = Vec::new();
        // What has no chain yet may have one once the others are in.
        loop {
            let before = new.len();
            entries.retain(|entry| match self.entries.insert(entry.clone()) {
                Ok(Inserted::New) => {
                    new.push(entry.clone());
                    false
                }
                Ok(Inserted::Known | Inserted::Crowded) => false,
                Err(_) => true,
            });
            if new.len() == before {
                break;
            }
        }
        // Some may have been crowded out again by others.
        new.retain(|entry| self.entries.get(&entry.id()).is_some());
        if !new.is_empty() {
            self.root = self.entries.root();
            self.members = self.entries.members();
        }
        new
    }

    /// Reads entries and takes them in; see [`add`](Self::add).
    ///
    /// # Errors
    /// When one of them is no entry. None is taken in then.
    pub fn receive(&mut self, entries: &[Vec<u8>]) -> Result<Vec<Entry>, InvalidEntry> {
        let read = entries.iter().map(|bytes| Entry::verified_with(bytes, self.verify));
        let read = read.collect::<Result<Vec<_>, _>>()?;
        Ok(self.add(read))
    }

    /// Takes the list in that a held Keep stands for. False: it is not that list, or there is no such Keep.
    pub fn add_list(&mut self, keep: EntryId, bytes: &[u8]) -> bool {
        let Some(entry) = self.entries.get(&keep) else {
            return false;
        };
        match KeepList::from_bytes(entry.statement(), bytes) {
            Ok(list) => {
                self.lists.insert(keep, list);
                true
            }
            Err(_) => false,
        }
    }

    /// Takes the secret in that an entry names. False: it is not that secret, or nothing names one.
    pub fn add_secret(&mut self, by: EntryId, secret: [u8; 32]) -> bool {
        let named = match self.entries.get(&by).map(|entry| entry.statement()) {
            Some(Statement::Genesis { secret, .. }) => *secret,
            Some(Statement::Lower {
                secret: Some(NextSecret { hash, .. }),
                ..
            }) => *hash,
            _ => return false,
        };
        let fits = *blake3::hash(&secret).as_bytes() == named;
        if fits {
            self.secrets.insert(by, secret);
        }
        fits
    }

    /// The held entry with this first half of an id. Where two have it, which takes 2^64 tries to make, the first.
    pub(super) fn find(&self, short: ShortId) -> Option<EntryId> {
        self.entries.find(short)
    }

    /// The Keeps that rule over devices that may not write any longer, with the lists that are here.
    pub(super) fn ruling(&self) -> Vec<ShortId> {
        let mut ruling: Vec<_> = self.members.ruling(&self.lists).map(|id| id.short()).collect();
        ruling.sort_unstable();
        ruling
    }
}
