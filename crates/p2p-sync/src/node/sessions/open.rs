//! One session under way on its stream: what is kept of it, when it takes too long, what the log is told at its end.

use std::time::Duration;

use p2p_sync_core::sync::{Frame, Outcome, Report, Session, SessionError};
use p2p_sync_core::{NodeId, Uptime};
use tokio::sync::mpsc;

use crate::node::NodeError;
use crate::node::standings::Traffic;

/// A session in which no record moves for so long is ended: whoever only keeps it open keeps others from what it holds. A
/// comparison of all records takes some seconds for a million.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(120);
/// A session that takes longer is ended, so that nobody keeps the right to a bulk for ever. The next one goes on from there.
pub(super) const SESSION_MAX: Duration = Duration::from_secs(900);

/// A session and its stream.
pub(super) struct Open {
    pub(super) peer: NodeId,
    /// None once it is over: with it go its memory and its slots, though the stream may take its time to end.
    pub(super) running: Option<Running>,
    /// It came to its end, and this is what it came to.
    pub(super) report: Option<Report>,
    pub(super) since: Uptime,
    pub(super) traffic: Traffic,
}

pub(super) struct Running {
    pub(super) session: Session,
    pub(super) outgoing: mpsc::Sender<Frame>,
    /// When records last moved.
    pub(super) moved: Uptime,
    /// How many had moved by then.
    pub(super) records: u64,
}

impl Running {
    /// Whether the session has been idle for too long, or has taken too long altogether.
    pub(super) fn is_overdue(&mut self, since: Uptime, at: Uptime) -> bool {
        let report = self.session.report();
        let records = report.sent + report.received;
        if records != self.records {
            (self.records, self.moved) = (records, at);
        }
        at.saturating_since(self.moved) > IDLE_MAX || at.saturating_since(since) > SESSION_MAX
    }
}

/// Tells the log what a session came to.
pub(super) fn tell(peer: NodeId, outcome: Option<Outcome>, report: &Report) {
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
    if report.changed > 0 {
        tracing::info!(
            "Synced with peer {peer}: {} changes received, {} sent",
            report.changed,
            report.sent
        );
    } else if report.sent > 0 {
        tracing::info!("Synced with peer {peer}: {} changes sent", report.sent);
    }
}

/// Tells the log why a session could not go on, and gives what to count it as in the status.
pub(super) fn tell_failure(peer: NodeId, error: &SessionError<NodeError>) -> Option<&'static str> {
    match error {
        SessionError::Violation(violation) => {
            tracing::warn!("A sync with peer {peer} was ended: {violation}");
            Some("broke the rules of the sync")
        }
        // That was told when it began.
        SessionError::Store(NodeError::NoRoom) => None,
        SessionError::Store(error) => {
            tracing::error!("A sync with peer {peer} was ended: {error}");
            None
        }
    }
}
