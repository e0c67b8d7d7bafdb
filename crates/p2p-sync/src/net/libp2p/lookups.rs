//! Kademlia, within bounds on the dials that its lookups make. It dials every peer that an answer names, at every address that the
//! answer gives, and looks something up whenever a peer is added: whoever lies in answers could have us knock at thousands of doors,
//! and when many nodes start at once, each would ask each dozens of times, for answers of three kilobytes. So peers are added
//! together, and a lookup asks only a few of those that are connected.

use std::collections::{HashMap, HashSet};
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::kad::{self, store::MemoryStore};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::time::{Sleep, sleep};

use super::listening::is_plain;
use super::multiaddrs::split_peer;
use crate::throttle::Throttle;

/// Peers that lookups may dial in an interval.
const DIALS_MAX: u32 = 32;
const INTERVAL: Duration = Duration::from_secs(10);
/// Addresses of one peer that are dialled.
const ADDRESSES_MAX: usize = 4;
/// Connected peers that one lookup asks. It would ask at least 20, but each names the 20 nearest that it knows. Those that it has to
/// dial first are what lookups are for.
const ASKED_MAX: u32 = 4;
/// How long new peers are gathered before Kademlia is told of them: it looks for everybody anew each time, until it knows 20.
const GATHERED_FOR: Duration = Duration::from_secs(3);
/// Peers that are gathered at most. One that finds no place is told of by a later Identify.
const GATHERED_MAX: usize = 1_024;

type Kademlia = kad::Behaviour<MemoryStore>;

/// A dial has to be left out: there were too many.
#[derive(Debug, thiserror::Error)]
#[error("too many dials for lookups")]
struct TooMany;

/// Kademlia with bounded dials.
pub(super) struct Lookups {
    kademlia: Kademlia,
    dials: Throttle<Instant>,
    /// Peers that the lookup under way has dialled. There is one at a time.
    dialled: u32,
    gathered: HashMap<PeerId, Vec<Multiaddr>>,
    /// When they are told, while there are any.
    due: Option<Pin<Box<Sleep>>>,
}

impl Lookups {
    pub(super) fn new(kademlia: Kademlia) -> Self {
        Self {
            kademlia,
            dials: Throttle::new(DIALS_MAX, INTERVAL),
            dialled: 0,
            gathered: HashMap::new(),
            due: None,
        }
    }

    /// A peer listens at these addresses, and at no others.
    pub(super) fn learn(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if addresses.is_empty() || self.knows(peer, &addresses) {
            self.gathered.remove(&peer);
        } else if self.gathered.len() < GATHERED_MAX || self.gathered.contains_key(&peer) {
            self.gathered.insert(peer, addresses);
            self.due.get_or_insert_with(|| Box::pin(sleep(GATHERED_FOR)));
        }
    }

    fn knows(&mut self, peer: PeerId, addresses: &[Multiaddr]) -> bool {
        self.kademlia.kbucket(peer).is_some_and(|bucket| {
            let mut entries = bucket.iter();
            entries.any(|entry| {
                let known = entry.node.value.iter().map(|known| split_peer(known.clone()).0);
                let known: HashSet<Multiaddr> = known.collect();
                entry.node.key.preimage() == &peer && known == addresses.iter().cloned().collect()
            })
        })
    }

    /// Ends the lookup that has asked enough. Returns whether there was one.
    fn end_lookup(&mut self) -> bool {
        let mut has_ended = false;
        for mut query in self.kademlia.iter_queries_mut() {
            if query.stats().num_requests().saturating_sub(self.dialled) >= ASKED_MAX {
                query.finish();
                has_ended = true;
            }
        }
        has_ended
    }

    /// Tells what was gathered. Kademlia has no bound of its own for the addresses of a peer, so the new ones replace all former ones.
    fn tell(&mut self) {
        for (peer, addresses) in self.gathered.drain() {
            self.kademlia.remove_peer(&peer);
            for address in addresses {
                self.kademlia.add_address(&peer, address);
            }
        }
    }
}

impl Deref for Lookups {
    type Target = Kademlia;

    fn deref(&self) -> &Kademlia {
        &self.kademlia
    }
}

impl DerefMut for Lookups {
    fn deref_mut(&mut self) -> &mut Kademlia {
        &mut self.kademlia
    }
}

impl NetworkBehaviour for Lookups {
    type ConnectionHandler = <Kademlia as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = <Kademlia as NetworkBehaviour>::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.kademlia.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kademlia
            .handle_established_inbound_connection(id, peer, local, remote)
    }

    /// Only a lookup dials a peer without saying where.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if !addresses.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self
            .kademlia
            .handle_pending_outbound_connection(id, peer, addresses, role)?;
        found.retain(is_plain);
        found.truncate(ADDRESSES_MAX);
        if found.is_empty() || self.dials.allows(Instant::now()) {
            Ok(found)
        } else {
            Err(ConnectionDenied::new(TooMany))
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kademlia
            .handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.kademlia.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.kademlia.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(due) = &mut self.due
            && due.as_mut().poll(context).is_ready()
        {
            self.due = None;
            self.tell();
        }
        loop {
            let polled = self.kademlia.poll(context);
            match &polled {
                Poll::Ready(ToSwarm::Dial { .. }) => self.dialled = self.dialled.saturating_add(1),
                Poll::Ready(ToSwarm::GenerateEvent(kad::Event::OutboundQueryProgressed { .. })) => self.dialled = 0,
                _ => {}
            }
            let has_ended = self.end_lookup();
            // What was ended is noticed by the next poll alone.
            if polled.is_ready() || !has_ended {
                return polled;
            }
        }
    }
}
