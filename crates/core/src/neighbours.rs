//! With which peers a node keeps connections. Up to [`FULL_MESH_PEERS_MAX`] it is all of them. Beyond that each node keeps to
//! [`NEAREST_PEERS`] peers whose ids are nearest to its own, and to [`DRAWN_PEERS`] drawn by lot, so that what a node pays does
//! not grow with the network. The nearest ones hold neighbourhoods together, for nearness is mostly mutual; the drawn ones make
//! any two nodes few hops apart, and change, so that no bad draw lasts. This only decides: the caller dials and closes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use crate::limits::{CONNECTED_PEERS_MAX, DRAWN_FOR, DRAWN_PEERS, FULL_MESH_PEERS_MAX, FULL_MESH_SLACK, NEAREST_PEERS};
use crate::random::SplitMix64;
use crate::time::Uptime;

/// Where a node stands among all others: BLAKE3 over the bytes of its peer id. Ids as they are share their first bytes, and
/// their owners choose the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position([u8; 32]);

impl Position {
    /// Of the node with this peer id, given as the bytes of the multihash.
    pub fn of(id: &[u8]) -> Self {
        Self(*blake3::hash(id).as_bytes())
    }

    /// How far two nodes are from each other, as a number to be compared: the XOR of both, as in Kademlia.
    fn distance(self, other: Self) -> [u8; 32] {
        let mut distance = self.0;
        distance
            .iter_mut()
            .zip(other.0)
            .for_each(|(byte, other)| *byte ^= other);
        distance
    }

    fn lot(self, seed: u64) -> u64 {
        let (head, _) = self.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        SplitMix64::new(seed ^ SplitMix64::new(u64::from_le_bytes(*head)).draw()).draw()
    }
}

/// A peer that could be dialled.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Who it is.
    pub position: Position,
    /// It is connected, or as far as is known it would be if it were dialled.
    pub is_there: bool,
}

/// A peer with a connection.
#[derive(Debug, Clone, Copy)]
pub struct Connected {
    /// Who it is.
    pub position: Position,
    /// This side wanted the connection.
    pub is_dialled: bool,
    /// It is never closed to make room: the user named the peer.
    pub is_configured: bool,
    /// Nothing passes on it that would be lost.
    pub is_quiet: bool,
    /// Since when it is there.
    pub since: Uptime,
}

/// The peers to be connected with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Whoever is there.
    Everybody,
    /// These.
    Some(BTreeSet<Position>),
}

impl Wanted {
    /// Whether this peer is one of them.
    pub fn contains(&self, position: Position) -> bool {
        match self {
            Self::Everybody => true,
            Self::Some(wanted) => wanted.contains(&position),
        }
    }
}

/// The choice of one node.
#[derive(Debug)]
pub struct Neighbours {
    own: Position,
    seed: u64,
    is_bounded: bool,
}

impl Neighbours {
    /// The choice of the node at `own`, whose lots are drawn from `seed`: nobody else is to know it.
    pub fn new(own: Position, seed: u64) -> Self {
        Self {
            own,
            seed,
            is_bounded: false,
        }
    }

    /// Whom to be connected with at that time; connected peers are to be among the known ones. A peer that is not there has its place besides those that are: so whoever is
    /// lost is replaced at once, and nevertheless sought.
    pub fn choose(&mut self, known: &[Known], at: Uptime) -> Wanted {
        let there: Vec<Position> = known
            .iter()
            .filter(|peer| peer.is_there)
            .map(|peer| peer.position)
            .collect();
        // One peer that comes and goes must not make everybody connect and disconnect.
        let bound = FULL_MESH_PEERS_MAX + if self.is_bounded { 0 } else { FULL_MESH_SLACK };
        self.is_bounded = there.len() > bound;
        if !self.is_bounded {
            return Wanted::Everybody;
        }
        let mut wanted = self.pick(&there, at);
        if there.len() < known.len() {
            let all: Vec<Position> = known.iter().map(|peer| peer.position).collect();
            wanted.append(&mut self.pick(&all, at));
        }
        Wanted::Some(wanted)
    }

