//! The sockets for multicast DNS: one per interface and address family, to know where a packet came from, and to stay below
//! the system's limit on groups per socket. A task reads each of them.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::usefulness;
use super::wire::{Message, OwnNames, PACKET_BYTES_MAX};
use crate::throttle::Throttle;

/// The port of multicast DNS.
pub(super) const PORT: u16 = 5_353;
pub(super) const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
pub(super) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// Interfaces that are used at once, two sockets and two tasks each: a machine with hundreds of containers has as many. `links`
/// chooses those at which other machines are.
const LINKS_MAX: usize = 32;
/// Addresses of an interface that are announced: as many as others keep. With all the rest they fit one packet of an Ethernet.
const ADDRESSES_MAX: usize = 32;
/// How often packets that do not concern us are reported, for whoever asks whether multicast comes through.
const OTHERS_INTERVAL: Duration = Duration::from_secs(1);

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Family {
    V4,
    V6,
}

/// One address family on one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    /// The number that the operating system gave the interface.
    pub(super) index: u32,
    pub(super) family: Family,
}

/// An interface of this machine that is up, with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    /// The interface's name for the operating system.
    pub(super) name: String,
    pub(super) addresses: Vec<IpAddr>,
}

impl Link {
    pub(super) fn ips(&self) -> Vec<IpAddr> {
        self.addresses.iter().take(ADDRESSES_MAX).copied().collect()
    }

    /// The address families for which it has an address.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let index = self.index;
        let of = |is: fn(&IpAddr) -> bool| self.addresses.iter().any(is);
        let v4 = of(IpAddr::is_ipv4).then_some(Family::V4);
        let v6 = of(IpAddr::is_ipv6).then_some(Family::V6);
        v4.into_iter().chain(v6).map(move |family| Place { index, family })
    }
}

/// The interfaces that are up, in the order of their numbers; the most useful ones where there are too many.
pub(super) fn links() -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let Some(index) = interface.index.filter(|_| interface.is_oper_up()) else {
            continue;
        };
        let address = interface.ip();
        match links.iter_mut().find(|link| link.index == index) {
            Some(link) => link.addresses.push(address),
            None => links.push(Link {
                index,
                // Addresses may have labels of their own, such as `eth0:1`.
                name: interface.name.split(':').next().unwrap_or_default().to_owned(),
                addresses: vec![address],
            }),
        }
    }
    if links.len() > LINKS_MAX {
        let roads = usefulness::Roads::of_this_machine();
        usefulness::keep_best(&mut links, LINKS_MAX, &roads);
    }
    links.sort_by_key(|link| link.index);
    for link in &mut links {
        // As the kernel gives them may change from one time to the next.
        link.addresses.sort();
    }
    links
}

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// Another program holds the port and does not share it.
    PortTaken(String),
    /// Anything else.
    Other(String),
}

impl Failure {
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::PortTaken(reason) | Self::Other(reason) => reason,
        }
    }
}

/// What a socket's task reports.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) place: Place,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    /// A packet that concerns us.
    Message {
        from: SocketAddr,
        way: Way,
        message: Message,
    },
    /// One that does not.
    Other { from: SocketAddr, way: Way },
    /// The socket is of no use any more.
    Failed(io::Error),
}

/// To whom a packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the group: it comes from this link, whatever its sender's address.
    Group,
    /// To an address of this machine, from anywhere.
    Direct,
}

