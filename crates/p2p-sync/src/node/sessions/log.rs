//! Log lines about sessions. A peer can cause these at any rate, so each kind is limited to one per peer within a given
//! time; the next one says how many were left out.

use std::time::Duration;

use p2p_sync_core::sync::{Outcome, Report, SessionError};
use p2p_sync_core::{NodeId, Uptime};

use crate::names::Names;
use crate::node::NodeError;
use crate::throttle::KeyedThrottle;

/// How often the same kind of line is written about one peer.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is told that a peer has no room.
const FULL_INTERVAL: Duration = Duration::from_secs(3_600);
/// Peers that are remembered for one kind of line. While all of them had theirs just now, others get none.
pub(in crate::node) const REMEMBERED_MAX: usize = 1_024;

/// The lines about sessions.
#[derive(Debug)]
pub(super) struct SessionLog {
    names: Names,
    synced: KeyedThrottle<NodeId, Uptime>,
    broken_off: KeyedThrottle<NodeId, Uptime>,
    violations: KeyedThrottle<NodeId, Uptime>,
    failures: KeyedThrottle<NodeId, Uptime>,
    full: KeyedThrottle<NodeId, Uptime>,
}

impl SessionLog {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            synced: KeyedThrottle::once(LINE_INTERVAL, REMEMBERED_MAX),
            broken_off: KeyedThrottle::once(LINE_INTERVAL, REMEMBERED_MAX),
            violations: KeyedThrottle::once(LINE_INTERVAL, REMEMBERED_MAX),
            failures: KeyedThrottle::once(LINE_INTERVAL, REMEMBERED_MAX),
            full: KeyedThrottle::once(FULL_INTERVAL, REMEMBERED_MAX),
        }
    }

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
            && let Some(_) = self.full.pass(peer, at)
        {
            tracing::warn!(
                "Peer {} has no space for the records it is missing: it stores only what needs no extra space. Free \
                 space on its disk, or give it a larger --max-store; it then fetches the rest",
                self.names.peer(peer)
            );
        }
        let Some(what) = moved(report) else { return };
        let lines = if outcome.is_some() {
            &mut self.synced
        } else {
            &mut self.broken_off
        };
        let Some(left_out) = lines.pass(peer, at) else { return };
        let (more, peer) = (and_more(left_out), self.names.peer(peer));
        if outcome.is_some() {
            tracing::info!("Synced with peer {peer}: {what}{more}");
        } else {
            // What was received is stored; what was sent may be.
            tracing::info!("A sync with peer {peer} was interrupted and continues later: {what} so far{more}");
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
                if let Some(left_out) = self.violations.pass(peer, at) {
                    let peer = self.names.peer(peer);
                    tracing::warn!("Ended a sync with peer {peer}: {violation}{}", and_more(left_out));
                }
                Some("broke the rules of the sync")
            }
            // That was told when it began.
            SessionError::Store(NodeError::NoRoom) => None,
            SessionError::Store(error) => {
                if let Some(left_out) = self.failures.pass(peer, at) {
                    let peer = self.names.peer(peer);
                    tracing::error!("Ended a sync with peer {peer}: {error}{}", and_more(left_out));
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

    #[test]
    fn what_was_left_out_is_said_by_the_next_line() {
        assert_eq!(
            (and_more(0).as_str(), and_more(50).as_str()),
            ("", " (and 50 more before)")
        );
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
