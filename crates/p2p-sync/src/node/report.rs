//! What the node reports about sync: the state of each peer, what waits, what was lost, what a check found. Plain values;
//! callers decide how to show them.

use std::time::Duration;

use p2p_sync_core::{Key, NodeId, Record, Timestamp, Versions};

use crate::names::Names;
use crate::net;
use crate::report::{self, Due, StandingState};

mod state;

/// The state of sync.
#[derive(Debug, Clone, Default)]
pub struct SyncStatus {
    /// False while the summary of all records is rebuilt after an unclean stop: sessions wait for it, everything else
    /// works.
    pub ready: bool,
    /// The store cannot be used now. It is reopened, or rescued, as soon as possible.
    pub is_out_of_order: bool,
    /// There is no space for all data from other nodes.
    pub is_full: bool,
    /// The connected peers that take part in the sync, sorted.
    pub peers: Vec<PeerSync>,
    /// Records received by sync that were refused: cause and count.
    pub refused: Vec<(String, u64)>,
    /// Records of this node that are dated further ahead than other nodes accept.
    pub ahead: Ahead,
    /// Keys in conflict; see [`Node::conflicts`](super::Node::conflicts).
    pub conflicts: u64,
    /// What has been repaired in the store since the start: damaged records, and wrong summaries.
    pub repaired: u64,
    /// Rows that another program added, while they are turned into records; none if there are no such rows.
    pub completing: Option<crate::store::Completed>,
}

/// The state of sync with one peer.
#[derive(Debug, Clone)]
pub struct PeerSync {
    /// Who.
    pub peer: NodeId,
    /// What was last known.
    pub standing: Standing,
    /// The last completed session.
    pub last: Option<LastSync>,
    /// How far its clock is ahead of ours, in nanoseconds, as far as one message shows; negative: behind.
    pub clock_ahead_nanos: Option<i64>,
    /// For how long the two are known not to be equal; none while they are.
    pub unequal_for: Option<Duration>,
    /// What kept the last session from its end, in a fixed word.
    pub hindrance: Option<&'static str>,
}

/// What is known about the difference to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// Not compared yet.
    Unknown,
    /// A session is under way.
    Syncing,
    /// Both had the same records at the last comparison.
    InSync,
    /// Both had the same, except for records that wait until they are no longer too far ahead for a clock.
    Waiting {
        /// How many.
        records: u64,
    },
    /// Both had the same, except for records for which one of them has no space.
    NoRoom {
        /// How many, as far as that is known.
        records: u64,
        /// Whether it is this node.
        here: bool,
    },
    /// They differed, and another session is due.
    Differs {
        /// Records that the peer lacked.
        ahead: u64,
        /// Records that we lacked.
        behind: u64,
    },
}

/// A finished session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastSync {
    /// When it ended, by our clock.
    pub at: Timestamp,
    /// Bytes of frames sent.
    pub bytes_sent: u64,
    /// Bytes of frames received.
    pub bytes_received: u64,
    /// How often the asking side waited for an answer.
    pub round_trips: u64,
    /// Records sent.
    pub records_sent: u64,
    /// Records received that were new.
    pub records_changed: u64,
}

/// Records in this store that other nodes do not accept yet: dated too far ahead, by a clock that was or is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ahead {
    /// How many.
    pub records: u64,
    /// The ones that fall due first, with the time at which other nodes accept them; only some of them.
    pub first: Vec<(Key, Timestamp)>,
}

/// The result of a requested session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Synced {
    /// With whom.
    pub peer: NodeId,
    /// The current state.
    pub standing: Standing,
    /// The session; none if it could not be completed.
    pub last: Option<LastSync>,
}

impl SyncStatus {
    /// The same for those who read reports.
    pub fn report(&self, names: &Names) -> report::Sync {
        let sync = self;
        let due = |(key, due): &(Key, Timestamp)| Due {
            key: key.as_str().to_owned(),
            due: due.to_string(),
        };
        report::Sync {
            ready: sync.ready,
            peers: sync.peers.iter().map(|peer| peer.report(names)).collect(),
            refused: sync.refused.iter().cloned().map(report::Count::from).collect(),
            ahead: report::Ahead {
                records: sync.ahead.records,
                first: sync.ahead.first.iter().map(due).collect(),
            },
            conflicts: sync.conflicts,
            repaired: sync.repaired,
            state: sync.state(),
            full: sync.is_full,
            completing: sync.completing.map(|rows| report::Completing {
                done: rows.done,
                found: rows.found,
            }),
        }
    }
}

