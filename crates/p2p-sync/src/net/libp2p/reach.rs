//! Whether two machines get through to each other. A *knock* at a port finds out whether anything answers there, without a
//! handshake: a TCP connection that is closed at once, and a QUIC packet of a version that nobody speaks, which every QUIC
//! listener answers with the versions that it does (RFC 9000, section 6). And one node may ask another to knock at its port
//! (`/p2p-sync/reach/1`, see PROTOCOL.md): only the other side can tell whether the own firewall lets it in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::select_ok;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::PeerId;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

use super::listening::local_ips;
use super::peers::subnets::Subnets;
use super::streams::{Incoming, Opening};
use crate::net::{Knock, Knocks, Told};
use crate::system;
use crate::throttle::KeyedThrottle;

/// The protocol name in the default network.
pub(super) const REACH: &str = "/p2p-sync/reach/1";
/// How long a knock waits for an answer: what got lost is repeated within that.
const KNOCK_PATIENCE: Duration = Duration::from_millis(1_500);
/// After which time a knock is repeated, if nothing comes back.
const REPEAT: Duration = Duration::from_millis(400);
/// How long a peer may take to ask, or to answer.
const TALK_PATIENCE: Duration = Duration::from_secs(3);
/// Peers for which this node knocks at a time. Further ones are told that nobody knocked.
const KNOCKING_MAX: usize = 4;
/// How often one peer may ask for that.
const ASKED_INTERVAL: Duration = Duration::from_millis(500);
/// Peers whose questions are counted.
const ASKED_PEERS_MAX: usize = 256;
/// The smallest packet that a QUIC listener answers, in bytes (RFC 9000, section 14.1).
const QUIC_BYTES: usize = 1_200;
/// A version that is reserved to be spoken by nobody (RFC 9000, section 15).
const NO_VERSION: u32 = 0x1a2a_3a4a;
/// A connection id of the QUIC packet, in bytes.
const CONNECTION_ID_BYTES: usize = 8;

/// Knocks at a port of another machine in a network of this one. Beyond a router, or on this machine, it would say nothing of a
/// firewall: nobody knocks there.
pub(crate) async fn knock_near(ip: IpAddr, port: u16) -> Knocks {
    let is_near = || Subnets::of_this_machine().contain(ip) && !local_ips().contains(&ip);
    if port == 0 || ip.is_loopback() || !is_near() {
        return Knocks::NONE;
    }
    knock(ip, port).await
}

/// Knocks at a port by TCP and by UDP at once. Takes at most 1.5 s.
pub(super) async fn knock(ip: IpAddr, port: u16) -> Knocks {
    let at = SocketAddr::new(ip, port);
    let (tcp, udp) = tokio::join!(knock_tcp(at), knock_udp(at));
    Knocks { tcp, udp }
}

async fn knock_tcp(at: SocketAddr) -> Knock {
    // The system repeats a lost packet after a second, which is too late and too few where many get lost.
    let attempts = [Duration::ZERO, REPEAT, 2 * REPEAT].map(|pause| {
        Box::pin(async move {
            sleep(pause).await;
            TcpStream::connect(at).await
        })
    });
    match timeout(KNOCK_PATIENCE, select_ok(attempts)).await {
        Ok(Ok(_)) => Knock::Through,
        Ok(Err(error)) => came_of(&error),
        Err(_) => Knock::NoAnswer,
    }
}

async fn knock_udp(at: SocketAddr) -> Knock {
    match timeout(KNOCK_PATIENCE, exchange(at)).await {
        Ok(Ok(())) => Knock::Through,
        Ok(Err(error)) => came_of(&error),
        Err(_) => Knock::NoAnswer,
    }
}

fn came_of(error: &io::Error) -> Knock {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Knock::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Knock::NoRoute,
        io::ErrorKind::PermissionDenied => Knock::NotPermitted,
        io::ErrorKind::TimedOut => Knock::NoAnswer,
        // Something of this machine: it says nothing about the way.
        _ => Knock::NotTried,
    }
}

