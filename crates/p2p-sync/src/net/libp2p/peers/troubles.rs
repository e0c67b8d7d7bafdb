//! Which peers this node cannot reach, and why: one row per peer, or per address without a known peer. Decides what to log,
//! which is little: one warning per row and cause, and no other for an hour.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use libp2p::{Multiaddr, PeerId};
use p2p_sync_core::Timestamp;

use crate::net::libp2p::multiaddrs::split_peer;
use crate::net::libp2p::node_id;
use crate::net::{Attempt, Trouble, TroubleCause};
use crate::system;
use crate::throttle::Throttle;

mod visits;
pub(in crate::net::libp2p) mod warning;

pub(in crate::net::libp2p) use visits::Visits;

/// Rows about peers that the user did not name. The one that was not tried for the longest time goes first.
const ROWS_MAX: usize = 256;
/// Addresses that are kept of one peer, those tried last.
const ATTEMPTS_MAX: usize = 8;
/// How long nothing may answer before that is worth a warning: both machines may just have been switched on.
const GRACE: Duration = Duration::from_secs(5);
/// The same warning is not given again before that.
const WARN_INTERVAL: Duration = Duration::from_secs(3_600);
/// A row about which nothing new was learned for this long is forgotten: whoever is still looked for is tried sooner.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);
/// Warnings about peers that the user did not name, within [`BUDGET_INTERVAL`]. Anybody on the LAN can announce any number.
const BUDGET: u32 = 20;
/// When that budget is renewed.
const BUDGET_INTERVAL: Duration = Duration::from_secs(600);

/// Whom a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::net::libp2p) enum Whom {
    /// A peer.
    Peer(PeerId),
    /// Whoever is at an address.
    Address(Multiaddr),
}

/// What makes this node expect somebody there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::net::libp2p) enum Expected {
    /// It was there once, or came by itself.
    Perhaps,
    /// It is announced on the LAN.
    Announced,
    /// The user named it.
    Configured,
}

/// A moment, for measuring and for telling.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instant: Instant,
    time: Timestamp,
}

#[derive(Debug)]
struct Row {
    expected: Expected,
    /// Who answered, or is looked for.
    peer: Option<PeerId>,
    /// Empty when all is well, or was never otherwise.
    attempts: Vec<(Multiaddr, TroubleCause, Moment)>,
    since: Moment,
    last: Moment,
    times: u64,
    /// The causes that were warned of, and when.
    warned: Vec<(&'static str, Instant)>,
}

/// The table.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Troubles {
    rows: HashMap<Whom, Row>,
    configured: HashSet<Whom>,
    others: Throttle<Instant>,
}

impl Row {
    fn new(expected: Expected, now: Moment) -> Self {
        Self {
            expected,
            peer: None,
            attempts: Vec::new(),
            since: now,
            last: now,
            times: 0,
            warned: Vec::new(),
        }
    }

    fn note(&mut self, address: Multiaddr, cause: TroubleCause, now: Moment) {
        self.attempts.retain(|(known, ..)| *known != address);
        self.attempts.insert(0, (address, cause, now));
        self.attempts.truncate(ATTEMPTS_MAX);
    }

    fn main_cause(&self) -> Option<&TroubleCause> {
        self.attempts.iter().map(|(_, cause, _)| cause).min()
    }

    /// Whether its main cause is to be warned of now.
    fn is_due(&self, now: Instant) -> bool {
        let Some(cause) = self.main_cause() else { return false };
        let is_expected = match cause {
            // Addresses change hands, and some are those of many machines. Only the user can mean just these.
            TroubleCause::AnotherIdentity(_) | TroubleCause::Ourselves => self.expected == Expected::Configured,
            // Whoever was there once may be switched off, and comes back by itself.
            cause => self.expected > Expected::Perhaps || cause.is_answer(),
        };
        let is_lasting = cause.is_answer() || now.saturating_duration_since(self.since.instant) >= GRACE;
        let recently = |at: &Instant| now.saturating_duration_since(*at) < WARN_INTERVAL;
        let is_told = self
            .warned
            .iter()
            .any(|(code, at)| *code == cause.code() && recently(at));
        is_expected && is_lasting && !is_told
    }

