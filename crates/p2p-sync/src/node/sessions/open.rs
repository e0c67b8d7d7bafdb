//! One session under way on its stream: what is kept of it, and when it takes too long.

use p2p_sync_core::sync::{Frame, Moved, Progress, Report, Session};
use p2p_sync_core::{NodeId, Uptime};
use tokio::sync::mpsc;

use crate::node::standings::Traffic;

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
    pub(super) progress: Progress,
}

impl Open {
    /// Whether the session keeps others from what it holds, and moves too little for that.
    pub(super) fn is_overdue(&mut self, at: Uptime) -> bool {
        let moved = Moved {
            sent: self.traffic.sent,
            received: self.traffic.received,
        };
        let Some(Running { session, progress, .. }) = &mut self.running else {
            return false;
        };
        !progress.goes_on(moved, session.report().ranges, at)
    }
}
