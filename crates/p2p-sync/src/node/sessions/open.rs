//! Requested streams, and the running sessions: what is kept about each, and when it takes too long.

use std::collections::BTreeMap;

use p2p_sync_core::sync::{Frame, Moved, Opening, Progress, Report, Session};
use p2p_sync_core::{NodeId, Uptime};
use tokio::sync::mpsc;

use crate::net::StreamOrder;
use crate::node::standings::Traffic;

/// The last order for a stream with each peer, while it has no answer.
#[derive(Default)]
pub(super) struct Openings {
    ordered: BTreeMap<NodeId, (StreamOrder, Opening)>,
    last: StreamOrder,
}

impl Openings {
    /// Gives an order, which takes the place of an older one with this peer.
    pub(super) fn order(&mut self, peer: NodeId, opening: Opening) -> StreamOrder {
        self.last.0 += 1;
        self.ordered.insert(peer, (self.last, opening));
        self.last
    }

    /// What this order was for; none when it was forgotten, or another took its place.
    pub(super) fn take(&mut self, peer: NodeId, order: StreamOrder) -> Option<Opening> {
        let (_, opening) = *self.ordered.get(&peer).filter(|(given, _)| *given == order)?;
        self.ordered.remove(&peer);
        Some(opening)
    }

    pub(super) fn forget(&mut self, peer: NodeId) {
        self.ordered.remove(&peer);
    }
}

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
