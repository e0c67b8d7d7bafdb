//! The sync state of each connected peer, for `status`, and the sessions that a user has requested and waits for.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_sync_core::sync::{Outcome, Report};
use p2p_sync_core::{NodeId, Uptime};
use tokio::sync::oneshot;

use super::sessions::log::REMEMBERED_MAX;
use super::{LastSync, PeerSync, Standing, Synced};
use crate::names::Names;
use crate::system::Now;
use crate::throttle::KeyedThrottle;

/// How long whoever asked for sessions waits for those that do not come to an end.
const ASKED_PATIENCE: Duration = Duration::from_secs(60);
/// Sessions with one peer that end otherwise than equal, after which whoever asked is told how it stands. One may break off or
/// be refused for a moment; where three do, something is in the way, or the two change all the time.
const ASKED_TRIES: u32 = 3;
/// Requests for sessions that wait at a time; a further one is answered with what is known.
const ASKED_MAX: usize = 16;
/// Clocks that differ by more than this are told to the log: what their nodes write is soon too far ahead for the others.
const CLOCK_WORRY: Duration = Duration::from_secs(60);
/// How often that is told of one peer.
const CLOCK_WORRY_EVERY: Duration = Duration::from_secs(600);

/// The connected peers.
#[derive(Debug)]
pub(super) struct Standings {
    names: Names,
    peers: BTreeMap<NodeId, Peer>,
    asked: Vec<Asked>,
    /// Records that were not taken, by cause.
    refused: BTreeMap<&'static str, u64>,
    /// Whose clocks the log was told of.
    worries: KeyedThrottle<NodeId, Uptime>,
}

#[derive(Debug, Default)]
struct Peer {
    /// Sessions under way.
    running: usize,
    outcome: Option<Standing>,
    last: Option<LastSync>,
    /// When that session began.
    last_since: Uptime,
    clock_ahead_nanos: Option<i64>,
    /// Since when the two are known not to be equal.
    unequal_since: Option<Uptime>,
    hindrance: Option<&'static str>,
}

/// Somebody waits until there was a session with each of these.
#[derive(Debug)]
struct Asked {
    reply: oneshot::Sender<Vec<Synced>>,
    since: Uptime,
    /// With how many that fell short.
    waiting: BTreeMap<NodeId, u32>,
    done: Vec<Synced>,
}

