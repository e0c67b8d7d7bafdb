//! The open connections and what is known about their peers: which are alive, which are spare, who has restarted, who takes
//! part in gossip. Decides what to close; the swarm task closes it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId};
use p2p_sync_core::NodeId;

use super::boots::{Boots, Run};
use super::dialer::Link;
use crate::net::libp2p::agent;
use crate::net::libp2p::multiaddrs::{is_quic, split_peer};
use crate::net::libp2p::node_id;
use crate::net::libp2p::transport::pulse::Pulse;
use crate::report::{Direction, Transport};

mod closing;

/// A connection on which nothing came in for this long is dead: TCP alone would keep it for a quarter of an hour.
pub(in crate::net::libp2p) const DEAD_AFTER: Duration = Duration::from_secs(7);
/// After so much silence the other side is pinged, which has to answer before [`DEAD_AFTER`]. The side that dialled pings sooner.
const DOUBTED_AFTER: Duration = Duration::from_millis(4_500);
const DOUBTED_FOR: Duration = Duration::from_secs(1);
/// How long a second connection to a peer is left to settle before one is closed.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// A spare connection is closed only when gossip with its peer was quiet this long, so that nothing under way gets lost …
const QUIET: Duration = Duration::from_millis(250);
/// … or when it never is quiet, after this long.
const SPARE_AT_LAST: Duration = Duration::from_secs(30);
/// How long a new peer is kept that is not wanted after all: the two have begun a session, and may have something for each other.
const GREETED_WITHIN: Duration = Duration::from_secs(5);
/// How long a node may be connected without taking part in gossip before it is connected anew.
const SUBSCRIBE_WITHIN: Duration = Duration::from_secs(5);
/// A first connection that ends so soon was given up by a peer that had dialled two addresses at once.
const STILLBORN: Duration = Duration::from_secs(1);
/// Streams that gossipsub gives up before it takes none any more on a connection: it counts to five, the first one included.
const CUT_OFF_MAX: u32 = 4;
/// How often a peer that was cut off is nudged: for a minute, at the pace of the checks.
const NUDGES_MAX: u32 = 120;
/// Peers whose earlier connections are remembered.
const FORMER_MAX: usize = 4_096;

/// One open connection.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Connection {
    pub(in crate::net::libp2p) id: ConnectionId,
    pub(in crate::net::libp2p) address: Multiaddr,
    pub(in crate::net::libp2p) transport: Transport,
    pub(in crate::net::libp2p) direction: Direction,
    pub(in crate::net::libp2p) rtt: Option<Duration>,
    opened: Instant,
    /// None if silence does not mean that it is dead: QUIC finds out by itself.
    watched: Option<Arc<Pulse>>,
    identified: bool,
    boot: Option<u64>,
}

/// A peer with at least one connection; the first is the oldest.
#[derive(Debug)]
pub(in crate::net::libp2p) struct Peer {
    pub(in crate::net::libp2p) connections: Vec<Connection>,
    pub(in crate::net::libp2p) subscribed: bool,
    /// It said what it speaks, on one connection at least.
    is_identified: bool,
    /// It speaks this network's protocols: gossip is expected of it.
    pub(in crate::net::libp2p) is_node: bool,
    /// It speaks the sync of this network.
    pub(in crate::net::libp2p) syncs: bool,
    /// What [program](agent::program) it says that it is.
    program: Option<String>,
    gossiped: Instant,
    unsubscribed_since: Instant,
    /// How often gossip gave up what it sent, and how often it is still to be nudged to send again.
    cut_off: u32,
    nudges: u32,
}

impl Peer {
    /// The connection that is kept when there are several. QUIC notices by itself when it is cut, so it is the better one;
    /// between equals, the oldest.
    pub(in crate::net::libp2p) fn best(&self) -> Option<ConnectionId> {
        self.connections
            .iter()
            .min_by_key(|it| (it.transport == Transport::Tcp, it.opened))
            .map(|it| it.id)
    }
}

/// Who takes part in gossip.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::net::libp2p) struct Listeners {
    /// The peers to sync with.
    pub(in crate::net::libp2p) synced: BTreeMap<PeerId, NodeId>,
    /// There are others, known or not.
    pub(in crate::net::libp2p) others: bool,
}

