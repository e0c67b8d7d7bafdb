//! Finds the nodes of the LAN by DNS-SD over multicast DNS (RFC 6762, RFC 6763) and lets them find this one: service
//! `_p2p-sync._tcp.local`, readable by any Bonjour or Avahi browser. Announcements are hearsay: anybody on the LAN can
//! announce anything, so the memory for them is bounded (`table`), and the handshake proves who answers. This file is the
//! behaviour that the swarm knows; the work is done by a task (`engine`).

use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

mod addresses;
mod answers;
mod asking;
mod engine;
mod entry;
mod foreign;
mod holders;
mod ours;
mod probe;
mod sockets;
mod survey;
mod table;
mod usefulness;
mod wire;

use crate::net::Multicast;
use crate::net::libp2p::door::Private;
use engine::{Command, Ends, Engine};
use ours::{Ours, Sealing};
pub(crate) use probe::probe;
pub(crate) use survey::survey;

/// Events that wait for the swarm, and commands that wait for the task.
const WAITING_MAX: usize = 64;

/// What discovery tells the swarm's task.
#[derive(Debug)]
pub(super) enum Event {
    /// A node of this network is announced at these addresses; they take the place of those told before.
    Discovered { peer: PeerId, addresses: Vec<Multiaddr> },
    /// A node of this network is announced, but only at addresses that cannot be dialled.
    Undialable { peer: PeerId, addresses: Vec<Multiaddr> },
    /// This node is announced at these addresses. Some may be another's.
    Ourselves { addresses: Vec<Multiaddr> },
    /// It is no longer announced.
    Expired { peer: PeerId },
    /// An interface of this machine got or lost an address.
    InterfacesChanged,
}

/// How this node presents itself.
#[derive(Debug, Clone)]
pub(super) struct Announcement {
    pub(super) peer: PeerId,
    pub(super) name: String,
    pub(super) port: u16,
    /// The tag of the network; nodes with another are not dialled.
    pub(super) network_tag: String,
    /// The private network that it is of: then nothing of the above is told but the port.
    pub(super) private: Option<Private>,
}

/// Whether multicast works here, as far as can be told.
#[derive(Debug, Clone, Default)]
struct Facts {
    /// Why it cannot be heard on some interface, or on any.
    failure: Option<String>,
    /// When another machine's multicast DNS was heard last, from whatever program.
    heard: Option<Instant>,
}

/// The behaviour: never opens a stream, only reports what the task hears.
pub(super) struct Behaviour {
    own: PeerId,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<Event>,
    facts: watch::Receiver<Facts>,
}

impl Behaviour {
    /// Announces this node and starts to look for others. Interfaces may come and go later, and so may the port. Needs a runtime.
    pub(super) fn new(own: &Announcement) -> Self {
        let (commands, orders) = mpsc::channel(WAITING_MAX);
        let (told, events) = mpsc::channel(WAITING_MAX);
        let (facts, known) = watch::channel(Facts::default());
        let private = own.private.clone();
        let mut sealing = private.clone().map(|private| Sealing::new(private, own.peer, own.port));
        let names = sealing.as_mut().map(Sealing::names).unwrap_or_else(|| {
            let label = instance_name(&own.name, &own.peer);
            wire::OwnNames::new(&label, &own.peer, &own.network_tag, own.port)
        });
        let ours = private.map_or_else(|| Ours::Open(own.network_tag.clone()), Ours::Private);
        let table = table::Table::new(ours, |below| rand::random_range(0..below));
        let ends = Ends {
            commands: orders,
            events: told,
            facts,
        };
        tokio::spawn(Engine::new(names, sealing, table, ends).run());
        Self {
            own: own.peer,
            commands,
            events,
            facts: known,
        }
    }

    /// Asks now, and often for a while: a peer was lost, or the interfaces have changed. `is_alone`: there is no connection.
    pub(super) fn search(&self, is_alone: bool) {
        // When so many wait, one of them is a search.
        let _ = self.commands.try_send(Command::Search { is_alone });
    }

    /// The first peer is connected: there is no hurry any more, but others may not have heard the question yet.
    pub(super) fn relax(&self) {
        let _ = self.commands.try_send(Command::Relax);
    }

    /// Whether other machines are heard.
    pub(super) fn multicast(&self) -> Multicast {
        let facts = self.facts.borrow().clone();
        match (facts.heard, facts.failure) {
            (Some(at), _) => Multicast::Heard { ago: at.elapsed() },
            (None, Some(why)) => Multicast::Unknown { why },
            (None, None) => Multicast::Silent,
        }
    }

    /// Takes the announcement back. The future completes when that has been sent.
    pub(super) fn withdraw(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        let (done, is_done) = oneshot::channel();
        // Nobody may wait for room in the events any more.
        self.events.close();
        let commands = self.commands.clone();
        Some(async move {
            if commands.send(Command::Withdraw(done)).await.is_ok() {
                // An error says that it has been dropped, which is what is waited for.
                let _ = is_done.await;
            }
        })
    }
}

/// The node's name and the end of its peer id, as one DNS label: letters, digits and hyphens, at most 63 bytes.
fn instance_name(name: &str, peer: &PeerId) -> String {
    let label: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(50)
        .collect();
    let label = label.trim_matches('-');
    let id = peer.to_base58();
    let end = id.get(id.len().saturating_sub(8)..).unwrap_or(&id);
    if label.is_empty() {
        format!("p2p-sync-{end}")
    } else {
        format!("{label}-{end}")
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Poll::Ready(Some(event)) = self.events.poll_recv(cx) {
            let event = match event {
                Event::Discovered { peer, addresses } if peer == self.own => Event::Ourselves { addresses },
                Event::Undialable { peer, .. } | Event::Expired { peer } if peer == self.own => continue,
                event => event,
            };
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_name_is_one_label_that_ends_in_the_peer_id() {
        let peer = PeerId::random();
        let end = &peer.to_base58()[peer.to_base58().len() - 8..];
        assert_eq!(instance_name("kitchen", &peer), format!("kitchen-{end}"));
        assert_eq!(instance_name("Küche.local pi", &peer), format!("K-che-local-pi-{end}"));
        assert_eq!(instance_name("...", &peer), format!("p2p-sync-{end}"));
        assert!(instance_name(&"x".repeat(500), &peer).len() <= 63);
    }
}