    fn pick(&self, among: &[Position], at: Uptime) -> BTreeSet<Position> {
        let mut wanted: BTreeSet<Position> = nearest(self.own, among).into_iter().collect();
        for place in 0..DRAWN_PEERS {
            let seed = self.seed_of(place, at);
            let others = among.iter().filter(|position| !wanted.contains(position));
            if let Some(drawn) = others.min_by_key(|position| position.lot(seed)).copied() {
                wanted.insert(drawn);
            }
        }
        wanted
    }

    /// Each place is drawn anew at a moment of its own: so peers are exchanged one by one. Since each peer has its lot whoever
    /// else is known, news of one changes no more than the place that it wins.
    fn seed_of(&self, place: usize, at: Uptime) -> u64 {
        let place = u32::try_from(place).unwrap_or_default();
        let offset = DRAWN_FOR * place / u32::try_from(DRAWN_PEERS).unwrap_or(1);
        let round = (at.0 + offset).as_secs() / DRAWN_FOR.as_secs();
        let of_round = SplitMix64::new(SplitMix64::new(self.seed).draw() ^ round).draw();
        SplitMix64::new(of_round ^ u64::from(place)).draw()
    }

    /// The peers whose connections are to be closed: beyond [`FULL_MESH_PEERS_MAX`] those that this node dialled and does not want
    /// any more, and, of the others, the latest beyond [`CONNECTED_PEERS_MAX`]. What is not quiet has its turn later. Peers that can be expected to want
    /// this node stay as long as there is room: closed, they would be back.
    pub fn surplus(&self, wanted: &Wanted, connected: &[Connected], known: &[Known]) -> Vec<Position> {
        let Wanted::Some(wanted) = wanted else {
            return Vec::new();
        };
        let there: Vec<Position> = known
            .iter()
            .filter(|peer| peer.is_there)
            .map(|peer| peer.position)
            .collect();
        let is_idle = |peer: &&Connected| !peer.is_configured && !wanted.contains(&peer.position);
        // What this node dialled comes first, and those that can be expected to want it come last. Of two that are as good, the
        // later one goes: it is the one that can still look elsewhere.
        let mut idle: Vec<(bool, bool, Reverse<Uptime>, &Connected)> = connected
            .iter()
            .filter(is_idle)
            .map(|peer| {
                let is_near = self.is_near(peer.position, &there);
                (is_near, !peer.is_dialled, Reverse(peer.since), peer)
            })
            .collect();
        idle.sort_by_key(|(is_near, is_theirs, since, _)| (*is_near, *is_theirs, *since));
        let dialled = idle.iter().filter(|(is_near, is_theirs, ..)| !is_near && !is_theirs);
        // A crowd that is only announced must not cost a small network its connections.
        let spare = connected.len().saturating_sub(FULL_MESH_PEERS_MAX);
        let dialled = dialled.count().min(spare);
        let crowd = connected.len().saturating_sub(CONNECTED_PEERS_MAX);
        let closed = idle.into_iter().take(dialled.max(crowd));
        closed
            .map(|(.., peer)| peer)
            .filter(|peer| peer.is_quiet)
            .map(|peer| peer.position)
            .collect()
    }

    /// Whether this node is among those nearest to a peer, as far as it can tell.
    fn is_near(&self, peer: Position, there: &[Position]) -> bool {
        let own = self.own.distance(peer);
        let nearer = there
            .iter()
            .filter(|other| **other != peer && other.distance(peer) < own);
        nearer.count() < NEAREST_PEERS
    }

    /// When a place is drawn anew next.
    pub fn next_draw(&self, at: Uptime) -> Uptime {
        let step = DRAWN_FOR / u32::try_from(DRAWN_PEERS).unwrap_or(1);
        let steps = at.0.as_secs() / step.as_secs().max(1) + 1;
        Uptime(Duration::from_secs(steps.saturating_mul(step.as_secs())))
    }
}

fn nearest(own: Position, among: &[Position]) -> Vec<Position> {
    let mut nearest = among.to_vec();
    if nearest.len() > NEAREST_PEERS {
        nearest.select_nth_unstable_by_key(NEAREST_PEERS - 1, |position| own.distance(*position));
        nearest.truncate(NEAREST_PEERS);
    }
    nearest
}

#[cfg(test)]
mod tests;
