//! Looks at what multicast DNS does on this machine, without announcing anything: where the own questions come back, who
//! answers, and who else has the port. A node that runs keeps its own sockets; this opens more of them, for a few seconds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use libp2p::PeerId;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::foreign;
use super::holders::holders;
use super::sockets::{self, Failure, Family, Link, Place};
use super::wire::{self, Message, OwnNames, PACKET_BYTES_MAX, Piece};
use crate::net::libp2p::node_id;
use crate::net::libp2p::peers::subnets::Subnets;
use crate::net::{Survey, Surveyed, SurveyedNode, SurveyedPlace};

/// Packets that wait to be looked at.
const ARRIVED_MAX: usize = 64;
/// Nodes that are noted, and addresses of each.
const NODES_MAX: usize = 1_024;
const ADDRESSES_MAX: usize = 16;
/// Addresses from which other programs answer that are noted.
const RESPONDERS_MAX: usize = 64;
/// When it is asked: a packet may get lost, and an answer to somebody else may have been given within the second before.
const ASKED_AT: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_millis(1_200),
    Duration::from_millis(2_200),
];
/// How long it is listened at least: whoever answers what others can answer as well takes its time.
const LISTEN_MIN: Duration = Duration::from_millis(1_700);
/// How long it is listened where something is missing.
const LISTEN_MAX: Duration = Duration::from_millis(3_200);

/// What is known of an instance.
#[derive(Debug, Default)]
struct Instance {
    from: Option<SocketAddr>,
    /// Who, the network, and the version.
    text: Option<(Option<PeerId>, String, String)>,
    place: Option<(String, u16)>,
}

/// What arrived somewhere.
struct Arrived {
    place: Place,
    from: SocketAddr,
    packet: Vec<u8>,
}

/// An open socket; its reader ends with it.
struct Open {
    socket: Arc<UdpSocket>,
    group: SocketAddr,
    reader: tokio::task::AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Looks. Takes about two seconds, and three where nobody answers.
pub(crate) async fn survey() -> Survey {
    let mut survey = Surveying::new();
    let (told, mut arrived) = mpsc::channel(ARRIVED_MAX);
    survey.open(&told);
    let began = Instant::now();
    let mut asked = 0;
    loop {
        let now = Instant::now();
        while let Some(at) = ASKED_AT.get(asked).filter(|at| began + **at <= now) {
            survey.ask();
            asked += 1;
            tracing::trace!("asked who is there, {at:?} after the beginning");
        }
        let until = if survey.is_complete() { LISTEN_MIN } else { LISTEN_MAX };
        if began + until <= now {
            let holders = tokio::task::spawn_blocking(holders).await.unwrap_or_default();
            return survey.end(holders);
        }
        let next = ASKED_AT.get(asked).map_or(until, |at| until.min(*at));
        tokio::select! {
            Some(one) = arrived.recv() => survey.take(one),
            () = sleep_until(began + next) => {}
        }
    }
}

/// What has been seen so far.
struct Surveying {
    names: OwnNames,
    links: Vec<Link>,
    subnets: Subnets,
    open: HashMap<Place, Open>,
    seen: Vec<(Place, Surveyed)>,
    /// By name, and whether they are of this machine: a copy of a node has its name.
    instances: HashMap<(String, bool), Instance>,
    hosts: HashMap<String, Vec<IpAddr>>,
    responders: Vec<IpAddr>,
    heard_others: bool,
}

impl Surveying {
    fn new() -> Self {
        // A name that nobody else has: only the own questions ask for it.
        let label = format!("doctor-{:016x}", rand::random::<u64>());
        Self {
            names: OwnNames::new(&label, &PeerId::random(), "", 0),
            links: sockets::links(),
            subnets: Subnets::of_this_machine(),
            open: HashMap::new(),
            seen: Vec::new(),
            instances: HashMap::new(),
            hosts: HashMap::new(),
            responders: Vec::new(),
            heard_others: false,
        }
    }

