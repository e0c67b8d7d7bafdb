//! What goes into a commit, and what comes out of it.

use p2p_sync_core::item::Item;
use p2p_sync_core::sequence::Cursor;
use p2p_sync_core::sync::StoreId;
use p2p_sync_core::{Content, Key, Record, Timestamp, Versions, Via};

use crate::node::NodeError;
use crate::store::{NamesHeard, RememberedPeer, RowId};

/// How a local write is dated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Dating {
    /// Later than every version that is held of the key, so that it wins everywhere.
    #[default]
    AfterHeld,
    /// By this machine's clock. Versions of the key that are dated further ahead than other nodes accept are dropped.
    Now,
}

/// When a local write is made at all, by what this node holds of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Condition {
    /// Always.
    #[default]
    None,
    /// Only if the key has no value.
    Absent,
    /// Only if the value of the key was written at this time.
    WrittenAt(Timestamp),
    /// Only if what this node holds of the key, its deletion included, was written before this time, or nothing is held of it.
    OlderThan(Timestamp),
}

impl Condition {
    /// Whether it holds for what is held of the key.
    pub(in crate::node) fn holds(self, held: &Versions) -> bool {
        let live = held.winner().filter(|winner| winner.content.value().is_some());
        let written_at = live.map(|live| live.timestamp);
        match self {
            Self::None => true,
            Self::Absent => written_at.is_none(),
            Self::WrittenAt(at) => written_at == Some(at),
            Self::OlderThan(at) => held.latest() < Some(at),
        }
    }
}

/// The terms of a local write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Terms {
    /// How it is dated.
    pub dating: Dating,
    /// When it is made at all. Other nodes may write the key at the same time.
    pub condition: Condition,
}

impl From<Condition> for Terms {
    fn from(condition: Condition) -> Self {
        Self {
            condition,
            ..Self::default()
        }
    }
}

impl From<Dating> for Terms {
    fn from(dating: Dating) -> Self {
        Self {
            dating,
            ..Self::default()
        }
    }
}

/// One write of several that are made together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Key,
    /// Its new content. A key that does not exist is not deleted.
    pub content: Content,
    /// On what terms.
    pub terms: Terms,
}

/// One piece of work in a transaction.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Write a value or a deletion. A key that does not exist is not deleted.
    Write {
        /// The key.
        key: &'a Key,
        /// Its new content.
        content: &'a Content,
        /// On what terms.
        terms: Terms,
    },
    /// Make all of these writes in this order, or none of them.
    WriteAll(&'a [Write]),
    /// Make those of these writes, in this order, whose condition holds.
    WriteDue(&'a [Write]),
    /// Choose between the versions of a key; see [`Node::resolve`](crate::node::Node::resolve).
    Resolve {
        /// The key.
        key: &'a Key,
        /// When the chosen version was written; none: it is the value that the key has.
        timestamp: Option<Timestamp>,
        /// How the new version is dated.
        dating: Dating,
    },
    /// Date the value of a key now, if it is dated further ahead than other nodes accept.
    Redate {
        /// The key.
        key: &'a Key,
    },
    /// Merge records that passed the [`Admission`](p2p_sync_core::Admission).
    Receive {
        /// How they came.
        via: Via,
        /// The records.
        records: &'a [Record],
        /// For a bulk from this store: the place that it reaches with them.
        reached: Option<(StoreId, Cursor)>,
    },
    /// Remove damaged rows, unless they are sound by now.
    SetAside(&'a [RowId]),
    /// Save where peers were reached.
    Remember(&'a [RememberedPeer]),
    /// Save what known nodes are called.
    RememberNames(&'a NamesHeard),
    /// Save the patrol's progress.
    Patrolled(i64),
}

/// The result of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// The version that was written; none: the key to delete did not exist.
    Written(Option<Record>),
    /// The version that each write has stored; none: the key to delete did not exist.
    WrittenAll(Vec<Option<Record>>),
    /// How many of the writes were made. Of the others the condition did not hold, or the key to delete did not exist.
    WrittenDue(u64),
    /// The version that was written in place of those that were held; none: there was no conflict, or no such version.
    Resolved(Option<Record>),
    /// The version that was written in place of one dated ahead; none: there was none.
    Redated(Option<Record>),
    /// The result for the received records.
    Received(Merged),
    /// Whether a row was removed.
    SetAside(bool),
    /// It is saved.
    Noted,
}

/// The result for received records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Those that are now held and were not before.
    pub changed: u64,
    /// Those that were refused.
    pub refused: Refused,
}

/// A version that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// How it arrived.
    pub via: Via,
    /// The version.
    pub record: Record,
}

/// The conflict of a key that a local write has put an end to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The key.
    pub key: Key,
    /// The versions that were held, the value among them, with another content than that of the write; the latest first.
    pub dropped: Vec<Record>,
}

