//! Each rule of the agenda, and that whatever happens nobody who is owed a session waits for ever.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use super::*;
use crate::limits::FUTURE_MAX;

mod anything;
mod reasons;
mod turns;
mod waits;

const MINE: SetDigestValue = [1; 32];
const OTHER: SetDigestValue = [2; 32];

fn id(number: u8) -> NodeId {
    NodeId::from_bytes(&[number]).unwrap()
}

fn at(millis: u64) -> Uptime {
    Uptime(Duration::from_millis(millis))
}

fn wall(seconds: i64) -> Timestamp {
    Timestamp::from_nanos(seconds * 1_000_000_000).unwrap()
}

fn end(outcome: Option<Outcome>, changed: u64, digest: SetDigestValue) -> SessionEnd {
    SessionEnd {
        outcome,
        changed,
        peer_digest: Some(digest),
        settled: None,
        falls_due: None,
    }
}

fn equal() -> SessionEnd {
    end(Some(Outcome::Equal), 0, MINE)
}

fn waiting(falls_due: Option<Timestamp>) -> SessionEnd {
    SessionEnd {
        settled: Some(SETTLED),
        falls_due,
        ..end(Some(Outcome::Waiting), 0, OTHER)
    }
}

const SETTLED: Settled = Settled {
    mine: MINE,
    theirs: OTHER,
    records: 3,
};

/// An agenda being asked every ten milliseconds, and what it opened when.
struct Bench {
    agenda: Agenda,
    mine: SetDigestValue,
    millis: u64,
    opened: Vec<(u64, NodeId, Opening)>,
}

impl Bench {
    /// Node 100, with these peers, of which each has had its first session.
    fn new(seed: u64, peers: impl IntoIterator<Item = u8>) -> Self {
        let mut agenda = Agenda::new(id(100), seed);
        for peer in peers {
            agenda.connected(id(peer), at(0));
            assert_eq!(agenda.asks(id(peer)), Answer::Accept);
            agenda.ended(id(peer), equal(), at(0));
        }
        Self {
            agenda,
            mine: MINE,
            millis: 0,
            opened: Vec::new(),
        }
    }

    /// Goes on to this time; sessions that are opened end at once, as `ends` says.
    fn run(&mut self, until: u64, mut ends: impl FnMut(NodeId) -> Option<SessionEnd>) {
        while self.millis < until {
            self.millis += 10;
            let expected = self.agenda.next_due();
            let due = self.agenda.due(self.mine, wall(1_000), at(self.millis));
            if !due.is_empty() {
                assert!(
                    expected.is_some_and(|when| when <= at(self.millis)),
                    "due before it was said"
                );
            }
            for (peer, opening) in due {
                self.opened.push((self.millis, peer, opening));
                if let Some(end) = ends(peer) {
                    self.agenda.ended(peer, end, at(self.millis));
                }
            }
        }
    }

    fn times(&self) -> Vec<u64> {
        self.opened.iter().map(|(millis, ..)| *millis).collect()
    }

    fn peers(&self) -> BTreeSet<NodeId> {
        self.opened.iter().map(|(_, peer, _)| *peer).collect()
    }
}