    fn open(&mut self, told: &mpsc::Sender<Arrived>) {
        for link in &self.links {
            for place in link.places() {
                let seen = match open(place, link, told) {
                    Ok(open) => {
                        self.open.insert(place, open);
                        if is_for_groups(&link.name) {
                            Surveyed::Lost(None)
                        } else {
                            Surveyed::None("it is a link to one machine, or without multicast".to_owned())
                        }
                    }
                    Err(Failure::PortTaken(why)) => Surveyed::PortTaken(why),
                    Err(Failure::Other(why)) => Surveyed::None(why),
                };
                self.seen.push((place, seen));
            }
        }
    }

    /// Asks for the nodes, for all kinds of services, and for the name that nobody has, whose question is to come back.
    fn ask(&mut self) {
        let own = wire::resolve(std::iter::once(self.names.instance.as_str()), std::iter::empty());
        let packets = [own, wire::browse(std::iter::empty()), foreign::all_services()];
        for (place, seen) in &mut self.seen {
            let Some(open) = self.open.get(place) else { continue };
            for packet in packets.iter().flatten() {
                // Not by the runtime, which sends nothing before it has seen once that it could.
                let sent = socket2::SockRef::from(&*open.socket).send_to(packet, &open.group.into());
                match (sent, &*seen) {
                    // A firewall.
                    (Err(error), Surveyed::Lost(_)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                        *seen = Surveyed::Lost(Some(error.to_string()));
                    }
                    // There is no way out, or not yet.
                    (Err(error), Surveyed::Lost(_)) => *seen = Surveyed::None(error.to_string()),
                    _ => {}
                }
            }
        }
    }

    fn take(&mut self, arrived: Arrived) {
        let Arrived { place, from, packet } = arrived;
        let is_here = self.is_here(from.ip());
        // What comes from beyond a router may be anybody's (RFC 6762, section 11).
        if !is_here && !self.subnets.contain(from.ip()) && !is_link_local(from.ip()) {
            return;
        }
        self.heard_others |= !is_here;
        let is_responder = from.port() == sockets::PORT && foreign::tells_of_others(&packet);
        if is_responder && self.responders.len() < RESPONDERS_MAX && !self.responders.contains(&from.ip()) {
            self.responders.push(from.ip());
        }
        match self.names.read(&packet) {
            Some(Message::Query(query)) if query.is_for_us_alone && is_here => {
                let of_place = self.seen.iter_mut().find(|(seen, _)| *seen == place);
                if let Some((_, seen)) = of_place {
                    *seen = Surveyed::CameBack;
                }
            }
            Some(Message::Response(pieces)) if from.port() == sockets::PORT => {
                pieces.into_iter().for_each(|piece| self.note(from, piece));
            }
            _ => {}
        }
    }

    fn note(&mut self, from: SocketAddr, piece: Piece) {
        match piece {
            Piece::Address {
                host, address, ttl_s, ..
            } if ttl_s > 0 => self.note_address(host, address),
            Piece::Place {
                instance,
                host,
                port,
                ttl_s,
            } if ttl_s > 0 => {
                if let Some(known) = self.instance(instance, from) {
                    known.place = Some((host, port));
                }
            }
            Piece::Text { instance, said, ttl_s } if ttl_s > 0 => {
                if let Some(known) = self.instance(instance, from) {
                    known.text = Some((said.peer, said.network_tag, said.version));
                }
            }
            // One that says goodbye is not there any more.
            Piece::Instance { instance, ttl_s: 0 } => {
                self.instances.remove(&(instance, self.is_here(from.ip())));
            }
            _ => {}
        }
    }

    fn note_address(&mut self, host: String, address: IpAddr) {
        if !self.hosts.contains_key(&host) && self.hosts.len() >= NODES_MAX {
            return;
        }
        let all = self.hosts.entry(host).or_default();
        if all.len() < ADDRESSES_MAX && !all.contains(&address) {
            all.push(address);
        }
    }

    fn instance(&mut self, name: String, from: SocketAddr) -> Option<&mut Instance> {
        let key = (name, self.is_here(from.ip()));
        if !self.instances.contains_key(&key) && self.instances.len() >= NODES_MAX {
            return None;
        }
        let known = self.instances.entry(key).or_default();
        // One that means something to people, if it answers from several.
        if known.from.is_none_or(|known| is_link_local(known.ip())) {
            known.from = Some(from);
        }
        Some(known)
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        self.links.iter().any(|link| link.addresses.contains(&ip))
    }

