//! Finds the nodes of the LAN by DNS-SD over multicast DNS (RFC 6762, RFC 6763) and lets them find this one: service
//! `_p2p-sync._tcp.local`, readable by any Bonjour or Avahi browser. What is announced is hearsay: anybody on the LAN can
//! announce anything, so the dialer bounds what is kept, and the handshake proves who answers. Packets are the library's work.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    dummy,
};
use libp2p::{Multiaddr, PeerId};
use mdns_sd::{DaemonEvent, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::{Sleep, sleep_until};

use super::address_book::OF_ONE_SOURCE_MAX;

const SERVICE: &str = "_p2p-sync._tcp.local.";
/// Announced instances that are followed at once. The rest of a larger LAN is found through the peers that are.
const INSTANCES_MAX: usize = 1_024;
/// Addresses that are taken from one announcement: as many as are kept of a peer.
const ADDRESSES_MAX: usize = OF_ONE_SOURCE_MAX;
/// How often the question is asked again when all is well: the library's own interval doubles up to an hour.
const QUERY_INTERVAL: Duration = Duration::from_secs(30);
/// How long answers may take to a question that is not repeated.
const QUIET_AFTER: Duration = Duration::from_millis(500);
/// How often it is asked at most, whatever happens.
const QUERY_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How often it is asked while a peer is missed.
const QUERY_INTERVAL_MISSING: Duration = Duration::from_secs(5);
/// How long a peer that was lost, or the first one, is missed.
const MISSING: Duration = Duration::from_secs(60);

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
}

type Events<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// The behaviour: never opens a stream, only reports what it hears.
pub(super) struct Behaviour {
    daemon: ServiceDaemon,
    own: Announcement,
    fullname: String,
    found: Events<ServiceEvent>,
    changes: Events<DaemonEvent>,
    /// Which peer stands behind an announced instance: removals name the instance only.
    instances: HashMap<String, PeerId>,
    next_query: Pin<Box<Sleep>>,
    asked: Instant,
    /// When to stop repeating the question.
    quiet_at: Option<Pin<Box<Sleep>>>,
    missing_until: Instant,
}

impl Behaviour {
    /// Announces this node and starts to look for others. Interfaces may come and go later.
    ///
    /// # Errors
    /// When the operating system refuses the thread or the poller behind it.
    pub(super) fn new(own: Announcement) -> Result<Self, mdns_sd::Error> {
        let daemon = ServiceDaemon::new()?;
        daemon.set_ip_check_interval(1)?;
        let changes = Box::pin(daemon.monitor()?.into_stream());
        let instance = instance_name(&own.name, &own.peer);
        let id = own.peer.to_base58();
        let properties = [("id", id.as_str()), ("v", "1"), ("net", own.network_tag.as_str())];
        let host = format!("{instance}.local.");
        let mut service =
            ServiceInfo::new(SERVICE, &instance, &host, "", own.port, &properties[..])?.enable_addr_auto();
        // The instance name ends in the peer id: it cannot collide, and probing would cost most of a second.
        service.set_requires_probe(false);
        let fullname = service.get_fullname().to_owned();
        daemon.register(service)?;
        let found = Box::pin(daemon.browse(SERVICE)?.into_stream());
        let now = Instant::now();
        Ok(Self {
            daemon,
            own,
            fullname,
            found,
            changes,
            instances: HashMap::new(),
            next_query: Box::pin(sleep_until((now + QUERY_INTERVAL_MISSING).into())),
            asked: now,
            quiet_at: None,
            missing_until: now + MISSING,
        })
    }

    /// Asks now, and often for a while: a peer was lost.
    pub(super) fn search(&mut self) {
        let now = Instant::now();
        self.missing_until = now + MISSING;
        // Whoever comes and goes all the time must not make everybody on the LAN answer all the time.
        let next = now.max(self.asked + QUERY_INTERVAL_MIN);
        self.next_query.as_mut().reset(next.into());
    }

    /// The first peer is connected: there is no hurry any more, but others may not have heard the question yet.
    pub(super) fn relax(&mut self) {
        let now = Instant::now();
        self.missing_until = now;
        self.next_query.as_mut().reset((now + QUERY_INTERVAL / 3).into());
        self.quiet_at = Some(Box::pin(sleep_until((now + QUERY_INTERVAL_MISSING).into())));
    }

    /// Takes the announcement back. The daemon says goodbye and ends; the future completes when it has.
    pub(super) fn withdraw(&mut self) -> Option<impl Future<Output = ()> + use<>> {
        // A daemon that cannot be told is gone already.
        self.daemon.unregister(&self.fullname).ok()?;
        let ended = self.daemon.shutdown().ok()?;
        Some(async move { drop(ended.recv_async().await) })
    }

