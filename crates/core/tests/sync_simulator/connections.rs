//! Who is connected with whom, and what each node's agenda makes of it. Nothing but the agendas ever opens a session.

use std::time::Duration;

use p2p_sync_core::sync::{Agenda, SyncStore};
use p2p_sync_core::{NodeId, Uptime};

use crate::support::node as id;
use crate::world::{Event, World};

/// Numbers that fit into the first byte of a peer id, without that which says that more follow.
const SMALL: usize = 255;

/// The node's number as its peer id; they are in the same order.
pub(crate) fn peer_id(node: usize) -> NodeId {
    match u8::try_from(node) {
        Ok(number) if node < SMALL => id(number),
        _ => {
            let mut bytes = [0xff; 38];
            bytes[1..9].copy_from_slice(&(node as u64).to_be_bytes());
            NodeId::from_bytes(&bytes).unwrap()
        }
    }
}

fn number(id: NodeId) -> usize {
    let bytes = id.as_bytes();
    if usize::from(bytes[0]) < SMALL {
        return usize::from(bytes[0]);
    }
    usize::try_from(u64::from_be_bytes(bytes[1..9].try_into().unwrap())).unwrap()
}

impl World {
    /// The time as a clock that never steps shows it.
    pub(crate) fn uptime(&self) -> Uptime {
        Uptime(Duration::from_millis(self.time))
    }

    /// The agenda of a node, which is asked afterwards what is due.
    pub(crate) fn agenda(&mut self, node: usize) -> &mut Agenda {
        self.touched.insert(node);
        &mut self.nodes[node].agenda
    }

    fn connection(&self, a: usize, b: usize) -> Option<u64> {
        self.connections.get(&(a.min(b), a.max(b))).copied()
    }

    pub(crate) fn is_connected(&self, a: usize, b: usize) -> bool {
        self.connection(a, b).is_some()
    }

    /// After anything that may have changed who reaches whom. Both ends hear of it, each in its own time.
    pub(crate) fn update_connections(&mut self) {
        for (a, b) in self.links.clone() {
            let reached = self.can_reach(a, b) && self.can_reach(b, a);
            if reached == self.is_connected(a, b) {
                continue;
            }
            if reached {
                self.next_connection += 1;
                self.connections.insert((a, b), self.next_connection);
            } else {
                self.connections.remove(&(a, b));
                self.break_streams_where(|stream| stream.nodes == [a, b] || stream.nodes == [b, a]);
                self.end_feeds_where(|from, to| (from, to) == (a, b) || (from, to) == (b, a));
            }
            let connection = self.next_connection;
            for (node, peer) in [(a, b), (b, a)] {
                let time = self.time + 1 + self.random.below(if reached { 1_000 } else { 3_000 }) as u64;
                let event = if reached {
                    Event::Connected { node, peer, connection }
                } else {
                    Event::Disconnected { node, peer }
                };
                self.schedule(time, event);
            }
        }
    }

    pub(crate) fn connected(&mut self, node: usize, peer: usize, connection: u64) {
        if self.connection(node, peer) == Some(connection) {
            let at = self.uptime();
            self.agenda(node).connected(peer_id(peer), at);
        }
    }

    /// A connection that came back in the meantime was never seen to be gone.
    pub(crate) fn disconnected(&mut self, node: usize, peer: usize) {
        if !self.is_connected(node, peer) {
            self.agenda(node).disconnected(peer_id(peer));
        }
    }

    /// Opens what is due at every node whose agenda heard of something.
    pub(crate) fn work_off_agendas(&mut self) {
        while let Some(node) = self.touched.pop_first() {
            if !self.nodes[node].alive {
                continue;
            }
            let (now, at) = (self.now(node), self.uptime());
            let held = &mut self.nodes[node];
            let mine = held.store.summary().digest();
            for (peer, opening) in held.agenda.due(mine, now, at) {
                self.open_stream(node, number(peer), opening);
            }
            self.plan_wake(node);
        }
    }

    fn plan_wake(&mut self, node: usize) {
        let Some(due) = self.nodes[node].agenda.next_due() else {
            return;
        };
        let due = u64::try_from(due.0.as_micros().div_ceil(1_000))
            .unwrap()
            .max(self.time + 1);
        let wake = &mut self.nodes[node].wake;
        if wake.is_none_or(|wake| wake > due) {
            *wake = Some(due);
            self.schedule(due, Event::Wake(node));
        }
    }

    pub(crate) fn wake(&mut self, node: usize) {
        if self.nodes[node].wake == Some(self.time) {
            self.nodes[node].wake = None;
        }
        self.touched.insert(node);
    }
}
