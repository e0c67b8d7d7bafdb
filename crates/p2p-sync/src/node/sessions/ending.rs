//! How sessions of this node end, cleanly or not, and what is told about it: the agenda, the standings, the log, and the
//! peer's rights.

use p2p_sync_core::sync::{Looked, Outcome, SessionEnd, SessionError};
use p2p_sync_core::{NodeId, Uptime};

use super::{LOOK_INTERVAL, NodeError, SLOTS_INTERVAL, Sessions, StreamId};
use crate::net::ToPeers;
use crate::system::Now;

impl Sessions {
    /// Ends all sessions: what they compared is no longer true.
    pub(in crate::node) fn break_off(&mut self, now: Now) {
        let streams: Vec<StreamId> = self.open.keys().copied().collect();
        for stream in streams {
            self.conclude(stream, None, now);
        }
    }

    /// There is no stream for a session that was due.
    pub(super) fn not_opened(&mut self, peer: NodeId, now: Now) {
        let at = now.uptime;
        self.standings.not_opened(peer, at);
        self.agenda.ended(peer, SessionEnd::unopened(), at);
    }

    /// A stream has ended, and with it its session.
    pub(super) fn on_ended(&mut self, stream: StreamId, cause: Option<String>, now: Now) {
        if let Some(cause) = &cause
            && let Some(open) = self.open.get(&stream)
        {
            tracing::debug!(peer = %open.peer, "a sync stream ended: {cause}");
        }
        self.conclude(stream, None, now);
        // By now all that was sent has been counted.
        if let Some(open) = self.open.remove(&stream)
            && let Some(report) = &open.report
        {
            self.standings
                .travelled(open.peer, report, open.traffic, open.since, now);
        }
    }

    /// Ends sessions that keep others from what they hold.
    pub(super) fn end_overdue(&mut self, now: Now) {
        let at = now.uptime;
        if at < self.look_at {
            return;
        }
        self.look_at = at.after(LOOK_INTERVAL);
        let overdue = self.open.iter_mut().filter_map(|(stream, open)| {
            let overdue = open.is_overdue(at);
            overdue.then_some((*stream, open.peer, open.traffic.received > 0))
        });
        for (stream, peer, has_spoken) in overdue.collect::<Vec<_>>() {
            self.conclude(stream, None, now);
            // One that never said a word held nothing, and may be gone.
            if has_spoken {
                self.rights.cut_off(peer, at);
                self.standings.hindered(peer, "slow");
            }
        }
    }

    /// Ends sessions that hold a slot, are slow, and keep others waiting for it; tells those who wait that there is one.
    pub(super) fn end_slow(&mut self, now: Now) {
        let at = now.uptime;
        if at < self.slots_at {
            return;
        }
        self.slots_at = at.after(SLOTS_INTERVAL);
        let mut looked = self.look_at_slots(at);
        for peer in &looked.slow {
            let held = self.open.iter().filter(|(_, open)| open.peer == *peer);
            for stream in held.map(|(stream, _)| *stream).collect::<Vec<_>>() {
                self.conclude(stream, None, now);
            }
            self.rights.cut_off(*peer, at);
            self.standings.hindered(*peer, "slow");
            tracing::debug!(%peer, "a slow sync session kept others waiting; it continues later");
        }
        if !looked.slow.is_empty() {
            looked.called.extend(self.look_at_slots(at).called);
        }
        for peer in looked.called {
            self.agenda.owe(peer, at);
        }
    }

    fn look_at_slots(&self, at: Uptime) -> Looked {
        self.slots.look(at, |peer| {
            let held = self
                .open
                .values()
                .filter(|open| open.peer == peer && open.running.is_some());
            held.map(|open| open.traffic.sent + open.traffic.received).sum()
        })
    }

    /// A session cannot go on.
    pub(super) fn fail(&mut self, stream: StreamId, error: &SessionError<NodeError>, now: Now) {
        let at = now.uptime;
        if let Some(peer) = self.open.get(&stream).map(|open| open.peer)
            && let Some(cause) = self.log.tell_failure(peer, error, at)
        {
            self.standings.refuse(cause, 1);
            self.rights.cut_off(peer, at);
            self.conclude(stream, None, now);
            self.standings.hindered(peer, "refused");
            return;
        }
        self.conclude(stream, None, now);
    }

    /// Concludes a session that has come to its end, with everything sent.
    pub(super) fn conclude_if_over(&mut self, stream: StreamId, now: Now) {
        let running = self.open.get(&stream).and_then(|open| open.running.as_ref());
        let outcome = running.and_then(|running| running.session.outcome());
        if outcome.is_some() {
            self.conclude(stream, outcome, now);
        }
    }

    /// A session is over. Dropping its sender ends the stream once everything is sent.
    fn conclude(&mut self, stream: StreamId, outcome: Option<Outcome>, now: Now) {
        let at = now.uptime;
        let Some(open) = self.open.get_mut(&stream) else { return };
        let Some(running) = open.running.take() else { return };
        let (peer, report) = (open.peer, running.session.report());
        self.log.tell(peer, outcome, report, at);
        self.rights.ended(peer, outcome, report, at);
        // It needs no slot any more; one that found none goes on waiting.
        if outcome.is_some_and(|outcome| outcome != Outcome::Busy) {
            self.names.met(peer, at);
            self.slots.forget(peer);
        }
        if outcome.is_some() {
            open.report = Some(report.clone());
            self.standings.travelled(peer, report, open.traffic, open.since, now);
        }
        if outcome.is_some_and(|outcome| outcome != Outcome::Busy) {
            // Worth a note, not worth a wait: there will be other sessions.
            let _ = self.to_peers.try_send(ToPeers::Vouch { peer });
        }
        self.doubt |= outcome == Some(Outcome::Delivered) && report.ranges && report.sent + report.received == 0;
        self.standings.refused_by(report);
        self.standings.ended(peer, outcome, report, open.since, at);
        self.agenda.ended(peer, SessionEnd::of(outcome, report), at);
        self.standings.reply_to_the_satisfied(at);
    }

    /// Drops the session with a peer of which the agenda has heard already: the peer is gone, or opened another one that takes
    /// its place.
    pub(super) fn abandon(&mut self, peer: NodeId, now: Now) {
        self.openings.forget(peer);
        for open in self.open.values_mut().filter(|open| open.peer == peer) {
            if let Some(running) = open.running.take() {
                let report = running.session.report();
                self.rights.ended(peer, None, report, now.uptime);
                self.standings.refused_by(report);
                self.standings.abandoned(peer);
            }
        }
    }
}
