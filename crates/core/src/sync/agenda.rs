//! When a node holds a session, and with whom. This only decides: the caller opens streams, runs sessions and reports their
//! results.
//!
//! Four things lead to a session with a connected peer:
//!
//! - **It is new.** The two begin with a Hello: the one with the smaller id at once, the other two seconds later if nothing
//!   has happened by then.
//! - **It is owed one.** Something did not get through, or the last session did not end with both sides equal. The next one
//!   follows soon, with growing pauses while such sessions change nothing.
//! - **It may not have heard.** One or two seconds after the last change that was written here or arrived by gossip, two
//!   random peers are checked. After changes that arrived by a session or feed, all peers that are not known to hold the
//!   same records are checked, eight at a time: so changes spread to nodes that their author cannot reach.
//! - **Nothing at all.** Every 30 to 60 seconds one random peer is checked, for anything that went unnoticed; more often
//!   one that is not known to hold the same records.
//!
//! There is one session at a time with each peer; whatever falls due meanwhile is done after it. Only connected peers cost
//! memory.

mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use peer::{Peer, Side};

use super::outcome::{Opening, Outcome, Report, Settled};
use crate::id::NodeId;
use crate::limits::{SYNC_FRESH_MAX, SYNC_FRESH_SESSIONS_MAX, SYNC_OWN_SESSIONS_MAX, SYNC_TOLD_PEERS_MAX};
use crate::random::SplitMix64;
use crate::set_digest::SetDigestValue;
use crate::time::{Timestamp, Uptime};
use crate::via::Via;

/// How long the node with the larger id leaves the first session to the other one.
const GREETING_PAUSE: Duration = Duration::from_secs(2);
/// How long a missed message waits for others that go missing with it.
const OWED_PAUSE: Duration = Duration::from_millis(200);
/// The check behind the last change, and how many peers it goes to.
const QUIET_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];
const QUIET_PEERS: usize = 2;
/// From the first change that came by a session or feed to the round of checks that passes it on.
const ROUND_PAUSE: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Between two such rounds, while changes keep coming.
const ROUND_INTERVAL: Duration = Duration::from_secs(2);
/// Between two checks without any reason.
const PERIODIC_PAUSE: [Duration; 2] = [Duration::from_secs(30), Duration::from_secs(60)];
/// How often the wall clock is compared while something waits for it: it may step.
const CLOCK_PAUSE: Duration = Duration::from_secs(1);

/// Whether a session that a peer opens may go on. There is one at a time: of two that were opened at once, that of the
/// node with the smaller id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It goes on.
    Accept,
    /// It goes on; drop the one that is under way with this peer, without calling [`Agenda::ended`] for it.
    AcceptInsteadOfOurs,
    /// Close the stream: ours goes on.
    Refuse,
}

/// What came of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Its outcome; none: it broke off, or could not be opened.
    pub outcome: Option<Outcome>,
    /// How many records that we received in it were news.
    pub changed: u64,
    /// The peer's digest as it was told last.
    pub peer_digest: Option<SetDigestValue>,
    /// After [`Outcome::Waiting`]: what is known to differ.
    pub settled: Option<Settled>,
    /// When the earliest waiting record falls due, by our wall clock, if this side saw it.
    pub falls_due: Option<Timestamp>,
}

impl SessionEnd {
    /// Of a session that ended or broke off, from its report.
    pub fn of(outcome: Option<Outcome>, report: &Report) -> Self {
        let told = report.peer.as_ref().map(|peer| peer.digest);
        Self {
            outcome,
            changed: report.changed,
            peer_digest: report.equal_digest.or(told),
            settled: report.settled,
            falls_due: report.falls_due,
        }
    }

    /// Of a session for which no stream could be opened.
    pub fn unopened() -> Self {
        Self::of(None, &Report::default())
    }
}

/// The agenda of one node.
///
/// The caller tells it what happens, and opens the sessions that [`due`](Self::due) gives: after every other call, and
/// when [`next_due`](Self::next_due) has come. Every session, whoever opened it, is to end by [`ended`](Self::ended),
/// [`disconnected`](Self::disconnected) or [`Answer::AcceptInsteadOfOurs`]; until then its peer gets no other one.
///
/// Between the end of a session and the next one that is opened with the same peer lie 200 ms at least. Behind sessions
/// that change nothing and do not end equal, pauses double from half a second to 30 s, and a new reason waits for two
/// seconds of them at most.
#[derive(Debug)]
pub struct Agenda {
    me: NodeId,
    random: SplitMix64,
    /// Those connected, and those of which a session came in before the connection was told.
    peers: BTreeMap<NodeId, Peer>,
    /// When the check behind the last change is due, and how long after the last change that is.
    quiet: Option<(Uptime, Duration)>,
    /// When the next round of checks is due.
    round: Option<Uptime>,
    /// Before this there is no other round.
    round_not_before: Uptime,
    /// When the next check without a reason is due.
    periodic: Option<Uptime>,
    /// When `due` was last asked.
    asked: Uptime,
}

