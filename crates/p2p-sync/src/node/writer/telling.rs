//! Notifies after a commit, once it is on disk: the network and the agenda about every change, the log about remote
//! changes, and the requester. Changes are announced before replies, so that an acknowledged write is already on its way.

use p2p_sync_core::{Record, Via};

use super::Writer;
use crate::net::ToPeers;
use crate::node::NodeError;
use crate::node::ledger::{Change, Committed, Done, Merged};
use crate::node::work::Work;
use crate::system::Now;

impl Writer {
    /// Tells everybody what the sessions brought.
    pub(super) fn tell_of_sessions(&mut self, now: Now) {
        let committed = self.ledger.take_committed();
        self.tell(&committed, now);
    }

    /// Tells everybody who listens to changes.
    pub(super) fn tell(&mut self, committed: &Committed, now: Now) {
        let at = now.uptime;
        if !committed.changes.is_empty() {
            self.changed.notify_one();
        }
        self.sessions.committed(committed, now);
        for Change { via, record } in &committed.changes {
            match via {
                Via::Local => self.announce(record),
                Via::Gossip { .. } | Via::Feed { .. } | Via::Session { .. } => self.log.received(record, at),
            }
        }
        self.log.unlisted(committed.unlisted);
        self.log.conflicts(committed.conflicts, at);
        self.log
            .beyond_bound(committed.refused.beyond_bound, committed.crowded.as_ref(), at);
        self.log
            .folded(committed.refused.folded, committed.folded.as_ref(), &self.names, at);
        for settled in &committed.settled {
            self.log.settled(settled, &self.names, at);
        }
    }

    /// Tells the network of a local write.
    fn announce(&mut self, record: &Record) {
        // A full queue drops the announcement; the record itself is safe.
        if self.audience.listens() && self.to_peers.try_send(ToPeers::Live(record.clone())).is_err() {
            self.audience.crowd_out();
        }
    }

    /// Answers whoever asked for a piece of work, who may have gone away meanwhile.
    pub(super) fn answer(&mut self, work: Work, done: Result<Done, NodeError>, now: Now) {
        match (work, done) {
            (Work::Write { reply, .. }, Ok(Done::Written(record))) => drop(reply.send(Ok(record))),
            (Work::Write { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Work::WriteAll { reply, .. }, Ok(Done::WrittenAll(records))) => drop(reply.send(Ok(records))),
            (Work::WriteAll { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Work::WriteDue { reply, .. }, Ok(Done::WrittenDue(written))) => drop(reply.send(Ok(written))),
            (Work::WriteDue { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Work::Resolve { reply, .. }, Ok(Done::Resolved(record))) => drop(reply.send(Ok(record))),
            (Work::Resolve { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Work::Redate { reply, .. }, Ok(Done::Redated(record))) => drop(reply.send(Ok(record))),
            (Work::Redate { reply, .. }, Err(error)) => drop(reply.send(Err(error))),
            (Work::SetAside { reply, .. }, Ok(Done::SetAside(any))) => drop(reply.send(Ok(any))),
            (Work::SetAside { reply, .. }, Err(error)) => {
                tracing::error!("Cannot set damaged records aside: {error}");
                let _ = reply.send(Ok(false));
            }
            (Work::Receive { via, .. }, Ok(Done::Received(merged))) => self.on_merged(via, merged),
            (Work::Receive { via, .. }, Err(error)) => {
                self.log.not_stored(&error, now.uptime);
                if let Some(neighbour) = via.neighbour() {
                    self.sessions.owe(neighbour, now);
                }
            }
            // The patrol begins further ahead then.
            (Work::Patrolled(_), Err(error)) => tracing::debug!("cannot save the progress of the daily check: {error}"),
            // Each kind of work has its own outcome.
            _ => {}
        }
    }

    /// A gossip message without news is charged to whoever brought it, also if it brought nothing but what a folded floor covers. What
    /// found no room is owed by all once there is some, what met damage once that is taken out.
    fn on_merged(&mut self, via: Via, mut merged: Merged) {
        merged.refused.folded = 0;
        if let Via::Gossip { author, neighbour } = via
            && merged == Merged::default()
        {
            let _ = self.to_peers.try_send(ToPeers::ChangedNothing { author, neighbour });
        }
    }
}
