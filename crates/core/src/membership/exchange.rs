//! How two members become equal in what they hold about the membership: one long stream, on which both say their root whenever
//! it changes, settle a difference by ids, and pass on what is new at once.
//!
//! Nothing is queued here but ids of entries that are held anyway: frames are made when they can be written
//! ([`Exchange::next_frame`]), so a peer that does not read holds up nobody else.

use std::collections::BTreeSet;

use super::entry::{Entry, EntryId, InvalidEntry, ShortId, Statement};
use super::list::LIST_ITEM_BYTES;
use super::roster::Roster;
use crate::limits::{MEMBERS_IDS_PAGE, MEMBERS_PAGE_BYTES_MAX};

mod frame;

pub use frame::{Frame, FrameBuffer, Root};

/// One side of the stream with one peer.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What was said last, and heard last.
    told: Option<Root>,
    theirs: Option<Root>,
    /// For which difference, ours and theirs, our ids were sent.
    settled: Option<([u8; 32], [u8; 32])>,
    /// Our ids are being sent: those up to here were; none yet.
    sending_ids: Option<Option<ShortId>>,
    /// Their ids up to here have come, none yet; more follow.
    reading_ids: Option<ShortId>,
    /// What they lack.
    to_send: BTreeSet<EntryId>,
    /// A list that they asked for, from this item on.
    list_asked: Option<(ShortId, u64)>,
    list_coming: Option<Coming>,
    /// Lists that they were asked for in vain.
    lists_missing: BTreeSet<ShortId>,
    secret_sent: Option<EntryId>,
}

/// A list that they are sending.
#[derive(Debug)]
struct Coming {
    keep: EntryId,
    /// As much of it as has come.
    bytes: Vec<u8>,
    /// The next part was asked for.
    asked: bool,
}

/// A peer that breaks the rules. The stream is closed; nothing of the frame was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// What it sent as an entry is none.
    #[error("{0}")]
    Entry(#[from] InvalidEntry),
    /// Its ids do not ascend.
    #[error("the ids of its entries do not ascend")]
    Order,
    /// What it sent as a list is not that list.
    #[error("a list that is not the one it was asked for")]
    List,
    /// What it sent as a secret is not the one that the entry names.
    #[error("a secret that is not the one that the entry names")]
    Secret,
}

impl Exchange {
    /// The beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether both sides hold the same entries and lists, as far as they told each other.
    pub fn is_equal(&self, roster: &Roster) -> bool {
        let ours = Root::of(roster);
        let same = |said: &Option<Root>| {
            said.as_ref()
                .is_some_and(|root| root.root == ours.root && root.lists == ours.lists)
        };
        same(&self.told) && same(&self.theirs)
    }

    /// Has entries passed on that others sent, or that were signed here.
    pub fn pass_on(&mut self, entries: &[Entry]) {
        self.to_send.extend(entries.iter().map(Entry::id));
    }

    /// Takes a frame, and returns the entries that it brought and that others are to hear of: they are to be kept on disk before
    /// anybody else is sent any frame.
    ///
    /// # Errors
    /// When the peer broke a rule.
    pub fn receive(&mut self, frame: Frame, roster: &mut Roster) -> Result<Vec<Entry>, Breach> {
        match frame {
            Frame::Root(root) => self.theirs = Some(root),
            Frame::Ids { ids, last } => self.compare(&ids, last, roster)?,
            Frame::Entries(entries) => {
                let new = roster.receive(&entries)?;
                for entry in &new {
                    self.to_send.remove(&entry.id());
                }
                return Ok(new);
            }
            Frame::ListWanted { keep, from } => self.list_asked = Some((keep, from)),
            Frame::ListPart { keep, items } => self.take_part(keep, &items, roster)?,
            Frame::Secret { by, secret } => {
                // One of an entry that is not here, or not any longer, is nothing to blame them for.
                if let Some(by) = roster.find(by)
                    && !roster.add_secret(by, secret)
                {
                    return Err(Breach::Secret);
                }
            }
        }
        Ok(Vec::new())
    }

    /// The next frame to write; none until something happens.
    pub fn next_frame(&mut self, roster: &Roster) -> Option<Frame> {
        if let Some((keep, from)) = self.list_asked.take() {
            return Some(list_part(keep, from, roster));
        }
        if let Some(entries) = self.entries(roster) {
            return Some(Frame::Entries(entries));
        }
        let ours = Root::of(roster);
        if self.told.as_ref() != Some(&ours) {
            self.told = Some(ours.clone());
            return Some(Frame::Root(ours));
        }
        let theirs = self.theirs.as_ref()?;
        let difference = (ours.root, theirs.root);
        if ours.root != theirs.root && self.settled != Some(difference) && self.sending_ids.is_none() {
            self.settled = Some(difference);
            self.sending_ids = Some(None);
        }
        if let Some(after) = self.sending_ids {
            return Some(self.ids(after, roster));
        }
        let (by, secret) = roster.secret().unzip();
        if let (Some(by), Some(secret)) = (by, secret)
            && ours.root == theirs.root
            && !theirs.has_secret
            && self.secret_sent != Some(by)
        {
            self.secret_sent = Some(by);
            return Some(Frame::Secret { by: by.short(), secret });
        }
        self.ask_for_list(roster)
    }