/// An open socket. Its task ends with it.
#[derive(Debug)]
pub(super) struct Open {
    socket: Arc<UdpSocket>,
    family: Family,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Open {
    /// Opens the socket for a place and starts to read it.
    pub(super) fn new(
        place: Place,
        link: &Link,
        names: &Arc<OwnNames>,
        told: &mpsc::Sender<Arrived>,
    ) -> Result<Self, Failure> {
        let other = |error: io::Error| Failure::Other(error.to_string());
        let socket = bound(place.family, &link.name)?;
        join(&socket, place, link).map_err(other)?;
        let socket = Arc::new(UdpSocket::from_std(socket.into()).map_err(other)?);
        let state = UdpSocketState::new((&*socket).into()).map_err(other)?;
        let reader = tokio::spawn(read(Arc::clone(&socket), state, place, Arc::clone(names), told.clone()));
        let reader = reader.abort_handle();
        Ok(Self {
            socket,
            family: place.family,
            reader,
        })
    }

    /// Sends a packet to everybody on the link. Not waited for: a packet for which there is no room is lost like any other.
    pub(super) fn multicast(&self, packet: &[u8]) {
        let group = match self.family {
            Family::V4 => IpAddr::V4(GROUP_V4),
            Family::V6 => IpAddr::V6(GROUP_V6),
        };
        self.send(packet, SocketAddr::new(group, PORT));
    }

    pub(super) fn send(&self, packet: &[u8], to: SocketAddr) {
        // Not by the runtime, which sends nothing before it has seen once that it could.
        if let Err(error) = SockRef::from(&*self.socket).send_to(packet, &to.into()) {
            tracing::trace!("discovery: cannot send to {to}: {error}");
        }
    }
}

pub(super) fn bound(family: Family, interface: &str) -> Result<Socket, Failure> {
    let other = |error: io::Error| Failure::Other(error.to_string());
    let (domain, any) = match family {
        Family::V4 => (Domain::IPV4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        Family::V6 => (Domain::IPV6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).map_err(other)?;
    socket.set_nonblocking(true).map_err(other)?;
    if family == Family::V6 {
        socket.set_only_v6(true).map_err(other)?;
    }
    // Other programs on this machine have the port too.
    socket.set_reuse_address(true).map_err(other)?;
    #[cfg(unix)]
    socket.set_reuse_port(true).map_err(other)?;
    only_from(&socket, interface);
    // Otherwise Linux hands every packet to the sockets of all interfaces.
    #[cfg(target_os = "linux")]
    match family {
        Family::V4 => socket.set_multicast_all_v4(false).map_err(other)?,
        // Kernels before 4.20 do not know it.
        Family::V6 => drop(socket.set_multicast_all_v6(false)),
    }
    socket
        .bind(&SocketAddr::new(any, PORT).into())
        .map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Failure::PortTaken(error.to_string()),
            _ => other(error),
        })?;
    Ok(socket)
}

/// Makes a socket deaf to all interfaces but one. Linux, from 6.6 on, may hand a packet to any of the sockets that share a port,
/// whatever groups they joined, unless they are on different devices: the answer would go out where nobody asked.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn only_from(socket: &Socket, interface: &str) {
    if let Err(error) = socket.bind_device(Some(interface.as_bytes())) {
        // Before 5.7 it takes a privilege; those versions do not need it.
        tracing::debug!("discovery: not bound to {interface}: {error}");
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn only_from(_: &Socket, _: &str) {}

pub(super) fn join(socket: &Socket, place: Place, link: &Link) -> io::Result<()> {
    match place.family {
        Family::V4 => {
            let own = link.addresses.iter().find_map(|ip| match ip {
                IpAddr::V4(ip) => Some(*ip),
                IpAddr::V6(_) => None,
            });
            let own = own.unwrap_or(Ipv4Addr::UNSPECIFIED);
            // Windows knows the interface by number too, but Wine only by address.
            let interface = if cfg!(windows) {
                InterfaceIndexOrAddress::Address(own)
            } else {
                InterfaceIndexOrAddress::Index(place.index)
            };
            socket.join_multicast_v4_n(&GROUP_V4, &interface)?;
            socket.set_multicast_if_v4(&own)?;
            socket.set_multicast_ttl_v4(255)
        }
        Family::V6 => {
            socket.join_multicast_v6(&GROUP_V6, place.index)?;
            socket.set_multicast_if_v6(place.index)?;
            socket.set_multicast_hops_v6(255)
        }
    }
}

async fn read(
    socket: Arc<UdpSocket>,
    state: UdpSocketState,
    place: Place,
    names: Arc<OwnNames>,
    told: mpsc::Sender<Arrived>,
) {
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    let mut others = Throttle::once(OTHERS_INTERVAL);
    loop {
        let mut meta = [RecvMeta::default()];
        let received = socket
            .async_io(Interest::READABLE, || {
                state.recv((&*socket).into(), &mut [IoSliceMut::new(&mut buffer)], &mut meta)
            })
            .await;
        let [
            RecvMeta {
                addr: from,
                len,
                stride,
                dst_ip,
                ..
            },
        ] = meta;
        let way = if dst_ip.is_some_and(|to| to.is_multicast()) {
            Way::Group
        } else {
            Way::Direct
        };
        // The system may hand over several packets of one sender at once.
        let packets: Vec<What> = match received {
            Ok(_) => {
                let bytes = buffer.get(..len).unwrap_or_default();
                bytes
                    .chunks(stride.max(1))
                    .filter_map(|bytes| match names.read(bytes) {
                        Some(message) => Some(What::Message { from, way, message }),
                        None => others.allows(Instant::now()).then_some(What::Other { from, way }),
                    })
                    .collect()
            }
            Err(error) if is_about_one_packet(&error) => continue,
            Err(error) => vec![What::Failed(error)],
        };
        for what in packets {
            let is_over = matches!(what, What::Failed(_));
            // The queue is bounded: while it is full, what comes in is lost, as it may be anyway.
            if told.send(Arrived { place, what }).await.is_err() || is_over {
                return;
            }
        }
    }
}

/// Errors that say nothing of the socket: on Windows one that was sent before did not arrive, or one that came was too large.
fn is_about_one_packet(error: &io::Error) -> bool {
    const WSAEMSGSIZE: i32 = 10_040;
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    ) || cfg!(windows) && error.raw_os_error() == Some(WSAEMSGSIZE)
}
