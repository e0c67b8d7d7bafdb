//! What the log is told of sessions. A peer can bring these lines about as often as it likes, so each kind has one for each
//! peer within a given time; the next one says how many were left out.

use std::collections::BTreeMap;
use std::time::Duration;

use p2p_sync_core::sync::{Outcome, Report, SessionError};
use p2p_sync_core::{NodeId, Uptime};

use crate::node::NodeError;

/// How often the same kind of line is written about one peer.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is told that a peer has no room.
const FULL_INTERVAL: Duration = Duration::from_secs(3_600);
/// Peers that are remembered for one kind of line. While all of them had theirs just now, others get none.
const REMEMBERED_MAX: usize = 1_024;

/// Lines of one kind. What is remembered outlasts the connections.
#[derive(Debug)]
pub(in crate::node) struct Lines {
    interval: Duration,
    told: BTreeMap<NodeId, Told>,
}

#[derive(Debug)]
struct Told {
    at: Uptime,
    left_out: u64,
}

impl Lines {
    /// One line about a peer within `interval`.
    pub(in crate::node) fn every(interval: Duration) -> Self {
        Self {
            interval,
            told: BTreeMap::new(),
        }
    }

    /// Whether a line about this peer is to be written now, and how many were left out since the last one.
    pub(in crate::node) fn next(&mut self, peer: NodeId, at: Uptime) -> Option<u64> {
        let interval = self.interval;
        let recent = |told: &Told| at.saturating_since(told.at) < interval;
        if let Some(told) = self.told.get_mut(&peer) {
            if recent(told) {
                told.left_out += 1;
                return None;
            }
            told.at = at;
            return Some(std::mem::take(&mut told.left_out));
        }
        if self.told.len() >= REMEMBERED_MAX {
            self.told.retain(|_, told| recent(told));
        }
        if self.told.len() >= REMEMBERED_MAX {
            return None;
        }
        self.told.insert(peer, Told { at, left_out: 0 });
        Some(0)
    }
}

/// The lines about sessions.
#[derive(Debug)]
pub(super) struct SessionLog {
    synced: Lines,
    broken_off: Lines,
    violations: Lines,
    failures: Lines,
    full: Lines,
}

impl Default for SessionLog {
    fn default() -> Self {
        Self {
            synced: Lines::every(LINE_INTERVAL),
            broken_off: Lines::every(LINE_INTERVAL),
            violations: Lines::every(LINE_INTERVAL),
            failures: Lines::every(LINE_INTERVAL),
            full: Lines::every(FULL_INTERVAL),
        }
    }
}

impl SessionLog {
    /// What a session came to.
    pub(super) fn tell(&mut self, peer: NodeId, outcome: Option<Outcome>, report: &Report, at: Uptime) {
        tracing::debug!(
            %peer,
            ?outcome,
            sent = report.sent,
            received = report.received,
            changed = report.changed,
            round_trips = report.round_trips,
            rounds = report.rounds,
            bulk = report.bulk,
            ranges = report.ranges,
            "a sync session is over"
        );
        if report.peer_full
            && let Some(_) = self.full.next(peer, at)
        {
            tracing::warn!(
                "Peer {peer} has no room for what it lacks: it takes only what takes no more room than before. Make room on its disk, \
                 or set its --max-store; the rest follows by itself"
            );
        }
        let Some(what) = moved(report) else { return };
        let lines = if outcome.is_some() {
            &mut self.synced
        } else {
            &mut self.broken_off
        };
        let Some(left_out) = lines.next(peer, at) else { return };
        let more = and_more(left_out);
        if outcome.is_some() {
            tracing::info!("Synced with peer {peer}: {what}{more}");
        } else {
            // What was received is stored; what was sent may be.
            tracing::info!("A sync with peer {peer} broke off and goes on later: {what} until then{more}");
        }
    }

    /// Why a session could not go on; gives what to count it as in the status.
    pub(super) fn tell_failure(
        &mut self,
        peer: NodeId,
        error: &SessionError<NodeError>,
        at: Uptime,
    ) -> Option<&'static str> {
        match error {
            SessionError::Violation(violation) => {
                if let Some(left_out) = self.violations.next(peer, at) {
                    tracing::warn!("A sync with peer {peer} was ended: {violation}{}", and_more(left_out));
                }
                Some("broke the rules of the sync")
            }
            // That was told when it began.
            SessionError::Store(NodeError::NoRoom) => None,
            SessionError::Store(error) => {
                if let Some(left_out) = self.failures.next(peer, at) {
                    tracing::error!("A sync with peer {peer} was ended: {error}{}", and_more(left_out));
                }
                None
            }
        }
    }
}

/// What moved in a session, in words; none: nothing.
fn moved(report: &Report) -> Option<String> {
    let changes = |count: u64| format!("{count} {}", if count == 1 { "change" } else { "changes" });
    match (report.changed, report.sent) {
        (0, 0) => None,
        (0, sent) => Some(format!("{} sent", changes(sent))),
        (changed, sent) => Some(format!("{} received, {sent} sent", changes(changed))),
    }
}

/// Says that more lines like this one were left out before it.
fn and_more(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        _ => format!(" (and {left_out} more before)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> NodeId {
        NodeId::from_bytes(&number.to_be_bytes()).unwrap()
    }

    #[test]
    fn one_peer_gets_one_line_a_second_and_the_rest_is_counted() {
        let mut lines = Lines::every(LINE_INTERVAL);
        let at = |millis| Uptime(Duration::from_millis(millis));
        assert_eq!(lines.next(id(1), at(0)), Some(0));
        for millis in 1..=50 {
            assert_eq!(lines.next(id(1), at(millis)), None);
        }
        assert_eq!(lines.next(id(2), at(60)), Some(0), "another peer");
        assert_eq!(lines.next(id(1), at(1_000)), Some(50));
        assert_eq!(lines.next(id(1), at(2_000)), Some(0));
        assert_eq!(
            (and_more(0).as_str(), and_more(50).as_str()),
            ("", " (and 50 more before)")
        );
    }

    #[test]
    fn many_peers_fill_neither_the_memory_nor_the_log() {
        let mut lines = Lines::every(LINE_INTERVAL);
        let told = (0..5_000).filter(|number| lines.next(id(*number), Uptime::default()).is_some());
        assert_eq!(told.count(), REMEMBERED_MAX);
        assert_eq!(lines.next(id(9_999), Uptime(LINE_INTERVAL)), Some(0));
        assert_eq!(lines.told.len(), 1);
    }

    #[test]
    fn one_is_a_change_and_two_are_changes() {
        let of = |changed, sent| {
            moved(&Report {
                changed,
                sent,
                ..Report::default()
            })
        };
        assert_eq!(of(0, 0), None);
        assert_eq!(of(0, 1).as_deref(), Some("1 change sent"));
        assert_eq!(of(0, 2).as_deref(), Some("2 changes sent"));
        assert_eq!(of(1, 0).as_deref(), Some("1 change received, 0 sent"));
        assert_eq!(of(7, 1).as_deref(), Some("7 changes received, 1 sent"));
    }
}
