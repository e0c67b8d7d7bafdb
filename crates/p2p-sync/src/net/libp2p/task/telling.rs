//! Tells the user why a peer cannot be reached: failures go into the tables that decide what is worth a line, and that line
//! is logged.

use std::time::{Duration, Instant};

use libp2p::core::transport::TransportError;
use libp2p::swarm::{ConnectionId, DialError, ListenError};
use libp2p::{Multiaddr, PeerId, identify};
use p2p_sync_core::NodeId;
use p2p_sync_core::text::shortened;

use super::Task;
use crate::names::{Heard, Name};
use crate::net::libp2p::agent::Agent;
use crate::net::libp2p::door::Doors;
use crate::net::libp2p::log_budget::About;
use crate::net::libp2p::multiaddrs::{ip, split_peer};
use crate::net::libp2p::peers::dialer::Order;
use crate::net::libp2p::peers::troubles::{Expected, Troubles, Visits, Whom, warning};
use crate::net::libp2p::peers::twins::{Answer, Answered, Twins};
use crate::net::libp2p::transport::dial_errors::{self, chain};
use crate::net::libp2p::{NetConfig, behaviour, door, listening, node_id};
use crate::net::{Multicast, TroubleCause};

/// How long nobody may be found before the user is told what may be the reason.
const NOBODY_AFTER: Duration = Duration::from_secs(20);

/// What is known of those with whom there is no contact.
pub(super) struct Telling {
    pub(super) troubles: Troubles,
    pub(super) visits: Visits,
    pub(super) twins: Twins,
    pub(super) hint: Hint,
    /// None if nobody is to be found on the LAN.
    own: PeerId,
}

/// The hint that is given once when discovery finds nobody.
#[derive(Debug)]
pub(super) struct Hint {
    /// None when it was given, or is not needed.
    due: Option<Instant>,
}

impl Hint {
    /// Somebody was found.
    pub(super) fn found(&mut self) {
        self.due = None;
    }

    fn take(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }
}

impl Telling {
    pub(super) fn new(own: PeerId, nonce: u64, config: &NetConfig, doors: Option<Doors>, now: Instant) -> Self {
        Self {
            troubles: Troubles::new(&config.configured),
            visits: Visits::default(),
            twins: Twins::new(own, nonce, config.port).with_doors(doors),
            hint: Hint {
                due: config.lan.then_some(now + NOBODY_AFTER),
            },
            own,
        }
    }

    /// Discovery found a peer, and where to dial it.
    pub(super) fn found(&mut self, peer: PeerId) {
        self.hint.found();
        self.troubles.drop_cause(&Whom::Peer(peer), &TroubleCause::LinkLocal);
    }

    /// A peer turned out to be one of this network.
    pub(super) fn accept(&mut self, peer: PeerId) {
        self.visits.known(peer);
        self.troubles.resolved(peer);
        self.troubles.is_member(peer);
    }
}

impl Task {
    /// A dial came to nothing.
    pub(super) fn note_failed_dial(&mut self, order: &Order, error: &DialError, now: Instant) {
        let mut came = dial_errors::of_dial(error, self.telling.own);
        if matches!(error, DialError::NoAddresses) {
            // The swarm leaves out those on which it listens itself.
            let ours = order
                .addresses
                .iter()
                .filter(|address| self.telling.twins.is_ours(address));
            came = ours.map(|address| (address.clone(), TroubleCause::Ourselves)).collect();
        }
        let own = came.iter().filter(|(_, cause)| *cause == TroubleCause::Ourselves);
        let own: Vec<Multiaddr> = own.map(|(address, _)| address.clone()).collect();
        if !own.is_empty() {
            self.note_own_identity(own, now);
            // What is not plainly ours is looked into first.
            came.retain(|(address, cause)| *cause != TroubleCause::Ourselves || self.telling.twins.is_ours(address));
        }
        let (whom, expected) = match (order.peer, order.addresses.first()) {
            (Some(peer), _) if self.dialer.is_announced(&peer) => (Whom::Peer(peer), Expected::Announced),
            (Some(peer), _) => (Whom::Peer(peer), Expected::Perhaps),
            (None, Some(address)) => (Whom::Address(split_peer(address.clone()).0), Expected::Configured),
            (None, None) => return,
        };
        if !self.telling.troubles.is_meant(&whom) {
            // Addresses change hands, and any member is welcome.
            let is_member = |cause: &TroubleCause| match cause {
                TroubleCause::AnotherIdentity(other) => self.takes_part(other),
                _ => false,
            };
            let (members, others): (Vec<_>, Vec<_>) = came.into_iter().partition(|(_, cause)| is_member(cause));
            for (address, _) in members {
                self.telling.troubles.forget_address(&whom, &address);
                self.telling
                    .troubles
                    .forget_address(&Whom::Address(address.clone()), &address);
            }
            came = others;
        }
        self.telling.troubles.note(whom, expected, came, now);
    }