    fn trouble(&self) -> Trouble {
        let mut attempts: Vec<Attempt> = self
            .attempts
            .iter()
            .map(|(address, cause, at)| Attempt {
                address: address.to_string(),
                cause: cause.clone(),
                at: at.time,
            })
            .collect();
        attempts.sort_by(|one, other| one.cause.cmp(&other.cause));
        Trouble {
            peer: self.peer.as_ref().and_then(|peer| node_id(peer).ok()),
            configured: self.expected == Expected::Configured,
            attempts,
            since: self.since.time,
            last: self.last.time,
            times: self.times,
        }
    }
}

impl Troubles {
    /// An empty table. The user named these addresses, each with or without a peer id.
    pub(in crate::net::libp2p) fn new(configured: &[Multiaddr]) -> Self {
        let whom = |address: &Multiaddr| match split_peer(address.clone()) {
            (_, Some(peer)) => Whom::Peer(peer),
            (address, None) => Whom::Address(address),
        };
        Self {
            rows: HashMap::new(),
            configured: configured.iter().map(whom).collect(),
            others: Throttle::new(BUDGET, BUDGET_INTERVAL),
        }
    }

    /// Whether the user named this address, without a peer id.
    pub(in crate::net::libp2p) fn is_named(&self, address: &Multiaddr) -> bool {
        self.configured.contains(&Whom::Address(address.clone()))
    }

    /// What came back from some addresses of somebody.
    pub(in crate::net::libp2p) fn note(
        &mut self,
        whom: Whom,
        expected: Expected,
        came: Vec<(Multiaddr, TroubleCause)>,
        instant: Instant,
    ) {
        if came.is_empty() {
            return;
        }
        let peer = match &whom {
            Whom::Peer(peer) => Some(*peer),
            Whom::Address(_) => None,
        };
        // Whoever answers at an address that the user named may be another one each time.
        let mut named = came.iter().map(|(address, _)| Whom::Address(address.clone()));
        let whom = match named.find(|address| self.configured.contains(address)) {
            Some(address) if !self.configured.contains(&whom) => address,
            _ => whom,
        };
        let is_configured = self.configured.contains(&whom);
        let expected = if is_configured { Expected::Configured } else { expected };
        if !self.rows.contains_key(&whom) && expected != Expected::Configured {
            self.make_room();
        }
        let now = Moment {
            instant,
            time: whole_seconds(system::now()),
        };
        let row = self.rows.entry(whom).or_insert_with(|| Row::new(expected, now));
        (row.expected, row.peer) = (expected, peer);
        if row.attempts.is_empty() {
            row.since = now;
            row.times = 0;
        }
        row.last = now;
        row.times = row.times.saturating_add(1);
        for (address, cause) in came {
            row.note(address, cause, now);
        }
    }

    fn make_room(&mut self) {
        let others = || self.rows.iter().filter(|(_, row)| row.expected != Expected::Configured);
        if others().count() < ROWS_MAX {
            return;
        }
        let oldest = others()
            .min_by_key(|(_, row)| (!row.attempts.is_empty(), row.last.instant))
            .map(|(whom, _)| whom.clone());
        oldest.map(|whom| self.rows.remove(&whom));
    }