/// What an identification says of a peer's runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net::libp2p) enum Boot {
    /// The run that was known, or the first one that is heard of.
    Known,
    /// This connection had been identified before.
    Repeated,
    /// It restarted, and connections of the former run are still open: nothing passes on them any more.
    Restarted,
    /// A run that had ended is back: two machines have the same identity.
    Twice {
        /// Where the run was seen that came in between.
        elsewhere: Multiaddr,
    },
}

/// What the end of a connection leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::net::libp2p) enum Closed {
    /// Other connections to the peer, which do just as well.
    Others,
    /// Other connections, but gossip announced itself on the one that ended, and may not have been heard.
    Unheard,
    /// Nothing: it was the last one.
    Nothing,
}

/// All open connections.
#[derive(Debug, Default)]
pub(in crate::net::libp2p) struct Connections {
    peers: HashMap<PeerId, Peer>,
    former: HashSet<PeerId>,
    boots: Boots,
}

impl Connections {
    /// Notes a new connection. Returns none if it is an additional one, else whether the peer was connected before.
    pub(in crate::net::libp2p) fn opened(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        pulse: Arc<Pulse>,
        now: Instant,
    ) -> Option<bool> {
        let (address, _) = split_peer(endpoint.get_remote_address().clone());
        let is_quic = is_quic(&address);
        let connection = Connection {
            id,
            address,
            transport: if is_quic { Transport::Quic } else { Transport::Tcp },
            direction: if endpoint.is_dialer() {
                Direction::Outbound
            } else {
                Direction::Inbound
            },
            rtt: None,
            opened: now,
            watched: (!is_quic).then_some(pulse),
            identified: false,
            boot: None,
        };
        if let Some(known) = self.peers.get_mut(&peer) {
            known.connections.push(connection);
            return None;
        }
        let again = self.former.remove(&peer);
        let state = Peer {
            connections: vec![connection],
            subscribed: false,
            is_identified: false,
            is_node: false,
            syncs: false,
            program: None,
            gossiped: now,
            unsubscribed_since: now,
            cut_off: 0,
            nudges: 0,
        };
        self.peers.insert(peer, state);
        Some(again)
    }

    /// Notes the end of a connection.
    pub(in crate::net::libp2p) fn closed(&mut self, peer: PeerId, id: ConnectionId, now: Instant) -> Closed {
        let Some(known) = self.peers.get_mut(&peer) else {
            return Closed::Others;
        };
        let Some(at) = known.connections.iter().position(|connection| connection.id == id) else {
            return Closed::Others;
        };
        let ended = known.connections.remove(at);
        if !known.connections.is_empty() {
            let is_stillborn = now.saturating_duration_since(ended.opened) < STILLBORN;
            return if at == 0 && is_stillborn {
                Closed::Unheard
            } else {
                Closed::Others
            };
        }
        self.peers.remove(&peer);
        if self.former.len() < FORMER_MAX {
            self.former.insert(peer);
        }
        Closed::Nothing
    }

    /// A ping came back.
    pub(in crate::net::libp2p) fn pinged(&mut self, peer: PeerId, id: ConnectionId, rtt: Duration) {
        if let Some(connection) = self.connection_mut(peer, id) {
            connection.rtt = Some(rtt);
            connection.watched.iter().for_each(|pulse| pulse.beat());
        }
    }

    /// The other side does not know pings, so that their absence says nothing.
    pub(in crate::net::libp2p) fn cannot_ping(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(connection) = self.connection_mut(peer, id) {
            connection.watched = None;
        }
    }