impl PeerSync {
    fn report(&self, names: &Names) -> report::SyncPeer {
        report::SyncPeer {
            synced: synced(self.peer, self.standing, self.last, names),
            clock_ahead_seconds: self.clock_ahead_nanos.map(seconds),
            unequal_seconds: self.unequal_for.map(|time| time.as_secs()),
            hindrance: self.hindrance.map(str::to_owned),
        }
    }
}

impl Synced {
    /// The same for those who read reports.
    pub fn report(&self, names: &Names) -> report::Synced {
        synced(self.peer, self.standing, self.last, names)
    }
}

fn synced(peer: NodeId, standing: Standing, last: Option<LastSync>, names: &Names) -> report::Synced {
    let called = names.called(peer);
    report::Synced {
        peer_id: peer.to_string(),
        name: called.name.map(Into::into),
        display_name: called.display,
        standing: standing.into(),
        last: last.map(|last| report::Last {
            at: last.at.to_string(),
            bytes_sent: last.bytes_sent,
            bytes_received: last.bytes_received,
            round_trips: last.round_trips,
            records_sent: last.records_sent,
            records_changed: last.records_changed,
        }),
    }
}

impl From<Standing> for report::Standing {
    fn from(standing: Standing) -> Self {
        let (state, ahead, behind, waiting) = match standing {
            Standing::Unknown => (StandingState::Unknown, 0, 0, 0),
            Standing::Syncing => (StandingState::Syncing, 0, 0, 0),
            Standing::InSync => (StandingState::InSync, 0, 0, 0),
            Standing::Waiting { records } => (StandingState::Waiting, 0, 0, records),
            Standing::NoRoom { records, here: true } => (StandingState::NoRoomHere, 0, 0, records),
            Standing::NoRoom { records, here: false } => (StandingState::NoRoomThere, 0, 0, records),
            Standing::Differs { ahead, behind } => (StandingState::Differs, ahead, behind, 0),
        };
        Self {
            state,
            ahead,
            behind,
            waiting,
        }
    }
}

/// Nanoseconds in seconds, to the millisecond.
#[expect(
    clippy::cast_precision_loss,
    reason = "a float holds milliseconds exactly for longer than timestamps last"
)]
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000) as f64 / 1e3
}

pub(super) fn trouble(trouble: &net::Trouble, names: &Names) -> report::Trouble {
    let attempt = |attempt: &net::Attempt| report::Attempt {
        address: attempt.address.clone(),
        cause: attempt.cause.code().to_owned(),
        text: attempt.cause.to_string(),
        at: attempt.at.to_string(),
    };
    let first = trouble.attempts.first();
    let called = trouble.peer.map(|peer| names.called(peer));
    report::Trouble {
        peer_id: trouble.peer.map(|peer| peer.to_string()),
        name: called.as_ref().and_then(|called| called.name.clone()).map(Into::into),
        display_name: called.map(|called| called.display),
        configured: trouble.configured,
        cause: first.map_or("other", |first| first.cause.code()).to_owned(),
        since: trouble.since.to_string(),
        last: trouble.last.to_string(),
        times: trouble.times,
        attempts: trouble.attempts.iter().map(attempt).collect(),
    }
}

/// A key in conflict for those who read reports.
pub fn conflict(versions: &Versions, names: &Names) -> report::Conflict {
    let key = versions.winner().map(|winner| winner.key.as_str().to_owned());
    report::Conflict {
        key: key.unwrap_or_default(),
        versions: (versions.winner().into_iter())
            .chain(versions.shown().rev())
            .map(|record| version(record, names))
            .collect(),
    }
}

/// A version, with the name of its author.
fn version(record: &Record, names: &Names) -> report::Version {
    let author = names.author(record.author);
    report::Version {
        author_name: author.name.map(Into::into),
        author_display_name: Some(author.display),
        ..record.into()
    }
}