    /// Whether there is nothing to wait for: multicast works wherever it can, and another machine was heard.
    fn is_complete(&self) -> bool {
        let is_open = |seen: &Surveyed| !matches!(seen, Surveyed::Lost(_));
        self.heard_others && self.seen.iter().all(|(_, seen)| is_open(seen))
    }

    fn end(self, holders: Vec<String>) -> Survey {
        let nodes = self.instances.iter().filter_map(|((name, _), known)| {
            let (from, (peer, network_tag, version)) = (known.from?.ip(), known.text.clone()?);
            let (host, port) = known.place.clone().unwrap_or_default();
            let listens = self.hosts.get(&host).into_iter().flatten();
            let is_dialled = |ip: &&IpAddr| self.subnets.contain(**ip) && !is_link_local(**ip) && !self.is_here(**ip);
            let listens: Vec<(IpAddr, u16)> = listens.filter(is_dialled).map(|ip| (*ip, port)).collect();
            let label = name.split('.').next().unwrap_or_default();
            Some(SurveyedNode {
                peer: peer.and_then(|peer| node_id(&peer).ok()),
                instance: label.to_owned(),
                network_tag,
                version,
                from: match listens.first() {
                    Some((ip, _)) if is_link_local(from) => *ip,
                    _ => from,
                },
                is_here: self.is_here(from),
                listens,
            })
        });
        let mut nodes: Vec<SurveyedNode> = nodes.collect();
        nodes.sort_by(|one, other| one.instance.cmp(&other.instance));
        let places = self.seen.iter().filter_map(|(place, seen)| {
            let link = self.links.iter().find(|link| link.index == place.index)?;
            Some(SurveyedPlace {
                interface: link.name.clone(),
                is_loopback: link.addresses.iter().all(IpAddr::is_loopback),
                is_v6: place.family == Family::V6,
                multicast: seen.clone(),
            })
        });
        Survey {
            places: places.collect(),
            nodes,
            responders: self.responders.clone(),
            heard_others: self.heard_others,
            holders,
        }
    }
}

/// Whether an interface is made for multicast, as far as the system tells: on a tunnel it may or may not work, and nobody misses it.
#[cfg(target_os = "linux")]
fn is_for_groups(interface: &str) -> bool {
    const POINT_TO_POINT: u32 = 0x10;
    const LOOPBACK: u32 = 0x8;
    const MULTICAST: u32 = 0x1000;
    let flags = std::fs::read_to_string(format!("/sys/class/net/{interface}/flags"));
    let flags = flags
        .ok()
        .and_then(|text| u32::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok());
    flags.is_none_or(|flags| flags & LOOPBACK != 0 || flags & MULTICAST != 0 && flags & POINT_TO_POINT == 0)
}

#[cfg(not(target_os = "linux"))]
fn is_for_groups(_: &str) -> bool {
    true
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn open(place: Place, link: &Link, told: &mpsc::Sender<Arrived>) -> Result<Open, Failure> {
    let other = |error: std::io::Error| Failure::Other(error.to_string());
    let socket = sockets::bound(place.family, &link.name)?;
    sockets::join(&socket, place, link).map_err(other)?;
    let socket = Arc::new(UdpSocket::from_std(socket.into()).map_err(other)?);
    let group = match place.family {
        Family::V4 => IpAddr::V4(sockets::GROUP_V4),
        Family::V6 => IpAddr::V6(sockets::GROUP_V6),
    };
    let (reading, told) = (Arc::clone(&socket), told.clone());
    let reader = tokio::spawn(async move {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            // One packet that cannot be read says nothing of the next.
            let Ok((length, from)) = reading.recv_from(&mut buffer).await else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let packet = buffer.get(..length).unwrap_or_default().to_vec();
            if told.send(Arrived { place, from, packet }).await.is_err() {
                return;
            }
        }
    });
    Ok(Open {
        socket,
        group: SocketAddr::new(group, sockets::PORT),
        reader: reader.abort_handle(),
    })
}