    fn takes_part(&self, node: &NodeId) -> bool {
        PeerId::from_bytes(node.as_bytes()).is_ok_and(|peer| self.connections.takes_part(peer))
    }

    /// Somebody dialled, and the handshake failed. Most often it was given up for another one that was faster.
    pub(super) fn note_failed_handshake(&mut self, from: Multiaddr, error: &ListenError, now: Instant) {
        match error {
            // One that comes from this machine is our own, whatever its port.
            ListenError::LocalPeerId { .. } if !ip(&from).is_some_and(|ip| self.telling.twins.is_local(ip)) => {
                self.note_own_identity(vec![split_peer(from).0], now);
            }
            ListenError::Transport(error) if dial_errors::of_transport(error) == TroubleCause::KeyType => {
                let about = ip(&from).map(About::Address);
                let complaints = &mut self.gossip.complaints;
                match about {
                    Some(about) => drop(complaints.count_about(about, "type of key not supported", now)),
                    None => complaints.count("type of key not supported", 1),
                }
                // Its port is another one each time.
                let host = ip(&from).map(Multiaddr::from).unwrap_or(from);
                let came = vec![(host.clone(), TroubleCause::KeyType)];
                self.telling
                    .troubles
                    .note(Whom::Address(host), Expected::Perhaps, came, now);
            }
            ListenError::Transport(TransportError::Other(error)) if chain(error).any(door::is_twin) => {
                self.note_own_identity(vec![split_peer(from).0], now);
            }
            ListenError::Transport(TransportError::Other(error)) => {
                if let Some(complaint) = door::complaint(error) {
                    self.gossip.complaints.count(complaint, 1);
                }
            }
            _ => {}
        }
    }

    /// A connection stands. Who is behind it is still to be seen.
    pub(super) fn note_connected(&mut self, peer: PeerId, id: ConnectionId, dialled: Option<&Multiaddr>, now: Instant) {
        self.telling.troubles.connected(peer, dialled);
        if let Some(address) = dialled
            && !self.connections.takes_part(peer)
        {
            self.telling.visits.opened(peer, id, address.clone(), now);
        }
    }

    /// A peer said what it speaks.
    pub(super) fn note_identified(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        info: &identify::Info,
        agent: Option<&Agent>,
        is_ours: bool,
    ) {
        let now = Instant::now();
        if is_ours {
            self.telling.hint.found();
            self.telling.accept(peer);
            return;
        }
        let Some(agent) = agent else {
            self.telling.visits.identified(id);
            return;
        };
        let is_of_another_network = info.protocols.iter().any(|protocol| {
            let tag = protocol.as_ref().strip_prefix(behaviour::KAD);
            tag.is_some_and(|tag| tag.is_empty() || tag.starts_with('/'))
                && Some(protocol) != self.kad_protocol.as_ref()
        });
        let cause = if is_of_another_network {
            TroubleCause::AnotherNetwork
        } else {
            TroubleCause::Version(agent.version.clone())
        };
        self.telling.visits.known(peer);
        if let Some(address) = self.connections.address(peer, id) {
            let came = vec![(address.clone(), cause)];
            self.telling
                .troubles
                .note(Whom::Peer(peer), Expected::Perhaps, came, now);
        }
    }

    /// A peer told its name. The log tells which peer id it belongs to, because other lines have the name alone.
    pub(super) fn note_name(&mut self, peer: PeerId, name: Option<Name>, now: Instant) {
        let Ok(node) = node_id(&peer) else { return };
        let is_named = name.is_some();
        let heard = self.names.heard(node, name);
        if heard == Heard::Again || !is_named || !self.log.allows(About::Peer(peer), "name", now) {
            return;
        }
        let called = self.names.peer(node);
        if let Heard::Renamed(Some(before)) = heard {
            let before = shortened(before.as_str().as_bytes());
            tracing::info!("Peer {peer} calls itself {called}; it was {before} before");
        } else {
            tracing::info!("Peer {peer} calls itself {called}");
        }
    }