    /// Gossip went to a peer or came from it.
    pub(in crate::net::libp2p) fn gossiped(&mut self, peer: PeerId, now: Instant) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.gossiped = now;
        }
    }

    /// gossipsub gave up the stream on which a peer sends. Whether the peer is to be connected anew, because gossipsub will not
    /// take another one.
    pub(in crate::net::libp2p) fn cut_off(&mut self, peer: PeerId) -> bool {
        self.peers.get_mut(&peer).is_some_and(|known| {
            known.cut_off = known.cut_off.wrapping_add(1);
            known.nudges = NUDGES_MAX;
            known.cut_off % CUT_OFF_MAX == 0
        })
    }

    /// A message came from a peer.
    pub(in crate::net::libp2p) fn heard(&mut self, peer: PeerId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.nudges = 0;
        }
    }

    /// Peers of which nothing was heard since they were cut off. Each is named some times.
    pub(in crate::net::libp2p) fn cut_off_and_silent(&mut self) -> Vec<PeerId> {
        let silent = self.peers.iter_mut().filter(|(_, known)| known.nudges > 0);
        silent
            .map(|(peer, known)| {
                known.nudges -= 1;
                *peer
            })
            .collect()
    }

    /// A peer joined or left the topic.
    pub(in crate::net::libp2p) fn subscribed(&mut self, peer: PeerId, subscribed: bool, now: Instant) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.subscribed = subscribed;
            known.unsubscribed_since = now;
        }
    }

    /// The peer said which run of which program it is, on one of its connections.
    pub(in crate::net::libp2p) fn identified(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        boot: Option<u64>,
        is_node: bool,
    ) -> Boot {
        let Some(known) = self.peers.get_mut(&peer) else {
            return Boot::Repeated;
        };
        known.is_identified = true;
        known.is_node = is_node;
        let Some(connection) = known.connections.iter_mut().find(|connection| connection.id == id) else {
            return Boot::Repeated;
        };
        // A connection belongs to one run, whatever is said on it later.
        if std::mem::replace(&mut connection.identified, true) {
            return Boot::Repeated;
        }
        let Some(boot) = boot else { return Boot::Known };
        connection.boot = Some(boot);
        let address = connection.address.clone();
        let others = known
            .connections
            .iter()
            .any(|connection| connection.boot.is_some_and(|other| other != boot));
        match self.boots.note(peer, boot, address) {
            Run::New if others => Boot::Restarted,
            Run::New | Run::Latest => Boot::Known,
            Run::Former { elsewhere } => Boot::Twice { elsewhere },
        }
    }

    /// Whether the peer says that it speaks the sync of this network.
    pub(in crate::net::libp2p) fn speaks_sync(&mut self, peer: PeerId, syncs: bool) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.syncs = syncs;
        }
    }

    /// What program a peer says that it is.
    pub(in crate::net::libp2p) fn says_agent(&mut self, peer: PeerId, agent_version: &str) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.program = Some(agent::program(agent_version));
        }
    }

    /// The same, as it said it: not fit to be shown as it is.
    pub(in crate::net::libp2p) fn program(&self, peer: PeerId) -> Option<&str> {
        self.peers.get(&peer)?.program.as_deref()
    }

    /// Who takes part in gossip, as far as it is known.
    pub(in crate::net::libp2p) fn listeners(&self) -> Listeners {
        let mut listeners = Listeners::default();
        for (peer, known) in self.peers.iter().filter(|(_, known)| known.subscribed) {
            match node_id(peer) {
                Ok(node) if known.is_node && known.syncs => drop(listeners.synced.insert(*peer, node)),
                _ => listeners.others = true,
            }
        }
        listeners
    }

    /// Whether a connected peer is known to take part in this network, in its gossip at least.
    pub(in crate::net::libp2p) fn takes_part(&self, peer: PeerId) -> bool {
        self.peers
            .get(&peer)
            .is_some_and(|known| known.subscribed || (known.is_node && known.syncs))
    }

    /// The address of a peer's end of a connection.
    pub(in crate::net::libp2p) fn address(&self, peer: PeerId, id: ConnectionId) -> Option<&Multiaddr> {
        self.peers
            .get(&peer)?
            .connections
            .iter()
            .find(|connection| connection.id == id)
            .map(|connection| &connection.address)
    }

    /// Whether this side dialled a connection.
    pub(in crate::net::libp2p) fn is_dialled(&self, peer: PeerId, id: ConnectionId) -> bool {
        let known = self.peers.get(&peer).into_iter().flat_map(|known| &known.connections);
        known
            .filter(|connection| connection.id == id)
            .any(|connection| connection.direction == Direction::Outbound)
    }

    /// Whether this side dialled any connection to a peer.
    pub(in crate::net::libp2p) fn is_dialled_to(&self, peer: PeerId) -> bool {
        let known = self.peers.get(&peer).into_iter().flat_map(|known| &known.connections);
        known
            .into_iter()
            .any(|connection| connection.direction == Direction::Outbound)
    }

    /// All connected peers, as the choice among them sees them. `is_busy`: something of the sync is under way.
    pub(in crate::net::libp2p) fn links(&self, now: Instant, is_busy: impl Fn(&PeerId) -> bool) -> Vec<Link> {
        let link = |(peer, known): (&PeerId, &Peer)| {
            let since = known.connections.iter().map(|connection| connection.opened).min()?;
            let is_quiet = now.saturating_duration_since(known.gossiped) > QUIET
                && now.saturating_duration_since(since) > GREETED_WITHIN;
            Some(Link {
                peer: *peer,
                is_dialled: self.is_dialled_to(*peer),
                is_quiet: is_quiet && !is_busy(peer),
                since,
            })
        };
        self.peers.iter().filter_map(link).collect()
    }

    /// The connection to a peer that is kept when there are several.
    pub(in crate::net::libp2p) fn best(&self, peer: PeerId) -> Option<ConnectionId> {
        self.peers.get(&peer)?.best()
    }

    /// All connected peers, by id.
    pub(in crate::net::libp2p) fn iter(&self) -> impl Iterator<Item = (&PeerId, &Peer)> {
        self.peers.iter()
    }

    fn connection_mut(&mut self, peer: PeerId, id: ConnectionId) -> Option<&mut Connection> {
        self.peers
            .get_mut(&peer)?
            .connections
            .iter_mut()
            .find(|connection| connection.id == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;

    fn dialled(text: &str) -> ConnectedPoint {
        ConnectedPoint::Dialer {
            address: text.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        }
    }

    fn pulse() -> Arc<Pulse> {
        Arc::new(Pulse::new())
    }

    const TCP: &str = "/ip4/192.0.2.1/tcp/4002";
    const QUIC: &str = "/ip4/192.0.2.1/udp/4002/quic-v1";

    fn id(n: usize) -> ConnectionId {
        ConnectionId::new_unchecked(n)
    }

    #[test]
    fn the_first_and_the_last_connection_are_told_from_the_others() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        assert_eq!(all.opened(peer, id(1), &dialled(TCP), pulse(), now), Some(false));
        assert_eq!(all.opened(peer, id(2), &dialled(QUIC), pulse(), now), None);
        assert_eq!(all.closed(peer, id(1), now + STILLBORN), Closed::Others);
        assert_eq!(all.closed(peer, id(2), now), Closed::Nothing);
        assert_eq!(
            all.opened(peer, id(3), &dialled(TCP), pulse(), now),
            Some(true),
            "connected before"
        );
    }

    #[test]
    fn a_first_connection_that_ends_at_once_took_the_announcement_of_gossip_along() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        all.opened(peer, id(1), &dialled(TCP), pulse(), now);
        all.opened(peer, id(2), &dialled(QUIC), pulse(), now);
        all.opened(peer, id(3), &dialled(QUIC), pulse(), now);
        assert_eq!(all.closed(peer, id(2), now), Closed::Others, "not the first");
        assert_eq!(all.closed(peer, id(1), now), Closed::Unheard);
    }

    #[test]
    fn silence_is_death_unless_the_other_side_cannot_ping() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        all.opened(peer, id(1), &dialled(TCP), pulse(), now);
        all.opened(peer, id(2), &dialled(QUIC), pulse(), now);
        let later = now + DEAD_AFTER + QUIET;
        assert_eq!(all.dead(now + DEAD_AFTER), []);
        assert_eq!(all.dead(later), [(peer, id(1))], "QUIC sees to itself");
        all.pinged(peer, id(1), Duration::from_millis(1));
        all.cannot_ping(peer, id(1));
        assert_eq!(all.dead(later), []);
    }

    #[test]
    fn each_connection_lives_by_its_own_bytes_and_all_are_excused_when_this_process_stood_still() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        let pulses = [pulse(), pulse()];
        for (number, pulse) in pulses.iter().enumerate() {
            all.opened(peer, id(number), &dialled(TCP), Arc::clone(pulse), now);
        }
        // After the last beat of both, and before the next one.
        let later = Instant::now() + DEAD_AFTER;
        std::thread::sleep(Duration::from_millis(2));
        pulses[0].beat();
        assert_eq!(all.dead(later), [(peer, id(1))]);
        let sooner = Instant::now() + DOUBTED_AFTER;
        assert_eq!(all.in_doubt(sooner).len(), 2);
        assert_eq!(all.in_doubt(sooner + DOUBTED_FOR), []);
        all.excuse();
        assert_eq!(all.dead(later), []);
    }

    #[test]
    fn one_side_closes_the_spare_connection_once_gossip_is_quiet() {
        let (mut all, now) = (Connections::default(), Instant::now());
        let (a, b) = (PeerId::random(), PeerId::random());
        let (small, great) = if a < b { (a, b) } else { (b, a) };
        all.opened(great, id(1), &dialled(TCP), pulse(), now);
        all.opened(great, id(2), &dialled(QUIC), pulse(), now);
        let later = now + SPARE_AFTER + QUIET;
        assert_eq!(all.spare(small, now), []);
        assert_eq!(all.spare(small, later), [id(1)]);
        all.gossiped(great, later);
        assert_eq!(all.spare(small, later), []);
        assert_eq!(all.spare(small, now + 2 * SPARE_AT_LAST), [id(1)]);

        let mut all = Connections::default();
        all.opened(small, id(1), &dialled(TCP), pulse(), now);
        all.opened(small, id(2), &dialled(QUIC), pulse(), now);
        assert_eq!(all.spare(great, later), [], "the other side does it");
    }

    #[test]
    fn a_restart_is_told_from_a_second_machine() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        all.opened(peer, id(1), &dialled(TCP), pulse(), now);
        assert_eq!(all.identified(peer, id(1), Some(7), true), Boot::Known);
        assert_eq!(all.identified(peer, id(1), Some(9), true), Boot::Repeated);
        all.opened(peer, id(2), &dialled(QUIC), pulse(), now);
        assert_eq!(all.identified(peer, id(2), Some(8), true), Boot::Restarted);
        all.closed(peer, id(1), now);
        all.closed(peer, id(2), now);
        all.opened(peer, id(3), &dialled(QUIC), pulse(), now);
        assert_eq!(all.identified(peer, id(3), Some(8), true), Boot::Known);
        all.opened(peer, id(4), &dialled(TCP), pulse(), now);
        assert_eq!(
            all.identified(peer, id(4), Some(7), true),
            Boot::Twice {
                elsewhere: QUIC.parse().unwrap()
            }
        );
    }

    #[test]
    fn who_listens_without_being_known_to_sync_is_another() {
        let (mut all, now) = (Connections::default(), Instant::now());
        let (peer, other) = (PeerId::random(), PeerId::random());
        for (peer, number) in [(peer, 1), (other, 2)] {
            all.opened(peer, id(number), &dialled(TCP), pulse(), now);
            all.subscribed(peer, true, now);
        }
        let listeners = all.listeners();
        assert!(listeners.synced.is_empty() && listeners.others);
        all.speaks_sync(peer, true);
        all.identified(peer, id(1), Some(7), true);
        let listeners = all.listeners();
        assert!(listeners.synced.keys().eq([&peer]) && listeners.others);
        all.subscribed(other, false, now);
        let listeners = all.listeners();
        assert!(listeners.synced.len() == 1 && !listeners.others);
    }

    #[test]
    fn a_node_without_gossip_is_named_once_in_a_while() {
        let (mut all, peer, now) = (Connections::default(), PeerId::random(), Instant::now());
        all.opened(peer, id(1), &dialled(TCP), pulse(), now);
        let later = now + SUBSCRIBE_WITHIN + QUIET;
        assert_eq!(all.unsubscribed(later), [], "it may be a foreign program");
        all.identified(peer, id(1), Some(7), true);
        assert_eq!(all.unsubscribed(later), [peer]);
        assert_eq!(all.unsubscribed(later), []);
        all.subscribed(peer, true, later);
        assert_eq!(all.unsubscribed(later + 2 * SUBSCRIBE_WITHIN), []);
    }
}