/// Bytes of frames on one stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Traffic {
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Standings {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            peers: BTreeMap::new(),
            asked: Vec::new(),
            refused: BTreeMap::new(),
            worries: KeyedThrottle::once(CLOCK_WORRY_EVERY, REMEMBERED_MAX),
        }
    }

    pub(super) fn connected(&mut self, peer: NodeId) {
        self.peers.insert(peer, Peer::default());
    }

    pub(super) fn disconnected(&mut self, peer: NodeId) {
        self.peers.remove(&peer);
        self.answer(peer, None);
    }

    pub(super) fn began(&mut self, peer: NodeId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.running += 1;
        }
    }

    /// What a session did not take.
    pub(super) fn refused_by(&mut self, report: &Report) {
        self.refuse("too far ahead", report.ahead_of_clock);
    }

    /// Another session took the place of one.
    pub(super) fn abandoned(&mut self, peer: NodeId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.running = known.running.saturating_sub(1);
        }
    }

    /// A session that began at `since` is over; without an outcome if it broke off.
    pub(super) fn ended(&mut self, peer: NodeId, outcome: Option<Outcome>, report: &Report, since: Uptime, at: Uptime) {
        let Some(known) = self.peers.get_mut(&peer) else { return };
        known.running = known.running.saturating_sub(1);
        if report.peer.is_some() {
            known.clock_ahead_nanos = Some(report.peer_ahead_nanos);
            let ahead = report.peer_ahead_nanos;
            if is_worrying(ahead) && self.worries.pass(peer, at).is_some() {
                worry(&self.names.peer(peer), ahead);
            }
        }
        (known.unequal_since, known.hindrance) = match outcome {
            Some(Outcome::Equal) => (None, None),
            Some(Outcome::Busy) => (known.unequal_since.or(Some(at)), Some("busy")),
            Some(Outcome::Delivered | Outcome::Waiting) => (known.unequal_since.or(Some(at)), None),
            None => (known.unequal_since.or(Some(at)), Some("broken_off")),
        };
        known.outcome = match outcome {
            Some(Outcome::Equal) => Some(Standing::InSync),
            _ if report.peer_full || report.told_full => Some(Standing::NoRoom {
                records: report.waiting.max(report.refused).max(report.held_back),
                here: !report.peer_full,
            }),
            Some(Outcome::Waiting) => Some(Standing::Waiting {
                records: report.waiting,
            }),
            Some(Outcome::Delivered | Outcome::Busy) | None if report.peer.is_some() => Some(Standing::Differs {
                ahead: report.ahead,
                behind: report.behind,
            }),
            Some(Outcome::Delivered | Outcome::Busy) | None => known.outcome,
        };
        let is_held = matches!(outcome, Some(Outcome::Equal | Outcome::Waiting));
        self.answer(peer, Some((since, is_held)));
    }

    /// What kept the session with this peer from its end that is over now.
    pub(super) fn hindered(&mut self, peer: NodeId, why: &'static str) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.hindrance = Some(why);
        }
    }

    /// A session could not even begin.
    pub(super) fn not_opened(&mut self, peer: NodeId, at: Uptime) {
        self.answer(peer, Some((at, false)));
    }

    /// What travelled in a session that is over, unless a later one is over already.
    pub(super) fn travelled(&mut self, peer: NodeId, report: &Report, traffic: Traffic, since: Uptime, now: Now) {
        if let Some(known) = self.peers.get_mut(&peer).filter(|known| since >= known.last_since) {
            known.last_since = since;
            known.last = Some(LastSync {
                at: now.time,
                bytes_sent: traffic.sent,
                bytes_received: traffic.received,
                round_trips: report.round_trips,
                records_sent: report.sent,
                records_changed: report.changed,
            });
        }
    }

    /// Records that were not taken.
    pub(super) fn refuse(&mut self, cause: &'static str, count: u64) {
        if count > 0 {
            *self.refused.entry(cause).or_default() += count;
        }
    }

    /// Somebody wants a session with everybody.
    pub(super) fn ask(&mut self, reply: oneshot::Sender<Vec<Synced>>, at: Uptime) {
        let asked = Asked {
            reply,
            since: at,
            waiting: self.peers.keys().map(|peer| (*peer, 0)).collect(),
            done: Vec::new(),
        };
        self.asked.push(asked);
        if self.asked.len() > ASKED_MAX {
            let oldest = self.asked.remove(0);
            self.give_up(oldest);
        }
        self.reply_to_the_satisfied(at);
    }

    /// When somebody has waited long enough.
    pub(super) fn next_due(&self) -> Option<Uptime> {
        self.asked.iter().map(|asked| asked.since.after(ASKED_PATIENCE)).min()
    }

    /// Answers those whose sessions have all been held, and those who have waited long enough.
    pub(super) fn reply_to_the_satisfied(&mut self, at: Uptime) {
        let patient = |asked: &Asked| !asked.waiting.is_empty() && at.saturating_since(asked.since) < ASKED_PATIENCE;
        let (waiting, over) = std::mem::take(&mut self.asked).into_iter().partition(patient);
        self.asked = waiting;
        for asked in Vec::from_iter::<Vec<Asked>>(over) {
            self.give_up(asked);
        }
    }

    /// How it stands with everybody.
    pub(super) fn all(&self, at: Uptime) -> Vec<PeerSync> {
        let peers = self.peers.iter().map(|(peer, known)| PeerSync {
            peer: *peer,
            standing: known.standing(),
            last: known.last,
            clock_ahead_nanos: known.clock_ahead_nanos,
            unequal_for: known.unequal_since.map(|since| at.saturating_since(since)),
            hindrance: known.hindrance,
        });
        peers.collect()
    }

    /// What sessions did not take: cause and count.
    pub(super) fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.refused.iter().map(|(cause, count)| (*cause, *count))
    }

    /// A session with this peer that began then was held or fell short, or there can be none.
    fn answer(&mut self, peer: NodeId, session: Option<(Uptime, bool)>) {
        let synced = self.synced(peer);
        for asked in &mut self.asked {
            let Some(short) = asked.waiting.get_mut(&peer) else {
                continue;
            };
            let done = session.is_none_or(|(since, is_held)| {
                let counts = since >= asked.since;
                *short += u32::from(counts && !is_held);
                counts && (is_held || *short >= ASKED_TRIES)
            });
            if done {
                asked.waiting.remove(&peer);
                asked.done.push(synced.clone());
            }
        }
    }

    fn give_up(&self, mut asked: Asked) {
        let unheard = asked.waiting.keys().map(|peer| Synced {
            last: None,
            ..self.synced(*peer)
        });
        asked.done.extend(unheard);
        // Whoever asked may have gone away meanwhile.
        let _ = asked.reply.send(asked.done);
    }

    fn synced(&self, peer: NodeId) -> Synced {
        let known = self.peers.get(&peer);
        Synced {
            peer,
            standing: known.map_or(Standing::Unknown, Peer::standing),
            last: known.and_then(|known| known.last),
        }
    }
}

impl Peer {
    fn standing(&self) -> Standing {
        if self.running > 0 {
            Standing::Syncing
        } else {
            self.outcome.unwrap_or(Standing::Unknown)
        }
    }
}

fn is_worrying(ahead: i64) -> bool {
    Duration::from_nanos(ahead.unsigned_abs()) >= CLOCK_WORRY
}

fn worry(peer: &str, ahead: i64) {
    let distance = Duration::from_nanos(ahead.unsigned_abs());
    tracing::warn!(
        "The clock of peer {peer} is {:.1} s {} this machine's. Check both clocks: records dated more than two \
         minutes ahead are held back until they fall due",
        distance.as_secs_f64(),
        if ahead > 0 { "ahead of" } else { "behind" },
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn for_how_long_two_are_not_equal_is_known_and_what_hindered_them_until_they_are() {
        let peer: NodeId = "12D3KooWGfX2ZdACKUL4r1yYpU7qkCadvHufg7C9uT7K6MKSyUwa".parse().unwrap();
        let at = |seconds| Uptime(Duration::from_secs(seconds));
        let mut standings = Standings::new(Names::default());
        standings.connected(peer);
        let known = |standings: &Standings| {
            let known = standings.all(at(100)).remove(0);
            (known.unequal_for.map(|time| time.as_secs()), known.hindrance)
        };
        assert_eq!(known(&standings), (None, None));
        let report = Report::default();
        for (outcome, seconds, expected) in [
            (None, 10, (Some(90), Some("broken_off"))),
            (Some(Outcome::Busy), 20, (Some(90), Some("busy"))),
            (Some(Outcome::Delivered), 30, (Some(90), None)),
            (Some(Outcome::Equal), 40, (None, None)),
            (Some(Outcome::Waiting), 60, (Some(40), None)),
        ] {
            standings.began(peer);
            standings.ended(peer, outcome, &report, at(seconds), at(seconds));
            assert_eq!(known(&standings), expected, "{outcome:?}");
        }
        standings.hindered(peer, "slow");
        assert_eq!(known(&standings), (Some(40), Some("slow")));
    }
}