/// Sends the QUIC packet until it is answered, for as long as anybody waits.
async fn exchange(at: SocketAddr) -> io::Result<()> {
    let any = match at {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(at).await?;
    let (ours, theirs): ([u8; CONNECTION_ID_BYTES], [u8; CONNECTION_ID_BYTES]) = (rand::random(), rand::random());
    let packet = unknown_version(&theirs, &ours);
    let mut buffer = [0; QUIC_BYTES];
    loop {
        socket.send(&packet).await?;
        if let Ok(received) = timeout(REPEAT, socket.recv(&mut buffer)).await
            && buffer
                .get(..received?)
                .is_some_and(|bytes| is_answer(bytes, &theirs, &ours))
        {
            return Ok(());
        }
    }
}

/// A QUIC packet of a version that nobody speaks (RFC 8999, section 5.1).
fn unknown_version(to: &[u8; CONNECTION_ID_BYTES], from: &[u8; CONNECTION_ID_BYTES]) -> Vec<u8> {
    let mut packet = vec![0xc0];
    packet.extend(NO_VERSION.to_be_bytes());
    for id in [to, from] {
        packet.push(CONNECTION_ID_BYTES as u8);
        packet.extend(id);
    }
    packet.resize(QUIC_BYTES, 0);
    packet
}

/// Whether this is the answer to that: a list of versions for the same two ids (RFC 8999, section 6).
fn is_answer(bytes: &[u8], sent_to: &[u8; CONNECTION_ID_BYTES], sent_from: &[u8; CONNECTION_ID_BYTES]) -> bool {
    let mut expected = vec![0; 4];
    for id in [sent_from, sent_to] {
        expected.push(CONNECTION_ID_BYTES as u8);
        expected.extend(id);
    }
    bytes.first().is_some_and(|first| first & 0x80 != 0) && bytes.get(1..=expected.len()) == Some(expected.as_slice())
}

/// Asks the peer at the other end of a connection to `address` to knock at `port` here. None if it does not know how, or does not
/// answer in time.
pub(super) async fn ask(opening: Opening, address: IpAddr, port: u16) -> Option<Told> {
    let asked = async {
        let mut stream = opening.await.ok()?;
        let (sent, sent_at) = (system::now(), Instant::now());
        stream.write_all(&port.to_be_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        let mut first = [0; 10];
        stream.read_exact(&mut first).await.ok()?;
        let took = sent_at.elapsed();
        let (time, listens) = first.split_first_chunk::<8>()?;
        let half = u64::try_from(took.as_nanos() / 2).ok()?;
        let here = sent.as_nanos().saturating_add_unsigned(half);
        let mut rest = [0; 2];
        stream.read_exact(&mut rest).await.ok()?;
        Some(Told {
            address,
            port: u16::from_be_bytes(listens.try_into().ok()?),
            clock_ahead_nanos: i64::from_be_bytes(*time).saturating_sub(here),
            clock_within_nanos: half,
            knocks: Knocks {
                tcp: from_byte(rest[0]),
                udp: from_byte(rest[1]),
            },
        })
    };
    timeout(TALK_PATIENCE, asked).await.ok().flatten()
}

/// For whom this node knocks, within bounds: each knock costs a few packets, which go to nobody but who asked.
pub(super) struct Knocking {
    /// Streams on which peers ask.
    pub(super) asked: mpsc::Receiver<Incoming>,
    places: Arc<Semaphore>,
    rate: KeyedThrottle<PeerId, Instant>,
}

impl Knocking {
    pub(super) fn new(asked: mpsc::Receiver<Incoming>) -> Self {
        Self {
            asked,
            places: Arc::new(Semaphore::new(KNOCKING_MAX)),
            rate: KeyedThrottle::once(ASKED_INTERVAL, ASKED_PEERS_MAX),
        }
    }

    /// Serves a peer that asks, whose connection comes from `address`. `port` is where this node listens.
    pub(super) fn serve(&mut self, asked: Incoming, address: Option<IpAddr>, port: u16) {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_allowed = self.rate.pass(asked.peer, Instant::now()).is_some();
        let Some(permit) = permit else {
            return;
        };
        tokio::spawn(async move {
            let _permit = permit;
            let _ = timeout(
                TALK_PATIENCE,
                answer(asked.stream, address.filter(|_| is_allowed), port),
            )
            .await;
        });
    }
}

async fn answer(mut stream: libp2p::Stream, address: Option<IpAddr>, port: u16) -> io::Result<()> {
    let mut wanted = [0; 2];
    stream.read_exact(&mut wanted).await?;
    let mut first = system::now().as_nanos().to_be_bytes().to_vec();
    first.extend(port.to_be_bytes());
    stream.write_all(&first).await?;
    stream.flush().await?;
    let knocks = match address {
        Some(ip) => knock_near(ip, u16::from_be_bytes(wanted)).await,
        None => Knocks::NONE,
    };
    stream.write_all(&[to_byte(knocks.tcp), to_byte(knocks.udp)]).await?;
    stream.close().await
}

fn to_byte(knock: Knock) -> u8 {
    match knock {
        Knock::Through => 0,
        Knock::NoAnswer => 1,
        Knock::Refused => 2,
        Knock::NoRoute => 3,
        Knock::NotPermitted => 4,
        Knock::NotTried => 255,
    }
}

/// What this version does not know says nothing.
fn from_byte(byte: u8) -> Knock {
    match byte {
        0 => Knock::Through,
        1 => Knock::NoAnswer,
        2 => Knock::Refused,
        3 => Knock::NoRoute,
        4 => Knock::NotPermitted,
        _ => Knock::NotTried,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn each_result_has_its_byte_and_others_say_nothing() {
        for byte in 0..=255 {
            let knock = from_byte(byte);
            assert_eq!(to_byte(knock), if byte <= 4 { byte } else { 255 });
        }
    }

    #[test]
    fn the_packet_has_its_bytes_and_only_its_own_answer_counts() {
        let (to, from) = ([1; 8], [2; 8]);
        let packet = unknown_version(&to, &from);
        assert_eq!(packet.len(), 1_200);
        assert_eq!(
            packet[..23],
            [
                0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8, 1, 1, 1, 1, 1, 1, 1, 1, 8, 2, 2, 2, 2, 2, 2, 2, 2
            ]
        );
        let answer = [
            0xff, 0, 0, 0, 0, 8, 2, 2, 2, 2, 2, 2, 2, 2, 8, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1,
        ];
        assert!(is_answer(&answer, &to, &from));
        assert!(!is_answer(&answer, &from, &to), "to another question");
        assert!(!is_answer(&packet, &from, &to), "its own packet, sent back");
        for cut in 0..23 {
            assert!(!is_answer(&answer[..cut], &to, &from));
        }
    }

    #[tokio::test]
    async fn nobody_at_a_port_refuses() {
        let port = crate::net::claim_port(0).unwrap();
        let refused = Knocks {
            tcp: Knock::Refused,
            udp: Knock::Refused,
        };
        assert_eq!(knock(HERE, port).await, refused);
    }

    #[tokio::test]
    async fn somebody_who_does_not_speak_quic_is_no_answer() {
        let silent = UdpSocket::bind((HERE, 0)).await.unwrap();
        assert_eq!(knock_udp(silent.local_addr().unwrap()).await, Knock::NoAnswer);
    }
}
