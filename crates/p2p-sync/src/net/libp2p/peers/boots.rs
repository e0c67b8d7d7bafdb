//! The runs of each peer that were seen, by the nonce that it draws at each start. This distinguishes a restart from a
//! second machine with the same identity; others decide what to do about either.

use std::collections::{HashMap, VecDeque};

use libp2p::{Multiaddr, PeerId};

/// Runs of one peer that are remembered.
const RUNS_MAX: usize = 64;
/// Peers whose runs are remembered. Of others, every run counts as new.
const PEERS_MAX: usize = 4_096;

/// What a run is to those seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net::libp2p) enum Run {
    /// Seen for the first time.
    New,
    /// The one that was seen last.
    Latest,
    /// One that another had taken the place of: two machines have the same identity.
    Former {
        /// Where that other one was seen.
        elsewhere: Multiaddr,
    },
}

/// The runs of all peers, each with the address at which it was first seen, the latest last.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Boots(HashMap<PeerId, VecDeque<(u64, Multiaddr)>>);

impl Boots {
    /// Takes note of a run.
    pub(in crate::net::libp2p) fn note(&mut self, peer: PeerId, boot: u64, address: Multiaddr) -> Run {
        if !self.0.contains_key(&peer) && self.0.len() >= PEERS_MAX {
            return Run::New;
        }
        let runs = self.0.entry(peer).or_default();
        match runs.iter().position(|(earlier, _)| *earlier == boot) {
            Some(at) if at + 1 == runs.len() => Run::Latest,
            Some(_) => {
                let latest = runs.back().map(|(_, address)| address.clone());
                Run::Former {
                    elsewhere: latest.unwrap_or_else(Multiaddr::empty),
                }
            }
            None => {
                runs.push_back((boot, address));
                if runs.len() > RUNS_MAX {
                    runs.pop_front();
                }
                Run::New
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: usize) -> Multiaddr {
        format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn a_run_is_new_then_the_latest_and_then_a_former_one() {
        let (mut boots, peer) = (Boots::default(), PeerId::random());
        assert_eq!(boots.note(peer, 1, address(1)), Run::New);
        assert_eq!(boots.note(peer, 1, address(2)), Run::Latest);
        assert_eq!(boots.note(peer, 2, address(3)), Run::New);
        assert_eq!(boots.note(peer, 1, address(1)), Run::Former { elsewhere: address(3) });
        assert_eq!(boots.note(PeerId::random(), 1, address(1)), Run::New, "another peer");
    }

    #[test]
    fn neither_runs_nor_peers_are_remembered_without_end() {
        let (mut boots, peer) = (Boots::default(), PeerId::random());
        for boot in 0..2 * RUNS_MAX as u64 {
            assert_eq!(boots.note(peer, boot, address(1)), Run::New);
        }
        assert_eq!(boots.0[&peer].len(), RUNS_MAX);
        for _ in 0..2 * PEERS_MAX {
            boots.note(PeerId::random(), 1, address(1));
        }
        assert_eq!(boots.0.len(), PEERS_MAX);
    }
}
