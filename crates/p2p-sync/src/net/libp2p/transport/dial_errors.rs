//! What a failed dial or handshake means to the user. libp2p wraps its errors in many layers; the innermost one counts.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use libp2p::core::transport::TransportError;
use libp2p::core::transport::timeout::TransportTimeoutError;
use libp2p::core::upgrade::{NegotiationError, ProtocolError};
use libp2p::multiaddr::Protocol;
use libp2p::swarm::DialError;
use libp2p::{Multiaddr, PeerId, noise, quic};

use crate::net::TroubleCause;
use crate::net::libp2p::multiaddrs::{ip, split_peer};
use crate::net::libp2p::{door, node_id};

/// Errors that are looked through, one inside the other.
const DEPTH_MAX: usize = 32;
/// Characters that are kept of an error for which there is no word.
const OTHER_CHARS_MAX: usize = 120;

/// Lets what is inside be found: the wrappers of libp2p show the text of what they hold and hide the error itself.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::net::libp2p) struct Visible<E: Error + 'static>(#[source] pub(in crate::net::libp2p) E);

/// What came back from each address of a dial that came to nothing. Empty if it did not get as far as that.
pub(in crate::net::libp2p) fn of_dial(error: &DialError, own: PeerId) -> Vec<(Multiaddr, TroubleCause)> {
    match error {
        DialError::LocalPeerId { address } => vec![(plain(address), TroubleCause::Ourselves)],
        DialError::WrongPeerId { obtained, address } if *obtained == own => {
            vec![(plain(address), TroubleCause::Ourselves)]
        }
        DialError::WrongPeerId { obtained, address } => node_id(obtained)
            .map(|obtained| (plain(address), TroubleCause::AnotherIdentity(obtained)))
            .into_iter()
            .collect(),
        DialError::Transport(errors) => errors
            .iter()
            .map(|(address, error)| {
                let address = plain(address);
                let cause = of_address(&address, error);
                (address, cause)
            })
            .collect(),
        DialError::NoAddresses
        | DialError::DialPeerConditionFalse(_)
        | DialError::Aborted
        | DialError::Denied { .. } => Vec::new(),
    }
}

fn plain(address: &Multiaddr) -> Multiaddr {
    split_peer(address.clone()).0
}

fn of_address(address: &Multiaddr, error: &TransportError<io::Error>) -> TroubleCause {
    if let Some(IpAddr::V6(ip)) = ip(address)
        && ip.is_unicast_link_local()
    {
        return TroubleCause::LinkLocal;
    }
    let cause = of_transport(error);
    if cause == TroubleCause::NoAnswer {
        // QUIC goes on sending where there is no way to send.
        return no_route(address).unwrap_or(cause);
    }
    cause
}

/// What the transport, or the handshake on it, says.
pub(in crate::net::libp2p) fn of_transport(error: &TransportError<io::Error>) -> TroubleCause {
    match error {
        TransportError::MultiaddrNotSupported(_) => TroubleCause::Other("no such transport".to_owned()),
        TransportError::Other(error) => of_error(error),
    }
}

fn of_error(error: &(dyn Error + 'static)) -> TroubleCause {
    chain(error).find_map(of_one).unwrap_or_else(|| {
        let last = chain(error).last().unwrap_or(error);
        TroubleCause::Other(last.to_string().chars().take(OTHER_CHARS_MAX).collect())
    })
}

/// An error, what it wraps, and so on to the innermost.
pub(in crate::net::libp2p) fn chain<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| below(*error)).take(DEPTH_MAX)
}

/// The error inside; what an `io::Error` holds is not its source, nor is it with some others.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(noise::Error::Io(inner)) = error.downcast_ref::<noise::Error>() {
        return Some(inner);
    }
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn of_one(error: &(dyn Error + 'static)) -> Option<TroubleCause> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return of_io(error);
    }
    if let Some(TransportTimeoutError::Timeout) = error.downcast_ref::<TransportTimeoutError<io::Error>>() {
        return Some(TroubleCause::NoAnswer);
    }
    if let Some(quic::Error::HandshakeTimedOut) = error.downcast_ref::<quic::Error>() {
        return Some(TroubleCause::NoAnswer);
    }
    if door::is_twin(error) {
        return Some(TroubleCause::SameIdentity);
    }
    if let Some(noise::Error::InvalidKey(_)) = error.downcast_ref::<noise::Error>() {
        return Some(TroubleCause::KeyType);
    }
    // It speaks, but not as libp2p programs do.
    match (
        error.downcast_ref::<NegotiationError>(),
        error.downcast_ref::<ProtocolError>(),
    ) {
        (Some(NegotiationError::Failed), _) => Some(TroubleCause::NotANode),
        (Some(NegotiationError::ProtocolError(inner)), _) => of_one(inner),
        (None, Some(ProtocolError::IoError(inner))) => of_io(inner),
        (None, Some(_)) => Some(TroubleCause::NotANode),
        (None, None) => None,
    }
}