    /// A connection to somebody stands. Who answers may still be the wrong one.
    pub(in crate::net::libp2p) fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>) {
        let at_address = dialled.map(|address| Whom::Address(address.clone()));
        for whom in [Some(Whom::Peer(peer)), at_address].into_iter().flatten() {
            if let Some(row) = self.rows.get_mut(&whom) {
                row.attempts.retain(|(_, cause, _)| cause.is_answer());
                row.peer = Some(peer);
            }
        }
    }

    /// All is well with a peer. What was warned of is remembered, or who comes and goes would fill the log.
    pub(in crate::net::libp2p) fn resolved(&mut self, peer: PeerId) {
        for row in self.rows.values_mut().filter(|row| row.peer == Some(peer)) {
            row.attempts.clear();
        }
    }

    /// A peer is one of this network: that it answers where another one was looked for is no trouble, unless the user meant just
    /// that one.
    pub(in crate::net::libp2p) fn is_member(&mut self, peer: PeerId) {
        let Ok(member) = node_id(&peer) else { return };
        for (whom, row) in &mut self.rows {
            if !meant(&self.configured, whom) {
                row.attempts
                    .retain(|(_, cause, _)| *cause != TroubleCause::AnotherIdentity(member));
            }
        }
    }

    /// Whether somebody answered there who did not speak as a node does.
    pub(in crate::net::libp2p) fn met_no_node(&self, whom: &Whom) -> bool {
        let row = self.rows.get(whom);
        row.is_some_and(|row| {
            row.attempts
                .iter()
                .any(|(_, cause, _)| *cause == TroubleCause::NotANode)
        })
    }

    /// Whether the user named this peer.
    pub(in crate::net::libp2p) fn is_meant(&self, whom: &Whom) -> bool {
        meant(&self.configured, whom)
    }

    /// Who is looked for no more is not missed where another one answers.
    pub(in crate::net::libp2p) fn keep_sought(&mut self, is_sought: impl Fn(&PeerId) -> bool) {
        let is_over = |whom: &Whom| matches!(whom, Whom::Peer(peer) if !is_sought(peer));
        for (_, row) in self.rows.iter_mut().filter(|(whom, _)| is_over(whom)) {
            row.attempts
                .retain(|(_, cause, _)| !matches!(cause, TroubleCause::AnotherIdentity(_)));
        }
    }

    /// That is not the cause any more.
    pub(in crate::net::libp2p) fn drop_cause(&mut self, whom: &Whom, cause: &TroubleCause) {
        if let Some(row) = self.rows.get_mut(whom) {
            row.attempts.retain(|(_, known, _)| known != cause);
        }
    }

    /// Nobody has anything to do with this address of somebody any more.
    pub(in crate::net::libp2p) fn forget_address(&mut self, whom: &Whom, address: &Multiaddr) {
        if let Some(row) = self.rows.get_mut(whom) {
            row.attempts.retain(|(known, ..)| known != address);
        }
    }

    /// The warnings that are due, each to be given once.
    pub(in crate::net::libp2p) fn take_due(&mut self, now: Instant) -> Vec<(Trouble, Expected)> {
        self.rows
            .retain(|_, row| now.saturating_duration_since(row.last.instant) < FORGET_AFTER);
        let mut due = Vec::new();
        for row in self.rows.values_mut().filter(|row| row.is_due(now)) {
            let Some(code) = row.main_cause().map(TroubleCause::code) else {
                continue;
            };
            row.warned.retain(|(known, _)| *known != code);
            row.warned.push((code, now));
            if row.expected == Expected::Configured || self.others.allows(now) {
                due.push((row.trouble(), row.expected));
            }
        }
        due
    }

    /// How many warnings were left out since this was asked last.
    pub(in crate::net::libp2p) fn take_left_out(&mut self) -> u64 {
        self.others.take_held_back()
    }

    /// Everybody with whom something is wrong: those that the user named first, then those tried last.
    pub(in crate::net::libp2p) fn all(&self) -> Vec<Trouble> {
        let mut all: Vec<Trouble> = self
            .rows
            .values()
            .filter(|row| !row.attempts.is_empty())
            .map(Row::trouble)
            .collect();
        all.sort_by_key(|trouble| (!trouble.configured, std::cmp::Reverse(trouble.last), trouble.peer));
        all
    }
}

/// Whether the user named a peer, and not merely an address.
fn meant(configured: &HashSet<Whom>, whom: &Whom) -> bool {
    matches!(whom, Whom::Peer(_)) && configured.contains(whom)
}

/// More would tell nobody anything.
fn whole_seconds(time: Timestamp) -> Timestamp {
    const NANOS: i64 = 1_000_000_000;
    Timestamp::from_nanos(time.as_nanos() / NANOS * NANOS).unwrap_or(time)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