    fn query(&mut self) {
        let now = Instant::now();
        let is_missing = now < self.missing_until;
        let interval = if is_missing {
            QUERY_INTERVAL_MISSING
        } else {
            QUERY_INTERVAL
        };
        self.next_query.as_mut().reset((now + interval).into());
        self.asked = now;
        if is_missing {
            // What is remembered may be what is wrong: forget it, so that everybody answers in full.
            let _ = self.daemon.stop_browse(SERVICE);
            self.instances.clear();
        }
        self.listen(self.daemon.browse(SERVICE));
        self.quiet_at = (!is_missing).then(|| Box::pin(sleep_until((now + QUIET_AFTER).into())));
    }

    /// Goes on listening, but stops asking: the library would repeat the question after 1, 2, 4 … seconds, from all nodes, for
    /// answers that all have.
    fn quieten(&mut self) {
        self.quiet_at = None;
        self.listen(self.daemon.browse_cache(SERVICE));
    }

    fn listen(&mut self, found: Result<mdns_sd::Receiver<ServiceEvent>, mdns_sd::Error>) {
        match found {
            Ok(found) => self.found = Box::pin(found.into_stream()),
            Err(error) => tracing::debug!("discovery could not ask again: {error}"),
        }
    }

    fn on_found(&mut self, event: ServiceEvent) -> Option<Event> {
        match event {
            ServiceEvent::ServiceResolved(service) => self.on_resolved(&service),
            ServiceEvent::ServiceRemoved(_, fullname) => {
                let peer = self.instances.remove(&fullname)?;
                let elsewhere = self.instances.values().any(|other| *other == peer);
                (!elsewhere).then_some(Event::Expired { peer })
            }
            _ => None,
        }
    }

    fn on_resolved(&mut self, service: &ResolvedService) -> Option<Event> {
        let peer: PeerId = service.get_property_val_str("id")?.parse().ok()?;
        let tag = service.get_property_val_str("net").unwrap_or_default();
        if tag != self.own.network_tag {
            return None;
        }
        if peer == self.own.peer {
            let addresses = dialable(service);
            return Some(Event::Ourselves { addresses });
        }
        let fullname = service.get_fullname();
        if !self.instances.contains_key(fullname) && self.instances.len() >= INSTANCES_MAX {
            return None;
        }
        let addresses = dialable(service);
        if addresses.is_empty() {
            let addresses = undialable(service);
            return (!addresses.is_empty()).then_some(Event::Undialable { peer, addresses });
        }
        self.instances.insert(fullname.to_owned(), peer);
        Some(Event::Discovered { peer, addresses })
    }
}

/// Both transports at every announced address that can be dialled: IPv6 link-local ones cannot, for lack of a zone.
fn dialable(service: &ResolvedService) -> Vec<Multiaddr> {
    let mut hosts: Vec<IpAddr> = service
        .get_addresses()
        .iter()
        .map(mdns_sd::ScopedIp::to_ip_addr)
        .collect();
    hosts.retain(|host| match host {
        IpAddr::V4(host) => !host.is_unspecified() && !host.is_multicast() && !host.is_broadcast(),
        IpAddr::V6(host) => !host.is_unspecified() && !host.is_multicast() && !host.is_unicast_link_local(),
    });
    // Loopback last: it leads anywhere only if both nodes are on one machine.
    hosts.sort_by_key(|host| (host.is_loopback(), *host));
    hosts.truncate(ADDRESSES_MAX / 2);
    let port = service.get_port();
    let both = hosts.into_iter().flat_map(|host| {
        let host = Multiaddr::from(host);
        [
            host.clone().with(Protocol::Udp(port)).with(Protocol::QuicV1),
            host.with(Protocol::Tcp(port)),
        ]
    });
    both.collect()
}

/// The announced addresses for which there is no way to dial them: IPv6 link-local ones.
fn undialable(service: &ResolvedService) -> Vec<Multiaddr> {
    let hosts = service.get_addresses().iter().map(mdns_sd::ScopedIp::to_ip_addr);
    let link_local = hosts.filter(|host| matches!(host, IpAddr::V6(host) if host.is_unicast_link_local()));
    link_local
        .take(ADDRESSES_MAX)
        .map(|host| Multiaddr::from(host).with(Protocol::Tcp(service.get_port())))
        .collect()
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
        while self.next_query.as_mut().poll(cx).is_ready() {
            self.query();
        }
        if self.quiet_at.as_mut().is_some_and(|at| at.as_mut().poll(cx).is_ready()) {
            self.quieten();
        }
        while let Poll::Ready(Some(change)) = self.changes.poll_next_unpin(cx) {
            match change {
                DaemonEvent::IpAdd(_) | DaemonEvent::IpDel(_) => {
                    return Poll::Ready(ToSwarm::GenerateEvent(Event::InterfacesChanged));
                }
                DaemonEvent::Error(error) => tracing::debug!("discovery: {error}"),
                _ => {}
            }
        }
        while let Poll::Ready(Some(found)) = self.found.poll_next_unpin(cx) {
            if let Some(event) = self.on_found(found) {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
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