    /// A node is announced at addresses that cannot be dialled.
    pub(super) fn note_undialable(&mut self, peer: PeerId, addresses: Vec<Multiaddr>, now: Instant) {
        self.telling.hint.found();
        // Others of its addresses may come first, or later.
        if self.connections.takes_part(peer) || self.dialer.is_announced(&peer) {
            return;
        }
        let came = addresses.into_iter().map(|address| (address, TroubleCause::LinkLocal));
        self.telling
            .troubles
            .note(Whom::Peer(peer), Expected::Announced, came.collect(), now);
    }

    /// Our own identity is announced at these addresses, or answers there.
    pub(super) fn note_own_identity(&mut self, addresses: Vec<Multiaddr>, now: Instant) {
        for address in addresses {
            if listening::is_plain(&address) && !self.telling.twins.is_ours(&address) {
                self.telling.twins.suspect(address, now);
            }
        }
        self.telling.twins.ask_due(now);
    }

    /// It is known who has our identity at an address.
    pub(super) fn on_twin(&mut self, answered: &Answered) {
        let (now, whom) = (Instant::now(), Whom::Peer(self.telling.own));
        self.telling.twins.answered(answered, now);
        let address = answered.address.clone();
        let telling = &mut self.telling;
        match answered.answer {
            Answer::Twin => {
                telling.hint.found();
                let came = vec![(address, TroubleCause::SameIdentity)];
                telling.troubles.note(whom, Expected::Announced, came, now);
            }
            Answer::Ourselves => {
                telling.troubles.forget_address(&whom, &address);
                // Where nobody named it, it is an address that this machine has got, or a way round: no trouble.
                if telling.troubles.is_named(&address) {
                    let came = vec![(address.clone(), TroubleCause::Ourselves)];
                    telling
                        .troubles
                        .note(Whom::Address(address), Expected::Configured, came, now);
                }
            }
            Answer::Nobody => telling.troubles.forget_address(&whom, &address),
        }
    }

    /// Logs what is due.
    pub(super) fn tell(&mut self, now: Instant) {
        for (peer, address, cause) in self.telling.visits.take_due(now) {
            if !self.connections.takes_part(peer) {
                let came = vec![(address, cause)];
                self.telling
                    .troubles
                    .note(Whom::Peer(peer), Expected::Perhaps, came, now);
            }
        }
        let dialler = &self.dialer;
        self.telling.troubles.keep_sought(|peer| dialler.looks_for(peer));
        for (trouble, expected) in self.telling.troubles.take_due(now) {
            let text = warning::of(&trouble, expected, &self.names);
            match trouble.attempts.first().map(|attempt| &attempt.cause) {
                Some(TroubleCause::SameIdentity) => tracing::error!("{text}"),
                _ => tracing::warn!("{text}"),
            }
        }
        let left_out = self.telling.troubles.take_left_out();
        if left_out > 0 {
            tracing::warn!("{left_out} more peers cannot be reached; run `status` to see them");
        }
        self.telling.twins.ask_due(now);
        if self.connections.iter().next().is_some() {
            self.telling.hint.found();
        }
        if self.telling.hint.take(now) {
            tracing::info!("{}", self.hint());
        }
    }

    /// Why nobody may have been found.
    fn hint(&self) -> String {
        let port = self.telling.twins.port();
        let open = format!("UDP port 5353 (multicast DNS) and TCP and UDP port {port}");
        let why = match self.multicast() {
            Multicast::Heard { .. } => format!(
                "Multicast DNS from other machines arrives, so the network lets it through. If one of them runs a \
                 node: is it in the same --network, and does its firewall allow {open}?"
            ),
            Multicast::Silent => format!(
                "No multicast DNS arrives from any other machine. If there is a node on this network: do the \
                 firewalls of both machines allow {open}? Guest Wi-Fi often isolates devices."
            ),
            Multicast::Unknown { why } => format!(
                "This machine cannot listen for multicast DNS on UDP port 5353 ({why}): does another program hold it? \
                 And do the firewalls allow {open}? Guest Wi-Fi often isolates devices."
            ),
            Multicast::Off => String::new(),
        };
        format!(
            "No other node was found in {} s. {why} You can also name a node: --peer /ip4/ADDRESS/tcp/PORT",
            NOBODY_AFTER.as_secs()
        )
    }
}
