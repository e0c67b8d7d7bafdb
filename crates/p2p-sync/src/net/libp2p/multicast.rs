//! Whether multicast DNS of other machines reaches this one at all, from whatever program: the library behind discovery does not
//! say. That tells a network without other nodes from a firewall, or a Wi-Fi that keeps devices apart.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures::future::{Either, select};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::listening::is_local;
use crate::net::Multicast;

/// The port and groups of multicast DNS.
const PORT: u16 = 5_353;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// How long is listened with the same sockets: the interfaces may be others by then.
const LISTEN: Duration = Duration::from_secs(15);
/// How long not, after something was heard: however much is sent, little of it is read.
const REST: Duration = Duration::from_secs(15);

/// What is heard.
#[derive(Debug, Clone, Default)]
struct Heard {
    /// When another machine was heard last.
    last: Option<Instant>,
    /// Why nobody can listen, if so.
    deaf: Option<String>,
}

/// Listens while it lives.
#[derive(Debug, Default)]
pub(super) struct Ear(Arc<Mutex<Heard>>);

impl Ear {
    /// Begins to listen.
    pub(super) fn open() -> Self {
        let ear = Self::default();
        tokio::spawn(run(Arc::downgrade(&ear.0)));
        ear
    }

    /// Another machine was heard, in whatever way.
    pub(super) fn note(&self, now: Instant) {
        lock(&self.0).last = Some(now);
    }

    /// What is known now.
    pub(super) fn tell(&self) -> Multicast {
        let heard = lock(&self.0).clone();
        match heard {
            Heard { last: Some(at), .. } => Multicast::Heard { ago: at.elapsed() },
            Heard { deaf: Some(why), .. } => Multicast::Unknown { why },
            Heard { .. } => Multicast::Silent,
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn run(heard: Weak<Mutex<Heard>>) {
    while heard.strong_count() > 0 {
        let sockets = (open(GROUP_V4.into()), open(GROUP_V6.into()));
        if let Some(heard) = heard.upgrade() {
            lock(&heard).deaf = match &sockets {
                (Err(error), Err(_)) => Some(error.to_string()),
                _ => None,
            };
        }
        if listen(sockets).await {
            if let Some(heard) = heard.upgrade() {
                lock(&heard).last = Some(Instant::now());
            }
            tokio::time::sleep(REST).await;
        }
    }
}

/// Listens for a while. Whether another machine was heard.
async fn listen((v4, v6): (io::Result<UdpSocket>, io::Result<UdpSocket>)) -> bool {
    let either = async {
        let (v4, v6) = (Box::pin(hear(v4.ok())), Box::pin(hear(v6.ok())));
        match select(v4, v6).await {
            Either::Left(((), _)) | Either::Right(((), _)) => {}
        }
    };
    tokio::time::timeout(LISTEN, either).await.is_ok()
}

/// Waits for a packet of another machine.
async fn hear(socket: Option<UdpSocket>) {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    // One that is larger is cut off, which does not matter.
    let mut packet = [0; 512];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((_, from)) if !is_local(from.ip()) => return,
            Ok(_) => {}
            // The next sockets may do better.
            Err(_) => return std::future::pending().await,
        }
    }
}

/// A socket that gets what is sent to a group, and nothing else: bound to the group, it takes no answers away from others.
fn open(group: IpAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(SocketAddr::new(group, PORT)),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    let interfaces = if_addrs::get_if_addrs()?;
    match group {
        IpAddr::V4(group) => {
            for interface in &interfaces {
                if let IpAddr::V4(ip) = interface.ip() {
                    // Some interfaces know no multicast.
                    let _ = socket.join_multicast_v4(&group, &ip);
                }
            }
        }
        IpAddr::V6(group) => {
            socket.set_only_v6(true)?;
            for index in interfaces.iter().filter_map(|interface| interface.index) {
                // The second address of an interface finds the group joined.
                let _ = socket.join_multicast_v6(&group, index);
            }
        }
    }
    socket.bind(&SocketAddr::new(group, PORT).into())?;
    UdpSocket::from_std(socket.into())
}