impl Agenda {
    /// The agenda of node `me`, with chance drawn from `seed`.
    pub fn new(me: NodeId, seed: u64) -> Self {
        Self {
            me,
            random: SplitMix64::new(seed),
            peers: BTreeMap::new(),
            quiet: None,
            round: None,
            round_not_before: Uptime::default(),
            periodic: None,
            asked: Uptime::default(),
        }
    }

    /// A peer that speaks the sync is there. Call it once gossip from it is subscribed to, so that nothing falls between
    /// gossip and session. A peer that is there already stays as it is.
    pub fn connected(&mut self, peer: NodeId, at: Uptime) {
        let pause = if self.me < peer { Duration::ZERO } else { GREETING_PAUSE };
        let entry = self.peers.entry(peer).or_default();
        if std::mem::replace(&mut entry.connected, true) {
            return;
        }
        if entry.under_way.is_none() {
            entry.want(at.after(pause));
        }
        if self.periodic.is_none() {
            self.periodic = Some(at.after(between(&mut self.random, PERIODIC_PAUSE)));
        }
    }

    /// A peer is gone, and a session with it is over: no [`ended`](Self::ended) is to follow.
    pub fn disconnected(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
    }

    /// Something did not get through between this peer and us: a message dropped or limited, a feed given up.
    pub fn owe(&mut self, peer: NodeId, at: Uptime) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.want(at.after(OWED_PAUSE));
        }
    }

    /// There is room again for what was refused: everybody may have some of it.
    pub fn has_room_again(&mut self, at: Uptime) {
        for peer in self.peers.values_mut().filter(|peer| peer.connected) {
            peer.look_anew(at.after(OWED_PAUSE));
        }
    }

    /// Our records changed. What came by a session or a feed is passed on by nobody but this node; gossip passes itself on.
    pub fn changed(&mut self, via: Via, at: Uptime) {
        match via {
            Via::Local | Via::Gossip { .. } => {
                let pause = match self.quiet {
                    Some((_, pause)) => pause,
                    None => between(&mut self.random, QUIET_PAUSE),
                };
                self.quiet = Some((at.after(pause), pause));
            }
            Via::Feed { neighbour } | Via::Session { neighbour } => {
                for (id, peer) in &mut self.peers {
                    peer.untold |= *id != neighbour;
                }
                if self.round.is_none() {
                    let soon = at.after(between(&mut self.random, ROUND_PAUSE));
                    self.round = Some(soon.max(self.round_not_before));
                }
            }
        }
    }

    /// A peer opens a session. Unless it is refused, it counts as under way from now on.
    pub fn asks(&mut self, peer: NodeId) -> Answer {
        let ours_goes_on = self.me < peer;
        let peer = self.peers.entry(peer).or_default();
        let answer = match peer.under_way {
            None => Answer::Accept,
            Some(Side::Ours(_)) if ours_goes_on => return Answer::Refuse,
            // A peer that opens a second session has given up its first one, even if we have not heard of that yet.
            Some(Side::Ours(_) | Side::Theirs) => Answer::AcceptInsteadOfOurs,
        };
        peer.begin(Side::Theirs);
        answer
    }

    /// The session under way with this peer, whoever opened it, is over.
    pub fn ended(&mut self, peer: NodeId, end: SessionEnd, at: Uptime) {
        if let Some(held) = self.peers.get_mut(&peer) {
            held.end(end, at, &mut self.random);
            if !held.connected {
                self.peers.remove(&peer);
            }
        }
    }

    /// The sessions to be opened now, given the digest of our records and our wall clock. They count as under way; one
    /// for which no stream can be had is to be ended at once ([`SessionEnd::unopened`]). A node that does not know its digest
    /// yet does not ask; nothing that falls due meanwhile is lost.
    pub fn due(&mut self, mine: SetDigestValue, now: Timestamp, at: Uptime) -> Vec<(NodeId, Opening)> {
        self.asked = at;
        if !self.peers.values().any(|peer| peer.connected) {
            (self.quiet, self.round, self.periodic) = (None, None, None);
            return Vec::new();
        }
        self.check_behind_changes(at);
        self.pass_changes_on(&mine, at);
        self.check_without_reason(&mine, at);
        for peer in self.peers.values_mut() {
            peer.look_at_the_clock(now, at);
        }
        let mut due: Vec<(bool, Uptime, NodeId)> = self
            .peers
            .iter()
            .filter_map(|(id, peer)| Some((peer.failed, peer.free_at()?, *id)))
            .filter(|(_, when, _)| *when <= at)
            .collect();
        // Who has waited longest goes first, but whoever had a place for nothing comes behind all others.
        due.sort_unstable();
        due.truncate(self.places(at));
        let mut open = |(_, _, id)| Some((id, self.peers.get_mut(&id)?.open(at)));
        due.into_iter().filter_map(&mut open).collect()
    }

    /// When to ask for [`due`](Self::due) at the latest; none: when something has happened.
    pub fn next_due(&self) -> Option<Uptime> {
        let connected = self.peers.values().any(|peer| peer.connected);
        let common = [self.quiet.map(|(when, _)| when), self.round, self.periodic];
        let common = common.into_iter().flatten().filter(|_| connected);
        let place_at = self.place_at();
        let of_peers = self.peers.values().filter_map(Peer::free_at);
        let of_peers = of_peers.filter_map(|free_at| Some(free_at.max(place_at?)));
        let waits = self.peers.values().any(Peer::waits_for_the_clock);
        let clock = waits.then(|| self.asked.after(CLOCK_PAUSE));
        common.chain(of_peers).chain(clock).min()
    }

    /// When each of our own sessions under way was opened.
    fn own_sessions(&self) -> impl Iterator<Item = Uptime> {
        self.peers.values().filter_map(|peer| match peer.under_way {
            Some(Side::Ours(opened)) => Some(opened),
            Some(Side::Theirs) | None => None,
        })
    }

    /// How many sessions may be opened now.
    fn places(&self, at: Uptime) -> usize {
        let fresh = self.own_sessions().filter(|opened| opened.after(SYNC_FRESH_MAX) > at);
        let places = SYNC_FRESH_SESSIONS_MAX.saturating_sub(fresh.count());
        places.min(SYNC_OWN_SESSIONS_MAX.saturating_sub(self.own_sessions().count()))
    }

    /// From when on another session may be opened; none: when one has ended.
    fn place_at(&self) -> Option<Uptime> {
        let mut opened: Vec<Uptime> = self.own_sessions().collect();
        opened.sort_unstable_by(|a, b| b.cmp(a));
        let last_fresh = opened.get(SYNC_FRESH_SESSIONS_MAX - 1);
        let place_at = last_fresh.map_or(Uptime::default(), |opened| opened.after(SYNC_FRESH_MAX));
        (opened.len() < SYNC_OWN_SESSIONS_MAX).then_some(place_at)
    }

    fn check_behind_changes(&mut self, at: Uptime) {
        if self.quiet.is_some_and(|(when, _)| when <= at) {
            self.quiet = None;
            let connected = |peer: &Peer| peer.connected;
            for id in self.pick(QUIET_PEERS, connected) {
                self.want(id, at);
            }
        }
    }

    /// Every other time, by chance, it is one of those that are not known to hold the same, if there are any; but never
    /// only those, because what is known may be out of date, and some may never hold the same.
    fn check_without_reason(&mut self, mine: &SetDigestValue, at: Uptime) {
        if self.periodic.is_some_and(|when| when > at) {
            return;
        }
        let first = self.periodic.is_none();
        self.periodic = Some(at.after(between(&mut self.random, PERIODIC_PAUSE)));
        if first {
            return;
        }
        let in_doubt = self.pick(1, |peer| peer.connected && !peer.holds_the_same(mine));
        let anyone = self.pick(1, |peer| peer.connected);
        let picked = if in_doubt.is_empty() || self.random.draw().is_multiple_of(2) {
            anyone
        } else {
            in_doubt
        };
        for id in picked {
            self.want(id, at);
        }
    }

    fn pass_changes_on(&mut self, mine: &SetDigestValue, at: Uptime) {
        if self.round.is_none_or(|when| when > at) {
            return;
        }
        for peer in self.peers.values_mut() {
            peer.untold &= !peer.holds_the_same(mine);
        }
        let untold = |peer: &Peer| peer.connected && peer.untold;
        for id in self.pick(SYNC_TOLD_PEERS_MAX, untold) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.untold = false;
            }
            self.want(id, at);
        }
        self.round_not_before = at.after(ROUND_INTERVAL);
        self.round = self.peers.values().any(untold).then_some(self.round_not_before);
    }

    fn want(&mut self, id: NodeId, at: Uptime) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.want(at);
        }
    }

    /// Up to so many of the peers that are suitable, by chance.
    fn pick(&mut self, count: usize, suitable: impl Fn(&Peer) -> bool) -> Vec<NodeId> {
        let suitable = self.peers.iter().filter(|(_, peer)| suitable(peer));
        let mut drawn: Vec<(u64, NodeId)> = suitable.map(|(id, _)| (self.random.draw(), *id)).collect();
        drawn.sort_unstable();
        drawn.into_iter().take(count).map(|(_, id)| id).collect()
    }
}

/// A pause between two others.
fn between(random: &mut SplitMix64, [least, most]: [Duration; 2]) -> Duration {
    let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
    least + Duration::from_micros(random.draw() % span.max(1))
}
