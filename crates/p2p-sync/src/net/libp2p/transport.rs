//! The transports: TCP with Noise and Yamux, and QUIC, each wrapped in our own muxer, in a private network behind its door. QUIC notices by itself that the other
//! end is gone; a TCP connection has a pulse for that.

use std::sync::Arc;
use std::time::Duration;

use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, noise, quic, tcp};
use tokio::sync::mpsc;

use self::dial_errors::Visible;
use self::fair::Fair;
use self::fresh_port::FreshPort;
use self::half_open::{HALF_OPEN_MAX, HalfOpen};
use self::kept::kept;
use self::late_dials::{Arrivals, GivesUp};
use self::muxer::{CutOff, Muxer};
use self::pulse::{Felt, Pulses};
use self::staggered::Staggered;
use super::door::allowance::MeteredYamux;
use super::door::{DOORS_MAX, Doors, QUIC_UNREAD_BYTES_MAX};

pub(in crate::net::libp2p) mod dial_errors;
mod fair;
pub(in crate::net::libp2p) mod fresh_port;
pub(in crate::net::libp2p) mod half_open;
mod kept;
pub(in crate::net::libp2p) mod late_dials;
pub(in crate::net::libp2p) mod liveness;
pub(in crate::net::libp2p) mod muxer;
pub(in crate::net::libp2p) mod pulse;
mod staggered;

/// A dial, handshakes included, is given up after this.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(4);
/// A QUIC connection on which nothing arrives is dead after this.
const QUIC_IDLE_TIMEOUT: Duration = Duration::from_secs(6);
/// How often QUIC itself makes sure that something arrives. Half of [`QUIC_IDLE_TIMEOUT`]: what gets lost is sent again within
/// milliseconds, so one of these is enough, and they are most of what idle nodes send.
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(3);

/// What that takes longer at some nodes than at others.
const QUIC_KEEP_ALIVE_SPREAD: Duration = Duration::from_millis(700);

/// The keep-alive of one node. What it sends keeps both ends awake: if the other one's interval is not the same, only one of the two
/// ever sends any.
fn keep_alive(own: PeerId) -> Duration {
    let last = own.to_bytes().last().copied().unwrap_or_default();
    QUIC_KEEP_ALIVE + QUIC_KEEP_ALIVE_SPREAD * u32::from(last) / 256
}

/// Both transports, for one identity. Each connection over TCP has its pulse among `pulses`; what gossip cuts off is told; dials
/// end that `arrivals` has made useless. In a private network, all connections pass its `doors`.
pub(super) fn build(
    key: &Keypair,
    pulses: Arc<Pulses>,
    cut_off: mpsc::Sender<CutOff>,
    arrivals: Arrivals,
    doors: Option<Doors>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, Box<dyn std::error::Error + Send + Sync>> {
    let own = key.public().to_peer_id();
    let (both, half_open_max) = match doors {
        None => (open(key, pulses, cut_off)?, HALF_OPEN_MAX),
        Some(doors) => (private(doors, pulses, cut_off)?, DOORS_MAX),
    };
    let both = both
        .and_then(move |made, endpoint| kept(own, made, endpoint))
        .map_err(|error| error.into_inner())
        .boxed();
    let both = TransportTimeout::new(both, DIAL_TIMEOUT).map_err(Visible).boxed();
    Ok(GivesUp::new(Staggered::new(HalfOpen::new(both, half_open_max)), arrivals).boxed())
}

type Setup<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn open(key: &Keypair, pulses: Arc<Pulses>, cut_off: mpsc::Sender<CutOff>) -> Setup<Boxed<(PeerId, StreamMuxerBox)>> {
    let told = cut_off.clone();
    let tcp = tcp_bytes()
        .map(move |stream, endpoint| Felt::new(stream, pulses.of(&endpoint)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(muxer::yamux())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Muxer::new(muxer, peer, told))));
    let quic = quic::tokio::Transport::new(quic_config(key))
        .map_err(Visible)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Muxer::new(muxer, peer, cut_off))));
    Ok(Fair::new(tcp)
        .or_transport(quic)
        .map(|either, _| either.into_inner())
        .boxed())
}

/// The handshakes are made with the key of this run; whose connection it is, the door says.
fn private(doors: Doors, pulses: Arc<Pulses>, cut_off: mpsc::Sender<CutOff>) -> Setup<Boxed<(PeerId, StreamMuxerBox)>> {
    let key = doors.ephemeral.clone();
    let tcp = tcp_bytes()
        .map(move |stream, endpoint| Felt::new(stream, pulses.of(&endpoint)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key)?)
        .multiplex(MeteredYamux(muxer::yamux()))
        .map(|(peer, held), _| (peer, StreamMuxerBox::new(held.muxer), Some(held.allowance)));
    let mut config = quic_config(&key);
    config.max_connection_data = QUIC_UNREAD_BYTES_MAX;
    config.max_stream_data = QUIC_UNREAD_BYTES_MAX;
    let quic = quic::tokio::Transport::new(config)
        .map_err(Visible)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer), None));
    Ok(Fair::new(tcp)
        .or_transport(quic)
        .map(|either, _| either.into_inner())
        .boxed()
        .and_then(move |made, endpoint| doors.pass(made, endpoint))
        .map_err(|error| error.into_inner())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Muxer::new(muxer, peer, cut_off))))
        .boxed())
}

fn tcp_bytes() -> impl Transport<
    Output = tcp::tokio::TcpStream,
    Error = Visible<std::io::Error>,
    ListenerUpgrade: Send + 'static,
    Dial: Send + 'static,
> + Send
+ Unpin
+ 'static {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    FreshPort::new(tcp(), tcp()).map_err(Visible)
}

fn quic_config(key: &Keypair) -> quic::Config {
    // The search for larger packets costs each new connection 11 kB, a third of what a node pays that comes back, and gains a
    // sixth of the headers of what is long.
    let mut config = quic::Config::new(key).disable_path_mtu_discovery();
    config.max_idle_timeout = u32::try_from(QUIC_IDLE_TIMEOUT.as_millis()).unwrap_or(u32::MAX);
    config.keep_alive_interval = keep_alive(key.public().to_peer_id());
    config.handshake_timeout = DIAL_TIMEOUT;
    config
}
