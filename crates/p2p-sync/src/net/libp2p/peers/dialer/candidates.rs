//! The peers that may be dialled, by how much is known about them. Each kind has its own quota, and each IP address a share
//! of it, so that no number of visitors or announcements pushes out anything better. Among equals a random one is dropped:
//! coming last or most often gives no advantage.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use libp2p::PeerId;
use p2p_sync_core::neighbours::Position;

use super::Chance;
use super::schedule::{Schedule, State};
use crate::net::libp2p::peers::address_book::AddressBook;

/// What is known of a peer, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Rank {
    /// The user named it.
    Configured,
    /// This node dialled it with success, or held a sync session with it, now or in an earlier run.
    Proved,
    /// Discovery tells of it.
    Heard,
    /// It connected to us and said where it listens.
    Visitor,
}

impl Rank {
    pub(super) const ALL: [Self; 4] = [Self::Configured, Self::Proved, Self::Heard, Self::Visitor];

    /// Peers of this kind that are kept at once. Those that the user named are as many as he likes.
    pub(super) const fn places(self) -> usize {
        match self {
            Self::Configured => usize::MAX,
            Self::Proved => 512,
            Self::Heard => 256,
            Self::Visitor => 128,
        }
    }

    /// Dials to peers of this kind that may be under way at once. A dial into the void takes its place for four seconds: at
    /// this many, all places full of hearsay have had their turn within eleven.
    pub(super) const fn dials(self) -> usize {
        match self {
            Self::Configured | Self::Proved => 32,
            Self::Heard => 96,
            Self::Visitor => 8,
        }
    }

    /// Whether the addresses of such a peer are hearsay, and so subject to the budget of each IP address.
    pub(super) const fn is_hearsay(self) -> bool {
        matches!(self, Self::Heard | Self::Visitor)
    }
}

/// Peers of one kind with the same first IP address that are kept at once, unless the user named them. Some machines run
/// several nodes.
pub(super) const PER_ADDRESS_MAX: usize = 32;

/// A peer that may be dialled.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) addresses: AddressBook,
    /// When something was last heard of it.
    pub(super) heard: Instant,
    pub(super) schedule: Schedule,
    /// See [`Rank::Proved`].
    pub(super) proved: bool,
    /// Discovery has told of it, since it was lost if it was, and not that it is gone.
    pub(super) announced: bool,
    /// It was wanted, and has left: until it is heard of again, it is as good as not there.
    pub(super) lost: bool,
    /// Where it stands among all.
    pub(super) position: Position,
    /// When it was heard of first.
    pub(super) since: Instant,
    /// Since when it is connected, if this node dialled it.
    pub(super) dialled_at: Option<Instant>,
    /// Whose share it takes: the IP address of which was first heard with it; none on this machine itself.
    origin: Option<IpAddr>,
}

impl Candidate {
    pub(super) fn new(peer: &PeerId, schedule: Schedule, origin: Option<IpAddr>, now: Instant) -> Self {
        Self {
            addresses: AddressBook::default(),
            heard: now,
            schedule,
            proved: false,
            announced: false,
            lost: false,
            position: Position::of(&peer.to_bytes()),
            since: now,
            dialled_at: None,
            origin: origin.filter(|ip| !ip.is_loopback()),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        if self.addresses.is_configured() {
            Rank::Configured
        } else if self.proved {
            Rank::Proved
        } else if self.addresses.is_discovered() {
            Rank::Heard
        } else {
            Rank::Visitor
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.schedule.state, State::Waiting(_))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Candidates(HashMap<PeerId, Candidate>);

impl Candidates {
    pub(super) fn get(&self, peer: &PeerId) -> Option<&Candidate> {
        self.0.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Candidate> {
        self.0.get_mut(peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Candidate)> {
        self.0.iter()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.0.values_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn remove(&mut self, peer: &PeerId) -> Option<Candidate> {
        self.0.remove(peer)
    }

    /// Takes in a peer, if there is a place or one can be made. Whoever is connected or being dialled keeps its own.
    pub(super) fn insert(&mut self, peer: PeerId, candidate: Candidate, rank: Rank, chance: Chance) -> bool {
        let has_place = self.make_place(rank, candidate.origin, chance);
        if has_place {
            self.0.insert(peer, candidate);
        }
        has_place
    }

    /// A peer turns out to be one that we can rely on.
    pub(super) fn prove(&mut self, peer: &PeerId, chance: Chance) {
        let Some((origin, rank)) = self.0.get(peer).map(|known| (known.origin, known.rank())) else {
            return;
        };
        // One that is configured takes no place, whatever else it is.
        if rank == Rank::Configured || rank == Rank::Proved || self.make_place(Rank::Proved, origin, chance) {
            self.0.entry(*peer).and_modify(|known| known.proved = true);
        }
    }

    fn make_place(&mut self, rank: Rank, origin: Option<IpAddr>, chance: Chance) -> bool {
        if rank == Rank::Configured {
            return true;
        }
        let (mut of_rank, mut of_address) = (0, 0);
        for known in self.0.values().filter(|known| known.rank() == rank) {
            of_rank += 1;
            of_address += usize::from(origin.is_some() && known.origin == origin);
        }
        let share_is_full = of_address >= PER_ADDRESS_MAX;
        if !share_is_full && of_rank < rank.places() {
            return true;
        }
        let victims = self
            .0
            .iter()
            .filter(|(_, known)| known.rank() == rank && known.is_idle())
            .filter(|(_, known)| !share_is_full || known.origin == origin);
        let mut victims: Vec<PeerId> = victims.map(|(peer, _)| *peer).collect();
        // The order of a map is no chance that a test can repeat.
        victims.sort_unstable();
        let victim = victims.get(chance.below(victims.len())).copied();
        victim.is_some_and(|victim| self.0.remove(&victim).is_some())
    }
}