/// The result of a commit: the only source for everything that listens to changes.
#[derive(Debug, Default)]
pub struct Committed {
    /// The result of each entry, in order. Nothing was written for one that failed.
    pub done: Vec<Result<Done, NodeError>>,
    /// The changes, in the order in which they were stored.
    pub changes: Vec<Change>,
    /// How many more there were, on the way of the last of these: of a bulk only some are listed.
    pub unlisted: u64,
    /// How many versions came into conflict with another one, whose author had not seen them.
    pub conflicts: u64,
    /// Conflicts that ended with a local write.
    pub settled: Vec<Settled>,
    /// A key of which a version was dropped because it holds no more.
    pub crowded: Option<Key>,
    /// One of the versions that are [gone](Refused::folded) because a folded floor alone covers them.
    pub folded: Option<Record>,
    /// Versions held of the keys that a session brought, and that were not among what it brought: its peer may lack them.
    pub survived: Vec<Item>,
    /// The received records that were refused.
    pub refused: Refused,
}

/// How many received records were refused, by cause. A session fetches them again once the cause is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused {
    /// They met a damaged row that has not been removed yet.
    pub damaged: u64,
    /// There is no space for them.
    pub no_room: u64,
    /// Conflicts that were dropped because a key holds no more versions. They are not fetched again.
    pub beyond_bound: u64,
    /// Versions, held or received, that a folded floor alone covers: whoever overwrote them may not have seen them. They are not
    /// fetched again.
    pub folded: u64,
    /// Their authors may not write in this private network, or are not known as members.
    pub not_permitted: u64,
    /// They are not signed by their authors.
    pub bad_signature: u64,
}

impl Entry<'_> {
    /// How many of these records there was no space for, if that is why the entry failed.
    pub(super) fn found_no_room(&self, error: &NodeError) -> u64 {
        match self {
            Self::Receive { records, .. } if error.is_full() => records.len() as u64,
            _ => 0,
        }
    }
}

impl Committed {
    /// Adds the result of a later commit.
    pub(super) fn extend(&mut self, later: Self) {
        self.done.extend(later.done);
        self.changes.extend(later.changes);
        self.unlisted += later.unlisted;
        self.conflicts += later.conflicts;
        self.settled.extend(later.settled);
        self.crowded = later.crowded.or(self.crowded.take());
        self.folded = later.folded.or(self.folded.take());
        self.survived.extend(later.survived);
        self.refused.add(later.refused);
    }

    /// The ways on which changes came, each once for all that came one after the other.
    pub fn ways(&self) -> impl Iterator<Item = Via> {
        self.changes
            .chunk_by(|one, next| one.via == next.via)
            .filter_map(|changes| Some(changes.first()?.via))
    }
}

impl Refused {
    /// Those that there are any of: cause and count.
    pub(super) fn causes(self) -> impl Iterator<Item = (&'static str, u64)> {
        let Refused {
            damaged,
            no_room,
            beyond_bound,
            folded,
            not_permitted,
            bad_signature,
        } = self;
        let causes = [
            ("damaged here", damaged),
            ("no room", no_room),
            ("too many conflicts of a key", beyond_bound),
            ("overwritten perhaps unseen", folded),
            ("not permitted", not_permitted),
            ("bad signature", bad_signature),
        ];
        causes.into_iter().filter(|(_, count)| *count > 0)
    }

    /// All that are to be fetched again.
    pub fn total(&self) -> u64 {
        self.damaged + self.no_room
    }

    pub(super) fn add(&mut self, more: Self) {
        self.damaged += more.damaged;
        self.no_room += more.no_room;
        self.beyond_bound += more.beyond_bound;
        self.folded += more.folded;
        self.not_permitted += more.not_permitted;
        self.bad_signature += more.bad_signature;
    }
}