fn of_io(error: &io::Error) -> Option<TroubleCause> {
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(TroubleCause::Refused),
        ErrorKind::TimedOut => Some(TroubleCause::NoAnswer),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::AddrNotAvailable => {
            Some(TroubleCause::NoRoute)
        }
        ErrorKind::BrokenPipe
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::UnexpectedEof => Some(TroubleCause::Closed),
        // What a negotiation that failed late leaves of its reason.
        ErrorKind::InvalidData => Some(TroubleCause::NotANode),
        ErrorKind::HostUnreachable => Some(TroubleCause::HostUnreachable),
        _ => None,
    }
}

/// Whether this machine would know where to send a datagram for this address. None is sent.
fn no_route(address: &Multiaddr) -> Option<TroubleCause> {
    let port = address.iter().find_map(|part| match part {
        Protocol::Udp(port) => Some(port),
        _ => None,
    })?;
    let ip = ip(address)?;
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    let error = socket.connect(SocketAddr::new(ip, port)).err()?;
    of_io(&error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_found_at_the_bottom() {
        // As deep as libp2p wraps them: what is boxed twice shows its source only.
        fn wrap(error: impl Error + Send + Sync + 'static) -> io::Error {
            io::Error::other(io::Error::other(Visible(error)))
        }
        for (kind, cause) in [
            (ErrorKind::ConnectionRefused, TroubleCause::Refused),
            (ErrorKind::TimedOut, TroubleCause::NoAnswer),
            (ErrorKind::NetworkUnreachable, TroubleCause::NoRoute),
            (ErrorKind::HostUnreachable, TroubleCause::HostUnreachable),
        ] {
            let error = TransportError::Other(wrap(io::Error::from(kind)));
            assert_eq!(of_transport(&error), cause, "{kind:?}");
        }
        let timeout: TransportTimeoutError<io::Error> = TransportTimeoutError::Timeout;
        assert_eq!(of_error(&wrap(timeout)), TroubleCause::NoAnswer);
        let quic = wrap(quic::Error::HandshakeTimedOut);
        assert_eq!(of_error(&quic), TroubleCause::NoAnswer);
        let end = || ProtocolError::IoError(ErrorKind::UnexpectedEof.into());
        let junk = || ProtocolError::InvalidMessage;
        // As a lazy negotiation fails: while the handshake reads.
        let lazily = |error: ProtocolError| wrap(noise::Error::Io(error.into()));
        for (error, cause) in [
            (wrap(NegotiationError::Failed), TroubleCause::NotANode),
            (wrap(NegotiationError::ProtocolError(junk())), TroubleCause::NotANode),
            (wrap(NegotiationError::ProtocolError(end())), TroubleCause::Closed),
            (lazily(junk()), TroubleCause::NotANode),
            (lazily(end()), TroubleCause::Closed),
        ] {
            assert_eq!(of_error(&error), cause, "{error}");
        }
    }

    #[test]
    fn a_key_of_a_type_that_is_not_known_is_told_apart() {
        // The protobuf message of a public key: type 9, and no bytes.
        let unknown = libp2p::identity::PublicKey::try_decode_protobuf(&[0x08, 9, 0x12, 0]);
        let error = io::Error::other(Visible(noise::Error::InvalidKey(unknown.expect_err("there is none"))));
        assert_eq!(of_error(&error), TroubleCause::KeyType);
    }

    #[test]
    fn what_has_no_word_is_told_as_it_is_but_not_at_any_length() {
        let error = io::Error::other("x".repeat(10_000));
        assert_eq!(of_error(&error), TroubleCause::Other("x".repeat(OTHER_CHARS_MAX)));
    }

    #[test]
    fn our_own_id_under_another_name_is_ours_all_the_same() {
        let (own, other) = (PeerId::random(), PeerId::random());
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let wrong = |obtained| DialError::WrongPeerId {
            obtained,
            address: address.clone(),
        };
        assert_eq!(of_dial(&wrong(own), own), [(address.clone(), TroubleCause::Ourselves)]);
        assert_eq!(
            of_dial(&wrong(other), own),
            [(address.clone(), TroubleCause::AnotherIdentity(node_id(&other).unwrap()))]
        );
    }
}