    /// As many of the entries that they lack as fit a frame.
    fn entries(&mut self, roster: &Roster) -> Option<Vec<Vec<u8>>> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some(id) = self.to_send.first().copied() {
            // One that was crowded out since is not sent.
            if let Some(entry) = roster.entries().get(&id) {
                let entry = entry.to_bytes();
                if bytes + entry.len() > MEMBERS_PAGE_BYTES_MAX {
                    break;
                }
                bytes += entry.len();
                entries.push(entry);
            }
            self.to_send.remove(&id);
        }
        (!entries.is_empty()).then_some(entries)
    }

    fn ids(&mut self, after: Option<ShortId>, roster: &Roster) -> Frame {
        let mut following = roster.entries().following(after, after.is_none());
        let mut ids: Vec<ShortId> = following.by_ref().take(MEMBERS_IDS_PAGE).map(|id| id.short()).collect();
        ids.dedup();
        let last = following.next().is_none();
        self.sending_ids = (!last).then(|| ids.last().copied());
        Frame::Ids { ids, last }
    }

    /// Finds what they lack between the last of their ids that came before and the last of these.
    fn compare(&mut self, ids: &[ShortId], last: bool, roster: &Roster) -> Result<(), Breach> {
        let mut before = self.reading_ids;
        for id in ids {
            if before.is_some_and(|before| before >= *id) {
                return Err(Breach::Order);
            }
            before = Some(*id);
        }
        let ours = roster.entries().following(self.reading_ids, self.reading_ids.is_none());
        let until = ids.last().copied();
        let ours = ours.take_while(|id| last || Some(id.short()) <= until);
        self.to_send
            .extend(ours.filter(|id| ids.binary_search(&id.short()).is_err()));
        self.reading_ids = if last { None } else { until.or(self.reading_ids) };
        Ok(())
    }

    fn ask_for_list(&mut self, roster: &Roster) -> Option<Frame> {
        if self.list_coming.is_none() {
            let theirs = self.theirs.as_ref()?;
            let here = |id: &EntryId| {
                theirs.lists.binary_search(&id.short()).is_ok() && !self.lists_missing.contains(&id.short())
            };
            let wanted = roster.members().lists_wanted(roster.lists());
            self.list_coming = wanted.into_iter().find(here).map(|keep| Coming {
                keep,
                bytes: Vec::new(),
                asked: false,
            });
        }
        let coming = self.list_coming.as_mut().filter(|coming| !coming.asked)?;
        coming.asked = true;
        Some(Frame::ListWanted {
            keep: coming.keep.short(),
            from: (coming.bytes.len() / LIST_ITEM_BYTES) as u64,
        })
    }

    fn take_part(&mut self, keep: ShortId, items: &[u8], roster: &mut Roster) -> Result<(), Breach> {
        let coming = self
            .list_coming
            .take()
            .filter(|coming| coming.asked && coming.keep.short() == keep);
        let mut coming = coming.ok_or(Breach::List)?;
        let Some(whole) = list_bytes(coming.keep, roster) else {
            // The Keep was crowded out meanwhile; nobody needs its list.
            return Ok(());
        };
        if coming.bytes.len() + items.len() > whole {
            return Err(Breach::List);
        }
        if items.is_empty() && whole > 0 {
            // They do not have it any longer.
            self.lists_missing.insert(keep);
            return Ok(());
        }
        coming.bytes.extend_from_slice(items);
        coming.asked = false;
        if coming.bytes.len() < whole {
            self.list_coming = Some(coming);
        } else if !roster.add_list(coming.keep, &coming.bytes) {
            return Err(Breach::List);
        }
        Ok(())
    }
}

/// How many bytes a list has by its Keep; none if that is not here.
fn list_bytes(keep: EntryId, roster: &Roster) -> Option<usize> {
    match roster.entries().get(&keep)?.statement() {
        Statement::Keep { count, .. } => Some(usize::try_from(*count).ok()?.saturating_mul(LIST_ITEM_BYTES)),
        _ => None,
    }
}

/// A part of a list, from an item on; empty if it is not here.
fn list_part(keep: ShortId, from: u64, roster: &Roster) -> Frame {
    let list = roster.find(keep).and_then(|id| roster.lists().get(&id));
    let items = list.map_or_else(Vec::new, |list| {
        list.part(from, MEMBERS_PAGE_BYTES_MAX / LIST_ITEM_BYTES)
    });
    Frame::ListPart { keep, items }
}
